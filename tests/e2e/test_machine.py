#!/usr/bin/python3
# timeout: 300
"""What a run says of the machine: how its ranks were bound to cores, with a warning for a bad way, and the energy it took. Run: test_machine.py [-v]"""

import json
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
from harness import MPIRUN, PROGRAM, Case, attribute, call, h5py, launcher, main, np, peftscale, succeed, text, train  # noqa: E402

CORES = sorted(os.sched_getaffinity(0))
BOUND = launcher.words(PROGRAM, bind=True)
RANGE_UJ = 65532610987


def warnings(outcome):
    return [line for line in outcome.err.splitlines() if "warning:" in line]


class Binding(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        siblings = {open(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list", encoding="ascii").read() for core in CORES}
        cls.enough = len(siblings) >= 2

    def setUp(self):
        if not self.enough:
            self.skipTest("needs two cores")

    def run_file(self, mpirun, *ranks, **keys):
        """A training; each of `ranks`: on which core one rank may run, or None: on any. Returns its binding and its warnings."""
        words = [PROGRAM, "train", "--json", "--quiet", *self.settings("bound", method="lora", train__steps="2", shards="12", **keys)]
        parts = [["-np", "1", *(["taskset", "-c", str(core)] if core is not None else []), *words] for core in ranks]
        outcome = call([*mpirun, *[word for part in parts for word in (":", *part)][1:]])
        self.assertEqual(outcome.status, 0, str(outcome))
        return attribute(json.loads(outcome.out)["run"], "provenance", "binding"), warnings(outcome)

    def test_good_ways(self):
        a, b = CORES[0], CORES[-1]
        for ranks, keys, wanted in (((None, None), {}, "unbound"), ((a, b), {}, "bound"), ((a,), {}, "bound"), ((None,), {}, "unbound"), ((None,), {"threads": "2"}, "unbound")):
            with self.subTest(ranks=ranks, **keys):
                self.assertEqual(self.run_file(MPIRUN, *ranks, **keys), (wanted, []))

    def test_bound_by_mpirun(self):
        words = ["-np", "2", PROGRAM, "train", "--json", "--quiet", *self.settings("bound", method="lora", train__steps="2", shards="12")]
        outcome = call([*BOUND, *words])
        self.assertEqual(outcome.status, 0, str(outcome))
        self.assertEqual((attribute(json.loads(outcome.out)["run"], "provenance", "binding"), warnings(outcome)), ("bound", []))

    def warned(self, found, wanted, *parts):
        """One line for each of `parts` (words that it holds), and no other."""
        binding, lines = found
        self.assertEqual(binding, wanted)
        self.assertEqual(len(lines), len(parts), lines)
        for line, words in zip(lines, parts):
            for word in (*words, "mpirun ", "srun "):
                self.assertIn(word, line)

    def test_bad_ways(self):
        a, b = CORES[0], CORES[-1]
        self.warned(self.run_file(MPIRUN, a, a), "oversubscribed", ["2 ranks", "2 threads", "1 physical core:"])
        self.warned(self.run_file(MPIRUN, a, None), "shared", ["ranks 0 and 1", "partly the same", "bind-to core"])
        self.warned(self.run_file(MPIRUN, a, threads="2"), "oversubscribed", ["rank 0", "1 physical core and", "2 threads", "--cpus-per-task=2"])
        self.warned(self.run_file(MPIRUN, b, a, a), "oversubscribed", ["2 ranks", "1 physical core:"])
        if len(CORES) == 2 == os.cpu_count():
            self.warned(self.run_file(MPIRUN, None, None, None), "oversubscribed", ["3 ranks", "2 physical cores:", "--ntasks-per-node=2"])
            binding, lines = self.run_file(MPIRUN, None, threads="3")
            self.assertEqual((binding, len(lines)), ("oversubscribed", 1), lines)
            self.assertIn("threads=2 would fit", lines[0])

    def test_communication_alone(self):
        """Its file says it as well, and ranks that only wait need no core."""
        words = ["comm", "--models", "none", "--sizes", "4", "--repetitions", "3", "--seconds", "0", "--out", self.at("comm.h5")]
        for ranks, measured, wanted in ((2, "2", "unbound"), (4 * len(CORES), "2", "unbound"), (4 * len(CORES), "2,3", "oversubscribed")):
            if wanted == "oversubscribed" and len(CORES) > 2:
                continue
            outcome = succeed(*words, "--ranks", measured, ranks=ranks)
            with h5py.File(self.at("comm.h5"), "r") as file:
                self.assertEqual(text(file["provenance"].attrs["binding"]), wanted)
            self.assertEqual(len(warnings(outcome)), wanted == "oversubscribed")


class Energy(Case):
    """Counters in a folder of the test's own, in the form of the system's."""

    def put(self, zone, name, value):
        path = os.path.join(self.power, zone, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + ".new", "w", encoding="ascii") as file:
            file.write(f"{value}\n")
        os.replace(path + ".new", path)

    def setUp(self):
        self.power = self.at(f"power-{self.id().split('.')[-1]}")
        for zone, name in (("intel-rapl:0", "package-0"), ("intel-rapl:0:0", "core"), ("intel-rapl:0:1", "dram")):
            self.put(zone, "name", name)
            self.put(zone, "max_energy_range_uj", RANGE_UJ)
            self.put(zone, "energy_uj", RANGE_UJ - 1000000)

    def train(self, name, ranks, change=None):
        """A training in whose middle `change` is called; the run file, and what was printed."""
        path = self.at(f"runs/{name}.h5.partial")

        def wait():
            end = time.monotonic() + 30
            while not os.path.exists(path) and time.monotonic() < end:
                time.sleep(0.005)
            change()

        thread = threading.Thread(target=wait if change else lambda: None)
        thread.start()
        try:
            outcome = peftscale("train", "--json", *self.settings(name, method="lora", train__steps="300", train__evaluate_every="100"), ranks=ranks, changes={"PEFTSCALE_POWERCAP": self.power})
        finally:
            thread.join()
        self.assertEqual(outcome.status, 0, str(outcome))
        return json.loads(outcome.out)["run"], [line for line in outcome.err.splitlines() if line.startswith("done ")][0]

    def test_is_measured(self):
        """7 J of the package and 2 J of memory, both counters going round; the cores are a part of the package. Several ranks of a node count it once."""
        for ranks in (1, 2):
            self.setUp()

            def change():
                self.put("intel-rapl:0", "energy_uj", 6000000)
                self.put("intel-rapl:0:0", "energy_uj", 5000000)
                self.put("intel-rapl:0:1", "energy_uj", 1000000)

            run, done = self.train(f"measured-{ranks}", ranks, change)
            self.assertAlmostEqual(attribute(run, "result", "energy_j"), 9, places=6)
            self.assertEqual(attribute(run, "provenance", "energy_source"), f"rapl: 1 package, 1 memory, below {self.power}")
            self.assertTrue(done.endswith(", 0.01 kJ"), done)

    def test_a_counter_that_goes_away_leaves_no_figure(self):
        run, done = self.train("gone", 2, lambda: self.put("intel-rapl:0:1", "energy_uj", "gone"))
        self.assertTrue(np.isnan(attribute(run, "result", "energy_j")))
        self.assertNotIn("kJ", done)

    def test_no_counters(self):
        os.remove(os.path.join(self.power, "intel-rapl:0", "energy_uj"))
        run, done = self.train("none", 2)
        self.assertTrue(np.isnan(attribute(run, "result", "energy_j")))
        self.assertEqual(attribute(run, "provenance", "energy_source"), "none")
        self.assertNotIn("kJ", done)

    def test_is_no_part_of_a_run(self):
        """Measured or not: the same experiment and run."""
        runs = [train(*self.settings(f"same-{i}", method="lora", train__steps="2"), ranks=2, changes={"PEFTSCALE_POWERCAP": folder}) for i, folder in enumerate((self.power, self.at("nowhere")))]
        for name in ("experiment_id", "run_id"):
            self.assertEqual(len({attribute(run, "", name) for run in runs}), 1)


if __name__ == "__main__":
    main()
