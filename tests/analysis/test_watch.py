#!/usr/bin/python3
# timeout: 600
"""`analysis watch` beside real sweeps: it counts as `sweep status` does, whatever happens to the runs; fits its terminal and gives it back; disturbs nobody.
Run: test_watch.py [-v]"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import unicodedata

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
import harness  # noqa: E402
from harness import command, environment, main, peftscale, read, succeed  # noqa: E402
from sweeps import SweepCase  # noqa: E402

try:
    import rich  # noqa: F401
except ImportError:
    print("skipped: no rich (Debian's python3-rich)")
    sys.exit(77)

from pathlib import Path  # noqa: E402

import screens  # noqa: E402

sys.path.insert(0, harness.ROOT)
from analysis.watch.snapshot import FAILED, INTERRUPTED, RUNNING, STOPPED  # noqa: E402
from analysis.watch.sweep import open_place  # noqa: E402

PYTHON = os.environ.get("PYTHON", "/usr/bin/python3")
GRID = "grid:\n  method: [full, lora, red]\nseeds: [1]\n"
SLOW, QUICK = 1500, 60  # epochs: long enough to be looked at, whatever else the machine does; soon over
WATCH = [PYTHON, "-m", "analysis", "watch"]


def width_of(line):
    return sum(0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in line)


def listing(folder):
    """Every file below it with what a writer would change of it."""
    return {str(path): (path.stat().st_ino, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(Path(folder).rglob("*")) if path.is_file()}


class Watch(SweepCase):
    @contextlib.contextmanager
    def sweeping(self, *words):
        """A sweep at work; it is stopped at the end of the block, if it has not ended."""
        process = subprocess.Popen([*command("sweep", "run", self.study, "--results", self.results, "--no-table", *words)], env=environment(), cwd=harness.ROOT,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
                                   preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            try:
                self.said = process.communicate(timeout=60)[0]
                if sys.exc_info()[0]:
                    print(self.said, file=sys.stderr)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise

    def until(self, found, what, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            result = found()
            if result:
                return result
            time.sleep(0.05)
        raise AssertionError(f"never: {what}")

    def watched(self):
        """The study's place, as soon as the sweep has made it."""
        return self.until(lambda: os.path.isdir(os.path.join(self.results, "runs")) and open_place([Path(self.results)]), "the sweep makes its results")

    def entry(self, place, state, **wanted):
        return self.until(lambda: next((each for each in place.look().entries if each.state == state and all(getattr(each, key) >= value for key, value in
                                        wanted.items())), None), f"a run is {state} {wanted}")

    def agree(self, place):
        """The view counts as the program does: at some moment, since both look at a thing that moves."""
        def equal():
            before, seen, after = self.status()["counts"], place.look().counts, self.status()["counts"]
            before, after = ({state: count for state, count in each.items() if count} for each in (before, after))
            return before == seen == after and seen
        return self.until(equal, "both count the same")

    def rank_of(self, place, entry):
        """The process of rank 0 of a running one."""
        return int(re.match(r"process (\d+) on ", next(each for each in place.look().entries if each.key == entry.key).reason)[1])

    # ---- beside a sweep ----

    def test_it_counts_as_the_program_does(self):
        self.write(GRID, epochs=SLOW)
        with self.sweeping("-j1"):
            place = self.watched()
            first = self.entry(place, RUNNING, done=20)
            self.assertEqual(first.steps, 4 * SLOW)
            self.assertRegex(first.reason, r"^process \d+ on \S+, since \d{4}-")
            self.assertEqual(first.label, "full s1")
            self.assertTrue(first.progress.tokens_per_s > 0 and first.progress.left_s > 0 and len(first.progress.curve) >= 1)
            self.assertEqual(first.progress.metric, "accuracy")
            self.assertEqual(self.agree(place), {"running": 1, "missing": 2})
            later = self.entry(place, RUNNING, done=first.done + 20)
            self.assertTrue(later.progress.score_step > 0 and 0 <= later.progress.score <= 1)
            os.kill(self.rank_of(place, first), signal.SIGKILL)
            again = self.entry(place, RUNNING, attempts=2)
            self.assertEqual(again.key, first.key)
            self.agree(place)
        stopped = self.entry(place, STOPPED)  # by the Ctrl-C that ends the block
        self.assertGreater(stopped.progress.done, 0)
        self.agree(place)
        with self.sweeping("-j1"):
            went_on = self.entry(place, RUNNING, done=stopped.progress.done)
            self.assertEqual(went_on.key, stopped.key)
        self.assertFalse(place.look().has_ended)

    def test_a_run_that_kills_itself_and_one_that_diverges(self):
        self.write("grid:\n  method:\n    - {method: full, train.lr: 1000, train.decay: 100, train.warmup: 0, label: wild}\n    - lora\nseeds: [1]\n", QUICK)
        with self.sweeping("-j1") as process:
            place = self.watched()
            self.until(lambda: process.poll() is not None, "the sweep ends")
        snapshot = place.look()
        self.assertTrue(snapshot.has_ended)
        self.assertEqual(snapshot.counts, {"done": 1, "failed": 1})
        self.assertEqual({state: count for state, count in self.status()["counts"].items() if count}, snapshot.counts)
        failed = snapshot.of(FAILED)[0]
        self.assertIn("diverged", failed.reason)
        self.assertEqual(failed.reason, next(run["reason"] for run in self.status()["runs"] if run["state"] == "failed"))
        done = snapshot.of("done")[0]
        run = next(iter(self.files()))
        self.assertEqual(done.outcome.test, harness.attribute(os.path.join(self.results, "runs", f"{run}.h5"), "result", "test_metric"))

    def test_a_killed_sweep(self):
        self.write(GRID, epochs=SLOW)
        with self.sweeping("-j1") as process:
            place = self.watched()
            self.entry(place, RUNNING, done=20)
            rank = self.rank_of(place, place.look().of(RUNNING)[0])
            os.killpg(process.pid, signal.SIGKILL)  # then its group ends, too
            with contextlib.suppress(ProcessLookupError):
                os.kill(rank, signal.SIGKILL)
            killed = self.entry(place, INTERRUPTED)
            self.assertEqual(killed.reason, "killed")
            self.assertGreater(killed.progress.done, 0)
            self.agree(place)

    def test_tuned_runs_get_names_that_the_index_lacks(self):
        self.write("grid:\n  method: [lora, red]\nseeds: [1, 2]\n"
                   "tune:\n  key: train.lr\n  values: [1e-3, 2e-2]\n  set: {train.epochs: 1}\n  seed: 1\n", QUICK)
        with self.sweeping("-j1") as process:
            place = self.watched()
            self.assertEqual(len(place.look().entries), 8)
            self.until(lambda: process.poll() is not None or any(each.state == RUNNING and "trial" not in each.label for each in place.look().entries),
                       "a run proper begins")
            self.assertEqual(len(place.look().entries), 8, "a run that has its name by now is still the one that waited")
            self.until(lambda: process.poll() is not None, "the sweep ends")
        snapshot = place.look()
        self.assertEqual((snapshot.counts, snapshot.has_ended), ({"done": 8}, True))
        self.assertEqual(len({each.label for each in snapshot.entries}), 8)

    # ---- plain lines ----

    def test_a_line_per_change(self):
        self.write(GRID, epochs=200)
        with self.sweeping("-j1"):
            self.watched()
            lines = harness.call([*WATCH, self.results, "--interval", "0.2"], timeout_s=120)
        self.assertEqual((lines.status, lines.err), (0, ""))
        *changes, last = lines.out.splitlines()
        self.assertTrue(all(re.match(r"\d\d:\d\d:\d\d  ", line) for line in changes), lines.out)
        done = [line for line in changes if re.match(r"\S+  done ", line)]
        self.assertEqual(len(done), 3)
        self.assertIn("[3/3]", done[-1])
        self.assertRegex(done[0], r"validation accuracy \d+\.\d\d, test \d+\.\d\d, 0:\d\d  \[1/3\]$")
        self.assertTrue(any(re.search(r"  running +\w+ s1: validation accuracy \d+\.\d\d after step \d+/800$", line) for line in changes), lines.out)
        self.assertRegex(last, "^results: 3 runs: 3 done$")

    def test_once(self):
        self.write(GRID, epochs=SLOW)
        with self.sweeping("-j1"):
            place = self.watched()
            self.entry(place, RUNNING, done=50)
            out = succeed_watch(self.results, "--once")
            partial = next(Path(self.results).rglob("*.h5.partial"))
            alone = succeed_watch(partial, "--once")
        self.assertRegex(out, r"3 runs: 1 running, 2 missing")
        self.assertRegex(out, r"full s1 +\d+/6000 +\d+\.\d{4} +\S+ +accuracy +\d+\.\d\d")
        self.assertRegex(alone, r"1 run: 1 running; about \S+ left")
        self.assertTrue(all(width_of(line) <= 100 for line in out.splitlines()), out)
        plain = harness.call([*WATCH, self.results, "--once"], changes={"LC_ALL": "C", "PYTHONIOENCODING": "ascii"})
        self.assertEqual((plain.status, plain.out.isascii()), (0, True), str(plain))

    # ---- the terminal ----

    def terminal(self, columns, lines, *words, changes=None):
        changes = {"TERM": "xterm-256color", **(changes or {})}
        return screens.Terminal([*WATCH, self.results, "--interval", "0.3", *words], columns, lines, environment(changes), harness.ROOT)

    def check_fits(self, terminal, columns, lines):
        pictures = terminal.pictures()[:-1]
        self.assertGreater(len(pictures), 0)
        for picture in pictures:
            self.assertLessEqual(len(picture), lines, "\n".join(picture))
            for line in picture:
                self.assertLessEqual(width_of(line), columns, line)

    def test_it_fits_the_terminal_and_gives_it_back(self):
        self.write(GRID, epochs=SLOW)
        with self.sweeping("-j1"):
            place = self.watched()
            self.entry(place, RUNNING, done=50)
            for columns, lines in ((80, 24), (120, 40), (40, 8)):
                with self.terminal(columns, lines) as terminal:
                    shown = terminal.wait_for(lambda picture: any("full s1" in line for line in picture))
                    terminal.wait_for(lambda picture: picture != shown)
                    self.check_fits(terminal, columns, lines)
                    self.assertTrue(any("3 runs: 1 running, 2 missing" in line for line in shown), shown)
                    row = next(line for line in shown if "full s1" in line)
                    self.assertRegex(row, r"full s1 +\d+/6000 +\d\.\d{4}")
                    if columns >= 80:
                        self.assertRegex(row, r"[▁▂▃▄▅▆▇█]{6,} +\d+\.\d\d +[\d,]+ +\d+:\d\d")
                    for size in ((100, 30), (30, 6), (columns, lines)):
                        terminal.resize(*size)
                        terminal.wait_for(lambda picture: len(picture) == size[1] and width_of(picture[0]) in (size[0] - 1, size[0]))
                        self.check_fits_from_here(terminal, *size)
                    terminal.press(b"\x03")
                    self.assertEqual(terminal.end(), 0)
                    text = terminal.output.decode("utf-8", "replace")
                    self.assertIn(screens.FIRST_SCREEN, text)
                    self.assertIn(screens.CURSOR_ON, text.rpartition(screens.FIRST_SCREEN)[0][-200:] + text.rpartition(screens.FIRST_SCREEN)[2])
                    self.assertNotIn("Traceback", text)
                    self.assertIn("1 running", text.rpartition(screens.FIRST_SCREEN)[2], "what was seen last stays")
            with self.terminal(80, 24) as terminal:
                terminal.wait_for(lambda picture: any("full s1" in line for line in picture))
                os.kill(terminal.pid, signal.SIGTERM)
                self.assertEqual(terminal.end(), 128 + signal.SIGTERM)
                self.assertIn(screens.FIRST_SCREEN, terminal.output.decode("utf-8", "replace"))
            self.assertEqual(self.agree(place), {"running": 1, "missing": 2}, "the sweep goes on")

    def check_fits_from_here(self, terminal, columns, lines):
        """A picture that was on its way when the size changed does not count."""
        later = [picture for picture in terminal.pictures() if len(picture) <= lines and width_of(picture[0]) <= columns]
        self.assertTrue(later)
        for picture in later:
            self.assertTrue(all(width_of(line) <= columns for line in picture), picture)

    def test_it_ends_with_the_sweep(self):
        self.write(GRID, epochs=QUICK)
        with self.sweeping("-j1"):
            self.watched()
            with self.terminal(80, 24) as terminal:
                self.assertEqual(terminal.end(120), 0)
                text = terminal.output.decode("utf-8", "replace").rpartition(screens.FIRST_SCREEN)[2]
        self.assertIn("3 runs: 3 done", text)
        self.assertIn("finished last", text)

    def test_without_rich_there_is_one_line(self):
        self.write(GRID)
        self.run_all()
        os.unlink(next(Path(self.results).glob("runs/*.h5")))  # else it would end before it draws
        stub = os.path.join(self.study, "stub", "rich")
        os.makedirs(stub)
        with open(os.path.join(stub, "__init__.py"), "w", encoding="utf-8") as file:
            file.write("raise ImportError('No module named rich', name='rich')\n")
        with self.terminal(80, 24, changes={"PYTHONPATH": os.path.dirname(stub)}) as terminal:
            self.assertEqual(terminal.end(), 1)
            self.assertEqual(terminal.output.decode().split("\r\n"), ["analysis: rich is missing (Debian: python3-rich)", ""])
        self.assertEqual(harness.call([*WATCH, self.results, "--once"], changes={"PYTHONPATH": os.path.dirname(stub)}).status, 0)

    # ---- nobody notices ----

    def test_nothing_is_written_or_locked(self):
        self.write(GRID, epochs=QUICK)
        looks = 0
        with self.sweeping("-j1") as process:
            place = self.watched()
            while process.poll() is None:  # as often as it can
                place.look()
                looks += 1
        self.assertGreater(looks, 20)
        self.assertEqual(process.returncode, 0, self.said)
        self.assertEqual(peftscale("check", *map(str, Path(self.results).glob("runs/*.h5"))).status, 0)
        for path in Path(self.results).glob("runs/*.h5"):
            self.assertEqual(len(read(path, "attempts")), 1, "no run was tried twice")
        self.assertEqual(self.left_over(), [])
        before = listing(self.results)
        succeed_watch(self.results, "--once")
        self.assertEqual(listing(self.results), before)
        calls = json.loads(succeed("sweep", "status", self.study, "--results", self.results, "--json").out)["counts"]
        self.assertEqual(calls["done"], 3)


def succeed_watch(*words):
    done = harness.call([*WATCH, *map(str, words)])
    assert done.status == 0 and not done.err, str(done)
    return done.out


if __name__ == "__main__":
    main()
