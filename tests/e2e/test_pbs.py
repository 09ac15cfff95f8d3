#!/usr/bin/python3
"""The batch scripts of jobs/ for PBS, with stand-ins for PBS's commands, mpirun and the program: what they call with which words, and how they end. A real PBS may
differ. Run: test_pbs.py [-v]"""

import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/support"))
import tap  # noqa: E402

JOB = "12[3].server"
NODES = "one one two two three three".split()
# Each notes in the file "calls" of the job's folder how it was called.
COMMANDS = {
    "qstat": r'printf "Job Id: $2\n    run_count = $STARTS\n    Resource_List.walltime = $LIMIT\n"',
    "qrerun": 'echo "qrerun $*" >>calls',
    # Notes the hosts instead of the name of their file, and becomes the program: one rank.
    "mpirun": 'while [ "$1" != "$PEFTSCALE" ]; do case $1 in /*) words+=($(cat "$1")) ;; *) words+=($1) ;; esac; shift; done\necho "mpirun ${words[*]}" >>calls\nexec "$@"',
    # Works for ten seconds, or ends with $STATUS. Told to stop it ends with 75.
    "peftscale": 'trap "exit 75" USR1\necho "peftscale $*" >>calls\n[ -z "$STATUS" ] || exit $STATUS\nfor i in $(seq 200); do sleep 0.05; done',
}


class Scripts(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="peftscale-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / "bin").mkdir()
        for name, text in COMMANDS.items():
            (self.folder / "bin" / name).write_text(f"#!/bin/bash\n{text}\n")
            (self.folder / "bin" / name).chmod(0o755)
        (self.folder / "nodes").write_text("".join(f"{node}\n" for node in NODES))

    def start(self, script, *words, **changes):
        environment = {**os.environ, "PATH": f"{self.folder}/bin:{os.environ['PATH']}", "PBS_JOBID": JOB, "PBS_O_WORKDIR": str(self.folder), "LIMIT": "10:00:00", "STARTS": "1",
                       "PBS_NODEFILE": str(self.folder / "nodes"), "PEFTSCALE": str(self.folder / "bin/peftscale"), "PEFTSCALE_ROOT": str(ROOT), "STATUS": "", **changes}
        return subprocess.Popen(["bash", str(ROOT / "jobs" / script), *words], cwd="/", env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True)

    def run_to_end(self, script, *words, **changes):
        """The exit status and what was printed."""
        process = self.start(script, *words, **changes)
        said = process.communicate(timeout=60)[0]
        return process.returncode, said

    def calls(self):
        file = self.folder / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def test_words(self):
        """From the variable, or behind the script; all ranks on all nodes."""
        for words, variable in (([], "a=1 b=2"), (["a=1", "b=2"], "")):
            status, said = self.run_to_end("train.pbs", *words, PEFTSCALE_WORDS=variable, STATUS="0", PEFTSCALE_LAUNCHER_FLAGS="--bind-to core")
            self.assertEqual(status, 0, said)
            self.assertEqual(self.calls()[-2:], [f"mpirun --bind-to core --hostfile {' '.join(NODES)} -np 6", "peftscale train a=1 b=2"])
            self.assertIn("training over 3 nodes: a=1 b=2", said)
        self.assertEqual(self.run_to_end("sweep.pbs", "study.yaml", STATUS="0")[0], 0)
        self.assertEqual(self.calls()[-1], "peftscale sweep work study.yaml")
        status, said = self.run_to_end("sweep.pbs")
        self.assertEqual(status, 1)
        self.assertIn("which study?", said)

    def test_sums_over_one_node_and_more(self):
        status, said = self.run_to_end("comm.pbs", "--sizes", "4", STATUS="0", PEFTSCALE_COMM_DIR="out")
        self.assertEqual(status, 0, said)
        self.assertEqual([call for call in self.calls() if call.startswith("mpirun")], [f"mpirun --hostfile {' '.join(NODES[:ranks])} -np {ranks}" for ranks in (2, 4, 6)])
        self.assertEqual([call for call in self.calls() if call.startswith("peftscale")],
                         [f"peftscale comm --out out/comm-12[3]-{count}nodes.h5 --sizes 4" for count in (1, 2, 3)])
        self.assertEqual(self.run_to_end("comm.pbs", STATUS="5")[0], 5)

    def test_told_in_time_and_requeued(self):
        status, said = self.run_to_end("train.pbs", "a=1", LIMIT="00:00:03", PEFTSCALE_SIGNAL_S="2")
        self.assertEqual(status, 75, said)
        self.assertEqual(self.calls()[-1], f"qrerun {JOB}")
        self.assertIn("to be requeued: number 1 of at most 50", said)

    def test_not_requeued(self):
        """After too many times, after another failure, and when PBS ends the job."""
        status, said = self.run_to_end("train.pbs", "a=1", STATUS="75", STARTS="4", PEFTSCALE_MAX_REQUEUES="3")
        self.assertEqual((status, "not requeued: that was done 3 times" in said), (75, True), said)
        status, said = self.run_to_end("train.pbs", "a=1", STATUS="4")
        self.assertEqual((status, "failed with exit status 4" in said), (4, True), said)
        process = self.start("train.pbs", "a=1")
        until = time.monotonic() + 30
        while len(self.calls()) < 6:
            self.assertLess(time.monotonic(), until, "the program was not started")
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=60)[0]
        self.assertEqual((process.returncode, "not requeued because PBS ended the job" in said), (75, True), said)
        self.assertFalse(any(call.startswith("qrerun") for call in self.calls()))

    def test_a_table(self):
        """With a study: its index first."""
        fake = self.folder / "bin/python3"
        fake.write_text('#!/bin/bash\n[ "$1" = -c ] || echo "python3 $* in $PYTHONPATH" >>calls\n')
        fake.chmod(0o755)
        status, said = self.run_to_end("analysis.pbs", "my study", "seed=1", "--", "--study", "results/x", STATUS="1", PYTHON=str(fake), PYTHONPATH="")
        self.assertEqual(status, 0, said)
        self.assertEqual(self.calls(), ["peftscale sweep status my study seed=1", f"python3 -m analysis table --study results/x in {ROOT}"])


if __name__ == "__main__":
    tap.main()
