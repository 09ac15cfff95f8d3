#!/usr/bin/python3
# timeout: 1200
# needs: root
"""The program on several hosts over TCP: equal bits, hosts that die, copies of files that differ. Run: test_cluster.py [-v]

The hosts are network namespaces of this machine (tests/cluster/README.md): ranks on different ones share no memory and talk over TCP.
"""

import os
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
from harness import PROGRAM, attribute, h5py, losses, main, make_tiny, methods, np, read, text, train  # noqa: E402
from cluster_case import ClusterCase  # noqa: E402

ALGORITHMS = {"recursive doubling": 3, "ring": 4, "segmented ring": 5, "Rabenseifner": 6}
SHARDS, STEPS = 12, 8
DROPOUTS = {f"model__dropout_{place}": "0.1" for place in ("embedding", "attention", "hidden", "adapter", "head")}
# A name of the case, the method, and what it needs beyond its defaults. VB-LoRA and GLoRA's random path send less than all of theta, which differs from step to step.
CASES = [(name, name, {}) for name in methods()] + [
    ("glora-random", "glora", {"method__path": "random", "method__modules": "all"}),
    ("vblora-dense", "vblora", {"payload": "dense"}),
    ("head-factors", "lora", {"head_reduce": "factors"}),
]


def forced(number):
    return ["--mca", "coll_tuned_use_dynamic_rules", "1", "--mca", "coll_tuned_allreduce_algorithm", str(number)]


# What: ranks, ranks on each host, hosts that take part, flags of mpirun.
LAYOUTS = {"2 hosts": (2, 1, 2, []), "3 hosts": (3, 1, 3, []), "2 hosts x 2 ranks": (4, 2, 2, []),
           **{f"3 hosts, {name}": (3, 1, 3, forced(number)) for name, number in ALGORITHMS.items()}}


class SameBits(ClusterCase):
    def keys(self, **changed):
        return {"shards": str(SHARDS), "train__batch": "24", "train__steps": str(STEPS), "train__lr": "5e-3", "train__lr_head": "2e-2", "train__warmup": "0",
                "train__decay": "0.01", "reduce": "exact", **DROPOUTS, **changed}

    def test_every_method_in_every_layout(self):
        for name, method, extra in CASES:
            settings = dict(method=method, **self.keys(**extra))
            first = train(*self.settings(f"{name}-local", **settings), ranks=1)
            wanted = read(first, "series/steps")["theta_hash"]
            self.assertEqual(len(set(wanted.tolist())), STEPS, f"{name}: theta does not move in every step")
            self.assertNotIn(0, wanted)
            for number, (layout, (ranks, slots, hosts, flags)) in enumerate(LAYOUTS.items()):
                with self.subTest(case=name, layout=layout):
                    run = self.train(ranks, *self.settings(f"{name}-{number}", **settings), slots=slots, flags=flags)
                    attempt = read(run, "attempts")[0]
                    self.assertEqual((attempt["ranks"], attempt["nodes"], attribute(run, "provenance", "wire")), (ranks, hosts, "tcp"))
                    wrong = np.flatnonzero(read(run, "series/steps")["theta_hash"] != wanted)
                    self.assertEqual(wrong.size, 0, f"theta differs from step {wrong[:1] + 1} on")
                    self.assertTrue(np.array_equal(losses(run), losses(first)), "losses differ")
                    self.assertEqual(attribute(run, "", "experiment_id"), attribute(first, "", "experiment_id"))

    def test_a_sum_of_several_pieces(self):
        """A theta of some megabytes, for which the algorithms cut the message into segments."""
        model = make_tiny.write_model(self.at("wide"), width=256, layers=2, heads=4, ffn=1024, seed=2)
        data = make_tiny.write_dataset(self.at("narrow.h5"), counts=(24, 6, 6), longest=24, seed=3)
        settings = {"method": "full", "model__path": model, "task__data": data, "output__theta": "false",
                    **self.keys(train__batch="8", shards="4", train__steps="3", train__lr="1e-4")}
        wanted = read(train(*self.settings("wide-local", **settings), ranks=1), "series/steps")["theta_hash"].tolist()
        for number, (layout, (ranks, slots, _, flags)) in enumerate(LAYOUTS.items()):
            with self.subTest(layout=layout):
                run = self.train(ranks, *self.settings(f"wide-{number}", **settings), slots=slots, flags=flags)
                self.assertEqual(read(run, "series/steps")["theta_hash"].tolist(), wanted)

    def test_float_sums_do_differ(self):
        """The control: the flags do change the algorithm, and only the exact sum hides it."""
        settings = {"method": "lora", **self.keys(reduce="float", check_every="1")}
        last = {layout: read(self.train(ranks, *self.settings(f"float-{number}", **settings), slots=slots, flags=flags), "series/steps")["theta_hash"][-1]
                for number, (layout, (ranks, slots, hosts, flags)) in enumerate(LAYOUTS.items()) if hosts == 3}
        self.assertGreater(len(set(last.values())), 1, f"{last}")


class Deaths(ClusterCase):
    """What ends a run from outside: a non-zero status, one message, no process left, and a run file that can be read."""
    HOSTS = 2

    def begin(self, name):
        directory = self.at(name)
        endless = self.settings(name, method="lora", reduce="exact", output__dir=directory, train__steps="1000000", train__warmup="0")
        process = self.start(2, "train", "--quiet", *endless)
        self.wait_until("the first steps", lambda: process.poll() is not None or self.count_steps(self.partial(directory)) >= 5)
        self.assertIsNone(process.poll(), f"it ended at once: {process.stderr.read() if process.poll() is not None else ''}")
        return directory, process

    @staticmethod
    def count_steps(path):
        try:
            with h5py.File(path, "r", libver="latest", swmr=True) as file:
                return int(np.count_nonzero(file["series/steps"]["attempt"]))
        except (OSError, TypeError, KeyError):
            return 0

    def check_end(self, directory, process, messages):
        out, err = process.communicate(timeout=90)
        self.assertNotEqual(process.returncode, 0, out + err)
        said = sum(err.count(message) for message in messages)
        self.assertEqual(said, 1, err)
        self.wait_until("all processes gone", lambda: not self.hosts.members())
        path = self.partial(directory)
        self.assertIsNotNone(path, "no run file is left")
        with h5py.File(path, "r", libver="latest", swmr=True) as file:
            rows = file["series/steps"][:]
            rows = rows[rows["attempt"] > 0]
            self.assertNotEqual(text(file.attrs["status"]), "complete")
        self.assertGreaterEqual(len(rows), 5)
        self.assertEqual(rows["step"].tolist(), list(range(1, len(rows) + 1)))
        self.assertTrue(np.all(np.isfinite(rows["loss"])) and np.all(rows["theta_hash"] != 0))

    def test_a_killed_rank(self):
        for index, host in enumerate(self.hosts.hosts):
            with self.subTest(rank=index):
                directory, process = self.begin(f"killed-{index}")
                (victim,) = self.ranks_on(host)
                os.kill(victim, signal.SIGKILL)
                self.check_end(directory, process, ["exited on signal 9", "peftscale: error:"])

    def test_a_link_that_is_gone(self):
        """Nobody is told: silence has to be noticed. The remark is that of Open MPI's daemons."""
        for index, host in enumerate(self.hosts.hosts):
            with self.subTest(host=index + 1):
                directory, process = self.begin(f"silent-{index}")
                self.hosts.set_link(host, False)
                try:
                    self.check_end(directory, process, ["ORTE was unable to reliably start", "ORTE has lost communication", "peftscale: error:"])
                finally:
                    self.hosts.set_link(host, True)


class Copies(ClusterCase):
    """Every host has files of its own: equal copies are as good as one file, others are refused by one message."""
    HOSTS = 2

    def attempt(self, name, file, place, **changed):
        """Trains while the second host finds `file` at `place`."""
        host = self.hosts.hosts[1]
        self.hosts.mount(host, file, place)
        try:
            return self.call(2, "train", "--quiet", *self.settings(name, **{"method": "lora", "train__steps": "3", **changed}))
        finally:
            self.hosts.unmount(host)

    def check_refused(self, outcome, *words):
        self.assertEqual(outcome.status, 1, outcome)
        self.assertEqual(len(outcome.errors), 1, outcome)
        for word in words:
            self.assertIn(word, outcome.errors[0], outcome)

    def copy(self, path, name, change=None):
        shutil.copyfile(path, self.at(name))
        if change:
            change(self.at(name))
        return self.at(name)

    def test_equal_copies(self):
        weights = os.path.join(self.model, "model.safetensors")
        for number, (file, place) in enumerate(((self.copy(self.data, "same.h5"), self.data), (self.copy(weights, "same.safetensors"), weights),
                                                (self.copy(PROGRAM, "same-program", lambda path: os.chmod(path, 0o755)), PROGRAM))):
            with self.subTest(place=place):
                outcome = self.attempt(f"same-{number}", file, place, reduce="exact")
                self.assertEqual(outcome.status, 0, outcome)

    def test_other_data(self):
        """One label differs: shapes, counts and lengths agree."""
        def change(path):
            with h5py.File(path, "r+") as file:
                file["train/label"][5] = (file["train/label"][5] + 1) % 3
        self.check_refused(self.attempt("other-data", self.copy(self.data, "other.h5", change), self.data), "data sets differ")

    def test_other_weights(self):
        """One number of the second host's model differs by one bit."""
        def change(path):
            with open(path, "r+b") as file:
                file.seek(-1000, os.SEEK_END)
                byte = file.read(1)[0]
                file.seek(-1, os.SEEK_CUR)
                file.write(bytes([byte ^ 1]))
        weights = os.path.join(self.model, "model.safetensors")
        self.check_refused(self.attempt("other-weights", self.copy(weights, "other.safetensors", change), weights), "base weights", self.hosts.hosts[1])

    def test_other_configuration(self):
        for name, rate in (("mine.yaml", "1e-3"), ("theirs.yaml", "2e-3")):
            with open(self.at(name), "w", encoding="utf-8") as file:
                file.write(f"train:\n  lr: {rate}\n")
        host = self.hosts.hosts[1]
        self.hosts.mount(host, self.at("theirs.yaml"), self.at("mine.yaml"))
        try:
            words = [word for word in self.settings("other-configuration", method="lora", train__steps="3") if not word.startswith("train.lr=")]
            outcome = self.call(2, "train", "--quiet", self.at("mine.yaml"), *words)
        finally:
            self.hosts.unmount(host)
        self.check_refused(outcome, "configurations")

    def test_another_program(self):
        """The same code without its table of symbols is another file: equal bits are promised for one program alone."""
        def change(path):
            subprocess.run(["strip", "--strip-debug", path], check=True)
            os.chmod(path, 0o755)
        other = self.copy(PROGRAM, "other-program", change)
        self.check_refused(self.attempt("other-program", other, PROGRAM, reduce="exact"), "one program")
        outcome = self.attempt("other-program-float", other, PROGRAM, reduce="float")
        self.assertEqual(outcome.status, 0, outcome)


if __name__ == "__main__":
    main()
