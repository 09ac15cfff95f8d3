#!/usr/bin/env python3
"""What the analysis takes out of run files and archives. Run: python3 tests/analysis/test_load.py [-v]"""

import csv
import io
import math
import os
import re
import sys
from pathlib import Path
from unittest import mock

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
from made_runs import PHASES, analyse, series, write_index, write_run  # noqa: E402

from analysis.load.collect import collect  # noqa: E402
from analysis.load.frame import COLUMNS, to_frame  # noqa: E402
from analysis.load.measure import Validation  # noqa: E402
from analysis.load.runs import CONTAMINATED_FIELDS  # noqa: E402
from analysis.load.series import read_predictions, read_steps  # noqa: E402
from analysis.load.summary import UNSAID  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


class Fields(FolderCase):
    def run_of(self, name="a.h5", **made):
        write_run(self.place / name, **made)
        collection = collect([self.place / name])
        self.assertEqual(collection.left_out, [])
        return collection.runs[0]

    def test_fields(self):
        times = [9.0] * 5 + [0.25] * 10 + [0.5] * 5  # the first five do not count: 15 steps, 5 s
        parts = {f"{name}_s": np.where(np.arange(20) < 5, 100.0, 0.01 * number) for number, name in enumerate(PHASES, 1)}
        wait = np.where(np.arange(20) % 5 == 4, 0.1, np.nan)  # steps 5, 10, 15 and 20; of those that count 0.25, 0.25 and 0.5 s
        run = self.run_of(steps=series(times, **parts, wait_s=wait, wire_bytes=[-1, -1, 100, 300] * 5, payload_bytes=1000, loss=0.5), ranks=4, nodes=2,
                          activation=12345, memory=[7, 9, 8, 5], source_hash="5" * 16, dirty="1",
                          validations=[(8, 1, 0.5, 1.5, 2.0), (20, 2, 0.75, 1.25, 3.0)])
        self.assertEqual(list(run.phases), list(PHASES))
        for number, name in enumerate(PHASES, 1):
            self.assertAlmostEqual(run.phases[name], 0.01 * number)
        self.assertAlmostEqual(run.communication_share, 15 * 0.05 / 5)
        self.assertAlmostEqual(run.wait_share, 0.3)
        self.assertEqual((run.step_s, run.wire_bytes, run.nodes, run.activation_bytes, run.memory_bytes), (0.25, 200.0, 2, 12345, 9))
        self.assertEqual((run.created, run.source_hash, run.verdict), ("2024-01-01T00:00:00Z", "5" * 16, "dirty build"))
        self.assertEqual(run.validations, (Validation(8, 1, 0.5, 1.5, 45.75, 8000), Validation(20, 2, 0.75, 1.25, 50.0 + 2.0, 20000)))

    def test_older_files_do_not_tell(self):
        run = self.run_of()
        self.assertEqual({name for name, value in run.phases.items() if not math.isnan(value)}, {"communication"})
        self.assertTrue(math.isnan(run.wire_bytes) and math.isnan(run.wait_share))
        self.assertEqual((run.activation_bytes, run.memory_bytes, run.validations, run.source_hash, run.verdict), (None, None, (), "", "ok"))

    def test_validations_of_a_run_that_went_on(self):
        """Steps and validations that were made again count once; the final evaluation repeats that of the step that was kept."""
        first, second = series([9.0] * 12, attempt=1, payload_bytes=10), series([1.0] * 20, attempt=2, payload_bytes=1000)
        self.run_of(steps=np.concatenate([first, second[8:]]), validation=0.3)
        rows = [(1, 4, 0.1, 5.0), (1, 12, 0.2, 7.0), (2, 12, 0.3, 1.0), (2, 20, 0.25, 2.0), (2, 12, 0.3, 64.0), (0, 0, 0.0, 0.0)]
        with h5py.File(self.place / "a.h5", "r+") as file:
            kind = [("attempt", "<i4"), ("step", "<i8"), ("epoch", "<i4"), ("split", "S12"), ("loss", "<f8"), ("metric", "<f8"), ("seconds", "<f8")]
            file["evaluation"] = np.array([(attempt, step, 1, b"validation", 0.5, score, seconds) for attempt, step, score, seconds in rows], kind)
        (run,) = collect([self.place]).runs
        self.assertEqual([(each.step, each.score, each.seconds, each.sent_bytes) for each in run.validations],
                         [(4, 0.1, 36.0, 40), (12, 0.3, 72.0 + 4 + 5, 4080), (20, 0.25, 72.0 + 12 + 5 + 1, 12080)])

    def test_one_rank_would_send(self):
        run = self.run_of(ranks=1, steps=series([0.1] * 20, payload_bytes=0), validations=[(20, 1, 0.5, 1.0, 0.0)])
        self.assertEqual(run.validations[0].sent_bytes, 20 * 4016)

    def test_series(self):
        first, second = series([9.0] * 20, attempt=1), series([0.1] * 20, attempt=2)
        frame = read_steps(self.run_of(steps=np.concatenate([first, second[8:], np.zeros(2, first.dtype)])))
        self.assertEqual((list(frame["step"]), list(frame["attempt"])), (list(range(1, 21)), [1] * 8 + [2] * 12))

    def test_predictions(self):
        run = self.run_of(test=0.62, examples=50)
        found = read_predictions(run)
        self.assertEqual((found.score.shape, found.example[0], run.test), ((50, 2), 1000, 0.62))
        self.assertEqual((found.label == found.prediction).mean(), 0.62)
        self.assertIsNone(read_predictions(run, "validation"))
        self.assertIsNone(read_predictions(self.run_of("b.h5")))

    def test_settings_that_are_left_unsaid(self):
        """What the analysis takes them for is what the program's own table of keys says."""
        schema = (ROOT / "src" / "config" / "schema.c").read_text(encoding="utf-8")
        rows = re.findall(r'\{\{"([\w.]+)",[^{]*?FIELD\([\w.]+\),\s*NUMBERS,\s*"([^"]*)"\}', schema)
        self.assertGreater(len(rows), 8)
        self.assertEqual(UNSAID, dict(rows))

    def test_frame(self):
        runs = [self.run_of(options={"rank": 8}, steps=series([0.1] * 20, forward_s=0.02)), self.run_of("b.h5", method="red", seed=2, memory=[5, 4])]
        frame = to_frame(runs)
        self.assertEqual(list(frame.columns[:len(COLUMNS)]), list(COLUMNS))
        self.assertEqual((list(frame["seed"]), list(frame["method.rank"].fillna("-"))), ([1, 2], ["8", "-"]))
        self.assertEqual((frame["forward_s"][0], frame["memory_bytes"][1], frame["memory_bytes"].isna()[0]), (0.02, 5, True))
        self.assertEqual(list(to_frame([]).columns), list(COLUMNS))

class Refusals(FolderCase):
    """What is left out, and the verb that lists the rest."""

    def make(self, name, **made):
        return write_run(self.place / name, **{"source_hash": "5" * 16, "run_id": name, **made})

    def names(self, *allow):
        collection = collect([self.place], allow=frozenset(allow))
        return [run.name for run in collection.runs], {path.name: reason for path, reason in collection.left_out}

    def test_a_damaged_copy_takes_nobodys_place(self):
        self.make("a.h5", run_id="same", test=7.0)
        self.make("b.h5", run_id="same")
        invalid = "invalid: the test score is 7, which no accuracy is"
        self.assertEqual(self.names(), (["b.h5"], {"a.h5": invalid}))
        self.assertEqual(self.names("invalid"), (["a.h5"], {"b.h5": f"the same run as {self.place / 'a.h5'}"}))
        (run,) = collect([self.place / "a.h5"], allow=frozenset(["invalid"])).runs
        self.assertEqual(run.verdict, invalid)

    def test_versions(self):
        """Per table: task, data, model, metric, ranks and threads."""
        for number in range(3):
            self.make(f"a{number}.h5", seed=number)
        self.make("b.h5", seed=4, source_hash="7" * 16, created="2025-01-01T00:00:00Z")
        self.make("c.h5", seed=4, source_hash="")
        self.make("other-ranks.h5", ranks=4, source_hash="7" * 16)
        self.make("other-task.h5", task="cola", metric="matthews", source_hash="9" * 16)
        names, left_out = self.names()
        self.assertEqual(names, ["a0.h5", "a1.h5", "a2.h5", "other-ranks.h5", "other-task.h5"])
        self.assertEqual(left_out, {"b.h5": "mixed: by source_hash 77777777, but most of its table (3) by 55555555",
                                    "c.h5": "mixed: by source_hash unknown, but most of its table (3) by 55555555"})
        self.assertEqual((len(self.names("mixed")[0]), self.names("mixed")[1]), (7, {}))
        # An invalid run has no vote.
        for number in range(4):
            self.make(f"x{number}.h5", source_hash="8" * 16, test=2.0)
        self.assertEqual(self.names()[0], names)

    def test_ties(self):
        self.make("a.h5", source_hash="a" * 16, created="2024-01-02T00:00:00Z")
        self.make("b.h5", source_hash="b" * 16, created="2024-01-01T00:00:00Z")
        self.assertEqual(self.names()[0], ["a.h5"])
        self.make("b.h5", source_hash="b" * 16, created="2024-01-03T00:00:00Z")
        self.assertEqual(self.names()[0], ["b.h5"])

    def test_times_of_disturbed_runs(self):
        steps = series([0.1] * 20, forward_s=0.05, wait_s=0.01, wire_bytes=9)
        self.make("a.h5", contaminated=3, steps=steps, train_s=9.0, energy=5.0, validations=[(20, 1, 0.4, 1.0, 0.5)])
        (run,) = collect([self.place]).runs
        for name in CONTAMINATED_FIELDS:
            self.assertTrue(math.isnan(getattr(run, name)), name)
        self.assertTrue(all(math.isnan(value) for value in run.phases.values()))
        self.assertEqual((math.isnan(run.validations[0].seconds), run.validations[0].score), (True, 0.4))
        self.assertEqual((run.test, run.wire_bytes, run.verdict), (0.5, 9.0, "contaminated"))
        (run,) = collect([self.place], allow=frozenset(["contaminated"])).runs
        found = run.train_s, run.energy_j, round(run.phases["forward"], 9), round(run.validations[0].seconds, 9), run.verdict
        self.assertEqual(found, (9.0, 5.0, 0.05, 2.0, "contaminated"))

    # ---- runs ----

    def test_runs_as_csv(self):
        self.make("a.h5", seed=3, test=1 / 3, options={"rank": 8}, memory=[5, 9])
        self.make("b.h5", method="red", contaminated=1, source_hash="5" * 16)
        self.make("c.h5", source_hash="7" * 16)
        (self.place / "d.h5").write_text("text")
        done = analyse("runs", self.place, "--format", "csv")
        self.assertEqual(done.err.splitlines(), [
            f"analysis: left out: {self.place / 'd.h5'}: broken: not a whole HDF5 file",
            f"analysis: left out: {self.place / 'c.h5'}: mixed: by source_hash 77777777, but most of its table (2) by 55555555"])
        first, second = csv.DictReader(io.StringIO(done.out))
        self.assertEqual(list(first)[:len(COLUMNS)], list(COLUMNS))
        self.assertEqual([first[name] for name in ("name", "seed", "memory_bytes", "method.rank", "verdict")], ["a.h5", "3", "9", "8", "ok"])
        self.assertEqual((float(first["test"]), first["energy_j"], second["step_s"], second["method.rank"]), (1 / 3, "", "", ""))
        self.assertEqual((second["verdict"], second["test"]), ("contaminated", "0.5"))
        everything = analyse("runs", self.place, "--format", "csv", "--allow", "mixed,contaminated").out
        self.assertEqual(len(everything.splitlines()), 4)

    def test_runs_in_other_forms(self):
        self.make("a.h5", task="a|b")
        text = analyse("runs", self.place).out.splitlines()
        self.assertEqual(text[0].split(), ["name", "task", "model", "method", "seed", "ranks", "test", "validation", "trainable", "step_s", "verdict"])
        self.assertEqual(text[2].split(), ["a.h5", "a|b", "minilm-l6", "lora", "1", "2", "0.5", "0.4", "1000", "0.1", "ok"])
        out = self.place / "out/runs.md"
        self.assertEqual(analyse("runs", self.place, "--format", "markdown", "--out", out).out, f"Written: {out}\n")
        lines = out.read_text().splitlines()
        self.assertEqual(len({line.replace("\\|", "").count("|") for line in lines}), 1)
        self.assertEqual(len(lines), 3)
        done = analyse("runs", self.place, "--out", self.place / "a.h5/x")
        self.assertEqual((done.status, done.err.count("\n")), (1, 1))

    def test_runs_in_a_narrow_terminal(self):
        name = "trec6-lora-s1-0123abcd.h5"
        self.make(name, task="trec6")
        self.make("b.h5", method="vblora", task="trec6")
        whole = analyse("runs", self.place, "--width", "120").out.splitlines()
        for width, lost in ((60, "model, ranks, validation, trainable, step_s"), (80, "model, ranks, trainable"), (100, "")):
            with mock.patch.dict(os.environ, {"COLUMNS": str(width)}):
                lines = analyse("runs", self.place).out.splitlines()
            self.assertLessEqual(max(map(len, lines)), width)
            self.assertEqual(" ".join(lines[5:]), lost and f"{width} columns have no room for: {lost}.")
            heads = [head for head in whole[0].split() if head not in lost.split(", ")]
            self.assertEqual(lines[0].split(), heads)
            self.assertEqual({line.split()[0] for line in lines[2:4]}, {name, "b.h5"})
            self.assertEqual(lines, analyse("runs", self.place, "--width", width).out.splitlines())
        with mock.patch.dict(os.environ, {"COLUMNS": "60"}):
            out = self.place / "out/runs.txt"
            analyse("runs", self.place, "--out", out)
            self.assertEqual(out.read_text().splitlines(), whole)  # a file has room
            words = analyse("runs", "--help").out.partition("columns of CSV")[2].partition("examples")[0].splitlines()
        self.assertLessEqual(max(map(len, words)), 60)

    def test_names_move_no_cursor(self):
        self.make("a\x1b[31m\tb.h5")
        (self.place / "c\x1b[2J.h5").write_text("nothing")
        done = analyse("runs", self.place)
        self.assertIn("a?[31m b.h5", done.out)
        self.assertIn("c?[2J.h5: ", done.err)
        self.assertNotIn("\x1b", done.out + done.err)

    def test_runs_of_a_study(self):
        self.make("runs/a.h5", request_id="q1")
        self.make("runs/b.h5", request_id="q2")
        write_index(self.place, [{"request_id": "q1", "role": "run", "state": "done", "file": "runs/a.h5", "stage": "1", "seed": 1},
                                 {"request_id": "q2", "role": "trial", "state": "done", "file": "runs/b.h5", "stage": "1", "seed": 1}])
        done = analyse("runs", "--study", self.place, "--format", "csv")
        self.assertEqual([row["name"] for row in csv.DictReader(io.StringIO(done.out))], ["a.h5"])
        self.assertIn("no stage '2'", analyse("runs", "--study", self.place, "--stage", "2").err)
        for words, status in ((["--study", self.place, self.place], 2), ([self.place, "--stage", "1"], 2), ([self.place / "none"], 2),
                              (["--study", self.place / "runs"], 1)):
            done = analyse("runs", *words)
            self.assertEqual((done.status, done.out), (status, ""))
        (self.place / "empty").mkdir()
        self.assertEqual(analyse("runs", self.place / "empty").err, f"analysis: no run in {self.place / 'empty'} that can be compared\n")
        for name, (unit, _) in COLUMNS.items():
            self.assertIn(f"  {name:<20} {unit or 'text'}", analyse("runs", "--help").out)


if __name__ == "__main__":
    tap.main()
