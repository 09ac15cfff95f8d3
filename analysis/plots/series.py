"""Series that rows have one of per seed: put on common positions, smoothed if they are long, as mean and band."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..load.hdf5 import Unusable
from ..load.measure import skip_first
from ..load.runs import Run
from ..load.series import read_steps

RAW = 120  # steps that are shown as they are
WINDOWS = 40  # longer courses are smoothed over a window of so many parts of them, and shown at 3 points a window


@dataclass(frozen=True)
class Course:
    """Of one row: at each position the mean over seeds, the lowest and the highest."""
    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    seeds: int

    @property
    def has_band(self) -> bool:
        return self.seeds > 1


@dataclass(frozen=True)
class Steps:
    """What figures need of a run's steps."""
    step: np.ndarray
    loss: np.ndarray  # empty: the file has none
    step_s: float  # mean of those that count


class StepReader:
    """Reads each run once."""

    def __init__(self) -> None:
        self.read: dict[str, Steps | None] = {}
        self.reasons: list[str] = []

    def of(self, run: Run) -> Steps | None:
        """None: it cannot be read, which is noted."""
        if run.run_id not in self.read:
            try:
                rows = read_steps(run)
            except Unusable as reason:
                self.reasons.append(f"{run.name}: {reason}")
                self.read[run.run_id] = None
            else:
                counted = skip_first(rows)["step_s"]
                loss = rows["loss"].to_numpy(float) if "loss" in rows else np.empty(0)
                self.read[run.run_id] = Steps(rows["step"].to_numpy(), loss, float(counted.mean()) if len(counted) else math.nan)
        return self.read[run.run_id]


def window_of(count: int) -> int:
    """An odd number of steps; 1: not smoothed."""
    return 1 if count <= RAW else 2 * (count // (2 * WINDOWS)) + 1


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Running mean, over what there is of the window at the ends. Where a value is not finite, neither are the means over it."""
    if window <= 1:
        return values
    kernel = np.ones(window)
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")


def thin(count: int, window: int) -> np.ndarray:
    """Which of so many points are drawn: the last one is."""
    stride = max(1, window // 3)
    return np.unique(np.append(np.arange(0, count, stride), count - 1)) if count else np.empty(0, int)


def by_seed(runs: Iterable[Run], series: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """One (x, y) per seed: of runs of one seed, which are repetitions, the first."""
    found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for run, each in zip(runs, series):
        if len(each[0]):
            found.setdefault(run.seed, each)
    return list(found.values())


def course_of(series: Sequence[tuple[np.ndarray, np.ndarray]], window: int = 1) -> Course | None:
    """Of one (x, y) per seed: over the positions that all have. None: there are no such positions, or nothing finite at them."""
    if not series:
        return None
    common = series[0][0]
    for x, _ in series[1:]:
        common = np.intersect1d(common, x)
    values = np.array([smooth(y[np.isin(x, common)], window) for x, y in series])
    kept = thin(len(common), window)
    x, values = common[kept], values[:, kept]
    if not np.isfinite(values).any():
        return None
    return Course(x, values.mean(axis=0), values.min(axis=0), values.max(axis=0), len(series))
