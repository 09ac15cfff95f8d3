#!/usr/bin/python3
"""How long many run files take to be read and tabulated, cold and from the cache. Prints a table; nothing is asserted. Started by `make bench-analysis`.

usage: bench_analysis.py [--runs N] [--keep DIR]      N run files (10000); DIR: where they are made, and found the next time (default: a folder that goes)
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/support"))
import numpy as np  # noqa: E402
from made_runs import PHASES, series, write_run  # noqa: E402

STEPS, EXAMPLES, SEEDS = 300, 400, 10
METHODS = ("lora", "vera", "tied", "vblora", "unilora", "red", "glora", "bitfit", "head", "full")
TASKS = (("trec6", "accuracy"), ("sst2", "accuracy"))
CALL = "import sys, resource; sys.path.insert(0, {root!r}); from analysis.__main__ import main; code = main({words!r}); " \
       "who = [resource.getrusage(each).ru_maxrss for each in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]; print(*who, file=sys.stderr); sys.exit(code)"


def make_runs(folder, count):
    """Of as many settings as it takes with so many methods, tasks and seeds; each file with its steps, predictions and validations."""
    times = np.full(STEPS, 0.1)
    times[:5] = 1.0
    columns = {"loss": np.linspace(2.0, 0.5, STEPS), "grad_norm": 1.0, "payload_bytes": 4016, "wire_bytes": 4200, "wait_s": 0.001}
    steps = series(times, **columns, **{f"{name}_s": 0.01 for name in PHASES if name != "communication"})
    for number in range(count):
        setting, seed = divmod(number, SEEDS)
        setting, method = divmod(setting, len(METHODS))
        setting, task = divmod(setting, len(TASKS))
        write_run(folder / f"{number // 1000:03d}" / f"run-{number:06d}.h5", seed=seed + 1, method=METHODS[method], task=TASKS[task][0], metric=TASKS[task][1],
                  trainable=1000 * (method + 1), settings={"train.lr": f"{1e-4 * (setting + 1):.4f}"}, steps=steps, examples=EXAMPLES, test=0.7 + seed / 100,
                  run_id=f"{number:032x}", memory=[1 << 28, 1 << 27], source_hash="5" * 16, train_s=30.0,
                  validations=[(100, 1, 0.5, 0.9, 0.5), (200, 2, 0.6, 0.8, 0.5), (300, 3, 0.7, 0.7, 0.5)])


def call(*words):
    """Seconds, peak memory of the process and of one that it started, lines printed."""
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-B", "-c", CALL.format(root=str(ROOT), words=list(map(str, words)))], capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    own, reader = map(int, done.stderr.split()[-2:])
    return seconds, own / 1024, reader / 1024, len(done.stdout.splitlines())


def row(what, is_cold, words):
    seconds, own, reader, lines = call(*words)
    print(f"  {what:<44} {seconds:8.2f} s   {own:6.0f} MiB   {f'{reader:6.0f} MiB' if is_cold else '':>10}   {lines:6d}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        if not any(folder.rglob("*.h5")):
            began = time.monotonic()
            make_runs(folder, options.runs)
            print(f"made {options.runs} run files in {time.monotonic() - began:.0f} s")
        count = sum(1 for _ in folder.rglob("*.h5"))
        for cache in folder.glob(".peftscale-runs.*"):
            cache.unlink()
        os.environ["XDG_CACHE_HOME"] = str(Path(temporary) / "cache")
        print(f"{count} run files{'':<33} time       memory   of a reader    lines")
        row("table, every file read, no cache kept", True, ["table", folder, "--no-cache"])
        row("table, every file read, cache written", True, ["table", folder])
        row("table, from the cache", False, ["table", folder])
        row("table as CSV, from the cache", False, ["table", folder, "--format", "csv"])
        row("runs as CSV, from the cache", False, ["runs", folder, "--format", "csv"])
        size = (folder / ".peftscale-runs.jsonl.gz").stat().st_size
        print(f"  the cache takes {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
