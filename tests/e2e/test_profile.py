#!/usr/bin/python3
"""`train --profile`: a table and JSON whose parts make up the step and whose FLOP follow from the shapes. Run: test_profile.py [-v]"""

import json
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
from harness import Case, h5py, main, np, peftscale, read, succeed  # noqa: E402

STEPS = 6


class Profile(Case):
    def profile(self, name, ranks=1, **changed):
        keys = {"method": "lora", "train__steps": str(STEPS), "shards": "4", **changed}
        return json.loads(succeed("train", "--json", "--quiet", "--profile", *self.settings(name, **keys), ranks=ranks).out)

    def part(self, outcome, name):
        return next(row for row in outcome["profile"]["parts"] if row["part"] == name)

    def test_parts_make_up_the_step(self):
        for ranks, threads in ((1, 1), (2, 2)):
            with self.subTest(ranks=ranks, threads=threads):
                outcome = self.profile(f"sum-{ranks}x{threads}", ranks, threads=str(threads))
                profile = outcome["profile"]
                self.assertEqual(profile["steps"], STEPS - 1)  # the first does not count
                self.assertGreater(profile["peak_flop_s"], 1e8)
                total = sum(row["forward_s"] + row["backward_s"] for row in profile["parts"])
                self.assertLess(abs(total / profile["step_s"] - 1), 1e-6 if threads == 1 else 0.5)  # of several threads it is a mean
                for name in ("q, k, v", "attention", "down", "join and norm", "GELU", "head"):
                    self.assertGreater(self.part(outcome, name)["forward_s"], 0)

    def test_flop_follow_from_the_shapes(self):
        """LoRA on q and v of every layer: all maps go forward, and back down to, but not through, the lowest."""
        outcome = self.profile("flop")
        with h5py.File(outcome["run"], "r") as file:
            tokens = file["series/steps"]["tokens"][1:STEPS].mean()
        self.assertAlmostEqual(outcome["profile"]["tokens"], tokens)
        with open(os.path.join(self.model, "config.json"), encoding="utf-8") as file:
            shape = json.load(file)
        width, wide, layers = shape["hidden_size"], shape["intermediate_size"], shape["num_hidden_layers"]
        for name, numbers in (("q, k, v", 3 * width * width), ("attention output", width * width), ("up", width * wide), ("down", width * wide)):
            row = self.part(outcome, name)
            self.assertAlmostEqual(row["forward_flop"] / (2 * tokens * layers * numbers), 1, places=9)
            back = layers - 1 if name == "q, k, v" else layers
            self.assertAlmostEqual(row["backward_flop"] / (2 * tokens * back * numbers), 1, places=9)

    def test_the_methods_own_time_is_in_every_run(self):
        """As the profile has it; where the base model's numbers are trained, nothing is the method's own."""
        outcome = self.profile("own")
        steps = read(outcome["run"], "series/steps")[1:]
        own = sum(row["forward_s"] + row["backward_s"] for row in outcome["profile"]["parts"] if row["part"] == "adapter")
        self.assertLess(abs(own / steps["adapter_s"].mean() - 1), 0.2)
        self.assertTrue((steps["adapter_s"] < steps["forward_s"] + steps["backward_s"]).all())
        for method, is_apart in (("head", True), ("bitfit", False)):
            found = read(succeed("train", "--quiet", *self.settings(method, method=method, train__steps="2")).out.split()[-1], "series/steps")["adapter_s"]
            self.assertEqual(found.tolist() == [0, 0], is_apart)
            self.assertEqual(bool(np.isnan(found).all()), not is_apart)

    def test_what_a_method_does_not_touch_has_no_time(self):
        outcome = self.profile("head", method="head")
        adapters = [row for row in outcome["profile"]["parts"] if row["part"] == "adapter"]
        self.assertEqual(len(adapters), 4)
        self.assertTrue(all(row["forward_s"] == 0 and row["backward_s"] == 0 for row in adapters))
        self.assertEqual(self.part(outcome, "down")["backward_s"], 0)  # nothing below the head is trained

    def test_table(self):
        out = succeed("train", "--profile", "--quiet", *self.settings("table", method="lora", train__steps=str(STEPS))).out
        lines = out.splitlines()
        self.assertTrue(lines[0].startswith(f"profile of rank 0: {STEPS - 1} steps"), out)
        self.assertTrue(all(len(line) <= 120 for line in lines[:-1]), out)
        for name in ("q, k, v", "  adapter", "attention output", "GELU", "sum over ranks", "step"):
            self.assertTrue(any(line.startswith(name + " ") for line in lines), f"no line {name}: {out}")
        self.assertTrue(lines[-1].endswith("table.h5"))  # the run file's path stays the last line

    def test_one_step_has_no_profile(self):
        out = succeed("train", "--profile", "--quiet", *self.settings("single", method="lora", train__steps="1")).out
        self.assertIn("the first does not count", out)

    def test_it_changes_no_number(self):
        """And without the flag nothing of it is printed."""
        plain = json.loads(succeed("train", "--json", "--quiet", *self.settings("plain", method="lora", train__steps=str(STEPS), reduce="exact")).out)
        outcome = self.profile("same", shards="8", reduce="exact")
        self.assertNotIn("profile", plain)
        self.assertEqual(read(plain["run"], "series/steps")["theta_hash"].tolist(), read(outcome["run"], "series/steps")["theta_hash"].tolist())

    def test_unknown_spelling(self):
        outcome = peftscale("train", "--profil", *self.settings("none"))
        self.assertEqual(outcome.status, 2, outcome)
        self.assertIn("--profile", outcome.err)


if __name__ == "__main__":
    main()
