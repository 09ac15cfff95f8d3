#!/usr/bin/python3
"""What a sweep costs beside its runs: planning, looking and starting. Prints a table; nothing is asserted. Started by `make bench-sweep`.

usage: bench_sweep.py [--runs N] [--packed K]      N planned runs (1000), K runs of about a second in one group of ranks (20)
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
import harness  # noqa: E402
import make_tiny  # noqa: E402

STUDY = """title: Many small runs
base:
  model: {{path: {model}}}
  task: {{data: {data}}}
  shards: 2
  train: {{batch: 16, steps: {steps}, lr: 5e-3, lr_head: 5e-3}}
  output: {{predictions: false, theta: false}}
grid:
  method: [lora, vera, tied, red, head]
seeds: {seeds}
"""
ROUNDS = 5


class Bench:
    def __init__(self, folder):
        self.folder = folder
        self.data = make_tiny.write_dataset(os.path.join(folder, "data.h5"))
        self.model = make_tiny.write_model(os.path.join(folder, "model"))

    def write(self, name, steps, count):
        study = os.path.join(self.folder, name)
        os.makedirs(study, exist_ok=True)
        with open(os.path.join(study, "study.yaml"), "w", encoding="utf-8") as file:
            file.write(STUDY.format(model=self.model, data=self.data, steps=steps, seeds=list(range(1, count // 5 + 1))))
        return study

    @staticmethod
    def time(*words, ranks=0, timeout_s=3600):
        began = time.monotonic()
        outcome = harness.peftscale("sweep", *words, ranks=ranks, timeout_s=timeout_s)
        seconds = time.monotonic() - began
        if outcome.status:
            raise SystemExit(str(outcome))
        return seconds, outcome


def row(what, seconds, note=""):
    spread = f" ({min(seconds):.3f} to {max(seconds):.3f})" if len(seconds) > 1 else ""
    print(f"  {what:<52} {statistics.median(seconds):8.3f} s{spread}  {note}", flush=True)


def measure_looks(bench, count):
    study = bench.write("many", 2, count)
    results = os.path.join(study, "results")
    row(f"plan, {count} runs, none done", [bench.time("plan", study, "--results", results)[0] for _ in range(ROUNDS)])
    row(f"status, {count} runs, none done", [bench.time("status", study, "--results", results)[0] for _ in range(ROUNDS)])
    seconds, _ = bench.time("run", study, "--results", results, "--no-table")
    row(f"run, {count} runs of 2 steps", [seconds], f"{1000 * seconds / count:.1f} ms a run, all cores")
    first = []
    for _ in range(ROUNDS):
        os.unlink(os.path.join(results, "index.tsv"))
        first.append(bench.time("status", study, "--results", results)[0])
    row(f"status, {count} done runs, without an index", first)
    row(f"status, {count} done runs", [bench.time("status", study, "--results", results)[0] for _ in range(ROUNDS)])
    row(f"run, {count} done runs: nothing to do", [bench.time("run", study, "--results", results, "--no-table")[0] for _ in range(ROUNDS)])


def measure_packed(bench, count):
    """Runs of about a second, one after another in one group of one rank."""
    probe = bench.write("probe", 400, 5)
    results = os.path.join(probe, "results")
    bench.time("work", probe, "--results", results, ranks=1)
    runs = json.loads(bench.time("status", probe, "--results", results, "--json")[1].out)["runs"]
    per_step = statistics.median(run["train_s"] for run in runs) / 400
    study = bench.write("packed", max(10, round(1 / per_step)), count)
    results = os.path.join(study, "results")
    seconds, _ = bench.time("work", study, "--results", results, ranks=1)
    runs = json.loads(bench.time("status", study, "--results", results, "--json")[1].out)["runs"]
    own = [run["train_s"] for run in runs]
    row(f"a packed run of {statistics.mean(own):.2f} s: its training", own)
    row("  beside it, with its share of the start of MPI", [(seconds - sum(own)) / count], f"the whole of {count} runs took {seconds:.1f} s; final evaluations among it")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--packed", type=int, default=20)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="peftscale-bench-") as folder:
        bench = Bench(folder)
        print(f"sweep beside its runs ({os.cpu_count()} cores, load {os.getloadavg()[0]:.1f})")
        measure_looks(bench, chosen.runs)
        measure_packed(bench, chosen.packed)


if __name__ == "__main__":
    main()
