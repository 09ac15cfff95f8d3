"""Reads run files and archives of runs: one finished training becomes one Run; every other file becomes a reason."""

import hashlib
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
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


class Unusable(Exception):
    """Why a file is left out."""


@dataclass
class Run:
    path: Path  # of the file; an archive's holds others, too
    member: str  # the run's name in an archive; "" for a file of its own
    run_id: str
    request_id: str
    settings: dict[str, str]  # what decides the numbers, the seed left out
    seed: int
    task: str
    dataset: str
    dataset_hash: str
    model: str
    weights_hash: str
    method: str
    ranks: int
    threads: int
    metric: str
    test: float
    validation: float
    trainable: int  # of the method; the head apart
    head: int
    stored_bytes: int
    regenerated_bytes: int | None  # None: the file does not tell
    sent_bytes: int  # per step and rank, the method's part
    sent_bytes_with_head: int  # the whole message
    step_s: float
    communication_share: float
    tokens_per_s: float
    train_s: float  # first to last step; NaN: the file does not tell
    steps: int
    # of files of older versions: ""
    binary_hash: str
    commit: str
    dirty: str
    blas_core: str
    order_hash: str
    contaminated: bool

    @property
    def name(self) -> str:
        """The same whether the run lies in a file of its own or in an archive."""
        return f"{self.member}.h5" if self.member else self.path.name


@dataclass
class Collection:
    runs: list[Run] = field(default_factory=list)
    left_out: list[tuple[Path, str]] = field(default_factory=list)
    twice: dict[Path, int] = field(default_factory=dict)  # per archive: its runs that are also among the others, and count once
    notes: list[str] = field(default_factory=list)  # what else is to be said below the table


def as_text(value: Any) -> str:
    """h5py gives texts of fixed length as bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def newest(rows: np.ndarray, *key: str) -> np.ndarray:
    """The rows of the last attempt per key, in the order of the key: a requeued run repeats steps."""
    rows = np.sort(rows, order=[*key, "attempt"])
    last = np.ones(len(rows), bool)
    last[:-1] = np.any([rows[name][:-1] != rows[name][1:] for name in key], axis=0)
    return rows[last]


def split_settings(text: str) -> dict[str, str]:
    """The lines KEY=VALUE of /config_canonical."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def find_names(text: str) -> dict[str, str]:
    """model.name and the like from /config: names are no part of what decides the numbers. Plain `section:`, `  key: value` lines need no YAML library."""
    names, section = {}, ""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if line and not line[0].isspace():
            section = key
        elif key.strip() == "name":
            names[section] = value.strip().strip("\"'")
    return names


def measure_steps(rows: np.ndarray) -> tuple[float, float, float]:
    """Median time of a step, share of communication, tokens per second. The first steps, which fill caches and open connections, do not count."""
    if not len(rows):
        return float("nan"), float("nan"), float("nan")
    rows = rows[min(5, len(rows) // 4):]
    total = float(rows["step_s"].sum())
    if total <= 0:
        return float("nan"), float("nan"), float("nan")
    return float(np.median(rows["step_s"])), float(rows["communication_s"].sum()) / total, float(rows["tokens"].sum()) / total


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
        raise Unusable(f"not a run file but a {kind.removeprefix('peftscale ')}" if kind.startswith("peftscale ") else "not a run file")
    check_version(run, SCHEMA_VERSION)
    status = as_text(need(run, "/", "status"))
    if status != "complete":
        raise Unusable(f"{NOT_FINISHED} ({status})")


@contextmanager
def reasons() -> Iterator[None]:
    """What h5py raises of a damaged file becomes Unusable."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, TypeError, AttributeError, LookupError, MemoryError) as error:
        raise Unusable(f"{BROKEN}: {(str(error).splitlines() or [type(error).__name__])[0]}") from None


def read_group(path: Path, member: str, run: h5py.Group) -> Run:
    """A run that is open: a whole file, or a group of an archive. Raises Unusable."""
    with reasons():
        check_kind(run)
        settings = split_settings(as_text(need(run, "config_canonical")))
        names = find_names(as_text(need(run, "config")))
        provenance = run["provenance"].attrs if "provenance" in run else {}
        attempts = need(run, "attempts")
        last = attempts[np.argmax(attempts["attempt"])]
        series = newest(need(run, "series/steps"), "step")
        step_s, share, speed = measure_steps(series)
        counts = {name: int(need(run, "accounting", name)) for name in ("trainable", "trainable_head", "stored_bytes", "sent_floats", "sent_bytes_per_step")}
        scores = {name: float(need(run, "result", name)) for name in ("test_metric", "validation_metric")}
        regenerated = run["accounting"].attrs.get("regenerated_bytes")
        dataset = as_text(provenance.get("dataset", ""))
        return Run(
            path=path, member=member, run_id=as_text(need(run, "/", "run_id")), request_id=as_text(run.attrs.get("request_id", "")),
            seed=int(settings.pop("seed")), settings=settings, task=names.get("task", "") or dataset, dataset=dataset,
            dataset_hash=as_text(provenance.get("dataset_hash", "")), model=names.get("model", ""), weights_hash=as_text(provenance.get("weights_hash", "")),
            method=settings["method.name"], ranks=int(last["ranks"]), threads=int(last["threads"]), metric=as_text(need(run, "result", "metric")),
            test=scores["test_metric"], validation=scores["validation_metric"], trainable=counts["trainable"] - counts["trainable_head"],
            head=counts["trainable_head"], stored_bytes=counts["stored_bytes"],
            regenerated_bytes=None if regenerated is None else int(regenerated), sent_bytes=4 * counts["sent_floats"],
            sent_bytes_with_head=counts["sent_bytes_per_step"], step_s=step_s, communication_share=share, tokens_per_s=speed,
            train_s=float(run["result"].attrs.get("train_s", math.nan)), steps=len(series), contaminated=bool(run["result"].attrs.get("contaminated", 0)),
            **{name: as_text(provenance.get(name, "")) for name in ("binary_hash", "commit", "dirty", "blas_core", "order_hash")})


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


def read_run(path: Path) -> Run:
    """One run file. Raises Unusable with the reason for every other file."""
    with open_file(path) as file:
        return read_group(path, "", file)


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
