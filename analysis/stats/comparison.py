"""The rows of one section: what can be said of each against the control, and which cannot be separated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..common.units import LOWER_IS_BETTER
from ..common.words import some
from ..load.summary import Row
from .crossed import LEAST_SEEDS
from .examples import Examples, Reader, part_of_examples, read_examples, remember, scores_by_seed, step_of
from .intervals import Interval
from .judge import Difference, Entry, judge
from .notes import MOST_NAMED, describe, describe_missing


@dataclass
class RowStatistics:
    row: Row
    score: Interval | None  # over seeds; None: fewer than two, or no spread
    difference: Difference | None  # to the control; None: of the control, or where there is none
    letters: str  # rows that share one cannot be separated; "": compared with no other row


@dataclass
class Comparison:
    control: Row | None
    rows: list[RowStatistics]  # in the order given
    notes: list[str] = field(default_factory=list)  # a sentence or two each; those of several sections are often the same
    level: float = 0.95
    family: int = 0  # comparisons with the control that were tested
    pooled: float = math.nan  # standard deviation of differences over seeds, pooled over the family
    seeds: int = 0  # the fewest common ones in the family
    smallest: float = math.nan  # the true difference that this design separates with 80 % power in Holm's first step, by the pooled spread

    def of(self, row: Row) -> RowStatistics:
        """Raises KeyError."""
        for each in self.rows:
            if each.row is row:
                return each
        raise KeyError(row.label)


def find_control(labels: Sequence[str], methods: Sequence[str], name: str) -> tuple[int | None, str]:
    """The row of that label, or the only one of that method; and what is to be said if there is none."""
    for names in (labels, methods):
        found = [index for index, each in enumerate(names) if each == name]
        if len(found) == 1:
            return found[0], ""
        if found:
            several = some([labels[index] for index in found], MOST_NAMED)
            return None, f"No control: {len(found)} rows are of {name} ({several}); name one by its whole label."
    return None, f"No control: there is no row of {name} here."


class Parts:
    """What examples add to the variance of a row's difference to the control. One row's pseudo-values at a time, beside the control's, are in memory."""

    def __init__(self, rows: Sequence[Row], control: int, predictions: Reader | None):
        self.rows, self.predictions = rows, predictions
        self.control: Examples | str = read_examples(rows[control], predictions) if predictions else ""
        self.reasons: dict[str, list[str]] = {}  # why there is none: labels

    def __call__(self, index: int, seeds: tuple[int, ...]) -> tuple[float, int] | None:
        if self.predictions is None:
            return None
        row = self.rows[index]
        if isinstance(self.control, str):
            self.reasons["of the control: " + self.control] = ["all"]
            return None
        if len(seeds) < LEAST_SEEDS:
            self.reasons.setdefault("two seeds are too few", []).append(row.label)
            return None
        found = read_examples(row, self.predictions)
        if not isinstance(found, str):
            found = part_of_examples(found, self.control, seeds)
        if isinstance(found, str):
            self.reasons.setdefault(found, []).append(row.label)
            return None
        return found


def compare(rows: Sequence[Row], control: str, predictions: Reader | None = None, level: float = 0.95) -> Comparison:
    """rows: all of one section (ValueError if not). control: a row's label, or a method of which there is one row. predictions: of a run,
    load.series.read_predictions; without them there are no intervals over examples, and the grid of scores is not known. level: of the intervals; 1 - level
    is the chance of any false verdict in the family, and of any false separation by letters."""
    if len({row.section for row in rows}) > 1:
        raise ValueError("rows of several sections cannot be compared")
    if not 0.5 <= level < 1:
        raise ValueError("the level lies between 0.5 and 1")
    if not rows:
        return Comparison(None, [], level=level)
    metric, predictions = rows[0].section.metric, remember(predictions) if predictions else None
    entries = [Entry(row.label, scores_by_seed(row), step_of(row, predictions)) for row in rows]
    index, problem = find_control([row.label for row in rows], [row.first.method for row in rows], control)
    if index is not None and not entries[index].scores:
        index, problem = None, f"No control: a test score of {rows[index].label} is not known."
    parts = Parts(rows, index, predictions) if index is not None else None
    found = judge(entries, index, level, metric in LOWER_IS_BETTER, parts or (lambda *_: None))
    notes = ([problem] if problem else []) + describe(found, entries, index, level, metric)
    notes += describe_missing(rows, entries, parts.reasons if parts else {})
    return Comparison(None if index is None else rows[index],
                      [RowStatistics(*each) for each in zip(rows, found.scores, found.differences, found.letters)],
                      notes, level, found.family, found.pooled, found.least_seeds, found.smallest)
