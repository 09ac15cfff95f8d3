#!/usr/bin/python3
"""Every preset composes into a configuration of the model, task and method that its name says. Run: test_presets.py [-v]"""

import json
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
from harness import main, methods, peftscale, succeed  # noqa: E402


class Presets(unittest.TestCase):
    def test_each_is_what_its_name_says(self):
        names = [row["name"] for row in json.loads(succeed("list", "presets", "--json").out)["presets"]]
        self.assertGreater(len(names), 10)
        for name in names:
            with self.subTest(preset=name):
                values = json.loads(succeed("config", f"preset={name}", "--json").out)
                stem = name.split("/")[-1]
                self.assertEqual(stem, f"{values['model']['name']['value']}-{values['task']['name']['value']}-{values['method']['name']['value']}")
                self.assertIn(values["method"]["name"]["value"], methods())
                for key in ("lr", "epochs", "batch"):
                    self.assertIn("configs/preset/", values["train"][key]["origin"], f"train.{key} is not set by the preset")

    def test_an_unknown_preset_is_refused_with_the_nearest(self):
        outcome = peftscale("config", "preset=vera/roberta-base-cola-verra")
        self.assertEqual(outcome.status, 2)
        self.assertIn("vera/roberta-base-cola-vera", outcome.err)


if __name__ == "__main__":
    main()
