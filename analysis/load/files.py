"""Reads many files: from the cache what is known, the rest in processes of their own, side by side."""

from collections.abc import Sequence
from pathlib import Path

from .cache import Cache, Read
from .guard import read_all
from .hdf5 import BROKEN, NO_RUN, NOT_FINISHED, PARTIAL, Unusable, is_archive, member_of, members_of, open_file
from .runs import read_group
from .stamp import Stamp, stamp_of

SUFFIXES = (".h5", ".h5" + PARTIAL)
FEWEST_NEW = 64  # runs that make a cache worth writing: fewer are read in no time
LASTING = (BROKEN, NO_RUN)  # reasons that will be the same as long as the file is
ON_ITS_WAY = f"{NOT_FINISHED} (still running, stopped or failed)"


def read_file(path: Path) -> Read:
    """A run, or all runs of an archive. Raises Unusable."""
    with open_file(path) as file:
        if not is_archive(file):
            return Read(False, [("", read_group(path, "", file))])
        found = []
        for name in members_of(file):
            try:
                found.append((name, read_group(path, name, member_of(file, name))))
            except Unusable as reason:
                found.append((name, str(reason)))
        return Read(True, found)


def read_here(path: Path) -> Read:
    try:
        return read_file(path)
    except Unusable as reason:
        return Read(False, [], str(reason))


def read_cold(paths: Sequence[Path]) -> list[Read]:
    found: list[Read | None] = [None] * len(paths)
    try:
        for number, answer in read_all(read_file, paths):
            found[number] = Read(False, [], str(answer)) if isinstance(answer, Unusable) else answer
    except OSError:  # there can be no more processes
        pass
    return [each or read_here(path) for each, path in zip(found, paths)]


def read_files(paths: Sequence[Path], folder: Path, use_cache: bool = True) -> list[Read]:
    """One answer per path, in their order. folder: what they lie below, and where the cache is."""
    known: dict[Path, Read] = {path: Read(False, [], ON_ITS_WAY) for path in paths if path.name.endswith(PARTIAL)}
    stamps: dict[Path, Stamp] = {path: stamp for path in paths if path not in known and (stamp := stamp_of(path))}
    names = {path: str(path.relative_to(folder)) for path in stamps} if use_cache else {}
    cache = Cache(folder, len(names)) if use_cache else None
    for path, name in names.items():
        if found := cache.find(name, path, stamps[path]):
            known[path] = found
    cold = [path for path in paths if path not in known]
    for path, found in zip(cold, read_cold(cold)):
        known[path] = found
        if cache and path in names and (not found.reason or found.reason.startswith(LASTING)):
            cache.add(names[path], path, stamps[path], found)
    if cache and cache.changes >= FEWEST_NEW:
        cache.write()
    return [known[path] for path in paths]
