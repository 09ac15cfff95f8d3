#!/usr/bin/env python3
"""Where what the analysis says and writes goes: devices and links, streams without our letters, words for what is not there, `make tables` of several studies.
Run: python3 tests/analysis/test_output.py [-v]"""

import os
import stat
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/support"))

try:
    import h5py  # noqa: F401
    import numpy  # noqa: F401
    import pandas  # noqa: F401
except ImportError as e:
    print(f"skipped: no {e.name} (Debian's python3-{e.name})")
    sys.exit(77)

import tap  # noqa: E402
from folders import FolderCase  # noqa: E402
from made_runs import write_index, write_run  # noqa: E402

from analysis.common.files import write_file  # noqa: E402


class Output(FolderCase):
    def study(self, folder, there=3, of=3):
        """Finished runs of two methods as the index tells, of which so many seeds have a file."""
        lines = []
        (folder / "runs").mkdir(parents=True, exist_ok=True)
        for method, score in (("lora", 0.5), ("red", 0.6)):
            for seed in range(1, of + 1):
                name = f"{method}-s{seed}"
                line = {"request_id": f"q{name:0>31}", "run_id": f"{name:0>32}", "stage": "1", "role": "run", "state": "done", "file": f"runs/{name}.h5",
                        "task": "trec6", "method": method, "seed": seed, "ranks": 2, "metric": "accuracy", "source_hash": "5" * 32}
                lines.append(line)
                if seed <= there:
                    write_run(folder / line["file"], seed=seed, method=method, task="trec6", test=score + seed / 100, run_id=line["run_id"],
                              request_id=line["request_id"])
        write_index(folder, lines)
        return folder

    def call(self, *words, **changes):
        command = [sys.executable, "-B", "-m", "analysis", *map(str, words)]
        return subprocess.run(command, cwd=ROOT, env={**os.environ, **changes}, capture_output=True, check=False)

    def test_a_pipe_is_written_to_and_stays_one(self):
        pipe = self.place / "pipe"
        os.mkfifo(pipe)
        reader = subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE)
        write_file(pipe, "±1\n")
        self.assertEqual(reader.communicate(timeout=20)[0].decode(), "±1\n")
        self.assertTrue(stat.S_ISFIFO(pipe.stat().st_mode))
        self.assertEqual(os.listdir(self.place), ["pipe"])

    def test_standard_output_by_its_name(self):
        done = self.call("runs", self.study(self.place) / "runs", "--format", "csv", "--out", "/dev/stdout")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(b"red-s3.h5", done.stdout)

    def test_a_link_stays_one(self):
        (self.place / "far").mkdir()
        link = self.place / "link"
        for target in ("far/there", "far/new"):
            link.unlink(missing_ok=True)
            link.symlink_to(target)
            write_file(link, target)
            self.assertTrue(link.is_symlink())
            self.assertEqual((self.place / target).read_text(), target)

    def test_letters_that_a_stream_lacks(self):
        self.study(self.place)
        for verb in ("table", "stats"):
            done = self.call(verb, "--study", self.place, PYTHONIOENCODING="ascii")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("52.00 +-2.48", done.stdout.decode("ascii"))
            self.assertNotIn(b"\\x", done.stdout)

    def test_many_files_left_out_for_one_reason(self):
        self.study(self.place, there=2, of=4)
        for verb in ("table", "stats"):
            done = self.call(verb, "--study", self.place)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("Left out: 4\n  4 files: cannot be opened", done.stdout.decode())
            self.assertNotIn("red-s4", done.stdout.decode())

    def test_a_full_disk_behind_standard_output(self):
        self.study(self.place)
        for words in (("table", self.place), ("runs", self.place, "--format", "csv")):
            with open("/dev/full", "w") as full:
                done = subprocess.run([sys.executable, "-B", "-m", "analysis", *map(str, words)], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, check=False)
            self.assertEqual((done.returncode, done.stderr.decode()), (1, "analysis: standard output cannot be written: No space left on device\n"))

    def test_no_such_control(self):
        self.study(self.place)
        for verb, words in (("table", ()), ("report", ("--out", self.place / "report.html")), ("plot", ("--out-dir", self.place, "--only", "score-sent"))):
            for control, is_said in (("dora", True), ("red", False)):
                done = self.call(verb, "--study", self.place, "--control", control, *words)
                self.assertEqual(done.returncode, int(is_said), done.stderr)
                self.assertEqual("there is no row of dora here. Rows: lora, red; name one" in done.stderr.decode(), is_said, (verb, control))

    def test_no_archive(self):
        done = self.call("unpack", self.place)
        self.assertEqual(done.returncode, 1)
        self.assertIn("there is no archive; `python3 -m analysis pack` makes it", done.stderr.decode())

    def test_make_goes_on_behind_a_study_without_runs(self):
        for name in ("Makefile", "analysis"):
            (self.place / name).symlink_to(ROOT / name)
        self.study(self.place / "results/a begun one", there=0)
        self.study(self.place / "results/b")

        def make(*words):
            return subprocess.run(["make", f"PYTHON={sys.executable} -B", *words], cwd=self.place, capture_output=True, text=True, check=False,
                                  env={name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))})
        done = make("tables")
        self.assertIn("no finished run in results/a begun one", done.stderr)
        self.assertNotEqual(done.returncode, 0)
        self.assertTrue((self.place / "results/b/table.md").exists(), done.stdout + done.stderr)
        self.assertEqual(make("tables", "STUDY=b").returncode, 0)
        self.study(self.place / "results/a begun one")
        done = make("tables", "STUDY=a begun one")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertTrue((self.place / "results/a begun one/table.md").exists())
        self.assertIn("there are no runs below results/none", make("tables", "STUDY=none").stdout)


if __name__ == "__main__":
    tap.main()
