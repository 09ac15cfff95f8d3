#!/usr/bin/python3
# timeout: 900
# needs: long
"""A sweep that is killed hard at a random moment (the sweep, mpirun, a rank, or all at once) and started again does exactly the runs that were missing, and its
table is that of an uninterrupted one. Run: test_sweep_kill.py [-v]

SWEEP_KILLS: how often (20); SWEEP_SEED: of the random moments (drawn; printed with a failure).
"""

import os
import random
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
import harness  # noqa: E402
from harness import attribute, command, environment, main  # noqa: E402
from sweeps import SweepCase, series, table  # noqa: E402

KILLS = int(os.environ.get("SWEEP_KILLS", "20"))
SEED = int(os.environ.get("SWEEP_SEED", random.SystemRandom().randrange(1 << 30)))
STUDY = """grid:
  method: [lora, red, full]
seeds: [1, 2]
tune:
  key: train.lr
  values: [1e-3, 1e-2]
  set: {train.epochs: 15}
  seed: 1
"""


def descendants(pid):
    """{pid: command line} of all processes below one."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    words = file.read().decode(errors="replace").split("\0")
            except OSError:
                continue
            children.setdefault(parent, []).append((int(entry), words))
    found, left = {}, [pid]
    while left:
        for child, words in children.get(left.pop(), []):
            found[child] = words
            left.append(child)
    return found


def end(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


class Killed(SweepCase):
    def start(self, results):
        return subprocess.Popen(command("sweep", "run", self.study, "--results", results, "--no-table"), env=environment(), cwd=harness.ROOT, stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)

    def kill(self, process, whom):
        """Whom it met: there may be no rank or mpirun yet."""
        below = descendants(process.pid)
        ranks = [pid for pid, words in below.items() if words and os.path.basename(words[0]) == "peftscale"]
        launchers = [pid for pid, words in below.items() if words and os.path.basename(words[0]).startswith("mpirun")]
        if whom == "rank" and ranks:
            end(random.choice(ranks))
        elif whom == "mpirun" and launchers:
            end(random.choice(launchers))
        elif whom == "all":
            for pid in [process.pid, *launchers, *ranks]:
                end(pid)
        else:
            end(process.pid)
            return "sweep"
        return whom

    def test_killed_at_random_moments(self):
        print(f"SWEEP_SEED={SEED}", flush=True)
        random.seed(SEED)
        self.write(STUDY, epochs=25)
        whole = os.path.join(self.study, "whole")
        began = time.monotonic()
        self.run_all(results=whole)
        length = time.monotonic() - began
        wanted, rows = series(whole), table(whole)
        self.assertEqual(len(wanted), 12)
        self.assertGreater(len(rows), 2)
        interrupted = 0
        for number in range(KILLS):
            whom = ("sweep", "rank", "mpirun", "all")[number % 4]
            moment = random.uniform(0, length)
            with self.subTest(number=number, whom=whom, moment=f"{moment:.2f} of {length:.2f} s", seed=SEED):
                results = os.path.join(self.study, f"results-{number}")
                process = self.start(results)
                try:
                    process.wait(moment)
                except subprocess.TimeoutExpired:
                    whom = self.kill(process, whom)
                    interrupted += 1
                if whom in ("sweep", "all"):
                    process.wait(30)
                else:  # the sweep itself lives, and sees to it
                    self.assertEqual(process.wait(120), 0)
                before = self.files(results)
                self.run_all(results=results)
                after = self.files(results)
                self.assertEqual({name: after[name] for name in before}, before, "a finished run was done again")
                self.assertEqual(series(results), wanted)
                self.assertEqual(table(results), rows)
                self.assertEqual(self.left_over(results), [])
                for name in after:
                    self.assertEqual(attribute(os.path.join(results, "runs", name + ".h5"), "", "status"), "complete")
        self.assertGreater(interrupted, KILLS / 2)


if __name__ == "__main__":
    main()
