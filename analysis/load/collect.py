"""All runs of some files and folders: what can be compared, and of all else why not."""

import os
from collections.abc import Sequence
from pathlib import Path

from .allowed import NOTHING
from .files import SUFFIXES, read_files
from .refuse import check_valid, sift
from .runs import Collection, Run, member_path


def list_folder(folder: Path, left_out: list[tuple[Path, str]]) -> list[Path]:
    """All below it that is called as a run file or an archive is, folders among it."""
    found = []

    def refused(error: OSError) -> None:
        left_out.append((Path(error.filename), f"cannot be listed: {error.strerror}"))
    for place, folders, files in os.walk(folder, onerror=refused):
        found += [Path(place, name) for name in (*folders, *files) if name.endswith(SUFFIXES)]
    return sorted(found)


def find_files(places: Sequence[Path], left_out: list[tuple[Path, str]]) -> dict[Path, list[Path]]:
    """By the folder below which they lie: files as named, folders with all that lies below them, each once. Raises FileNotFoundError."""
    found: dict[Path, list[Path]] = {}
    seen: set[Path] = set()
    for place in places:
        if place.is_dir():
            below, files = place, list_folder(place, left_out)
        elif os.path.lexists(place):
            below, files = place.parent, [place]
        else:
            raise FileNotFoundError(f"{place}: no such file or directory")
        found.setdefault(below, []).extend(path for path in files if path not in seen)
        seen.update(files)
    return found


class Taking:
    """A collection in the making: each run counts once."""

    def __init__(self, allow: frozenset[str]):
        self.collection, self.allow, self.seen = Collection(), allow, {}

    def refuse(self, place: Path, run: Run | str) -> bool:
        """Whether it is of no use."""
        reason = run if isinstance(run, str) else check_valid(run, self.allow)
        if reason:
            self.collection.left_out.append((place, reason))
        return bool(reason)

    def take(self, path: Path, run: Run) -> None:
        self.seen[run.run_id] = path
        self.collection.runs.append(run)

    def file(self, path: Path, run: Run | str) -> None:
        if self.refuse(path, run):
            return
        if run.run_id in self.seen:
            self.collection.left_out.append((path, f"the same run as {self.seen[run.run_id]}"))
        else:
            self.take(path, run)

    def archive(self, path: Path, runs: list[tuple[str, Run | str]]) -> None:
        for name, run in runs:
            if self.refuse(member_path(path, name), run):
                continue
            if run.run_id in self.seen:
                self.collection.twice[path] = self.collection.twice.get(path, 0) + 1
            else:
                self.take(path, run)


def collect(places: Sequence[Path], allow: frozenset[str] = NOTHING, use_cache: bool = True) -> Collection:
    """Files first, so that of a run which an archive has, too, the file counts. allow: what else may be among the runs (allowed.py). Raises
    FileNotFoundError."""
    taking = Taking(allow)
    archives = []
    for folder, paths in find_files(places, taking.collection.left_out).items():
        for path, found in zip(paths, read_files(paths, folder, use_cache)):
            if found.is_archive:
                archives.append((path, found))
            else:
                taking.file(path, found.reason or found.runs[0][1])
    for path, found in archives:
        taking.archive(path, found.runs)
    return sift(taking.collection, allow)
