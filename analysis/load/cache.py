"""What was read of a folder's run files, kept in one small file beside them, so that the next look need not open them.

A file is known by its path, size, time of change and inode; whatever differs is read again, and so is everything when the reader itself has changed. The cache
is JSON, of lines, compressed: nothing in it is ever executed. One that is broken, or that another reader wrote, is passed over and made anew. Two readers at
once do no harm: each writes it whole, the later one stays.
"""

import gzip
import hashlib
import json
import os
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from ..common.files import write_bytes
from .fields import PHASES
from .measure import Validation
from .runs import Run
from .stamp import Stamp, stamp_of

NAME = ".peftscale-runs.jsonl.gz"
KIND = "peftscale analysis cache"
MOST_BYTES, MOST_FILE_BYTES = 256 << 20, 1 << 16  # unpacked: in all, and on top of that for each file that is there
SETTLED_NS = 2_000_000_000  # a file that is younger may change again within the same tick of its clock
EFFORT = 1  # of gzip


@dataclass
class Read:
    """What one file holds."""
    is_archive: bool
    runs: list[tuple[str, Run | str]]  # name in an archive ("": of a file of its own), and the run or why it is of no use
    reason: str = ""  # why the file as a whole is of no use


@cache
def reader_version() -> str:
    """Of everything that decides what is read."""
    digest = hashlib.sha256()
    here = Path(__file__).parent
    for path in sorted([*here.glob("*.py"), *(here.parent / "common").glob("*.py")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


# ---- runs as JSON ----

def is_texts(value: Any) -> bool:
    return type(value) is dict and all(type(key) is str and type(each) is str for key, each in value.items())


def is_phases(value: Any) -> bool:
    return type(value) is dict and tuple(value) == PHASES and all(type(each) is float for each in value.values())


def is_validations(value: Any) -> bool:
    return type(value) is list and all(type(each) is list and [type(number) for number in each] == [int, int, float, float, float, int] for each in value)


CHECKS: dict[Any, Callable[[Any], bool]] = {
    int: lambda value: type(value) is int, float: lambda value: type(value) is float, str: lambda value: type(value) is str,
    bool: lambda value: type(value) is bool, int | None: lambda value: value is None or type(value) is int,
    dict[str, str]: is_texts, dict[str, float]: is_phases, tuple[Validation, ...]: is_validations,
}
WHERE = ("path", "member")  # fields of a Run that the cache says otherwise
FIELDS = [(each.name, CHECKS[each.type]) for each in fields(Run) if each.name not in WHERE]


def pack_run(run: Run) -> list[Any]:
    values = [getattr(run, name) for name, _ in FIELDS]
    return [[list(vars(each).values()) for each in value] if name == "validations" else value for (name, _), value in zip(FIELDS, values)]


def unpack_run(values: Any, path: Path, member: str) -> Run:
    """Raises ValueError."""
    if type(values) is not list or len(values) != len(FIELDS) or not all(fits(value) for (_, fits), value in zip(FIELDS, values)):
        raise ValueError("not a run")
    named = {name: value for (name, _), value in zip(FIELDS, values)}
    named["validations"] = tuple(Validation(*each) for each in named["validations"])
    return Run(path=path, member=member, **named)


def pack_entry(name: str, stamp: Stamp, found: Read) -> list[Any]:
    runs = [[member, run if isinstance(run, str) else pack_run(run)] for member, run in found.runs]
    return [name, stamp.size, stamp.changed_ns, stamp.inode, found.is_archive, found.reason, runs]


def unpack_read(entry: list[Any], path: Path) -> Read:
    """Raises ValueError."""
    is_archive, reason, runs = entry[4:]
    if type(is_archive) is not bool or type(reason) is not str or type(runs) is not list:
        raise ValueError("not an entry")
    found = []
    for pair in runs:
        if type(pair) is not list or len(pair) != 2 or type(pair[0]) is not str:
            raise ValueError("not a pair")
        member, run = pair
        found.append((member, run if type(run) is str else unpack_run(run, path, member)))
    if not is_archive and not reason and [member for member, _ in found] != [""]:
        raise ValueError("not one run")
    return Read(is_archive, found, reason)


# ---- the file ----

def home_of(folder: Path) -> Path:
    """Where the cache of a folder lies that nobody may write to."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    return root / "peftscale" / f"runs-{hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:32]}.jsonl.gz"


def load_lines(path: Path, most: int) -> dict[str, list[Any]]:
    """Entries by their files' names. Raises OSError, and ValueError and the like of a broken one."""
    entries: dict[str, list[Any]] = {}
    with gzip.open(path, "rb") as file:
        if json.loads(file.readline(1 << 12)) != {"kind": KIND, "reader": reader_version()}:
            raise ValueError("of another reader")
        left = most
        while line := file.readline(left + 1):
            if (left := left - len(line)) < 0:
                raise ValueError("too long")
            entry = json.loads(line)
            if type(entry) is not list or len(entry) != 7 or [type(each) for each in entry[:4]] != [str, int, int, int]:
                raise ValueError("not an entry")
            entries[entry[0]] = entry
    return entries


class Cache:
    def __init__(self, folder: Path, expected: int):
        """folder: of the files, whose names are relative to it; expected: how many there are."""
        self.folder, self.entries, self.changes = folder, {}, 0
        for path in (folder / NAME, home_of(folder)):
            try:
                self.entries = load_lines(path, MOST_BYTES + expected * MOST_FILE_BYTES)
                break
            except (OSError, EOFError, ValueError, RecursionError, zlib.error):  # not there, of no use: the files themselves are
                continue

    def find(self, name: str, path: Path, stamp: Stamp) -> Read | None:
        entry = self.entries.get(name)
        if entry is None or Stamp(*entry[1:4]) != stamp:
            return None
        try:
            return unpack_read(entry, path)
        except ValueError:
            return None

    def add(self, name: str, path: Path, stamp: Stamp, found: Read) -> None:
        """stamp: of before it was read."""
        if stamp_of(path) == stamp and time.time_ns() - stamp.changed_ns > SETTLED_NS:
            self.entries[name] = pack_entry(name, stamp, found)
            self.changes += max(1, len(found.runs))

    def write(self) -> None:
        """Beside the files, or else in the user's own folder of caches, or else not at all. Entries of files that are gone go, too."""
        kept = [entry for name, entry in self.entries.items() if stamp_of(self.folder / name) == Stamp(*entry[1:4])]
        lines = [{"kind": KIND, "reader": reader_version()}, *kept]
        content = gzip.compress("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines).encode(), EFFORT, mtime=0)
        for path in (self.folder / NAME, home_of(self.folder)):
            try:
                write_bytes(path, content)
                return
            except OSError:
                continue
