#!/usr/bin/python3
# timeout: 300
# needs: root
"""tests/cluster/hosts.py itself: what it makes, shapes and counts, and that nothing of it stays behind. Run: test_hosts.py [-v]"""

import os
import shutil
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
import tap  # noqa: E402
import verbs  # noqa: E402

HOSTS = Path(SUPPORT).parent / "cluster" / "hosts.py"
RECEIVE = "import socket\ns = socket.create_server(('', 5001)); print('ready', flush=True); c = s.accept()[0]\nwhile c.recv(1 << 16): pass\nc.sendall(b'!')"
SEND = """import socket, sys, time
c = socket.create_connection((sys.argv[1], 5001)); start = time.monotonic()
c.sendall(bytes(int(sys.argv[2]))); c.shutdown(socket.SHUT_WR); c.recv(1); print(time.monotonic() - start)"""


def hosts(*words, changes=None, **how):
    environment = {**os.environ, **(changes or {})}
    return subprocess.run([sys.executable, str(HOSTS), *words], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, env=environment, **how)


def traces(tag):
    """All that is left of a cluster on this machine."""
    named = [path for folder in (cluster.NAMESPACES, cluster.ETC) for path in folder.glob(f"ps{tag}*")]
    return named + [path for path in [cluster.STATES / tag] if path.exists()]


class Standing(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.made = cluster.create(3)
        cls.addClassCleanup(cls.made.destroy)

    def on(self, host, *words, **how):
        return subprocess.run(self.made.enter(host, *words), capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=True, **how).stdout

    def send(self, count):
        """From the first host to the second: seconds."""
        receiver = subprocess.Popen(self.made.enter(self.made.hosts[1], sys.executable, "-c", RECEIVE), stdout=subprocess.PIPE, text=True)
        self.assertEqual(receiver.stdout.readline(), "ready\n")
        seconds = float(self.on(self.made.hosts[0], sys.executable, "-c", SEND, self.made.hosts[1], str(count)))
        receiver.communicate(timeout=30)
        return seconds

    def test_each_host_is_its_own(self):
        for host in self.made.hosts:
            self.assertEqual(self.on(host, "hostname"), f"{host}\n")
            self.assertIn(f"{self.made.address(host)}/24", self.on(host, "ip", "-4", "addr", "show", "dev", cluster.LINK))
            for other in self.made.hosts:
                self.assertEqual(self.on(host, "getent", "hosts", other).split()[:2], [self.made.address(other), other])
        self.assertNotIn(str(self.made.subnet[1]), subprocess.run(["ip", "addr"], capture_output=True, text=True).stdout)

    def test_the_environment_reaches_every_rank(self):
        """Also words that a shell would take apart."""
        given = {"OPENBLAS_CORETYPE": "Haswell", "OMPI_MCA_mpi_yield_when_idle": "1", "PEFTSCALE_ASSETS": "/no where/$HOME", "TAG": "a'b\"c"}
        script = "import os, socket; print(repr((socket.gethostname(), [os.environ.get(n) for n in %r])) + chr(10), end='', flush=True)" % list(given)
        environment = {**os.environ, **given, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        done = subprocess.run(self.made.mpirun("-np", "6", sys.executable, "-c", script, slots=2), capture_output=True, text=True, timeout=60, env=environment)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(sorted(done.stdout.splitlines()), sorted(repr((host, list(given.values()))) for host in self.made.hosts for _ in range(2)))

    def test_counters_and_rates(self):
        """A link never gives more than its rate (less the burst of 8 kB that it may begin with), and counts what went over it."""
        count = 1_500_000
        ideal = {}
        for rate, bits_per_s in (("10mbit", 10e6), ("50mbit", 50e6), ("unshaped", None), ("20mbit", 20e6)):
            with self.subTest(rate=rate):
                self.made.set_rate(rate)
                before = self.made.counters()
                seconds = self.send(count)
                moved = {host: values - before[host] for host, values in self.made.counters().items()}
                sender, receiver, idle = (moved[host] for host in self.made.hosts)
                self.assertGreater(sender.tx_bytes, count)
                self.assertLess(sender.tx_bytes - 66 * sender.tx_packets, 1.01 * count + 66 * 20 + 1514 * sender.retransmits)
                self.assertGreater(receiver.rx_bytes, count)
                self.assertLess(idle.tx_bytes, 5000)
                if bits_per_s:
                    ideal[rate] = 8 * (count - 2 * 65536) / bits_per_s
                    self.assertGreater(seconds, ideal[rate])
                else:
                    self.assertLess(seconds, ideal["10mbit"], "an unshaped link is as slow as one of 10 Mbit/s")

    def test_a_pulled_cable(self):
        first, second = self.made.hosts[:2]
        probe = ["bash", "-c", f"timeout 2 bash -c 'exec 3<>/dev/tcp/{second}/9' 2>&1; true"]
        self.assertIn("refused", self.on(first, *probe))
        self.made.set_link(second, False)
        try:
            self.assertNotIn("refused", self.on(first, *probe))
        finally:
            self.made.set_link(second, True)
        self.assertIn("refused", self.on(first, *probe))

    def test_files_of_a_host(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("one", "two"):
                Path(folder, name).write_text(name)
            self.made.mount(self.made.hosts[1], f"{folder}/two", f"{folder}/one")
            try:
                self.assertEqual([self.on(host, "cat", f"{folder}/one") for host in self.made.hosts], ["one", "two", "one"])
                self.assertEqual(Path(folder, "one").read_text(), "one")
            finally:
                self.made.unmount(self.made.hosts[1])
            self.assertEqual(self.on(self.made.hosts[1], "cat", f"{folder}/one"), "one")

    def test_two_at_once(self):
        with cluster.standing(2) as other:
            self.assertFalse(set(self.made.hosts) & set(other.hosts))
            self.assertFalse(self.made.subnet.overlaps(other.subnet))
            self.assertEqual(subprocess.run(other.enter(other.hosts[0], "hostname"), capture_output=True, text=True).stdout, f"{other.hosts[0]}\n")
        self.assertEqual(traces(other.tag), [])
        self.assertEqual(self.on(self.made.hosts[2], "hostname"), f"{self.made.hosts[2]}\n")


class NothingStays(unittest.TestCase):
    def make(self, *words):
        done = hosts("up", "2", *words)
        self.assertEqual(done.returncode, 0, done.stderr)
        tag = done.stdout.strip()
        self.addCleanup(hosts, "--tag", tag, "down")
        self.assertEqual(len(traces(tag)), 6)
        return tag

    def test_down_ends_what_runs_there(self):
        tag = self.make()
        stubborn = subprocess.Popen([sys.executable, str(HOSTS), "--tag", tag, "on", "2", "bash", "-c", "trap '' TERM; while :; do sleep 1; done"])
        self.addCleanup(stubborn.kill)
        made = cluster.Cluster(tag)
        while not made.members(made.hosts[1]):
            time.sleep(0.02)
        time.sleep(0.3)
        self.assertEqual(hosts("--tag", tag, "down").returncode, 0)
        self.assertEqual(traces(tag), [])
        self.assertNotEqual(stubborn.wait(10), 0)
        self.assertEqual(hosts("--tag", tag, "down").returncode, 1, "what is gone cannot be taken down")

    def test_clean_takes_orphans_alone(self):
        dead = subprocess.Popen(["sleep", "1000"])
        orphan, kept = self.make("--owner", str(dead.pid)), self.make("--owner", str(os.getpid()))
        self.assertNotIn(orphan, hosts("clean").stdout.split())
        dead.kill()
        dead.wait()
        self.assertIn(orphan, hosts("clean").stdout.split())
        self.assertEqual(traces(orphan), [])
        self.assertEqual(len(traces(kept)), 6)

    def test_who_is_alive(self):
        """A process is known by its start, too, since numbers are used again; nobody never ends, but after another start of the machine."""
        me = cluster.describe_owner(os.getpid())
        self.assertTrue(cluster.is_alive(me))
        self.assertFalse(cluster.is_alive({**me, "started": me["started"] - 1}))
        self.assertFalse(cluster.is_alive({**me, "boot": "another"}))
        self.assertTrue(cluster.is_alive(cluster.describe_owner(0)))
        self.assertFalse(cluster.is_alive({**cluster.describe_owner(0), "boot": "another"}))
        self.assertFalse(cluster.is_alive(cluster.describe_owner(2**22 + 1)), "there is no such process")

    def test_a_process_that_ends(self):
        """By signals that it is told of, or at its end: at once. By SIGKILL: when the next cluster is made."""
        script = f"import sys; sys.path.insert(0, {SUPPORT!r})\nimport cluster, time\nmade = cluster.create(2)\nprint(made.tag, flush=True)\n"
        for how in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL, "end", "error"):
            with self.subTest(how=how):
                rest = {"end": "", "error": "raise ValueError"}.get(how, "time.sleep(1000)")
                process = subprocess.Popen([sys.executable, "-c", script + rest], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
                self.addCleanup(process.kill)
                tag = process.stdout.readline().strip()
                if isinstance(how, signal.Signals):
                    process.send_signal(how)
                process.communicate(timeout=30)
                self.assertEqual(process.returncode == 0, how == "end")
                if how == signal.SIGKILL:
                    self.assertEqual(len(traces(tag)), 6)
                    with cluster.standing(2):
                        pass
                self.assertEqual(traces(tag), [])

    def test_a_command_among_hosts(self):
        """`with`: the command's status, mpirun across the hosts by the variable that all of the project's scripts know, and an end by a signal."""
        done = hosts("with", "2", "--rate", "100mbit", "--", "bash", "-c", "echo $PEFTSCALE_CLUSTER; $PEFTSCALE_MPIRUN -np 2 hostname; exit 5")
        tag, *names = done.stdout.split()
        self.assertEqual((done.returncode, sorted(names)), (5, [f"ps{tag}1", f"ps{tag}2"]), done.stderr)
        self.assertEqual(traces(tag), [])
        for number in (signal.SIGINT, signal.SIGTERM):
            process = subprocess.Popen([sys.executable, str(HOSTS), "with", "2", "bash", "-c", "echo $PEFTSCALE_CLUSTER; exec sleep 1000"], stdout=subprocess.PIPE, text=True)
            self.addCleanup(process.kill)
            tag = process.stdout.readline().strip()
            process.send_signal(number)
            self.assertEqual(process.wait(30), 128 + number)
            self.assertEqual(traces(tag), [])

    def test_a_set_up_that_fails(self):
        """One message, and what was made before is removed."""
        before = set(cluster.tags())
        with tempfile.TemporaryDirectory() as folder:
            fake = Path(folder, "tc")
            fake.write_text(f"#!/bin/sh\ncase $* in *class*) echo no such thing >&2; exit 1 ;; esac\nexec {shutil.which('tc')} \"$@\"\n")
            fake.chmod(0o755)
            done = hosts("up", "3", "--rate", "10mbit", changes={"PATH": f"{folder}:{os.environ['PATH']}"})
        self.assertEqual(done.returncode, 1, done)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertIn("no such thing", done.stderr)
        self.assertEqual(set(cluster.tags()) - before, set())

    def test_what_is_missing_is_said(self):
        with tempfile.TemporaryDirectory() as folder:
            # Without root: of a copy, since this project may lie where only root may read.
            os.chmod(folder, 0o755)
            for name in ("cluster", "support"):
                os.mkdir(f"{folder}/{name}")
            for file in (HOSTS, Path(cluster.__file__), Path(verbs.__file__)):
                shutil.copy(file, f"{folder}/{file.parent.name}")
            words = [sys.executable, f"{folder}/cluster/hosts.py"]
            done = subprocess.run([*words, "up", "2"], capture_output=True, text=True, user=65534, cwd="/")
            self.assertEqual((done.returncode, done.stdout.count("\n")), (77, 1), done)
            self.assertIn("needs root", done.stdout)
            # Without a queueing discipline.
            fake = Path(folder, "tc")
            fake.write_text("#!/bin/sh\ncase $* in *htb*) exit 2 ;; esac\n")
            fake.chmod(0o755)
            done = hosts("check", changes={"PATH": f"{folder}:{os.environ['PATH']}"})
            self.assertEqual((done.returncode, done.stdout.count("\n")), (77, 1), done)
            self.assertIn("htb", done.stdout)

    def test_wrong_words(self):
        for words in (["up"], ["up", "x"], ["up", "1"], ["up", "9"], ["up", "2", "--rate", "fast"], ["up", "2", "--rate"], ["up", "2", "3"], ["fly"], ["with", "2"],
                      ["--tag", "nosuch", "down"], ["--tag", "../x", "down"]):
            before = set(cluster.tags())
            done = hosts(*words)
            self.assertIn(done.returncode, (1, 2), f"{words}: {done}")
            self.assertEqual(done.stderr.count("\n"), 1, f"{words}: {done.stderr}")
            self.assertEqual(set(cluster.tags()), before)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background ignore it, and so would all that is started here
    lack = cluster.find_lack()
    if lack:
        print(f"skipped: {lack}")
        sys.exit(77)
    tap.main()
