#!/usr/bin/python3
# timeout: 600
"""head_reduce: the task head's gradient in the sum, or formed by every rank from the rows of all examples: bytes in the run file, choice, identity, refusals.

Run: test_head_reduce.py [-v]. That both ways train the same bits is in test_exact_sum.py.
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
from harness import Case, attribute, losses, main, make_tiny, methods, np, peftscale, read, succeed, train  # noqa: E402

WIDTH, CLASSES, EXAMPLES, SHARDS = 32, 3, 64, 8
TAIL = {"float": 4, "exact": 3}  # loss, examples, tokens; a float sum says there whether a rank is in trouble
NUMBER = {"float": 4, "exact": 8}


def head_floats(head, outputs=CLASSES):
    return WIDTH * outputs + outputs + (WIDTH * WIDTH + WIDTH if head == "tanh" else 0)


def row_bytes(head, outputs=CLASSES):
    """The input and the logits' gradient; with the dense layer its input and the gradient before the tanh, too."""
    return 4 * (outputs + WIDTH * (3 if head == "tanh" else 1))


def sum_bytes(ranks, size):
    """What a rank sends for a sum of so many bytes, by Open MPI's choice."""
    return size * {1: 0, 2: 1, 4: 2 if size < 8192 else 1.5}[ranks]


def batches(batch, steps):
    per_epoch = -(-EXAMPLES // batch)
    return [min(batch, EXAMPLES - step % per_epoch * batch) for step in range(steps)]


def share(rank, ranks):
    """Shards of a rank."""
    return SHARDS // ranks + (rank < SHARDS % ranks)


class HeadReduce(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.even = make_tiny.write_dataset(cls.at("even.h5"), counts=(EXAMPLES, 8, 8), shortest=9, longest=9)  # every shard of a step has as many sequences
        cls.scores = make_tiny.write_dataset(cls.at("scores.h5"), objective="regress", counts=(EXAMPLES, 8, 8), shortest=9, longest=9)

    def run_file(self, name, ranks=2, changes=None, **changed):
        keys = {"task__data": self.even, "method": "lora", "train__batch": "16", "train__steps": "6", "shards": str(SHARDS), "output__theta": "false",
                "output__predictions": "false", **changed}
        return train(*self.settings(name, **keys), ranks=ranks, changes=changes)

    def account(self, run, name):
        value = attribute(run, "accounting", name)
        return value if isinstance(value, str) else int(value)

    def test_bytes(self):
        """What rank 0 gave is the formula in every step, for both sums, both heads, batches of two sizes and rank counts that divide the shards and do not."""
        for head in ("linear", "tanh"):
            for reduce in ("float", "exact"):
                for ranks, batch in ((2, 16), (2, 24), (3, 16), (4, 24)):
                    for way in ("dense", "factors"):
                        with self.subTest(head=head, reduce=reduce, ranks=ranks, batch=batch, way=way):
                            run = self.run_file(f"{head}-{reduce}-{ranks}-{batch}-{way}", ranks, head_reduce=way, reduce=reduce, model__head=head, train__batch=str(batch))
                            self.check_bytes(run, head, reduce, ranks, batch, way)

    def check_bytes(self, run, head, reduce, ranks, batch, way, outputs=CLASSES):
        segments = len(read(run, "segments"))
        rest = NUMBER[reduce] * (self.account(run, "sent_floats") + TAIL[reduce]) + (segments + 2 if reduce == "exact" else 0)
        examples = batches(batch, len(losses(run)))
        dense, mean = NUMBER[reduce] * head_floats(head, outputs), np.mean(examples) / ranks * row_bytes(head, outputs)
        first = [count // SHARDS * share(0, ranks) * row_bytes(head, outputs) for count in examples]
        self.assertEqual(self.account(run, "head_reduce"), way)
        self.assertEqual(self.account(run, "head_bytes_dense"), dense)
        self.assertEqual(self.account(run, "head_bytes_factors"), round(mean))
        self.assertEqual(self.account(run, "head_wire_estimate_factors"), round((ranks - 1) * mean))
        self.assertEqual(self.account(run, "sent_bytes_per_step"), rest + (dense if way == "dense" else round(mean)))
        self.assertEqual(read(run, "series/steps")["payload_bytes"].tolist(), [rest + (dense if way == "dense" else own) for own in first])
        self.assertEqual(int(attribute(run, "result", "gradient_payload_bytes")), int(read(run, "series/steps")["payload_bytes"].sum()))

    def test_every_method(self):
        """Float sums: the same losses to rounding, and the head's bytes alone are what changes. VB-LoRA's messages are compact in both. Full fine-tuning's rows differ from
        step to step: here it sends all."""
        for method in methods():
            with self.subTest(method=method):
                runs = {way: self.run_file(f"{method}-{way}", 2, method=method, head_reduce=way, model__head="tanh", model__dropout_head="0.1",
                                           payload="dense" if method == "full" else "compact") for way in ("dense", "factors")}
                self.assertLess(np.max(np.abs(losses(runs["dense"]) / losses(runs["factors"]) - 1)), 1e-4)
                self.assertNotEqual(losses(runs["factors"])[0], losses(runs["factors"])[-1])
                for way, run in runs.items():
                    self.check_bytes(run, "tanh", "float", 2, 16, way)

    def test_regression(self):
        runs = {way: self.run_file(f"scores-{way}", 3, task__data=self.scores, head_reduce=way, model__head="tanh") for way in ("dense", "factors")}
        self.assertLess(np.max(np.abs(losses(runs["dense"]) / losses(runs["factors"]) - 1)), 1e-4)
        for way, run in runs.items():
            self.check_bytes(run, "tanh", "float", 3, 16, way, outputs=1)

    def test_choice(self):
        """auto takes what sends fewer bytes: the sides change with the head, the batch, the ranks and the width of a number."""
        for head, batch, ranks, rank, reduce, expected in (
                ("linear", 16, 2, 8, "float", "dense"), ("linear", 4, 2, 8, "float", "factors"), ("tanh", 16, 2, 8, "float", "factors"), ("tanh", 32, 2, 8, "float", "dense"),
                ("tanh", 32, 2, 8, "exact", "factors"), ("tanh", 4, 1, 8, "float", "dense"),
                ("tanh", 16, 4, 2, "float", "factors"), ("tanh", 32, 4, 2, "float", "dense"),  # a small message with the head and without
                ("tanh", 24, 4, 4, "float", "dense"),  # the head makes it a large one, which goes a cheaper way
                ("tanh", 16, 4, 8, "float", "factors"), ("tanh", 24, 4, 8, "float", "factors"), ("tanh", 32, 4, 8, "float", "dense")):
            with self.subTest(head=head, batch=batch, ranks=ranks, rank=rank, reduce=reduce):
                run = self.run_file(f"choice-{head}-{batch}-{ranks}-{rank}-{reduce}", ranks, model__head=head, method__rank=str(rank), train__batch=str(batch), reduce=reduce,
                                    train__steps="3")
                rest = NUMBER[reduce] * (self.account(run, "sent_floats") + TAIL[reduce])
                dense, factors = (self.account(run, f"head_wire_estimate_{way}") for way in ("dense", "factors"))
                self.assertEqual(self.account(run, "head_reduce"), expected)
                self.assertEqual(expected, "factors" if factors < dense else "dense")
                self.assertEqual(dense, round(sum_bytes(ranks, rest + NUMBER[reduce] * head_floats(head)) - sum_bytes(ranks, rest)))

    def test_estimate(self):
        """The estimates are what the MPI library's own monitoring counts: bytes that all ranks sent per step, with the head in the sum and as factors."""
        for ranks, rank in ((2, 8), (3, 8), (4, 2), (4, 8), (6, 8)):
            with self.subTest(ranks=ranks, rank=rank):
                sent, run = {}, None
                for way in ("dense", "factors"):
                    few, many = (self.monitored(f"sent-{ranks}-{rank}-{way}-{steps}", ranks, method__rank=str(rank), head_reduce=way, train__steps=str(steps))
                                 for steps in (8, 24))  # whole epochs
                    run = many[1]
                    sent[way] = (many[0] - few[0]) / 16 / ranks
                dense, factors = (self.account(run, f"head_wire_estimate_{way}") for way in ("dense", "factors"))
                self.assertLessEqual(abs(sent["dense"] - sent["factors"] - (dense - factors)), 1)

    def monitored(self, name, ranks, **changed):
        """Bytes that collectives of a training sent, and its run file."""
        folder = self.at(f"monitored-{name}")
        os.mkdir(folder)
        changes = {"OMPI_MCA_pml": None, "OMPI_MCA_osc": "^monitoring", "OMPI_MCA_pml_monitoring_enable": "2", "OMPI_MCA_pml_monitoring_enable_output": "3",
                   "OMPI_MCA_pml_monitoring_filename": os.path.join(folder, "sent")}
        run = self.run_file(name, ranks, changes=changes, model__head="tanh", train__evaluate_every="1000", check_every="0", train__keep="last", **changed)
        files = [os.path.join(folder, file) for file in os.listdir(folder)]
        if len(files) < ranks:
            self.skipTest("this MPI library has no monitoring")
        lines = [line.split() for file in files for line in open(file, encoding="utf-8")]
        return sum(int(words[3]) for words in lines if words[0] == "I"), run

    def test_identity(self):
        """How the head travels is execution: the same experiment, another run; what auto chose is the same run as the word itself."""
        runs = {way: self.run_file(f"identity-{way}", 2, model__head="tanh", **({"head_reduce": way} if way != "auto" else {})) for way in ("dense", "factors", "auto")}
        experiments = {attribute(run, "", "experiment_id") for run in runs.values()}
        ids = {way: attribute(run, "", "run_id") for way, run in runs.items()}
        self.assertEqual(len(experiments), 1)
        self.assertNotEqual(ids["dense"], ids["factors"])
        self.assertEqual(ids["auto"], ids["factors"])
        self.assertIn("head_reduce: factors", read(runs["auto"], "config")[()].decode())
        self.assertEqual(losses(runs["auto"]).tolist(), losses(runs["factors"]).tolist())

    def test_one_rank(self):
        """Nothing travels; the rows may still be the way, if one insists."""
        runs = {way: self.run_file(f"one-{way}", 1, head_reduce=way, model__head="tanh", reduce="exact") for way in ("dense", "factors", "auto")}
        hashes = [read(run, "series/steps")["theta_hash"].tolist() for run in runs.values()]
        self.assertEqual([self.account(run, "head_reduce") for run in runs.values()], ["dense", "factors", "dense"])
        self.assertEqual(hashes[0], hashes[1])
        self.assertEqual(hashes[0], hashes[2])
        for run in runs.values():
            self.assertEqual(set(read(run, "series/steps")["payload_bytes"].tolist()), {0})
            self.assertEqual(self.account(run, "head_wire_estimate_factors"), 0)

    def test_said(self):
        for way, words in (("dense", "travels in the sum"), ("factors", "travels as factors")):
            outcome = succeed("train", "--verbose", *self.settings(f"said-{way}", method="lora", head_reduce=way, train__steps="2", train__batch="8"), ranks=2)
            self.assertIn(words, outcome.err)
            self.assertIn("396 B in the sum, or 560 B of rows", outcome.err)

    def test_refused(self):
        """Masked language modelling has no such rows; auto knows. Other words are refused with the ones there are."""
        data = make_tiny.write_dataset(self.at("mlm.h5"), objective="mlm", counts=(32, 8, 8), longest=40)
        for ranks in (1, 3):
            outcome = peftscale("train", "--quiet", *self.settings("mlm-factors", method="lora", task__data=data, head_reduce="factors"), ranks=ranks)
            self.assertEqual(outcome.status, 2, outcome)
            self.assertEqual(len(outcome.errors), 1, outcome)
            self.assertIn("head_reduce=factors", outcome.err)
            self.assertIn("masked language modelling", outcome.err)
        run = train(*self.settings("mlm-auto", method="lora", task__data=data, train__steps="2"), ranks=2)
        self.assertEqual([self.account(run, name) for name in ("head_reduce", "head_bytes_factors")], ["dense", 0])
        outcome = peftscale("train", "--quiet", *self.settings("bad", method="lora", head_reduce="factor"))
        self.assertEqual(outcome.status, 2, outcome)
        for word in ("head_reduce", "dense", "factors"):
            self.assertIn(word, outcome.err)


if __name__ == "__main__":
    main()
