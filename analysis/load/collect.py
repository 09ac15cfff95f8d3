"""All runs of some files and folders: what can be compared, and of all else why not."""

from pathlib import Path

from .hdf5 import PARTIAL, Unusable, is_archive, member_of, members_of, open_file
from .runs import Collection, read_group


def find_files(places: list[Path]) -> list[Path]:
    """Files as named; folders with all that lies below them. Raises FileNotFoundError."""
    found: dict[Path, None] = {}
    for place in places:
        if place.is_dir():
            for path in sorted([*place.rglob("*.h5"), *place.rglob("*.h5" + PARTIAL)]):
                found[path] = None
        elif place.exists():
            found[place] = None
        else:
            raise FileNotFoundError(f"{place}: no such file or directory")
    return list(found)


def member_path(archive: Path, name: str) -> Path:
    """As the column `file` of an index names it."""
    return archive.with_name(f"{archive.name}:{name}")


def collect(places: list[Path]) -> Collection:
    """Files first, so that of a run which an archive has, too, the file counts."""
    collection = Collection()
    seen: dict[str, Path] = {}
    archives = []
    for path in find_files(places):
        try:
            with open_file(path) as file:
                if is_archive(file):
                    archives.append(path)
                    continue
                run = read_group(path, "", file)
            if run.run_id in seen:
                raise Unusable(f"the same run as {seen[run.run_id]}")
            seen[run.run_id] = path
            collection.runs.append(run)
        except Unusable as reason:
            collection.left_out.append((path, str(reason)))
    for path in archives:
        collect_archive(path, seen, collection)
    return collection


def collect_archive(path: Path, seen: dict[str, Path], collection: Collection) -> None:
    try:
        with open_file(path) as archive:
            for name in members_of(archive):
                try:
                    run = read_group(path, name, member_of(archive, name))
                except Unusable as reason:
                    collection.left_out.append((member_path(path, name), str(reason)))
                    continue
                if run.run_id in seen:
                    collection.twice[path] = collection.twice.get(path, 0) + 1
                    continue
                seen[run.run_id] = path
                collection.runs.append(run)
    except Unusable as reason:
        collection.left_out.append((path, str(reason)))
