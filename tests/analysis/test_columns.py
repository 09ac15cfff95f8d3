#!/usr/bin/env python3
"""What each column of a table shows, comparisons and targets; the wide layout; the trace of cells. Run: python3 tests/analysis/test_columns.py [-v]"""

import csv
import io
import math
import re
import statistics
import sys
from pathlib import Path
from unittest import mock

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/support"))

try:
    import h5py  # noqa: F401
    import numpy as np
    import pandas  # noqa: F401
    from scipy import stats
except ImportError as e:
    print(f"skipped: no {e.name} (Debian's python3-{e.name})")
    sys.exit(77)

import tap  # noqa: E402
from folders import FolderCase  # noqa: E402
from made_runs import analyse, series, write_run  # noqa: E402

from analysis.tables import build  # noqa: E402
from analysis.tables.columns import COLUMNS, DROPPED_FIRST, parse_columns  # noqa: E402
from analysis.load.targets import parse_targets  # noqa: E402

SCORES = {"lora": (0.70, 0.72, 0.74), "red": (0.80, 0.815, 0.84), "vera": (0.71, 0.70, 0.76)}  # red is above lora in every seed by 10, 9.5 and 10 points


class Case(FolderCase):
    def add(self, method, seed=1, **made):
        """A run file; its name and its id tell what it is."""
        name = "-".join([made.get("task", "t"), method, *map(str, made.get("options", {}).values()), str(made.get("ranks", 2)), str(seed)])
        return write_run(self.place / f"runs/{name}.h5", seed=seed, method=method, run_id=f"{name:0>32}", **made)

    def add_three(self, **made):
        for method, scores in SCORES.items():
            for seed, test in enumerate(scores, 1):
                self.add(method, seed, test=test, validation=test, **made)

    def table(self, *words, code=0):
        done = analyse("table", self.place / "runs", *words)
        self.assertEqual(done.status, code, done.out + done.err)
        return done

    def cells(self, *words):
        """Of the first table in Markdown: by row, what each column shows, by its heading."""
        lines = self.table("--format", "markdown", *words).out.split("\n\n")[1].splitlines()
        head, _, *rows = ([part.strip() for part in line.strip("| ").split(" | ")] for line in lines)
        return {row[0]: dict(zip(head[1:], row[1:])) for row in rows}

    def csv(self, *words):
        return {row["label"]: row for row in csv.DictReader(io.StringIO(self.table("--format", "csv", *words).out))}

    def flat(self, *words, code=0):
        return " ".join(self.table(*words, code=code).out.split())


class Columns(Case):
    def test_every_column_is_documented(self):
        """Heading, formula, and a place in both lists for people."""
        for place in ("analysis/README.md", "experiments/README.md"):
            text = (ROOT / place).read_text(encoding="utf-8")
            self.assertEqual([name for name in COLUMNS if f"`{name}`" not in text], [], place)
        for name, column in COLUMNS.items():
            self.assertTrue(column.formula and column.title and len(max(column.heading, key=len)) <= 14, name)
        self.assertEqual(len({column.title for column in COLUMNS.values()}), len(COLUMNS))
        self.assertLessEqual(set(DROPPED_FIRST), set(COLUMNS))
        self.assertEqual(parse_columns("all"), tuple(COLUMNS))

    def test_what_a_step_costs(self):
        """Means over the steps that count, which are all but the first five, then over seeds."""
        for seed, factor in ((1, 1.0), (2, 3.0)):
            steps = series([9.0] * 5 + [0.2] * 15, share=0.25, expand_s=np.full(20, 0.004 * factor), gather_s=np.full(20, 0.0005 * factor),
                           forward_s=np.full(20, 0.06), backward_s=np.full(20, 0.05), adapter_s=np.full(20, 0.01 * factor),
                           wire_bytes=np.full(20, int(2000 * factor)), wait_s=np.array([np.nan] * 10 + [0.02 * factor] * 10))
            self.add("lora", seed, steps=steps, activation=int(4e7 * factor), memory=[1_000_000, int(5e8 * factor)], energy=1500.0 * factor,
                     train_s=40.0 * factor)
        (row,) = self.cells("--columns", "step,expand,gather,overhead,communication,wait,wire,activation,memory,energy,train_s,tokens_per_s").values()
        self.assertEqual(row, {"step time": "200 ms", "expand": "8.0 ms", "gather": "1.0 ms", "method adds": "34.4 %", "comm. share": "25.0 %", "wait share": "20.0 %",
                               "on the wire per step": "4.00 kB", "activation memory": "120 MB", "memory in all": "1.50 GB", "energy": "3.00 kJ",
                               "train time": "80.00 s", "tokens /s": "1,500"})
        found = self.csv()["lora"]
        expected = {"expand_s": 0.008, "gather_s": 0.001, "overhead": (0.0145 / 0.1 + 0.0435 / 0.08) / 2, "wait_share": 0.2, "wire_bytes": 4000, "activation_bytes": 120e6, "memory_bytes": 1.5e9,
                    "energy_j": 3000}
        for name, value in expected.items():
            self.assertAlmostEqual(float(found[name]), value, msg=name)

    def test_what_is_not_known_is_no_number(self):
        """Files of older versions, and what one of a row's runs does not tell."""
        self.add("lora", 1, steps=series([0.1] * 20, wire_bytes=np.full(20, 100)), memory=[5], activation=7)
        self.add("lora", 2, steps=series([0.1] * 20))
        names = "expand,gather,overhead,wait,wire,activation,memory,energy,train_s,time_to_target,bytes_to_target,difference,compared,p_value,smallest,letters"
        (row,) = self.cells("--columns", names + ",difference_examples").values()
        self.assertEqual({name: text for name, text in row.items() if text not in ("-", "control")}, {})
        found = self.csv()["lora"]
        for name in ("expand_s", "gather_s", "overhead", "wait_share", "wire_bytes", "activation_bytes", "memory_bytes", "energy_j", "target", "difference", "p"):
            self.assertEqual(found[name], "", name)
        for form in ("text", "markdown", "latex"):
            self.assertNotIn("nan", self.table("--columns", "all", "--format", form).out.lower())

    def test_times_of_disturbed_runs_do_not_count(self):
        """Those of the others do; and what is no time is of all."""
        for seed, time_s, disturbed in ((1, 0.1, 0), (2, 0.3, 0), (3, 8.0, 1)):
            self.add("lora", seed, contaminated=disturbed, energy=100 * time_s, memory=[seed * 10**6],
                     steps=series([time_s] * 20, expand_s=np.full(20, time_s / 10), wire_bytes=np.full(20, seed * 1000)),
                     validations=[(10, 1, 0.5, 0.5, 1.0)])
        (row,) = self.cells("--columns", "step,expand,energy,wire,memory,time_to_target,bytes_to_target").values()
        self.assertEqual(row, {"step time": "200 ms", "expand": "20.0 ms", "energy": "20.0 J 2/3", "on the wire per step": "2.00 kB",
                               "memory in all": "3.00 MB",
                               "time to target": "2.00 s", "sent to target": "40.2 kB"})
        self.assertIn("2/3: mean over the 2 of 3 seeds that tell it and whose times count.", self.flat("--columns", "energy"))
        self.assertNotIn("2/3", self.flat("--columns", "energy", "--allow", "contaminated"))
        self.assertAlmostEqual(float(self.csv()["lora"]["step_s"]), 0.2)
        self.assertAlmostEqual(float(self.csv("--allow", "contaminated")["lora"]["step_s"]), 2.8)

    def test_verdict_of_runs(self):
        self.add("lora", 1)
        self.add("lora", 2, contaminated=1)
        self.add("lora", 3, contaminated=1, dirty="1")
        self.add("red", 1, dirty="1")
        self.add("vera", 1)
        self.assertEqual({label: row["runs"] for label, row in self.cells("--columns", "verdict").items()},
                         {"lora": "2/3 contaminated, 1/3 dirty build", "red": "dirty build", "vera": "ok"})
        self.assertEqual(self.csv()["lora"]["verdict"], "contaminated (2 of 3); dirty build (1 of 3)")


class Comparisons(Case):
    def test_interval_and_difference(self):
        """Against scipy's own t."""
        self.add_three()
        rows, found = self.cells("--columns", "test,sd,difference,compared,p_value,letters"), self.csv()
        for method, scores in SCORES.items():
            mean, sd = statistics.mean(scores), statistics.stdev(scores)
            low, high = stats.t.interval(0.95, 2, mean, sd / math.sqrt(3))
            self.assertEqual((rows[method]["test"], rows[method]["test s.d."]), (f"{100 * mean:.2f} ±{50 * (high - low):.2f}", f"{100 * sd:.2f}"))
            np.testing.assert_allclose([float(found[method][name]) for name in ("test_low", "test_high")], [low, high])
        for method in ("red", "vera"):
            differences = [a - b for a, b in zip(SCORES[method], SCORES["lora"])]
            mean, error = statistics.mean(differences), statistics.stdev(differences) / math.sqrt(3)
            half = stats.t.ppf(0.975, 2) * error
            self.assertEqual(rows[method]["minus control"].strip("*"), f"{100 * mean:+.2f} ±{100 * half:.2f}")
            ends = [float(found[method][name]) for name in ("difference", "difference_low", "difference_high")]
            np.testing.assert_allclose(ends, [mean, mean - half, mean + half])
            self.assertAlmostEqual(float(found[method]["p"]), stats.ttest_rel(SCORES[method], SCORES["lora"]).pvalue)
        self.assertEqual([rows[method]["against control"] for method in ("lora", "red", "vera")], ["control", "**better**", "not separated"])
        self.assertTrue(rows["red"]["minus control"].startswith("**+"))  # nothing is bold that was not separated
        self.assertFalse(rows["vera"]["minus control"].startswith("**"))
        self.assertFalse(set(rows["red"]["group"]) & set(rows["lora"]["group"]))
        self.assertTrue(set(rows["vera"]["group"]) & set(rows["lora"]["group"]))
        self.assertEqual({row["control"] for row in found.values()}, {"lora"})

    def test_worse_is_not_bold(self):
        self.add_three()
        rows = self.cells("--columns", "difference,compared", "--control", "red")
        self.assertEqual([rows[method]["against control"] for method in ("lora", "red")], ["worse", "control"])
        self.assertTrue(rows["lora"]["minus control"].startswith("-9.83 ±"))

    def test_control(self):
        """A method, or one of its rows by its label; without one that is meant nothing is compared, and one that is not there is refused."""
        for rank in (4, 8):
            for seed in (1, 2, 3):
                self.add("lora", seed, options={"rank": rank}, test=0.5 + rank / 100 + seed / 1000)
        self.add("red", 1, test=0.6)
        self.add("red", 2, test=0.62)
        for words, control in (((), None), (("--control", "lora r=8"), "lora r=8"), (("--control", "red"), "red")):
            with self.subTest(words=words):
                found = self.csv(*words)
                self.assertEqual({row["control"] for row in found.values()}, {control or ""})
                self.assertEqual([label for label, row in found.items() if row["difference"]], [label for label in found if control and label != control])
        self.assertIn("lora", self.flat("--columns", "test,difference"))
        self.assertIn("there is no row of gone here. Rows: lora r=4, lora r=8, red", self.table("--control", "gone", code=1).err)

    def test_one_seed(self):
        self.add("lora", 1, test=0.5)
        self.add("red", 1, test=0.6)
        self.assertEqual(self.cells("--columns", "test,difference")["red"], {"test": "60.00", "minus control": "+10.00"})
        self.assertIn("test: one seed, so no interval.", self.flat())
        self.assertNotIn("minus", self.table().out)  # the usual columns have no comparison then
        for seed in (2, 3):
            self.add("lora", seed, test=0.5 + seed / 100)
        self.assertIn("no interval with one seed: red.", self.flat())
        for seed in (2, 3):
            self.add("red", seed, test=0.6 + seed / 90)
        self.assertIn("minus", self.table().out)
        self.assertNotIn("no interval", self.flat())

    def test_examples_too(self):
        for method, test in (("lora", 0.70), ("red", 0.75)):
            for seed in (1, 2, 3, 4):
                self.add(method, seed, test=test + seed * (0.01 if method == "lora" else 0.012), examples=400)
        row = self.cells("--columns", "difference,difference_examples")["red"]
        seeds, wide = (float(row[name].strip("*").partition("±")[2]) for name in ("minus control", "with new examples"))
        self.assertGreater(wide, seeds)
        found = self.csv()["red"]
        self.assertAlmostEqual(float(found["difference_examples_high"]) - float(found["difference_examples_low"]), 2 * wide / 100, places=4)

    def test_ranks_are_not_mixed(self):
        """With ranks in a column each number of ranks has its own control."""
        for ranks in (1, 2):
            self.add_three(ranks=ranks)
        found = [row for row in csv.DictReader(io.StringIO(self.table("--columns", "ranks,difference", "--format", "csv").out)) if row["method"] == "red"]
        self.assertEqual([(row["ranks"], round(float(row["difference"]), 6)) for row in found], [("1", 0.098333), ("2", 0.098333)])

    def test_too_many_rows(self):
        self.add_three()
        with mock.patch.object(build, "MOST_COMPARED", 2):
            text = self.flat("--columns", "test,difference,letters")
        self.assertIn("Not compared: 3 rows are too many (2 at most)", text)
        self.assertIn("72.00 ±4.97", text)


class Targets(Case):
    def curve(self, *scores, loss=0.5):
        """Validations after every tenth of 40 steps of 0.5 s, each of which takes 2 s."""
        return {"validations": [(10 * place, place, score, loss, 2.0) for place, score in enumerate(scores, 1)],
                "steps": series([0.5] * 40, payload_bytes=np.full(40, 1000))}

    def test_default(self):
        """What every seed of the control reached: here 0.8, by the second seed."""
        self.add("lora", 1, **self.curve(0.5, 0.9, 0.85, 0.8))
        self.add("lora", 2, **self.curve(0.5, 0.6, 0.8, 0.7))
        self.add("red", 1, **self.curve(0.8, 0.7, 0.9, 0.9))
        self.add("red", 2, **self.curve(0.7, 0.79, 0.7, 0.799))
        self.add("vera", 1, **self.curve(0.1, 0.1, 0.1, 0.1))
        rows = self.cells("--columns", "time_to_target,bytes_to_target")
        # lora: after 20 steps of 0.5 s and one validation of 2 s, and after 30 steps and two validations: 12 s and 19 s
        self.assertEqual(rows, {"lora": {"time to target": "15.50 s", "sent to target": "25.0 kB"},
                                "red": {"time to target": "5.00 s 1/2", "sent to target": "10.0 kB 1/2"},
                                "vera": {"time to target": "-", "sent to target": "-"}})
        text = self.flat("--columns", "time_to_target")
        self.assertIn("target, a score on validation: 80.00 %, which every seed of lora reached; by default the worst", text)
        self.assertIn("target not reached by 2 runs: red, vera.", text)
        found = self.csv("--columns", "time_to_target")
        self.assertEqual([[found[method][name] for name in ("target", "target_seeds", "target_s", "target_bytes")] for method in ("lora", "red", "vera")],
                         [["0.8", "2", "15.5", "25000.0"], ["0.8", "1", "5.0", "10000.0"], ["0.8", "0", "", ""]])

    def test_given(self):
        self.add("lora", 1, task="trec6", **self.curve(0.5, 0.9, 0.85))
        self.add("lora", 1, task="cola", metric="matthews", **self.curve(-0.1, 0.2, 0.3))
        for text, reached in (("0.2", [("cola", 0.2, "12.0"), ("trec6", 0.2, "5.0")]), ("trec6=90%,cola=0.3", [("cola", 0.3, "19.0"), ("trec6", 0.9, "12.0")]),
                              ("trec6=91%", [("cola", 0.3, "19.0"), ("trec6", 0.91, "")])):
            rows = csv.DictReader(io.StringIO(self.table("--format", "csv", "--target", text).out))
            self.assertEqual([(row["task"], float(row["target"]), row["target_s"]) for row in rows], reached)
        self.assertIn("trec6: 91.00 %", self.flat("--columns", "time_to_target", "--target", "trec6=91%"))

    def test_without_a_control(self):
        self.add("red", 1, **self.curve(0.5))
        text = self.flat("--columns", "time_to_target")
        self.assertIn("target, a score on validation: none", text)
        self.assertIn("5.00 s", self.flat("--columns", "time_to_target", "--target", "0.5"))

    def test_a_loss_falls(self):
        self.add("lora", 1, metric="loss", **self.curve(3.0, 2.0, 1.5))
        self.add("lora", 2, metric="loss", **self.curve(3.0, 2.5, 1.6))
        self.add("red", 1, metric="loss", **self.curve(1.6, 1.5, 1.4))
        found = self.csv()
        self.assertEqual([(found[method]["target"], found[method]["target_seeds"], found[method]["target_s"]) for method in ("lora", "red")],
                         [("1.6", "2", "19.0"), ("1.6", "1", "5.0")])

    def test_words(self):
        self.assertEqual(parse_targets(" trec6 = 92 % ,cola=-0.1,0.5"), {"trec6": 0.92, "cola": -0.1, "": 0.5})
        for text, reason in (("", "is no score"), ("high", "'high' is no score; write 0.92, 92%"), ("1.2.3", "is no number"), ("a=1,a=1", "two targets of a"),
                             ("0.1,0.2", "two targets without a task"), ("=0.5", "is no score")):
            with self.assertRaisesRegex(ValueError, reason):
                parse_targets(text)
        self.add("lora", 1, **self.curve(0.5))
        done = self.table("--target", "92", code=2)
        self.assertEqual(done.out, "")
        self.assertIn("analysis: the target 92 of wordnet-verbs is no accuracy, which is at most 1; write 92%", done.err)
        self.assertIn("is no score", self.table("--target", "much", code=2).err)

    def test_targets_of_tasks_that_are_not_there(self):
        for task in ("trec6", "cola"):
            self.add("lora", task=task, **self.curve(0.5))
        for text, names in (("trec=0.5", "trec"), ("trec=0.5,cola=0.4,a=1,0.3", "trec or a")):
            for verb, words in (("table", ()), ("plot", ("--out-dir", self.place / "o")), ("report", ("--out", self.place / "o.html"))):
                done = analyse(verb, self.place / "runs", *words, "--target", text)
                self.assertEqual((done.status, done.out, done.err), (2, "", f"analysis: --target: there is no run of {names}; there are: cola, trec6\n"))
        self.assertFalse((self.place / "o").exists() or (self.place / "o.html").exists())
        self.table("--target", "trec6=0.5,0.3")


class Wide(Case):
    def setUp(self):
        super().setUp()
        for task, metric, shift in (("cola", "matthews", -0.3), ("trec6", "accuracy", 0.0)):
            for method, scores in SCORES.items():
                for seed, test in enumerate(scores, 1):
                    self.add(method, seed, task=task, metric=metric, test=test + shift, trainable=900 if method == "red" else 1000)
        self.add("bitfit", 1, task="cola", metric="matthews", test=0.5)

    def test_cells(self):
        rows = self.cells("--layout", "wide")
        self.assertEqual(list(rows["red"]), ["cola matthews", "trec6 accuracy", "average of tasks"])
        half = 100 * stats.t.ppf(0.975, 2) * statistics.stdev(SCORES["red"]) / math.sqrt(3)
        self.assertEqual(rows["red"], {"cola matthews": f"**51.83 ±{half:.2f}** ↑", "trec6 accuracy": f"**81.83 ±{half:.2f}** ↑",
                                       "average of tasks": f"**66.83 ±{half:.2f}** ↑"})
        self.assertNotIn("*", "".join(rows["vera"].values()) + "".join(rows["lora"].values()))
        self.assertEqual(rows["bitfit"], {"cola matthews": "50.00", "trec6 accuracy": "-", "average of tasks": "-"})
        text = self.flat("--layout", "wide")
        self.assertIn("↑ better, ↓ worse than the control lora", text)
        self.assertIn("whatever its metric", text)
        self.assertIn("19 runs, 7 rows.", text)

    def test_worse_has_an_arrow_and_is_not_bold(self):
        cell = self.cells("--layout", "wide", "--control", "red")["lora"]["trec6 accuracy"]
        self.assertTrue(cell.endswith(" ↓") and not cell.startswith("*"), cell)

    def test_text_stays_in_line(self):
        lines = self.table("--layout", "wide", "--width", "80").out.splitlines()
        rows = {line.split()[0]: line for line in lines if line.startswith(("red", "vera", "lora", "bitfit"))}
        self.assertEqual(len({line.index(".") for line in rows.values()}), 1, rows)  # values below one another, with an arrow or without
        self.assertEqual(len({rows[method].index(".", 36) for method in ("red", "vera", "lora")}), 1, rows)
        self.assertLessEqual(max(map(len, lines)), 80)

    def test_csv(self):
        rows = {row["method"]: row for row in csv.DictReader(io.StringIO(self.table("--layout", "wide", "--format", "csv").out))}
        self.assertAlmostEqual(float(rows["red"]["average_mean"]), statistics.mean(SCORES["red"]) - 0.15)
        self.assertEqual((rows["red"]["trec6_compared"], rows["vera"]["trec6_compared"], rows["bitfit"]["average_mean"]), ("better", "not separated", ""))
        self.assertEqual(rows["lora"]["trec6_compared"], "")
        self.assertEqual(len(rows["red"]["trec6_run_ids"].split()), 3)

    def test_both(self):
        out = self.place / "out"
        text = self.table("--layout", "both", "--out-dir", out).out
        self.assertIn("test scores x 100", text)
        self.assertEqual(sorted(path.name for path in out.iterdir()),
                         ["table.cells.tsv", "table.csv", "table.md", "table.tex", "wide.csv", "wide.md", "wide.tex"])
        for path in (self.place / "runs").glob("cola*"):
            path.unlink()
        self.assertNotIn("x 100", self.table("--layout", "both").out)  # of one task it would say nothing new
        self.assertIn("x 100", self.table("--layout", "wide").out)


class Trace(Case):
    def trace(self, *words):
        path = self.place / "cells.tsv"
        self.table("--trace", path, *words)
        header, *lines = path.read_text(encoding="utf-8").splitlines()
        return [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]

    def test_every_cell(self):
        self.add_three()
        columns = "test,sd,difference,compared,validation,trainable,sent,step,seeds,verdict"
        found = self.trace("--columns", columns)
        shown = self.cells("--columns", columns)
        self.assertEqual(len(found), 3 * 11)
        for line in found:
            with self.subTest(row=line["row"], column=line["column"]):
                files = line["files"].split("; ")
                self.assertTrue(all(Path(file).is_file() for file in files))
                own = {f"{Path(file).stem:0>32}" for file in files}
                self.assertEqual(set(line["run_ids"].split("; ")), own)
                paired = line["column"] in ("difference", "compared") and line["row"] != "lora"
                self.assertEqual({file.split("-")[-3] for file in own}, {line["row"], "lora"} if paired else {line["row"]})
                self.assertTrue(line["formula"])
                if line["column"] != "method":
                    self.assertEqual(shown[line["row"]][COLUMNS[line["column"]].title].strip("*"), line["shown"])
        test = next(line for line in found if (line["row"], line["column"]) == ("red", "test"))
        values = dict(part.rsplit(" ", 1) for part in test["exact"].split("; "))
        self.assertEqual((float(values["mean"]), float(values["seed 2"]), float(values["degrees of freedom"])), (statistics.fmean(SCORES["red"]), 0.815, 2))

    def test_it_is_named(self):
        self.add_three()
        out = self.place / "out"
        self.table("--out-dir", out)
        for name in ("table.md", "table.tex"):
            self.assertIn("table.cells.tsv", (out / name).read_text(encoding="utf-8"))
        self.assertNotIn("Exact values", self.table("--format", "markdown").out)
        self.assertEqual(self.table("--trace", self.place / "runs", code=1).err.count("\n"), 1)

    def test_wide_cells(self):
        self.add_three(task="a")
        self.add_three(task="b")
        average = next(line for line in self.trace("--layout", "wide") if (line["row"], line["column"]) == ("red", "average"))
        self.assertEqual(len(average["run_ids"].split("; ")), 6)

    def test_names_from_outside(self):
        """Neither tabs nor what moves a cursor reaches a table."""
        self.add("lora", 1, model="a\tb\x1b[2J|c*d", task="x\\y`z<i>")
        self.assertTrue(all("\x1b" not in form and "\t" not in form for form in (self.table().out, self.table("--format", "markdown").out)))
        self.assertIn("\\<i>", self.table("--format", "markdown").out)
        self.assertEqual({len(line) for line in self.trace()}, {8})


class Narrow(Case):
    def test_order(self):
        """At 80 columns the last ones to go are those that compare."""
        self.add_three(trainable=22_565_376, stored=90_261_504, sent=10_726_708, message=42_909_928)
        for width in (80, 90, 100, 120):
            lines = self.table("--width", width).out.splitlines()
            self.assertLessEqual(max(map(len, lines)), width)
            for heading in ("test", "minus", "group", "numbers", "sent per", "seeds"):
                self.assertIn(heading, lines[2], width)
        left = re.search(r"80 columns have no room for: (.*)\. 9 runs", self.flat("--width", "80"))[1].split(", ")
        self.assertEqual(left, ["stored", "with head", "comm. share", "tokens /s", "valid"])


if __name__ == "__main__":
    tap.main()
