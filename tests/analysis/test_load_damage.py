#!/usr/bin/env python3
# timeout: 600
"""Files that are damaged, cut, foreign or no files at all: each is named with a reason, the others are read, nothing hangs.

Run: python3 tests/analysis/test_load_damage.py [-v]
"""

import contextlib
import os
import random
import resource
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

try:
    import h5py
    import numpy as np
    import pandas  # noqa: F401
except ImportError as e:
    print(f"skipped: no {e.name} (Debian's python3-{e.name})")
    sys.exit(77)

import tap  # noqa: E402
from folders import FolderCase  # noqa: E402
from made_runs import PHASES, analyse, series, write_index, write_run  # noqa: E402

from analysis.load import files, guard  # noqa: E402
from analysis.load.allowed import ALLOWED, NOTHING  # noqa: E402
from analysis.load.collect import collect  # noqa: E402
from analysis.load.frame import to_frame  # noqa: E402
from analysis.load.hdf5 import Unusable, reasons  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = int(os.environ.get("PEFTSCALE_FUZZ_ROUNDS", "1"))
FLIPS, CUTS = 600, 80
NOBODY = 65534  # a user who owns nothing
REASONS = ("broken: ", "not a run file", "not finished", "written by a newer version", "invalid: ", "mixed: ", "the same run as ", "cannot be opened: ",
           "a folder, not a file", "not a file: ", "cannot be read: ")


@contextlib.contextmanager
def unprivileged(place):
    """As another user where this one is root, who may read everything."""
    if os.geteuid():
        yield
        return
    for folder in (place, *(path for path in place.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


class Damage(FolderCase):
    def setUp(self):
        super().setUp()
        self.runs = self.place / "runs"
        self.runs.mkdir()
        self.good = self.make("good.h5")

    def make(self, name, **made):
        """With everything that is read."""
        columns = {"loss": 0.5, "grad_norm": 1.0, "payload_bytes": 4016, "sent_floats": 900, "own_examples": 16, "wire_bytes": 4200, "wait_s": 0.01}
        steps = series([0.1] * 20, **columns, **{f"{each}_s": 0.01 for each in PHASES if each != "communication"})
        return write_run(self.runs / name, **{"steps": steps, "examples": 60, "memory": [5, 6], "validations": [(10, 1, 0.3, 1.0, 0.2), (20, 2, 0.4, 0.9, 0.2)],
                                              "run_id": f"{abs(hash(name)):032x}", "source_hash": "5" * 16, **made})

    def check(self, allow=NOTHING):
        """Everything that is not the good run has a reason of a known kind, of one line. Returns the reasons by name."""
        collection = collect([self.runs], allow=allow, use_cache=False)
        names = {run.name for run in collection.runs}
        self.assertIn("good.h5", names)
        reasons = {}
        for path, reason in collection.left_out:
            self.assertTrue(reason.startswith(REASONS), reason)
            self.assertNotIn("\n", reason)
            self.assertNotIn("Error", reason)
            self.assertLess(len(reason), 400)
            reasons[path.name] = reason
        self.assertEqual(names | set(reasons), {path.name for path in self.runs.iterdir() if path.name.endswith((".h5", ".h5.partial"))})
        to_frame(collection.runs)
        return reasons

    # ---- bytes ----

    def test_flipped_bytes(self):
        """Whatever a byte says, the file is a run, or it is named."""
        whole = self.good.read_bytes()
        for number in range(ROUNDS):
            dice = random.Random(number)
            for name in range(FLIPS):
                content = bytearray(whole)
                for _ in range(dice.choice((1, 1, 1, 2, 8))):
                    content[dice.randrange(len(content))] = dice.choice((0, 255, dice.randrange(256)))
                (self.runs / f"x-flip-{name}.h5").write_bytes(content)
            reasons = self.check(frozenset(ALLOWED))
            broken = sum(reason.startswith("broken: ") for reason in reasons.values())
            same = sum(reason.startswith("the same run") for reason in reasons.values())
            self.assertGreater(broken, FLIPS / 20)
            self.assertGreater(same, FLIPS / 4)  # most bytes are numbers
            # What is no longer what it says twice is found.
            refused = self.check()
            self.assertGreater(sum(reason.startswith("invalid: ") for reason in refused.values()), FLIPS / 20)

    def test_cut_files(self):
        whole = self.good.read_bytes()
        for length in sorted({0, 1, 7, 8, 9, 95, 96, 97, 511, 512, 2047, 2048, len(whole) - 1, *random.Random(1).sample(range(len(whole)), CUTS)}):
            (self.runs / f"cut-{length}.h5").write_bytes(whole[:length])
        reasons = self.check()
        self.assertEqual({name[:3] for name in reasons}, {"cut"})
        self.assertEqual({reason for name, reason in reasons.items()}, {"broken: not a whole HDF5 file"})
        (self.runs / "longer.h5").write_bytes(whole + bytes(1000))
        (self.runs / "zeros.h5").write_bytes(bytes(len(whole)))
        self.assertEqual(self.check()["zeros.h5"], "broken: not a whole HDF5 file")

    # ---- what is no file ----

    def test_what_is_no_file(self):
        (self.runs / "folder.h5").mkdir()
        write_run(self.runs / "folder.h5" / "inner.h5", run_id="i" * 32, source_hash="5" * 16)
        (self.runs / "link.h5").symlink_to("nowhere")
        (self.runs / "loop.h5").symlink_to("loop.h5")
        os.mkfifo(self.runs / "pipe.h5")
        (self.runs / "link-to-pipe.h5").symlink_to("pipe.h5")
        (self.runs / "device.h5").symlink_to("/dev/zero")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.runs / "socket.h5"))
            (self.runs / "text.h5").write_text("a text\n" * 1000)
            (self.runs / "foreign.h5").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(3000))
            (self.runs / "empty.h5").touch()
            began = time.monotonic()
            collection = collect([self.runs], use_cache=False)
        self.assertLess(time.monotonic() - began, 30)
        self.assertEqual({run.name for run in collection.runs}, {"good.h5", "inner.h5"})
        pipe = "not a file: a pipe, a socket or a device"
        self.assertEqual({path.name: reason for path, reason in collection.left_out}, {
            "folder.h5": "a folder, not a file", "link.h5": "cannot be opened: No such file or directory",
            "loop.h5": "cannot be opened: Too many levels of symbolic links", "pipe.h5": pipe, "link-to-pipe.h5": pipe, "device.h5": pipe, "socket.h5": pipe,
            "text.h5": "broken: not a whole HDF5 file", "foreign.h5": "broken: not a whole HDF5 file", "empty.h5": "broken: not a whole HDF5 file"})

    def test_what_may_not_be_read(self):
        self.make("secret.h5").chmod(0)
        with unprivileged(self.place):
            self.assertEqual(self.check()["secret.h5"], "cannot be opened: Permission denied")

    def test_files_that_vanish(self):
        """Between the listing and the opening."""
        for number in range(400):
            (self.runs / f"x{number:03d}.h5").write_bytes(self.good.read_bytes())
        paths = sorted(self.runs.glob("*.h5"))
        thread = threading.Thread(target=lambda: [path.unlink() for path in reversed(paths) if path != self.good])
        listed = files.read_files(paths[:200], self.runs, False)
        thread.start()
        found = files.read_files(paths, self.runs, False)
        thread.join()
        self.assertEqual(len(listed), 200)
        reasons = {each.reason for each in found if each.reason}
        self.assertTrue(reasons <= {"cannot be opened: No such file or directory", "broken: not a whole HDF5 file"}, reasons)
        self.assertTrue(found[paths.index(self.good)].runs)
        self.assertEqual({each.reason for each in files.read_files(paths, self.runs, False)} - {""}, {"cannot be opened: No such file or directory"})

    # ---- HDF5 files of another kind ----

    def changed(self, name, change):
        path = self.make(name)
        with h5py.File(path, "r+") as file:
            change(file)
        return path

    def test_wrong_types(self):
        """Every attribute and data set that is read, as each of several other types; absent; empty; of many values."""
        others = {"text": np.bytes_(b"text"), "empty": np.bytes_(b""), "bytes": np.bytes_(b"\xff\xfe\x1b[2J"), "nan": np.nan, "inf": np.inf, "minus": -1,
                  "huge": np.uint64(2 ** 64 - 1), "real": 0.5, "many": np.arange(3), "pair": np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]),
                  "flag": np.bool_(True), "void": h5py.Empty("f8"), "loose": "text of any length", "complex": 1j}
        with h5py.File(self.good, "r") as file:
            attributes = [(group, name) for group in ("/", "provenance", "accounting", "result") for name in file[group].attrs]
            tables = []
            file.visititems(lambda name, thing: tables.append(name) if isinstance(thing, h5py.Dataset) else None)
        count = 0
        for group, name in attributes:
            for kind, value in [*others.items(), ("absent", None)]:
                def change(file, group=group, name=name, value=value):
                    del file[group].attrs[name]
                    if value is not None:
                        file[group].attrs[name] = value
                self.changed(f"a-{count}-{name}-{kind}.h5", change)
                count += 1
        for name in tables:
            for kind, value in [*others.items(), ("absent", None), ("none", np.zeros(0, [("attempt", "<i4")])), ("group", "group"), ("link", "link"),
                                ("elsewhere", "elsewhere"), ("itself", "itself")]:
                def change(file, name=name, kind=kind, value=value):
                    del file[name]
                    if kind == "group":
                        file.create_group(name)
                    elif kind == "link":
                        file[name] = h5py.SoftLink("/nowhere")
                    elif kind == "itself":
                        file[name] = h5py.SoftLink(f"/{name}")
                    elif kind == "elsewhere":
                        file[name] = h5py.ExternalLink("good.h5", f"/{name}")
                    elif value is not None:
                        file[name] = value
                self.changed(f"t-{count}-{name.replace('/', '.')}-{kind}.h5", change)
                count += 1
        for allow in (NOTHING, frozenset(ALLOWED)):
            reasons = self.check(allow)
            for name in ("run_id-absent", "run_id-empty", "run_id-nan", "metric-many", "test_metric-text", "sent_floats-minus", "trainable-inf",
                         "stored_bytes-huge", "series.steps-nan", "series.steps-link", "series.steps-elsewhere", "series.steps-itself", "config-absent",
                         "config_canonical-group", "attempts-none", "predictions.test-elsewhere", "evaluation-pair"):
                (reason,) = [reason for path, reason in reasons.items() if path.endswith(f"-{name}.h5")]
                self.assertTrue(reason.startswith("broken: "), reason)
        self.assertGreater(count, 400)
        done = analyse("runs", self.runs, "--no-cache")
        self.assertEqual((done.status, "\x1b" in done.out + done.err), (0, False))

    def test_wrong_columns(self):
        """Every column of every table as another type, twice as long, or absent."""
        with h5py.File(self.good, "r") as file:
            layouts = {}
            file.visititems(lambda name, thing: layouts.__setitem__(name, thing.dtype) if isinstance(thing, h5py.Dataset) and thing.dtype.names else None)
        count = 0
        for table, layout in layouts.items():
            for column in layout.names:
                for kind in ("S8", "<f4", ">f8", "<i2", "u1", "(2,)f8", ""):
                    def change(file, table=table, column=column, kind=kind):
                        rows = file[table][()]
                        fields = [(name, kind if name == column else layouts[table][name]) for name in layouts[table].names if kind or name != column]
                        other = np.zeros(len(rows), fields)
                        for name in other.dtype.names:
                            if name != column:
                                other[name] = rows[name]
                        del file[table]
                        file[table] = other
                    self.changed(f"{count}-{table.replace('/', '.')}-{column}-{kind[-2:] or 'absent'}.h5", change)
                    count += 1
        self.assertGreater(count, 200)
        reasons = self.check()
        for name, words in (("step_s-absent", "/series/steps lacks the column step_s"), ("step_s-S8", "step_s of /series/steps are not real numbers"),
                            ("step-f8", "step of /series/steps are not whole numbers"), ("loss-i2", "loss of /series/steps are not real numbers")):
            found = [reason for path, reason in reasons.items() if path.endswith(f"-series.steps-{name}.h5")]
            self.assertIn(f"broken: {words}", found)

    def test_claims(self):
        """Tables and texts that say they are larger than their file can be."""
        steps = np.dtype([("attempt", "<i4"), ("step", "<i8"), ("step_s", "<f8"), ("communication_s", "<f8"), ("tokens", "<i8")])

        def claim(file, rows=1 << 40, **how):
            del file["series/steps"]
            file.create_dataset("series/steps", (rows,), steps, chunks=(64,), maxshape=(None,), **how)
        self.changed("steps.h5", claim)
        self.changed("packed.h5", lambda file: claim(file, compression="gzip"))
        self.changed("some.h5", lambda file: claim(file, 1 << 26))

        def long_text(file):
            del file["config"]
            file.create_dataset("config", (), h5py.string_dtype("utf-8", 1 << 30))
        self.changed("text.h5", long_text)

        def predictions(file):
            del file["predictions/test"]
            file.create_dataset("predictions/test", (1 << 30,), [("example", "<i8"), ("label", "<f4"), ("prediction", "<f4"), ("score", "<f4", (1 << 20,))],
                                chunks=(1,), maxshape=(None,))
        self.changed("predictions.h5", predictions)
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        began = time.monotonic()
        reasons = self.check()
        self.assertLess(time.monotonic() - began, 20)
        self.assertLess(max(before, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss), 400 * 1024)
        for name in ("steps", "packed", "some", "predictions"):
            self.assertIn("claims more than the file can hold", reasons[f"{name}.h5"])
        self.assertEqual(reasons["text.h5"], "broken: /config is not a text")

    def test_other_numbers(self):
        """NaN and infinity in columns; a run whose numbers cannot be is invalid, not broken."""
        cases = {}
        for column in ("loss", "grad_norm", "step_s"):
            for value in (np.nan, np.inf, -np.inf):
                def change(file, column=column, value=value):
                    rows = file["series/steps"][()]
                    rows[column][7] = value
                    file["series/steps"][...] = rows
                path = self.changed(f"{column}{value}.h5", change)
                cases[path.name] = "invalid: step 8: "
        for table, column, value in (("predictions/test", "score", np.nan), ("predictions/test", "label", 7), ("predictions/test", "label", np.nan),
                                     ("predictions/test", "prediction", 1e30), ("predictions/test", "label", 1e30)):
            def change(file, table=table, column=column, value=value):
                rows = file[table][()]
                rows[column][3] = value
                file[table][...] = rows
            cases[self.changed(f"{column}{value}.h5", change).name] = "invalid: predictions for test: "
        reasons = self.check()
        self.assertEqual({name: reasons[name][:len(words)] for name, words in cases.items()}, cases)
        self.check(frozenset(ALLOWED))

    # ---- the readers ----

    def test_readers_that_die(self):
        """A library that ends the process costs the one file, whichever process it was read by."""
        def read(number):
            if number % 7 == 3:
                os.abort()
            if number % 7 == 5:
                raise Unusable("broken: somehow")
            if number % 7 == 6:
                raise KeyError("a mistake")
            return number * 2
        answers = dict(guard.read_all(read, list(range(50))))
        self.assertEqual(sorted(answers), list(range(50)))
        for number, answer in answers.items():
            expected = {3: "broken: the HDF5 library does not survive it (SIGABRT)", 5: "broken: somehow", 6: "broken: reading it fails: KeyError: 'a mistake'"}
            self.assertEqual(str(answer), expected.get(number % 7, str(number * 2)))

    def test_a_file_that_ends_the_process(self):
        """HDF5 1.10 divides by the size of a column's element, whatever the file says that it is."""
        column = b"score\0\0\0" + bytes((16, 0, 0, 0)) + b"\x2a\0\0\0" + bytes((8, 0, 0, 0))
        whole = self.good.read_bytes()
        self.assertEqual(whole.count(column), 1)
        self.make("deadly.h5", run_id="d" * 32)
        (self.runs / "deadly.h5").write_bytes(whole.replace(column, column[:-4] + bytes(4)))
        self.assertTrue(self.check()["deadly.h5"].startswith("broken: "))
        lines = [{"request_id": name, "role": "run", "state": "done", "file": f"runs/{name}.h5", "method": "lora", "seed": 1, "task": "t", "ranks": 2}
                 for name in ("good", "deadly")]
        write_index(self.place, lines)
        done = analyse("table", "--study", self.place)
        self.assertIn("runs/deadly.h5: broken: ", " ".join(done.out.split()))
        done = analyse("pack", self.place)
        self.assertEqual((done.status, "1 run (1 new)" in done.out), (1, True), done.out + done.err)
        self.assertIn("not packed: " + str(self.runs / "deadly.h5") + ": broken: ", done.err)

    def test_readers_that_hang(self):
        def read(number):
            if number in (4, 30):
                time.sleep(1000)
            return number
        began = time.monotonic()
        answers = dict(guard.read_all(read, list(range(40)), limit_s=1.0))
        self.assertLess(time.monotonic() - began, 20)
        self.assertEqual({number: str(answer) for number, answer in answers.items() if isinstance(answer, Unusable)},
                         dict.fromkeys((4, 30), "cannot be read: no answer within 1 s"))
        self.assertEqual(len(answers), 40)

    def test_readers_that_take_too_much(self):
        def read(size):
            with reasons():
                return len(bytearray(size))
        answers = dict(guard.read_all(read, [1 << 20, guard.MOST_BYTES + (1 << 28)]))
        self.assertEqual((answers[0], str(answers[1])), (1 << 20, "broken: MemoryError"))

    def test_nothing_is_left_behind(self):
        """Processes of a reading that is given up end."""
        answers = guard.read_all(lambda number: number, list(range(1000)))
        next(answers)
        answers.close()
        with self.assertRaises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        self.assertEqual(list(guard.read_all(lambda number: number, [])), [])
        with self.assertRaises(Unusable):
            guard.call(lambda _: os._exit(0), 1)

    def test_names_that_are_no_text(self):
        """A name may hold whatever bytes it likes."""
        os.rename(self.make("x.h5"), os.path.join(os.fsencode(self.runs), b"\xff\xfe.h5"))
        os.close(os.open(os.path.join(os.fsencode(self.runs), b"\xfd.h5"), os.O_CREAT | os.O_WRONLY))
        for form in ("text", "csv", "markdown"):
            out = self.place / f"out.{form}"
            done = analyse("runs", self.runs, "--format", form, "--out", out)
            self.assertEqual(done.status, 0, done.err)
            self.assertIn("good.h5", out.read_text(encoding="utf-8"))
        for verb in ("runs", "table"):
            done = subprocess.run([sys.executable, "-B", "-m", "analysis", verb, self.runs], cwd=ROOT, capture_output=True, check=True)
            self.assertRegex(done.stdout + done.stderr, rb"(\\udcfd|\?)\.h5: broken")


if __name__ == "__main__":
    tap.main()
