"""Spearman's correlation with one example left out, for all examples at once in N log N operations."""

from __future__ import annotations

import numpy as np


def ties(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Per element: its place among the distinct values, average rank (from 1), how many are below it, and how many are equal to it (itself among them)."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    below = np.cumsum(counts) - counts
    return place, (below + (counts + 1) / 2)[place], below[place], counts[place]


def count_smaller_before(values: np.ndarray) -> np.ndarray:
    """Per element: how many elements in front of it are smaller. values: whole numbers from 0. From the highest bit to the lowest: elements alike in all higher
    bits stand together in their old order, and one with this bit set has in front of it, among them, as many smaller ones as lack it."""
    count = len(values)
    order = np.arange(count)
    found = np.zeros(count, np.int64)
    for bit in reversed(range(int(values.max()).bit_length() if count else 0)):
        current = values[order]
        lacks = (current >> bit & 1) == 0
        block = current >> (bit + 1)
        before = np.cumsum(lacks) - lacks  # in front, of all blocks
        starts = np.concatenate([[True], block[1:] != block[:-1]])
        at_start = before[starts][np.cumsum(starts) - 1]
        found[order] += np.where(lacks, 0, before - at_start)
        order = order[np.argsort(block * 2 + ~lacks, kind="stable")]
    return found


def count_smaller_in_both(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Per example: how many others are smaller both in x and in y. Places among distinct values."""
    order = np.lexsort((-y, x))  # equal x: the larger y first, so that none of them counts for another
    found = np.empty(len(x), np.int64)
    found[order] = count_smaller_before(y[order])
    return found


def sum_above(place: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Per element e: the sum of weights of elements above it, and half of those equal to it, without its own."""
    totals = np.bincount(place, weights)
    above = totals.sum() - np.cumsum(totals)
    return above[place] + (totals[place] - weights) / 2


def squares_of_ranks(count: np.ndarray | int, tie_sum: np.ndarray | float) -> np.ndarray:
    """Sum of squared deviations of average ranks: (n^3 - n - sum over ties of (t^3 - t)) / 12."""
    return (count ** 3 - count - tie_sum) / 12


def spearman_left_out(label: np.ndarray, prediction: np.ndarray) -> tuple[float, np.ndarray]:
    """Spearman's correlation with average ranks (src/train/metrics.c), and its N values without one example each; NaN where one side is constant.

    Without example e the rank r_j of another one becomes r_j - g_j, with g_j = 1 above e, 1/2 if equal to it, 0 below; likewise q_j - h_j on the other side.
    So the sum of products is sum of (r_j - g_j)(q_j - h_j): sums over what lies above e, and the sum of g_j h_j, which follows from how many lie below e on
    both sides. Sums of squares of ranks follow from the sizes of ties."""
    count = len(label)
    (x, r, below_x, equal_x), (y, q, below_y, equal_y) = ties(label), ties(prediction)
    # Of the others: above e on both sides count 1, above on one and equal on the other 1/2, equal on both 1/4.
    both = ties(x.astype(np.int64) * count + y)
    equal_both, below_y_equal_x = both[3] - 1, both[2] - below_x  # sorted by x, then y
    turned = ties(y.astype(np.int64) * count + x)
    below_x_equal_y = turned[2] - below_y
    below_both = count_smaller_in_both(x, y)
    above_y = count - below_y - equal_y
    above_y_equal_x = equal_x - 1 - equal_both - below_y_equal_x
    above_x_equal_y = equal_y - 1 - equal_both - below_x_equal_y
    below_x_above_y = below_x - below_both - below_x_equal_y
    above_both = above_y - below_x_above_y - above_y_equal_x
    g_h = above_both + (above_y_equal_x + above_x_equal_y) / 2 + equal_both / 4
    products = (r * q).sum() - r * q - sum_above(y, r) - sum_above(x, q) + g_h
    less = count - 1
    centred = products - less * (less + 1) ** 2 / 4

    def squares_left(equal: np.ndarray) -> np.ndarray:
        sizes = equal.astype(float)
        tie_sum = (sizes ** 2 - 1).sum()  # each of t equal ones brings t^2 - 1
        return squares_of_ranks(float(less), tie_sum - (sizes ** 3 - sizes) + ((sizes - 1) ** 3 - (sizes - 1)))

    whole = [squares_of_ranks(float(count), (equal.astype(float) ** 2 - 1).sum()) for equal in (equal_x, equal_y)]
    with np.errstate(invalid="ignore", divide="ignore"):
        value = ((r * q).sum() - count * (count + 1) ** 2 / 4) / np.sqrt(whole[0] * whole[1]) if min(whole) > 0 else np.nan
        spread = squares_left(equal_x) * squares_left(equal_y)
        return float(value), np.where(spread > 0, centred / np.sqrt(spread), np.nan)
