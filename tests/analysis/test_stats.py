#!/usr/bin/env python3
"""analysis/stats: its formulas against R, SciPy and brute force; what it makes of rows; the verb. Run: python3 tests/analysis/test_stats.py [-v]"""

import csv
import io
import itertools
import json
import math
import shutil
import subprocess
import sys
import types
import unittest
import warnings
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[2]
REFERENCE = Path(__file__).resolve().parent / "reference"
sys.path[:0] = [str(ROOT / "tests/support"), str(Path(__file__).resolve().parent), str(ROOT)]

try:
    import h5py
    import numpy as np
    import pandas  # noqa: F401
    from scipy import stats as scipy_stats
except ImportError as e:
    print(f"skipped: no {e.name} (Debian's python3-{e.name})")
    sys.exit(77)

import stats_simulation as proof  # noqa: E402
import tap  # noqa: E402
from folders import FolderCase  # noqa: E402
from made_runs import analyse, write_index, write_run  # noqa: E402

from analysis import stats  # noqa: E402
from analysis.load import metrics as loaded  # noqa: E402
from analysis.load.series import Predictions  # noqa: E402
from analysis.load.summary import Row, Section  # noqa: E402
from analysis.stats.crossed import crossed_df, crossed_interval, crossed_parts  # noqa: E402
from analysis.stats.groups import pair_matrix  # noqa: E402
from analysis.stats.intervals import t_p_value  # noqa: E402
from analysis.stats.metrics import METRICS  # noqa: E402
from analysis.stats.pairs import rounding_spread, t_statistics  # noqa: E402
from analysis.tables.columns import COLUMNS  # noqa: E402

# ---- against R ----

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
        from analysis.load.series import read_predictions
        from analysis.load.study import read_study
        runs = read_study(ROOT / "results/minilm-glue").collection.runs
        self.assertGreaterEqual(len(runs), 60)
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


# ---- rows ----

def make_section(task="trec6", metric="accuracy"):
    return Section(task, task, "minilm-l6", metric, 1, 1)


def make_row(label, scores, section=None):
    """scores: by seed, or pairs of seed and score."""
    section = section or make_section()
    pairs = list(scores.items() if isinstance(scores, dict) else scores)
    runs = [types.SimpleNamespace(seed=seed, test=score, metric=section.metric, method=label.split()[0], run_id=f"{section.task}-{label}-{number}")
            for number, (seed, score) in enumerate(pairs)]
    values = [score for _, score in pairs]
    return Row(section, label, runs, {"test": float(np.mean(values))}, min(values), max(values), None)


def rows_of(table, section=None):
    return [make_row(label, dict(enumerate(scores, 1)), section) for label, scores in table.items()]


class Store:
    """Predictions by run. Examples are easy or hard for all; those of a seed come in any order."""

    def __init__(self, count=200, classes=2):
        self.count, self.classes, self.found, self.reads = count, classes, {}, 0

    def fill(self, rows):
        """So that each run has its score: the `score * count` easiest examples, easy with some chance, are right. Scores become multiples of 1 / count."""
        for row in rows:
            for run in row.runs:
                rng, common = np.random.default_rng([run.seed, *run.run_id.encode()]), np.random.default_rng(1)
                label, hardness = common.integers(0, self.classes, self.count), common.random(self.count) + 0.3 * rng.random(self.count)
                right = np.zeros(self.count, bool)
                right[np.argsort(hardness)[:round(run.test * self.count)]] = True
                run.test = right.mean()
                order = rng.permutation(self.count)
                prediction = np.where(right, label, (label + 1) % self.classes)
                self.found[run.run_id] = Predictions((np.arange(self.count) * 7 + 3)[order], label[order].astype(np.float32),
                                                     prediction[order].astype(np.float32), np.eye(self.classes)[prediction[order]].astype(np.float32))
        return self

    def __call__(self, run):
        self.reads += 1
        return self.found.get(run.run_id)


TABLE = {"full": [0.95, 0.96, 0.94, 0.955, 0.945], "lora r=8 q,v": [0.90, 0.905, 0.895, 0.91, 0.90], "head": [0.60, 0.62, 0.61, 0.615, 0.60],
         "red": [0.905, 0.90, 0.905, 0.90, 0.90]}


class Compare(unittest.TestCase):
    def verdicts(self, found):
        return {each.row.label: each.difference.verdict if each.difference else None for each in found.rows}

    def has_note(self, found, *words):
        text = "\n".join(found.notes)
        for word in words:
            self.assertIn(word, text)

    def test_verdicts(self):
        rows = rows_of(TABLE)
        found = stats.compare(rows, "lora")
        self.assertIs(found.control, rows[1])
        self.assertEqual([each.row for each in found.rows], rows)
        self.assertEqual(self.verdicts(found), {"full": "better", "lora r=8 q,v": None, "head": "worse", "red": "not separated"})
        self.assertEqual([each.letters for each in found.rows], ["a", "b", "c", "b"])
        self.assertEqual(found.family, 3)
        full = found.of(rows[0]).difference
        expected = scipy_stats.ttest_rel(TABLE["full"], TABLE["lora r=8 q,v"])
        self.assertAlmostEqual(full.p, expected.pvalue, places=12)
        self.assertEqual(full.seeds, (1, 2, 3, 4, 5))
        # Bonferroni's intervals are wider, and what they leave out, Holm separates.
        self.assertAlmostEqual(full.adjusted.half / full.interval.half, scipy_stats.t.ppf(1 - 0.05 / 6, 4) / scipy_stats.t.ppf(0.975, 4), places=6)
        self.assertIsNone(full.wide)  # no predictions
        for each in (found.of(rows[0]).difference, found.of(rows[2]).difference):
            self.assertFalse(each.adjusted.has_zero)
        p = {label: each.difference.p for label, each in zip(TABLE, found.rows) if each.difference}
        np.testing.assert_allclose([each.difference.p_holm for each in found.rows if each.difference], stats.holm(list(p.values())))
        self.assertAlmostEqual(full.smallest, stats.smallest_difference(full.sd, 5, 0.05 / 3), places=12)
        spreads = [each.difference.sd for each in found.rows if each.difference]
        self.assertAlmostEqual(found.pooled, math.sqrt(np.mean(np.square(spreads))), places=12)
        self.assertAlmostEqual(found.smallest, stats.smallest_difference(found.pooled, 5, 0.05 / 3), places=12)
        self.has_note(found, "Control: lora r=8 q,v", "1 2 3 4 5", "3 comparisons", "0.017", "6 pairs", "0.60 to 2.9 times")
        self.assertNotIn("With new examples", "\n".join(found.notes))

    def test_the_order_of_rows_changes_nothing(self):
        rows = rows_of(TABLE)
        first = self.verdicts(stats.compare(rows, "lora"))
        for order in itertools.permutations(rows):
            found = stats.compare(list(order), "lora")
            self.assertEqual(self.verdicts(found), first)
            letters = {each.row.label: each.letters for each in found.rows}
            self.assertEqual(letters["red"], letters["lora r=8 q,v"])
            self.assertEqual(len({*letters.values()}), 3)
            self.assertEqual(next(iter(letters.values())), "a")  # by place, not by score

    def test_where_lower_is_better(self):
        section = make_section("lm", "loss")
        found = stats.compare(rows_of({"lora": [2.0, 2.1, 1.9], "full": [1.0, 1.12, 0.9], "head": [5.0, 5.1, 4.93]}, section), "lora")
        self.assertEqual(self.verdicts(found), {"lora": None, "full": "better", "head": "worse"})

    def test_control(self):
        rows = rows_of({"lora r=4": [0.9, 0.91], "lora r=8": [0.9, 0.92], "head": [0.5, 0.52]})
        for name, label in (("lora r=8", "lora r=8"), ("head", "head"), ("lora", None), ("vera", None)):
            found = stats.compare(rows, name)
            self.assertEqual(found.control and found.control.label, label)
            self.assertEqual(any(each.difference for each in found.rows), label is not None)
            self.assertTrue(all(each.letters for each in found.rows))
        self.has_note(stats.compare(rows, "lora"), "No control: 2 rows are of lora (lora r=4, lora r=8)")
        self.has_note(stats.compare(rows, "vera"), "No control: there is no row of vera")
        self.assertEqual(stats.compare([], "lora").rows, [])
        self.assertEqual(stats.compare(rows[:1], "lora r=4").rows[0].letters, "")

    def test_other_seeds(self):
        rows = [make_row("lora", {1: 0.90, 2: 0.91, 3: 0.92}), make_row("full", {1: 0.95, 2: 0.95, 3: 0.97}), make_row("vera", {2: 0.8, 3: 0.82, 7: 0.9}),
                make_row("red", {3: 0.8, 9: 0.9}), make_row("head", {8: 0.5, 9: 0.51})]
        found = stats.compare(rows, "lora")
        self.assertEqual([each.difference.seeds if each.difference else None for each in found.rows], [None, (1, 2, 3), (2, 3), (3,), ()])
        self.assertEqual(self.verdicts(found), {"lora": None, "full": "better" if found.rows[1].difference.p_holm <= 0.05 else "not separated",
                                                "vera": found.rows[2].difference.verdict, "red": "too few seeds", "head": "too few seeds"})
        self.assertEqual(found.family, 2)  # what cannot be tested is not in it
        self.assertAlmostEqual(found.rows[3].difference.mean, 0.8 - 0.92)
        self.assertTrue(math.isnan(found.rows[4].difference.mean))
        self.assertFalse(found.rows[3].difference.interval.is_known)
        self.has_note(found, "vera 2 3, without the control's seed 1 and its own seed 7", "head none", "Too few seeds, so not in the family: red, head")
        self.assertEqual(found.rows[4].letters, "")  # head shares one seed with red, none with the others

    def test_a_seed_that_is_there_twice_counts_once(self):
        twice = [make_row("lora", [(1, 0.90), (1, 0.92), (2, 0.93), (3, 0.95)]), make_row("full", {1: 0.95, 2: 0.96, 3: 0.94})]
        once = [make_row("lora", {1: 0.91, 2: 0.93, 3: 0.95}), make_row("full", {1: 0.95, 2: 0.96, 3: 0.94})]
        self.assertAlmostEqual(stats.compare(twice, "lora").rows[1].difference.p, stats.compare(once, "lora").rows[1].difference.p, places=12)

    def test_unknown_scores(self):
        rows = [make_row("lora", {1: 0.9, 2: 0.91, 3: 0.9}), make_row("full", {1: 0.95, 2: math.nan, 3: 0.97}), make_row("red", {1: 0.95, 2: 0.9, 3: 0.97})]
        found = stats.compare(rows, "lora")
        self.assertIsNone(found.rows[1].difference)
        self.assertIsNone(found.rows[1].score)
        self.assertEqual((found.family, found.rows[1].letters), (1, ""))
        self.has_note(found, "Not compared, because a test score is not known: full.")
        self.has_note(stats.compare(rows, "full"), "No control: a test score of full is not known.")
        rows[2].planned = 5
        self.has_note(stats.compare(rows, "lora"), "red 3 of 5")

    def test_no_spread(self):
        rows = rows_of({"lora": [0.90, 0.91, 0.92], "full": [0.95, 0.96, 0.97], "red": [0.90, 0.91, 0.92], "head": [0.5, 0.52, 0.55]})
        found = stats.compare(rows, "lora")
        self.assertEqual(self.verdicts(found), {"lora": None, "full": "no spread", "red": "not separated", "head": "worse"})
        self.assertEqual(found.family, 3)  # they count
        self.assertAlmostEqual(found.rows[3].difference.p_holm, 3 * found.rows[3].difference.p, places=12)
        for each in found.rows[1:3]:
            self.assertTrue(math.isnan(each.difference.p) and math.isnan(each.difference.p_holm) and math.isnan(each.difference.smallest))
            self.assertIsNone(each.difference.adjusted)
        self.assertEqual(found.rows[1].letters[0], found.rows[0].letters[0])
        self.has_note(found, "No spread: full.", "Equal to the control in every seed: red.")

    def test_the_grid_is_known_from_predictions(self):
        """Differences of 10 or 11 examples of 100: without predictions, nobody knows that a step is 0.01."""
        rows = rows_of({"lora": [0.70, 0.72, 0.71], "full": [0.80, 0.82, 0.82]})
        self.assertEqual(self.verdicts(stats.compare(rows, "lora"))["full"], "better")
        store = Store(100).fill(rows)
        found = stats.compare(rows, "lora", store)
        self.assertEqual(self.verdicts(found)["full"], "no spread")
        self.assertIsNotNone(found.rows[1].difference.wide)
        self.assertFalse(found.rows[1].difference.interval.is_known)

    def test_new_examples(self):
        rows = rows_of(TABLE)
        store = Store().fill(rows)
        found = stats.compare(rows, "lora", store)
        for each in found.rows:
            if each.difference is None:
                continue
            matrices = []
            for row in (each.row, found.control):
                by_example = [dict(zip(store(run).example, store(run).label == store(run).prediction)) for run in row.runs]
                matrices.append(np.array([[hits[example] for example in sorted(hits)] for hits in by_example], float))
            mean, a, b = (float(value) for value in crossed_parts(matrices[0] - matrices[1]))
            expected = crossed_interval(mean, a, b, 5, 200)
            wide = each.difference.wide
            np.testing.assert_allclose([wide.low, wide.high, wide.df], [expected.low, expected.high, expected.df])
            self.assertAlmostEqual(wide.mean, each.difference.mean, places=12)
        self.has_note(found, "With new examples")

    def test_separated_but_not_beyond_these_examples(self):
        """Every seed gains the same few of few examples: certain here, and nothing elsewhere."""
        rng = np.random.default_rng(3)
        rows = rows_of({"lora": [0.80] * 5, "full": [0.86, 0.88, 0.86, 0.88, 0.84]})
        store = Store(50).fill(rows)
        label = rng.integers(0, 2, 50)
        for row, runs in zip(rows, ([40] * 5, [43, 44, 43, 44, 42])):
            for run, hits in zip(row.runs, runs):
                right = np.arange(50) < hits
                store.found[run.run_id] = Predictions(np.arange(50), label, np.where(right, label, 1 - label), np.zeros((50, 2)))
                run.test = hits / 50
        found = stats.compare(rows, "lora", store)
        difference = found.rows[1].difference
        self.assertEqual(difference.verdict, "better")
        self.assertTrue(difference.wide.has_zero)
        self.has_note(found, "Separated on these test examples, not beyond them, since the interval with new examples reaches 0: full.")

    def test_predictions_that_cannot_be_used(self):
        def spoil(change):
            rows = rows_of(TABLE)
            store = Store().fill(rows)
            run = rows[0].runs[2]
            found = store.found[run.run_id]
            store.found[run.run_id] = change(found)
            return stats.compare(rows, "lora", store)

        def swap(found):
            wrong = found.prediction.copy()
            wrong[:20] = 1 - wrong[:20]
            return Predictions(found.example, found.label, wrong, found.score)

        changes = {
            "no predictions of the test split are stored": lambda found: None,
            "have another score than its run": swap,
            "an example is there twice": lambda found: Predictions(np.full_like(found.example, 3), found.label, found.prediction, found.score),
            "tested on different examples": lambda found: Predictions(found.example + 1, found.label, found.prediction, found.score),
            "not finite": lambda found: Predictions(found.example, found.label, found.prediction * np.nan, found.score),
        }
        for reason, change in changes.items():
            with self.subTest(reason=reason):
                found = spoil(change)
                self.assertIsNone(found.rows[0].difference.wide)
                self.assertIsNotNone(found.rows[2].difference.wide)
                self.assertTrue(found.rows[0].difference.interval.is_known)
                self.has_note(found, "No interval over examples (full)", reason)
        rows = rows_of(TABLE)
        found = stats.compare(rows, "lora", lambda run: None)
        self.assertFalse(any(each.difference.wide for each in found.rows if each.difference))
        self.has_note(found, "No interval over examples (all): of the control: no predictions of the test split are stored.")

    def test_two_seeds(self):
        """A t interval, but none over examples."""
        rows = rows_of({"lora": [0.80, 0.82], "full": [0.92, 0.96], "red": [0.81, 0.84]})
        found = stats.compare(rows, "lora", Store().fill(rows))
        self.assertTrue(found.rows[1].difference.interval.is_known)
        self.assertIsNone(found.rows[1].difference.wide)
        self.has_note(found, "No interval over examples (full, red): two seeds are too few.")

    def test_nothing_has_a_spread(self):
        found = stats.compare(rows_of({"lora": [0.8, 0.8, 0.8], "full": [0.9, 0.9, 0.9]}), "lora")
        self.assertEqual(self.verdicts(found)["full"], "no spread")
        self.assertTrue(math.isnan(found.smallest))
        self.assertIsNone(found.rows[0].score)

    def test_more_rows_than_letters_can_show(self):
        rng = np.random.default_rng(5)
        rows = rows_of({f"lora r={rank}": rng.normal(0.8, 0.01, 3) for rank in range(120)})
        found = stats.compare(rows, "lora r=0")
        self.assertEqual((found.family, {each.letters for each in found.rows}), (119, {""}))
        self.has_note(found, "No groups: there are too many rows")

    def test_rows_of_several_sections_are_refused(self):
        with self.assertRaises(ValueError):
            stats.compare([*rows_of(TABLE), *rows_of(TABLE, make_section("cola"))], "lora")
        with self.assertRaises(ValueError):
            stats.compare(rows_of(TABLE), "lora", level=1.0)

    def test_what_is_said_is_what_was_simulated(self):
        """compare() and the functions of whole arrays, which the proof uses, say the same of made experiments."""
        for n in proof.SEEDS:
            scores, rounding, _ = proof.draw_family("accuracy, N = 500", proof.FAMILIES["6 of 9 differ"], n, 25, ["check"])
            mean, _, p = t_statistics(scores[:, 1:] - scores[:, :1], rounding)
            adjusted = stats.holm(p)
            for draw in range(25):
                rows = rows_of({("lora" if row == 0 else f"m{row}"): scores[draw, row] for row in range(10)})
                store = Store(500).fill(rows)
                found = stats.compare(rows, "lora", store)
                for row in range(9):
                    separated = np.nan_to_num(adjusted[draw, row], nan=1) <= 0.05
                    verdict = found.rows[row + 1].difference.verdict
                    self.assertEqual(verdict in ("better", "worse"), bool(separated))
                    if separated:
                        self.assertEqual(verdict == "better", mean[draw, row] > 0)


class Averages(unittest.TestCase):
    def sections(self):
        first = rows_of({"full": [0.95, 0.96, 0.94], "lora": [0.90, 0.905, 0.895], "head": [0.60, 0.62, 0.63]})
        second = rows_of({"lora": [0.3, 0.32, 0.35], "full": [0.4, 0.42, 0.39], "vera": [0.2, 0.1, 0.2]}, make_section("cola", "matthews"))
        return first, second

    def test_by_seed(self):
        first, second = self.sections()
        found = stats.compare_averages([first, second], "lora")
        self.assertEqual([row.label for row in found.rows], ["full", "lora"])
        self.assertEqual(found.control, "lora")
        means = [np.mean([[run.test for run in rows[place].runs] for rows, place in ((first, place), (second, other))], 0) for place, other in ((0, 1), (1, 0))]
        full = found.find("full")
        self.assertAlmostEqual(full.mean, means[0].mean())
        expected = scipy_stats.ttest_rel(*means)
        self.assertAlmostEqual(full.difference.p, expected.pvalue, places=12)
        self.assertIsNone(found.find("head"))
        self.assertIn("Not in every task: head, vera.", found.notes)
        interval, single = stats.average_over([first[0], second[1]]), stats.t_interval(means[0])
        self.assertEqual((interval.low, interval.high), (single.low, single.high))
        self.assertEqual((full.score.low, full.score.high), (single.low, single.high))

    def test_only_common_seeds(self):
        rows = make_row("full", {1: 0.9, 2: 0.8}), make_row("full", {2: 0.7, 3: 0.6}, make_section("cola"))
        found = stats.average_over(rows)
        self.assertAlmostEqual(found.mean, 0.75)
        self.assertFalse(found.is_known)
        self.assertIsNone(stats.average_over([rows[0], make_row("full", {3: 0.7}, make_section("cola"))]))
        self.assertIsNone(stats.average_over([make_row("full", {1: math.nan})]))
        self.assertIsNone(stats.average_over([]))
        self.assertEqual(stats.compare_averages([], "lora").rows, [])

    def test_new_examples_of_every_task(self):
        """B of two tasks with examples of their own is a quarter of the sum."""
        first, second = rows_of(TABLE), rows_of(TABLE, make_section("mrpc"))
        store = Store(150).fill(first).fill(second)
        found = stats.compare_averages([first, second], "lora", store)
        parts = []
        for rows in (first, second):
            single = stats.compare(rows, "lora", store).rows[0].difference
            parts.append((single.wide.half / scipy_stats.t.ppf(0.975, single.wide.df)) ** 2 - single.sd ** 2 / 5)
        full = found.find("full").difference
        b = sum(parts) / 4
        expected = crossed_interval(full.mean, full.sd ** 2 / 5, b, 5, 150)
        np.testing.assert_allclose([full.wide.low, full.wide.high], [expected.low, expected.high], rtol=1e-6)

    def test_directions_are_not_mixed(self):
        with self.assertRaises(ValueError):
            stats.compare_averages([rows_of(TABLE), rows_of(TABLE, make_section("lm", "loss"))], "lora")


# ---- the verb ----

def run_verb(*words):
    return analyse("stats", *words)


class MadeStudies(FolderCase):
    """Studies of made run files: what a file holds, or fails to, never ends in a traceback."""

    def setUp(self):
        super().setUp()
        self.place = self.place / "study"
        self.place.mkdir()
        self.lines = []

    def add(self, method, seed, test, task="trec6", state="done", **made):
        name = f"{task}-{method}-s{seed}"
        line = {"request_id": f"q-{name}", "run_id": f"r-{name}", "stage": "1", "role": "run", "state": state, "task": task, "method": method, "seed": seed,
                "ranks": 1, "metric": "accuracy", "attempts": 1, "file": f"runs/{name}.h5" if state == "done" else "", "source_hash": "5" * 16,
                "validation": test - 0.1, "reason": "" if state == "done" else "diverged at step 7: loss nan"}
        if state == "done":
            usual = {name: line[name] for name in ("seed", "method", "task", "validation", "ranks", "run_id", "request_id", "source_hash")}
            write_run(self.place / line["file"], **{**usual, "test": test, "examples": 200, **made})
        self.lines.append(line)
        return self.place / f"runs/{name}.h5"

    def fill(self, tasks=("trec6",)):
        for task in tasks:
            for method, scores in {"lora": (0.80, 0.81, 0.79), "full": (0.90, 0.92, 0.895), "head": (0.5, 0.53, 0.51)}.items():
                for seed, score in enumerate(scores, 1):
                    self.add(method, seed, score, task)

    def run_verb(self, *words, status=0):
        write_index(self.place, self.lines)
        done = run_verb("--study", self.place, *words)
        self.assertEqual(done.status, status, done.out + done.err)
        return done

    def tables(self, *words):
        return json.loads(self.run_verb("--format", "json", *words).out)["tables"]

    def test_a_whole_study(self):
        self.fill(("trec6", "cola"))
        first, second, mean = self.tables()
        for table in (first, second):
            verdicts = {row["label"]: row["verdict"] for row in table["rows"]}
            self.assertEqual((verdicts["full"], verdicts["head"]), ("better", "worse"))
        self.assertTrue(all(row["with_examples_df"] for row in first["rows"] if row["label"] != "lora"))
        self.assertEqual(mean["tasks"], ["cola", "trec6"])

    def test_out_dir(self):
        self.fill()
        done = self.run_verb("--out-dir", self.place / "out")
        self.assertEqual(sorted(path.name for path in (self.place / "out").iterdir()), ["stats.csv", "stats.json", "stats.md"])
        self.assertIn("Written:", done.out)
        self.assertIn("Control: lora", done.out)

    def test_failed_seeds_are_said(self):
        self.fill()
        self.add("full", 4, 0.9, state="failed")
        text = " ".join(self.run_verb().out.split())
        self.assertIn("Seeds that are missing are not looked at, whatever ended their runs: full 3 of 4.", text)
        self.assertIn("1 failed: diverged at step 7", text)

    def test_damaged_files(self):
        self.fill()
        path = self.place / "runs/trec6-full-s2.h5"
        path.write_bytes(path.read_bytes()[:3000])
        (self.place / "runs/trec6-head-s1.h5").unlink()
        (table,) = self.tables()
        found = {row["label"]: row for row in table["rows"]}
        self.assertEqual((found["full"]["common_seeds"], found["head"]["common_seeds"]), ([1, 3], [2, 3]))
        self.assertIsNone(found["full"]["with_examples_low"])  # two seeds
        self.assertIn("Left out:", self.run_verb().out)

    def test_predictions_that_are_broken(self):
        self.fill()
        with h5py.File(self.place / "runs/trec6-full-s2.h5", "r+") as file:
            del file["predictions/test"]
        with h5py.File(self.place / "runs/trec6-head-s1.h5", "r+") as file:
            del file["predictions/test"]
            file["predictions/test"] = np.zeros(5)
        (table,) = self.tables("--allow", "invalid")
        found = {row["label"]: row for row in table["rows"]}
        self.assertIsNone(found["full"]["with_examples_low"])
        self.assertIsNotNone(found["full"]["difference_low"])
        self.assertTrue(any(note.startswith("No interval over examples (full): no predictions") for note in table["notes"]), table["notes"])

    def test_another_version_is_no_part_of_it(self):
        self.fill()
        self.add("full", 4, 0.9, source_hash="6" * 16)
        self.add("lora", 4, 0.8)
        (table,) = self.tables()
        self.assertEqual({row["label"]: row["seeds"] for row in table["rows"]}["full"], [1, 2, 3])
        (table,) = self.tables("--allow", "mixed")
        self.assertEqual({row["label"]: row["seeds"] for row in table["rows"]}["full"], [1, 2, 3, 4])

    def test_nothing_finished(self):
        self.add("lora", 1, 0.8, state="failed")
        self.assertIn("no finished run", self.run_verb(status=1).err)


class Verb(unittest.TestCase):
    STUDY = ROOT / "results/minilm-glue"

    def test_text_fits(self):
        for width in (80, 100):
            done = run_verb("--study", self.STUDY, "--width", width)
            self.assertEqual(done.status, 0, done.err)
            self.assertLessEqual(max(map(len, done.out.splitlines())), width)
        for words in ("cola, minilm-l6, 1 rank: matthews", "trec6, minilm-l6, 1 rank: accuracy in %", "Mean over 2 tasks (cola, trec6)", "not separated",
                      "Control: lora r=8 q,v", "Study minilm-glue: 60 runs planned, 60 finished"):
            self.assertIn(words, done.out)
        self.assertEqual(done.out.count("Family: 9 comparisons"), 1)  # what is said of every table is said once

    def test_numbers_are_those_of_scipy(self):
        done = run_verb("--study", self.STUDY, "--format", "json")
        found = json.loads(done.out)
        self.assertEqual(done.status, 0)
        self.assertEqual([table["tasks"] for table in found["tables"]], [["cola"], ["trec6"], ["cola", "trec6"]])
        from analysis.load.study import read_study
        runs = read_study(self.STUDY).collection.runs
        for table in found["tables"][:2]:
            scores = {}
            for run in runs:
                if run.task == table["tasks"][0]:
                    scores.setdefault(run.method, {})[run.seed] = run.test
            p = []
            for row in table["rows"]:
                if row["label"] == table["control"]:
                    self.assertIsNone(row["p"])
                    continue
                mine, control = ([scores[method][seed] for seed in (1, 2, 3)] for method in (row["method"], "lora"))
                expected = scipy_stats.ttest_rel(mine, control)
                self.assertAlmostEqual(row["p"], expected.pvalue, places=9)
                self.assertAlmostEqual(row["difference"], np.mean(mine) - np.mean(control), places=12)
                self.assertLess(row["difference_low"], row["difference"])
                self.assertEqual(len(row["run_ids"]), 3)
                self.assertIsNotNone(row["with_examples_low"])
                p.append(expected.pvalue)
            np.testing.assert_allclose([row["p_holm"] for row in table["rows"] if row["p"] is not None], stats.holm(p), rtol=1e-8)
        # The CSV has the same numbers.
        lines = list(csv.DictReader(io.StringIO(run_verb("--study", self.STUDY, "--format", "csv").out)))
        rows = [row for table in found["tables"] for row in table["rows"]]
        self.assertEqual(len(lines), len(rows))
        for line, row in zip(lines, rows):
            self.assertEqual((line["label"], line["verdict"], line["p"]), (row["label"], row["verdict"], "" if row["p"] is None else repr(row["p"])))

    def test_markdown(self):
        done = run_verb("--study", self.STUDY, "--format", "markdown", "--control", "head")
        tables = [line for line in done.out.splitlines() if line.startswith("| ")]
        self.assertEqual(len({line.count("|") for line in tables}), 1)
        self.assertIn("| head |", done.out)
        self.assertIn("- Control: head.", done.out)

    def test_seeds_needed(self):
        done = run_verb("--study", self.STUDY, "--difference", "1", "--format", "json")
        note = next(note for note in json.loads(done.out)["tables"][1]["notes"] if "would take" in note)
        table = json.loads(done.out)["tables"][1]
        self.assertIn(f"would take {stats.seeds_needed(0.01, table['pooled_sd'], 0.05 / 9)} seeds", note)
        self.assertIn("1.00 points", note)

    def test_one_name_for_one_interval(self):
        self.assertIn(f"| {COLUMNS['difference_examples'].title} |", run_verb("--study", self.STUDY, "--format", "markdown").out)

    def test_wrong_words(self):
        for words, status, reason in ((["--study", ROOT / "nowhere"], 2, "no such folder"), (["--study", ROOT / "tests"], 1, "has neither"),
                                      (["--study", self.STUDY, "--control", "dora"], 1, "there is no row of dora"),
                                      (["--study", self.STUDY, "--stage", "long"], 1, "no stage 'long'"),
                                      (["--study", self.STUDY, "--level", "20"], 2, "is no number from 50"), ([], 2, "--study"),
                                      (["--study", self.STUDY, "--format", "pdf"], 2, "'pdf' is none of"),
                                      (["--study", self.STUDY, "--out-dir", "/dev/null/x"], 1, "cannot be written")):
            with self.subTest(words=words):
                done = run_verb(*words)
                self.assertEqual(done.status, status, done.err)
                self.assertIn(reason, done.err)
                self.assertNotIn("Traceback", done.err)


if __name__ == "__main__":
    tap.main()
