"""From a study's folder to its index, and from a line of an index to the run that it names."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py

from .archive import load_run
from .cache import Read
from .files import read_files
from .guard import call
from .hdf5 import Unusable, member_of, members_of, open_file
from .index import ARCHIVE, ARCHIVE_INDEX, INDEX, BadIndex, Index, Line, read_index
from .runs import Run, read_group


def not_a_folder(folder: Path) -> str:
    """What to say of a study's folder that is none; "" for a folder."""
    if folder.is_dir():
        return ""
    if not folder.exists():
        return f"{folder}: no such folder"
    return f"{folder}: a file, where the folder of a study's results is wanted; name " + (str(folder.parent) if is_study(folder.parent) else "results/STUDY")


def is_study(folder: Path) -> bool:
    return any((folder / name).exists() for name in (INDEX, ARCHIVE_INDEX))


def find_index(folder: Path) -> tuple[Path, Index]:
    """index.tsv, and in a fresh clone, which has none, archive.tsv. Raises BadIndex, FileNotFoundError."""
    if reason := not_a_folder(folder):
        raise FileNotFoundError(reason)
    for name in (INDEX, ARCHIVE_INDEX):
        try:
            return folder / name, read_index(folder / name)
        except FileNotFoundError:
            continue
    raise BadIndex(f"{folder}: has neither {INDEX}, which `peftscale sweep` writes, nor {ARCHIVE_INDEX}")


def of_stage(lines: list[Line], stage: str | None, where: Path) -> list[Line]:
    """None: of all stages. Raises BadIndex if there is no such stage."""
    stages = list(dict.fromkeys(line.cells["stage"] for line in lines))
    if stage is not None and stage not in stages:
        raise BadIndex(f"{where}: no stage '{stage}'; there are: {', '.join(filter(None, stages)) or 'none'}")
    return [line for line in lines if stage in (None, line.cells["stage"])]


def check_identity(run: Run, line: Line) -> None:
    """Raises Unusable if it is another run than the line speaks of."""
    for what, found, expected in (("run", run.run_id, line.cells["run_id"]), ("request", run.request_id, line.request_id)):
        if found and expected and found != expected:
            raise Unusable(f"is {what} {found[:8]}, not {expected[:8]} as the index says")


def load_file(path: Path) -> None:
    """Reads all that there is. Raises Unusable."""
    with open_file(path) as file:
        read_group(path, "", file)
        load_run(file)


class Reader:
    """Finds finished runs as lines name them. A file that was packed and then removed is looked for in the study's archive."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.archives: dict[Path, h5py.File] = {}
        self.packed: dict[str, str] | None = None  # request_id: name in the study's archive; None: not asked yet

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_) -> None:
        for archive in self.archives.values():
            archive.close()

    def archive(self, path: Path) -> h5py.File:
        if path not in self.archives:
            self.archives[path] = open_file(path)
            members_of(self.archives[path])  # refuses another kind of file
        return self.archives[path]

    def find(self, line: Line) -> tuple[Path, str]:
        """The file, and the run's name in it where it is an archive."""
        file, _, member = line.cells["file"].partition(":")
        path = self.folder / file
        if member or path.exists():
            return path, member
        if self.packed is None:
            try:
                self.packed = {each.request_id: each.name for each in read_index(self.folder / ARCHIVE_INDEX).lines}
            except (BadIndex, FileNotFoundError):
                self.packed = {}
        name = self.packed.get(line.request_id, "")
        return (self.folder / ARCHIVE, name) if name else (path, "")

    @contextmanager
    def opened(self, line: Line) -> Iterator[tuple[Run, h5py.Group]]:
        """The run, and where it lies. Raises Unusable."""
        path, member = self.find(line)
        if member:
            group = member_of(self.archive(path), member)
            run = read_group(path, member, group)
            check_identity(run, line)
            yield run, group
            return
        call(load_file, path)  # damage that the HDF5 library does not survive ends another process
        with open_file(path) as file:
            run = read_group(path, "", file)
            check_identity(run, line)
            yield run, file


def choose(line: Line, member: str, found: Read) -> Run:
    """Of what a file holds, what the line names. Raises Unusable."""
    if found.reason:
        raise Unusable(found.reason)
    if bool(member) != found.is_archive:
        raise Unusable("not an archive of runs" if member else "not a run file but a archive")
    run = dict(found.runs).get(member, "not in the archive")
    if isinstance(run, str):
        raise Unusable(run)
    check_identity(run, line)
    return run


def read_lines(folder: Path, lines: Sequence[Line], use_cache: bool = True) -> Iterator[tuple[Line, Run | str]]:
    """The run that each line names, or why it is of no use."""
    with Reader(folder) as reader:
        places = [reader.find(line) for line in lines]
    paths = list(dict.fromkeys(path for path, _ in places))
    contents = dict(zip(paths, read_files(paths, folder, use_cache)))
    for line, (path, member) in zip(lines, places):
        try:
            yield line, choose(line, member, contents[path])
        except Unusable as reason:
            yield line, str(reason)
