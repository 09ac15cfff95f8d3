#!/usr/bin/env python3
"""What is seen of trainings that run, were killed, were told to stop, or failed. Run: python3 tests/analysis/test_live.py [-v]"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import harness  # noqa: E402
import numpy as np  # noqa: E402

from analysis.load.allowed import ALLOWED  # noqa: E402
from analysis.load.collect import collect  # noqa: E402
from analysis.load.hdf5 import Unusable  # noqa: E402
from analysis.load.live import COMPLETE, FAILED, KILLED, RUNNING, STOPPED, find_lock, read_live  # noqa: E402

STEPS = 100_000  # more than are ever made
WAIT_S = 40


class Live(harness.Case):
    def setUp(self):
        self.name = self.id().rpartition(".")[2]
        self.final = Path(self.at("runs"), f"{self.name}.h5")
        self.partial = Path(f"{self.final}.partial")

    def begin(self, **changed):
        """A training that is at work when this returns."""
        words = self.settings(self.name, **{"method": "lora", "train__epochs": "1", "train__steps": str(STEPS), "train__evaluate_every": "20", **changed})
        process = subprocess.Popen(harness.command("train", "--quiet", *words), env=harness.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True, start_new_session=True)
        self.addCleanup(process.stderr.close)
        self.addCleanup(self.end, process)
        self.process = process
        return process

    @staticmethod
    def end(process):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def until(self, is_so):
        """Looks again and again; the last look."""
        deadline = time.monotonic() + WAIT_S
        reason = "nothing seen"
        while time.monotonic() < deadline:
            try:
                live = read_live(self.final)
                if is_so(live):
                    return live
                reason = str(live)[:2000]
            except Unusable as error:
                reason = str(error)
                if self.process.poll() is not None:
                    break
            time.sleep(0.05)
        said = "" if self.process.poll() is None else self.process.stderr.read()
        raise AssertionError(f"not within {WAIT_S} s: {reason}\n{said}")

    def test_running_then_killed(self):
        process = self.begin()
        first = self.until(lambda live: live.step >= 30 and live.validations)
        self.assertEqual((first.state, first.status, first.locked, first.path), (RUNNING, "running", True, self.partial))
        self.assertTrue(first.holder.startswith(f"process {process.pid} on {os.uname().nodename} since 20"), first.holder)
        self.assertEqual((first.planned, first.ranks, first.threads, first.nodes, first.attempt, first.seed), (STEPS, 1, 1, 1, 1, 1))
        self.assertEqual((list(first.steps), len(first.losses)), (list(range(1, first.step + 1)), first.step))
        self.assertTrue(np.isfinite(first.losses).all())
        self.assertEqual([each.step for each in first.validations], list(range(20, first.validations[-1].step + 1, 20)))
        self.assertTrue(first.step_s > 0 and first.tokens_per_s > 0 and 0 <= first.communication_share <= 1 and first.left_s > 0)
        self.assertLess(abs(first.left_s - (STEPS - first.step) * first.step_s), 1e-6 * first.left_s)
        later = self.until(lambda live: live.step > first.step)
        self.assertEqual((list(later.losses[:first.step]), later.validations[:len(first.validations)]), (list(first.losses), first.validations))
        self.assertGreaterEqual(later.updated, first.updated)
        collection = collect([self.partial])
        self.assertEqual((collection.runs, [reason for _, reason in collection.left_out]), ([], ["not finished (still running, stopped or failed)"]))

        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        killed = self.until(lambda live: live.state == KILLED)
        self.assertEqual((killed.status, killed.locked, killed.holder), ("running", False, ""), killed.holder)
        self.assertGreaterEqual(killed.step, later.step)
        self.assertEqual(list(killed.losses[:later.step]), list(later.losses))
        self.assertEqual(list(killed.steps), list(range(1, killed.step + 1)))

    def test_many_looks_do_not_disturb(self):
        """Each look is at whole rows, and the run ends as if nobody had looked."""
        process = self.begin(train__steps="400")
        looks = []
        while process.poll() is None:
            try:
                looks.append(read_live(self.final))
            except Unusable as reason:
                self.assertIn("cannot be opened", str(reason))  # not begun yet
                time.sleep(0.02)
        self.assertEqual(process.returncode, 0, process.stderr.read())
        self.assertGreater(len(looks), 3)
        for live in looks:
            self.assertIn(live.state, (RUNNING, COMPLETE))
            self.assertEqual(list(live.steps), list(range(1, live.step + 1)))
            self.assertTrue((np.isfinite(live.losses) & (live.losses > 0)).all())
        last = read_live(self.partial)
        self.assertEqual((last.state, last.path, last.step, last.left_s), (COMPLETE, self.final, 400, 0.0))
        (run,) = collect([self.final], allow=frozenset(ALLOWED)).runs  # other work may well disturb it
        self.assertEqual((run.invalid, run.steps), ("", 400))
        self.assertEqual(run.validations, last.validations)

    def test_stopped_goes_on(self):
        self.begin(train__steps="300")
        self.until(lambda live: live.step >= 25)
        os.kill(self.process.pid, signal.SIGTERM)
        self.process.wait()
        stopped = self.until(lambda live: live.state != RUNNING)
        self.assertEqual((stopped.state, stopped.locked, stopped.attempt), (STOPPED, False, 1))
        self.assertTrue(stopped.status.startswith("stopped: "), stopped.status)
        self.begin(train__steps="300").wait()
        done = read_live(self.final)
        self.assertEqual((done.state, done.attempt, done.step, list(done.steps)), (COMPLETE, 2, 300, list(range(1, 301))))
        self.assertEqual(list(done.losses[:stopped.step]), list(stopped.losses))
        (run,) = collect([self.final], allow=frozenset(ALLOWED)).runs  # other work may well disturb it
        self.assertEqual((run.invalid, run.steps, run.validations), ("", 300, done.validations))

    def test_failed(self):
        self.begin(method="full", train__lr="1000", train__lr_head="1000", train__decay="100", train__warmup="0", train__steps="40").wait()
        failed = read_live(self.final)
        self.assertEqual((failed.state, failed.locked), (FAILED, False))
        self.assertIn("diverged", failed.status)

    def test_rows_that_were_never_filled(self):
        """A writer that is killed between growing a table and filling it leaves zeros."""
        harness.train("method=lora", *self.settings(self.name))
        with harness.h5py.File(shutil.copy(self.final, self.partial), "r+") as file:
            file.attrs["status"] = np.bytes_("running")
            steps = file["series/steps"]
            count = len(steps)
            for table in (steps, file["evaluation"]):
                table.resize((len(table) + 2,))
        self.final.unlink()
        live = read_live(self.partial)
        self.assertEqual((live.state, live.step, len(live.losses), live.validations[-1].step), (KILLED, count, count, count))

    def test_locks_of_others(self):
        partial = Path(self.at("x.h5.partial"))
        lock = Path(f"{partial}.lock")
        self.assertEqual(find_lock(partial), (False, ""))
        lock.write_text("process 12 on a-host-far-away since 2024-01-01T00:00:00Z")
        self.assertEqual(find_lock(partial), (None, "process 12 on a-host-far-away since 2024-01-01T00:00:00Z"))
        lock.write_text(f"process 12 on {os.uname().nodename} since 2024-01-01T00:00:00Z")
        self.assertEqual(find_lock(partial), (False, ""))
        lock.write_bytes(b"\xff\x1b[2J")
        self.assertEqual(find_lock(partial), (False, ""))

    def test_what_is_no_run(self):
        for name, make, words in (("none.h5", lambda path: None, "cannot be opened: No such file or directory"),
                                  ("text.h5.partial", lambda path: path.write_text("text"), "broken: not a whole HDF5 file"),
                                  ("empty.h5.partial", lambda path: path.touch(), "broken: not a whole HDF5 file"),
                                  ("folder.h5.partial", Path.mkdir, "a folder, not a file"),
                                  ("pipe.h5.partial", os.mkfifo, "not a file: a pipe"),
                                  ("link.h5.partial", lambda path: path.symlink_to("nowhere"), "cannot be opened: No such file or directory")):
            path = Path(self.at(name))
            make(path)
            with self.subTest(name), self.assertRaises(Unusable) as caught:
                read_live(path)
            self.assertIn(words, str(caught.exception))


if __name__ == "__main__":
    harness.main()
