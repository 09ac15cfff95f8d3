"""Reads measurements of `peftscale comm` and a list of payloads: points to fit, or a reason why a file is of no use."""

import csv
import math
import os
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from ..common.words import count
from ..load.guard import call
from ..load.hdf5 import PARTIAL, Unusable, as_text, check_place, need

SCHEMA_VERSION = 1
KIND = "peftscale comm"
CASES = ("case", "ranks", "nodes", "algorithm", "label", "model", "method", "payload_bytes", "rounds", "counted_bytes_max")
REPETITIONS = ("case", "seconds")


@dataclass(frozen=True, order=True)
class Network:
    """Where something was measured. Points of different networks, or with ranks spread otherwise, are never fitted together."""
    label: str
    wire: str
    bits_per_s: float  # 0: not known
    spread: str  # "one rank per host", "one host", "2 ranks per host"

    @property
    def title(self) -> str:
        rate = f", {self.bits_per_s / 1e6:g} Mbit/s" if self.bits_per_s > 0 else ""
        wire = f", {self.wire}" if self.wire not in ("", "none", self.label) else ""
        return f"{self.label or 'a network without a name'}{wire}{rate}, {self.spread}"


@dataclass
class Point:
    """All repetitions of one algorithm at one rank count and size."""
    algorithm: str
    ranks: int
    nodes: int
    payload: int
    seconds: np.ndarray
    rounds: int = -1  # counted, where the suite's own algorithm ran
    counted_max: float = math.nan
    held_out: str = ""  # why

    @property
    def median(self) -> float:
        return float(np.median(self.seconds))


@dataclass(frozen=True, order=True)
class Payload:
    bytes: int
    label: str


@dataclass
class Measurements:
    points: dict[Network, list[Point]] = field(default_factory=dict)
    payloads: set[Payload] = field(default_factory=set)
    files: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def spread_of(ranks: int, nodes: int) -> str:
    if nodes == ranks:
        return "one rank per host"
    if nodes == 1:
        return "one host"
    return f"{ranks // nodes} ranks per host" if ranks % nodes == 0 else f"{ranks} ranks on {nodes} hosts"


def table(file: h5py.File, name: str, columns: tuple[str, ...]) -> np.ndarray:
    rows = need(file, name)
    present = getattr(rows, "dtype", np.dtype("i4")).names or ()
    if lacking := [column for column in columns if column not in present]:
        raise Unusable(f"broken: /{name} lacks {lacking[0]}")
    return rows


def check_kind(file: h5py.File) -> None:
    kind = as_text(file.attrs.get("kind", ""))
    if kind != KIND:
        raise Unusable(f"no measurement of `peftscale comm` but a {kind}" if kind.startswith("peftscale ") else "no measurement of `peftscale comm`")
    version = int(need(file, "/", "schema_version"))
    if version != SCHEMA_VERSION:
        raise Unusable(f"schema {version}, known: {SCHEMA_VERSION}")
    status = as_text(file.attrs.get("status", "complete"))
    if status != "complete":
        raise Unusable(f"not finished ({status})")


def read_open(file: h5py.File, found: Measurements) -> None:
    check_kind(file)
    label, wire = (as_text(need(file, "/", name)) for name in ("network", "wire"))
    rate = float(need(file, "/", "rate_bits_per_s"))
    if not math.isfinite(rate) or rate < 0:
        raise Unusable(f"broken: a rate of {rate} bits per second")
    if as_text(file.attrs.get("reduce", "float")) != "float":
        raise Unusable("holds exact sums, each of two messages, which are not modelled (measure with --reduce float)")
    cases, repetitions = table(file, "cases", CASES), table(file, "repetitions", REPETITIONS)
    if len(set(cases["case"].tolist())) != len(cases):
        raise Unusable("broken: /cases names a case twice")
    if stray := set(repetitions["case"].tolist()) - set(cases["case"].tolist()):
        raise Unusable(f"broken: /repetitions has times of case {min(stray)}, which /cases lacks")
    seconds = repetitions["seconds"].astype(float)
    if not np.all(np.isfinite(seconds)) or np.any(seconds <= 0):
        raise Unusable("broken: /repetitions has a time that is no positive number")
    points: dict[tuple, Point] = {}
    payloads = set()
    untimed = 0
    for case in cases:
        ranks, nodes, payload = int(case["ranks"]), int(case["nodes"]), int(case["payload_bytes"])
        if not 1 <= nodes <= ranks or payload < 1:
            raise Unusable(f"broken: case {case['case']} has {payload} bytes, {ranks} ranks on {nodes} nodes")
        names = [as_text(case[name]) for name in ("label", "model", "method")]
        if names[2]:
            payloads.add(Payload(payload, names[0] or f"{names[1]} {names[2]}".strip()))
        times = seconds[repetitions["case"] == case["case"]]
        if ranks == 1:
            continue  # nothing travels
        if not len(times):
            untimed += 1
            continue
        key = (Network(label, wire, rate, spread_of(ranks, nodes)), as_text(case["algorithm"]), ranks, nodes, payload)
        if key in points:  # two methods of one size
            points[key].seconds = np.concatenate([points[key].seconds, times])
        else:
            points[key] = Point(*key[1:], times, int(case["rounds"]), float(case["counted_bytes_max"]))
    if not points:
        raise Unusable("holds no time of two or more ranks")
    for (network, *_), point in points.items():
        found.points.setdefault(network, []).append(point)
    found.payloads |= payloads
    if untimed:
        found.notes.append(f"{count(untimed, 'case')} without a time")


def read_measurements(path: Path) -> Measurements:
    """Of one file. Raises Unusable with the reason."""
    found = Measurements(files=[path])
    if path.name.endswith(PARTIAL):
        raise Unusable("not finished (still measuring, stopped or failed)")
    try:
        check_place(path)
        file = h5py.File(path, "r")
    except OSError as error:
        if error.errno:
            raise Unusable(f"cannot be opened: {os.strerror(error.errno)}") from None
        raise Unusable("broken: not a whole HDF5 file") from None
    with file:
        try:
            read_open(file, found)
        except (OSError, RuntimeError, ValueError, TypeError, AttributeError, LookupError, OverflowError) as error:
            raise Unusable(f"broken: {(str(error).splitlines() or [type(error).__name__])[0]}") from None
    return found


def merge_points(points: list[Point]) -> list[Point]:
    """One point for what several files measured alike, in a fixed order."""
    merged: dict[tuple, Point] = {}
    for point in points:
        key = (point.algorithm, point.ranks, point.nodes, point.payload)
        if key in merged:
            merged[key].seconds = np.concatenate([merged[key].seconds, point.seconds])
        else:
            merged[key] = point
    return [merged[key] for key in sorted(merged)]


def collect(paths: list[Path]) -> Measurements:
    """All files, or Unusable for the first that is of no use: a fit on less than what was named would mislead."""
    found = Measurements()
    for path in dict.fromkeys(path.resolve() for path in paths):
        try:
            one = call(read_measurements, path)
        except Unusable as reason:
            raise Unusable(f"{path}: {reason}") from None
        for network, points in one.points.items():
            found.points.setdefault(network, []).extend(points)
        found.payloads |= one.payloads
        found.files += one.files
        found.notes += one.notes
    found.points = {network: merge_points(points) for network, points in sorted(found.points.items())}
    return found


def read_payloads(path: Path) -> set[Payload]:
    """A TSV with a header: `payload_bytes` or what `peftscale count --tsv` prints (sent_floats_with_head), named by `label` or by model and method."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Unusable(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not rows:
        raise Unusable(f"{path}: holds no row below a header")
    payloads = set()
    for line, row in enumerate(rows, 2):
        column = next((name for name in ("payload_bytes", "sent_floats_with_head", "sent_floats") if name in row), None)
        if not column:
            raise Unusable(f"{path}: has no column payload_bytes (or sent_floats_with_head, as `peftscale count --tsv` prints)")
        text = row[column] or ""
        if not text.isascii() or not text.isdigit() or not 0 < int(text) < 1 << 48:
            raise Unusable(f"{path}:{line}: {column} is '{text}', no positive whole number")
        label = row.get("label") or " ".join(row.get(name) or "" for name in ("model", "method", "modules")).strip() or f"line {line}"
        payloads.add(Payload(int(text) * (1 if column == "payload_bytes" else 4), label))
    return payloads
