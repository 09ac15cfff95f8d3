#!/usr/bin/python3
# timeout: 1800
"""Trainings that are stopped by signals, killed, or find damaged checkpoints: what continues is what would have been. Run: test_resume.py [-v]

Whole processes, with and without mpirun. That every method goes on bit for bit, wherever it is stopped, is tests/mpi/resume.c's.
"""

import json
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
from harness import Case, Outcome, attribute, call, command, environment, h5py, main, make_tiny, np, read, succeed, text  # noqa: E402

STOPPED = 75
STEPS = 80
# A library between the program and the system. KILL_AT=N kills the process right before its Nth call that changes a file of the run (KILL_BEHIND: behind it),
# KILL_ONLY=NAME counts one kind of them, KILL_ROWS the writes of HDF5, too; FULL_FOR=WORD says that the disk is full for files whose path holds the word.
TROUBLE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static long count;
static int ours(const char *path) { return path && strstr(path, "runs/") && !strcmp(program_invocation_short_name, "peftscale"); }
static const char *path_of(int descriptor) {
  static __thread char link[64], path[4096]; /* MPI has threads of its own */
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  ssize_t length = readlink(link, path, sizeof path - 1);
  path[length > 0 ? length : 0] = 0;
  return path;
}
static int ours_by(int descriptor) { return ours(path_of(descriptor)); }
static int hits(const char *name) {
  const char *at = getenv("KILL_AT"), *only = getenv("KILL_ONLY");
  return at && (!only || !strcmp(only, name)) && ++count == atol(at);
}
#define DIE() do { FILE *f = fopen(getenv("KILL_NOTE"), "w"); fputs(__func__, f); fclose(f); kill(getpid(), SIGKILL); } while (0)
#define REAL(name) ((__typeof__(name) *)dlsym(RTLD_NEXT, #name))
#define AROUND(is_ours, call) int dies = (is_ours) && hits(__func__); if (dies && !getenv("KILL_BEHIND")) DIE(); __typeof__(call) result = call; if (dies) DIE(); return result
int rename(const char *from, const char *to) { AROUND(ours(to), REAL(rename)(from, to)); }
int unlink(const char *path) { AROUND(ours(path), REAL(unlink)(path)); }
int fsync(int descriptor) { AROUND(ours_by(descriptor), REAL(fsync)(descriptor)); }
int ftruncate(int descriptor, off_t length) { AROUND(ours_by(descriptor), REAL(ftruncate)(descriptor, length)); }
ssize_t write(int descriptor, const void *bytes, size_t count_of) {
  const char *full = getenv("FULL_FOR");
  if (full && ours_by(descriptor) && strstr(path_of(descriptor), full)) {
    errno = ENOSPC;
    return -1;
  }
  AROUND(ours_by(descriptor), REAL(write)(descriptor, bytes, count_of));
}
ssize_t pwrite(int descriptor, const void *bytes, size_t count_of, off_t at) {
  const char *rows = getenv("KILL_ROWS");
  AROUND(rows && ours_by(descriptor), REAL(pwrite)(descriptor, bytes, count_of, at));
}
ssize_t pwrite64(int descriptor, const void *bytes, size_t count_of, off64_t at) {
  const char *rows = getenv("KILL_ROWS");
  AROUND(rows && ours_by(descriptor), REAL(pwrite64)(descriptor, bytes, count_of, at));
}
"""


def steps_in(path, attempt=1):
    """Rows of the steps that a live or ended run file holds; 0 where there is no such file of such an attempt yet."""
    try:
        with h5py.File(path, "r", libver="latest", swmr=True) as file:
            return len(file["series/steps"]) if len(file["attempts"]) >= attempt else 0
    except (OSError, KeyError, RuntimeError):
        return 0


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def partial_of(path):
    with h5py.File(path, "r", libver="latest", swmr=True) as file:
        return text(file.attrs["status"]), file["attempts"][...]


def header_of(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return json.loads(file.read(length))


class Resume(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.random = random.Random(int(os.environ.get("PEFTSCALE_TEST_SEED") or 7))
        cls.whole = {}

    def words(self, name, **changed):
        return self.settings(name, **{"train__steps": str(STEPS), "method": "lora", "reduce": "exact", "output__theta": "true", "train__evaluate_every": "7",
                                      "model__dropout_hidden": "0.1", "output__checkpoint_s": "0", **changed})

    def run_path(self, name):
        return os.path.join(self.at("runs"), name + ".h5")

    def reference(self, **changed):
        """The run that nobody disturbs."""
        key = json.dumps(changed, sort_keys=True)
        if key not in self.whole:
            name = f"whole-{len(self.whole)}"
            succeed("train", "--quiet", *self.words(name, **changed))
            self.whole[key] = self.run_path(name)
        return self.whole[key]

    def start(self, name, ranks=0, changes=None, **changed):
        return subprocess.Popen(command("train", *self.words(name, **changed), ranks=ranks), env=environment(changes), stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)

    def await_steps(self, process, name, steps, attempt=1):
        """Until the run has so many, or has ended."""
        end = time.monotonic() + 60
        while process.poll() is None and steps_in(self.run_path(name) + ".partial", attempt) < steps:
            self.assertLess(time.monotonic(), end, "no step comes")
            time.sleep(0.002)

    def finish(self, process):
        """Outcome; nothing of the process is left."""
        try:
            out, err = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            self.fail(f"hangs\n{err}")
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        return Outcome(process.args, process.returncode, out, err)

    def stop(self, name, step, number=signal.SIGUSR1, ranks=0, to="launcher", pause_s=0, **changed):
        """Outcome of a run that is sent a signal behind a step. On a busy machine it may have ended by then: it is tried again."""
        for _ in range(4):
            process = self.start(name, ranks, **changed)
            self.await_steps(process, name, step)
            time.sleep(pause_s)
            if process.poll() is None:
                os.kill(process.pid if to == "launcher" or not ranks else self.random.choice(children(process.pid) or [process.pid]), number)
            outcome = self.finish(process)
            if outcome.status:
                break
            os.unlink(self.run_path(name))
        return outcome

    def check_stopped(self, outcome, name):
        self.assertEqual(outcome.status, STOPPED, str(outcome))
        said = [line for line in outcome.err.splitlines() if line.startswith("peftscale:") and "warning" not in line]
        self.assertEqual(len(said), 1, outcome.err)
        self.assertRegex(said[0], r"stopped at a checkpoint after step \d+ of \d+ \(.*\); the same command goes on from there")
        path = self.run_path(name)
        self.assertTrue(os.path.exists(path + ".checkpoint") and not os.path.exists(path))
        status, attempts = partial_of(path + ".partial")
        done = int(header_of(path + ".checkpoint")["__metadata__"]["step"])
        self.assertRegex(status, rf"^stopped: after step {done} of \d+ \(")
        self.assertEqual(steps_in(path + ".partial"), done)
        return done, attempts

    def check_whole(self, name, reference, attempts=None, bitwise=True):
        """Complete, alone, valid, and the same as the undisturbed run."""
        path = self.run_path(name)
        left = [entry for entry in os.listdir(self.at("runs")) if entry.startswith(name + ".h5") and entry != name + ".h5"]
        self.assertEqual(left, [], "files left behind")
        mine, whole = read(path, "series/steps"), read(reference, "series/steps")
        self.assertEqual(mine["step"].tolist(), whole["step"].tolist())
        if bitwise:
            self.assertEqual(np.flatnonzero(mine["theta_hash"] != whole["theta_hash"]).tolist(), [])
            self.assertEqual(attribute(path, "result", "theta_hash"), attribute(reference, "result", "theta_hash"))
            self.assertEqual(attribute(path, "result", "test_metric"), attribute(reference, "result", "test_metric"))
        verdict = succeed("check", reference, path).out
        self.assertEqual(len(re.findall(r"^ *\d+ +VALID", verdict, re.M)), 2, verdict)
        self.assertIn("AGREE", verdict)
        rows = read(path, "attempts")
        self.assertEqual(rows["attempt"].tolist(), list(range(1, len(rows) + 1)))
        for attempt, first, last in zip(rows["attempt"], rows["first_step"], [*rows["first_step"][1:], len(mine)]):
            self.assertEqual(mine["attempt"][first:last].tolist(), [attempt] * (last - first), "rows of another attempt")
        self.assertAlmostEqual(attribute(path, "result", "step_s"), mine["step_s"].sum(), places=9)
        if attempts is not None:
            self.assertEqual([text(row) for row in rows["ended"]], [*attempts, ""])

    # ---- stopping ----

    def test_signals(self):
        """To one rank or to all, by the launcher; at random steps."""
        for ranks in (0, 1, 2):
            for reduce in ("exact", "float"):
                for number, to in ((signal.SIGUSR1, "launcher"), (signal.SIGTERM, "rank"), (signal.SIGUSR1, "rank")):
                    with self.subTest(ranks=ranks, reduce=reduce, number=number, to=to):
                        name = f"signal-{ranks}-{reduce}-{number}-{to}"
                        reference = self.reference(reduce=reduce)
                        self.check_stopped(self.stop(name, self.random.randrange(1, STEPS // 2), number, ranks, to, reduce=reduce), name)
                        succeed("train", "--quiet", *self.words(name, reduce=reduce), ranks=ranks)
                        self.check_whole(name, reference, ["stopped"], bitwise=reduce == "exact")

    def test_again_and_again(self):
        for ranks in (0, 2):
            with self.subTest(ranks=ranks):
                name, ends, last = f"again-{ranks}", [], 0
                while True:
                    process = self.start(name, ranks)
                    self.await_steps(process, name, last + 1 + self.random.randrange(STEPS // 4))
                    if process.poll() is None:
                        os.kill(process.pid, signal.SIGUSR1)
                    outcome = self.finish(process)
                    if not outcome.status:
                        break
                    last, attempts = self.check_stopped(outcome, name)
                    ends.append("stopped")
                    self.assertEqual(len(attempts), len(ends))
                self.assertGreater(len(ends), 1)
                self.check_whole(name, self.reference(), ends)

    def test_during_validation(self):
        """It is left, and made by the run that goes on."""
        data = make_tiny.write_dataset(self.at("long.h5"), counts=(64, 6000, 24), longest=64)
        changed = {"task__data": data, "train__steps": "6", "train__evaluate_every": "2"}
        reference = self.reference(**changed)
        for step in (2, 4, 6):
            name = f"validation-{step}"
            done, _ = self.check_stopped(self.stop(name, step, ranks=2, pause_s=0.05, **changed), name)
            self.assertEqual(done, step)
            metadata = header_of(self.run_path(name) + ".checkpoint")["__metadata__"]
            self.assertEqual(int(metadata["validated"]), step - 2, "the validation was waited for")
            succeed("train", "--quiet", *self.words(name, **changed), ranks=2)
            self.check_whole(name, reference, ["stopped"])

    def test_final_evaluation(self):
        """Behind all steps and validations there is still the test split, on which nobody waits."""
        data = make_tiny.write_dataset(self.at("tested.h5"), counts=(64, 24, 8000), longest=64)
        changed = {"task__data": data, "train__steps": "6", "train__evaluate_every": "2"}
        reference = self.reference(**changed)
        done, _ = self.check_stopped(self.stop("tested", 6, signal.SIGTERM, pause_s=0.1, **changed), "tested")
        self.assertEqual(done, 6)
        succeed("train", "--quiet", *self.words("tested", **changed))
        self.check_whole("tested", reference, ["stopped"])
        rows = read(self.run_path("tested"), "evaluation")
        self.assertEqual(len(rows[rows["split"] == b"test"]), 1)

    def test_second_signal_ends(self):
        """One that is impatient. The same request twice at once is one request."""
        process = self.start("twice", 0)
        self.await_steps(process, "twice", 2)
        for _ in range(2):
            os.kill(process.pid, signal.SIGTERM)
        self.check_stopped(self.finish(process), "twice")
        process = self.start("stuck", 2)
        self.await_steps(process, "stuck", 2)
        first, second = children(process.pid)
        os.kill(second, signal.SIGSTOP)
        try:
            os.kill(first, signal.SIGTERM)
            time.sleep(1.3)
            self.assertIsNone(process.poll())
            os.kill(first, signal.SIGTERM)
            outcome = self.finish(process)
        finally:
            try:
                os.kill(second, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.assertNotIn(outcome.status, (0, STOPPED))
        succeed("train", "--quiet", *self.words("stuck"), ranks=2)
        self.check_whole("stuck", self.reference(), ["interrupted"])

    # ---- killing ----

    def test_killed(self):
        """A rank, or the launcher with all of them, several times; checkpoints all the time."""
        for victim in ("rank", "launcher"):
            with self.subTest(victim=victim):
                name, kills = f"killed-{victim}", 0
                timed = {"output__checkpoint_s": "0.001"}
                for _ in range(4):
                    process = self.start(name, 2, **timed)
                    self.await_steps(process, name, (kills + 1) * STEPS // 6)
                    if process.poll() is None:
                        if victim == "rank":
                            os.kill(self.random.choice(children(process.pid)), signal.SIGKILL)
                        else:
                            os.killpg(process.pid, signal.SIGKILL)
                            for rank in self.ranks_of(name):
                                os.kill(rank, signal.SIGKILL)
                    if not self.finish(process).status:
                        break
                    kills += 1
                self.assertGreater(kills, 1)
                self.wait_for_ranks(name)
                self.assertGreater(int(header_of(self.run_path(name) + ".checkpoint")["__metadata__"]["step"]), 1)
                succeed("train", "--quiet", *self.words(name, **timed), ranks=2)
                self.check_whole(name, self.reference(), ["interrupted"] * kills)
                self.assertGreater(read(self.run_path(name), "attempts")["first_step"][-1], 0)

    def ranks_of(self, name):
        """Ranks are in process groups of their own, and outlive a killed launcher for a moment."""
        found = []
        for entry in os.listdir("/proc"):
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
            except OSError:
                continue
            if f"output.name={name}".encode() in words and f"output.dir={self.at('runs')}".encode() in words and os.path.basename(words[0]) == b"peftscale":
                found.append(int(entry))
        return found

    def wait_for_ranks(self, name):
        end = time.monotonic() + 30
        while self.ranks_of(name):
            self.assertLess(time.monotonic(), end, "ranks outlive their launcher")
            time.sleep(0.01)

    def test_killed_without_a_checkpoint(self):
        name = "anew"
        for attempt in (1, 2):
            process = self.start(name)
            self.await_steps(process, name, 5, attempt)
            process.kill()
            self.finish(process)
            self.assertEqual(len(partial_of(self.run_path(name) + ".partial")[1]), attempt)
        outcome = succeed("train", *self.words(name))
        self.assertIn("attempt 3", outcome.err)
        self.check_whole(name, self.reference(), ["interrupted", "interrupted"])
        rows = read(self.run_path(name), "attempts")
        self.assertEqual(rows["first_step"].tolist(), [0, 0, 0])
        self.assertTrue((rows["last_step"][:2] >= 5).all() and (read(self.run_path(name), "series/steps")["attempt"] == 3).all())

    def trouble(self):
        """The library of that name, built once."""
        source, library = self.at("trouble.c"), self.at("trouble.so")
        if not os.path.exists(library):
            compiler = shutil.which(os.environ.get("CC") or "cc")
            if not compiler:
                self.skipTest("no C compiler")
            with open(source, "w", encoding="ascii") as file:
                file.write(TROUBLE)
            built = call([compiler, "-shared", "-fPIC", "-O1", "-w", source, "-o", library, "-ldl"])
            self.assertEqual(built.status, 0, str(built))
        return {"LD_PRELOAD": library, "KILL_NOTE": self.at("trouble.note"), "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}

    def kill_at(self, words, at, **more):
        """The name of the call that it was killed at, or None if it has made fewer."""
        trouble = self.trouble()
        note = trouble["KILL_NOTE"]
        if os.path.exists(note):
            os.unlink(note)
        outcome = call(words, {**trouble, "KILL_AT": str(at), **more})
        if not os.path.exists(note):
            self.assertEqual(outcome.status, 0, str(outcome))
            return None
        self.assertEqual(outcome.status, -signal.SIGKILL, str(outcome))
        with open(note, encoding="ascii") as file:
            return file.read()

    def test_killed_at_every_file_operation(self):
        """Right before each call that renames, removes, syncs or writes a file, and behind each rename: the same command ends well, and alike."""
        changed = {"train__steps": "2", "train__evaluate_every": "1", "output__checkpoint_s": "1e-9"}
        hashes = read(self.reference(**changed), "series/steps")["theta_hash"].tolist()
        words = command("train", "--quiet", *self.words("k", **changed, output__dir=self.at("killed-runs")))
        where = []
        for at in range(1, 1000):
            where.append(self.kill_at(words, at))
            if where[-1] is None:
                break
            if at % 2:  # once more, now on the way of the run that goes on
                self.kill_at(words, at // 2 + 1)
            self.end_well(words, hashes, f"call {at} ({where[-1]})")
        self.assertGreater(len(where), 30)
        self.assertTrue({"rename", "unlink", "fsync", "write", None} <= set(where), str(set(where)))
        for at in range(1, 1000):
            if not self.kill_at(words, at, KILL_ONLY="rename", KILL_BEHIND="1"):
                break
            self.end_well(words, hashes, f"behind rename {at}")
        self.assertGreater(at, 5)  # the partial file, a checkpoint behind each step, the closing copy, the run file
        for _ in range(12):
            at = self.random.randrange(1, 200)
            self.kill_at(words, at, KILL_ROWS="1")
            self.end_well(words, hashes, f"write {at}")

    def end_well(self, words, hashes, when):
        outcome = call(words)
        self.assertEqual(outcome.status, 0, f"{when}\n{outcome}")
        # What tries whether files can be made there has a name of its own, and may stay.
        self.assertEqual([entry for entry in os.listdir(self.at("killed-runs")) if not entry.startswith(".peftscale-")], ["k.h5"], when)
        path = os.path.join(self.at("killed-runs"), "k.h5")
        self.assertEqual(read(path, "series/steps")["theta_hash"].tolist(), hashes, when)
        self.assertEqual(attribute(path, "", "status"), "complete")
        os.unlink(path)

    # ---- what is found ----

    def stopped(self, name, ranks=0, **changed):
        """The state that a stopped run leaves, as files to put back."""
        done, _ = self.check_stopped(self.stop(name, 12, ranks=ranks, **changed), name)
        kept = {}
        for ending in (".partial", ".checkpoint"):
            with open(self.run_path(name) + ending, "rb") as file:
                kept[ending] = file.read()
        return done, kept

    def put(self, name, kept):
        for ending in ("", ".partial", ".checkpoint"):
            path = self.run_path(name) + ending
            if os.path.isdir(path):
                os.rmdir(path)
            elif os.path.lexists(path):
                os.unlink(path)
            if ending in kept:
                with open(path, "wb") as file:
                    file.write(kept[ending])

    def refuse(self, name, texts, ranks=0, **changed):
        outcome = call(command("train", "--quiet", *self.words(name, **changed), ranks=ranks))
        self.assertEqual(outcome.status, 1, str(outcome))
        self.assertEqual(len(outcome.errors), 1, str(outcome))
        for part in [self.run_path(name) + ".checkpoint", *texts]:
            self.assertIn(part, outcome.errors[0], str(outcome))
        self.assertIn("remove", outcome.err, "no hint")
        self.assertFalse(os.path.exists(self.run_path(name) + ".partial.lock") or os.path.exists(self.run_path(name)))

    def test_damaged(self):
        """One message, and nothing is lost: not the checkpoint, not the rows."""
        name = "damaged"
        done, kept = self.stopped(name)
        whole = kept[".checkpoint"]
        (length,) = struct.unpack("<Q", whole[:8])
        header = json.loads(whole[8 : 8 + length])

        def with_header(edit):
            changed = json.loads(json.dumps(header))
            edit(changed)
            words = json.dumps(changed).encode()
            words += b" " * (-(len(words) + 8) % 8)
            return struct.pack("<Q", len(words)) + words + whole[8 + length :]

        def entry(key, value):
            return with_header(lambda h: h["__metadata__"].update({key: value}) if value is not None else h["__metadata__"].pop(key))

        def flipped(place, by=1):
            return whole[:place] + bytes([whole[place] ^ by]) + whole[place + 1 :]

        broken = {"empty": b"", "no file of that kind": b"hello" * 100, "cut short": whole[: len(whole) // 2], "a byte short": whole[:-1], "only a header": whole[: 8 + length],
                  "more than whole": whole + b"\0" * 8, "without a step": entry("step", None), "step 0": entry("step", "0"), "beyond the end": entry("step", str(STEPS + 1)),
                  "another step": entry("step", str(done - 1)), "words for a number": entry("tokens", "many"), "infinite time": entry("train_s", "inf"),
                  "best step in the future": entry("best_step", str(done + 1)), "another kind": entry("kind", "peftscale adapter"), "newer": entry("version", "2"),
                  "no hash": entry("content_hash", None), "no id": entry("experiment_id", "x"),
                  "a tensor less": with_header(lambda h: h.pop("second_moment"))}
        for tensor in ("theta", "first_moment", "second_moment", "step_counts", "levels", "rank_wire_bytes"):
            begin, end = header[tensor]["data_offsets"]
            broken[f"a bit of {tensor}"] = flipped(8 + length + self.random.randrange(begin, end), 1 << self.random.randrange(8))
        for what, content in broken.items():
            with self.subTest(what=what):
                self.put(name, {**kept, ".checkpoint": content})
                self.refuse(name, [])
                with open(self.run_path(name) + ".checkpoint", "rb") as file:
                    self.assertEqual(file.read(), content)
                self.assertEqual(steps_in(self.run_path(name) + ".partial"), done)
        self.put(name, {**kept, ".checkpoint": broken["cut short"]})
        os.unlink(self.run_path(name) + ".checkpoint")
        succeed("train", "--quiet", *self.words(name))
        self.check_whole(name, self.reference(), ["stopped"])

    def test_in_the_wrong_company(self):
        """A checkpoint without its run file, with one that knows less, or with something else in its place."""
        name = "company"
        done, kept = self.stopped(name)
        self.put(name, {".checkpoint": kept[".checkpoint"]})
        for _ in range(2):  # a refused run leaves nothing that would make the next one go wrong
            self.refuse(name, ["gone"])
        self.put(name, kept)
        with h5py.File(self.run_path(name) + ".partial", "r+") as file:
            rows = file["series/steps"][...]
            file["series/steps"].resize((done - 1,))
            self.assertEqual(len(rows), done)
        self.refuse(name, [f"{done - 1} of the {done} steps"])
        self.put(name, {**kept, ".partial": kept[".partial"][:3000]})
        self.refuse(name, ["cannot be read"])
        self.put(name, {".partial": kept[".partial"]})
        os.mkdir(self.run_path(name) + ".checkpoint")
        self.refuse(name, [])
        self.put(name, {".partial": kept[".partial"]})
        os.mkfifo(self.run_path(name) + ".checkpoint")
        self.refuse(name, [])
        self.put(name, kept)
        succeed("train", "--quiet", *self.words(name))
        self.check_whole(name, self.reference(), ["stopped"])

    def test_of_another_run(self):
        """Under one name: another experiment starts anew, with a warning; the same one, executed otherwise, is refused."""
        name = "foreign"
        done, kept = self.stopped(name, 2)
        self.refuse(name, ["2 ranks x 1 threads, not 1 x 1"])
        self.refuse(name, ["2 ranks x 1 threads, not 2 x 2"], ranks=2, threads="2")
        self.refuse(name, ["reduce"], ranks=2, reduce="float")
        self.refuse(name, ["repetition"], ranks=2, repetition="2")
        outcome = succeed("train", "--quiet", *self.words(name, seed="2"), ranks=2)
        self.assertIn("another experiment", outcome.err)
        with open(self.run_path(name) + ".checkpoint", "rb") as file:
            self.assertEqual(file.read(), kept[".checkpoint"], "another run's checkpoint is not for this one to remove")
        self.put(name, kept)
        succeed("train", "--quiet", *self.words(name), ranks=2)
        self.check_whole(name, self.reference(), ["stopped"])
        self.put(name, {})
        # Left by a run that was killed between its last two deeds.
        succeed("train", "--quiet", *self.words(name), ranks=2)
        with open(self.run_path(name) + ".checkpoint", "wb") as file:
            file.write(kept[".checkpoint"])
        succeed("train", "--quiet", *self.words(name), ranks=2)
        self.check_whole(name, self.reference(), [])

    # ---- where it cannot be written ----

    def test_full_disk(self):
        """Room for the run file, but not for a checkpoint: by time it warns, and the former one stays; at a stop it fails."""
        full = {**self.trouble(), "FULL_FOR": ".checkpoint"}
        name, timed = "tight", {"output__checkpoint_s": "0.001"}
        outcome = succeed("train", "--quiet", *self.words(name, **timed), changes=full)
        self.assertIn("no checkpoint after step", outcome.err)
        self.assertIn("No space left", outcome.err)
        self.check_whole(name, self.reference(), [])
        name = "tight-stop"
        done, kept = self.stopped(name, **timed)
        for number, status in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGUSR1, 1)):
            process = self.start(name, changes=full, **timed)
            self.await_steps(process, name, done + 3, attempt=2 if number == signal.SIGKILL else 3)
            os.kill(process.pid, number)
            outcome = self.finish(process)
            self.assertEqual(outcome.status, status, str(outcome))
            with open(self.run_path(name) + ".checkpoint", "rb") as file:
                self.assertEqual(file.read(), kept[".checkpoint"])
            self.assertEqual([entry for entry in os.listdir(self.at("runs")) if "tmp" in entry], [])
        self.assertEqual(len(outcome.errors), 1, str(outcome))
        self.assertIn("tight-stop.h5.checkpoint: cannot write: No space left", outcome.errors[0])
        succeed("train", "--quiet", *self.words(name, **timed))
        self.check_whole(name, self.reference(), ["stopped", "interrupted", "failed"])

    def test_not_allowed(self):
        """A user who may not write the directory, or not read the checkpoint."""
        if os.geteuid() == 0 and not shutil.which("setpriv"):
            self.skipTest("root may do everything, and there is no setpriv to become somebody else")
        name, folder = "denied", self.at("runs")
        _, kept = self.stopped(name)
        become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
        if become:
            os.chmod(self.folder.name, 0o755)
            for directory, _, files in os.walk(self.model):
                os.chmod(directory, 0o755)
                for file in files:
                    os.chmod(os.path.join(directory, file), 0o644)
        words = [*become, *command("train", "--quiet", *self.words(name))]
        if call([*become, "test", "-x", words[len(become)]]).status:
            self.skipTest("the program is where nobody else may run it")
        try:
            os.chmod(folder, 0o555)
            outcome = call(words, {"HOME": self.at("runs"), "TMPDIR": "/tmp"})
            self.assertEqual((outcome.status, len(outcome.errors)), (1, 1), str(outcome))
            self.assertIn(folder, outcome.errors[0])
            os.chmod(folder, 0o777)
            os.chmod(self.run_path(name) + ".checkpoint", 0)
            outcome = call(words, {"HOME": self.at("runs"), "TMPDIR": "/tmp"})
            self.assertEqual((outcome.status, len(outcome.errors)), (1, 1), str(outcome))
            self.assertIn(self.run_path(name) + ".checkpoint: cannot open: Permission denied", outcome.errors[0])
        finally:
            os.chmod(folder, 0o755)
        self.put(name, kept)
        succeed("train", "--quiet", *self.words(name))
        self.check_whole(name, self.reference(), ["stopped"])

    # ---- trials ----

    def test_without_the_test_split(self):
        """output.test=false leaves it alone, and is no other experiment."""
        run = self.run_path("trial")
        outcome = succeed("train", *self.words("trial", output__test="false"))
        self.assertRegex(outcome.err, r"test not read")
        self.assertTrue(np.isnan(attribute(run, "result", "test_metric")))
        self.assertEqual(set(read(run, "evaluation")["split"].tolist()), {b"validation"})
        with h5py.File(run, "r") as file:
            self.assertEqual(list(file["predictions"]), ["validation"])
        self.assertIn("AGREE", succeed("check", self.reference(), run).out)
        self.assertNotEqual(attribute(run, "", "request_id"), attribute(self.reference(), "", "request_id"))


if __name__ == "__main__":
    main()
