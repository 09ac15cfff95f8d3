"""Opens HDF5 files of the suite and takes values out of them: whatever a file lacks, or holds in another form, becomes one reason."""

import functools
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5i

from ..common.fault import Fault

SCHEMA_VERSION = 1
PARTIAL = ".partial"
KIND = "peftscale run"
ARCHIVE_KIND = "peftscale archive"  # one group per run (src/store/SCHEMA.md)
ARCHIVE_VERSION = 1
SEAL = re.compile(rb"\npeftscale archive sha256 ([0-9a-f]{64})\n")  # an archive's last line, behind HDF5's own bytes, which HDF5 does not look at
SEAL_BYTES = 91
BLOCK_BYTES = 1 << 20
MOST_PACKED = 1100  # bytes that one byte of a file can stand for: deflate reaches 1032
MOST_PLAIN = 2  # likewise where nothing is compressed; more than 1, because a chunk need not be full
CHUNK_ROOM = 1 << 20
# How reasons begin.
NOT_FINISHED = "not finished"
BROKEN = "broken"
NO_RUN = "not a run file"
NOT_OPENED = "cannot be opened"


class Unusable(Fault):
    """Why a file is left out."""


def as_text(value: Any) -> str:
    """h5py gives texts of fixed length as bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def newest(rows: np.ndarray, *key: str) -> np.ndarray:
    """The rows of the last attempt per key (of these the last written), in the order of the key: a requeued run repeats steps."""
    rows = rows[rows["attempt"] > 0]  # 0: never filled
    if len(key) == 1 and (rows["attempt"] == rows["attempt"][:1]).all() and (np.diff(rows[key[0]]) > 0).all():
        return rows  # as nearly all files are
    rows = rows[np.lexsort((rows["attempt"], *(rows[name] for name in reversed(key))))]
    last = np.ones(len(rows), bool)
    last[:-1] = np.any([rows[name][:-1] != rows[name][1:] for name in key], axis=0)
    return rows[last]


def check_size(data: h5d.DatasetID, name: str) -> None:
    """A damaged file may claim more numbers than it can hold. Raises Unusable."""
    count, size = data.get_space().get_simple_extent_npoints(), data.get_type().get_size()
    most = MOST_PACKED if data.get_create_plist().get_nfilters() else MOST_PLAIN
    if count and count * size > most * h5i.get_file_id(data).get_filesize() + CHUNK_ROOM:
        raise Unusable(f"{BROKEN}: {name} claims more than the file can hold")


def check_claim(data: h5py.Dataset) -> None:
    check_size(data.id, data.name)


def need(run: h5py.Group, place: str, attribute: str = "") -> Any:
    """An attribute of a group ("/": of the run itself), or the content of a data set."""
    inner = place.strip("/")
    if inner and inner not in run:
        raise Unusable(f"{BROKEN}: lacks /{inner}")
    found = run[inner] if inner else run
    if not attribute:
        check_claim(found)
        return found[()]
    if attribute not in found.attrs:
        raise Unusable(f"{BROKEN}: lacks {attribute} of /{inner}")
    return found.attrs[attribute]


def kind_of(group: h5py.Group) -> str:
    return as_text(group.attrs.get("kind", ""))


def check_version(group: h5py.Group, known: int) -> None:
    version = int(need(group, "/", "schema_version"))
    if version > known:
        raise Unusable(f"written by a newer version (schema {version}, known: {known})")


@contextmanager
def reasons() -> Iterator[None]:
    """What h5py raises of a damaged file becomes Unusable."""
    try:
        with np.errstate(all="ignore"):
            yield
    except (OSError, RuntimeError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, MemoryError) as error:
        raise Unusable(f"{BROKEN}: {(str(error).splitlines() or [type(error).__name__])[0]}") from None


def make_seal(content: bytes) -> bytes:
    return b"\npeftscale archive sha256 %s\n" % hashlib.sha256(content).hexdigest().encode()


def check_place(path: Path) -> None:
    """What is no file is never opened: a pipe would wait for its writer. Raises Unusable, OSError."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise Unusable("a folder, not a file" if stat.S_ISDIR(mode) else "not a file: a pipe, a socket or a device")


def is_sealed(path: Path) -> bool:
    """Whether a file ends as an archive does. Raises Unusable if it is not what was sealed: not all damage is survived by the HDF5 library. Raises OSError."""
    found = os.stat(path)
    return check_seal(path, (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))


@functools.lru_cache(maxsize=64)
def check_seal(path: Path, _state: tuple[int, ...]) -> bool:
    """The content of an archive is looked at once, not for each of its runs."""
    with open(path, "rb") as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(max(0, length - SEAL_BYTES))
        if not (seal := SEAL.fullmatch(file.read())):
            return False
        file.seek(0)
        digest, left = hashlib.sha256(), length - SEAL_BYTES
        while left > 0 and (block := file.read(min(left, BLOCK_BYTES))):
            digest.update(block)
            left -= len(block)
        if digest.hexdigest().encode() != seal[1]:
            raise Unusable(f"{BROKEN}: its content is not what was written (another SHA-256)")
        return True


def open_file(path: Path) -> h5py.File:
    """A file that may be a run or an archive. Raises Unusable."""
    if path.name.endswith(PARTIAL):
        raise Unusable(f"{NOT_FINISHED} (still running, stopped or failed)")
    try:
        check_place(path)
        is_sealed(path)
        return h5py.File(path, "r")
    except OSError as error:
        if error.errno:
            raise Unusable(f"{NOT_OPENED}: {os.strerror(error.errno)}") from None
        raise Unusable(f"{BROKEN}: not a whole HDF5 file") from None
    except RuntimeError:  # how h5py says what else the library finds wrong
        raise Unusable(f"{BROKEN}: not a whole HDF5 file") from None


def is_archive(file: h5py.File) -> bool:
    with reasons():
        return kind_of(file) == ARCHIVE_KIND


def members_of(archive: h5py.File) -> list[str]:
    """The names of its runs, ordered as their files would be. Raises Unusable."""
    with reasons():
        if kind_of(archive) != ARCHIVE_KIND:
            raise Unusable("not an archive of runs")
        check_version(archive, ARCHIVE_VERSION)
        if not is_sealed(Path(archive.filename)):
            raise Unusable(f"{BROKEN}: its end is missing")
        return sorted((name for name in archive if archive.get(name, getclass=True) is h5py.Group), key=lambda name: f"{name}.h5")


def member_of(archive: h5py.File, name: str) -> h5py.Group:
    """Raises Unusable."""
    with reasons():
        run = archive.get(name)
    if not isinstance(run, h5py.Group):
        raise Unusable("not in the archive")
    return run
