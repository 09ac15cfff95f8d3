#!/usr/bin/env python3
"""The comparison table, from run files made here to the printed numbers. Run: python3 tests/analysis/test_tables.py [-v]"""

import csv
import io
import os
import shutil
import statistics
import subprocess
import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "tests/support"))

try:
    import h5py
    import numpy as np
    import pandas  # noqa: F401
except ImportError as e:
    print(f"skipped: no {e.name} (Debian's python3-{e.name})")
    sys.exit(77)

import tap  # noqa: E402
from folders import FolderCase  # noqa: E402
from made_runs import analyse, series, write_run  # noqa: E402


class Table(FolderCase):
    def setUp(self):
        super().setUp()
        self.out = self.place / "out"

    def analyse(self, *arguments, code=0):
        """In this process, which spares its start. What it does not catch reaches the test."""
        done = analyse(*arguments)
        self.assertEqual(done.status, code, done.out + done.err)
        return types.SimpleNamespace(stdout=done.out, stderr=done.err)

    def test_as_a_process(self):
        self.run_file()
        for words, code, expected in ((["table", self.place / "runs"], 0, "50.00"), (["table", self.place / "nowhere"], 2, "no such file")):
            done = subprocess.run([sys.executable, "-B", "-m", "analysis", *map(str, words)], cwd=ROOT, capture_output=True, text=True)
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertIn(expected, done.stdout + done.stderr)
            self.assertNotIn("Traceback", done.stderr)

    def table(self, *places):
        """The rows of the CSV file, and what was printed."""
        done = self.analyse("table", *(places or [self.place / "runs"]), "--out-dir", self.out)
        with open(self.out / "table.csv", encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file)), done.stdout

    def run_file(self, name="runs/a.h5", **arguments):
        return write_run(self.place / name, **arguments)

    def test_one_run(self):
        # 20 steps: the first 5 do not count. Of the other 15 the median is 0.2, the sum 7 * 0.1 + 8 * 0.2 = 2.3 s.
        steps = series([9.0] * 5 + [0.1] * 7 + [0.2] * 8, share=0.25, tokens=230)
        self.run_file(test=0.5784, validation=0.561, options={"rank": 8, "alpha": 16, "modules": "q,v"}, steps=steps, trainable=73728, head=5775, stored=294912,
                      sent=73728, message=318028, run_id="0123456789abcdef" * 2)
        (row,), text = self.table()
        self.assertEqual((row["task"], row["dataset"], row["model"], row["method"]), ("wordnet-verbs", "wordnet-verb", "minilm-l6", "lora"))
        self.assertEqual(row["options"], "alpha=16 modules=q,v rank=8")
        self.assertEqual((row["ranks"], row["threads"], row["metric"], row["seeds"], row["runs"], row["run_ids"]), ("2", "1", "accuracy", "1", "1", "01234567"))
        self.assertAlmostEqual(float(row["test_mean"]), 0.5784)
        self.assertAlmostEqual(float(row["validation_mean"]), 0.561)
        self.assertEqual(row["test_sd"], "")
        self.assertAlmostEqual(float(row["step_s"]), 0.2)
        self.assertAlmostEqual(float(row["communication_share"]), 0.25)
        self.assertAlmostEqual(float(row["tokens_per_s"]), 15 * 230 / 2.3)
        self.assertEqual([row[name] for name in ("trainable", "head", "stored_bytes", "sent_bytes", "sent_bytes_with_head")],
                         ["73728", "5775", "294912", "294912", "318028"])
        for words in ("wordnet-verbs", "2 ranks", "accuracy in %", "lora r=8 q,v", "57.84", "56.10", "73,728", "295 kB", "318 kB", "200 ms", "25.0 %", "1,500", "1 run,"):
            self.assertIn(words, text)

    def test_mean_over_seeds(self):
        scores = {1: 0.50, 2: 0.53, 3: 0.59}
        for seed, test in scores.items():
            self.run_file(f"runs/s{seed}.h5", seed=seed, test=test, validation=test - 0.1, run_id=f"{seed:032d}")
        (row,), text = self.table()
        self.assertAlmostEqual(float(row["test_mean"]), 0.54)
        self.assertAlmostEqual(float(row["validation_mean"]), 0.44)
        self.assertAlmostEqual(float(row["test_sd"]), statistics.stdev(scores.values()))
        self.assertEqual((float(row["test_min"]), float(row["test_max"]), row["seeds"], row["runs"]), (0.5, 0.59, "1 2 3", "3"))
        # t(0.975; 2) = 4.302653: half of the interval is 4.302653 * 4.582576 / sqrt(3) = 11.3838
        self.assertIn("54.00 ±11.38", text)
        self.assertIn("half of its 95 % t interval", text)
        self.assertEqual([round(float(row[name]), 5) for name in ("test_low", "test_high", "test_half")], [0.42616, 0.65384, 0.11384])

    def test_a_repeated_seed_weighs_once(self):
        for number, (seed, test) in enumerate([(1, 0.5), (1, 0.5), (1, 0.5), (2, 0.7)]):
            self.run_file(f"runs/{number}.h5", seed=seed, test=test, run_id=f"{number:032d}")
        (row,), _ = self.table()
        self.assertAlmostEqual(float(row["test_mean"]), 0.6)
        self.assertEqual((row["seeds"], row["runs"]), ("1 2", "4"))

    def test_different_settings_stay_apart(self):
        self.run_file("runs/a.h5", seed=1, test=0.5)
        self.run_file("runs/b.h5", seed=2, test=0.6, settings={"train.lr": "0.002"})
        self.run_file("runs/c.h5", seed=3, test=0.7, settings={"train.lr": "0.002"})
        rows, text = self.table()
        self.assertEqual({row["label"]: round(float(row["test_mean"]), 9) for row in rows}, {"lora lr=0.001": 0.5, "lora lr=0.002": 0.65})
        self.assertIn("lora lr=0.002", text)
        self.assertNotIn("batch=", text)

    def test_a_setting_that_one_lacks_stays_apart(self):
        self.run_file("runs/a.h5", settings={"train.clip": "1"})
        self.run_file("runs/b.h5")
        self.assertEqual({row["label"] for row in self.table()[0]}, {"lora clip=1", "lora clip=0"})

    def test_other_weights_or_data_stay_apart(self):
        self.run_file("runs/a.h5", seed=1)
        self.run_file("runs/b.h5", seed=2, weights="f" * 32)
        self.run_file("runs/c.h5", seed=3, data="0" * 32)
        labels = {row["label"] for row in self.table()[0]}
        self.assertEqual(labels, {"lora data=dddddddd weights=wwwwwwww", "lora data=dddddddd weights=ffffffff", "lora data=00000000 weights=wwwwwwww"})

    def test_sections_and_order(self):
        self.run_file("runs/a.h5", method="head", trainable=0)
        self.run_file("runs/b.h5", method="full", trainable=22_565_376, stored=90_261_504, sent=22_565_376)
        self.run_file("runs/c.h5", ranks=4)
        self.run_file("runs/d.h5", task="cola", metric="matthews", test=0.2714)
        rows, text = self.table()
        self.assertEqual([(row["task"], row["ranks"], row["method"]) for row in rows],
                         [("cola", "2", "lora"), ("wordnet-verbs", "2", "full"), ("wordnet-verbs", "2", "head"), ("wordnet-verbs", "4", "lora")])
        self.assertIn("0.271", text)
        self.assertIn("22,565,376", text)
        self.assertIn("90.3 MB", text)
        self.assertIn("4 ranks", text)

    def test_width(self):
        self.run_file("runs/a.h5", method="a-method-with-quite-a-long-name", options={"rank": 1024, "modules": "q,k,v,o,up,down"}, trainable=124_645_632,
                      stored=498_582_528, sent=124_645_632, message=498_612_345, test=-0.987, metric="spearman", seed=1)
        self.run_file("runs/b.h5", method="a-method-with-quite-a-long-name", options={"rank": 1024, "modules": "q,k,v,o,up,down"}, trainable=124_645_632,
                      stored=498_582_528, sent=124_645_632, message=498_612_345, test=0.987, metric="spearman", seed=2)
        self.run_file("runs/c.h5", metric="spearman")
        _, text = self.table()
        table = text.split("Written")[0].splitlines()
        self.assertLessEqual(max(map(len, table)), 100, text)
        rules = [line for line in table if line.startswith("---")]
        ends = [index for index in range(1, len(rules[0])) if rules[0][index - 1] == "-" and rules[0][index:index + 1] in (" ", "")]
        for line in table:
            if "124,645,632" in line or "1,000" in line:
                self.assertTrue(all(line[end:end + 1] in (" ", "") for end in ends), text)

    def test_requeued_run(self):
        first, second = series([9.0] * 20, attempt=1), series([0.1] * 20, attempt=2)
        self.run_file(steps=np.concatenate([first, second[8:]]))
        (row,), _ = self.table()
        self.assertAlmostEqual(float(row["step_s"]), 0.1)
        self.assertEqual(row["steps"], "20")

    def test_few_or_no_steps(self):
        self.run_file("runs/a.h5", steps=series([0.3]))
        self.run_file("runs/b.h5", steps=series([]), settings={"train.lr": "0.1"})
        rows, text = self.table()
        self.assertEqual([row["step_s"] for row in rows], ["0.3", ""])
        self.assertNotIn("nan", text)

    def test_what_is_left_out(self):
        good = self.run_file("runs/good.h5")
        whole = good.read_bytes()
        runs = self.place / "runs"
        self.run_file("runs/live.h5.partial", status="running")
        self.run_file("runs/failed.h5", status="failed: out of memory")
        self.run_file("runs/new.h5", version=2)
        self.run_file("runs/data.h5", kind="peftscale dataset")
        self.run_file("runs/other.h5", kind="something else")
        (runs / "cut.h5").write_bytes(whole[: len(whole) // 2])
        (runs / "empty.h5").write_bytes(b"")
        (runs / "text.h5").write_text("not HDF5\n")
        shutil.copy(good, runs / "zz-copy.h5")
        for group, name in (("accounting", "stored_bytes"), ("result", "test_metric")):
            with h5py.File(shutil.copy(good, runs / f"no-{name}.h5"), "r+") as file:
                file.attrs["run_id"] = np.bytes_(name)
                del file[group].attrs[name]
        with h5py.File(shutil.copy(good, runs / "no-table.h5"), "r+") as file:
            del file["series"]
        with h5py.File(shutil.copy(good, runs / "odd-table.h5"), "r+") as file:
            del file["series/steps"]
            file["series/steps"] = np.zeros(4)
        with h5py.File(runs / "bare.h5", "w") as file:
            file.attrs["kind"] = "peftscale run"
        rows, text = self.table()
        self.assertEqual(len(rows), 1)
        flat = " ".join(text.split())
        for name, reason in {"live.h5.partial": "not finished", "failed.h5": "not finished (failed: out of memory)", "new.h5": "written by a newer version",
                             "data.h5": "not a run file but a dataset", "other.h5": "not a run file", "cut.h5": "broken", "empty.h5": "broken",
                             "text.h5": "broken", "zz-copy.h5": "the same run as", "no-stored_bytes.h5": "broken: lacks stored_bytes of /accounting",
                             "no-test_metric.h5": "broken: lacks test_metric of /result",
                             "no-table.h5": "broken: lacks /series/steps", "odd-table.h5": "broken", "bare.h5": "broken"}.items():
            self.assertIn(f"{name}: {reason}", flat)
        self.assertIn("Left out: 14", text)
        self.assertIn("1 run,", text)

    def test_many_that_are_left_out(self):
        self.run_file("runs/good.h5")
        for number in range(9):
            self.run_file(f"runs/f{number}.h5", status="failed: out of memory")
        text = " ".join(self.table()[1].split())
        self.assertIn("Left out: 9 9 files: not finished (failed: out of memory):", text)
        self.assertIn("f2.h5 and 6 more", text)
        self.assertNotIn("f3.h5", text)

    # ---- mixtures ----

    def mixture(self, *words):
        """What is said of unlike rows, as one line; --strict says the same and makes no table."""
        shown = [line for line in " ".join(self.table()[1].split("Written")[0].split("step time: median without the first steps.")[1].split()).split("Left out")][0]
        shutil.rmtree(self.out)
        strict = self.analyse("table", self.place / "runs", "--strict", "--out-dir", self.out, code=1 if words else 0)
        if words:
            self.assertFalse(self.out.exists())
            self.assertEqual(strict.stdout, "")
        for word in words:
            self.assertIn(word, shown)
            self.assertIn(word, strict.stderr)
        if not words:
            self.assertEqual(shown.strip(), "")
        return shown

    def pair(self, first=None, second=None):
        """Two methods of two seeds in one table."""
        known = {"binary_hash": "b" * 32, "commit": "c" * 40, "dirty": "0", "blas_core": "Haswell"}
        for method, changed in (("lora", first or {}), ("red", second or {})):
            for seed in (1, 2):
                self.run_file(f"runs/{method}-{seed}.h5", method=method, seed=seed, **{**known, "order_hash": f"{seed:032d}", **changed})

    def test_like_runs_are_no_mixture(self):
        self.pair()
        self.mixture()

    def test_older_files_alone_are_no_mixture(self):
        self.run_file("runs/a.h5")
        self.run_file("runs/b.h5", method="red")
        self.mixture()

    def test_mixtures_are_marked(self):
        cases = {
            "2 programs (binary_hash): bbbbbbbb (2 runs: lora-1.h5, lora-2.h5); eeeeeeee (2 runs: red-1.h5, red-2.h5)": {"binary_hash": "e" * 32},
            "2 programs (binary_hash): bbbbbbbb (2 runs: lora-1.h5, lora-2.h5); unknown (2 runs: red-1.h5, red-2.h5)": {"binary_hash": ""},
            "2 commits: cccccccc (2 runs: lora-1.h5, lora-2.h5); dddddddd": {"commit": "d" * 40},
            "2 kinds of BLAS kernels: Haswell (2 runs: lora-1.h5, lora-2.h5); Zen (2 runs": {"blas_core": "Zen"},
            "2 base weights: ffffffff (2 runs: red-1.h5, red-2.h5); wwwwwwww (2 runs": {"weights": "f" * 32},
            "2 data sets: 00000000 (2 runs: red-1.h5, red-2.h5); dddddddd": {"data": "0" * 32},
            "several sample orders of one seed: seed 1: 00000000 (1 run: lora-1.h5), 99999999 (1 run: red-1.h5); seed 2:": {"order_hash": "9" * 32},
            "several sample orders of one seed: seed 1: 00000000 (1 run: lora-1.h5), unknown (1 run: red-1.h5)": {"order_hash": ""},
            "Dirty build: 2 runs: red-1.h5, red-2.h5": {"dirty": "1"},
            "Contaminated: 2 runs: red-1.h5, red-2.h5": {"contaminated": 1},
        }
        for words, changed in cases.items():
            with self.subTest(words=words):
                self.pair(second=changed)
                shown = self.mixture(words)
                self.assertIn("Not alike: 1 ", shown)
                self.assertIn(f"- {words[:20]}", self.analyse("table", self.place / "runs", "--format", "markdown").stdout.replace("- Mixture: ", "- "))
                self.assertEqual(shown.count("Mixture") + shown.count("Dirty") + shown.count("Contaminated"), 1, shown)

    def test_runs_of_one_seed_that_differ(self):
        """Their mean counts, and that is said; repetitions that score alike are none."""
        self.pair()
        self.run_file("runs/again.h5", method="red", seed=2, binary_hash="b" * 32, commit="c" * 40, dirty="0", blas_core="Haswell", order_hash=f"{2:032d}",
                      run_id="a" * 32)
        self.mixture()
        self.run_file("runs/again.h5", method="red", seed=2, binary_hash="b" * 32, commit="c" * 40, dirty="0", blas_core="Haswell", order_hash=f"{2:032d}",
                      run_id="a" * 32, test=0.99)
        self.assertIn("Not alike: 1 Several runs of one seed, which count as their mean: red, seed 2: 99.00 (again.h5), ",
                      self.mixture("Several runs of one seed"))

    def test_what_batches_send_is_averaged(self):
        """Of full fine-tuning the rows of embeddings that a seed's batches reach differ."""
        for seed, count in ((1, 1000), (2, 3000), (3, 8000)):
            self.run_file(f"runs/full-{seed}.h5", method="full", seed=seed, sent=count, message=4 * count + 400, trainable=9000)
        text = self.analyse("table", self.place / "runs", "--columns", "sent,sent_with_head").stdout
        self.assertRegex(text, r"full +16\.0 kB +16\.4 kB")
        (row,) = csv.DictReader(io.StringIO(self.analyse("table", self.place / "runs", "--format", "csv").stdout))
        self.assertEqual((row["sent_bytes"], row["sent_bytes_with_head"]), ("16000", "16400"))

    def test_marks_in_csv(self):
        self.pair(second={"dirty": "1", "contaminated": 1})
        rows, _ = self.table()
        self.assertEqual({row["method"]: row["marks"] for row in rows}, {"lora": "", "red": "contaminated; dirty build"})

    def test_unfinished_and_broken_files_are_marked(self):
        self.pair()
        self.run_file("runs/live.h5.partial", status="running")
        self.run_file("runs/failed.h5", status="failed: out of memory")
        (self.place / "runs/text.h5").write_text("not HDF5\n")
        self.mixture("Not finished: 2 files: failed.h5, live.h5.partial", "Broken: 1 file: text.h5")

    def test_tables_apart_are_no_mixture(self):
        """What is in two tables need not be alike; what is mixed in one of them is named with it."""
        self.pair()
        for seed in (1, 2):
            self.run_file(f"runs/other-{seed}.h5", task="cola", metric="matthews", seed=seed, binary_hash="e" * 32, data="0" * 32)
        self.mixture()
        self.run_file("runs/other-3.h5", task="cola", metric="matthews", seed=3, binary_hash="f" * 32, data="0" * 32)
        self.mixture("Mixture in cola, matthews, 2 x 1: 2 programs (binary_hash): eeeeeeee (2 runs: other-1.h5, other-2.h5); ffffffff (1 run: other-3.h5)")

    def test_many_files_are_counted(self):
        for seed in range(1, 8):
            self.run_file(f"runs/s{seed}.h5", seed=seed, dirty="1")
        self.mixture("Dirty build: 7 runs: s1.h5, s2.h5, s3.h5 and 4 more")

    def test_usage(self):
        path = self.run_file()
        self.assertIn("lora", self.analyse("table", path).stdout)
        self.assertTrue(self.analyse("table", path, "--format", "markdown").stdout.startswith("**"))
        self.assertTrue(self.analyse("table", path, "--format", "csv").stdout.startswith("task,"))
        self.assertIn("no such file", self.analyse("table", self.place / "nowhere", code=2).stderr)
        self.assertIn("html", self.analyse("table", path, "--format", "html", code=2).stderr)
        self.analyse("chart", code=2)
        self.assertIn("examples", self.analyse("table", "--help").stdout)
        (self.place / "none").mkdir()
        self.assertIn("no finished run", self.analyse("table", self.place / "none", code=1).stderr)

    def test_files_are_whole_and_alone(self):
        self.run_file()
        self.out.mkdir()
        (self.out / "table.md").write_text("older")
        self.table()
        self.assertEqual(sorted(os.listdir(self.out)), ["table.cells.tsv", "table.csv", "table.md", "table.tex"])
        lines = (self.out / "table.md").read_text(encoding="utf-8").splitlines()
        rows = [line for line in lines if line.startswith("|")]
        self.assertEqual(len(rows), 3)
        self.assertEqual(len({line.count("|") for line in rows}), 1)
        self.analyse("table", self.place / "runs", "--out-dir", self.place / "runs/a.h5", code=1)


if __name__ == "__main__":
    tap.main()
