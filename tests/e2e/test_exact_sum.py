#!/usr/bin/python3
# timeout: 2700
# needs: long
"""reduce=exact: the same bits of theta after every step for any number of ranks and threads, and whatever travels. Run: test_exact_sum.py [-v]

Every method, and GLoRA's super-network with a path drawn per step, in 24 shards with dropout: the column theta_hash of the run files is compared step by step.
The float sum of the same training must stay close, and the exact sum's messages below 2.1 times the float sum's.
"""

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
from harness import MPIRUN, PROGRAM, Case, attribute, call, losses, main, make_tiny, methods, np, peftscale, read, train  # noqa: E402

LAYOUTS = [(ranks, threads) for ranks in (1, 2, 3, 4, 6, 8) for threads in (1, 2)]
HEAD_LAYOUTS = [(ranks, threads) for ranks in (1, 2, 3, 4, 6) for threads in (1, 2)]
SHARDS, STEPS, FALL = 24, 12, 0.1
PAYLOAD_RATIO = 2.1
DROPOUTS = {f"model__dropout_{place}": "0.1" for place in ("embedding", "attention", "hidden", "adapter", "head")}
# A name of the case, the method, and what it needs beyond its defaults.
CASES = [(name, name, {}) for name in methods()] + [
    ("glora-random", "glora", {"method__path": "random", "method__modules": "all"}),
    ("tied-square", "tied", {"method__tie": "square"}),
    ("red++", "red", {"method__modules": "q,k,v,o,down"}),
]


class ExactSum(Case):
    def run_case(self, name, method, ranks, threads, **changed):
        keys = {"shards": str(SHARDS), "threads": str(threads), "train__batch": "48", "train__steps": str(STEPS), "train__lr": "5e-3", "train__lr_head": "2e-2",
                "train__warmup": "0", "train__decay": "0.01", "reduce": "exact", **DROPOUTS, **changed}
        return train(*self.settings(f"{name}-{ranks}x{threads}-{'-'.join(changed.values())[:40].replace(',', '')}", method=method, **keys), ranks=ranks)

    def test_every_method_in_every_layout(self):
        for name, method, extra in CASES:
            with self.subTest(case=name):
                first = None
                for ranks, threads in LAYOUTS:
                    run = self.run_case(name, method, ranks, threads, **extra)
                    hashes = read(run, "series/steps")["theta_hash"]
                    self.assertEqual(len(hashes), STEPS)
                    if first is None:
                        first = hashes, losses(run), run
                        self.assertEqual(len(set(hashes.tolist())), STEPS, "theta does not move in every step")
                        self.assertNotIn(0, hashes)
                        continue
                    wrong = np.flatnonzero(hashes != first[0])
                    self.assertEqual(wrong.size, 0, f"{name}: {ranks} ranks x {threads} threads: theta differs from step {wrong[:1] + 1} on")
                    self.assertTrue(np.array_equal(losses(run), first[1]), f"{name}: {ranks} x {threads}: losses differ")
                    self.assertEqual(attribute(run, "", "experiment_id"), attribute(first[2], "", "experiment_id"))

    def test_what_travels_changes_nothing(self):
        """Dense and compact messages train the same, bit for bit; compact ones are smaller where a method knows zeros."""
        for name, method, extra in CASES:
            with self.subTest(case=name):
                runs = {payload: self.run_case(name, method, 2, 1, payload=payload, **extra) for payload in ("compact", "dense")}
                rows = {payload: read(run, "series/steps") for payload, run in runs.items()}
                self.assertEqual(rows["compact"]["theta_hash"].tolist(), rows["dense"]["theta_hash"].tolist())
                self.assertEqual(attribute(runs["compact"], "result", "theta_hash"), attribute(runs["dense"], "result", "theta_hash"))
                sent = {payload: float(np.mean(row["payload_bytes"])) for payload, row in rows.items()}
                if name == "full":  # rows of embeddings that no token of the batch reaches
                    self.assertLess(sent["compact"], sent["dense"])
                    numbers = sent["dense"] - sent["compact"]
                    self.assertAlmostEqual(attribute(runs["dense"], "accounting", "sent_bytes_per_step") - attribute(runs["compact"], "accounting", "sent_bytes_per_step"),
                                           numbers, delta=8)
                elif name in ("vblora", "glora-random"):
                    self.assertLess(sent["compact"], 0.8 * sent["dense"])
                else:
                    self.assertEqual(sent["compact"], sent["dense"])

    def test_the_head_as_factors(self):
        """Formed by every rank from the rows of all, the head's gradient has the same bits as in the sum: every method, both heads, any layout, and what auto chooses."""
        for name, method, extra in CASES:
            for head, layouts in (("tanh", HEAD_LAYOUTS), ("linear", [(3, 2), (2, 1)])):
                with self.subTest(case=name, head=head):
                    wanted = self.run_case(name, method, 2, 1, model__head=head, head_reduce="dense", **extra)
                    hashes = read(wanted, "series/steps")["theta_hash"]
                    for way, ranks, threads in [("factors", *layout) for layout in layouts] + [("auto", 2, 1), ("auto", 4, 2)]:
                        run = self.run_case(name, method, ranks, threads, model__head=head, head_reduce=way, **extra)
                        wrong = np.flatnonzero(read(run, "series/steps")["theta_hash"] != hashes)
                        self.assertEqual(wrong.size, 0, f"{name}, {head}, {way}: {ranks} ranks x {threads} threads: theta differs from step {wrong[:1] + 1} on")
                        self.assertTrue(np.array_equal(losses(run), losses(wanted)))
                        self.assertEqual(attribute(run, "", "experiment_id"), attribute(wanted, "", "experiment_id"))
                        if way == "factors":
                            self.assertEqual(attribute(run, "accounting", "head_reduce"), "factors")

    def test_large_vectors_in_any_way(self):
        """A theta of several buckets: one rank, a ring, and ranks that add in their node's shared memory first, compact and dense: one trajectory."""
        model = make_tiny.write_model(self.at("wide"), width=256, layers=4, heads=4, ffn=1024, seed=2)
        data = make_tiny.write_dataset(self.at("narrow.h5"), counts=(24, 6, 6), longest=24, seed=3)
        wanted, run_ids = None, set()
        for ranks, threads, node_reduce, payload in ((1, 1, "off", "compact"), (2, 2, "off", "dense"), (2, 1, "on", "compact"), (3, 1, "on", "dense"), (3, 1, "off", "compact"),
                                                     (4, 1, "on", "compact"), (6, 1, "off", "compact"), (6, 1, "on", "compact")):
            with self.subTest(ranks=ranks, node_reduce=node_reduce, payload=payload):
                run = self.run_case(f"large-{node_reduce}", "full", ranks, threads, node_reduce=node_reduce, payload=payload, model__path=model, task__data=data, train__batch="24",
                                    train__lr="1e-4", output__theta="false")
                self.assertGreater(attribute(run, "accounting", "sent_bytes_per_step"), 3 * (4 << 20))
                self.assertEqual(attribute(run, "provenance", "node_reduce"), node_reduce)
                hashes = read(run, "series/steps")["theta_hash"].tolist()
                wanted = wanted or hashes
                self.assertEqual(hashes, wanted)
                run_ids.add(attribute(run, "", "run_id"))
        self.assertEqual(len(run_ids), 8)

    def test_close_to_the_float_sum(self):
        for name, method, extra in CASES:
            with self.subTest(case=name):
                exact, floats = (self.run_case(name, method, 2, 1, reduce=reduce, **extra) for reduce in ("exact", "float"))
                distance = np.max(np.abs(losses(exact) - losses(floats)) / np.abs(losses(floats)))
                self.assertLess(distance, 1e-4)
                self.assertLess(float(np.mean(losses(exact)[-3:])), (1 - FALL) * float(np.mean(losses(exact)[:3])), "the loss does not fall enough to compare")
                ratio = read(exact, "series/steps")["payload_bytes"] / read(floats, "series/steps")["payload_bytes"]
                self.assertLessEqual(float(np.max(ratio)), PAYLOAD_RATIO, f"{name}: payload {ratio}")
                self.assertEqual(attribute(exact, "", "experiment_id"), attribute(floats, "", "experiment_id"))
                self.assertNotEqual(attribute(exact, "", "run_id"), attribute(floats, "", "run_id"))

    def test_a_mixture_of_kernels_is_refused(self):
        """Two kinds of kernels, BLAS's or our own, round differently: with reduce=exact that is an error at the start, and with float sums it is not."""
        levels = [level for level in ("x86-64-v3", "x86-64-v4") if call([PROGRAM, "info"], {"PEFTSCALE_KERNELS": level}).status == 0]
        mixtures = {"blas": ("OPENBLAS_CORETYPE=Haswell", "OPENBLAS_CORETYPE=Sandybridge")}
        if len(levels) == 2:
            mixtures["own"] = tuple(f"PEFTSCALE_KERNELS={level}" for level in levels)
        for name, (one, other) in mixtures.items():
            for reduce, status in (("exact", 1), ("float", 0)):
                words = ["train", "--quiet", *self.settings(f"mixed-{name}-{reduce}", method="lora", reduce=reduce, train__steps="3", check_every="0")]
                outcome = call([*MPIRUN, "-np", "1", "env", one, PROGRAM, *words, ":", "-np", "1", "env", other, PROGRAM, *words])
                self.assertEqual(outcome.status, status, outcome)
                if status:
                    self.assertEqual(outcome.err.count("error:"), 1, outcome)
                    self.assertIn("one kind of kernels", outcome.err)

    def test_divergence_is_seen_by_all(self):
        """Numbers that leave the finite range end the run with one message, not in nonsense."""
        for ranks in (1, 3):
            outcome = peftscale("train", "--quiet", *self.settings(f"diverged-{ranks}", method="full", reduce="exact", train__lr="1000", train__lr_head="1000", train__warmup="0", train__steps="60",
                                                                   output__theta="false"), ranks=ranks)
            self.assertEqual(outcome.status, 1, outcome)
            self.assertEqual(outcome.err.count("error:"), 1, outcome)
            self.assertIn("diverged", outcome.err)


if __name__ == "__main__":
    main()
