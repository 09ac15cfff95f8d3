"""What the tests of sweeps share: small studies in a folder of the test's own, and looks at what became of their runs."""

import csv
import glob
import io
import json
import os

import harness

# Columns of a table that a clock decides.
CLOCK = ("marks", "verdict", "step", "comm", "tok", "train_s", "time", "wall", "contaminated", "wire", "expand_s", "gather_s", "overhead", "wait", "memory", "energy", "target_s")

TINY = """title: A tiny study
base:
  model: {{path: {model}}}
  task: {{data: {data}}}
  reduce: exact
  shards: 4
  train: {{batch: 16, epochs: {epochs}, lr: 5e-3, lr_head: 5e-3}}
"""


class SweepCase(harness.Case):
    """A study per test, and its results in a folder beside it."""

    def setUp(self):
        self.study = self.at(self.id().rpartition(".")[2])
        self.results = os.path.join(self.study, "results")
        os.makedirs(self.study)

    def write(self, text, epochs=1):
        with open(os.path.join(self.study, "study.yaml"), "w", encoding="utf-8") as file:
            file.write(TINY.format(model=self.model, data=self.data, epochs=epochs) + text)

    def sweep(self, verb, *words, status=0, changes=None, results=None, timeout_s=120):
        outcome = harness.peftscale("sweep", verb, self.study, "--results", results or self.results, *words, changes=changes, timeout_s=timeout_s)
        self.assertEqual(outcome.status, status, str(outcome))
        return outcome

    def run_all(self, *words, **how):
        return self.sweep("run", "--no-table", *words, **how)

    def status(self, *words, results=None):
        return json.loads(self.sweep("status", "--json", *words, results=results).out)

    def runs(self, results=None, **wanted):
        """The runs of the status that have these values, by name."""
        found = self.status(results=results)["runs"]
        return {run["name"]: run for run in found if all(run[key] == value for key, value in wanted.items())}

    def files(self, results=None):
        """{name: (inode, time of writing)} of the finished run files."""
        paths = glob.glob(os.path.join(results or self.results, "runs", "*.h5"))
        return {os.path.basename(path)[:-3]: (os.stat(path).st_ino, os.stat(path).st_mtime_ns) for path in paths}

    def left_over(self, results=None):
        """What stands beside the finished files."""
        return sorted(os.path.basename(path) for path in glob.glob(os.path.join(results or self.results, "runs", "*")) if not path.endswith(".h5"))


def series(results):
    """What has to be equal in every course of a sweep, per run: theta's hash after every step, the losses, the scores."""
    found = {}
    for path in sorted(glob.glob(os.path.join(results, "runs", "*.h5"))):
        steps = harness.read(path, "series/steps")
        last = {}
        for row in steps:  # of several attempts the last one counts
            if row["step"] not in last or row["attempt"] >= last[row["step"]]["attempt"]:
                last[row["step"]] = row
        found[os.path.basename(path)] = [(int(step), int(row["theta_hash"]), float(row["loss"])) for step, row in sorted(last.items())] + [
            harness.attribute(path, "result", "validation_metric"), str(harness.attribute(path, "result", "test_metric")), harness.attribute(path, "result", "theta_hash")]
    return found


def table(results):
    """The rows of a study's table without what a clock decides."""
    done = harness.call([os.environ.get("PYTHON", "/usr/bin/python3"), "-m", "analysis", "table", "--study", results, "--format", "csv"])
    assert done.status == 0, str(done)
    return [{key: value for key, value in row.items() if not any(word in key for word in CLOCK)} for row in csv.DictReader(io.StringIO(done.out))]
