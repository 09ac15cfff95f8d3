"""The verbs `pack`, which puts a study's finished runs into one small file, and `unpack`, which takes one out again."""

import argparse
import difflib
import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NoReturn

from ..common.fault import Fault, writing
from ..common.files import replacing, write_bytes, write_file
from ..common.units import human_bytes
from ..common.words import count
from .archive import Node, load_run, make_archive, make_file, read_archive_index, store_members
from .hdf5 import Unusable, member_of, members_of, open_file
from .index import ARCHIVE, ARCHIVE_INDEX, INDEX, SUFFIX, BadIndex, Index, Line, parse_index, read_index, write_index
from .source import Reader, not_a_folder, of_stage

MOST_NAMED = 10


class Refused(Fault):
    """Nothing was changed."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One packer at a time: each would leave out what the other adds. The folder itself is locked, so that no file remains."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"{folder}: another packer is at work there") from None
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(handle)


class Archive:
    """What is there already. Raises Refused where it cannot be understood, so that it is never replaced and nothing in it gets lost."""

    def __init__(self, path: Path):
        self.path = path
        self.lines: dict[str, Line] = {}  # by request_id
        self.file = None
        if path.exists():
            try:
                self.file = open_file(path)
                names = members_of(self.file)
                lines = parse_index(read_archive_index(self.file), str(path)).lines
            except (Unusable, BadIndex) as reason:
                self.refuse(str(reason).removeprefix(f"{path}: "))
            if sorted(line.name for line in lines) != sorted(names):
                self.refuse("broken: its index lists other runs than it holds")
            self.lines = {line.request_id: line for line in lines}

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *_) -> None:
        if self.file:
            self.file.close()

    def refuse(self, reason: str) -> NoReturn:
        raise Refused(f"{self.path}: {reason}; it is left as it is, move it away to begin a new archive") from None

    def load(self, name: str) -> Node:
        try:
            return load_run(member_of(self.file, name))
        except Unusable as reason:
            self.refuse(f"{name}: {reason}")


def created(run: Node) -> str:
    """UTC in ISO 8601, so that texts can be compared; a run without it is older than all."""
    value = run.attributes.get("created")
    return value.content.tobytes().rstrip(b"\0").decode("ascii", "replace") if value else ""


@dataclass
class Packing:
    """One archive being made from an older one and the lines of an index."""
    reader: Reader
    old: Archive
    lines: list[Line]  # to be packed
    plan: Index  # what the study says of itself
    new: list[str] = field(default_factory=list)  # names
    replaced: list[str] = field(default_factory=list)
    left: list[tuple[Line, str]] = field(default_factory=list)  # not packed, and why
    done: dict[str, Line] = field(default_factory=dict)  # what the archive holds, by request_id

    def choose(self, line: Line) -> Node:
        """The newer of the run in the archive and the one that the index names. Raises Unusable where there is neither."""
        before = self.old.lines.get(line.request_id)
        path, member = self.reader.find(line)
        if before and (not path.exists() or (member and path.samefile(self.old.path))):
            return self.old.load(before.name)
        try:
            with self.reader.opened(line) as (_, group):
                run = load_run(group)
        except Unusable as reason:
            if not before:
                raise
            self.left.append((line, f"{reason}; the archive keeps its older one"))
            return self.old.load(before.name)
        if not before:
            self.new.append(line.name)
        elif created(run) > created(kept := self.old.load(before.name)):
            self.replaced.append(line.name)
        else:
            return kept
        return run

    def runs(self) -> Iterator[tuple[str, Node]]:
        """All that the new archive holds, in the order of the names."""
        chosen = {line.request_id: line for line in self.lines}
        every = sorted([*chosen.values(), *(line for key, line in self.old.lines.items() if key not in chosen)], key=lambda line: line.name + SUFFIX)
        names: set[str] = {line.name for key, line in self.old.lines.items() if key not in chosen}
        for line in every:
            if line.request_id not in chosen:
                self.done[line.request_id] = line
                yield line.name, self.old.load(line.name)
                continue
            try:
                if line.name in names:
                    raise Unusable(f"another run in the archive is called {line.name}")
                run = self.choose(line)
            except Unusable as reason:
                self.left.append((line, str(reason)))
                continue
            names.add(line.name)
            self.done[line.request_id] = Line({**line.cells, "file": f"{ARCHIVE}:{line.name}"})
            yield line.name, run

    def index(self) -> str:
        """In the order of the study; what it knows no longer comes last."""
        order = [*(line.request_id for line in self.lines), *self.old.lines]
        return write_index(replace(self.plan, lines=[self.done[key] for key in dict.fromkeys(order) if key in self.done]))


def verify(path: Path, digests: dict[str, bytes]) -> None:
    """What was written can be read. Raises Refused."""
    try:
        with open_file(path) as archive:
            wrong = [name for name, digest in digests.items() if load_run(member_of(archive, name)).digest() != digest]
    except Unusable as reason:
        raise Refused(f"the new archive cannot be read: {reason}; nothing was changed") from None
    if wrong:
        raise Refused(f"the new archive holds another {wrong[0]} than was written; nothing was changed")


def read_plan(folder: Path) -> Index:
    if reason := not_a_folder(folder):
        raise Refused(reason)
    try:
        return read_index(folder / INDEX)
    except FileNotFoundError:
        raise Refused(f"{folder}: has no {INDEX}, which `peftscale sweep` writes") from None


def pack(options: argparse.Namespace) -> int:
    index = read_plan(options.study)
    planned = of_stage(index.lines, options.stage, options.study / INDEX)
    out = options.out or options.study
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"{out / ARCHIVE} cannot be written: {error.filename}: {error.strerror}") from None
    with locked(out), Reader(options.study) as reader, Archive(out / ARCHIVE) as old:
        packing = Packing(reader, old, [line for line in planned if line.is_finished], index)
        if not packing.lines and not packing.old.lines:
            raise Refused(f"{options.study}: no run is finished")
        content, digests = make_archive(packing.runs(), packing.index)
        if not digests:
            raise Refused(f"{options.study}: no finished run can be read: {packing.left[0][0].cells['file']}: {packing.left[0][1]}")
        with writing(out / ARCHIVE), replacing(out / ARCHIVE) as temporary:
            temporary.write_bytes(content)
            verify(temporary, digests)
        with writing(out / ARCHIVE_INDEX):
            write_file(out / ARCHIVE_INDEX, packing.index())
    counts = {"new": len(packing.new), "in the place of older ones": len(packing.replaced)}
    counts["as before"] = len(digests) - sum(counts.values())
    words = ", ".join(f"{number} {what}" for what, number in counts.items() if number)
    print(f"Written: {out / ARCHIVE}: {count(len(digests), 'run')} ({words}), {human_bytes((out / ARCHIVE).stat().st_size)}")
    print(f"Written: {out / ARCHIVE_INDEX}")
    if unfinished := len(planned) - len(packing.lines):
        print(f"Not finished, so not packed: {unfinished} of {len(planned)} planned runs")
    for line, reason in packing.left[:MOST_NAMED]:
        print(f"analysis: not packed: {options.study / line.cells['file']}: {reason}", file=sys.stderr)
    if len(packing.left) > MOST_NAMED:
        print(f"analysis: not packed: {len(packing.left) - MOST_NAMED} more", file=sys.stderr)
    return 1 if packing.left else 0


def archive_of(options: argparse.Namespace) -> Path:
    return options.archive / ARCHIVE if options.archive.is_dir() else options.archive


def unpack(options: argparse.Namespace) -> int:
    path = archive_of(options)
    if not path.exists():
        raise Refused(f"{path}: there is no archive; `python3 -m analysis pack` makes it")
    with open_file(path) as archive:
        names = members_of(archive)
        if not options.names:
            print("\n".join(names))
            return 0
        wanted = [name.rpartition(":")[2].removesuffix(SUFFIX) for name in options.names]
        for name in wanted:
            if name not in names:
                near = difflib.get_close_matches(name, names, 20, 0.5)
                likely = max(near, key=lambda each: len(os.path.commonprefix([each, name])), default="")  # the hash behind a name is hard to remember
                raise Refused(f"{path}: holds no run '{name}'" + (f"; did you mean {likely}?" if likely else ""))
            if (options.out / f"{name}{SUFFIX}").exists():
                raise Refused(f"{options.out / f'{name}{SUFFIX}'}: is there already")
        for name in dict.fromkeys(wanted):
            target, run = options.out / f"{name}{SUFFIX}", load_run(member_of(archive, name))
            with writing(target):
                write_bytes(target, make_file(partial(store_members, run)))
            print(f"Written: {target}")
    return 0


def guarded(verb, options: argparse.Namespace, place: Path) -> int:
    """What goes wrong names a file. Raises Fault."""
    try:
        return verb(options)
    except Unusable as reason:
        raise Fault(f"{place}: {reason}") from None
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Fault(f"{error.filename or place}: {error.strerror}") from None


def run_pack(options: argparse.Namespace) -> int:
    return guarded(pack, options, options.out or options.study)


def run_unpack(options: argparse.Namespace) -> int:
    return guarded(unpack, options, archive_of(options))
