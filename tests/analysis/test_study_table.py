#!/usr/bin/env python3
"""The table of a study by its index: what becomes a number, what never does, and what is said of it. Run: python3 tests/analysis/test_study_table.py [-v]"""

import csv
import io
import math
import re
import shutil
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

try:
    import h5py
    import numpy as np
    import pandas  # noqa: F401
except ImportError as e:
    print(f"skipped: no {e.name} (Debian's python3-{e.name})")
    sys.exit(77)

import tap  # noqa: E402
from folders import FolderCase  # noqa: E402
from made_runs import COLUMNS, analyse, index_text, series, write_index, write_run  # noqa: E402

from analysis.tables import columns  # noqa: E402


class Study(FolderCase):
    def setUp(self):
        super().setUp()
        self.out = self.place / "out"
        self.place = self.place / "my-study"
        self.place.mkdir()
        self.lines, self.remarks = [], []

    def add(self, name, state="done", role="run", seed=1, method="lora", task="trec6", file=True, **cells):
        """A planned run; with a run file if it is finished. Test scores are what `test` says, validation 0.1 less."""
        score = cells.pop("test", 0.5)
        made = cells.pop("made", {})
        line = {"request_id": f"q{name:0>31}", "run_id": f"{name:0>32}", "stage": "1", "role": role, "state": state, "task": task, "method": method,
                "seed": seed, "ranks": 2, "metric": "accuracy", "attempts": 1, "file": f"runs/{name}.h5" if state in ("done", "stale") else "",
                "source_hash": "5" * 32, **cells}
        if line["file"]:
            line["validation"] = cells.get("validation", score - 0.1)
            if file:
                write_run(self.place / line["file"], **{"seed": seed, "method": method, "task": task, "test": score, "validation": score - 0.1,
                                                        "run_id": line["run_id"], "request_id": line["request_id"], **made})
        self.lines.append(line)
        return line

    def table(self, *words, code=0):
        write_index(self.place, self.lines, remarks=self.remarks)
        done = analyse("table", "--study", self.place, *words)
        self.assertEqual(done.status, code, done.out + done.err)
        return done

    def rows(self, *words):
        return list(csv.DictReader(io.StringIO(self.table("--format", "csv", *words).out)))

    def flat(self, *words, code=0):
        return " ".join(self.table(*words, code=code).out.split())

    def cells(self, *words):
        """Of the tables in Markdown, one list per line, headings among them."""
        lines = [line for line in self.table("--format", "markdown", *words).out.splitlines() if line.startswith("| ") and "---" not in line]
        return [line.removeprefix("| ").removesuffix(" |").split(" | ") for line in lines]

    # ---- what becomes a number ----

    def test_only_finished_runs_become_numbers(self):
        self.add("a1", seed=1, test=0.50)
        self.add("a2", seed=2, test=0.54)
        self.add("a3", state="failed", seed=3, reason="diverged at step 12: loss nan")
        self.add("t1", role="trial", test=0.99, tuned="train.lr=0.01")
        for number, state in enumerate(("running", "stopped", "interrupted", "waiting", "missing"), 4):
            self.add(f"b{number}", state=state, method="red", seed=number)
            # A file that lies there all the same is not looked at.
            write_run(self.place / f"runs/b{number}.h5", method="red", seed=number, test=0.123, run_id=f"b{number}")
        (row,) = self.rows()
        self.assertEqual((row["method"], row["seeds"], row["seeds_planned"]), ("lora", "1 2", "3"))
        self.assertAlmostEqual(float(row["test_mean"]), 0.52)
        text = self.flat()
        for words in ("52.00", "2 of 3", "Study my-study: 8 runs planned, 2 finished; 1 trial planned, 1 finished.", "Not in the table: 6",
                      "1 failed: diverged at step 12: loss nan (lora)", "1 running (red)", "1 stopped (red)", "1 interrupted (red)", "1 waiting (red)",
                      "1 missing (red)", "No row, because no run is finished: red."):
            self.assertIn(words, text)
        for number in ("12.30", "99.00"):
            self.assertNotIn(number, text)

    def test_complete_groups_say_so(self):
        for seed in (1, 2, 3):
            self.add(f"a{seed}", seed=seed)
        text = self.flat()
        self.assertNotIn("of 3", text)
        self.assertNotIn("Not in the table", text)
        self.assertIn("Study my-study: 3 runs planned, 3 finished.", text)

    def test_settings_that_the_index_does_not_know_stay_apart(self):
        """Two ranks of LoRA have the same task and method in the index; each was planned with all the seeds."""
        for rank in (4, 8):
            for seed in (1, 2, 3):
                if (rank, seed) != (8, 2):
                    self.add(f"r{rank}{seed}", seed=seed, made={"options": {"rank": rank}})
        self.add("r82", state="failed", seed=2, reason="out of memory")
        self.assertEqual({row["label"]: (row["seeds"], row["seeds_planned"]) for row in self.rows()}, {"lora r=4": ("1 2 3", "3"), "lora r=8": ("1 3", "3")})

    def test_stages(self):
        self.add("a1", seed=1, stage="1")
        for seed in (1, 2, 3):
            self.add(f"b{seed}", seed=seed, stage="2", made={"settings": {"train.epochs": 6}})
        self.add("b4", seed=4, stage="2", state="missing")
        self.assertEqual({row["label"]: (row["runs"], row["seeds_planned"]) for row in self.rows()}, {"lora epochs=-": ("1", "1"), "lora epochs=6": ("3", "4")})
        (row,) = self.rows("--stage", "2")
        self.assertEqual((row["label"], row["runs"]), ("lora", "3"))
        self.assertIn("no stage '3'; there are: 1, 2", self.table("--stage", "3", code=1).err)

    def test_no_test_score(self):
        self.add("a1", seed=1, made={"test": math.nan})
        self.add("a2", seed=2, made={"test": math.nan})
        self.add("b1", method="red", seed=1, test=0.7)
        self.add("b2", method="red", seed=2, test=0.7, made={"test": math.nan})
        rows = {row["method"]: row for row in self.rows()}
        for method in ("lora", "red"):
            self.assertEqual([rows[method][name] for name in ("test_mean", "test_min", "test_max", "test_sd")], [""] * 4)
        self.assertAlmostEqual(float(rows["lora"]["validation_mean"]), 0.4)
        for form in ("text", "markdown"):
            shown = self.table("--format", form).out
            self.assertNotIn("nan", shown)
            self.assertNotIn("70.00", shown)
            self.assertIn("40.00", shown)

    # ---- what is said below ----

    def test_reasons_are_grouped(self):
        self.add("a0")
        for number, step in enumerate((9, 31, 12, 8), 1):
            self.add(f"f{number}", state="failed", method=f"m{number}", reason=f"diverged at step {step}: loss nan", tuned="train.lr=0.03")
        self.add("g", state="failed", method="vera", reason="data/x.h5: cannot open: No such file or directory")
        text = self.flat()
        self.assertIn("Not in the table: 5", text)
        self.assertIn("4 failed: diverged at step 8..31: loss nan (m1 train.lr=0.03, m2 train.lr=0.03, m3 train.lr=0.03 and 1 more)", text)
        self.assertIn("1 failed: data/x.h5: cannot open: No such file or directory (vera)", text)

    def test_many_reasons_are_cut(self):
        self.add("a0")
        for number in range(20):
            self.add(f"f{number}", state="failed", reason="because of " + "abcdefghijklmnopqrst"[number] * 300)
        lines = self.table().out.splitlines()
        self.assertLess(len(lines), 70)
        self.assertIn("8 more, for 8 other reasons", " ".join(lines))

    def stale(self, name, **cells):
        return self.add(name, state="stale", source_hash="abcd1234" + "0" * 24, **cells)

    def test_stale(self):
        """All of one older version: a table like others, marked."""
        self.stale("a1", seed=1, test=0.5)
        self.stale("a2", seed=2, test=0.7)
        self.stale("t1", role="trial", tuned="train.lr=0.1")
        (row,) = self.rows()
        self.assertEqual((row["seeds"], row["marks"]), ("1 2", "stale"))
        self.assertAlmostEqual(float(row["test_mean"]), 0.6)
        text = self.flat()
        self.assertIn("Stale: 3 3 runs by another version of the program: source_hash abcd1234 (lora, lora train.lr=0.1)", text)
        self.assertNotIn("Left out", text)

    def test_versions_are_not_mixed(self):
        """In a table those of the version that made most of it count; of each task they may be others."""
        self.add("a1", seed=1, test=0.5)
        self.add("a2", seed=2, test=0.7)
        self.stale("a3", seed=3, test=0.9)
        self.stale("b1", task="cola", made={"metric": "matthews"})
        self.stale("c1", task="cola", method="red", made={"metric": "matthews"})
        self.add("d1", task="cola", method="vera", made={"metric": "matthews"})
        rows = {(row["task"], row["method"]): row for row in self.rows()}
        self.assertEqual({key: (row["seeds"], row["seeds_planned"], row["marks"]) for key, row in rows.items()},
                         {("trec6", "lora"): ("1 2", "3", ""), ("cola", "lora"): ("1", "1", "stale"), ("cola", "red"): ("1", "1", "stale")})
        text = self.flat()
        for words in ("Left out: 2", "runs/a3.h5: mixed: by source_hash abcd1234, but most of its table (2) by 55555555",
                      "runs/d1.h5: mixed: by source_hash 55555555, but most of its table (2) by abcd1234", "Mixed: 2 files: a3.h5, d1.h5",
                      "No row, because all that is finished is left out: cola vera.", "Stale: 3 3 runs by another version"):
            self.assertIn(words, text)
        self.table("--strict", code=1)
        rows = {(row["task"], row["method"]): row for row in self.rows("--allow", "mixed")}
        self.assertEqual((len(rows), rows["trec6", "lora"]["seeds"], rows["trec6", "lora"]["marks"]), (4, "1 2 3", "stale"))
        text = self.flat("--allow", "mixed")
        self.assertNotIn("Left out", text)
        self.assertIn("Mixture in trec6, accuracy, 2 x 1: 2 versions (source_hash): 55555555 (2 runs: a1.h5, a2.h5); abcd1234 (1 run: a3.h5)", text)

    def test_of_two_versions_with_as_many_runs_the_newer_counts(self):
        self.add("a1", seed=1, made={"created": "2024-05-01T00:00:00Z"})
        self.stale("a2", seed=2, made={"created": "2024-04-30T00:00:00Z"})
        self.assertEqual([(row["seeds"], row["marks"]) for row in self.rows()], [("1", "")])

    def test_invalid_runs_are_refused(self):
        self.add("a1", seed=1, test=0.5)
        self.add("a2", seed=2, test=1.5)
        (row,) = self.rows()
        self.assertEqual((row["seeds"], row["seeds_planned"], float(row["test_mean"])), ("1", "2", 0.5))
        text = self.flat()
        for words in ("runs/a2.h5: invalid: the validation score is 1.4, which no accuracy is (and 1 more)", "Invalid: 1 file: a2.h5"):
            self.assertIn(words, text)
        (row,) = self.rows("--allow", "mixed, invalid")
        self.assertEqual((row["seeds"], row["marks"]), ("1 2", "invalid"))
        done = analyse("table", "--study", self.place, "--allow", "broken")
        self.assertEqual(done.status, 2)
        self.assertIn("'broken' is none of invalid, mixed, contaminated", done.err)

    def test_mixtures_and_contaminated_as_ever(self):
        self.add("a1", made={"binary_hash": "b" * 32, "contaminated": 1})
        self.add("a2", seed=2, made={"binary_hash": "c" * 32})
        text = self.flat()
        self.assertIn("Mixture: 2 programs (binary_hash): bbbbbbbb (1 run: a1.h5); cccccccc (1 run: a2.h5)", text)
        self.assertIn("Contaminated: 1 run: a1.h5; their scores count, their times do not (--allow contaminated)", text)

    def test_times_of_contaminated_runs_do_not_count(self):
        for seed, time_s, disturbed in ((1, 0.1, 0), (2, 0.3, 0), (3, 8.0, 1)):
            self.add(f"a{seed}", seed=seed, test=seed / 10, made={"steps": series([time_s] * 20), "train_s": 20 * time_s, "contaminated": disturbed})
        self.add("b1", method="red", made={"contaminated": 2, "train_s": 7.0})
        rows = {row["method"]: row for row in self.rows()}
        self.assertEqual([round(float(rows["lora"][name]), 9) for name in ("test_mean", "step_s", "train_s")], [0.2, 0.2, 4.0])
        self.assertEqual((rows["red"]["step_s"], rows["red"]["tokens_per_s"], rows["red"]["train_s"], rows["red"]["test_mean"]), ("", "", "", "0.5"))
        rows = {row["method"]: row for row in self.rows("--allow", "contaminated")}
        self.assertEqual((round(float(rows["lora"]["step_s"]), 9), float(rows["red"]["train_s"])), (2.8, 7.0))
        self.assertNotIn("their times do not", self.flat("--allow", "contaminated"))

    def test_strict(self):
        self.add("a1")
        self.table("--strict")
        self.add("a2", seed=2, state="failed", reason="no luck")
        done = self.table("--strict", "--out-dir", self.out, code=1)
        self.assertEqual((done.out, self.out.exists()), ("", False))
        self.assertIn("1 failed: no luck (lora)", done.err)
        self.lines[-1] |= {"state": "stale", "file": "runs/a1.h5", "run_id": "", "request_id": "z"}
        self.assertIn("Stale: 1", self.table("--strict", code=1).err)

    # ---- files that are not what the index says ----

    def test_files_of_no_use(self):
        self.add("good", seed=1)
        self.add("gone", seed=2, file=False)
        self.add("cut", seed=3)
        content = (self.place / "runs/cut.h5").read_bytes()
        (self.place / "runs/cut.h5").write_bytes(content[:len(content) // 2])
        self.add("other", seed=4, made={"run_id": "f" * 32})
        self.add("asked", seed=5, made={"request_id": "f" * 32})
        self.add("twin", seed=6, run_id=f"{'good':0>32}", made={"run_id": f"{'good':0>32}"})
        (row,) = self.rows()
        self.assertEqual((row["seeds"], row["seeds_planned"]), ("1", "6"))
        text = self.flat()
        for words in ("1 of 6", "Left out: 5", "runs/gone.h5: cannot be opened: No such file or directory", "runs/cut.h5: broken: not a whole HDF5 file",
                      "runs/other.h5: is run ffffffff, not 00000000 as the index says", "runs/asked.h5: is request ffffffff, not q0000000 as the index says",
                      "runs/twin.h5: the same run as runs/good.h5"):
            self.assertIn(words, text)

    def test_nothing_finished(self):
        self.add("a", state="failed", reason="no luck")
        self.out.mkdir()
        (self.out / "table.csv").write_text("older")
        done = self.table("--out-dir", self.out, code=1)
        self.assertIn("1 failed: no luck", done.out)
        self.assertIn("no finished run in", done.err)
        self.assertEqual((self.out / "table.csv").read_text(), "older")

    def test_index_of_no_use(self):
        self.add("a1")
        good = index_text(self.lines)
        first, header, row, _ = good.split("\n")
        cells = dict(zip(COLUMNS, row.split("\t")))

        def changed(**new):
            return "\n".join([first, header, "\t".join({**cells, **new}.values()), ""])
        cases = {
            "": "not an index of a study", "hello\n": "not an index of a study", "\x89HDF": "not an index of a study",
            good.replace("index 1", "index 2", 1): "written by another version (index 2, known: 1)",
            good[:-1]: "its last line is cut off", first + "\n": "lacks the column request_id", first: "its last line is cut off",
            good.replace("\tseed", "\tseeds"): "lacks the column seed",
            good.replace("\tseed", "\tseed\tseed", 1): "a column is there twice",
            good + "<<<<<<< HEAD\n": "line 4: broken: 1 columns, the header has 20",
            good + row + "\n": "line 4: broken: request_id q00000000000000000000000000000a1 is there twice",
            changed(state="finished"): "line 3: broken: state 'finished' is none of done, stale",
            changed(role="test"): "line 3: broken: role 'test'",
            changed(seed="one"): "line 3: broken: seed 'one'",
            changed(validation="high"): "line 3: broken: validation 'high'",
            changed(request_id=""): "line 3: broken: no request_id",
            changed(file=""): "a run that is done has no file",
            changed(file="/etc/x.h5"): "no run file below the study's folder",
            changed(file="../../x.h5"): "no run file below the study's folder",
            changed(file="runs/a1"): "no run file below the study's folder",
            changed(file="archive.h5:a/b"): "'a/b' is no name of a run",
            changed(file="archive.h5:"): "'' is no name of a run",
        }
        for content, words in cases.items():
            for verb in (["table", "--study"], ["pack"]):
                with self.subTest(words=words, verb=verb):
                    (self.place / "index.tsv").write_text(content, encoding="utf-8")
                    done = analyse(*verb, self.place)
                    self.assertEqual((done.status, done.out, done.err.count("\n")), (1, "", 1), done.err)
                    self.assertIn("index.tsv", done.err)
                    self.assertIn(words, done.err)
        (self.place / "index.tsv").write_bytes(good.encode()[:-2] + b"\xff\n")
        self.assertIn("not UTF-8", analyse("table", "--study", self.place).err)
        (self.place / "index.tsv").unlink()
        self.assertIn("has neither index.tsv, which `peftscale sweep` writes, nor archive.tsv", analyse("table", "--study", self.place).err)
        (self.place / "index.tsv").mkdir()
        self.assertIn("cannot be read: Is a directory", analyse("table", "--study", self.place).err)
        self.assertEqual(analyse("table", "--study", self.place / "nowhere").status, 2)

    def test_columns_of_later_versions(self):
        """Columns may be added, and stand anywhere."""
        self.add("a1")
        (self.place / "index.tsv").write_text(index_text(self.lines, ["energy_j", *reversed(COLUMNS)]))
        self.assertIn("50.00", analyse("table", "--study", self.place).out)

    def test_long_index_is_read_fast(self):
        for number in range(10_000):
            self.lines.append({"request_id": f"{number:032x}", "role": "run", "state": "failed", "method": f"m{number % 10}", "seed": number % 5,
                               "reason": f"diverged at step {number}: loss nan"})
        began = time.process_time()
        text = self.flat(code=1)
        self.assertLess(time.process_time() - began, 3)
        self.assertIn("10000 failed: diverged at step 0..9999: loss nan", text)

    # ---- columns ----

    def test_remarks(self):
        """Between the first line and the header; those of others are for others."""
        self.add("a1")
        plain = self.table().out
        self.remarks = ["# something else: a b", "#", "# columnsx: test"]
        self.assertEqual(self.table().out, plain)
        self.assertEqual(self.table().err, "")
        self.remarks.insert(1, "# columns: stored test")
        self.assertEqual(self.cells()[0], ["method", "stored", "test"])
        self.remarks.append("# columns: test")
        self.assertIn("index.tsv: broken: two lines begin with '# columns:'", self.table(code=1).err)
        self.remarks = ["# columns:"]  # none are named
        self.assertEqual(self.table().out, plain)
        (self.place / "index.tsv").write_text(index_text(self.lines, remarks=["# columns: test", "# more"]) + "<<<<<<< HEAD\n", encoding="utf-8")
        self.assertIn("line 6: broken: 1 columns, the header has 20", analyse("table", "--study", self.place).err)

    def test_columns_as_the_study_says(self):
        for seed in (1, 2):
            self.add(f"a{seed}", seed=seed, test=0.4 + seed / 10, made={"stored": 4096})
        csv_before = self.table("--format", "csv").out
        usual = ["method", "test", "valid.", "numbers trained", "stored", "sent per step", "with head", "step time", "comm. share", "tokens /s", "seeds"]
        self.assertEqual(self.cells()[0], usual)
        self.remarks = ["# columns: stored seeds validation"]
        self.assertEqual(self.cells(), [["method", "stored", "seeds", "valid."], ["lora", "4.10 kB", "2", "45.00"]])
        lines = self.table().out.splitlines()
        self.assertEqual([lines[2].split(), lines[3].split()], [["stored", "seeds", "valid."], ["method"]])
        self.assertEqual(lines[5].split(), ["lora", "4.10", "kB", "2", "45.00"])
        self.assertNotIn("55.00", self.flat())
        self.assertEqual(self.table("--format", "csv").out, csv_before)
        self.table("--out-dir", self.out)
        self.assertEqual((self.out / "table.csv").read_text(encoding="utf-8"), csv_before)
        self.assertIn("| method | stored | seeds | valid. |\n", (self.out / "table.md").read_text(encoding="utf-8"))
        # The command line has the last word, of any table.
        self.assertEqual(self.cells("--columns", "test, sent"), [["method", "test", "sent per step"], ["lora", "55.00 ±63.53", "3.60 kB"]])
        self.assertIn("| method | sent per step |\n", analyse("table", self.place / "runs", "--columns", "sent", "--format", "markdown").out)
        for words, reason in (("tset", "there is no column 'tset'; did you mean 'test'?"), ("", "there is no column ''; there are: ranks, test"),
                              ("test,test", "the column 'test' is there twice"), ("all,test", "there is no column 'all'")):
            done = analyse("table", "--study", self.place, "--columns", words)
            self.assertEqual((done.status, done.out), (2, ""))
            self.assertIn(reason, done.err)

    def test_a_control_that_was_asked_for_is_shown(self):
        """Also where the study's columns, or the usual ones of a single seed, hold no difference; --columns has the last word."""
        self.add("a1", method="lora", test=0.5)
        self.add("b1", method="red", test=0.6)
        self.assertNotIn("minus control", self.cells()[0])
        self.assertEqual(self.cells("--control", "red")[0][:4], ["method", "test", "minus control", "valid."])
        for columns, shown in (("stored test seeds", ["stored", "test", "minus control", "seeds"]), ("stored", ["minus control", "stored"]),
                               ("test compared", ["test", "against control"])):
            self.remarks = [f"# columns: {columns}"]
            self.assertEqual(self.cells("--control", "lora")[0], ["method", *shown])
            self.assertEqual("minus control" in self.cells()[0], False)
        self.assertEqual(self.cells("--columns", "test", "--control", "lora")[0], ["method", "test"])
        self.remarks = ["# columns: test"]
        self.assertEqual(self.cells("--control", "red")[1:], [["lora", "50.00", "-10.00"], ["red", "60.00", "control"]])
        self.assertIn("Control: red.", self.flat("--control", "red"))

    def test_a_file_in_the_place_of_the_folder(self):
        """One line that names the folder that was meant."""
        self.add("a1")
        self.table()
        index, other = self.place / "index.tsv", self.out / "study.yaml"
        self.out.mkdir()
        other.write_text("title: A study\n")
        for words in (("table", "--study"), ("stats", "--study"), ("runs", "--study"), ("report", "--out", self.out / "r.html", "--study"), ("pack",)):
            for path, folder in ((index, self.place), (other, "results/STUDY")):
                done = analyse(*words, path)
                self.assertEqual((done.status, done.out), (1 if words == ("pack",) else 2, ""))
                self.assertEqual(done.err, f"analysis: {path}: a file, where the folder of a study's results is wanted; name {folder}\n")

    def test_columns_that_are_not_known(self):
        """A later version may write them: what is known is shown."""
        self.add("a1")
        usual = self.cells()
        for remark, shown in (("# columns: of_tomorrow test so_much", [["method", "test"], ["lora", "50.00"]]), ("# columns: of_tomorrow so_much", usual)):
            self.remarks = [remark]
            self.assertEqual(self.cells(), shown)
            self.assertEqual(self.table().err, f"analysis: {self.place / 'index.tsv'} asks for columns that are not known here: of_tomorrow, so_much\n")
        self.assertEqual(self.table("--columns", "test").err, "")

    def test_every_column(self):
        for seed, time_s in ((1, 10.0), (2, 14.0)):
            self.add(f"a{seed}", seed=seed, tuned="train.lr=0.003", made={"train_s": time_s, "regenerated": 0, "head": 5775})
            self.add(f"b{seed}", seed=seed, tuned="train.lr=2e-2", method="vera", made={"train_s": time_s, "regenerated": 49_152, "trainable": 900})
            self.add(f"c{seed}", seed=seed, tuned="train.lr_head=5e-3", method="head", made={"trainable": 0})
        heads, *rows = self.cells("--columns", "all")
        self.assertEqual(len(heads), 1 + len(columns.COLUMNS))
        shown = [{name: row[heads.index(name)] for name in ("method", "ranks", "tuned", "numbers of head", "regenerated", "train time")} for row in rows]
        self.assertEqual([list(row.values()) for row in shown], [["lora", "2", "0.003", "5,775", "0 B", "12.00 s"],
                                                                ["vera", "2", "2e-2", "100", "49.2 kB", "12.00 s"], ["head", "2", "5e-3", "100", "-", "-"]])
        text = " ".join(self.table("--columns", "all", "--format", "markdown").out.split())
        for words in ("tuned: train.lr (of head: train.lr_head), chosen on validation.", "train time: from the first step to the last",
                      "regenerated: frozen numbers that are made anew from a seed; - where a run file does not tell"):
            self.assertIn(words, text)
            self.assertNotIn(words, self.flat())
        found = [[row[name] for name in ("method", "tuned", "head", "regenerated_bytes", "train_s")] for row in self.rows()]
        self.assertEqual(found, [["lora", "train.lr=0.003", "5775", "0", "12.0"], ["vera", "train.lr=2e-2", "100", "49152", "12.0"],
                                 ["head", "train.lr_head=5e-3", "100", "", ""]])
        self.add("d1", method="red", made={"trainable": 5000})  # not tuned
        self.assertEqual(self.cells("--columns", "tuned"), [["method", "tuned"], ["red", "-"], ["lora", "0.003"], ["vera", "2e-2"], ["head", "5e-3"]])

    def test_ranks_as_a_column(self):
        """Then all numbers of ranks are in one table, and settings that differ between them are told as well."""
        for ranks in (4, 1, 2):
            for seed in (1, 2):
                self.add(f"a{ranks}{seed}", seed=seed, ranks=ranks, test=ranks / 10, made={"ranks": ranks})
        self.assertEqual(self.table().out.count("\nlora "), 3)
        self.assertEqual(self.table("--format", "markdown").out.count("| method |"), 3)
        self.remarks = ["# columns: ranks test"]
        text = self.table().out
        self.assertTrue(text.startswith("trec6 (data wordnet-verb), minilm-l6: accuracy in %\n"), text)
        rows = [["1", "10.00"], ["2", "20.00"], ["4", "40.00"]]  # no interval without a spread over seeds
        self.assertIn("no interval without a spread over seeds: lora ranks=1, lora ranks=2, lora ranks=4.", self.flat())
        self.assertEqual(self.cells(), [["method", "ranks", "test"], *(["lora", *row] for row in rows)])
        self.assertEqual([row["ranks"] for row in self.rows()], ["1", "2", "4"])
        self.add("b", ranks=4, test=0.7, made={"ranks": 4, "settings": {"train.batch": 64}})
        self.assertEqual(self.cells()[1:], [*(["lora batch=32", *row] for row in rows), ["lora batch=64", "4", "70.00"]])

    def test_labels_whatever_the_columns(self):
        for rank in (4, 8):
            for rate in ("0.001", "0.002"):
                self.add(f"a{rank}{rate}", made={"options": {"rank": rank}, "settings": {"train.lr": rate}})
        labels = ["lora r=4 lr=0.001", "lora r=4 lr=0.002", "lora r=8 lr=0.001", "lora r=8 lr=0.002"]
        for words in ((), ("--columns", "sent"), ("--columns", "ranks,tuned"), ("--columns", "all")):
            self.assertEqual([row[0] for row in self.cells(*words)[1:]], labels)

    def test_seeds_without_their_column(self):
        """A mean of fewer seeds than were planned is seen all the same."""
        for seed in (1, 2, 3):
            self.add(f"a{seed}", seed=seed)
            self.add(f"b{seed}", seed=seed, method="red", **({"state": "failed", "reason": "no luck"} if seed == 2 else {}))
        self.remarks = ["# columns: test"]
        self.assertIn("seeds per row: 2 to 3; fewer than planned: red 2 of 3.", self.flat())
        self.assertNotIn("seeds per row", self.flat("--columns", "test,seeds"))
        self.add("c1", task="cola", made={"metric": "matthews"})
        self.assertIn("seeds per row: 1 to 3; fewer than planned: trec6 red 2 of 3.", self.flat())
        self.lines = [line for line in self.lines if line["method"] == "lora" and line["task"] == "trec6"]
        self.assertIn("seeds per row: 3. Study", self.flat())

    # ---- trials ----

    def curves(self):
        for task, metric in (("trec6", "accuracy"), ("cola", "matthews")):
            for method, chosen in (("lora", "0.003"), ("red", "0.0003")):
                self.add(f"{task}{method}", task=task, method=method, tuned=f"train.lr={chosen}", metric=metric, made={"metric": metric})
                for rate, score in (("0.001", 0.912), ("0.0003", 0.801)):
                    self.add(f"t{task}{method}{rate}", role="trial", task=task, method=method, tuned=f"train.lr={rate}", validation=score, metric=metric,
                             file=False)
                self.add(f"t{task}{method}high", role="trial", state="failed", task=task, method=method, tuned="train.lr=0.01", metric="", validation=0.333,
                         reason="diverged at step 12: loss nan")
                self.add(f"t{task}{method}mid", role="trial", state="stale", task=task, method=method, tuned="train.lr=0.003", validation=0.95, metric=metric,
                         file=False)
        self.add("ttrec6vera", role="trial", task="trec6", method="vera", state="waiting", tuned="train.lr=0.1", metric="")

    def test_curves(self):
        self.curves()
        text = self.table("--curves").out
        first, second = text.split("Trials of train.lr on ")[1:]
        self.assertTrue(first.startswith("trec6, stage 1, 2 ranks: accuracy on validation in %"), first)
        self.assertTrue(second.startswith("cola, stage 1, 2 ranks: matthews on validation\n"), second)
        line = next(line for line in first.splitlines() if line.startswith("lora"))
        self.assertEqual(re.split(r"\s{2,}", line), ["lora", "0.0003 80.10", "0.001 91.20", "0.003 95.00~ *", "0.01 diverged"])
        self.assertIn("vera", first)
        self.assertIn("0.1 waiting", first)
        self.assertIn("* chosen for the runs. ~ by another version of the program. Not chosen yet: vera.", " ".join(first.split()))
        self.assertIn("Chosen at the end of the values that were tried, so that others beyond may be better: the lowest of red.", " ".join(first.split()))
        self.assertNotIn("scored as much", text)
        self.assertIn("0.912", second)
        self.assertNotIn("0.333", text)
        self.assertNotIn("33.30", text)
        self.assertNotIn("Trials of", self.table().out.replace("Trials without", ""))

    def test_a_choice_among_equals(self):
        for method, scores in (("lora", (0.0, 0.0, 0.0)), ("red", (0.3, 0.5, 0.3)), ("vera", (0.1, 0.5, 0.5))):
            self.add(f"{method}run", method=method, tuned=f"train.lr={'0.1' if method == 'lora' else '0.2'}")
            for rate, score in zip(("0.1", "0.2", "0.4"), scores):
                self.add(f"{method}{rate}", role="trial", method=method, tuned=f"train.lr={rate}", validation=score, file=False)
        text = " ".join(self.table("--curves").out.split())
        self.assertIn("others beyond may be better: the lowest of lora. Another value scored as much as the chosen one: of lora and vera.", text)

    def test_curves_in_files(self):
        self.curves()
        self.table("--curves", "--out-dir", self.out)
        self.assertEqual(sorted(path.name for path in self.out.iterdir()), ["curves.csv", "table.cells.tsv", "table.csv", "table.md", "table.tex"])
        with open(self.out / "curves.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual(len(rows), 17)
        lora = [(row["key"], row["value"], row["state"], row["validation"], row["chosen"]) for row in rows if (row["task"], row["method"]) == ("cola", "lora")]
        self.assertEqual(lora, [("train.lr", "0.0003", "done", "0.801", "no"), ("train.lr", "0.001", "done", "0.912", "no"),
                                ("train.lr", "0.003", "stale", "0.95", "yes"), ("train.lr", "0.01", "failed", "", "no")])
        self.assertEqual({row["reason"] for row in rows if row["state"] == "failed"}, {"diverged at step 12: loss nan"})
        markdown = (self.out / "table.md").read_text(encoding="utf-8")
        self.assertIn("| lora | 0.0003: 80.10 | 0.001: 91.20 | **0.003: 95.00~** | 0.01: diverged |", markdown)
        for block in re.findall(r"(?:^\|.*\n)+", markdown, re.M):
            self.assertEqual(len({line.count("|") for line in block.splitlines()}), 1, block)

    def test_curves_without_trials(self):
        self.add("a1")
        self.assertEqual(self.table("--curves").out, self.table().out)
        self.table("--curves", "--out-dir", self.out)
        self.assertEqual(sorted(path.name for path in self.out.iterdir()), ["table.cells.tsv", "table.csv", "table.md", "table.tex"])

    # ---- form ----

    def test_width(self):
        for number, (method, size) in enumerate((("a-method-with-quite-a-long-name", 124_645_632), ("lora", 9))):
            for seed in (1, 2):
                self.add(f"a{number}{seed}", seed=seed, method=method, tuned="train.lr=0.000333333", test=-0.987 if seed == 1 else 0.987, metric="spearman",
                         made={"options": {"rank": 1024, "modules": "q,k,v,o,up,down"}, "trainable": size, "stored": 4 * size, "sent": size,
                               "message": 4 * size, "metric": "spearman", "validation": -0.987})
            self.add(f"f{number}", seed=3, method=method, state="failed", tuned="train.lr=0.000333333", reason="diverged at step 12: loss nan")
            for rate in range(1, 8):
                self.add(f"t{number}{rate}", role="trial", method=method, tuned=f"train.lr=0.000{rate}33333", validation=-0.5, metric="spearman", file=False)
        for width in (100, 80):
            lines = self.table("--curves", "--width", width).out.splitlines()
            self.assertLessEqual(max(map(len, lines)), width, "\n".join(lines))
            rule = next(line for line in lines if line.startswith("---"))
            row = next(line for line in lines if "2 of 3" in line)
            self.assertEqual(len(row), len(rule))
            self.assertEqual("no room for" in " ".join(lines), width == 80)
            self.assertEqual(sum("-0.500" in line for line in lines) > 2, True)

    def test_width_of_every_column(self):
        for number, rate in enumerate(("0.000333333", "x" * 80)):
            for seed in (1, 2):
                self.add(f"a{number}{seed}", seed=seed, method="a-method-with-quite-a-long-name", tuned=f"train.lr={rate}", metric="spearman",
                         test=-0.987 if seed == 1 else 0.987,
                         made={"options": {"rank": 1024, "modules": "q,k,v,o,up,down"}, "trainable": 124_645_632, "stored": 498_582_528,
                               "sent": 124_645_632, "message": 498_612_345, "regenerated": 98_765_432_100, "head": 1_234_567, "train_s": 12_345.6,
                               "metric": "spearman", "ranks": 1024, "validation": -0.999})
            for width in (100, 80):
                lines = self.table("--columns", "all", "--width", width).out.splitlines()
                self.assertLessEqual(max(map(len, lines)), width, "\n".join(lines))
                said = " ".join(lines)
                self.assertIn(f"{width} columns have no room for: regenerated, train time, numbers of head, energy, wait share, expand, gather,", said)
                self.assertEqual("tuned" in lines[2], number == 0 and width == 100, said)
                self.assertEqual([heading in lines[2] for heading in ("ranks", "test", "numbers", "sent per", "seeds")], [True] * 5, said)
            self.lines.clear()

    def test_markdown(self):
        self.add("a1")
        self.add("a2", seed=2, state="failed", reason="a|b")
        lines = self.table("--format", "markdown").out.splitlines()
        self.assertIn("Not in the table: 1", lines)
        self.assertIn("- 1 failed: a|b (lora)", lines)
        self.assertIn("| 1 of 2 |", "\n".join(lines))

    def test_usage(self):
        self.add("a1")
        self.table()
        self.assertIn("takes the place of", analyse("table", "--study", self.place, self.place).err)
        for words in (["--curves"], ["--stage", "1"]):
            self.assertIn("needs --study", analyse("table", self.place, *words).err)
        done = analyse("table", self.place)
        self.assertIn(f"{self.place} holds a study, whose trials are among the rows", " ".join(done.out.split()))

    # ---- archives made by hand ----

    def test_archive_of_another_kind(self):
        self.add("a1")
        self.lines[0]["file"] = "archive.h5:a1"
        shutil.copy(self.place / "runs/a1.h5", self.place / "archive.h5")
        self.assertIn("not an archive of runs", self.flat(code=1))
        with h5py.File(self.place / "archive.h5", "w") as file:
            file.attrs["kind"], file.attrs["schema_version"] = np.bytes_("peftscale archive"), 2
        self.assertIn("written by a newer version (schema 2, known: 1)", self.flat(code=1))
        with h5py.File(self.place / "archive.h5", "r+") as file:
            file.attrs["schema_version"] = 1
        self.assertIn("broken: its end is missing", self.flat(code=1))
        self.assertIn("broken: its end is missing", " ".join(analyse("table", self.place / "archive.h5").out.split()))


if __name__ == "__main__":
    tap.main()
