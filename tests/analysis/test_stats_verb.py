#!/usr/bin/env python3
"""analysis/stats: the verb, on made studies and on the archived one. Run: python3 tests/analysis/test_stats_verb.py [-v]"""

import csv
import io
import json
import sys
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/support"), str(ROOT)]

try:
    import h5py
    import numpy as np
    import pandas  # noqa: F401
    from scipy import stats as scipy_stats
except ImportError as e:
    print(f"skipped: no {e.name} (Debian's python3-{e.name})")
    sys.exit(77)

import tap  # noqa: E402
from folders import FolderCase  # noqa: E402
from made_runs import analyse, write_index, write_run  # noqa: E402

from analysis import stats  # noqa: E402
from analysis.load.study import read_study  # noqa: E402
from analysis.tables.columns import COLUMNS  # noqa: E402


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
                      "Control: lora r=8 q,v", " runs planned, 100 finished"):
            self.assertIn(words, done.out)
        self.assertEqual(done.out.count("Family: 9 comparisons"), 1)  # what is said of every table is said once

    def test_numbers_are_those_of_scipy(self):
        done = run_verb("--study", self.STUDY, "--format", "json")
        found = json.loads(done.out)
        self.assertEqual(done.status, 0)
        self.assertEqual([table["tasks"] for table in found["tables"]], [["cola"], ["trec6"], ["cola", "trec6"]])
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
                mine, control = ([scores[method][seed] for seed in range(1, 6)] for method in (row["method"], "lora"))
                expected = scipy_stats.ttest_rel(mine, control)
                self.assertAlmostEqual(row["p"], expected.pvalue, places=9)
                self.assertAlmostEqual(row["difference"], np.mean(mine) - np.mean(control), places=12)
                self.assertLess(row["difference_low"], row["difference"])
                self.assertEqual(len(row["run_ids"]), 5)
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
                                      (["--study", self.STUDY, "--stage", "medium"], 1, "no stage 'medium'"),
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
