#!/usr/bin/python3
# timeout: 300
# needs: languages
"""Run files read in R and Octave: the code of analysis/layout finds what the project's own analysis finds. Run: test_layout_languages.py [-v]"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
import pandas as pd  # noqa: E402
from harness import main  # noqa: E402
from layouts import PYTHON, LayoutCase, blocks  # noqa: E402


class Languages(LayoutCase):
    def test_r(self):
        for package, count in (("rhdf5", 2), ("hdf5r", 1)):
            codes = [code for _, language, code in blocks() if language == "r" and f"library({package})" in code]
            self.assertEqual(len(codes), count)
            for code in codes:
                (self.place / "block.R").write_text(code, encoding="utf-8")
                out = self.call("Rscript", "block.R")
                if "predictions" in code:
                    said, counted = (float(line.split()[1]) for line in out.splitlines() if line.startswith("[1] "))
                    self.assertAlmostEqual(said, counted, places=6)
                else:
                    self.assertRegex(out, r"(?m)^\[1\] 0\.\d+$")

    def test_octave_block(self):
        self.call(PYTHON, "analysis/layout/runs.py", "runs", "--out", "tables")
        code = next(code for _, language, code in blocks() if language == "octave")
        (self.place / "block.m").write_text(code, encoding="utf-8")
        out = self.call("octave", "--no-gui", "--quiet", "--norc", "block.m")
        course = pd.read_csv(self.place / "tables" / "curves.csv").query("method == 'lora'")
        self.assertEqual(out.strip(), f"{len(course)} steps, loss {course['mean'].iloc[0]:.6f} to {course['mean'].iloc[-1]:.6f}")

    def test_r_finds_the_same(self):
        (_, out), = self.run_lines(next(code for title, _, code in blocks() if title == "## R"))
        self.assertIn("difference tiny full 3 ", out)
        out = self.call("Rscript", "analysis/layout/runs.R", "runs", "red")
        self.call(PYTHON, "analysis/layout/runs.py", "runs", "--control", "red", "--out", "tables")
        table = pd.read_csv(self.place / "tables" / "differences.csv").set_index("method")
        found = {words[2]: list(map(float, words[3:])) for words in (line.split() for line in out.splitlines() if line.startswith("difference "))}
        self.assertEqual(found.keys(), set(table.index))
        for method, (seeds, mean, half) in found.items():
            self.assertEqual(seeds, table.loc[method, "seeds"])
            self.assertAlmostEqual(mean, table.loc[method, "difference"], places=8)
            self.assertAlmostEqual(half, table.loc[method, "half"], delta=1e-3 * abs(half) + 1e-9)  # three digits of t stand in the script
        course = pd.read_csv(self.place / "tables" / "curves.csv").query("method == 'red'")
        self.assertAlmostEqual(float(out.split()[-1]), course["mean"].iloc[-1], places=6)


if __name__ == "__main__":
    main()
