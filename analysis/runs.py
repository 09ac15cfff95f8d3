"""Reads run files: one finished training becomes one Run; every other file becomes a reason."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

SCHEMA_VERSION = 1
PARTIAL = ".partial"
# How reasons begin.
NOT_FINISHED = "not finished"
BROKEN = "broken"


class Unusable(Exception):
    """Why a file is left out."""


@dataclass
class Run:
    path: Path
    run_id: str
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
    sent_bytes: int  # per step and rank, the method's part
    sent_bytes_with_head: int  # the whole message
    step_s: float
    communication_share: float
    tokens_per_s: float
    steps: int
    # of files of older versions: ""
    binary_hash: str
    commit: str
    dirty: str
    blas_core: str
    order_hash: str
    contaminated: bool


@dataclass
class Collection:
    runs: list[Run] = field(default_factory=list)
    left_out: list[tuple[Path, str]] = field(default_factory=list)


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


def need(file: h5py.File, place: str, attribute: str = "") -> Any:
    """An attribute of a group, or the content of a data set."""
    if place not in file:
        raise Unusable(f"{BROKEN}: lacks /{place}")
    if not attribute:
        return file[place][()]
    if attribute not in file[place].attrs:
        raise Unusable(f"{BROKEN}: lacks {attribute} of /{place.strip('/')}")
    return file[place].attrs[attribute]


def check_kind(file: h5py.File) -> None:
    kind = as_text(file.attrs.get("kind", ""))
    if kind != "peftscale run":
        raise Unusable(f"not a run file but a {kind.removeprefix('peftscale ')}" if kind.startswith("peftscale ") else "not a run file")
    version = int(need(file, "/", "schema_version"))
    if version > SCHEMA_VERSION:
        raise Unusable(f"written by a newer version (schema {version}, known: {SCHEMA_VERSION})")
    status = as_text(need(file, "/", "status"))
    if status != "complete":
        raise Unusable(f"{NOT_FINISHED} ({status})")


def read_open(path: Path, file: h5py.File) -> Run:
    check_kind(file)
    settings = split_settings(as_text(need(file, "config_canonical")))
    names = find_names(as_text(need(file, "config")))
    provenance = file["provenance"].attrs if "provenance" in file else {}
    attempts = need(file, "attempts")
    last = attempts[np.argmax(attempts["attempt"])]
    series = newest(need(file, "series/steps"), "step")
    step_s, share, speed = measure_steps(series)
    counts = {name: int(need(file, "accounting", name)) for name in ("trainable", "trainable_head", "stored_bytes", "sent_floats", "sent_bytes_per_step")}
    scores = {name: float(need(file, "result", name)) for name in ("test_metric", "validation_metric")}
    dataset = as_text(provenance.get("dataset", ""))
    return Run(
        path=path, run_id=as_text(need(file, "/", "run_id")), seed=int(settings.pop("seed")), settings=settings, task=names.get("task", "") or dataset,
        dataset=dataset, dataset_hash=as_text(provenance.get("dataset_hash", "")), model=names.get("model", ""),
        weights_hash=as_text(provenance.get("weights_hash", "")), method=settings["method.name"], ranks=int(last["ranks"]), threads=int(last["threads"]),
        metric=as_text(need(file, "result", "metric")), test=scores["test_metric"], validation=scores["validation_metric"],
        trainable=counts["trainable"] - counts["trainable_head"], head=counts["trainable_head"], stored_bytes=counts["stored_bytes"],
        sent_bytes=4 * counts["sent_floats"], sent_bytes_with_head=counts["sent_bytes_per_step"], step_s=step_s, communication_share=share,
        tokens_per_s=speed, steps=len(series), contaminated=bool(file["result"].attrs.get("contaminated", 0)),
        **{name: as_text(provenance.get(name, "")) for name in ("binary_hash", "commit", "dirty", "blas_core", "order_hash")})


def read_run(path: Path) -> Run:
    """One run file. Raises Unusable with the reason for every other file."""
    if path.name.endswith(PARTIAL):
        raise Unusable(f"{NOT_FINISHED} (still running, stopped or failed)")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        if error.errno:
            raise Unusable(f"cannot be opened: {error.strerror or error}") from None
        raise Unusable(f"{BROKEN}: not a whole HDF5 file") from None
    with file:
        try:
            return read_open(path, file)
        except (OSError, RuntimeError, ValueError, TypeError, AttributeError, LookupError) as error:
            raise Unusable(f"{BROKEN}: {(str(error).splitlines() or [type(error).__name__])[0]}") from None


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


def collect(places: list[Path]) -> Collection:
    collection = Collection()
    seen: dict[str, Path] = {}
    for path in find_files(places):
        try:
            run = read_run(path)
            if run.run_id in seen:
                raise Unusable(f"the same run as {seen[run.run_id]}")
            seen[run.run_id] = path
            collection.runs.append(run)
        except Unusable as reason:
            collection.left_out.append((path, str(reason)))
    return collection
