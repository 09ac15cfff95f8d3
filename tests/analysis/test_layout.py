#!/usr/bin/python3
# timeout: 300
"""Run files read without this project: every shell line and every piece of Python of analysis/layout runs, on files of real trainings, and finds what the
project's own analysis finds. Run: test_layout.py [-v]"""

import ast
import contextlib
import io
import json
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
import harness  # noqa: E402
from harness import ROOT, h5py, main, np  # noqa: E402

try:
    import pandas as pd
except ImportError:
    print("skipped: no pandas (Debian's python3-pandas)")
    sys.exit(77)

from layouts import LAYOUT, PYTHON, LayoutCase, blocks  # noqa: E402

sys.path.insert(0, ROOT)
from analysis.load.collect import collect  # noqa: E402

UNTRIED = {"matlab", "julia"}


def cells(kind="code"):
    notebook = json.loads((LAYOUT / "runs.ipynb").read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind]


def functions(code):
    return {node.name: ast.dump(node) for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)}


class Layout(LayoutCase):
    def test_shell_lines(self):
        said = dict(line for title, language, code in blocks() if language == "sh" and title != "## R" for line in self.run_lines(code))
        self.assertGreaterEqual(len(said), 15)
        self.assertIn("whole\n", said.values(), "the checksum of the archive")

    def test_python_blocks(self):
        here, names = os.getcwd(), {}
        os.chdir(self.place)
        try:
            for title, language, code in blocks():
                if language == "python":
                    with contextlib.redirect_stdout(io.StringIO()) as out:
                        exec(compile(code, f"README.md, {title}", "exec"), names)
                    self.assertTrue(out.getvalue(), title)
        finally:
            os.chdir(here)
        self.assertEqual(list(names["settings"].items())[0][0], sorted(names["settings"])[0])
        self.assertEqual(len(names["runs"]), 9)
        self.assertGreater(names["last"]["step"], 20)
        with h5py.File(self.place / "run.h5") as run:
            right = (names["scores"].to_numpy().argmax(axis=1) == names["predictions"]["label"]).mean()
            self.assertAlmostEqual(right, run["result"].attrs["test_metric"])

    def test_what_was_not_tried_says_so(self):
        self.assertEqual({language for title, language, _ in blocks() if "(not tried)" in title}, UNTRIED)
        self.assertEqual({language for title, language, _ in blocks() if "(not tried)" not in title}, {"sh", "python", "r", "octave"})

    # ---- the script and the notebook ----

    def test_the_script_finds_what_the_analysis_finds(self):
        self.call(PYTHON, "analysis/layout/runs.py", "runs", "--out", "tables")
        frame = pd.read_csv(self.place / "tables" / "runs.csv").set_index("run")
        runs = collect([self.place / "runs"]).runs
        self.assertEqual(len(frame), len(runs))
        for run in runs:
            row = frame.loc[run.path.name.removesuffix(".h5")]
            self.assertEqual((row["method"], row["seed"], row["trainable"], row["stored_bytes"], row["sent_bytes"], row["peak_bytes"]),
                             (run.method, run.seed, run.trainable, run.stored_bytes, run.sent_bytes, run.memory_bytes))
            self.assertAlmostEqual(row["test"], run.test)
            self.assertAlmostEqual(row["validation"], run.validation)
        scores = frame.pivot(index="seed", columns="method", values="test")
        for row in pd.read_csv(self.place / "tables" / "differences.csv").itertuples():
            change = scores[row.method] - scores["lora"]
            self.assertEqual(row.seeds, 3)
            self.assertAlmostEqual(row.difference, change.mean())
            self.assertAlmostEqual(row.half, 4.303 * change.std() / np.sqrt(3))
        whole = (self.place / "tables" / "runs.csv").read_text()
        self.call(PYTHON, "analysis/layout/runs.py", "archive.h5", "--out", "tables")
        self.assertEqual((self.place / "tables" / "runs.csv").read_text(), whole, "an archive holds the same")

    def test_several_attempts(self):
        sys.path.insert(0, str(LAYOUT))
        try:
            import runs as script
        finally:
            sys.path.remove(str(LAYOUT))
        rows = pd.DataFrame({"attempt": [1, 1, 2, 1], "step": [1, 2, 2, 3], "loss": [4.0, 3.0, 2.0, 1.0]})
        self.assertEqual(script.newest(rows, "step")["loss"].tolist(), [4.0, 2.0, 1.0])
        rows = pd.DataFrame({"attempt": [1, 1], "step": [2, 2], "split": ["test", "test"], "metric": [0.1, 0.2]})
        self.assertEqual(script.newest(rows, "step", "split")["metric"].tolist(), [0.2])
        (self.place / "else.h5").write_bytes((self.place / "run.h5").read_bytes())
        with h5py.File(self.place / "else.h5", "r+") as file:
            file.attrs["kind"] = np.bytes_("peftscale comm")
        self.assertEqual(list(script.runs_in(self.place / "else.h5")), [])
        os.unlink(self.place / "else.h5")
        self.assertEqual({module.split(".")[0] for module in re.findall(r"^(?:import|from) (\S+)", (LAYOUT / "runs.py").read_text(), re.MULTILINE)},
                         {"argparse", "pathlib", "h5py", "pandas"})

    def test_the_notebook(self):
        notebook = json.loads((LAYOUT / "runs.ipynb").read_text(encoding="utf-8"))
        self.assertEqual((notebook["nbformat"], notebook["nbformat_minor"]), (4, 5))
        for cell in notebook["cells"]:
            self.assertIn(cell["cell_type"], ("code", "markdown"))
            self.assertRegex(cell["id"], r"^[a-zA-Z0-9_-]{1,64}$")
            if cell["cell_type"] == "code":
                self.assertEqual((cell["outputs"], cell["execution_count"]), ([], None))
        self.assertEqual(len({cell["id"] for cell in notebook["cells"]}), len(notebook["cells"]))
        with contextlib.suppress(ImportError):
            import nbformat
            nbformat.validate(nbformat.read(LAYOUT / "runs.ipynb", as_version=4))
        ours, theirs = functions("\n\n".join(cells())), functions((LAYOUT / "runs.py").read_text(encoding="utf-8"))
        self.assertEqual(ours, {name: theirs[name] for name in theirs if name != "main"}, "the notebook's functions are those of runs.py")

    def test_the_notebooks_cells_run(self):
        study = self.place / "study"  # its archive alone: runs of one's own may lie beside it
        study.mkdir()
        (study / "archive.h5").symlink_to(os.path.join(ROOT, "results/minilm-glue/archive.h5"))
        script, written = self.place / "cells.py", "\n".join(cells())
        self.assertIn('"../../results/minilm-glue"', written)
        told = "\nprint(len(frame), len(differences), len(course.index.unique('method')))\n"
        script.write_text(written.replace("../../results/minilm-glue", str(study)) + told, encoding="utf-8")
        out = harness.call([PYTHON, str(script)], directory=str(LAYOUT), changes={"MPLBACKEND": "Agg", "MPLCONFIGDIR": str(self.place)}, timeout_s=120)
        self.assertEqual((out.status, out.out), (0, "100 18 10\n"), str(out))


if __name__ == "__main__":
    main()
