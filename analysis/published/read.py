"""Reads the files of published numbers: those of this folder, and a user's own of the same form."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from ..common.fault import Fault
from ..common.units import METRICS

HOME = Path(__file__).resolve().parent
OWN = (HOME / "scores.tsv", HOME / "counts.tsv")
SCORES = ("paper", "source", "model", "method", "options", "task", "metric", "score", "spread", "scale", "parameters", "protocol", "printed_method",
          "printed_task", "printed_metric", "note")
COUNTS = ("paper", "source", "model", "method", "options", "figure", "printed", "note")
EMPTY = "-"
FIGURES = ("trainable", "stored")
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")  # of a method, task or model, as our configurations spell them
COUNT = re.compile(r"(\d[\d,]*(?:\.\d+)?)\s?([KMB]?)")
TIMES = {"": 1, "K": 1_000, "M": 1_000_000, "B": 1_000_000_000}
LONGEST = 300  # letters of a cell
MOST_BYTES = 16 << 20


class BadPublished(Fault):
    """Why a file cannot be used; names it and the line."""


@dataclass(frozen=True)
class Source:
    """One table of one paper, for one model: what may stand in one column."""
    paper: str
    source: str  # arXiv id and table
    model: str


@dataclass(frozen=True)
class Score:
    origin: Source
    method: str
    options: dict[str, str]  # that the printed row tells
    task: str
    metric: str  # ours; "-": it is not clear which
    printed: str  # as printed
    spread: str  # likewise; "-": none
    scale: int  # printed = scale x ours
    parameters: str  # that the table prints beside it; "-": none
    protocol: str
    names: tuple[str, str, str]  # printed method, task, metric
    note: str

    @property
    def value(self) -> float:
        return float(Decimal(self.printed) / self.scale)


@dataclass(frozen=True)
class Count:
    origin: Source
    method: str
    options: dict[str, str]
    figure: str
    printed: str
    note: str


@dataclass
class Published:
    scores: list[Score]
    counts: list[Count]


def count_of(printed: str) -> float:
    """0.295M is 295000; NaN for what is no count."""
    found = COUNT.fullmatch(printed)
    return float(Decimal(found[1].replace(",", "")) * TIMES[found[2]]) if found else math.nan


def shift(printed: str, scale: int, wanted: int) -> str:
    """In another unit with the digits that were printed: 63.6 of 100 is 0.636 of 1. printed: a checked number."""
    return f"{Decimal(printed).scaleb(len(str(wanted)) - len(str(scale))):f}"


# ---- one line ----

def is_number(text: str) -> bool:
    """Such as papers print: few digits, no exponent."""
    try:
        return bool(re.fullmatch(r"-?\d{1,9}(\.\d{1,9})?", text)) and Decimal(text).is_finite()
    except InvalidOperation:
        return False


def check_options(text: str) -> str:
    words = [] if text == EMPTY else text.split(" ")
    wrong = next((word for word in words if not re.fullmatch(r"[a-z_0-9]+=[^\s=]+", word)), None)
    return "" if wrong is None else f"options '{text}': '{wrong}' is not KEY=VALUE; write rank=8 modules=q,v, or -"


def check_names(cells: dict[str, str], *columns: str) -> str:
    for column in columns:
        if not NAME.fullmatch(cells[column]):
            return f"{column} '{cells[column]}' is no name; spell it as configs/{column} does, in small letters"
    return check_options(cells["options"])


def check_score(cells: dict[str, str]) -> str:
    """What is wrong with a line; "" for nothing."""
    if wrong := check_names(cells, "model", "method", "task"):
        return wrong
    if cells["metric"] not in (*METRICS, EMPTY):
        return f"metric '{cells['metric']}' is none of {', '.join(METRICS)}, nor - for one that is not clear"
    for column in ("score", "spread"):
        if not is_number(cells[column]) and not (column == "spread" and cells[column] == EMPTY):
            return f"{column} '{cells[column]}' is no number; write it as printed" + (", or -" if column == "spread" else "")
    if cells["scale"] not in ("1", "100"):
        return f"scale '{cells['scale']}' is neither 1 nor 100: of 63.6 for a correlation of 0.636 it is 100"
    if abs(float(cells["score"])) > int(cells["scale"]):
        return f"score '{cells['score']}' is above its scale, {cells['scale']}"
    if cells["parameters"] != EMPTY and not COUNT.fullmatch(cells["parameters"]):
        return f"parameters '{cells['parameters']}' is no count; write 294912, 0.3M, or -"
    return ""


def check_count(cells: dict[str, str]) -> str:
    if wrong := check_names(cells, "model", "method"):
        return wrong
    if cells["figure"] not in FIGURES:
        return f"figure '{cells['figure']}' is none of {', '.join(FIGURES)}"
    return "" if COUNT.fullmatch(cells["printed"]) else f"printed '{cells['printed']}' is no count; write 294912 or 0.3M"


def options_of(text: str) -> dict[str, str]:
    return {} if text == EMPTY else dict(word.split("=", 1) for word in text.split(" "))


def make_score(cells: dict[str, str]) -> Score:
    return Score(Source(cells["paper"], cells["source"], cells["model"]), cells["method"], options_of(cells["options"]), cells["task"], cells["metric"],
                 cells["score"], cells["spread"], int(cells["scale"]), cells["parameters"], cells["protocol"],
                 (cells["printed_method"], cells["printed_task"], cells["printed_metric"]), cells["note"])


def make_count(cells: dict[str, str]) -> Count:
    return Count(Source(cells["paper"], cells["source"], cells["model"]), cells["method"], options_of(cells["options"]), cells["figure"], cells["printed"],
                 cells["note"])


# ---- a file ----

def read_text(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise BadPublished(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(content) > MOST_BYTES:
        raise BadPublished(f"{path}: larger than {MOST_BYTES >> 20} MiB, which no table of a paper is")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise BadPublished(f"{path}: not UTF-8 text") from None


def kind_of(header: list[str], where: str) -> tuple[tuple[str, ...], Callable, Callable]:
    """The columns of a file by its header, and what checks and makes a line. Columns in another order, and more of them, do no harm."""
    for columns, check, make in ((SCORES, check_score, make_score), (COUNTS, check_count, make_count)):
        if set(columns) <= set(header):
            if len(set(header)) != len(header):
                raise BadPublished(f"{where}: a column is there twice")
            return columns, check, make
    likely = COUNTS if "figure" in header or "printed" in header else SCORES
    lacking = [name for name in likely if name not in header]
    raise BadPublished(f"{where}: lacks the column {lacking[0]}; the header of such a file is: {' '.join(likely)} (parted by tabs)")


def read_file(path: Path, into: Published) -> None:
    """Raises BadPublished at the first line that is wrong."""
    lines = [(number, line) for number, line in enumerate(read_text(path).splitlines(), 1) if line.strip() and not line.startswith("#")]
    if not lines:
        raise BadPublished(f"{path}: has no line; the header of such a file is: {' '.join(SCORES)} (parted by tabs)")
    (first, head), *rest = lines
    header = head.split("\t")
    columns, check, make = kind_of(header, f"{path}: line {first}")
    for number, line in rest:
        where = f"{path}: line {number}"
        parts = line.split("\t")
        if len(parts) != len(header):
            raise BadPublished(f"{where}: {len(parts)} columns, the header has {len(header)}")
        cells = {name: " ".join(part.split()) for name, part in zip(header, parts)}
        for name in columns:
            if not cells[name] or len(cells[name]) > LONGEST or not cells[name].isprintable():
                raise BadPublished(f"{where}: {name} is {'empty; write -' if not cells[name] else 'too long or not text'}")
        if wrong := check(cells):
            raise BadPublished(f"{where}: {wrong[:400]}")
        (into.scores if columns is SCORES else into.counts).append(make(cells))


def read_published(paths: tuple[Path, ...] | list[Path] = OWN) -> Published:
    """Raises BadPublished."""
    published = Published([], [])
    for path in paths:
        read_file(path, published)
    return published
