"""Two methods over the same seeds: differences per seed, their interval, and the test of no difference.

Pairs. One seed gives all methods the same order of examples, the same dropout numbers and the same start of the head, so that scores of one seed have much in
common; their differences have not, which is why they are what is looked at.

Rounding. A score from N test examples is a multiple of 1/N. Seen as a continuous score that is rounded to steps of h = 1/N, it carries an error of variance
h^2/12, and a difference of two scores one of h^2/6. With n seeds rounding alone makes standard deviations of up to h / sqrt(6) sqrt(chi-square / (n - 1)) in
99 of 100 cases (0.88 h for n = 3, 0.74 h for 5, 0.63 h for 10). A spread that is no larger, above all none at all, as small test sets give it, tells nothing
of how far other seeds would lie: t could be anything up to infinity, from how numbers happened to fall on the grid, and where the true spread is about one
step, the t test without this rule has family errors of up to 6 %. So there is then neither an interval nor a p value, and the verdict is "no spread" ("not
separated" if all differences are 0); in Holm's family the comparison counts as one that is never rejected. Larger spreads are used as they are: the t test is
what any textbook's is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .intervals import Interval, is_flat, make_interval, no_interval, t_p_value

LEAST_SEEDS = 2


@dataclass(frozen=True)
class Paired:
    """a minus b over the seeds that both have."""
    seeds: tuple[int, ...]
    only_a: tuple[int, ...]
    only_b: tuple[int, ...]
    differences: tuple[float, ...]  # per seed
    interval: Interval  # its mean is NaN without a common seed, its ends where there is no interval
    sd: float  # NaN: fewer than two common seeds
    p: float  # two-sided; NaN: no test
    flat: bool  # no spread beyond rounding

    @property
    def mean(self) -> float:
        return self.interval.mean

    @property
    def equal(self) -> bool:
        return self.flat and all(abs(each) <= 1e-12 for each in self.differences)

    @property
    def notes(self) -> list[str]:
        """Which seeds could not be used."""
        sides = (("the first", self.only_a), ("the second", self.only_b))
        return [f"seeds of {name} alone: {' '.join(map(str, seeds))}" for name, seeds in sides if seeds]


def rounding_spread(first_step: float, second_step: float) -> float:
    """The standard deviation that rounding two scores, each to multiples of its step, gives their difference. 0: no grid."""
    return math.sqrt((first_step ** 2 + second_step ** 2) / 12)


def t_statistics(differences: np.ndarray, rounding: np.ndarray | float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, standard deviation and two-sided p value of the t test along the last axis; p is NaN where the spread is no more than `rounding`."""
    count = differences.shape[-1]
    mean, spread = differences.mean(-1), differences.std(-1, ddof=1)
    flat = is_flat(spread, rounding, differences)
    t = mean * math.sqrt(count) / np.where(flat, 1.0, spread)
    return mean, spread, np.where(flat, np.nan, t_p_value(t, count - 1.0))


def paired(a_by_seed: Mapping[int, float], b_by_seed: Mapping[int, float], level: float = 0.95, rounding: float = 0.0) -> Paired:
    """The paired t test and its interval (Student 1908). Scores must be finite. rounding: the spread of differences that the grid of the scores makes
    (rounding_spread); 0: there is none, or it is not known. With fewer than two common seeds, or no spread beyond rounding, there is no interval and no p."""
    if not all(math.isfinite(score) for scores in (a_by_seed, b_by_seed) for score in scores.values()):
        raise ValueError("a score that is not finite cannot be compared")
    seeds = tuple(sorted(set(a_by_seed) & set(b_by_seed)))
    only_a, only_b = (tuple(sorted(set(scores) - set(seeds))) for scores in (a_by_seed, b_by_seed))
    values = np.array([a_by_seed[seed] - b_by_seed[seed] for seed in seeds])
    common = dict(seeds=seeds, only_a=only_a, only_b=only_b, differences=tuple(values.tolist()))
    if len(seeds) < LEAST_SEEDS:
        return Paired(**common, interval=no_interval(values.mean() if seeds else math.nan, level), sd=math.nan, p=math.nan, flat=False)
    mean, spread, p = (float(each) for each in t_statistics(values, rounding))
    flat = math.isnan(p)
    interval = no_interval(mean, level) if flat else make_interval(mean, spread / math.sqrt(len(seeds)), len(seeds) - 1, level)
    return Paired(**common, interval=interval, sd=spread, p=p, flat=flat)
