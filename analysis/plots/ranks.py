"""Rows that differ in the number of ranks alone: strong scaling shares one batch, weak scaling gives every rank as much."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from ..load.runs import Run
from ..load.summary import Row
from ..load.titles import place_of
from .style import Look, Looks
from .words import short_names

BATCH, SHARDS = "train.batch", "shards"  # what weak scaling changes with the ranks
STRONG, WEAK = "strong", "weak"


@dataclass(frozen=True)
class Series:
    """One method and setting."""
    name: str
    look: Look
    rows: tuple[Row, ...]  # by ranks, one for each number

    @property
    def ranks(self) -> list[int]:
        return [row.first.ranks for row in self.rows]

    def times(self) -> list[float]:
        """Seconds of a step, in the mean over runs."""
        return [row.mean["step_s"] for row in self.rows]


@dataclass(frozen=True)
class Family:
    """Series that can stand in one picture."""
    kind: str  # STRONG or WEAK
    batch: float  # examples of a step: of all ranks (strong) or of one (weak)
    place: str
    tag: str
    series: tuple[Series, ...]

    @property
    def rows(self) -> list[Row]:
        return [row for series in self.series for row in series.rows]

    @property
    def words(self) -> str:
        return f"{self.batch:g} examples a step" + (" on any number of ranks" if self.kind == STRONG else " and rank")


def number(run: Run, key: str) -> float:
    try:
        return float(run.settings.get(key, "nan"))
    except ValueError:
        return math.nan


def setting_of(row: Row) -> tuple:
    """All that must be equal but for what weak scaling changes."""
    run = row.first
    settings = tuple(sorted((key, value) for key, value in run.settings.items() if key not in (BATCH, SHARDS)))
    return run.task, run.dataset, run.model, run.weights_hash, run.dataset_hash, run.threads, settings


def load_of(row: Row, kind: str) -> tuple[float, float]:
    """Examples and shards: of all ranks, or of one."""
    share = 1 if kind == STRONG else row.first.ranks
    return number(row.first, BATCH) / share, number(row.first, SHARDS) / share


def find_families(rows: Iterable[Row], is_known: Callable[[Row], bool], looks: Looks) -> list[Family]:
    """Of the rows of which that is known what is to be shown, those on two or more numbers of ranks. A row can be in a strong and in a weak series."""
    found: dict[tuple, list[list[Row]]] = {}
    rows = [row for row in rows if is_known(row)]
    for kind in (STRONG, WEAK):
        alike: dict[tuple, dict[int, Row]] = {}
        for row in rows:
            batch, shards = load_of(row, kind)
            if math.isfinite(batch) and math.isfinite(shards):
                alike.setdefault((setting_of(row), batch, shards), {}).setdefault(row.first.ranks, row)
        for (_, batch, _), members in alike.items():
            if len(members) > 1:
                series = [members[ranks] for ranks in sorted(members)]
                section = series[0].section
                found.setdefault((kind, batch, section.task, section.dataset, section.model, section.threads), []).append(series)
    return [make_family(kind, batch, several, looks, [key for key in found if key[0] == kind]) for (kind, batch, *_), several in found.items()]


def make_family(kind: str, batch: float, several: Sequence[list[Row]], looks: Looks, keys: Sequence[tuple]) -> Family:
    firsts = [series[0] for series in several]
    names = short_names(firsts)
    section = firsts[0].section
    differing = [text for position, text in ((2, section.task), (1, f"{batch:g}"), (4, section.model), (5, f"{section.threads}-threads"))
                 if len({key[position] for key in keys}) > 1]
    return Family(kind, batch, place_of(replace(section, ranks=0)), "-".join(differing),
                  tuple(Series(name, look, tuple(series)) for name, look, series in zip(names, looks.of(firsts), several)))
