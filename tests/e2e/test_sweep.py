#!/usr/bin/python3
# timeout: 600
"""peftscale sweep: what is done is not done again, what fails is seen, trials choose, others' work is respected. Run: test_sweep.py [-v]"""

import json
import os
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
import harness  # noqa: E402
from harness import attribute, command, environment, h5py, main, peftscale, read, text  # noqa: E402
from sweeps import SweepCase, series, table  # noqa: E402

sys.path.insert(0, harness.ROOT)
from analysis.tables.columns import COLUMNS  # noqa: E402

GRID = "grid:\n  method: [lora, red]\nseeds: [1, 2]\n"
TUNED = GRID + "tune:\n  key: train.lr\n  values: [1e-3, 2e-2]\n  set: {train.epochs: 1}\n  seed: 1\n"


# With this even a tiny model leaves the finite range at a rate of 1000.
WILD = "grid:\n  method: [{{method: full, train.decay: 100, train.warmup: 0}}]\nseeds: [1, 2]\ntune:\n  key: train.lr\n  values: {values}\n  set: {{train.epochs: 15}}\n  seed: 1\n"


class Sweep(SweepCase):
    def start(self, *words, changes=None, ignored=()):
        def set_signals():  # a shell that runs this in its background has SIGINT ignored, and the sweep would keep to that
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            for number in ignored:
                signal.signal(number, signal.SIG_IGN)

        return subprocess.Popen([*command("sweep", "run", self.study, "--results", self.results, "--no-table", *words)], env=environment(changes), cwd=harness.ROOT,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, preexec_fn=set_signals)

    # ---- the plain course ----

    def test_plan_run_status(self):
        self.write(GRID)
        plan = json.loads(self.sweep("plan", "--json").out)
        self.assertEqual([run["state"] for run in plan["runs"]], ["missing"] * 4)
        self.assertTrue(all(run["tokens"] > 0 for run in plan["runs"]))
        self.assertEqual(len({run["request_id"] for run in plan["runs"]}), 4)
        self.assertFalse(os.path.exists(self.results), "planning writes nothing")
        self.run_all()
        status = self.status()
        self.assertEqual(status["counts"]["done"], 4)
        self.assertEqual(set(self.files()), {run["name"] for run in plan["runs"]})
        self.assertEqual(self.left_over(), [])
        for run in status["runs"]:
            path = os.path.join(self.results, "runs", run["name"] + ".h5")
            self.assertEqual(attribute(path, "", "request_id"), run["request_id"])
            self.assertEqual(attribute(path, "result", "validation_metric"), run["validation"])
        self.assertEqual(peftscale("check", *(os.path.join(self.results, "runs", name + ".h5") for name in self.files())).status, 0)
        # rates are known now
        self.assertTrue(all(run["estimate_s"] > 0 for run in json.loads(self.sweep("plan", "--json").out)["runs"]))

    def test_done_runs_are_not_done_again(self):
        self.write(GRID)
        self.run_all("seed=1")
        before = self.files()
        self.assertEqual(len(before), 2)
        self.run_all()
        after = self.files()
        self.assertEqual({name: after[name] for name in before}, before)
        self.assertEqual(len(after), 4)
        self.run_all()
        self.assertEqual(self.files(), after)

    def test_a_removed_or_damaged_file(self):
        self.write(GRID)
        self.run_all()
        names = sorted(self.files())
        os.unlink(os.path.join(self.results, "runs", names[0] + ".h5"))
        with open(os.path.join(self.results, "runs", names[1] + ".h5"), "r+b") as file:
            file.truncate(1000)
        with h5py.File(os.path.join(self.results, "runs", names[2] + ".h5"), "r+") as file:
            file.attrs["request_id"] = b"0" * 32
        states = {name: run["state"] for name, run in self.runs().items()}
        self.assertEqual([states[name] for name in names], ["missing", "failed", "failed", "done"])
        reasons = {name: run["reason"] for name, run in self.runs().items()}
        self.assertIn("another configuration", reasons[names[2]])
        self.run_all(status=1)
        self.assertEqual(self.status()["counts"]["failed"], 2)
        self.sweep("retry")
        self.run_all()
        self.assertEqual(self.status()["counts"]["done"], 4)
        self.assertEqual(self.left_over(), [name + ".h5.unusable" for name in names[1:3]], "put aside, not lost")

    def test_changed_settings_are_other_runs(self):
        self.write(GRID)
        self.run_all()
        before = self.files()
        self.assertEqual(self.status("train.batch=8")["counts"]["missing"], 4)
        self.run_all("train.batch=8", "seed=1")
        self.assertEqual(len(self.files()), 6)
        self.assertEqual({name: self.files()[name] for name in before}, before)

    def test_equal_runs_count_once(self):
        self.write("stages:\n  - {name: one, grid: {method: [lora, red]}, seeds: [1]}\n  - {name: two, grid: {method: [red, bitfit]}, seeds: [1]}\n")
        status = self.status()
        self.assertEqual(status["counts"]["missing"], 3)
        self.run_all("stage=two")
        self.assertEqual(self.status()["counts"], {**dict.fromkeys(status["counts"], 0), "done": 2, "missing": 1})

    def test_other_sources_are_stale(self):
        self.write(GRID)
        self.run_all()
        path = os.path.join(self.results, "runs", sorted(self.files())[0] + ".h5")
        with h5py.File(path, "r+") as file:
            file["provenance"].attrs["source_hash"] = b"0123456789abcdef"
        status = self.status()
        self.assertEqual((status["counts"]["done"], status["counts"]["stale"]), (3, 1))
        before = self.files()
        self.run_all()
        self.assertEqual(self.files(), before, "stale runs are kept")
        self.sweep("retry", "--stale")
        self.assertEqual(self.status()["counts"]["missing"], 1)
        self.run_all()
        self.assertEqual(self.status()["counts"]["done"], 4)

    # ---- trials ----

    def test_trials_choose(self):
        self.write(TUNED, epochs=2)
        self.run_all()
        trials, finals = self.runs(role="trial"), self.runs(role="run")
        self.assertEqual((len(trials), len(finals)), (4, 4))
        for method in ("lora", "red"):
            mine = [run for run in trials.values() if run["method"] == method]
            best = min(mine, key=lambda run: (-run["validation"], float(run["tuned_value"])))["tuned_value"]
            self.assertEqual({run["tuned_value"] for run in finals.values() if run["method"] == method}, {best})
        for name, run in trials.items():
            path = os.path.join(self.results, "runs", name + ".h5")
            self.assertIsNone(run["test"])
            self.assertNotIn("test", {text(row["split"]) for row in read(path, "evaluation")})
            with h5py.File(path) as file:
                self.assertNotIn("test", file["predictions"])
        for name, run in finals.items():
            path = os.path.join(self.results, "runs", name + ".h5")
            self.assertIn(f"lr: {float(run['tuned_value']):g}", text(read(path, "config").item()).replace("e-0", "e-"))
            self.assertIsNotNone(run["test"])

    def test_a_trial_that_diverges_has_had_its_say(self):
        self.write(WILD.format(values="[1e-3, 1000]"), epochs=15)
        self.run_all(status=1)
        self.assertEqual({run["tuned_value"] for run in self.runs(role="run").values()}, {"1e-3"})
        failed = self.runs(state="failed")
        self.assertEqual([run["role"] for run in failed.values()], ["trial"])
        self.assertTrue(all("diverged" in run["reason"] for run in failed.values()))
        self.assertEqual(self.status()["counts"]["done"], 3)

    def test_no_trial_left(self):
        self.write(WILD.format(values="[999, 1000]"), epochs=15)
        self.run_all(status=1)
        self.assertEqual(self.status()["counts"]["failed"], 4)
        self.assertIn("all trials of its group diverged", self.sweep("status", "--all").out)

    # ---- failures ----

    def test_failures_are_told(self):
        self.write("grid:\n  case:\n    - {method: lora}\n    - {method: full, train.lr: 1000, train.decay: 100, train.warmup: 0, train.epochs: 15}\n"
                   f"    - {{method: lora, task.data: {self.at('absent.h5')}}}\n    - {{method: red, model.path: {self.at('absent')}}}\n")
        outcome = self.run_all(status=1)
        counts = self.status()["counts"]
        self.assertEqual((counts["done"], counts["failed"]), (1, 3))
        self.assertIn("3 failed", outcome.err)
        status = self.sweep("status").out
        self.assertIn("diverged", status)
        self.assertIn("absent.h5", status)
        before = self.files()
        self.run_all(status=1)  # failed ones are left alone
        self.assertEqual(self.files(), before)
        self.assertEqual({run["attempts"] for run in self.runs(state="failed").values()}, {1})
        self.assertIn("3 runs", self.sweep("retry").out)
        self.assertEqual(self.status()["counts"]["missing"], 3)
        self.run_all(status=1)
        self.assertEqual(self.status()["counts"]["failed"], 3)

    def test_failures_below_the_table(self):
        """What the user sees in the end: why there is no number, and nothing that looks like one."""
        self.write("grid:\n  case:\n    - {method: lora}\n    - {method: full, train.lr: 1000, train.decay: 100, train.warmup: 0, train.epochs: 15}\n"
                   f"    - {{method: red, task.data: {self.at('absent.h5')}}}\ncolumns: [validation, test, train_s]\n")
        outcome = self.sweep("run", status=1)
        self.assertNotIn("no table", outcome.err)
        self.assertIn("2 of 3 runs have no result (2 failed)", outcome.err)
        flat = " ".join(outcome.out.split())
        self.assertIn("Study results: 3 runs planned, 1 finished. Not in the table: 2 ", flat)
        self.assertRegex(flat, r"1 failed: diverged:? [a-z ]*\d+[a-z: ]* (nan|inf)(, gradient norm [a-z0-9.+]+)? \(full\)")
        self.assertIn(f"1 failed: task.data: cannot read '{self.at('absent.h5')}'", flat)
        self.assertIn("No row, because no run is finished: full, red.", flat)
        (fine,) = self.runs(state="done").values()
        lines = outcome.out.splitlines()
        rule = next(number for number, line in enumerate(lines) if line.startswith("---"))
        self.assertEqual(lines[rule - 2].split(), ["valid.", "test", "train"])
        row, end = lines[rule + 1:rule + 3]
        self.assertTrue(row.startswith("lora "), row)
        self.assertEqual(end, "")
        numbers = re.findall(r"\d+\.\d\d(?= |$)", row)
        self.assertEqual(numbers[:2], [f"{100 * fine[split]:.2f}" for split in ("validation", "test")])
        self.assertEqual([found["method"] for found in table(self.results)], ["lora"])
        for run in self.runs(state="failed").values():
            self.assertEqual([run.get(what) for what in ("validation", "test")], [None, None])

    def test_columns_reach_the_table(self):
        """The program and the analysis know the same ones."""
        names = list(reversed(COLUMNS))
        self.write(f"{GRID}columns: [{', '.join(names)}]\nquestion: |\n  Which is\n\n  better?\n")
        self.run_all("seed=1")
        with open(os.path.join(self.results, "index.tsv"), encoding="utf-8") as file:
            self.assertEqual(file.read().splitlines()[1:4], ["# title: A tiny study", "# question: Which is better?", f"# columns: {' '.join(names)}"])
        done = harness.call([sys.executable, "-m", "analysis", "table", "--study", self.results, "--format", "markdown"])
        self.assertIn(f"| {' | '.join(['method', *(COLUMNS[name].title for name in names)])} |", done.out)
        self.assertEqual((done.status, done.err), (0, ""))
        self.run_all()  # the index is read back
        self.assertEqual(self.status()["counts"]["done"], 4)
        self.write(GRID + "columns: [qqqqqqqqqqqq]\n")
        refusal = self.sweep("plan", status=2).err
        self.assertEqual(set(refusal.partition("one of:")[2].replace(",", " ").split()), set(COLUMNS), refusal)

    def test_a_run_that_kills_its_process(self):
        """Three times in a row, and it is given up; the others are done."""
        self.write(GRID, epochs=100)
        victim = next(iter(self.runs(method="red", seed=1)))
        claim = os.path.join(self.results, "runs", victim + ".h5.claim")
        wrapper = self.at("wrapper.sh")
        with open(wrapper, "w", encoding="utf-8") as file:  # in mpirun's place: ends it hard as soon as it works on that run
            file.write(f"""#!/bin/bash
begun=$(mktemp)
trap 'rm -f "$begun"' EXIT
setsid "$@" &
group=$!
while kill -0 $group 2>/dev/null; do
  if [ '{claim}' -nt "$begun" ]; then
    sleep 0.3
    pkill -KILL -P $group
    kill -KILL $group
    wait $group
    exit 137
  fi
  sleep 0.02
done
wait $group
""")
        os.chmod(wrapper, 0o755)
        self.run_all("-j", "1", status=1, changes={"PEFTSCALE_MPIRUN": " ".join([wrapper, *harness.MPIRUN])})
        states = {name: run["state"] for name, run in self.runs().items()}
        self.assertEqual(sorted(states.values()), ["done", "done", "done", "failed"])
        self.assertEqual(states[victim], "failed")
        self.assertIn("killed 3 times in a row", self.sweep("status").out)
        self.sweep("retry")
        self.run_all()
        self.assertEqual(self.status()["counts"]["done"], 4)

    def test_runs_that_kill_their_processes_side_by_side(self):
        """Each of them is given up by itself; none of them ends the sweep."""
        self.write("grid:\n  method: [lora, red]\nseeds: [1]\n", epochs=100)
        wrapper = self.at("side.sh")
        with open(wrapper, "w", encoding="utf-8") as file:  # in mpirun's place: ends its ranks hard as soon as they work on a run
            file.write(f"""#!/bin/bash
setsid "$@" &
group=$!
while kill -0 $group 2>/dev/null; do
  for rank in $(pgrep -P $group); do
    grep -qs "^process $rank " '{self.results}'/runs/*.claim || continue
    sleep 0.3
    kill -KILL $rank $group
    exit 137
  done
  sleep 0.02
done
wait $group
""")
        os.chmod(wrapper, 0o755)
        outcome = self.run_all("-j", "2", status=1, changes={"PEFTSCALE_MPIRUN": " ".join([wrapper, *harness.MPIRUN])})
        self.assertIn("2 of 2 runs have no result (2 failed)", outcome.err)
        self.assertTrue(all("killed 3 times in a row" in run["reason"] for run in self.runs().values()))

    # ---- others ----

    def test_two_sweeps_share_the_work(self):
        self.write("grid:\n  method: [lora, red, bitfit, head]\nseeds: [1, 2, 3]\n", epochs=8)
        both = [self.start("-j", "1") for _ in range(2)]
        outputs = [process.communicate(timeout=200)[0] for process in both]
        self.assertEqual([process.returncode for process in both], [0, 0], outputs)
        self.assertEqual(self.status()["counts"]["done"], 12)
        for name in self.files():
            attempts = read(os.path.join(self.results, "runs", name + ".h5"), "attempts")
            self.assertEqual(len(attempts), 1, name)
        self.assertEqual(self.left_over(), [])

    def test_ranks_of_several_numbers(self):
        self.write("grid:\n  ranks: [1, 2, 3]\n  method: [lora]\nseeds: [1]\n")
        self.run_all()
        found = {run["ranks"]: name for name, run in self.runs().items()}
        self.assertEqual(set(found), {1, 2, 3})
        hashes = set()
        for ranks, name in found.items():
            path = os.path.join(self.results, "runs", name + ".h5")
            self.assertEqual(attribute(path, "provenance", "ranks"), str(ranks))
            hashes.add(tuple(read(path, "series/steps")["theta_hash"]))
        self.assertEqual(len(hashes), 1, "exact sums: the same bits for any number of ranks")

    # ---- stopping ----

    def stop_and_go_on(self, numbers):
        self.write("grid:\n  method: [lora, red]\nseeds: [1, 2]\n", epochs=150)
        process = self.start()
        until = time.monotonic() + 60
        while not any(run["state"] == "running" and run.get("step", 0) > 5 for run in self.status()["runs"]) and time.monotonic() < until:
            time.sleep(0.1)
        for number in numbers:
            process.send_signal(number)
            time.sleep(0.3)
        output = process.communicate(timeout=60)[0]
        self.assertEqual(process.returncode, 75, output)
        counts = self.status()["counts"]
        self.assertEqual(counts["running"], 0)
        return counts, output

    def test_stop_at_checkpoints(self):
        counts, output = self.stop_and_go_on([signal.SIGINT])
        self.assertGreater(counts["stopped"], 0, output)
        self.run_all()
        self.assertEqual(self.status()["counts"]["done"], 4)
        self.assertEqual(self.left_over(), [])
        whole = os.path.join(self.study, "whole")
        self.run_all(results=whole)
        self.assertEqual(series(self.results), series(whole))

    def test_stop_at_once(self):
        self.stop_and_go_on([signal.SIGINT, signal.SIGINT, signal.SIGINT])
        self.run_all()
        self.assertEqual(self.status()["counts"]["done"], 4)

    def test_a_hangup_that_is_ignored(self):
        """As under nohup."""
        self.write(GRID, epochs=20)
        process = self.start(ignored=[signal.SIGHUP])
        until = time.monotonic() + 60
        while self.status()["counts"]["missing"] == 4 and time.monotonic() < until:
            time.sleep(0.1)
        process.send_signal(signal.SIGHUP)
        output = process.communicate(timeout=60)[0]
        self.assertEqual(process.returncode, 0, output)

    # ---- words ----

    def test_the_index_is_of_the_whole_study(self):
        """Looking at a part of it, or at other settings, does not change what others read."""
        self.write(GRID)
        self.run_all()
        index = os.path.join(self.results, "index.tsv")
        with open(index, encoding="utf-8") as file:
            before = file.read()
        for verb, word in (("status", "seed=1"), ("plan", "train.batch=8"), ("retry", "method=lora")):
            self.sweep(verb, word)
            with open(index, encoding="utf-8") as file:
                self.assertEqual(file.read(), before, word)

    def test_names_that_are_not_ascii(self):
        """Texts are cut between letters: JSON and index stay UTF-8."""
        data = self.at("ä" * 100)
        self.write(f"grid:\n  method: [lora]\n  task.data: ['{data}', '{data}ä', 'x{data}', 'x{data}ä']\ntune: {{key: train.lr, values: [1e-3, 2e-2]}}\n")
        self.run_all(status=1)
        self.assertEqual(self.status()["counts"]["waiting"], 4)
        with open(os.path.join(self.results, "index.tsv"), encoding="utf-8") as file:
            self.assertIn("which failed", file.read())

    def test_counts_are_not_trained(self):
        with open(os.path.join(self.study, "study.yaml"), "w", encoding="utf-8") as file:
            file.write("action: count\nbase: {model: roberta-base}\ngrid: {method: [lora, red]}\n")
        for verb, *words in (("work",), ("submit", "--machine", "slurm", "--dry-run")):
            self.assertIn("its runs are counts", self.sweep(verb, *words, status=2).err)
        self.run_all()
        self.assertEqual(self.status()["counts"]["done"], 2)
        self.sweep("retry")
        self.assertEqual(os.listdir(self.results), ["counts.tsv"])

    def test_messages(self):
        self.write(GRID)
        for words, part in ((["plan"], "which study?"), (["plam", self.study], "did you mean 'sweep plan'?"), ([], "what is to be done?"),
                            (["plan", self.study, self.study], "one study at a time"), (["run", self.study, "--jobs", "x"], "--jobs x"),
                            (["submit", self.study], "no scheduler"), (["run", self.study, "--machine", "nowhere"], "nowhere"),
                            (["plan", self.study, "--result"], "--results"), (["plan", self.at("nothing")], "nothing")):
            outcome = peftscale("sweep", *words)
            self.assertNotEqual(outcome.status, 0, words)
            self.assertEqual(len(outcome.errors), 1, str(outcome))
            self.assertIn(part, outcome.err, words)

    def test_results_that_cannot_be_written(self):
        self.write(GRID)
        with open(self.results, "w", encoding="utf-8"):
            pass
        outcome = self.run_all(status=1)
        self.assertEqual(len(outcome.errors), 1, str(outcome))
        self.assertIn(self.results, outcome.err)

    def test_logs_that_cannot_be_written(self):
        """As on a full or read-only disk: one message, and nothing is started."""
        self.write(GRID)
        os.makedirs(self.results)
        os.symlink("/proc", os.path.join(self.results, "logs"))
        outcome = self.run_all(status=1)
        self.assertEqual(len(outcome.errors), 1, str(outcome))
        self.assertIn("files cannot be made here", outcome.err)
        self.assertNotIn("a group of", outcome.err)

    def test_work_by_hand(self):
        self.write(GRID)
        outcome = harness.call([*harness.MPIRUN, "-np", "1", harness.PROGRAM, "sweep", "work", self.study, "--results", self.results, "--most", "3"])
        self.assertEqual(outcome.status, 0, str(outcome))
        self.assertEqual(len(self.files()), 3)
        outcome = harness.call([*harness.MPIRUN, "-np", "2", harness.PROGRAM, "sweep", "work", self.study, "--results", self.results])
        self.assertEqual(outcome.status, 0, str(outcome))
        self.assertEqual(len(self.files()), 3, "runs of one rank are not for two")


if __name__ == "__main__":
    main()
