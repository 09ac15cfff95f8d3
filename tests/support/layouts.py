"""What the tests of analysis/layout share: its code blocks and cells, and a folder with the files that its text speaks of."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import harness
from harness import ROOT, command, environment, h5py
from sweeps import SweepCase

PYTHON = os.environ.get("PYTHON", "/usr/bin/python3")
LAYOUT = Path(ROOT) / "analysis" / "layout"
BLOCK = re.compile(r"^(?P<title>## .*?)$|^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
STUDY = "grid:\n  method: [lora, red, full]\nseeds: [1, 2, 3]\n"


def blocks():
    """(title of the section, language, code) of all code in README.md."""
    title = ""
    for found in BLOCK.finditer((LAYOUT / "README.md").read_text(encoding="utf-8")):
        title = found["title"] or title
        if found["language"]:
            yield title, found["language"], found["code"]


class LayoutCase(SweepCase):
    """In one folder: run.h5, run.h5.partial, archive.h5 and runs, as the text says, and `analysis` as a link."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.place = Path(cls.at("place"))
        cls.place.mkdir()
        case = cls("prepare")
        case.setUp()
        case.write(STUDY, epochs=5)
        case.run_all()
        harness.call([PYTHON, "-m", "analysis", "pack", case.results])
        os.rename(os.path.join(case.results, "runs"), cls.place / "runs")
        os.rename(os.path.join(case.results, "archive.h5"), cls.place / "archive.h5")
        shutil.copy(next((cls.place / "runs").glob("*lora-s1*.h5")), cls.place / "run.h5")
        os.symlink(os.path.join(ROOT, "analysis"), cls.place / "analysis")
        cls.leave_partial()

    def prepare(self):
        """No test: its methods make the study."""

    @classmethod
    def leave_partial(cls):
        words = cls.settings("killed", method="lora", train__epochs="5000")
        process = subprocess.Popen([*command("train", "--quiet", *words)], env=environment(), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        partial, deadline = Path(cls.at("runs")) / "killed.h5.partial", time.monotonic() + 60
        try:
            while time.monotonic() < deadline:
                time.sleep(0.05)
                with contextlib.suppress(OSError), h5py.File(partial, "r", libver="latest", swmr=True) as file:
                    if len(file["series/steps"]) > 20:
                        break
            process.send_signal(signal.SIGKILL)
        finally:
            process.kill()
            process.wait()
        shutil.copy(partial, cls.place / "run.h5.partial")

    def call(self, *words):
        done = harness.call([*map(str, words)], directory=str(self.place), timeout_s=120)
        self.assertEqual(done.status, 0, str(done))
        return done.out

    def run_lines(self, code):
        """Each by itself, so that no failure hides; none says nothing, but for those whose work is a file."""
        kept = ""
        for line in code.splitlines():
            if line.startswith("name="):
                kept = line
                continue
            script = (f"{kept}\n{line}" if "$name" in line else line).replace("python3 ", f"{PYTHON} ", 1)
            out = self.call("bash", "-e", "-o", "pipefail", "-c", script)
            self.assertTrue(out or line.startswith("cp "), f"says nothing: {line}")
            yield line, out
