#!/usr/bin/python3
# timeout: 300
"""`analysis watch` on files of every kind: growing, taken over, finished under the view, damaged, gone; claims and lists of attempts; pictures of every size.
Run: test_watch_files.py [-v]"""

import io
import math
import os
import random
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
os.environ["HDF5_USE_FILE_LOCKING"] = "FALSE"  # as the verb has it; before h5py is there
import harness  # noqa: E402
from harness import command, environment, h5py, main, np  # noqa: E402

try:
    from rich.cells import cell_len
    from rich.console import Console
except ImportError:
    print("skipped: no rich (Debian's python3-rich)")
    sys.exit(77)

from pathlib import Path  # noqa: E402

from made_runs import COLUMNS, analyse, write_index, write_run  # noqa: E402

from analysis.watch import words  # noqa: E402
from analysis.watch.finished import Outcome  # noqa: E402
from analysis.watch.follow import Curve, Follower, Progress  # noqa: E402
from analysis.watch.lines import changes, whole_picture  # noqa: E402
from analysis.watch.owners import find_writer, read_attempts, read_claim  # noqa: E402
from analysis.watch.snapshot import STATES, Entry, Snapshot  # noqa: E402
from analysis.watch.sweep import Files, Study, open_place  # noqa: E402
from analysis.watch.view import Picture  # noqa: E402

SEED = int(os.environ.get("WATCH_SEED", "1"))
STEP = np.dtype([("attempt", "<i4"), ("step", "<i8"), ("loss", "<f8"), ("tokens", "<i8"), ("step_s", "<f8")])
SCORE = np.dtype([("attempt", "<i4"), ("step", "<i8"), ("split", "S12"), ("metric", "<f8"), ("seconds", "<f8")])
CLAIM = ("peftscale claim 1\nhost {host}\nprocess {pid} {started}\nspace {space}\nboot {boot}\njob {job}\nsince 2026-05-04T03:02:01Z\n"
         "progress {done:>19} of {steps:>19}\n")


class Writer:
    """A partial file as the program writes it: all objects first, then SWMR. It is written elsewhere, and its bytes put in the place of those at `path`, since
    HDF5 knows a file that one process opens twice."""

    def __init__(self, path, steps=100, status="running"):
        self.path, self.own = path, path.with_name(path.name + ".own")
        self.file = h5py.File(self.own, "w", libver="latest")
        for name, value in {"kind": "peftscale run", "status": status}.items():
            self.file.attrs[name] = np.bytes_(value)
        self.file.attrs["schema_version"] = 1
        self.file["config_canonical"] = np.bytes_(f"method.name=lora\nseed=1\ntask.metric=accuracy\ntrain.steps={steps}\n")
        self.file.create_group("provenance").attrs["host"] = np.bytes_("node7")
        self.steps = self.file.create_dataset("series/steps", (0,), STEP, maxshape=(None,), chunks=(64,))
        self.scores = self.file.create_dataset("evaluation", (0,), SCORE, maxshape=(None,), chunks=(16,))
        self.file.swmr_mode = True
        self.show()

    def show(self):
        self.file.flush()
        with open(self.path, "r+b" if self.path.exists() else "wb") as file:
            file.write(self.own.read_bytes())

    def close(self):
        self.file.close()
        os.unlink(self.own)

    def add(self, table, rows):
        first = len(table)
        table.resize((first + len(rows),))
        table[first:] = np.array(rows, table.dtype)
        table.flush()
        self.show()

    def train(self, first, last, attempt=1):
        self.add(self.steps, [(attempt, step, 10.0 / step, 50, 0.1) for step in range(first, last + 1)])


class Base(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory(prefix="peftscale-watch-")))
        self.run_path = self.folder / "runs" / "trec6-lora-s1-0123abcd.h5"
        self.partial = self.run_path.with_name(self.run_path.name + ".partial")
        self.run_path.parent.mkdir()

    def beside(self, suffix, text):
        path = self.run_path.with_name(self.run_path.name + suffix)
        path.write_text(text, encoding="utf-8")
        return path


class Follow(Base):
    def test_only_what_is_new_is_read(self):
        writer, follower = Writer(self.partial), Follower(self.partial)
        self.assertEqual((follower.look().done, follower.look().steps, follower.look().loss), (0, 100, follower.look().loss))
        writer.train(1, 40)
        seen = follower.look()
        self.assertEqual((seen.done, seen.attempt, seen.host, seen.metric, seen.fault), (40, 1, "node7", "accuracy", ""))
        self.assertAlmostEqual(seen.loss, sum(10 / step for step in range(31, 41)) / 10)
        self.assertAlmostEqual(seen.tokens_per_s, 500)
        self.assertAlmostEqual(seen.left_s, 60 * 0.1)
        self.assertEqual(len(seen.curve), 40)
        writer.add(writer.scores, [(1, 40, b"validation", 0.5, 2.0), (1, 40, b"test", 0.9, 2.0)])
        writer.train(41, 80)
        later = follower.look()
        self.assertEqual((later.score, later.score_step, later.done, seen.done), (0.5, 40, 80, 40), "what was seen before stays as it was")
        self.assertAlmostEqual(later.left_s, 20 * (0.1 + 2.0 / 40))
        self.assertEqual(follower.rows, 80)
        writer.close()

    def test_rows_that_are_not_filled_yet(self):
        writer, follower = Writer(self.partial), Follower(self.partial)
        writer.train(1, 3)
        writer.steps.resize((5,))
        writer.show()
        self.assertEqual((follower.look().done, follower.rows), (3, 3))
        writer.steps[3:] = np.array([(1, 4, 1, 1, 1), (1, 5, 1, 1, 1)], STEP)
        writer.show()
        self.assertEqual(follower.look().done, 5)
        writer.close()

    def test_another_attempt_takes_its_place(self):
        writer, follower = Writer(self.partial), Follower(self.partial)
        writer.train(1, 50)
        self.assertEqual(follower.look().done, 50)
        fresh = self.folder / "fresh"
        second = Writer(fresh)
        second.train(1, 20)
        second.train(21, 22, attempt=2)
        os.replace(fresh, self.partial)
        self.assertEqual((follower.look().done, follower.look().attempt, len(follower.look().curve)), (22, 2, 22))
        writer.close()
        second.close()
        os.unlink(self.partial)
        self.assertIsNone(follower.look())

    def test_it_needs_no_lock_and_takes_none(self):
        import fcntl

        writer, follower = Writer(self.partial), Follower(self.partial)
        writer.train(1, 5)
        with open(self.partial, "rb") as holder:
            fcntl.flock(holder, fcntl.LOCK_EX)
            self.assertEqual((follower.look().fault, follower.look().done), ("", 5))
        writer.close()

    def test_a_long_course_keeps_its_form(self):
        whole, parts = Curve(), Curve()
        values = np.linspace(5, 1, 10_000)
        whole.add(values)
        for first in range(0, 10_000, 37):
            parts.add(values[first:first + 37])
        self.assertEqual(len(whole.means()), len(parts.means()))
        self.assertTrue(np.allclose(whole.means(), parts.means()))
        self.assertTrue(64 <= len(whole.means()) <= 128 and (np.diff(whole.means()) < 0).all())
        parts.add(np.array([math.nan, math.inf]))
        self.assertTrue(np.isfinite(parts.means()).all())

    def test_damage_is_a_reason_and_never_a_hang(self):
        writer = Writer(self.partial)
        writer.train(1, 60)
        writer.close()
        whole = self.partial.read_bytes()
        self.assertEqual(whole[11], 5, "as a killed writer leaves it: open for writing, SWMR")
        self.assertEqual(Follower(self.partial).look().done, 60)
        dice, faults = random.Random(SEED), 0
        for number in range(150):
            content = bytearray(whole)
            place = dice.randrange(len(content))
            how = dice.choice(("bytes", "hole", "cut", "head"))
            if how == "cut":
                content = content[:place]
            elif how == "hole":
                content[place:place + 500] = bytes(len(content[place:place + 500]))
            else:
                for _ in range(dice.choice((1, 5, 100))):
                    content[dice.randrange(len(content) if how == "bytes" else 2048)] = dice.randrange(256)
            self.partial.write_bytes(content)
            began = time.monotonic()
            seen = Follower(self.partial).look()
            self.assertLess(time.monotonic() - began, 10, f"WATCH_SEED={SEED}, number {number}")
            self.assertTrue(seen is not None and "\n" not in seen.fault)
            faults += bool(seen.fault)
        self.assertTrue(20 < faults < 140, faults)
        for content in (b"", b"no HDF5", bytes(5000)):
            self.partial.write_bytes(content)
            self.assertTrue(Follower(self.partial).look().fault)


class Owners(Base):
    def claim(self, **changed):
        own = {"host": socket.gethostname(), "pid": os.getpid(), "started": started(os.getpid()), "space": os.readlink("/proc/self/ns/pid"),
               "boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip(), "job": "-", "done": 3, "steps": 9}
        return self.beside(".claim", CLAIM.format(**{**own, **changed}))

    def age(self, path, seconds):
        os.utime(path, (time.time() - seconds, time.time() - seconds))

    def test_claims(self):
        self.assertIsNone(read_claim(self.run_path))
        path = self.claim()
        owner = read_claim(self.run_path)
        self.assertEqual((owner.host, owner.done, owner.steps), (socket.gethostname(), 3, 9))
        self.assertEqual(owner.text, f"process {os.getpid()} on {socket.gethostname()}, since 2026-05-04T03:02:01Z")
        self.age(path, 1000)
        self.assertTrue(read_claim(self.run_path), "an owner that lives keeps it, however old it is")
        gone = subprocess.Popen(["true"])
        gone.wait()
        for dead in ({"pid": gone.pid}, {"started": 7}, {"started": 0}):
            self.claim(**dead)
            self.assertIsNone(read_claim(self.run_path), dead)
        for foreign in ({"boot": "another"}, {"space": "pid:[1]"}, {"boot": "-"}):  # cannot be looked up from here
            path = self.claim(**foreign, job="7_2")
            self.assertIn(", job 7_2, since", read_claim(self.run_path).text)
            self.age(path, 130)
            self.assertIsNone(read_claim(self.run_path), foreign)
        path = self.beside(".claim", "\x00\x1b[2Jnonsense")
        self.assertEqual(read_claim(self.run_path).text, "another process")
        self.age(path, 130)
        self.assertIsNone(read_claim(self.run_path))
        self.claim(host="a\x1b[2Jb")
        self.assertNotIn("\x1b", read_claim(self.run_path).text)

    def test_a_zombie_has_ended(self):
        child = subprocess.Popen(["sleep", "60"])
        self.claim(pid=child.pid, started=started(child.pid))
        self.assertTrue(read_claim(self.run_path))
        child.kill()
        deadline = time.monotonic() + 10
        while read_claim(self.run_path) and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertIsNone(read_claim(self.run_path))
        child.wait()

    def test_who_writes_without_a_sweep(self):
        import fcntl

        self.assertIsNone(find_writer(self.partial, 0))
        path = self.beside(".partial.lock", f"process 12 on {socket.gethostname()} since 2026-01-01T00:00:00Z")
        self.assertIsNone(find_writer(self.partial, 0), "nobody holds the lock")
        with open(path, "rb") as holder:
            fcntl.flock(holder, fcntl.LOCK_EX)
            self.assertEqual(find_writer(self.partial, 1e6).text, path.read_text())
            self.assertEqual(find_writer(self.partial, 1e6).host, socket.gethostname())
        self.beside(".partial.lock", "process 1 on elsewhere since 2026-01-01T00:00:00Z")
        self.assertEqual(find_writer(self.partial, 5).host, "elsewhere")
        self.assertIsNone(find_writer(self.partial, 500))

    def test_attempts(self):
        begin, end = "begin\t2026-01-01T00:00:00Z\tnode1\t12\t{}\n", "end\t2026-01-01T00:01:00Z\t{}\t{}\n"
        for text, wanted in (("", (0, 0, "", "")), (begin.format("-"), (1, 1, "killed", "killed")), (3 * begin.format("-"), (3, 3, "killed", "killed")),
                             (begin.format("-") + begin.format("17.5"), (2, 1, "killed", "killed")),
                             (begin.format("-") + end.format("stopped", "after step 3"), (1, 0, "stopped", "after step 3")),
                             (2 * begin.format("-") + end.format("diverged", "loss nan\x1b"), (2, 0, "diverged", "loss nan?")),
                             (end.format("failed", "x"), (0, 0, "", "")), (begin.format("-") + "en", (1, 1, "killed", "killed")),
                             (begin.format("-") + "\0\0" + begin.format("-"), (2, 2, "killed", "killed"))):
            self.beside(".attempts", text)
            tried = read_attempts(self.run_path)
            self.assertEqual((tried.count, tried.killed_in_row, tried.last, tried.reason), wanted, text)


def started(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


class Places(Base):
    def index(self, *lines):
        plain = {"role": "run", "state": "missing", "task": "trec6", "method": "lora", "seed": 1, "ranks": 2}
        write_index(self.folder, [{"request_id": f"{number:032x}", **plain, **line} for number, line in enumerate(lines)])

    def test_finished_under_the_view(self):
        self.index({"file": "runs/" + self.run_path.name}, {"file": "runs/other.h5", "method": "red"})
        place = Study(self.folder)
        self.assertEqual(place.look().counts, {"missing": 2})
        writer = Writer(self.partial)
        writer.train(1, 10)
        Owners.claim(self)
        seen = place.look()
        self.assertEqual((seen.counts, seen.of("running")[0].progress.done), ({"running": 1, "missing": 1}, 10))
        write_run(self.run_path, test=0.75, train_s=12.0)
        os.unlink(self.partial)
        done = place.look()
        self.assertEqual((done.counts, done.of("done")[0].outcome.test), ({"done": 1, "missing": 1}, 0.75))
        self.assertAlmostEqual(done.left_s, 12, msg="the other one is taken to need as long")
        self.assertIn("  done         lora s1: validation accuracy 40.00, test 75.00, 0:12  [1/2]", "\n".join(changes(seen, done)))
        os.unlink(self.run_path)
        os.unlink(self.run_path.with_name(self.run_path.name + ".claim"))
        self.assertEqual(place.look().counts, {"missing": 2})
        writer.close()

    def test_the_index_goes_bad_or_away(self):
        self.index({"file": "runs/" + self.run_path.name})
        place = Study(self.folder)
        self.assertEqual(place.look().notes, [])
        (self.folder / "index.tsv").write_text("nonsense\n")
        seen = place.look()
        self.assertEqual(seen.counts, {"missing": 1}, "what is known stays")
        self.assertIn("not an index of a study", seen.notes[0])
        shutil.rmtree(self.folder / "runs")
        os.unlink(self.folder / "index.tsv")
        self.assertEqual((place.look().counts, place.look().has_ended), ({"missing": 1}, False))
        empty = self.folder / "empty"
        (empty / "runs").mkdir(parents=True)
        seen = open_place([empty]).look()
        self.assertEqual((seen.entries, seen.is_planned, seen.has_ended), ([], False, False))
        self.assertIn("no index.tsv yet", seen.notes[0])

    def test_nothing_to_look_at(self):
        """A folder that a sweep has begun in may have no runs yet; one that shows no sign of it is not waited for."""
        empty = self.folder / "empty"
        empty.mkdir()
        (self.folder / "notes.h5").write_text("no run")
        for place, more in ((empty, []), (empty, ["--once"]), ("2 places", [self.folder / "runs"])):
            done = harness.call([sys.executable, "-m", "analysis", "watch", empty, *more], timeout_s=60)
            self.assertEqual((done.status, done.out, done.err.count("\n")), (1, "", 1))
            self.assertIn(f"analysis: {place}: no run file is there, and neither index.tsv nor runs/", done.err)
        self.assertIsInstance(open_place([self.folder]), Study)
        self.run_path.parent.rmdir()
        self.assertRaisesRegex(ValueError, "no run file", open_place, [empty])
        (empty / "runs").mkdir()
        self.assertIsInstance(open_place([empty]), Study)
        self.assertIn("waits for the first run", " ".join(analyse("watch", "--help").out.split()))

    def test_a_finished_file_is_read_once_and_not_at_all_if_the_index_knows_it(self):
        write_run(self.run_path, test=0.75)
        now = self.run_path.stat()
        self.index({"file": "runs/" + self.run_path.name, "state": "done", "test": 0.5, "metric": "accuracy"})
        self.assertEqual(Study(self.folder).look().entries[0].outcome.test, 0.75, "the index does not say of which file it speaks")
        text = (self.folder / "index.tsv").read_text().splitlines()
        text[1] += "\tbytes\twritten_ns"
        text[2] += f"\t{now.st_size}\t{now.st_mtime_ns}"
        (self.folder / "index.tsv").write_text("\n".join(text) + "\n")
        self.assertEqual(Study(self.folder).look().entries[0].outcome.test, 0.5)
        (self.folder / "index.tsv").write_text("\n".join(text).replace("\t0.5\t", "\tmuch\t") + "\n")
        self.assertTrue(math.isnan(Study(self.folder).look().entries[0].outcome.test))

    def test_tuned_values_stay_whole(self):
        lines = [{"request_id": f"q{number}", "role": role, "state": "missing", "method": method, "seed": 1, "tuned": tuned}
                 for number, (role, method, tuned) in enumerate((("run", "bitfit", "train.lr=1.67e-3"), ("trial", "head", "train.lr_head=1.5e-2"),
                                                                 ("run", "lora", "train.lr=3e-3")))]
        write_index(self.folder, lines)
        self.assertEqual({entry.label for entry in Study(self.folder).look().entries}, {"bitfit lr=1.67e-3 s1", "head lr_head=1.5e-2 trial s1", "lora lr=3e-3 s1"})

    def test_run_files_of_every_kind(self):
        runs = self.run_path.parent
        write_run(runs / "good.h5", test=0.5)
        write_run(runs / "open.h5", status="failed: no")
        (runs / "bad.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
        write_run(runs / "comm.h5", kind="peftscale comm")
        for name, status in (("ended", "failed: diverged: loss nan"), ("paused", "stopped: after step 3 of 9 (SIGUSR1)"), ("killed", "running")):
            writer = Writer(runs / f"{name}.h5.partial", status=status)
            writer.train(1, 3)
            writer.close()
        place = Files([self.folder])
        found = {entry.label: (entry.state, entry.reason) for entry in place.look().entries}
        self.assertEqual(found.keys(), {"good", "open", "bad", "ended", "paused", "killed"}, "what is no run is passed over")
        self.assertEqual({name: state for name, (state, _) in found.items()},
                         {"good": "done", "open": "failed", "bad": "failed", "ended": "failed", "paused": "stopped", "killed": "interrupted"})
        self.assertEqual((found["ended"][1], found["paused"][1]), ("diverged: loss nan", "after step 3 of 9 (SIGUSR1)"))
        self.assertEqual(Files([runs / "comm.h5"]).look().entries[0].reason, "not a run file but a comm", "but it is told if it was named")
        self.assertEqual(Files([runs / "paused.h5.partial", runs / "paused.h5"]).look().counts, {"stopped": 1})
        out = analyse("watch", runs / "good.h5", "--once")
        self.assertEqual((out.status, out.err), (0, ""))
        self.assertIn("1 run: 1 done", out.out)

    def test_what_cannot_be_watched_is_one_line(self):
        (self.folder / "study.yaml").write_text("title: x\n")
        os.rmdir(self.folder / "runs")
        for place, part in ((self.folder / "nowhere", "no such file or folder; `peftscale sweep run` makes"), (self.folder, "holds a study, not its results")):
            out = analyse("watch", place, "--once")
            self.assertEqual((out.status, out.out, out.err.count("\n")), (1, "", 1))
            self.assertIn(part, out.err)
        (self.folder / "runs").mkdir()
        self.assertIn("is watched alone", analyse("watch", self.folder, "/proc/version").err)
        self.assertEqual(analyse("watch").status, 2)
        self.assertEqual(analyse("watch", self.folder, "--interval", "0").status, 2)


class Pictures(unittest.TestCase):
    LABELS = ("lora s1", "a-very-long-name-of-a-run-that-goes-on-and-on-" * 5, "名前の長いラン" * 9, "x", "e\u0301" * 30, "[bold]no markup[/bold]")

    def snapshot(self, many=3):
        dice = random.Random(SEED)
        entries = []
        for number in range(many * len(STATES)):
            state = STATES[number % len(STATES)]
            progress = Progress(steps=10 ** dice.randrange(1, 8), done=dice.randrange(10), loss=dice.choice((0.5, 1e9, math.nan, math.inf)), metric="accuracy",
                                curve=tuple(dice.random() for _ in range(dice.randrange(128))), score=dice.random(), score_step=1,
                                left_s=dice.choice((5, 1e6, math.nan)),
                                tokens_per_s=10 ** dice.randrange(8), fault=dice.choice(("", "", "broken: " + "x" * 300)))
            outcome = Outcome("accuracy", dice.random(), dice.random(), 10.0 ** dice.randrange(6)) if state in ("done", "stale") else None
            entries.append(Entry(key=str(number), label=dice.choice(self.LABELS), state=state, reason="because " * dice.randrange(60),
                                 host=dice.choice(("node1", "n" * 60)), attempts=dice.randrange(4), progress=progress, outcome=outcome,
                                 changed_s=dice.choice((time.time() - 100, math.nan)),
                                 quiet_s=dice.choice((0, 1e5))))
        return Snapshot("study", "/a/long/place/" * 20, entries, True, time.time(), ["a note " * 50] * dice.randrange(5))

    def test_every_size(self):
        for snapshot in (self.snapshot(1), self.snapshot(9), Snapshot("none", "there", [], False, time.time())):
            for width in (1, 5, 12, 20, 33, 40, 60, 79, 80, 100, 120, 200):
                for height in (1, 3, 5, 8, 10, 24, 40, 100):
                    for encoding in ("utf-8", "ascii"):
                        console = Console(width=width, height=height, force_terminal=True, color_system=None, legacy_windows=False,
                                          file=io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="replace"))
                        lines = console.render_lines(Picture(snapshot, 2.0), console.options.update(height=height), pad=False)
                        texts = ["".join(part.text for part in line) for line in lines]
                        self.assertTrue(all(cell_len(text) <= width for text in texts), (width, height, texts))
                        if height >= 8:
                            self.assertLessEqual(len(texts), height, "\n".join(texts))
                        if encoding == "ascii" and snapshot.entries:
                            self.assertFalse(set("".join(texts)) & set(words.BLOCKS + "░"))

    def test_plain_lines(self):
        for unicode in (True, False):
            lines = whole_picture(self.snapshot(12), unicode)
            self.assertTrue(any("... and " in line for line in lines))
            self.assertFalse(not unicode and set("".join(lines)) & set(words.BLOCKS))

    def test_words(self):
        self.assertEqual([words.duration(each) for each in (0, 7.4, 750, 3723, 100 * 3600, math.nan)], ["0:00", "0:07", "12:30", "1:02:03", "4 d 4 h", "-"])
        self.assertEqual(words.sparkline([1, 1, 5, 5], 2), "▁█")
        self.assertEqual(words.sparkline([3.0], 5, unicode=False), "_")
        self.assertEqual(words.sparkline([], 5), "")
        self.assertEqual(words.bar(1, 1, 4, 8, unicode=False), ("##", "##", "----"))
        self.assertEqual(words.bar(999, 1, 1000, 10, unicode=False), ("#########", "#", ""))

    def test_time_left(self):
        def entry(state, method="lora", role="run", **more):
            return Entry(key=str(random.random()), label="x", state=state, kind=(role, "", "trec6", "2", method), **more)

        done = [entry("done", outcome=Outcome(train_s=10)), entry("done", "full", outcome=Outcome(train_s=100)),
                entry("done", role="trial", outcome=Outcome(train_s=1))]
        half = entry("running", progress=Progress(steps=10, done=5, left_s=7.0))
        self.assertAlmostEqual(Snapshot("", "", [*done, entry("missing")], True, 0).left_s, 10)
        self.assertAlmostEqual(Snapshot("", "", [*done, entry("missing", "red"), entry("missing", role="trial")], True, 0).left_s, 55 + 1)
        self.assertAlmostEqual(Snapshot("", "", [*done, half, entry("missing", "full")], True, 0).left_s, 107)
        self.assertAlmostEqual(Snapshot("", "", [*done, half, half, entry("missing", "full")], True, 0).left_s, 57)
        self.assertAlmostEqual(Snapshot("", "", [half, entry("missing")], True, 0).left_s, 7 + 14, msg="none has finished: as the running one is going to take")
        self.assertTrue(math.isnan(Snapshot("", "", [entry("missing")], True, 0).left_s), "nothing is known")
        self.assertEqual(words.counts_line(Snapshot("", "", [half, entry("missing")], True, 0)), "2 runs: 1 running, 1 missing; about 0:21 left")
        self.assertEqual(words.counts_line(Snapshot("", "", [done[0], entry("missing")], True, 0)), "2 runs: 1 done, 1 missing; about 0:10 of work left")
        self.assertTrue(math.isnan(Snapshot("", "", [*done, entry("failed")], True, 0).left_s))


HEADER = (*COLUMNS, "bytes", "written_ns")


class Cost(Base):
    def test_a_look_is_cheap(self):
        """Less than 3 % of a core at a look every 2 s: 60 ms, with 1,000 runs."""
        lines = []
        for number in range(1000):
            path = self.run_path.with_name(f"trec6-lora-s{number}-0123abcd.h5")
            path.write_bytes(b"not read, since the index knows it")
            now = path.stat()
            lines.append({"request_id": f"{number:032x}", "role": "run", "state": "done", "file": f"runs/{path.name}", "task": "trec6", "method": "lora",
                          "seed": number, "ranks": 2, "test": 0.5, "validation": 0.5, "metric": "accuracy", "train_s": 10, "bytes": now.st_size,
                          "written_ns": now.st_mtime_ns})
        writers = []
        for line in lines[:8]:
            path = self.folder / line["file"]
            os.unlink(path)
            line["state"] = "missing"
            writers.append(Writer(path.with_name(path.name + ".partial"), steps=100_000))
            writers[-1].train(1, 20_000)
            self.run_path = path
            Owners.claim(self)
        columns = ["\t".join(str(line.get(name, "")) for name in HEADER) for line in lines]
        (self.folder / "index.tsv").write_text("\n".join(["# peftscale sweep index 1", "\t".join(HEADER), *columns]) + "\n")
        place, looks = Study(self.folder), 20
        self.assertEqual(place.look().counts, {"done": 992, "running": 8})
        console = Console(width=120, height=40, force_terminal=True, file=io.StringIO())
        spent = []
        for number in range(looks):
            for writer in writers:
                writer.train(20_001 + 10 * number, 20_010 + 10 * number)
            began = resource.getrusage(resource.RUSAGE_SELF)
            console.print(Picture(place.look(), 2.0))
            ended = resource.getrusage(resource.RUSAGE_SELF)
            spent.append(ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime)
        for writer in writers:
            writer.close()
        self.assertLess(statistics.median(spent), 0.06)


class Killed(harness.Case):
    def test_a_training_that_no_sweep_started(self):
        settings = self.settings("alone", method="lora", train__epochs="5000")
        process = subprocess.Popen([*command("train", "--quiet", *settings)], env=environment(), cwd=harness.ROOT, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        partial = Path(self.at("runs")) / "alone.h5.partial"
        deadline = time.monotonic() + 60
        while not partial.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        place = open_place([partial])
        while place.look().entries[0].done < 20 and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual(place.look().counts, {"running": 1})
        self.assertEqual(place.look().entries[0].host, socket.gethostname())
        process.send_signal(signal.SIGKILL)
        process.wait()
        seen = place.look()
        self.assertEqual((seen.counts, seen.entries[0].reason), ({"interrupted": 1}, "its process ended without a word"))
        self.assertGreaterEqual(seen.entries[0].done, 20)


if __name__ == "__main__":
    main()
