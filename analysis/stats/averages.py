"""The mean over several tasks, the column "Avg." of papers, with what its seeds allow to say.

The tasks are fixed: nothing is said of other ones. Per seed the scores of all tasks are averaged, and those means are compared like the scores of one task.
Tasks have test examples of their own, so that with T tasks B of crossed.py is the sum of their B over T^2. Only a row that every section has takes part, by
the seeds that it has in all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..common.units import LOWER_IS_BETTER
from ..common.words import some
from ..load.summary import Row
from .comparison import Parts, find_control
from .examples import Reader, scores_by_seed, step_of
from .intervals import Interval, no_interval, t_interval
from .judge import Difference, Entry, judge
from .notes import MOST_NAMED, describe


@dataclass
class AverageRow:
    label: str
    rows: tuple[Row, ...]  # one per section
    seeds: tuple[int, ...]  # in all sections
    mean: float  # of the means per seed
    score: Interval | None
    difference: Difference | None
    letters: str


@dataclass
class Average:
    control: str | None  # a label
    rows: list[AverageRow]  # in the order of the first section
    notes: list[str] = field(default_factory=list)
    metric: str = "accuracy"  # whose units differences are told in: of several metrics percent, as papers do
    level: float = 0.95
    family: int = 0  # these as in Comparison
    pooled: float = math.nan
    smallest: float = math.nan

    def find(self, label: str) -> AverageRow | None:
        """None: some section lacks the row."""
        return next((row for row in self.rows if row.label == label), None)


def average_entry(rows: Sequence[Row], predictions: Reader | None) -> Entry:
    """The rounding of a mean of T scores of steps h is that of one score of step sqrt(sum h^2) / T."""
    scores = [scores_by_seed(row) for row in rows]
    seeds = sorted(set.intersection(*map(set, scores)))
    steps = [step_of(row, predictions) for row in rows]
    return Entry(rows[0].label, {seed: math.fsum(each[seed] for each in scores) / len(rows) for seed in seeds},
                 math.sqrt(sum(step * step for step in steps)) / len(rows))


def mean_of(entry: Entry) -> float:
    return math.fsum(entry.scores.values()) / len(entry.scores) if entry.scores else math.nan


def average_over(rows: Sequence[Row], level: float = 0.95) -> Interval | None:
    """One method's rows, one per task: the mean over tasks, and its t interval over the seeds that all rows have (NaN ends: one seed, or no spread). None: no
    such seed, or a score that is not known."""
    if not rows:
        return None
    entry = average_entry(rows, None)
    return (t_interval(list(entry.scores.values()), level) or no_interval(mean_of(entry), level)) if entry.scores else None


def compare_averages(sections: Sequence[Sequence[Row]], control: str, predictions: Reader | None = None, level: float = 0.95) -> Average:
    """sections: the rows of each task; a row is the same in all of them if its label is. control, predictions, level: as for compare. Raises ValueError if
    higher is better in some sections and lower in others: a mean of these says nothing."""
    if len({rows[0].section.metric in LOWER_IS_BETTER for rows in sections if rows}) > 1:
        raise ValueError("scores that should be high and scores that should be low have no mean that says anything")
    if not sections or not all(sections):
        return Average(None, [])
    by_label = [{row.label: row for row in rows} for rows in sections]
    common = [label for label in by_label[0] if all(label in each for each in by_label)]
    rows = {label: tuple(each[label] for each in by_label) for label in common}
    entries = [average_entry(rows[label], predictions) for label in common]
    left_out = list(dict.fromkeys(label for each in by_label for label in each if label not in rows))
    index, problem = find_control(common, [rows[label][0].first.method for label in common], control)
    if index is not None and not entries[index].scores:
        index, problem = None, f"No control: {common[index]} has no seed in all tasks."
    parts = [Parts([rows[label][task] for label in common], index, predictions) for task in range(len(sections))] if index is not None else []

    def part_of_examples(row: int, seeds: tuple[int, ...]) -> tuple[float, int] | None:
        found = [part(row, seeds) for part in parts]
        return None if None in found else (sum(part for part, _ in found) / len(found) ** 2, min(count for _, count in found))

    metrics = {each[0].section.metric for each in sections}
    found = judge(entries, index, level, metrics <= LOWER_IS_BETTER, part_of_examples)
    notes = [f"Mean over {len(sections)} tasks ({some([each[0].section.task for each in sections], MOST_NAMED)}), per seed. Nothing is said of other tasks."]
    metric = metrics.pop() if len(metrics) == 1 else "accuracy"
    notes += ([problem] if problem else []) + describe(found, entries, index, level, metric)
    if left_out:
        notes.append(f"Not in every task: {some(left_out, MOST_NAMED)}.")
    return Average(None if index is None else common[index],
                   [AverageRow(label, rows[label], tuple(entry.scores), mean_of(entry), *each)
                    for label, entry, *each in zip(common, entries, found.scores, found.differences, found.letters)],
                   notes, metric, level, found.family, found.pooled, found.smallest)
