#!/usr/bin/python3
"""The meters of a run: bytes on the wire by purpose, waiting and transfer in sampled steps, and what the system did to the ranks. Run: test_meters.py [-v]"""

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
from harness import MPIRUN, OVER_TCP, PROGRAM, Case, attribute, call, h5py, main, np, read, run_files, succeed, text, train  # noqa: E402

import json  # noqa: E402

PURPOSES = ("gradient", "evaluation", "control", "checkpoint")
STEPS = 12


class Meters(Case):
    def train(self, name, ranks=2, changes=None, **keys):
        words = self.settings(name, method="lora", train__steps=str(STEPS), **keys)
        return json.loads(succeed("train", "--json", "--quiet", *words, ranks=ranks, changes=changes).out)["run"]

    def test_sockets_tell_what_went_over_tcp(self):
        run = self.train("tcp", ranks=3, changes=OVER_TCP)
        steps, ranks = read(run, "series/steps"), read(run, "series/ranks")
        self.assertEqual(attribute(run, "provenance", "wire"), "tcp")
        payload = steps["payload_bytes"]
        self.assertTrue(np.all(payload == attribute(run, "accounting", "sent_bytes_per_step")))
        # Three ranks send 4 S in all for S bytes of a short vector (one pair is folded), or 4/3 S each; MPI's headers are some 100 bytes.
        total = sum(int(row["wire_bytes"]) for row in ranks)
        self.assertGreaterEqual(total, 4 * int(payload.sum()))
        self.assertLess(total, 4 * int(payload.sum()) + STEPS * 3 * 400)
        own = ranks[ranks["rank"] == 0]
        self.assertEqual(int(own["wire_bytes"].sum()), int(steps["wire_bytes"].sum()))
        self.assertEqual(int(own["payload_bytes"].sum()), int(payload.sum()))
        self.assertEqual(attribute(run, "result", "gradient_wire_bytes"), int(steps["wire_bytes"].sum()))
        self.assertAlmostEqual(attribute(run, "result", "gradient_wire_bytes_mean"), total / 3, delta=1)
        largest = max(int(ranks[ranks["rank"] == rank]["wire_bytes"].sum()) for rank in range(3))
        self.assertEqual(attribute(run, "result", "gradient_wire_bytes_max"), largest)
        self.assertGreater(attribute(run, "result", "evaluation_wire_bytes"), 0)
        self.assertEqual(attribute(run, "result", "gradient_payload_bytes"), int(payload.sum()))

    def test_memory_is_no_wire(self):
        run = self.train("memory", changes={"OMPI_MCA_pml": "ob1", "OMPI_MCA_btl": "vader,self"})
        self.assertEqual(attribute(run, "provenance", "wire"), "shared memory")
        self.assertEqual(int(read(run, "series/steps")["wire_bytes"].sum()), 0)
        self.assertEqual([attribute(run, "result", f"{purpose}_wire_bytes") for purpose in PURPOSES], [0] * 4)
        self.assertGreater(attribute(run, "result", "gradient_payload_bytes"), 0)

    def test_waiting_is_told_apart_in_sampled_steps_alone(self):
        for every, reduce in ((4, "float"), (1, "exact"), (0, "float")):
            run = self.train(f"sampled-{every}", ranks=3, sample_every=str(every), reduce=reduce)
            steps, ranks = read(run, "series/steps"), read(run, "series/ranks")
            sampled = np.isfinite(steps["wait_s"])
            wanted = [every > 0 and (step + 1) % every == 0 for step in range(STEPS)]
            self.assertEqual(sampled.tolist(), wanted)
            waits, mean, largest = (steps[name][sampled] for name in ("wait_s", "work_mean_s", "work_max_s"))
            self.assertTrue(np.all(mean > 0) and np.all(largest >= mean) and np.all(largest < 3 * mean))
            self.assertTrue(np.all(np.isnan(steps["work_max_s"][~sampled])))
            self.assertTrue(np.all(waits >= 0) and np.all(waits <= steps["communication_s"][sampled]))
            for rank in range(3):
                rows = ranks[ranks["rank"] == rank]
                self.assertEqual(int(rows["sampled"].sum()), sum(wanted))
                self.assertLessEqual(float((rows["wait_s"] + rows["transfer_s"]).sum()), float(rows["communication_s"].sum()) + 1e-9)
            self.assertAlmostEqual(float(ranks[ranks["rank"] == 0]["wait_s"].sum()), float(waits.sum()), places=9)

    def test_one_rank_waits_for_nobody(self):
        run = self.train("alone", ranks=1, sample_every="1")
        self.assertTrue(np.all(np.isnan(read(run, "series/steps")["wait_s"])))
        self.assertEqual(int(read(run, "series/steps")["wire_bytes"].sum()), 0)

    def test_ranks_that_share_a_core_are_marked(self):
        words = self.settings("crowded", method="lora", train__steps="60", sample_every="0")
        core = min(os.sched_getaffinity(0))
        outcome = call(["taskset", "-c", str(core), *MPIRUN, "-np", "3", PROGRAM, "train", "--json", "--quiet", *words])
        self.assertEqual(outcome.status, 0, outcome)
        run = json.loads(outcome.out)["run"]
        ranks = read(run, "series/ranks")
        self.assertGreater(attribute(run, "result", "contaminated"), 0)
        self.assertEqual(attribute(run, "result", "contaminated"), int(ranks["contaminated"].sum()))
        self.assertEqual(set(ranks["cores"].tolist()), {str(core).encode()})
        busy = ranks["delay_s"] > 0.05 * ranks["seconds"]
        self.assertEqual(busy.tolist(), (ranks["contaminated"] == 1).tolist())

    def random_model(self, name, width, ranks=2):
        """A training of everything: theta, its two moments, gradient and message are all as large as the model."""
        changed = {"method": "full", "model__path": "", "model__init": "random", "model__width": str(width), "model__ffn": str(4 * width), "model__layers": "2",
                   "train__steps": "4"}
        return json.loads(succeed("train", "--json", "--quiet", *self.settings(name, **changed), ranks=ranks).out)["run"]

    def test_peak_memory_holds_what_a_rank_needs(self):
        peaks = {}
        for width in (64, 512):
            run = self.random_model(f"width-{width}", width)
            ranks, numbers = read(run, "series/ranks"), 4 * attribute(run, "accounting", "trainable")
            needs = 5 * numbers + attribute(run, "accounting", "activation_bytes")
            self.assertEqual(set(ranks["rank"].tolist()), {0, 1})
            for rank in (0, 1):
                rows = ranks[ranks["rank"] == rank]["peak_bytes"].tolist()
                falls = [before - after for before, after in zip(rows, rows[1:])]
                self.assertLess(max([0, *falls]), 1 << 20, "a peak does not fall within a run, but for what the kernel rounds")
                self.assertGreaterEqual(rows[0], needs)
                self.assertLess(rows[-1], 4 * needs + (256 << 20))
            peaks[width] = (needs, int(ranks["peak_bytes"].max()))
            with h5py.File(run, "r") as file:
                self.assertEqual(text(file["series/ranks"].attrs["unit_peak_bytes"]), "bytes")
        (small, few), (large, many) = peaks[64], peaks[512]
        self.assertGreater(many - few, 0.9 * (large - small))

    @unittest.skipUnless(os.access("/proc/self/clear_refs", os.W_OK), "the system does not let a process forget its peak")
    def test_peak_memory_is_the_runs_own_in_a_packed_process(self):
        study, results = self.at("packed"), self.at("packed-results")
        os.makedirs(study)
        with open(os.path.join(study, "study.yaml"), "w", encoding="utf-8") as file:
            file.write("title: Large, then small\nbase:\n  model: {init: random, layers: 2}\n"
                       f"  task: {{data: {self.data}}}\n  shards: 4\n  train: {{batch: 16, steps: 3, lr: 1e-3}}\n"
                       "grid:\n  method: [full]\n  size:\n    - {model.width: 512, model.ffn: 2048, label: large}\n    - {model.width: 64, model.ffn: 256, label: small}\nseeds: [1]\n")
        succeed("sweep", "run", study, "--results", results, "--no-table", "--jobs", "1")
        runs = sorted(run_files(results)[0], key=lambda path: attribute(path, "accounting", "trainable"))
        small, large = ({"start_s": attribute(path, "result", "start_s"), "numbers": attribute(path, "accounting", "trainable"),
                         "peak": int(read(path, "series/ranks")["peak_bytes"].max())} for path in runs)
        self.assertLess(small["start_s"], large["start_s"], "the large one was the process's first run, whose start counts as its own")
        self.assertLess(small["peak"], large["peak"] - 5 * 4 * (large["numbers"] - small["numbers"]) / 2)

    def test_bytes_made_from_a_seed(self):
        for words in ({"method": "vera", "method__rank": "16"}, {"method": "lora"}):
            run = train(*self.settings(words["method"], **words, train__steps="2"))
            options = [f"{key.removeprefix('method__')}={value}" for key, value in words.items() if key.startswith("method__")]
            counted = json.loads(succeed("count", "--model", self.model, "--method", words["method"], *options, "--json").out)
            counted = counted[0] if isinstance(counted, list) else counted
            self.assertEqual(attribute(run, "accounting", "regenerated_bytes"), counted["regenerated_bytes"])
            self.assertEqual(counted["regenerated_bytes"] > 0, words["method"] == "vera")

    def test_labels_make_other_runs(self):
        ids = {attribute(run, "", "run_id") for run in (self.train("plain"), self.train("label", network="1gbit"), self.train("again", repetition="2"),
                                                        self.train("other", network="10mbit"))}
        self.assertEqual(len(ids), 4)
        self.assertEqual(attribute(self.train("same"), "", "run_id"), attribute(self.train("plain"), "", "run_id"))
        self.assertEqual(attribute(self.train("label"), "", "experiment_id"), attribute(self.train("plain"), "", "experiment_id"))


if __name__ == "__main__":
    main()
