"""What each test example brings to the scores of a row, from the predictions that its runs stored."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..load.hdf5 import Unusable
from .crossed import crossed_parts
from .metrics import STEPPED, pseudo_values

if TYPE_CHECKING:
    from ..load.runs import Run
    from ..load.series import Predictions
    from ..load.summary import Row

MOST_BYTES = 256 << 20
Reader = Callable[["Run"], "Predictions | None"]


@dataclass(frozen=True)
class Examples:
    """Pseudo-values of one row, in the order of example ids."""
    ids: np.ndarray
    by_seed: dict[int, np.ndarray]


def remember(read: Reader) -> Reader:
    """A reader that keeps what it has read, up to MOST_BYTES: the same predictions are asked for again."""
    kept: dict[str, Predictions | None] = {}
    room = MOST_BYTES

    def reader(run: Run) -> Predictions | None:
        nonlocal room
        if run.run_id in kept:
            return kept[run.run_id]
        found = read(run)
        room -= 0 if found is None else sum(each.nbytes for each in (found.example, found.label, found.prediction, found.score))
        if room >= 0:
            kept[run.run_id] = found
        return found

    return reader


def is_near(found: float, stored: float, metric: str) -> bool:
    """Losses are sums of 32-bit numbers in another order."""
    return abs(found - stored) <= (1e-4 if metric == "loss" else 1e-7) * max(1.0, abs(stored))


def read_examples(row: Row, predictions: Reader) -> Examples | str:
    """A text is the reason why there are none. Runs of one seed are averaged, as their scores are."""
    ids: np.ndarray | None = None
    values: dict[int, list[np.ndarray]] = {}
    for run in row.runs:
        try:
            found = predictions(run)
            if found is None:
                return "no predictions of the test split are stored"
            order = np.argsort(found.example, kind="stable")
            score, each = pseudo_values(run.metric, found.label[order], found.prediction[order], found.score[order])
        except (Unusable, ValueError) as reason:
            return f"predictions of seed {run.seed}: {reason}"
        if not is_near(score, run.test, run.metric):
            return f"the predictions of seed {run.seed} have another score than its run"
        own = found.example[order]
        if (own[1:] == own[:-1]).any():
            return f"predictions of seed {run.seed}: an example is there twice"
        if ids is not None and not np.array_equal(ids, own):
            return "its seeds were tested on different examples"
        ids = own
        values.setdefault(run.seed, []).append(each)
    return Examples(ids, {seed: np.mean(several, 0) if len(several) > 1 else several[0] for seed, several in values.items()})


def part_of_examples(row: Examples, control: Examples, seeds: Sequence[int]) -> tuple[float, int] | str:
    """B of crossed.py, what other examples would add to the variance of the mean difference over these seeds (two at least), and the number of examples."""
    if not np.array_equal(row.ids, control.ids):
        return "tested on other examples than the control"
    _, _, part = crossed_parts(np.stack([row.by_seed[seed] - control.by_seed[seed] for seed in seeds]))
    return float(part), len(row.ids)


def step_of(row: Row, predictions: Reader | None) -> float:
    """Of the grid that its scores lie on; 0: there is none, or it is not known."""
    if predictions is None or row.section.metric not in STEPPED:
        return 0.0
    try:
        found = predictions(row.first)
    except Unusable:
        return 0.0
    return 0.0 if found is None else 1 / len(found.example)


def scores_by_seed(row: Row) -> dict[int, float]:
    """Runs of one seed are averaged: a repeated seed is no second opinion. Empty if a score is not known."""
    scores: dict[int, list[float]] = {}
    for run in row.runs:
        scores.setdefault(run.seed, []).append(run.test)
    means = {seed: math.fsum(each) / len(each) for seed, each in scores.items()}
    return means if all(map(math.isfinite, means.values())) else {}
