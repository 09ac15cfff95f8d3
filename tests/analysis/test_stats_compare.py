#!/usr/bin/env python3
"""analysis/stats: what it makes of rows of runs, alone and over several tasks. Run: python3 tests/analysis/test_stats_compare.py [-v]"""

import itertools
import math
import sys
import types
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/support"), str(Path(__file__).resolve().parent), str(ROOT)]

try:
    import h5py  # noqa: F401
    import numpy as np
    import pandas  # noqa: F401
    from scipy import stats as scipy_stats
except ImportError as e:
    print(f"skipped: no {e.name} (Debian's python3-{e.name})")
    sys.exit(77)

import stats_simulation as proof  # noqa: E402
import tap  # noqa: E402

from analysis import stats  # noqa: E402
from analysis.load.series import Predictions  # noqa: E402
from analysis.load.summary import Row, Section  # noqa: E402
from analysis.stats.crossed import crossed_interval, crossed_parts  # noqa: E402
from analysis.stats.pairs import t_statistics  # noqa: E402


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
        self.has_note(found, "Not compared, because a test score is not known: full (seed 2).")
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


if __name__ == "__main__":
    tap.main()
