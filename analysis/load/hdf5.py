"""Opens HDF5 files of the suite and takes values out of them: whatever a file lacks, or holds in another form, becomes one reason."""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

SCHEMA_VERSION = 1
PARTIAL = ".partial"
KIND = "peftscale run"
ARCHIVE_KIND = "peftscale archive"  # one group per run (src/store/SCHEMA.md)
ARCHIVE_VERSION = 1
SEAL = re.compile(rb"\npeftscale archive sha256 ([0-9a-f]{64})\n")  # an archive's last line, behind HDF5's own bytes, which HDF5 does not look at
SEAL_BYTES = 91
MOST_PACKED = 1100  # bytes that one byte of a file can stand for: deflate reaches 1032
# How reasons begin.
NOT_FINISHED = "not finished"
BROKEN = "broken"
NO_RUN = "not a run file"


class Unusable(Exception):
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


def check_claim(data: h5py.Dataset) -> None:
    """A damaged file may claim more numbers than it can hold. Raises Unusable."""
    if data.size and data.size * data.id.get_type().get_size() > MOST_PACKED * data.file.id.get_filesize():
        raise Unusable(f"{BROKEN}: {data.name} claims more than the file can hold")


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


def check_kind(run: h5py.Group) -> None:
    kind = kind_of(run)
    if kind != KIND:
        raise Unusable(f"{NO_RUN} but a {kind.removeprefix('peftscale ')}" if kind.startswith("peftscale ") else NO_RUN)
    check_version(run, SCHEMA_VERSION)
    status = as_text(need(run, "/", "status"))
    if status != "complete":
        raise Unusable(f"{NOT_FINISHED} ({status})")


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


def is_sealed(path: Path) -> bool:
    """Whether a file ends as an archive does. Raises Unusable if it is not what was sealed: not all damage is survived by the HDF5 library. Raises OSError."""
    with open(path, "rb") as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(max(0, length - SEAL_BYTES))
        if not SEAL.fullmatch(seal := file.read()):
            return False
        file.seek(0)
        if make_seal(file.read(length - SEAL_BYTES)) != seal:
            raise Unusable(f"{BROKEN}: its content is not what was written (another SHA-256)")
        return True


def open_file(path: Path) -> h5py.File:
    """A file that may be a run or an archive. Raises Unusable."""
    if path.name.endswith(PARTIAL):
        raise Unusable(f"{NOT_FINISHED} (still running, stopped or failed)")
    try:
        is_sealed(path)
        return h5py.File(path, "r")
    except OSError as error:
        if error.errno:
            raise Unusable(f"cannot be opened: {os.strerror(error.errno)}") from None
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
