#!/usr/bin/python3
# timeout: 300
# needs: root slurm
"""tests/slurm/slurm.py itself: what it starts, and that nothing of it stays behind. Run: test_slurm_tool.py [-v]"""

import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

SUPPORT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support")
sys.path.insert(0, SUPPORT)
import cluster  # noqa: E402
import slurm  # noqa: E402
import tap  # noqa: E402

TOOL = Path(SUPPORT).parent / "slurm" / "slurm.py"


def tool(*words, changes=None, **how):
    return subprocess.run([sys.executable, str(TOOL), *words], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, env={**os.environ, **(changes or {})},
                          **how)


def traces(tag):
    """All that is left of a cluster on this machine: files, namespaces, processes."""
    found = [path for folder in (cluster.NAMESPACES, cluster.ETC) for path in folder.glob(f"ps{tag}*")]
    found += [path for path in [cluster.STATES / tag] if path.exists()]
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if str(cluster.STATES / tag).encode() in (entry / "environ").read_bytes():
                found.append(entry)
        except OSError:
            pass
    return found


def of_the_machine():
    """The files of a SLURM and a munge that are not ours, with their times."""
    places = [Path(name) for name in ("/etc/slurm", "/etc/munge", "/run/munge", "/var/lib/slurm", "/var/log/slurm", "/var/lib/munge", "/var/log/munge", "/var/spool/slurm",
                                      "/run/slurm", "/run/slurmctld.pid", "/run/slurmd.pid")]
    return {path: path.stat().st_mtime_ns for place in places if place.exists() for path in [place, *place.rglob("*")]}


class Standing(unittest.TestCase):
    def test_two_at_once_beside_the_machines_own(self):
        """Each knows its own nodes and jobs; what the machine has in its folders stays as it is."""
        before = of_the_machine()
        with slurm.standing(2) as one, slurm.standing(3) as other:
            for made, count in ((one, 2), (other, 3)):
                self.assertEqual(made.call("sinfo", "--noheader", "--Node", "--format=%N").split(), [f"ps{made.tag}{number}" for number in range(1, count + 1)])
                names = made.call("srun", f"--nodes={count}", "--mpi=pmix", "hostname").split()
                self.assertEqual(sorted(names), made.hosts.hosts)
            job = one.sbatch("--output=/dev/null", "--wrap", "true")
            self.assertEqual(one.wait(job), slurm.Ended("COMPLETED", 0, 0))
            self.assertEqual([line.split()[0] for line in one.finished.read_text().splitlines()], ["JobId=1", "JobId=2"])  # srun's own, and this one
            self.assertEqual(len(other.finished.read_text().splitlines()), 1)
        for made in (one, other):
            self.assertEqual(traces(made.tag), [])
        self.assertEqual(of_the_machine(), before)

    def test_each_node_has_its_own_tmp(self):
        with tempfile.TemporaryDirectory(dir="/tmp", prefix="shared ") as shared, tempfile.NamedTemporaryFile(dir="/tmp") as hidden, slurm.standing(2, shared=[shared]) as made:
            Path(shared, "file").touch()
            script = f"touch /tmp/of-$SLURM_PROCID; touch '{shared}'/by-$SLURM_PROCID; ls -d /tmp/of-* '{shared}/file' '{hidden.name}' 2>/dev/null; true"
            seen = made.call("srun", "--nodes=2", "--label", "bash", "-c", script).splitlines()
            self.assertEqual(sorted(seen), sorted(line for rank in "01" for line in (f"{rank}: /tmp/of-{rank}", f"{rank}: {shared}/file")))
            self.assertEqual(sorted(os.listdir(shared)), ["by-0", "by-1", "file"])
            self.assertFalse(any(Path("/tmp").glob("of-[01]")))
            made.destroy()
            self.assertEqual(sorted(os.listdir(shared)), ["by-0", "by-1", "file"], "what nodes see is not removed with them")

    def test_by_hand(self):
        """up, run, list, down; and a job that still runs goes with its cluster."""
        done = tool("up", "--owner", str(os.getpid()))
        self.assertEqual(done.returncode, 0, done)
        tag = done.stdout.strip()
        self.addCleanup(tool, "--tag", tag, "down")
        self.assertIn(f"{tag}\t2\t", tool("list").stdout)
        # A job that this process may be part of is another cluster's.
        done = tool("--tag", tag, "run", "srun", "--nodes=2", "bash", "-c", "echo $SLURM_JOB_ID", changes={"SLURM_JOB_ID": "77", "SLURM_JOBID": "77", "SBATCH_PARTITION": "none"})
        self.assertEqual((done.returncode, done.stdout), (0, "1\n1\n"), done)
        stubborn = "trap '' TERM; while :; do sleep 0.1; done"
        self.assertEqual(tool("run", "sbatch", "--output=/dev/null", "--wrap", f"{stubborn} & srun bash -c \"{stubborn}\"", changes={"PEFTSCALE_CLUSTER": tag}).returncode, 0)
        made = slurm.Slurm(tag)
        made.wait_for("2", lambda jobs: jobs[0]["JobState"] == "RUNNING", "a start")
        time.sleep(1)
        self.assertEqual(tool("--tag", tag, "down").returncode, 0)
        self.assertEqual(traces(tag), [])
        self.assertNotIn(tag, tool("list").stdout)
        self.assertEqual(tool("--tag", tag, "down").returncode, 1, "what is gone cannot be taken down")

    def test_a_command_on_the_login_node(self):
        done = tool("with", "2", "--", "bash", "-c", "echo $PEFTSCALE_CLUSTER; srun --nodes=2 hostname; exit 5")
        tag, *names = done.stdout.split()
        self.assertEqual((done.returncode, sorted(names)), (5, [f"ps{tag}1", f"ps{tag}2"]), done)
        self.assertEqual(traces(tag), [])


class NothingStays(unittest.TestCase):
    def test_a_process_that_ends(self):
        """By a signal that it is told of: at once. By SIGKILL, when clean is called; not while its owner lives."""
        script = f"import sys; sys.path.insert(0, {SUPPORT!r})\nimport slurm, time\nmade = slurm.create(2)\nprint(made.tag, flush=True)\ntime.sleep(1000)\n"
        for how in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            with self.subTest(how=how):
                process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
                self.addCleanup(process.kill)
                tag = process.stdout.readline().strip()
                self.assertTrue(tag)
                self.assertNotIn(tag, tool("clean").stdout.split())
                process.send_signal(how)
                process.communicate(timeout=30)
                if how == signal.SIGKILL:
                    self.assertNotEqual(traces(tag), [])
                    self.assertIn(tag, tool("clean").stdout.split())
                self.assertEqual(traces(tag), [])

    def test_a_command_that_is_interrupted(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            process = subprocess.Popen([sys.executable, str(TOOL), "with", "bash", "-c", "echo $PEFTSCALE_CLUSTER; exec sleep 1000"], stdout=subprocess.PIPE, text=True)
            self.addCleanup(process.kill)
            tag = process.stdout.readline().strip()
            process.send_signal(number)
            self.assertEqual(process.wait(30), 128 + number)
            self.assertEqual(traces(tag), [])

    def test_a_start_that_fails(self):
        """One message with the daemon's last words, and what was made before is removed."""
        before = set(cluster.tags())
        for daemon in ("munged", "slurmctld", "slurmd"):
            with self.subTest(daemon), tempfile.TemporaryDirectory(dir="/var/tmp") as folder:  # nodes see no file of /tmp
                fake = Path(folder, daemon)
                fake.write_text("#!/bin/sh\necho first; echo no such luck >&2; exit 1\n")
                fake.chmod(0o755)
                done = tool("up", changes={"PATH": f"{folder}:{os.environ['PATH']}"})
                self.assertEqual((done.returncode, done.stderr.count("\n")), (1, 1), done)
                self.assertIn("no such luck", done.stderr)
                self.assertEqual(set(cluster.tags()) - before, set())

    def test_what_is_missing_is_said(self):
        """With an empty file, which cannot be run, in the place of a program; and with an srun that knows no PMIx."""
        for program, package in slurm.PROGRAMS.items():
            path = subprocess.run(["bash", "-c", f"PATH=$PATH:/usr/sbin; readlink -f $(type -P {program})"], capture_output=True, text=True, check=True).stdout.strip()
            done = subprocess.run(["unshare", "--mount", "bash", "-c", 'mount --bind /dev/null "$1"; exec "${@:2}"', "hide", path, sys.executable, str(TOOL), "up"],
                                  capture_output=True, text=True, timeout=60)
            self.assertEqual((done.returncode, done.stdout.count("\n")), (77, 1), done)
            self.assertIn(f"{program} (Debian: {package})", done.stdout)
        with tempfile.TemporaryDirectory() as folder:
            fake = Path(folder, "srun")
            fake.write_text("#!/bin/sh\necho none pmi2\n")
            fake.chmod(0o755)
            done = tool("check", changes={"PATH": f"{folder}:{os.environ['PATH']}"})
            self.assertEqual(done.returncode, 77, done)
            self.assertIn("srun --mpi=pmix", done.stdout)

    def test_wrong_words(self):
        for words in (["up", "x"], ["up", "1"], ["up", "9"], ["up", "2", "3"], ["up", "--share", "/no/such/folder"], ["up", "--owner"], ["fly"], ["with", "2"], ["run"],
                      ["--tag", "nosuch", "run", "true"], ["--tag", "nosuch", "down"]):
            before = set(cluster.tags())
            done = tool(*words)
            self.assertIn(done.returncode, (1, 2), f"{words}: {done}")
            self.assertEqual(done.stderr.count("\n"), 1, f"{words}: {done.stderr}")
            self.assertEqual(set(cluster.tags()), before)
        with cluster.standing(2) as hosts:
            self.assertEqual(tool("--tag", hosts.tag, "down").returncode, 1, "hosts without SLURM are another tool's")
            self.assertTrue((hosts.folder / "state").exists())


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background ignore it, and so would all that is started here
    lack = slurm.find_lack()
    if lack:
        print(f"skipped: {lack}")
        sys.exit(77)
    tap.main()
