"""Intervals of means of few values: Student's t. Functions on arrays take the values along the last axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

RARE = 0.01  # how seldom rounding alone makes a spread that is taken for one of the values


@dataclass(frozen=True)
class Interval:
    """low to high holds the true mean in `level` of all repetitions. A mean without one has NaN ends and degrees of freedom."""
    mean: float
    low: float
    high: float
    level: float
    df: float  # degrees of freedom of the t distribution

    @property
    def is_known(self) -> bool:
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def half(self) -> float:
        return (self.high - self.low) / 2

    @property
    def has_zero(self) -> bool:
        return self.low <= 0 <= self.high


def t_quantile(level: float, df: np.ndarray | float) -> np.ndarray | float:
    """|t| below which a t distribution has `level` of its mass, by way of the beta distribution: df / (df + t^2) is beta distributed. (scipy.special.stdtrit
    has but 8 digits, and ends the process for some degrees of freedom.) df: finite, at least 1."""
    share = special.betaincinv(np.asarray(df, float) / 2, 0.5, 1 - level)
    return np.sqrt(df * (1 - share) / share)


def t_p_value(t: np.ndarray | float, df: np.ndarray | float) -> np.ndarray | float:
    """Two-sided: the mass beyond |t|, with all its digits in the far tail."""
    square = np.square(t)
    return special.betainc(np.asarray(df, float) / 2, 0.5, df / (df + square))


def no_interval(mean: float, level: float) -> Interval:
    return Interval(float(mean), math.nan, math.nan, level, math.nan)


def make_interval(mean: float, error: float, df: float, level: float) -> Interval:
    """error: standard error of the mean."""
    half = float(t_quantile(level, df)) * error
    return Interval(float(mean), float(mean - half), float(mean + half), level, float(df))


def t_interval(values: Sequence[float] | np.ndarray, level: float = 0.95, rounding: float = 0.0) -> Interval | None:
    """The mean of independent, nearly normal values and its interval, mean +- t sd / sqrt(n) with n - 1 degrees of freedom (Student 1908, The probable error
    of a mean, Biometrika 6). None: fewer than two values, one that is not finite, or no spread beyond `rounding` (pairs.py), which does not tell how far new
    values would lie."""
    values = np.asarray(values, float)
    if values.ndim != 1:
        raise ValueError("one row of values is needed")
    count = len(values)
    if count < 2 or not np.isfinite(values).all() or is_flat(spread := float(values.std(ddof=1)), rounding, values):
        return None
    return make_interval(values.mean(), spread / np.sqrt(count), count - 1, level)


def is_flat(spread: np.ndarray | float, rounding: np.ndarray | float, values: np.ndarray) -> np.ndarray | bool:
    """Whether a standard deviation of values (last axis, two at least) may be nothing but rounding, `rounding` being the deviation that rounding gives in the
    long run: in few values it makes larger ones by chance, up to sqrt(chi-square / (n - 1)) times as large in 99 of 100 cases. The computer's own rounding
    counts, too."""
    df = values.shape[-1] - 1.0
    limit = rounding * math.sqrt(special.chdtri(df, RARE) / df)
    return spread <= np.maximum(limit * (1 + 1e-9), 1e-12 * np.maximum(1.0, np.abs(values).max(-1)))
