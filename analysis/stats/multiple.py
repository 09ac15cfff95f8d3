"""Several comparisons at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """Holm's adjusted p values (Holm 1979, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6): with p sorted,
    max over j <= i of min(1, (K - j + 1) p_j). Those at most alpha are rejected, and whatever depends on what, the chance that any true hypothesis is among
    them is at most alpha. K: all along the last axis. A NaN (no test could be made) counts in K, is never rejected and stays NaN."""
    p = np.asarray(p, float)
    count = p.shape[-1]
    order = np.argsort(p, axis=-1, kind="stable")  # NaN last
    ordered = np.take_along_axis(p, order, -1) * np.arange(count, 0, -1)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, np.minimum(1, np.maximum.accumulate(ordered, -1)), -1)
    return np.where(np.isnan(p), np.nan, adjusted)
