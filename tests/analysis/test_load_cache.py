#!/usr/bin/env python3
"""The cache of what was read: it tells the same as the files, to the bit, or nothing. Run: python3 tests/analysis/test_load_cache.py [-v]"""

import gzip
import json
import math
import os
import random
import shutil
import struct
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from unittest import mock

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

try:
    import h5py  # noqa: F401
    import pandas  # noqa: F401
except ImportError as e:
    print(f"skipped: no {e.name} (Debian's python3-{e.name})")
    sys.exit(77)

import tap  # noqa: E402
from folders import FolderCase  # noqa: E402
from made_runs import analyse, index_text, series, write_run  # noqa: E402

from analysis.load import cache, files  # noqa: E402
from analysis.load.collect import collect  # noqa: E402
from analysis.load.measure import Validation  # noqa: E402
from analysis.load.study import read_study  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
FEWEST, COUNT = 6, 9  # runs that make a cache worth writing, of files.FEWEST_NEW; runs that are made


def bits(value):
    """Equal for what is equal to the bit."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else struct.pack("<d", value)
    if isinstance(value, (tuple, list)):
        return [type(value), *map(bits, value)]
    if isinstance(value, dict):
        return [(key, bits(each)) for key, each in value.items()]
    if isinstance(value, Validation):
        return [bits(each) for each in vars(value).values()]
    return type(value), value


def fingerprint(collection):
    runs = [[(each.name, bits(getattr(run, each.name))) for each in fields(run)] for run in collection.runs]
    return runs, collection.left_out, collection.twice


class Cache(FolderCase):
    def setUp(self):
        super().setUp()
        self.place, self.home = self.place / "results", self.place / "home"
        for patch in (mock.patch.dict(os.environ, {"XDG_CACHE_HOME": str(self.home)}), mock.patch.object(files, "FEWEST_NEW", FEWEST)):
            patch.start()
            self.addCleanup(patch.stop)
        self.file = self.place / cache.NAME

    def make(self, count=COUNT, start=0):
        """Runs and files of no use, all long settled."""
        for number in range(start, start + count):
            write_run(self.place / f"runs/r{number:03d}.h5", seed=number, run_id=f"{number:032x}", steps=series([0.1 + number / 7] * 20, forward_s=1 / 3),
                      validations=[(5, 1, 0.1, 1 / 7, 0.3), (20, 2, 0.2, 1 / 9, 0.3)], memory=[number + 1], train_s=math.pi)
        (self.place / "runs/broken.h5").write_bytes(b"not HDF5")
        (self.place / "runs/live.h5.partial").write_bytes(b"")
        self.settle()

    def settle(self):
        for path in self.place.rglob("*"):
            if path.is_file():
                os.utime(path, (1e9, 1e9))

    def opened(self):
        """How many files the next look opens, and what it sees."""
        seen = []
        with mock.patch.object(files, "read_all", side_effect=lambda function, paths: seen.extend(paths) or real(function, paths)):
            found = collect([self.place])
        return len(seen), fingerprint(found)

    # ---- what it tells ----

    def test_every_value_survives_to_the_bit(self):
        self.make(1)
        (run,) = collect([self.place]).runs
        dice = random.Random(5)
        odd = [0.0, -0.0, math.nan, math.inf, -math.inf, 5e-324, 1.7976931348623157e308, 0.1, 1 / 3]
        for _ in range(300):
            values = {each.name: dice.choice([*odd, struct.unpack("<d", dice.randbytes(8))[0]]) for each in fields(run) if each.type is float}
            whole = {each.name: dice.choice([0, -1, 1 << 62, dice.getrandbits(60)]) for each in fields(run) if each.type is int}
            maybe = {each.name: dice.choice([None, 0, 1 << 50]) for each in fields(run) if each.type == int | None}
            texts = {each.name: dice.choice(["", "ü \"\\ \n \x00 \U0001f600", "plain"]) for each in fields(run) if each.type is str and each.name != "member"}
            other = replace(run, **values, **whole, **maybe, **texts, settings={"a b": "c=\t", "": ""}, contaminated=dice.random() < 0.5,
                            phases=dict(zip(run.phases, dice.choices(odd, k=6))),
                            validations=tuple(Validation(1, 2, *dice.choices(odd, k=3), 1 << 40) for _ in range(dice.randrange(3))))
            packed = json.loads(json.dumps(cache.pack_run(other)))
            back = cache.unpack_run(packed, other.path, other.member)
            self.assertEqual([bits(getattr(back, each.name)) for each in fields(run)], [bits(getattr(other, each.name)) for each in fields(run)])

    def test_a_second_look_opens_nothing(self):
        self.make()
        first = self.opened()
        self.assertEqual(first[0], COUNT + 1)
        self.assertTrue(self.file.exists())
        self.assertEqual(self.opened(), (0, first[1]))
        self.assertEqual(fingerprint(collect([self.place], use_cache=False)), first[1])
        self.assertEqual([run.name for run in collect([self.place]).runs], [f"r{number:03d}.h5" for number in range(COUNT)])
        # Below a name of another kind of the same folder it is found as well; other folders have their own.
        moved = self.place.with_name("moved")
        os.rename(self.place, moved)
        self.place = moved
        self.assertEqual(self.opened()[0], 0)

    def test_what_has_changed_is_read_again(self):
        self.make()
        self.opened()
        path = self.place / "runs/r003.h5"
        content = path.read_bytes()
        before = os.stat(path)

        def is_read_again(what):
            count, (runs, _, _) = self.opened()
            self.assertEqual((what, count, len(runs)), (what, 1, COUNT))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        is_read_again("time")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        self.assertEqual(self.opened()[0], 0)
        path.with_suffix(".new").write_bytes(content)
        os.utime(path.with_suffix(".new"), ns=(before.st_atime_ns, before.st_mtime_ns))
        os.rename(path.with_suffix(".new"), path)
        is_read_again("inode")
        with open(path, "ab") as file:
            file.write(b"x")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        is_read_again("size")
        path.unlink()
        count, (runs, _, _) = self.opened()
        self.assertEqual((count, len(runs)), (0, COUNT - 1))

    def test_another_reader(self):
        self.make()
        self.opened()
        with mock.patch.object(cache, "reader_version", lambda: "other"):
            self.assertEqual(self.opened()[0], COUNT + 1)
            self.assertEqual(self.opened()[0], 0)
        self.assertEqual(self.opened()[0], COUNT + 1)

    def test_files_that_may_still_change_are_not_kept(self):
        self.make()
        fresh = self.place / "runs/r001.h5"
        os.utime(fresh)
        self.opened()
        self.assertEqual(self.opened()[0], 1)
        # One that changes while it is read is known by what it was before: a stamp that no longer fits.
        stamp = cache.stamp_of(fresh)
        kept = cache.Cache(self.place, 1)
        kept.add("runs/r001.h5", fresh, replace(stamp, size=1), cache.Read(False, []))
        self.assertEqual(kept.changes, 0)

    def test_reasons_that_may_pass_are_not_kept(self):
        self.make()
        (self.place / "runs/zlink.h5").symlink_to("nowhere")
        self.opened()
        entries = cache.load_lines(self.file, 1 << 30)
        self.assertIn("runs/broken.h5", entries)
        self.assertNotIn("runs/zlink.h5", entries)
        (self.place / "runs/nowhere").write_bytes((self.place / "runs/r000.h5").read_bytes())
        _, (_, left_out, _) = self.opened()
        self.assertIn("the same run as", dict(left_out)[self.place / "runs/zlink.h5"])

    def test_entries_of_files_that_are_gone_go(self):
        self.make(2 * COUNT)
        self.opened()
        for number in range(COUNT):
            (self.place / f"runs/r{number:03d}.h5").unlink()
        self.make(COUNT, start=2 * COUNT)
        self.opened()
        self.assertEqual(len(cache.load_lines(self.file, 1 << 30)), 2 * COUNT + 1)

    def test_a_study_and_its_archive(self):
        for number in range(COUNT):
            write_run(self.place / f"runs/r{number:03d}.h5", seed=number, run_id=f"{number:032x}", request_id=f"q{number}")
        lines = [{"request_id": f"q{number}", "role": "run", "state": "done", "file": f"runs/r{number:03d}.h5", "method": "lora", "task": "t", "seed": number,
                  "ranks": 2} for number in range(COUNT)]
        (self.place / "index.tsv").write_text(index_text(lines))
        self.settle()
        first = fingerprint(read_study(self.place).collection)
        self.assertTrue(self.file.exists())
        with mock.patch.object(files, "read_all", side_effect=lambda _, paths: self.assertEqual(paths, []) or []):
            self.assertEqual(fingerprint(read_study(self.place).collection), first)
        self.assertEqual(analyse("pack", self.place).status, 0)
        shutil.rmtree(self.place / "runs")
        self.settle()
        second = read_study(self.place).collection
        self.assertEqual(([run.run_id for run in second.runs], {run.path.name for run in second.runs}),
                         ([f"{number:032x}" for number in range(COUNT)], {"archive.h5"}))
        with mock.patch.object(files, "read_all", side_effect=lambda _, paths: self.assertEqual(paths, []) or []):
            self.assertEqual(fingerprint(read_study(self.place).collection), fingerprint(second))

    # ---- where it lies ----

    def test_where_nobody_may_write(self):
        """A folder stands in its place: the user's own folder of caches has it."""
        self.make()
        self.file.mkdir()
        first = self.opened()
        (kept,) = self.home.glob("peftscale/runs-*.jsonl.gz")
        self.assertEqual(self.opened(), (0, first[1]))
        kept.unlink()
        kept.mkdir()
        self.assertEqual(self.opened(), first)
        self.assertEqual(sorted(path.name for path in self.place.iterdir()), [cache.NAME, "runs"])

    def test_few_files_need_none(self):
        self.make(3)
        self.opened()
        self.assertFalse(self.file.exists() or self.home.exists())

    def test_no_cache(self):
        self.make()
        analyse("table", self.place, "--no-cache")
        self.assertFalse(self.file.exists() or self.home.exists())
        text = analyse("table", self.place).out
        self.assertTrue(self.file.exists())
        self.file.write_bytes(gzip.compress(gzip.decompress(self.file.read_bytes()).replace(b"0.5", b"0.7")))
        self.assertEqual(analyse("table", self.place, "--no-cache").out, text)

    # ---- one that is broken ----

    def test_broken_caches_are_passed_over(self):
        self.make()
        first = self.opened()
        whole = self.file.read_bytes()
        text, middle = gzip.decompress(whole), len(whole) // 2
        head, *lines = text.splitlines(keepends=True)
        entry = json.loads(lines[5])
        odd = [b"[]\n", b"{}\n", b"1\n", b"nonsense\n", b"\xff\n", b"[" * 100_000 + b"\n", b'["a", 1, 1]\n', b'["a", 1, 1, 1, true, "", []' + b"\n"]
        cases = {"empty": b"", "text": b"hello", "cut": whole[:len(whole) // 2], "end": whole[:-4],
                 "flipped": whole[:middle] + bytes([whole[middle] ^ 0x55]) + whole[middle + 1:],
                 "twice": whole + whole[:50], "no entries": gzip.compress(b""), "other kind": gzip.compress(b'{"kind": "else"}\n'),
                 "long line": gzip.compress(head + b'["' + b"a" * (300 << 20) + b'"]\n', 1),
                 **{f"odd {number}": gzip.compress(head + line) for number, line in enumerate(odd)}}
        for what, content in cases.items():
            with self.subTest(what):
                self.file.write_bytes(content)
                self.assertEqual(self.opened(), first)  # read anew, and written anew
                self.assertEqual(self.opened(), (0, first[1]))
        # Entries of other types than they should be are as good as none.
        run = entry[6][0][1]
        for number, value in enumerate(run):
            for other in (None, "x", 1, 1.5, True, [], {}, {"a": 1}, [[1]], [[1, 2, 3, 4, 5, 6]]):
                changed = [*run]
                changed[number] = other
                try:
                    made = cache.unpack_run(changed, Path("a.h5"), "")
                except ValueError:
                    continue
                name, kind = cache.FIELDS[number][0], next(each.type for each in fields(made) if each.name == cache.FIELDS[number][0])
                fits = {int: int, float: float, str: str, bool: bool, int | None: (int, type(None))}.get(kind, (dict, tuple))
                self.assertIsInstance(getattr(made, name), fits)
        for other in (None, 1, [], [["", 1]], [[1, "x"]], [["", None]], "x", {"a": 1}):
            self.file.write_bytes(gzip.compress(head + json.dumps([*entry[:6], other]).encode() + b"\n"))
            _, found = self.opened()
            self.assertEqual(found, first[1])

    def test_two_readers_at_once(self):
        self.make(200)
        for _ in range(3):
            self.file.unlink(missing_ok=True)
            calls = [subprocess.Popen([sys.executable, "-B", "-m", "analysis", "table", self.place, "--format", "csv"], cwd=ROOT, stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, text=True) for _ in range(3)]
            done = [(*call.communicate(), call.returncode) for call in calls]
            self.assertEqual(len(set(done)), 1, done)
            self.assertEqual((done[0][1:], self.opened()[0]), (("", 0), 0))
            self.assertEqual(sorted(path.name for path in self.place.iterdir()), [cache.NAME, "runs"])


real = files.read_all

if __name__ == "__main__":
    tap.main()
