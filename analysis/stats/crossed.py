"""New seeds and new test examples: seeds and examples as crossed random effects on the difference of two methods.

Model. D_se, the difference of two methods for seed s and example e (of a mean its terms, else pseudo-values: metrics.py), is mu + S_s + E_e + R_se. The mean
over n seeds and N examples has the variance var(S)/n + var(E)/N + var(R)/(nN), which the mean squares of the two-way table estimate as

    (MS_seed + max(MS_example - MS_interaction, 0)) / (n N)

(Dorfman, Berbaum and Metz 1992, with readers for seeds and cases for examples; the difference of two treatments leaves these two factors). In it A = MS_seed
/ (nN) is the squared standard error over seeds alone, and B, the rest, is what other examples would add.

Degrees of freedom. Hillis (2007, A comparison of denominator degrees of freedom methods for multiple observer ROC analysis, Statistics in Medicine 26) has (n
- 1) ((A + B) / A)^2: Satterthwaite's, B taken as known. Where A comes from three seeds that is too many, because an A that is too small by chance makes the
interval short and the degrees of freedom many at once: coverage falls to 92 % (n = 3) and 87 % (n = 2) where B is a twentieth to a tenth of the whole. They
are therefore capped at (n - 1) (A + B) / A, and at N - 1. For many examples coverage is then an integral over the chi-square distribution of A alone: 94.2 to
96.3 % (n = 3), 94.9 to 96.2 % (n = 4), 95.0 to 96.0 % (n = 5) and nearer to 95 % above, whatever the share of B. Two seeds would have as little as 90.6 %, so
that they are given no such interval."""

from __future__ import annotations

import numpy as np

from .intervals import Interval, make_interval

LEAST_SEEDS = 3
NOTHING = 1e-24  # a variance that is the computer's rounding


def crossed_parts(differences: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """differences: [..., seeds, examples], two of each at least. Their mean, A and B, as above."""
    seeds, examples = differences.shape[-2:]
    by_seed = differences.mean(-1, dtype=float)
    by_example = differences.mean(-2, dtype=float)
    mean = by_seed.mean(-1)
    seed_sum = examples * ((by_seed - mean[..., None]) ** 2).sum(-1)
    example_sum = seeds * ((by_example - mean[..., None]) ** 2).sum(-1)
    total = ((differences - mean[..., None, None]) ** 2).sum((-2, -1))
    ms_seed, ms_example = seed_sum / (seeds - 1), example_sum / (examples - 1)
    ms_interaction = np.maximum(total - seed_sum - example_sum, 0) / ((seeds - 1) * (examples - 1))
    return mean, ms_seed / (seeds * examples), np.maximum(ms_example - ms_interaction, 0) / (seeds * examples)


def crossed_df(a: np.ndarray, b: np.ndarray, seeds: int, examples: int) -> np.ndarray:
    """Hillis' degrees of freedom with the caps above. Where A is nothing, N - 1."""
    share = np.divide(a, a + b, out=np.zeros_like(a + b), where=a > NOTHING)
    most = max(examples - 1, seeds - 1)
    return np.clip((seeds - 1) / np.maximum(share, 1e-12), seeds - 1, most)


def crossed_interval(mean: float, a: float, b: float, seeds: int, examples: int, level: float = 0.95) -> Interval | None:
    """None: fewer than three seeds, or no spread at all."""
    if seeds < LEAST_SEEDS or not a + b > NOTHING:
        return None
    return make_interval(mean, float(np.sqrt(a + b)), float(crossed_df(np.asarray(float(a)), np.asarray(float(b)), seeds, examples)), level)
