"""Rows that cannot be separated, shown by letters."""

from __future__ import annotations

import string
from collections.abc import Sequence

import numpy as np

from .multiple import holm

LETTERS = string.ascii_lowercase + string.ascii_uppercase
MOST_COLUMNS = 4096  # while they are made; there can be exponentially many


def separated_pairs(p: np.ndarray, alpha: float) -> np.ndarray:
    """p: [..., pairs] in the order of numpy.triu_indices. The pairs that Holm's procedure separates at family level alpha; a NaN never is."""
    return np.nan_to_num(holm(p), nan=1.0) <= alpha


def pair_matrix(count: int, separated: Sequence[bool] | np.ndarray) -> np.ndarray:
    """Symmetric, from the pairs in the order of numpy.triu_indices(count, 1)."""
    matrix = np.zeros((count, count), bool)
    matrix[np.triu_indices(count, 1)] = separated
    return matrix | matrix.T


def letters(separated: np.ndarray) -> list[str] | None:
    """One text per row: two rows share a letter exactly if they are not separated. separated: symmetric [rows, rows].

    Insert and absorb (Piepho 2004, An algorithm for a letter-based representation of all-pairwise comparisons, Journal of Computational and Graphical
    Statistics 13): one group of all rows; each separated pair splits every group that holds both into one without the first and one without the second; a
    group inside another one goes. What is left are the largest sets of rows of which no two are separated. Letters go by the rows' own order, not by their
    scores. None: more groups than there are letters."""
    count = len(separated)
    groups = [(1 << count) - 1] if count else []
    for first, second in zip(*np.nonzero(np.triu(separated, 1))):
        pair = 1 << int(first) | 1 << int(second)
        kept = [group for group in groups if group & pair != pair]
        halves = {group & ~(1 << int(row)) for group in groups if group & pair == pair for row in (first, second)}
        if len(kept) + len(halves) > MOST_COLUMNS:
            return None
        # Groups hold no other one, so that only halves can lie in something: in a kept group, or in another half.
        new = [half for half in halves if not any(half & ~other == 0 for other in kept) and not any(half & ~other == 0 for other in halves if other != half)]
        groups = kept + new
    if len(groups) > len(LETTERS):
        return None
    groups.sort(key=lambda group: [row for row in range(count) if group >> row & 1])
    return ["".join(letter for letter, group in zip(LETTERS, groups) if group >> row & 1) for row in range(count)]
