#!/usr/bin/env python3
"""What analysis/stats promises, seen where the truth is known: coverage, family error, power. Few draws of what `make stats-proof` does with many.
Run: python3 tests/analysis/test_stats_proof.py [-v]"""

import math
import sys
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "support"), str(Path(__file__).resolve().parent)]

try:
    import scipy  # noqa: F401
except ImportError as e:
    print(f"skipped: no {e.name} (Debian's python3-{e.name})")
    sys.exit(77)

import stats_simulation as proof  # noqa: E402
import tap  # noqa: E402

DRAWS = 20_000


class Coverage(unittest.TestCase):
    def check(self, share, words, draws, low=0.93, high=0.97):
        """The bounds hold for the true coverage: what was seen may miss them by three standard errors."""
        slack = 3 * proof.error_of(0.95, draws)
        self.assertTrue(low - slack <= share <= high + slack, f"{words}: {share:.4f}")

    def test_over_seeds(self):
        for kind in ("normal", "accuracy, N = 500"):
            for n in proof.SEEDS:
                with self.subTest(kind=kind, n=n):
                    share, none = proof.cover_by_seeds(kind, n, DRAWS)
                    self.check(share, (kind, n), DRAWS, 0.945, 0.955)
                    self.assertLess(none, 0.01)

    def test_on_a_coarse_grid_it_is_never_too_low(self):
        for kind in (kind for kind in proof.KINDS if kind.startswith("N = 100")):
            for n in proof.SEEDS:
                with self.subTest(kind=kind, n=n):
                    self.check(proof.cover_by_seeds(kind, n, DRAWS)[0], (kind, n), DRAWS, 0.95, 1)

    def test_why_the_percentile_bootstrap_is_not_used(self):
        for n, expected in zip(proof.SEEDS, (0.75, 0.835, 0.905)):
            self.assertAlmostEqual(proof.cover_by_bootstrap(n, 4000), expected, delta=0.02)

    def test_over_seeds_and_examples(self):
        """The worst effects for each n and N are among these; `make stats-proof` has all, with N = 2000."""
        for name in ("none", "examples 0.3", "examples 1", "seeds 0.1, examples 0.3", "seeds 0.3, examples 1"):
            for n in proof.SEEDS:
                for count in (100, 500):
                    with self.subTest(effects=name, n=n, count=count):
                        share, _, _, draws = proof.cover_accuracy(proof.EFFECTS[name], n, count, 1500 if count == 100 else 600)
                        self.check(share, (name, n, count), draws)

    def test_of_scores_that_are_no_means(self):
        for metric, name in (("matthews", "seeds 0.3, examples 1"), ("spearman", "seeds 0.1, examples 0.3")):
            for n in proof.SEEDS:
                with self.subTest(metric=metric, n=n):
                    share, _, draws = proof.cover_metric(metric, proof.EFFECTS[name], n, 200, 400)
                    self.check(share, (metric, n), draws)

    def test_for_many_examples_exactly(self):
        """What crossed.py says of its degrees of freedom, and of Hillis' without the cap."""
        shares = [each / 200 for each in range(200)]
        for n, low, high in ((2, 0.906, 0.964), (3, 0.942, 0.963), (4, 0.9485, 0.962), (5, 0.9495, 0.9605), (10, 0.9498, 0.9561), (30, 0.9498, 0.9522)):
            found = [proof.exact_coverage(n, share, True) for share in shares]
            with self.subTest(n=n):
                self.assertAlmostEqual(min(found), low, delta=0.0006)
                self.assertAlmostEqual(max(found), high, delta=0.0006)
        for n, low in ((2, 0.872), (3, 0.9216)):
            self.assertAlmostEqual(min(proof.exact_coverage(n, share, False) for share in shares[5:]), low, delta=0.0006)


class Families(unittest.TestCase):
    def check(self, error, words):
        self.assertLessEqual(error, 0.05 + 3 * proof.error_of(0.05, DRAWS), words)

    def test_holm(self):
        for kind in proof.KINDS:
            for family in proof.FAMILIES:
                for n in proof.SEEDS:
                    with self.subTest(kind=kind, family=family, n=n):
                        self.check(proof.family_error(kind, family, n, DRAWS)[0], (kind, family, n))

    def test_it_is_not_needlessly_strict(self):
        """Against a family error of 0, which would pass the test above."""
        for n in proof.SEEDS:
            self.assertGreater(proof.family_error("normal", "8 of 9 differ", n, DRAWS)[0], 0.045)
        self.assertGreater(proof.family_error("normal", "8 of 9 differ", 5, DRAWS)[1], 0.99)

    def test_letters(self):
        for kind in proof.KINDS:
            for clusters in proof.CLUSTERS:
                for n in proof.SEEDS:
                    with self.subTest(kind=kind, clusters=clusters, n=n):
                        self.check(proof.letters_error(kind, clusters, n, DRAWS // 2), (kind, clusters, n))

    def test_power(self):
        for kind in ("normal", "accuracy, N = 500"):
            for n in proof.SEEDS:
                with self.subTest(kind=kind, n=n):
                    difference, formula, seen = proof.find_power(kind, n, DRAWS)
                    print(f"# power, {kind}, n = {n}: {100 * difference:.2f} points, formula {formula:.3f}, seen {seen:.3f}", file=sys.stderr)
                    self.assertAlmostEqual(formula, 0.8, delta=1e-6)
                    self.assertFalse(math.isnan(seen))
                    # Binomial spreads shrink a little away from one half, where large differences lie.
                    self.assertTrue(-3 * proof.error_of(0.8, DRAWS) <= seen - formula <= (0.04 if kind != "normal" else 3 * proof.error_of(0.8, DRAWS)), seen)


if __name__ == "__main__":
    tap.main()
