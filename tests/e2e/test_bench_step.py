#!/usr/bin/python3
"""bench_step, by which speed is measured: its steps are those of a training, and what it says of them is true. Run: test_bench_step.py [-v]"""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
from harness import MPIRUN, PROGRAM, Case, call, h5py, losses, main, make_tiny, np, read, train  # noqa: E402

STEP = os.path.join(os.environ.get("PEFTSCALE_BUILD") or os.path.dirname(PROGRAM), "bench", "bench_step")


def bench(*words, ranks=2):
    return call([*MPIRUN, "-np", str(ranks), STEP, "--peak", "0.01", *words])


class Steps(Case):
    def words(self, **changed):
        return self.settings("bench", train__steps="6", train__keep="last", shards="2", model__dropout_hidden="0.1", **changed)

    def measure(self, *words, ranks=2, **changed):
        path = self.at("bench.json")
        outcome = bench("--json", path, "--warm", "2", "--steps", "4", *words, *self.words(**changed), ranks=ranks)
        self.assertEqual(outcome.status, 0, str(outcome))
        with open(path, encoding="utf-8") as file:
            return json.load(file), outcome

    def test_the_steps_of_a_training(self):
        for method in ("lora", "full"):
            with self.subTest(method=method):
                found, outcome = self.measure(method=method)
                run = train(*self.words(method=method), ranks=2)
                steps = read(run, "series/steps")
                self.assertEqual([step["tokens"] for step in found["steps"]], steps["tokens"].tolist())
                self.assertEqual([step["examples"] for step in found["steps"]], steps["examples"].tolist())
                np.testing.assert_allclose([step["loss"] for step in found["steps"]], losses(run), rtol=1e-5)
                self.assertEqual((found["warm"], len(found["ranks"]), len(found["plan"])), (2, 2, 6))
                self.assertIn("% of the peak", outcome.out)
                for rank in found["ranks"]:
                    self.assertGreater(min(rank["peak_before"], rank["peak_after"], rank["peak_bytes"], rank["proportional_bytes"]), 0)
                    self.assertEqual(len(rank["cpu_s"]), 6)
                    self.assertGreaterEqual(rank["first_step_s"], rank["ready_s"])

    def test_useful_work_of_full_fine_tuning(self):
        """All maps three times, attention's products six times, the head three times: by hand, from the sentences of each step."""
        found, _ = self.measure(method="full")
        with h5py.File(self.data, "r") as file:
            length, ids = np.diff(file["train/offsets"][:]), file["train/example_id"][:]
            classes = file.attrs["class_count"]
        width, ffn, layers = 32, 64, 2  # make_tiny's
        for step, plan in zip(found["steps"], found["plan"]):
            self.assertEqual([int(ids[row]) for row in plan["rows"]], plan["ids"])
            n = length[plan["rows"]].astype(float)
            maps, pairs = 2 * n.sum() * (4 * width**2 + 2 * width * ffn), 2 * (n**2).sum() * width
            self.assertEqual(step["flop"], layers * (3 * maps + 6 * pairs) + 3 * 2 * len(n) * width * classes)

    def test_the_plan_does_not_depend_on_ranks(self):
        found, _ = self.measure()
        path = self.at("plan.json")
        outcome = bench("--only", "plan", "--json", path, "--warm", "2", "--steps", "4", *self.words(), ranks=1)
        self.assertEqual(outcome.status, 0, str(outcome))
        with open(path, encoding="utf-8") as file:
            plan = json.load(file)
        self.assertEqual(plan["plan"], found["plan"])
        self.assertNotIn("steps", plan)

    def test_the_start(self):
        start = self.at("start.safetensors")
        self.measure("--start", start, method="lora")
        tensors = make_tiny.read_safetensors(start)
        self.assertEqual({name for name in tensors if "lora" not in name}, {"classifier.out_proj.weight", "classifier.out_proj.bias"})
        self.assertEqual(tensors["layer.1.v.lora_A"].shape, (8, 32))
        self.assertTrue(np.all(tensors["layer.1.v.lora_B"] == 0) and np.any(tensors["layer.1.v.lora_A"] != 0))

    def test_the_first_step_of_a_training(self):
        outcome = bench("--only", "first", *self.words(), f"output.dir={self.at('first')}")
        self.assertEqual(outcome.status, 0, str(outcome))
        found = json.loads(outcome.out)
        self.assertTrue(0 < found["ready_s"] <= found["first_step_s"] < 60)
        self.assertEqual(len(losses(os.path.join(self.at("first"), "bench.h5"))), 1)

    def test_what_is_wrong_is_said_once(self):
        for words, text in ((("--steps", "0"), "--steps 0"), (("--peak", "x"), "--peak x"), (("--bogus", "1"), "--bogus"), (("--only", "plan"), "--json"),
                            (("train.bath=3",), "train.bath"), (("threads=0",), "threads"), (("--json",), "needs a value"),
                            (("--warm", "1", "--steps", "1", "--json", "/no/such/folder/x.json", *self.words()), "/no/such/folder")):
            with self.subTest(words=words[:2]):
                outcome = bench(*words)
                self.assertNotEqual(outcome.status, 0)
                self.assertEqual(len(outcome.errors), 1, str(outcome))
                self.assertIn(text, outcome.errors[0])


if __name__ == "__main__":
    main()
