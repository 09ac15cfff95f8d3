#!/usr/bin/env python3
"""What the analysis takes out of run files and archives. Run: python3 tests/analysis/test_load.py [-v]"""

import math
import sys
import tempfile
import unittest
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
from made_runs import PHASES, series, write_run  # noqa: E402

from analysis.load.collect import collect  # noqa: E402
from analysis.load.frame import COLUMNS, to_frame  # noqa: E402
from analysis.load.measure import Validation  # noqa: E402
from analysis.load.series import read_predictions, read_steps  # noqa: E402


class Fields(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.place = Path(folder.name)

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

    def test_frame(self):
        runs = [self.run_of(options={"rank": 8}, steps=series([0.1] * 20, forward_s=0.02)), self.run_of("b.h5", method="red", seed=2, memory=[5, 4])]
        frame = to_frame(runs)
        self.assertEqual(list(frame.columns[:len(COLUMNS)]), list(COLUMNS))
        self.assertEqual((list(frame["seed"]), list(frame["method.rank"].fillna("-"))), ([1, 2], ["8", "-"]))
        self.assertEqual((frame["forward_s"][0], frame["memory_bytes"][1], frame["memory_bytes"].isna()[0]), (0.02, 5, True))
        self.assertEqual(list(to_frame([]).columns), list(COLUMNS))


if __name__ == "__main__":
    tap.main()
