#!/usr/bin/env python3
"""analysis/stats: its formulas against R, SciPy and brute force. Run: python3 tests/analysis/test_stats_formulas.py [-v]"""

import itertools
import math
import shutil
import subprocess
import sys
import unittest
import warnings
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[2]
REFERENCE = Path(__file__).resolve().parent / "reference"
sys.path[:0] = [str(ROOT / "tests/support"), str(ROOT)]

try:
    import h5py  # noqa: F401
    import numpy as np
    import pandas  # noqa: F401
    from scipy import stats as scipy_stats
except ImportError as e:
    print(f"skipped: no {e.name} (Debian's python3-{e.name})")
    sys.exit(77)

import tap  # noqa: E402

from analysis import stats  # noqa: E402
from analysis.load import metrics as loaded  # noqa: E402
from analysis.load.series import read_predictions  # noqa: E402
from analysis.load.study import read_study  # noqa: E402
from analysis.stats.crossed import crossed_df, crossed_interval, crossed_parts  # noqa: E402
from analysis.stats.groups import pair_matrix  # noqa: E402
from analysis.stats.intervals import t_p_value  # noqa: E402
from analysis.stats.metrics import METRICS  # noqa: E402
from analysis.stats.pairs import rounding_spread, t_statistics  # noqa: E402


def read_data():
    sets = {}
    for line in (REFERENCE / "statistics.tsv").read_text().splitlines()[1:]:
        name, row, column, value = line.split("\t")
        sets.setdefault(name, {})[int(row) - 1, int(column) - 1] = float(value)
    return {name: np.array([[cells[row, column] for column in range(1 + max(c for _, c in cells))] for row in range(1 + max(r for r, _ in cells))])
            for name, cells in sets.items()}


def read_expected(text):
    """Groups of numbered names become lists. The first line names R's version."""
    found = {}
    for line in text.splitlines()[1:]:
        name, value = line.split("\t")
        stem, _, number = name.rpartition(".")
        name = stem if number.isdigit() and stem in found or number == "1" and not name.startswith(("seeds", "power")) else name
        found.setdefault(name, []).append(float(value))
    return found


class AgainstR(unittest.TestCase):
    """tests/analysis/reference/statistics.R made statistics.expected.tsv; where R is there, it is run again."""

    @classmethod
    def setUpClass(cls):
        cls.data = read_data()
        cls.text = (REFERENCE / "statistics.expected.tsv").read_text()
        cls.expected = read_expected(cls.text)

    def close(self, found, expected, words, tolerance=1e-9):
        self.assertEqual(np.shape(found), np.shape(expected), words)
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=1e-12, err_msg=str(words))

    def test_r_still_says_so(self):
        if not shutil.which("Rscript"):
            self.skipTest("no Rscript (Debian's r-base-core)")
        for script, arguments in (("statistics", ["statistics.tsv"]), ("letters", [])):
            done = subprocess.run(["Rscript", f"{script}.R", *arguments], cwd=REFERENCE, capture_output=True, text=True, timeout=120)
            if script == "letters" and "there is no package" in done.stderr:
                continue  # Debian's r-cran-multcompview, which made the file
            self.assertEqual(done.returncode, 0, done.stderr)
            kept = (REFERENCE / f"{script}.expected.tsv").read_text().splitlines()[1:]
            new = done.stdout.splitlines()[1:]
            self.assertEqual(len(new), len(kept))
            for first, second in zip(new, kept):
                (name, *values), (kept_name, *kept_values) = first.split("\t"), second.split("\t")
                self.assertEqual(name, kept_name)
                if script == "letters":
                    self.assertEqual(values, kept_values)
                else:
                    self.close(list(map(float, values)), list(map(float, kept_values)), name, 1e-8)

    def test_student(self):
        for n, level in itertools.product((2, 3, 5, 10, 30), (0.9, 0.95, 0.99)):
            a, b = self.data[f"pair{n}"]
            single = stats.t_interval(a, level)
            self.close([single.low, single.high], self.expected[f"t.{n}.{level:g}.single"], (n, level))
            both = stats.paired(dict(enumerate(a)), dict(enumerate(b)), level)
            found = [both.interval.mean, both.interval.low, both.interval.high, both.interval.df, both.p]
            self.close(found, self.expected[f"t.{n}.{level:g}.paired"], (n, level))

    def test_holm(self):
        for name in ("holm9", "holm4"):
            self.close(stats.holm(self.data[name][0]), self.expected[name], name)

    def test_power(self):
        count = 0
        for name, (value,) in ((name, values) for name, values in self.expected.items() if name.startswith("power.")):
            _, n, k, rest = name.split(".", 3)
            alpha = 0.05 / int(k)
            if rest == "smallest":
                self.close(stats.smallest_difference(2.0, int(n), alpha), 2 * value, name, 1e-6)
            else:
                self.close(stats.power(2 * float(rest), 2.0, int(n), alpha), value, name, 1e-8)
            count += 1
        self.assertGreater(count, 40)

    def test_seeds_needed(self):
        names = [name for name in self.expected if name.startswith("seeds.")]
        self.assertEqual(len(names), 6)
        for name in names:
            _, *delta, k = name.split(".")
            self.assertEqual(stats.seeds_needed(float(".".join(delta)), 1, 0.05 / int(k)), self.expected[name][0], name)

    def test_mean_squares(self):
        for name in ("crossed_mean", "crossed_binary"):
            table = self.data[name]
            n, count = table.shape
            mean, a, b = (float(each) for each in crossed_parts(table))
            df = float(crossed_df(np.array(a), np.array(b), n, count))
            interval = crossed_interval(mean, a, b, n, count)
            expected = self.expected[name]
            self.close([mean, a, b, df, interval.low, interval.high], [expected[0], *expected[4:]], name)
            self.close(a * n * count, expected[1], name)

    def test_pseudo_values(self):
        for name, classes in (("binary", 2), ("classes3", 3), ("values", 1)):
            label, prediction = self.data[name]
            for metric in ("accuracy", "f1", "matthews") if classes > 1 else ("pearson", "spearman", "mse"):
                value, pseudo = stats.pseudo_values(metric, label, prediction, np.zeros((len(label), classes)))
                self.close([value, *pseudo], self.expected[f"{name}.{metric}"], (name, metric))

    def test_letters(self):
        lines = (REFERENCE / "letters.expected.tsv").read_text().splitlines()[1:]
        self.assertGreater(len(lines), 20)
        for line in lines:
            count, pairs, groups = line.split("\t")
            separated = np.zeros((int(count), int(count)), bool)
            for pair in pairs.split():
                first, second = (int(name[1:]) - 1 for name in pair.split("-"))
                separated[first, second] = separated[second, first] = True
            texts = stats.letters(separated)
            found = {letter: ",".join(str(row + 1) for row, text in enumerate(texts) if letter in text) for letter in "".join(texts)}
            self.assertEqual(sorted(found.values()), sorted(groups.split()), line)


# ---- against SciPy, definitions and brute force ----

class AgainstDefinitions(unittest.TestCase):
    def test_t_tails(self):
        t = np.array([0, 1e-8, 0.5, 3, 40, 1e6])
        for df in (1, 2, 4, 9, 200):
            np.testing.assert_allclose(t_p_value(t, df), 2 * scipy_stats.t.sf(t, df), rtol=1e-9, atol=1e-8)
            np.testing.assert_allclose(t_p_value(t[3:], df), 2 * scipy_stats.t.sf(t[3:], df), rtol=1e-10)

    def test_paired_is_scipys(self):
        rng = np.random.default_rng(1)
        for n in (2, 3, 5, 10):
            a, b = rng.normal(0.8, 0.02, (2, n))
            found, expected = stats.paired(dict(enumerate(a)), dict(enumerate(b))), scipy_stats.ttest_rel(a, b)
            low, high = scipy_stats.t.interval(0.95, n - 1, (a - b).mean(), (a - b).std(ddof=1) / math.sqrt(n))
            np.testing.assert_allclose([found.p, found.interval.low, found.interval.high], [expected.pvalue, low, high], rtol=1e-9)

    def test_holm_is_the_closed_test_by_bonferroni(self):
        """A hypothesis is rejected exactly if Bonferroni rejects every intersection that it is part of."""
        rng = np.random.default_rng(2)
        for _ in range(60):
            p = np.round(rng.random(5) ** 3, 3)
            adjusted = stats.holm(p)
            for index in range(5):
                closed = max(min(1, min(p[list(members)]) * len(members)) for size in range(1, 6) for members in itertools.combinations(range(5), size)
                             if index in members)
                self.assertAlmostEqual(adjusted[index], closed, places=12)

    def test_holm_counts_what_could_not_be_tested(self):
        found = stats.holm([0.01, math.nan, 0.04])
        np.testing.assert_allclose(found[[0, 2]], [0.03, 0.08])
        self.assertTrue(math.isnan(found[1]))
        self.assertEqual(stats.holm([]).shape, (0,))
        np.testing.assert_array_equal(stats.holm(np.array([[0.01, 0.2], [0.5, 0.02]])), [[0.02, 0.2], [0.5, 0.04]])

    def test_power_where_r_is_not_exact(self):
        for n, alpha, shift in ((2, 0.05 / 9, 160.0), (3, 0.05 / 45, 60.0), (200, 0.01, 3.0)):
            limit = scipy_stats.t.ppf(1 - alpha / 2, n - 1)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of its far tail
                expected = scipy_stats.nct.sf(limit, n - 1, shift)
            self.assertAlmostEqual(stats.power(shift / math.sqrt(n), 1, n, alpha), expected, places=7)  # SciPy has but 8 digits of the limit
        self.assertAlmostEqual(stats.power(0, 1, 5), 0.05, places=9)
        self.assertEqual(stats.power(-1, 1, 5), stats.power(1, 1, 5))
        self.assertEqual(stats.seeds_needed(100, 1), 2)
        self.assertIsNone(stats.seeds_needed(1e-6, 1))
        for wrong in ((1, 0, 5), (1, math.nan, 5), (1, 1, 1), (1, 1, 5, 0)):
            with self.assertRaises(ValueError):
                stats.power(*wrong)

    def test_spread_range(self):
        low, high = stats.spread_range(2)
        np.testing.assert_allclose([low, high], [0.5207, 6.2847], rtol=1e-4)
        spreads = np.random.default_rng(3).normal(size=(20_000, 3)).std(1, ddof=1)
        self.assertAlmostEqual(((spreads * low <= 1) & (1 <= spreads * high)).mean(), 0.95, delta=0.006)

    def test_letters_mean_exactly_what_is_separated(self):
        rng = np.random.default_rng(4)
        for _ in range(200):
            count = int(rng.integers(1, 11))
            separated = pair_matrix(count, rng.random(count * (count - 1) // 2) < rng.random())
            texts = stats.letters(separated)
            for first, second in itertools.combinations(range(count), 2):
                self.assertEqual(bool(set(texts[first]) & set(texts[second])), not separated[first, second])
            self.assertTrue(all(texts))
            order = rng.permutation(count)
            again = stats.letters(separated[np.ix_(order, order)])
            self.assertEqual(sorted(map(len, again)), sorted(map(len, texts)))  # the groups do not depend on the order of rows

    def test_letters_by_hand(self):
        """1 and 3, 1 and 4, 2 and 4 are separated: a = 1 2, b = 2 3, c = 3 4."""
        self.assertEqual(stats.letters(pair_matrix(4, [False, True, True, False, True, False])), ["a", "ab", "bc", "c"])
        self.assertEqual(stats.letters(np.zeros((3, 3), bool)), ["a", "a", "a"])
        self.assertEqual(stats.letters(np.zeros((0, 0), bool)), [])
        # 2 k rows of which each is separated from one other: 2^k groups.
        many = np.zeros((24, 24), bool)
        for row in range(0, 24, 2):
            many[row, row + 1] = many[row + 1, row] = True
        self.assertIsNone(stats.letters(many))

    def brute(self, metric, classes):
        """Scores straight from their definitions."""
        def f1_of(label, prediction, c):
            hit, wrong = ((label == c) & (prediction == c)).sum(), ((label == c) ^ (prediction == c)).sum()
            return 2 * hit / (2 * hit + wrong) if hit + wrong else 0.0

        def f1(label, prediction):
            return f1_of(label, prediction, 1) if classes == 2 else sum(f1_of(label, prediction, c) for c in range(classes)) / classes

        def matthews(label, prediction):
            x, y = (np.eye(classes)[each.astype(int)] - np.eye(classes)[each.astype(int)].mean(0) for each in (label, prediction))
            spread = (x * x).sum() * (y * y).sum()
            return (x * y).sum() / math.sqrt(spread) if spread > 1e-20 else 0.0

        return {"accuracy": lambda label, prediction: (label == prediction).mean(), "mse": lambda label, prediction: ((label - prediction) ** 2).mean(),
                "f1": f1, "matthews": matthews, "pearson": lambda label, prediction: scipy_stats.pearsonr(label, prediction)[0],
                "spearman": lambda label, prediction: scipy_stats.spearmanr(label, prediction)[0]}[metric]

    def test_pseudo_values_by_leaving_out_each(self):
        rng = np.random.default_rng(5)
        seen = dict.fromkeys(METRICS, 0)
        for trial in range(120):
            count, classes = int(rng.integers(4, 30)), int(rng.integers(2, 6))
            label = rng.integers(0, classes if trial % 4 else 1 + trial % 2, count).astype(float)
            prediction = np.where(rng.random(count) < 0.6, label, rng.integers(0, classes, count))
            x = np.round(rng.normal(size=count), int(rng.integers(0, 3)))  # with ties, and without
            y = np.round(0.5 * x + rng.normal(size=count), int(rng.integers(0, 3)))
            for metric in ("accuracy", "f1", "matthews", "pearson", "spearman", "mse"):
                a, b, width = (label, prediction, classes) if metric in ("accuracy", "f1", "matthews") else (x, y, 1)
                form = self.brute(metric, classes)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    whole, left_out = float(form(a, b)), np.array([float(form(np.delete(a, e), np.delete(b, e))) for e in range(count)])
                if not np.isfinite([whole, *left_out]).all():
                    with self.assertRaisesRegex(ValueError, "not defined"):
                        stats.pseudo_values(metric, a, b, np.zeros((count, width)))
                    continue
                value, pseudo = stats.pseudo_values(metric, a, b, np.zeros((count, width)))
                expected = count * whole - (count - 1) * left_out
                np.testing.assert_allclose(value, whole, atol=1e-12)
                np.testing.assert_allclose(pseudo, expected + whole - expected.mean(), atol=1e-10, err_msg=f"{metric} {trial}")
                seen[metric] += 1
        self.assertTrue(all(seen[metric] > 80 for metric in seen if metric != "loss"), seen)

    def test_scores_are_the_loaders(self):
        """load/metrics.py, by which run files are checked, forms the same scores."""
        rng = np.random.default_rng(10)
        for classes in (2, 3, 6):
            label = rng.integers(0, classes, 80)
            prediction = np.where(rng.random(80) < 0.6, label, rng.integers(0, classes, 80))
            for metric, value in loaded.classify(label, prediction, classes).items():
                self.assertAlmostEqual(stats.pseudo_values(metric, label, prediction, np.zeros((80, classes)))[0], value, places=12)
        x, y = np.round(rng.normal(size=(2, 80)), 1)
        for metric, value in loaded.regress(x, y).items():
            self.assertAlmostEqual(stats.pseudo_values(metric, x, y, np.zeros((80, 1)))[0], value, places=12)

    def test_losses(self):
        rng = np.random.default_rng(6)
        label, score = rng.integers(0, 4, 50), rng.normal(size=(50, 4))
        value, each = stats.pseudo_values("loss", label, label, score)
        chance = np.exp(score) / np.exp(score).sum(1, keepdims=True)
        np.testing.assert_allclose(each, -np.log(chance[np.arange(50), label]), rtol=1e-12)
        self.assertAlmostEqual(value, each.mean(), places=14)
        value, _ = stats.pseudo_values("loss", label, score[:, 0], score[:, :1])
        self.assertAlmostEqual(value, ((score[:, 0] - label) ** 2).mean(), places=12)

    def test_predictions_that_are_of_no_use(self):
        label = np.array([0.0, 1, 1, 0])
        for metric, wrong, classes in (("f1", [0, 1, 2, 0], 2), ("matthews", [0, 1, 0.5, 0], 2), ("accuracy", [0, 1, math.nan, 0], 2), ("f1", [-1, 1, 1, 0], 2),
                                       ("pearson", [1, 1, 1, 1], 1), ("bleu", [0, 1, 1, 0], 2)):
            with self.assertRaises(ValueError, msg=metric):
                stats.pseudo_values(metric, label, np.array(wrong, float), np.zeros((4, classes)))
        with self.assertRaisesRegex(ValueError, "too few"):
            stats.pseudo_values("accuracy", label[:2], label[:2], np.zeros((2, 2)))

    def test_many_examples_take_no_time(self):
        """A hundred thousand: N log N operations, not N^2 (ten thousand million)."""
        rng = np.random.default_rng(7)
        x, y = rng.normal(size=(2, 100_000))
        y = np.round(x + y, 3)
        value, pseudo = stats.pseudo_values("spearman", x, y, np.zeros((100_000, 1)))
        self.assertAlmostEqual(value, scipy_stats.spearmanr(x, y)[0], places=10)
        for e in (0, 50_000):
            left_out = scipy_stats.spearmanr(np.delete(x, e), np.delete(y, e))[0]
            self.assertAlmostEqual(pseudo[e] - pseudo.mean(), -(len(x) - 1) * (left_out - value), delta=0.01)

    def test_the_archived_runs_have_these_scores(self):
        """Scores are formed as the program forms them: those of all archived runs, accuracy and Matthews' correlation, from their predictions."""
        runs = read_study(ROOT / "results/minilm-glue").collection.runs
        self.assertGreaterEqual(len(runs), 100)
        for run in runs[::3]:
            found = read_predictions(run)
            value, _ = stats.pseudo_values(run.metric, found.label, found.prediction, found.score)
            self.assertAlmostEqual(value, run.test, places=12, msg=run.name)

    def test_parts_of_variance(self):
        rng = np.random.default_rng(8)
        table = rng.normal(size=(4, 30)) + rng.normal(size=(4, 1)) + rng.normal(size=30)
        mean, a, b = crossed_parts(table)
        self.assertAlmostEqual(float(mean), table.mean())
        self.assertAlmostEqual(float(a), table.mean(1).var(ddof=1) / 4)  # the squared standard error over seeds alone
        self.assertGreater(float(b), 0)
        self.assertEqual(float(crossed_parts(np.ones((3, 5)) * np.arange(3)[:, None])[2]), 0)
        # Over many made tables the estimate is the variance of the mean: that of seeds / n + examples / N + rest / (n N).
        tables = 0.3 * rng.normal(size=(20_000, 3, 1)) + rng.normal(size=(20_000, 1, 20)) + rng.normal(size=(20_000, 3, 20))
        mean, a, b = crossed_parts(tables)
        expected = 0.09 / 3 + 1 / 20 + 1 / 60
        self.assertAlmostEqual(mean.var() / expected, 1, delta=0.04)
        self.assertAlmostEqual((a + b).mean() / expected, 1, delta=0.02)

    def test_degrees_of_freedom(self):
        a, b = np.array([1.0, 1.0, 1.0, 0.0]), np.array([0.0, 1.0, 1e9, 1.0])
        np.testing.assert_allclose(crossed_df(a, b, 3, 500), [2, 4, 499, 499])
        self.assertIsNone(crossed_interval(0.1, 0.0, 0.0, 3, 500))
        self.assertIsNone(crossed_interval(0.1, 1e-4, 0.0, 2, 500))
        alone = stats.t_interval([0.1, 0.2, 0.4])
        same = crossed_interval(0.7 / 3, np.var([0.1, 0.2, 0.4], ddof=1) / 3, 0.0, 3, 500)
        np.testing.assert_allclose([same.low, same.high, same.df], [alone.low, alone.high, 2])


class Rounding(unittest.TestCase):
    """Scores of few examples lie on a grid."""

    def judge(self, steps, n_examples=100):
        return stats.paired(dict(enumerate(0.5 + np.array(steps) / n_examples)), dict.fromkeys(range(len(steps)), 0.5),
                            rounding=rounding_spread(1 / n_examples, 1 / n_examples))

    def test_no_spread_is_no_certainty(self):
        for steps in ([5, 5, 5], [5, 5, 6], [7, 8], [3] * 10, [3] * 8 + [4, 4]):
            found = self.judge(steps)
            self.assertTrue(found.flat and math.isnan(found.p) and not found.interval.is_known, steps)
            self.assertAlmostEqual(found.mean, np.mean(steps) / 100)
            self.assertFalse(found.equal)
        self.assertTrue(self.judge([0, 0, 0]).equal)

    def test_a_spread_beyond_rounding_is_used_as_it_is(self):
        for steps in ([4, 5, 6], [5, 8], [3, 4, 5, 4, 3, 5, 4, 3, 4, 5]):
            found = self.judge(steps)
            self.assertAlmostEqual(found.p, scipy_stats.ttest_1samp(steps, 0).pvalue, places=10)

    def test_without_a_grid_only_equal_values_have_none(self):
        found = stats.paired({1: 0.3 + 0.1, 2: 0.7, 3: 0.2}, {1: 0.1, 2: 0.4, 3: -0.1})  # 0.3, but for the computer's rounding
        self.assertTrue(found.flat)
        self.assertFalse(stats.paired({1: 0.5, 2: 0.5001}, {1: 0.4, 2: 0.4}).flat)
        self.assertIsNone(stats.t_interval([0.5, 0.5, 0.5]))
        self.assertIsNone(stats.t_interval([0.5]))
        self.assertIsNone(stats.t_interval([0.5, math.nan]))

    def test_how_seldom_rounding_alone_is_taken_for_a_spread(self):
        """At most one case in a hundred, as the rule says; errors of rounding are uniform."""
        rng = np.random.default_rng(9)
        for n in (2, 3, 5, 10):
            errors = rng.uniform(-0.005, 0.005, (40_000, 2, n))
            _, _, p = t_statistics(errors[:, 0] - errors[:, 1], rounding_spread(0.01, 0.01))
            self.assertLessEqual((~np.isnan(p)).mean(), 0.01)


if __name__ == "__main__":
    tap.main()
