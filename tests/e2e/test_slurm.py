#!/usr/bin/python3
# timeout: 900
# needs: root slurm
"""The batch scripts of jobs/ on a real SLURM cluster of two nodes, made for the test (tests/slurm/README.md). Run: test_slurm.py [-v]

With a stand-in for the program where the scripts alone are meant: arrays, requeue, signals, dependencies, failures; then with the program itself.
"""

import os
import re
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
from harness import PROGRAM, attribute, environment, main, np, read, text, train  # noqa: E402
from slurm import Broken  # noqa: E402
from slurm_case import STANDIN, SlurmCase  # noqa: E402
from sweeps import SweepCase, series, table  # noqa: E402


def last_attempts(rows):
    """Of rows that count for a step the one of the last attempt, in the order of steps."""
    rows = np.sort(rows[rows["attempt"] > 0], order=["step", "attempt"])
    return rows[np.append(rows["step"][1:] != rows["step"][:-1], True)]


def most_at_once(notes):
    """Of tasks whose ranks note "start" and "end"."""
    steps = sorted((note.seconds, 1 if note.event == "start" else -1) for note in notes if note.event in ("start", "end"))
    running = most = 0
    for _, change in steps:
        running += change
        most = max(most, running)
    return most


class Arrays(SlurmCase):
    """sweep.sbatch."""
    ARRAY = 16

    def test_every_task_once_and_not_more_than_the_cap(self):
        job = self.submit_standin("sweep.sbatch", "some/study.yaml", "train.lr=1e-3", log="cap", options=["--array=0-5%2", "--ntasks=1"], STANDIN_MS="600")
        ends = self.slurm.wait_all(job)
        self.assertEqual({task: (end.state, end.status) for task, end in ends.items()}, {task: ("COMPLETED", 0) for task in range(6)}, self.said(job))
        starts = self.notes("cap", "start")
        self.assertEqual(sorted(note.task for note in starts), [str(task) for task in range(6)])
        self.assertEqual({note.text for note in starts}, {"sweep work some/study.yaml train.lr=1e-3"})
        self.assertEqual(most_at_once(self.notes("cap")), 2, "eight fit on the nodes, two are allowed")

    def test_one_group_of_ranks_for_each_task(self):
        """Five ranks are more than a node has CPUs: each task has its five, on both nodes."""
        job = self.submit_standin("sweep.sbatch", "study.yaml", log="group", options=["--array=3,7", "--ntasks=5"])
        self.assertEqual({end.state for end in self.slurm.wait_all(job).values()}, {"COMPLETED"}, self.said(job))
        starts = self.notes("group", "start")
        self.assertEqual(sorted((note.task, note.rank) for note in starts), [(task, rank) for task in "37" for rank in range(5)])
        self.assertEqual({len({note.host for note in starts if note.task == task}) for task in "37"}, {2})

    def test_a_stopped_task_alone_is_requeued(self):
        """Also the last one, whose job number is the array's own: with that number SLURM would start all of them again."""
        job = self.submit_standin("sweep.sbatch", "study.yaml", log="stopped", options=["--array=0-3", "--ntasks=1"], STANDIN_STOPS="1 3")
        ends = self.slurm.wait_all(job)
        self.assertEqual({task: (end.state, end.status) for task, end in ends.items()}, {task: ("COMPLETED", 0) for task in range(4)}, self.said(job))
        self.assertEqual({each["ArrayTaskId"]: each["Restarts"] for each in self.slurm.jobs(job)}, {"0": "0", "1": "1", "2": "0", "3": "1"})
        self.assertIn(job, {each["JobId"] for each in self.slurm.jobs(job) if each["Restarts"] == "1"})
        self.assertEqual(sorted((note.task, note.restarts, note.text) for note in self.notes("stopped", "end")),
                         [("0", 0, "0"), ("1", 0, "75"), ("1", 1, "0"), ("2", 0, "0"), ("3", 0, "75"), ("3", 1, "0")])
        said = self.said(f"{job}_1")
        self.assertIn(f"job {job}_1: stopped at a checkpoint, to be requeued: number 1 of at most 50", said)
        self.assertIn("start number 2", said)
        # In the file that SLURM writes of finished jobs, too: an array is known there after slurmctld forgot it.
        self.assertEqual(sum(f"ArrayJobId={job} ArrayTaskId=1 " in line for line in self.slurm.finished.read_text().splitlines()), 2)

    def test_a_failed_task_is_not_requeued(self):
        job = self.submit_standin("sweep.sbatch", "study.yaml", log="failed", options=["--array=5", "--ntasks=2"], STANDIN_STATUS="3")
        self.assertEqual([(end.state, end.status) for end in self.slurm.wait_all(job).values()], [("FAILED", 3)], self.said(job))
        self.assertEqual(self.slurm.job(f"{job}_5")["Restarts"], "0")
        self.assertIn("failed with exit status 3", self.said(job))

    def test_the_array_limit(self):
        """The largest number is one less than MaxArraySize."""
        job = self.submit_standin("sweep.sbatch", "study.yaml", log="limit", options=["--array=15", "--ntasks=1"])
        self.assertEqual([end.state for end in self.slurm.wait_all(job).values()], ["COMPLETED"], self.said(job))
        with self.assertRaisesRegex(Broken, "array"):
            self.submit_standin("sweep.sbatch", "study.yaml", log="limit", options=["--array=16", "--ntasks=1"])


class Ends(SlurmCase):
    """How jobs end, and what is told to whom."""
    BOTH = ["--nodes=2", "--ntasks-per-node=1"]

    def test_not_requeued_for_ever(self):
        job = self.submit_standin("train.sbatch", "a=b", log="for-ever", options=self.BOTH, STANDIN_STOPS="always", PEFTSCALE_MAX_REQUEUES="1")
        self.check_ended(job, "FAILED", 75)
        self.assertEqual(self.slurm.job(job)["Restarts"], "1")
        self.assertEqual(sorted((note.rank, note.restarts) for note in self.notes("for-ever", "end")), [(0, 0), (0, 1), (1, 0), (1, 1)])
        self.assertIn("requeued: number 1 of at most 1", self.said(job))
        self.assertIn("not requeued: that was done 1 times", self.said(job))

    def test_a_cancelled_job_stays_cancelled(self):
        """Its ranks are told and stop at a checkpoint, but that is no reason to come back."""
        job = self.submit_standin("train.sbatch", log="cancelled", options=self.BOTH, STANDIN_MS="60000")
        self.wait_for_notes(job, "cancelled", "start", 2)
        self.slurm.call("scancel", job)
        self.check_ended(job, "CANCELLED", 75)
        self.assertEqual(self.slurm.job(job)["Restarts"], "0")
        self.assertEqual({note.rank for note in self.notes("cancelled", "signal")}, {0, 1})
        self.assertEqual({note.text for note in self.notes("cancelled", "end")}, {"75"})
        self.assertIn("not requeued because the job was cancelled", self.said(job))

    def test_before_the_time_is_up(self):
        """Every rank on both nodes is told: by way of the batch script, and where SLURM tells the ranks itself (--signal without B:)."""
        jobs = {}
        for how in (("srun", "B:USR1@50"), ("srun", "USR1@50"), ("mpirun", "B:USR1@50")):
            jobs[how] = self.submit_standin("train.sbatch", log="time-" + "-".join(how), options=["--time=1", f"--signal={how[1]}", *self.BOTH], STANDIN_MS="90000",
                                            PEFTSCALE_MAX_REQUEUES="0", PEFTSCALE_LAUNCHER=how[0])
        for how, job in jobs.items():
            with self.subTest(how):
                self.check_ended(job, "FAILED", 75)
                signals = self.notes("time-" + "-".join(how), "signal")
                self.assertEqual({(note.rank, note.text) for note in signals}, {(0, "USR1"), (1, "USR1")}, self.said(job))
                self.assertEqual({note.host for note in signals}, set(self.slurm.hosts.hosts))

    def test_dependencies(self):
        """What waits for a success never starts after a failure, and is not left behind; what waits for an end starts."""
        bad = self.submit_standin("train.sbatch", log="bad", options=self.BOTH, STANDIN_STATUS="4", STANDIN_MS="1000")
        good = self.submit_standin("train.sbatch", log="good", options=self.BOTH, STANDIN_MS="1000")

        def after(dependency, log):
            return self.submit_standin("train.sbatch", log=log, options=["--ntasks=1", f"--dependency={dependency}", "--kill-on-invalid-dep=yes"])
        never, anyhow, then = after(f"afterok:{bad}", "never"), after(f"afterany:{bad}", "anyhow"), after(f"afterok:{good}", "then")
        self.check_ended(bad, "FAILED", 4)
        self.check_ended(good, "COMPLETED")
        self.check_ended(never, "CANCELLED")
        self.check_ended(anyhow, "COMPLETED")
        self.check_ended(then, "COMPLETED")
        self.assertEqual(self.notes("never"), [])
        for first, second in (("bad", "anyhow"), ("good", "then")):
            self.assertLess(max(note.seconds for note in self.notes(first, "end")), self.notes(second, "start")[0].seconds)

    def test_settings(self):
        """What PEFTSCALE_... variables and options of sbatch make of a rank's environment."""
        extra = ["SECOND", "OMPI_MCA_btl_tcp_if_include", "OMPI_MCA_oob_tcp_if_include", "LOADED", "FLAG", "SLURM_CPUS_PER_TASK", "SLURM_JOB_NUM_NODES"]
        # As sites' module systems do, the command is a function that the environment carries.
        module = {"BASH_FUNC_module%%": "() { [ $1 = load ] && shift && export LOADED=\"$*\"; }"}
        job = self.submit_standin("train.sbatch", log="settings", options=["--nodes=2", "--ntasks-per-node=2", "--cpus-per-task=2"], STANDIN_EXTRA=" ".join(extra), **module,
                                  PEFTSCALE_ENVIRONMENT="FIRST=1 SECOND=a=b", PEFTSCALE_INTERFACE="eth0", PEFTSCALE_MODULES="gcc/12 openmpi",
                                  PEFTSCALE_LAUNCHER_FLAGS="--export=ALL,FLAG=set")
        self.check_ended(job, "COMPLETED")
        seen = {(note.event, note.text) for note in self.notes("settings") if note.event in extra}
        self.assertEqual(seen, set(zip(extra, ["a=b", "eth0", "eth0", "gcc/12 openmpi", "set", "2", "2"])))
        self.assertEqual(len(self.notes("settings", "start")), 4)

    def test_wrong_settings(self):
        """One message that says what is wrong, before a rank starts."""
        for changes, message in (({"PEFTSCALE_ROOT": self.at("model")}, "set PEFTSCALE_ROOT"), ({"PEFTSCALE": self.at("none")}, f"there is no program {self.at('none')}"),
                                 ({"PEFTSCALE_ENVIRONMENT": "A=1 2B=3"}, "'2B=3' is not NAME=VALUE"), ({"PEFTSCALE_LAUNCHER": "aprun"}, "not 'aprun'"),
                                 ({"PEFTSCALE_MODULES": "no-such/1"}, "module")):
            with self.subTest(message):
                told = {"PEFTSCALE": STANDIN, **changes}
                job = self.submit("train.sbatch", options=["--ntasks=1"], program=told.pop("PEFTSCALE"), STANDIN_LOG=self.at("wrong"), **told)
                self.check_ended(job, "FAILED", 1)
                self.assertIn(message, self.said(job))
        self.assertEqual(self.notes("wrong"), [])
        job = self.submit_standin("sweep.sbatch", log="wrong", options=["--array=0", "--ntasks=1"])
        self.assertEqual([end.status for end in self.slurm.wait_all(job).values()], [1])
        self.assertIn("which study?", self.said(job))


class Program(SlurmCase):
    """The program itself."""
    BOTH = ["--nodes=2", "--ntasks-per-node=1"]

    def test_a_training_over_two_nodes(self):
        """Bit for bit what one rank on this machine makes, with either launcher."""
        settings = {"method": "lora", "reduce": "exact"}
        wanted = read(train(*self.settings("local", **settings)), "series/steps")["theta_hash"].tolist()
        jobs = {launcher: self.submit("train.sbatch", *self.settings(launcher, **settings), options=self.BOTH, PEFTSCALE_LAUNCHER=launcher) for launcher in ("srun", "mpirun")}
        for launcher, job in jobs.items():
            with self.subTest(launcher):
                self.check_ended(job, "COMPLETED")
                run = os.path.join(self.at("runs"), f"{launcher}.h5")
                self.assertEqual(read(run, "series/steps")["theta_hash"].tolist(), wanted)
                (attempt,) = read(run, "attempts")
                self.assertEqual((attempt["ranks"], attempt["nodes"], attribute(run, "provenance", "wire")), (2, 2, "tcp"))
                self.assertEqual((attribute(run, "provenance", "slurm_job_id"), attribute(run, "provenance", "slurm_restart_count")), (job, "0"))
                self.assertIn(text(attribute(run, "provenance", "host")), self.slurm.hosts.hosts)
                self.assertIn("training over 2 nodes, start number 1", self.said(job))

    def test_a_rank_that_dies(self):
        """The others do not wait for it for ever: after --wait seconds (a minute, if not said) the job fails."""
        endless = self.settings("dies", method="lora", train__steps="1000000", train__epochs="2")
        for victim in (0, 1):
            with self.subTest(victim=victim):
                job = self.submit("train.sbatch", *endless, options=self.BOTH, PEFTSCALE_LAUNCHER_FLAGS="--wait=3")
                self.wait_for(job, lambda _jobs: len(self.ranks(job)) == 2 and "epoch" in self.said(job), "a training of two ranks")
                os.kill(self.ranks(job)[victim], signal.SIGKILL)
                self.check_ended(job, "FAILED", 137)
                self.assertEqual(self.ranks(job), {})

    def ranks(self, job):
        """Process numbers of the program's ranks, by rank."""
        found = {}
        for pid in self.slurm.hosts.members(*self.slurm.hosts.hosts):
            try:
                if os.path.samefile(f"/proc/{pid}/exe", PROGRAM):
                    words = dict(word.split("=", 1) for word in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in word)
                    if words.get("SLURM_JOB_ID") == job:
                        found[int(words["PMIX_RANK"])] = pid
            except OSError:
                pass
        return found

    def test_sums_over_one_node_and_two(self):
        words = ["--models", "none", "--sizes", "4,64KiB", "--repetitions", "3"]
        job = self.submit("comm.sbatch", *words, options=["--nodes=2", "--ntasks-per-node=2"], PEFTSCALE_COMM_DIR=self.at("comm"))
        self.check_ended(job, "COMPLETED")
        self.assertEqual(sorted(os.listdir(self.at("comm"))), [f"comm-{job}-{count}nodes.h5" for count in (1, 2)])
        for count in (1, 2):
            file = os.path.join(self.at("comm"), f"comm-{job}-{count}nodes.h5")
            cases = read(file, "cases")
            self.assertEqual((set(cases["ranks"].tolist()), set(cases["nodes"].tolist())), ({2 * count}, {count}))
            self.assertEqual(sorted(set(cases["payload_bytes"].tolist())), [4, 65536])

    def test_a_table_when_all_has_ended(self):
        words = self.settings("for-a-table", method="lora", output__dir=self.at("table"))
        first = self.submit("train.sbatch", *words, options=["--ntasks=2"])
        second = self.submit("analysis.sbatch", self.at("table"), "--out-dir", self.at("table"), options=[f"--dependency=afterany:{first}", "--kill-on-invalid-dep=yes"])
        self.check_ended(first, "COMPLETED")
        self.check_ended(second, "COMPLETED")
        self.assertIn("lora", Path(self.at("table"), "table.md").read_text())

    def test_a_training_that_is_told_to_stop(self):
        """By SLURM to its ranks, or to the script that passes it on: a checkpoint in one step, a requeue, and the bits of a training that nobody stopped. Whichever
        launcher; and twice."""
        settings = {"method": "lora", "reduce": "exact", "train__steps": "1500", "train__warmup": "0", "train__evaluate_every": "500"}
        jobs = {launcher: self.submit("train.sbatch", *self.settings(f"told-{launcher}", **settings), options=self.BOTH, PEFTSCALE_LAUNCHER=launcher)
                for launcher in ("srun", "mpirun")}
        stops = 2
        for start in range(stops):
            for launcher, job in jobs.items():
                self.wait_for(job, lambda _jobs, job=job, seen=start + 1: "\nstep " in self.said(job).partition(f"start number {seen}")[2], "a training on its way")
            self.slurm.call("scancel", "--signal=USR1", jobs["srun"])
            self.slurm.call("scancel", "--signal=USR1", "--batch", jobs["mpirun"])
            for job in jobs.values():
                self.wait_for(job, lambda found, seen=start + 1: found[0]["Restarts"] == str(seen), "a requeue")
        wanted = read(train(*self.settings("not-told", **settings)), "series/steps")["theta_hash"].tolist()
        for launcher, job in jobs.items():
            with self.subTest(launcher):
                self.check_ended(job, "COMPLETED")
                run = os.path.join(self.at("runs"), f"told-{launcher}.h5")
                steps = last_attempts(read(run, "series/steps"))
                self.assertEqual(steps["theta_hash"].tolist(), wanted)
                self.assertEqual(len(read(run, "attempts")), stops + 1)
                self.assertEqual(self.said(job).count("to be requeued"), stops)
                self.assertFalse(any(name.startswith(f"told-{launcher}.h5.") for name in os.listdir(self.at("runs"))), "a checkpoint is left")


class Study(SlurmCase, SweepCase):
    """`sweep submit`: an array whose tasks take several runs each, requeued before their time is up, and the table behind it."""
    MACHINE = "scheduler: slurm\nlauncher: srun\ntime_limit: \"0:01:00\"\nsignal_s: 50\ninterface: eth0\ncores_per_node: 1\n"
    SETTLED_S = 16.0  # of one run: two in a row do not fit into the half minute in which SLURM looks which jobs are to be told

    def test_through_the_queue(self):
        """A study that needs more than the time limit: the bits and the table of `sweep run` here."""
        with open(self.at("machine.yaml"), "w", encoding="utf-8") as file:
            file.write(self.MACHINE)
        self.write("ranks: 2\ngrid:\n  method: [lora, red]\nseeds: [1]\n", epochs=self.epochs_of(self.SETTLED_S))
        out = self.slurm.call(PROGRAM, "sweep", "submit", self.study, "--results", self.results, "--machine", self.at("machine.yaml"), "--pack", "2",
                              changes=environment({"PYTHON": sys.executable}), directory=self.folder.name)
        job, after = re.findall(r"-> job (\d+)", out)
        here = os.path.join(self.study, "here")
        self.run_all("-j", "1", results=here)
        self.assertEqual([(end.state, end.status) for end in self.slurm.wait_all(job, 300).values()], [("COMPLETED", 0)], self.said(job))
        self.check_ended(after, "COMPLETED")
        self.assertGreaterEqual(int(self.slurm.job(f"{job}_0")["Restarts"]), 1, "the time limit stopped nothing")
        self.assertEqual(self.status()["counts"]["done"], 2)
        self.assertEqual(series(self.results), series(here))
        rows, wanted = table(self.results), table(here)
        for row in rows + wanted:
            row.pop("run_ids")  # two nodes are another execution than one
        self.assertEqual(rows, wanted)
        self.assertEqual(self.left_over(), [])
        attempts = [len(read(os.path.join(self.results, "runs", f"{name}.h5"), "attempts")) for name in self.files()]
        self.assertGreaterEqual(max(attempts), 2, "no run was stopped on its way")
        logs = Path(self.results, "logs")
        self.assertIn("lora", "".join(path.read_text() for path in logs.glob(f"*-table-{after}.log")))

    def epochs_of(self, seconds):
        """As many as a run may have here in that time."""
        began = time.monotonic()
        epochs = 200
        train(*self.settings("rate", method="lora", reduce="exact", shards="4", train__epochs=str(epochs)), ranks=2)
        return int(epochs * seconds / (time.monotonic() - began))


if __name__ == "__main__":
    main()
