"""What a design of so many seeds can and cannot see: power of the paired t test by the noncentral t distribution."""

from __future__ import annotations

import functools
import math

import numpy as np
from scipy import integrate, optimize, special

from .intervals import t_quantile

USUAL_POWER = 0.8
MOST_SEEDS = 100_000


def tail_mass(threshold: float, shift: float, df: int) -> float:
    """P((Z + shift) / S > threshold), Z standard normal and S^2 chi-square over df: the upper tail of the noncentral t, as the mean of Phi(shift - threshold s)
    over the density of S. An integral of smooth positive terms: right to some 1e-10 where series for large shifts are not."""
    log_scale = math.log(2) + df / 2 * math.log(df / 2) - math.lgamma(df / 2)
    high = math.sqrt(special.chdtri(df, 1e-18) / df)

    def term(s: float) -> float:
        return math.exp(log_scale + (df - 1) * math.log(s) - df * s * s / 2) * special.ndtr(shift - threshold * s) if s > 0 else 0.0

    middle = min(max(shift / threshold, 0.0), high)
    near = 10 / threshold  # there Phi falls from 1 to 0
    points = sorted({0.0, max(0.0, middle - near), middle, min(high, middle + near), high})
    return sum(integrate.quad(term, low, up, epsabs=1e-13, epsrel=1e-11, limit=200)[0] for low, up in zip(points, points[1:]))


@functools.lru_cache(maxsize=4096)
def power_at(shift: float, n: int, alpha: float) -> float:
    """shift: sqrt(n) difference / sd, not negative."""
    threshold = float(t_quantile(1 - alpha, n - 1.0))
    return min(1.0, tail_mass(threshold, shift, n - 1) + tail_mass(threshold, -shift, n - 1))


@functools.lru_cache(maxsize=1024)
def shift_for(n: int, alpha: float, wanted: float) -> float:
    high = 4.0
    while power_at(high, n, alpha) < wanted:
        high *= 2
    return optimize.brentq(lambda shift: power_at(shift, n, alpha) - wanted, 0.0, high, xtol=1e-10, rtol=1e-12)


def check_design(sd: float, n: int, alpha: float) -> None:
    if not (sd > 0 and math.isfinite(sd)):
        raise ValueError("the spread must be positive")
    if n < 2:
        raise ValueError("two seeds are the fewest")
    if not 0 < alpha < 1:
        raise ValueError("alpha lies between 0 and 1")


def power(difference: float, sd: float, n: int, alpha: float = 0.05) -> float:
    """The chance that the two-sided paired t test at `alpha` separates two methods whose true difference is `difference`, with n seeds and a standard deviation
    `sd` of the differences: |T| beyond the quantile, T noncentral t with n - 1 degrees of freedom and the shift sqrt(n) difference / sd. Both tails count."""
    check_design(sd, n, alpha)
    return power_at(abs(difference) * math.sqrt(n) / sd, n, alpha)


def smallest_difference(sd: float, n: int, alpha: float = 0.05, wanted: float = USUAL_POWER) -> float:
    """The true difference that is separated with the power `wanted`. For the first of K steps of Holm's procedure alpha is 0.05 / K: a comparison that must
    stand alone against all the others."""
    check_design(sd, n, alpha)
    if not alpha < wanted < 1:
        raise ValueError("the wanted power lies between alpha and 1")
    return shift_for(n, alpha, wanted) * sd / math.sqrt(n)


def seeds_needed(difference: float, sd: float, alpha: float = 0.05, wanted: float = USUAL_POWER) -> int | None:
    """The fewest seeds that separate a true difference with the power `wanted`. None: more than MOST_SEEDS."""
    check_design(sd, 2, alpha)
    if not math.isfinite(difference):
        raise ValueError("the difference must be finite")
    low, high = 1, 2
    while power(difference, sd, high, alpha) < wanted:
        if high >= MOST_SEEDS:
            return None
        low, high = high, min(2 * high, MOST_SEEDS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(difference, sd, middle, alpha) >= wanted else (middle, high)
    return high


def spread_range(df: int, level: float = 0.95) -> tuple[float, float]:
    """The true standard deviation lies between these multiples of an estimated one (of normal values): sqrt(df / chi-square quantile)."""
    tail = (1 - level) / 2
    return tuple(float(np.sqrt(df / special.chdtri(df, mass))) for mass in (tail, 1 - tail))


def pooled_spread(spreads: list[tuple[float, int]]) -> float:
    """sqrt of the mean of variances, weighted by their degrees of freedom. spreads: (sd, df)."""
    return math.sqrt(sum(df * sd * sd for sd, df in spreads) / sum(df for _, df in spreads))
