#!/usr/bin/env python3
"""Archives of a study's runs: real runs packed, read, unpacked and checked; nothing lost, whatever fails. Run: python3 tests/analysis/test_pack.py [-v]"""

import fcntl
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import unittest
import unittest.mock
from pathlib import Path

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
from harness import ROOT, Case, h5py, main, np, succeed, text, train  # noqa: E402

try:
    import pandas  # noqa: F401
except ImportError as e:
    print(f"skipped: no {e.name} (Debian's python3-{e.name})")
    sys.exit(77)

from made_runs import analyse, read_index, write_index, write_run  # noqa: E402
from analysis.load import pack  # noqa: E402

NAMES = ("lora-s1", "lora-s2", "red-s1", "red-s2")


def content_of(path, without=()):
    """Every object of a file: what a reader can see of it, to the byte."""
    found = {}

    def attributes(thing):
        result = {}
        for name in thing.attrs:
            attribute = thing.attrs.get_id(name)
            value = np.zeros(attribute.shape or (1,), f"V{attribute.get_type().get_size()}")
            attribute.read(value, mtype=attribute.get_type())
            result[name] = (attribute.get_type().encode(), attribute.shape, value.tobytes())
        return result

    def visit(name, thing):
        if name in without:
            return
        value = None
        if isinstance(thing, h5py.Dataset):
            kind = thing.id.get_type()
            rows = np.zeros(thing.shape or (1,), f"V{kind.get_size()}")
            if rows.size:
                thing.id.read(h5py.h5s.ALL, h5py.h5s.ALL, rows, mtype=kind)
            value = (kind.encode(), thing.shape, rows.tobytes())
        found[name] = (attributes(thing), value)

    with h5py.File(path, "r") as file:
        found["/"] = (attributes(file), None)
        file.visititems(visit)
    return found


class Pack(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.made = {name: Path(train(*cls.settings(name, **{"method": name[:-3], "seed": name[-1]}))) for name in NAMES}

    def setUp(self):
        self.place = Path(self.at(self.id().rpartition(".")[2])) / "my-study"
        self.runs = self.place / "runs"
        self.runs.mkdir(parents=True)
        self.addCleanup(shutil.rmtree, self.place.parent)
        self.archive, self.index = self.place / "archive.h5", self.place / "archive.tsv"
        self.lines = [self.real(name) for name in NAMES]

    def real(self, name, stage="1", **cells):
        """The line of a real run, copied here."""
        path = shutil.copy(self.made[name], self.runs / f"{name}.h5")
        with h5py.File(path, "r") as file:
            return {"request_id": text(file.attrs["request_id"]), "run_id": text(file.attrs["run_id"]), "stage": stage, "role": "run", "state": "done",
                    "file": f"runs/{name}.h5", "task": "tiny", "method": name[:-3], "seed": name[-1], "ranks": 1,
                    "metric": text(file["result"].attrs["metric"]),
                    "validation": float(file["result"].attrs["validation_metric"]), "attempts": 1, **cells}

    def made_up(self, name, made=None, **cells):
        path = write_run(self.runs / f"{name}.h5", **{"run_id": f"run-{name}", "request_id": f"request-{name}", **(made or {})})
        return {"request_id": f"request-{name}", "run_id": f"run-{name}", "role": "run", "state": "done", "file": f"runs/{path.name}", "method": "lora",
                "seed": 1, **cells}

    def pack(self, *words, code=0, lines=None, remarks=()):
        write_index(self.place, self.lines if lines is None else lines, remarks=remarks)
        done = analyse("pack", self.place, *words)
        self.assertEqual(done.status, code, done.out + done.err)
        return done

    def names(self, path=None):
        return analyse("unpack", path or self.archive).out.split()

    def archived(self, name, where="result", attribute="test_metric"):
        with h5py.File(self.archive, "r") as file:
            return float(file[name][where].attrs[attribute])

    def beside(self):
        """The folder's files: none that is temporary may remain."""
        return sorted(path.name for path in self.place.iterdir())

    # ---- the same, packed or not ----

    def test_tables_are_the_same(self):
        self.pack()
        for form in ("text", "markdown", "csv"):
            files = analyse("table", self.runs, "--format", form)
            self.assertIn("lora", files.out)
            self.assertEqual(files.out, analyse("table", self.archive, "--format", form).out)
        study = analyse("table", "--study", self.place)
        self.assertIn("Study my-study: 4 runs planned, 4 finished.", study.out)
        shutil.rmtree(self.runs)
        self.assertEqual(analyse("table", "--study", self.place).out, study.out)
        # A fresh clone has what was committed.
        (self.place / "index.tsv").unlink()
        clone = analyse("table", "--study", self.place)
        self.assertEqual(clone.out, study.out)
        self.assertIn("read from archive.tsv, which knows finished runs alone", clone.err)
        for line in read_index(self.index):
            self.assertEqual(line["file"], f"archive.h5:{line['method']}-s{line['seed']}")

    def test_columns_go_along(self):
        """Of the study's table, also those of a later version; the index has the last word."""
        self.pack(remarks=["# another remark", "# columns: sent test of_tomorrow", "# title: A study: two methods"])
        remarks = [line for line in self.index.read_text(encoding="utf-8").splitlines()[1:] if line.startswith("#")]
        self.assertEqual(remarks, ["# title: A study: two methods", "# columns: sent test of_tomorrow"])
        with h5py.File(self.archive, "r") as file:
            self.assertEqual(text(file["index"][()]), self.index.read_text(encoding="utf-8"))
        study = analyse("table", "--study", self.place, "--format", "markdown")
        self.assertIn("| method | sent per step | test |\n", study.out)
        (self.place / "index.tsv").unlink()
        self.assertEqual(analyse("table", "--study", self.place, "--format", "markdown").out, study.out)
        self.pack()
        self.assertNotIn("# columns", self.index.read_text(encoding="utf-8"))

    def test_order_of_names(self):
        """Files sort by a-b.h5 < a.h5, names by a < a-b."""
        lines = [self.made_up(name, seed=seed, made={"seed": seed, "contaminated": 1}) for seed, name in enumerate(("a", "a-b", "a.b", "a_b", "a0"))]
        self.pack(lines=lines)
        for name in NAMES:
            (self.runs / f"{name}.h5").unlink()
        files = analyse("table", self.runs).out
        self.assertIn("Contaminated: 5 runs: a-b.h5, a.b.h5, a.h5 and 2 more", files)
        self.assertEqual(files, analyse("table", self.archive).out)

    def test_a_run_counts_once(self):
        self.pack()
        (self.runs / "red-s2.h5").unlink()
        out = " ".join(analyse("table", self.place).out.split())
        self.assertIn("4 runs, 2 rows.", out)
        self.assertIn(f"In {self.archive} and in files, counted once: 3 runs.", out)
        copy = self.place / "copy.h5"
        shutil.copy(self.archive, copy)
        self.assertIn("counted once: 4 runs", " ".join(analyse("table", self.archive, copy).out.split()))

    def test_unpacked_run_is_the_run(self):
        self.pack()
        out = self.place / "out"
        done = analyse("unpack", self.place, *NAMES[:1], f"archive.h5:{NAMES[3]}", "--out", out)
        self.assertEqual((done.status, sorted(os.listdir(out))), (0, ["lora-s1.h5", "red-s2.h5"]), done.err)
        for name in ("lora-s1", "red-s2"):
            first, second = content_of(self.made[name], without=("theta",)), content_of(out / f"{name}.h5")
            self.assertEqual(first, second)
            self.assertTrue({"config", "series/steps", "series/ranks", "predictions/test", "predictions/validation"} <= set(second))
        verdict = succeed("check", str(self.made["lora-s1"]), str(out / "lora-s1.h5")).out
        self.assertEqual((verdict.count("VALID"), verdict.count("AGREE")), (2, 1), verdict)
        self.assertIn("theta is not stored", verdict)

    def test_unpack_refuses(self):
        self.pack()
        before = (self.runs / "lora-s1.h5").read_bytes()
        cases = ((["lora-s1x"], "holds no run 'lora-s1x'; did you mean lora-s1?"), (["lora-s3"], "; did you mean lora-s"),
                  (["lora-s1", "--out", self.runs], "lora-s1.h5: is there already"))
        for words, expected in cases:
            done = analyse("unpack", self.archive, *words)
            self.assertEqual((done.status, done.err.count("\n")), (1, 1))
            self.assertIn(expected, done.err)
        self.assertEqual((self.runs / "lora-s1.h5").read_bytes(), before)
        self.assertIn("not an archive of runs", analyse("unpack", self.runs / "lora-s1.h5").err)
        self.assertIn("there is no archive", analyse("unpack", self.place / "nowhere").err)

    # ---- what is in it ----

    def test_small_and_the_same_bytes(self):
        lines = [self.made_up(f"long-{number}") for number in range(3)]
        self.pack("--out", self.place / "a", lines=self.lines)
        time.sleep(1.1)  # HDF5's times count seconds
        self.pack("--out", self.place / "b", lines=self.lines)
        first = (self.place / "a/archive.h5").read_bytes()
        self.assertEqual(first, (self.place / "b/archive.h5").read_bytes())
        self.assertLess(len(first), sum((self.runs / f"{name}.h5").stat().st_size for name in NAMES))
        with h5py.File(self.place / "a/archive.h5", "r") as file:
            for name in NAMES:
                self.assertNotIn("theta", file[name])
                self.assertEqual((file[name]["series/steps"].compression, file[name]["series/steps"].shuffle), ("gzip", True))
                self.assertEqual(text(file[name].attrs["kind"]), "peftscale run")
        # In two steps, in another order, over an archive that is there: the same.
        for part in (lines[2:] + self.lines[3:], lines[:2] + self.lines[:3]):
            self.pack("--out", self.place / "c", lines=part)
        everything = lines + self.lines
        self.pack("--out", self.place / "c", lines=everything)
        self.pack("--out", self.place / "d", lines=everything)
        for name in ("archive.h5", "archive.tsv"):
            self.assertEqual((self.place / "c" / name).read_bytes(), (self.place / "d" / name).read_bytes(), name)

    def test_rows_of_a_long_run(self):
        """Tables of more than a chunk."""
        steps = np.zeros(50_000, [("attempt", "<i4"), ("step", "<i8"), ("step_s", "<f8"), ("communication_s", "<f8"), ("tokens", "<i8")])
        steps["attempt"], steps["step"], steps["step_s"], steps["tokens"] = 1, np.arange(50_000), np.random.default_rng(1).random(50_000), 300
        self.pack(lines=[self.made_up("long", made={"steps": steps})])
        with h5py.File(self.archive, "r") as file:
            self.assertLess(file["long/series/steps"].chunks[0], 50_000)
            self.assertTrue(np.array_equal(file["long/series/steps"][()], steps))

    def test_what_is_packed(self):
        self.lines[0] |= {"stage": "2"}
        self.lines[1] |= {"role": "trial", "state": "stale"}
        states = ("failed", "running", "stopped", "interrupted", "waiting", "missing")
        self.lines += [{"request_id": f"x{state}", "role": "run", "state": state} for state in states]
        self.assertIn("Not finished, so not packed: 6 of 10 planned runs", self.pack().out)
        self.assertEqual(self.names(), sorted(NAMES))
        self.assertEqual([(line["request_id"], line["role"], line["state"]) for line in read_index(self.index)],
                         [(line["request_id"], line["role"], line["state"]) for line in self.lines[:4]])
        self.pack("--stage", "2", "--out", self.place / "out")
        self.assertEqual(self.names(self.place / "out"), ["lora-s1"])
        self.assertIn("no stage '3'; there are: 2, 1", self.pack("--stage", "3", code=1).err)

    def test_nothing_to_pack(self):
        self.assertIn("no run is finished", self.pack(code=1, lines=[{"request_id": "x", "role": "run", "state": "missing"}]).err)
        self.assertEqual(self.beside(), ["index.tsv", "runs"])
        (self.place / "index.tsv").unlink()
        self.assertIn("has no index.tsv", analyse("pack", self.place).err)
        self.assertIn("no such folder", analyse("pack", self.place / "nowhere").err)

    # ---- an archive that is there ----

    def test_extended(self):
        self.assertIn("2 runs (2 new)", self.pack(lines=self.lines[:2]).out)
        (self.runs / "lora-s1.h5").unlink()
        done = self.pack()
        self.assertIn("4 runs (2 new, 2 as before)", done.out)
        # What the study knows no longer stays.
        self.assertIn("4 runs (4 as before)", self.pack(lines=self.lines[2:]).out)
        self.assertEqual(self.names(), sorted(NAMES))
        # A run that only the archive has.
        self.pack("--out", self.place / "out")
        (self.runs / "red-s1.h5").unlink()
        self.archive.unlink()
        self.index.unlink()
        self.assertIn("4 runs (4 as before)", self.pack("--out", self.place / "out").out)
        for name in ("archive.h5", "archive.tsv"):
            shutil.move(self.place / "out" / name, self.place / name)
        # An index that speaks of the archive itself.
        for line in self.lines:
            line["file"] = f"archive.h5:{line['method']}-s{line['seed']}"
            line["state"] = "stale"
        shutil.rmtree(self.runs)
        before = content_of(self.archive, without=("index",))
        self.assertIn("4 runs (4 as before)", self.pack().out)
        self.assertEqual(content_of(self.archive, without=("index",)), before)
        self.assertEqual({line["state"] for line in read_index(self.index)}, {"stale"})

    def test_newer_run_takes_the_place(self):
        line = self.made_up("again", made={"test": 0.1, "created": "2024-01-02T00:00:00Z"})
        self.pack(lines=[line])
        for created, test, kept, words in (("2024-01-01T23:59:59Z", 0.2, 0.1, "1 as before"), ("2024-01-02T00:00:00Z", 0.3, 0.1, "1 as before"),
                                           ("2024-01-02T00:00:01Z", 0.4, 0.4, "1 in the place of older ones")):
            line = self.made_up("again", made={"test": test, "created": created})
            self.assertIn(words, self.pack(lines=[line]).out)
            self.assertEqual(self.archived("again"), kept)

    # ---- failures ----

    def test_run_of_no_use_is_named_and_the_rest_packed(self):
        good = (self.runs / "lora-s1.h5").read_bytes()
        (self.runs / "lora-s1.h5").write_bytes(good[:len(good) // 2])
        (self.runs / "lora-s2.h5").unlink()
        shutil.copy(self.made["red-s2"], self.runs / "red-s1.h5")
        err = self.pack(code=1).err
        for words in ("runs/lora-s1.h5: broken: not a whole HDF5 file", "runs/lora-s2.h5: cannot be opened: No such file or directory",
                      "runs/red-s1.h5: is run "):
            self.assertIn(words, err)
        self.assertEqual(self.names(), ["red-s2"])
        # A broken one does not push a good one out of the archive.
        (self.runs / "lora-s1.h5").write_bytes(good)
        self.pack(code=1)
        (self.runs / "lora-s1.h5").write_bytes(good[:-100])
        self.assertIn("the archive keeps its older one", self.pack(code=1).err)
        self.assertEqual(self.names(), ["lora-s1", "red-s2"])

    def test_run_that_no_suite_wrote(self):
        def change(action):
            line = self.made_up("odd")
            with h5py.File(self.runs / "odd.h5", "r+") as file:
                action(file)
            done = self.pack(code=1, lines=[line])
            self.assertEqual(self.beside(), ["index.tsv", "runs"])
            return done.err
        self.assertIn("variable length", change(lambda file: file.attrs.__setitem__("note", "a text of h5py")))
        self.assertIn("variable length", change(lambda file: file.__setitem__("note", "a text of h5py")))
        self.assertIn("a link to elsewhere", change(lambda file: file.__setitem__("link", h5py.ExternalLink("/etc/passwd", "/"))))
        self.assertIn("a link to elsewhere", change(lambda file: file.__setitem__("link", h5py.SoftLink("/series"))))
        self.assertIn("groups in one another", change(lambda file: file.__setitem__("series/again", file["series"])))
        self.assertIn("more than the file can hold", change(lambda file: file.create_dataset("huge", (1 << 40,), "u1", chunks=True)))

    def test_two_runs_of_one_name(self):
        other = self.made_up("x")
        shutil.move(self.runs / "x.h5", self.place / "x.h5")
        self.assertIn("another run in the archive is called x", self.pack(code=1, lines=[self.made_up("x"), {**other, "request_id": "y", "file": "x.h5"}]).err)
        self.assertEqual(self.names(), ["x"])

    def test_damaged_archive_is_left_alone(self):
        self.pack(lines=self.lines[:2])
        whole = self.archive.read_bytes()
        flipped = bytearray(whole)
        flipped[len(whole) // 3] ^= 1
        for content in (whole[:-1], whole[:len(whole) // 2], bytes(flipped), b"", b"text\n", (self.runs / "lora-s1.h5").read_bytes()):
            self.archive.write_bytes(content)
            done = self.pack(code=1)
            self.assertEqual(done.err.count("\n"), 1, done.err)
            self.assertIn("archive.h5: ", done.err)
            self.assertIn("move it away to begin a new archive", done.err)
            self.assertEqual(self.archive.read_bytes(), content)
            self.assertEqual(self.beside(), ["archive.h5", "archive.tsv", "index.tsv", "runs"])
            if content and not content.startswith(self.made["lora-s1"].read_bytes()[:1000]):
                self.assertIn("Left out: 1", analyse("table", self.archive).out)
        self.archive.write_bytes(bytes(flipped))
        self.assertIn("archive.h5: broken: its content is not what was written", " ".join(analyse("table", self.archive).out.split()))

    def test_what_cannot_be_read_back_is_not_kept(self):
        self.pack(lines=self.lines[:2])
        before = self.archive.read_bytes()
        made = pack.make_archive

        def other_digest(*words):
            content, digests = made(*words)
            return content, digests | {"red-s1": b"other"}
        cases = ((other_digest, "holds another red-s1 than was written"), (lambda *words: (made(*words)[0][:5000], {"red-s1": b""}), "cannot be read"))
        for wrong, words in cases:
            with unittest.mock.patch.object(pack, "make_archive", wrong):
                self.assertIn(f"{words}", self.pack(code=1).err)
            self.assertEqual(self.archive.read_bytes(), before)
            self.assertEqual(self.beside(), ["archive.h5", "archive.tsv", "index.tsv", "runs"])

    def test_no_room(self):
        """A limit on the size of files fails a write as a full disk does."""
        self.pack(lines=self.lines[:2])
        before = {path: path.read_bytes() for path in (self.archive, self.index)}
        write_index(self.place, self.lines)

        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        done = subprocess.run([sys.executable, "-B", "-m", "analysis", "pack", str(self.place)], cwd=ROOT, capture_output=True, text=True, preexec_fn=limit)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        self.assertIn("File too large", done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertEqual({path: path.read_bytes() for path in before}, before)
        self.assertEqual(self.beside(), ["archive.h5", "archive.tsv", "index.tsv", "runs"])

    def test_where_nobody_may_write(self):
        """What is named is the archive, not what it is called while it is being made."""
        self.pack()
        name = NAMES[0]
        for words, reason in ((("pack", self.place, "--out", "/proc"), "/proc/archive.h5 cannot be written: "),
                              (("pack", self.place, "--out", "/proc/no/where"), "/proc/no/where/archive.h5 cannot be written: /proc/no: "),
                              (("unpack", self.place, name, "--out", "/proc"), f"/proc/{name}.h5 cannot be written: ")):
            done = analyse(*words)
            self.assertEqual((done.status, done.out), (1, ""))
            self.assertRegex(done.err, f"^analysis: {reason}[A-Z][a-z ]+\n$")

    def test_one_packer_at_a_time(self):
        handle = os.open(self.place, os.O_RDONLY)
        self.addCleanup(os.close, handle)
        fcntl.flock(handle, fcntl.LOCK_EX)
        self.assertIn("another packer is at work", self.pack(code=1).err)
        fcntl.flock(handle, fcntl.LOCK_UN)
        self.pack()

    def test_index_lost_between_the_two_files(self):
        """A packer that was killed between its two renames left an older archive.tsv: the archive knows its own index."""
        self.pack(lines=self.lines[:2])
        older = self.index.read_bytes()
        self.pack()
        self.index.write_bytes(older)
        self.assertIn("4 runs (4 as before)", self.pack(lines=self.lines[:2]).out)
        self.assertEqual(len(read_index(self.index)), 4)

    def test_git_takes_archives_and_no_runs(self):
        ignored = {"archive.h5": False, "archive.tsv": False, "index.tsv": True, "runs/a.h5": True, "runs/archive.h5": True, "table.md": True}
        for name, is_ignored in ignored.items():
            done = subprocess.run(["git", "check-ignore", "--no-index", "-q", f"results/a-study/{name}"], cwd=ROOT, capture_output=True)
            if done.returncode > 1:
                self.skipTest("not in a git repository")
            self.assertEqual(done.returncode == 0, is_ignored, name)


if __name__ == "__main__":
    unittest.TestCase.maxDiff = 2000
    main()
