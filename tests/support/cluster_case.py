"""Tests of the whole program on several hosts: a cluster for each class, and trainings across it."""

import json
import subprocess
import sys
import time
from pathlib import Path

import cluster
from harness import OPEN_MPI, PROGRAM, ROOT, Case, call, environment, run_files

TIMEOUT_S = 120

# The script that imports this is skipped as a whole where no hosts can be made.
lack = cluster.find_lack() or ("" if OPEN_MPI else "needs a program built with Open MPI, whose mpirun the hosts are started with")
if lack:
    print(f"skipped: {lack}")
    sys.exit(77)


class ClusterCase(Case):
    HOSTS = 3

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.hosts = cluster.create(cls.HOSTS)
        cls.addClassCleanup(cls.hosts.destroy)

    @classmethod
    def call(cls, ranks, *words, slots=1, flags=(), changes=None, timeout_s=TIMEOUT_S):
        """Runs the program with that many ranks, `slots` on each host, as far as they go round."""
        return call(cls.hosts.mpirun("-np", str(ranks), *flags, PROGRAM, *words, slots=slots), changes, timeout_s)

    @classmethod
    def train(cls, ranks, *settings, **how):
        """Trains across the hosts and returns the path of the run file."""
        outcome = cls.call(ranks, "train", "--json", "--quiet", *settings, **how)
        if outcome.status:
            raise AssertionError(f"failed: {outcome}")
        return json.loads(outcome.out)["run"]

    def start(self, ranks, *words):
        """Starts the program and leaves it running; it does not outlive the test."""
        process = subprocess.Popen(self.hosts.mpirun("-np", str(ranks), PROGRAM, *words), cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        self.addCleanup(self.hosts.end_members)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def ranks_on(self, host):
        """The process numbers of the program's ranks on a host."""
        def is_rank(pid):
            try:
                return Path(f"/proc/{pid}/exe").readlink() == Path(PROGRAM).resolve()
            except OSError:
                return False
        return [pid for pid in self.hosts.members(host) if is_rank(pid)]

    def wait_until(self, what, condition, seconds=TIMEOUT_S):
        until = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), until, f"{what}: not within {seconds} s")
            time.sleep(0.05)

    @staticmethod
    def partial(directory):
        """The run file that is on its way in a directory, or nothing."""
        return next((path for path in run_files(directory)[1] if path.endswith(".partial")), None)
