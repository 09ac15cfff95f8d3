#!/usr/bin/python3
# timeout: 600
"""The same training with 1, 2, 3, 4 ranks and 1, 2 threads: equal loss curves, and bitwise equal predictions of one theta. Run: test_rank_equality.py [-v]

The shards are fixed; only the order in which their gradients are summed differs, so curves agree to float's rounding.
"""

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
from harness import Case, attribute, evaluate, losses, main, make_tiny, methods, np, read, succeed, train  # noqa: E402

LAYOUTS = [(ranks, threads) for ranks in (1, 2, 3, 4) for threads in (1, 2)]
STEPS, TOLERANCE, FALL = 20, 1e-5, 0.2
DROPOUTS = {f"model__dropout_{place}": "0.1" for place in ("embedding", "attention", "hidden", "adapter", "head")}
BUCKET_FLOATS = 1 << 20  # a larger vector travels in several messages, behind backward


class RankEquality(Case):
    def curves(self, name, layouts=LAYOUTS, **changed):
        """Trains in every layout, compares with the first, returns the first's run file."""
        keys = {"train__steps": str(STEPS), "train__lr": "5e-3", "train__lr_head": "3e-2", "train__warmup": "0", **changed}
        runs = []
        for ranks, threads in layouts:
            settings = self.settings(f"{name}-{ranks}x{threads}", threads=str(threads), **keys)
            runs.append(train(*settings, ranks=ranks))
        first = losses(runs[0])
        self.assertEqual(len(first), STEPS)
        self.assertLess(np.mean(first[-3:]), (1 - FALL) * np.mean(first[:3]), f"{name}: the loss does not fall enough to compare anything: {first}")
        for layout, run in zip(layouts[1:], runs[1:]):
            distance = np.max(np.abs(losses(run) - first) / np.abs(first))
            self.assertLessEqual(distance, TOLERANCE, f"{name}: {layout[0]} ranks x {layout[1]} threads differ from {layouts[0]} by {distance:.1e}")
            self.assertEqual(attribute(run, "", "experiment_id"), attribute(runs[0], "", "experiment_id"))
            self.assertNotEqual(attribute(run, "", "run_id"), attribute(runs[0], "", "run_id"))
            self.assertEqual(read(run, "series/steps")["tokens"].tolist(), read(runs[0], "series/steps")["tokens"].tolist())
        return runs[0]

    def test_every_method_with_dropout(self):
        """Lengths from 1 to 128; dropout everywhere, because its masks are counted, not drawn in turn."""
        for method in methods():
            with self.subTest(method=method):
                self.curves(method, [(1, 1), (1, 2), (2, 1), (3, 2), (4, 1)], method=method, **DROPOUTS)

    def test_few_sequences(self):
        """7 sequences per step: on 3 ranks they never divide evenly, and of 8 shards one is empty."""
        data = make_tiny.write_dataset(self.at("short.h5"), counts=(21, 12, 12), seed=1)
        self.curves("seven", method="lora", train__batch="7", train__lr="2e-2", task__data=data)

    def test_fewer_sequences_than_ranks(self):
        data = make_tiny.write_dataset(self.at("three.h5"), counts=(3, 3, 3), seed=1)
        self.curves("three", [(1, 1), (4, 1), (4, 2)], method="lora", train__batch="3", train__lr="2e-2", task__data=data)

    def test_large_vector(self):
        """Full fine-tuning with a theta of several buckets, which are sent while backward still works."""
        model = make_tiny.write_model(self.at("wide"), width=256, layers=4, heads=4, ffn=1024, seed=2)
        data = make_tiny.write_dataset(self.at("narrow.h5"), counts=(24, 6, 6), longest=24, seed=3)
        run = self.curves("wide", [(1, 1), (1, 2), (2, 2), (3, 1), (4, 2)], method="full", model__path=model, task__data=data, train__batch="8", train__lr="1e-4",
                          train__lr_head="2e-3", output__theta="false")
        self.assertGreater(attribute(run, "accounting", "sent_floats"), 3 * BUCKET_FLOATS)
        self.curves("wide-node", [(1, 1), (2, 2), (3, 1), (4, 1)], method="full", model__path=model, task__data=data, train__batch="8", train__lr="1e-4",
                    train__lr_head="2e-3", output__theta="false", node_reduce="on")

    def test_masked_language_model(self):
        """The count that the gradient is divided by is of masked tokens, which no rank knows alone."""
        data = make_tiny.write_dataset(self.at("mlm.h5"), objective="mlm", counts=(64, 8, 8), longest=40)
        self.curves("mlm", [(1, 1), (1, 2), (2, 1), (3, 2), (4, 1)], method="full", task__data=data, train__lr="1e-2", train__lr_head="1e-2", train__clip="1")

    def test_fewer_threads_than_asked_for(self):
        """Where OpenMP gives a smaller team, its threads do the work of the missing ones."""
        settings = self.settings("limited", method="lora", threads="4", train__steps=str(STEPS))
        whole = losses(train(*settings))
        for limit in ({"OMP_THREAD_LIMIT": "1"}, {"OMP_THREAD_LIMIT": "3"}, {"OMP_DYNAMIC": "true"}):
            limited = losses(train(*settings, changes=limit))
            self.assertLessEqual(np.max(np.abs(limited - whole) / np.abs(whole)), TOLERANCE, str(limit))

    def test_evaluation_is_bitwise_equal(self):
        run = train(*self.settings("judged", method="lora", train__lr="1e-2"))
        wanted = wanted_rows = None
        for ranks, threads in ((1, 1), (1, 2), (2, 1), (3, 2), (4, 1)):
            with self.subTest(ranks=ranks, threads=threads):
                values = evaluate(run, f"threads={threads}", ranks=ranks)
                out = self.at("predictions.tsv")
                succeed("predict", run, "--out", out, f"threads={threads}", ranks=ranks)
                with open(out, "rb") as file:
                    rows = file.read()
                wanted, wanted_rows = wanted or values, wanted_rows or rows
                self.assertEqual(values, wanted)
                self.assertEqual(rows, wanted_rows)


if __name__ == "__main__":
    main()
