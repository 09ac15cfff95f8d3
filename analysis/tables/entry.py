"""A row with all that a column may say of it: its runs, how it compares with the control, and when its runs reached the target."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from ..load.targets import Reached

if TYPE_CHECKING:
    from ..load.runs import Run
    from ..load.summary import Row
    from ..stats import Comparison, RowStatistics


@dataclass
class Entry:
    row: Row
    statistics: RowStatistics | None = None  # None: nothing was computed
    comparison: Comparison | None = None  # of its section
    reached: Reached | None = None  # None: there is no target

    @property
    def is_control(self) -> bool:
        return self.comparison is not None and self.comparison.control is self.row

    @property
    def runs(self) -> list[Run]:
        return self.row.runs


def over_seeds(runs: list[Run], value: Callable[[Run], float | None], times: bool = False) -> tuple[float, tuple[tuple[str, float], ...]]:
    """Mean over seeds and the seeds' own values. A repeated seed counts once, with its mean. What one run does not tell is not known of the mean either; but
    times are those of the runs that were not disturbed (load/refuse.py), as many as there are."""
    by_seed: dict[int, list[float]] = {}
    for run in runs:
        found = value(run)
        number = math.nan if found is None else float(found)
        if math.isfinite(number) or not times:
            by_seed.setdefault(run.seed, []).append(number)
    means = {seed: fmean(values) for seed, values in sorted(by_seed.items())}
    return fmean(means.values()) if means else math.nan, tuple((f"seed {seed}", mean) for seed, mean in means.items())
