#!/usr/bin/python3
"""The study of all ten methods: trials of three learning rates each, the choice on validation, three seeds, the tables. Started by run.sh; see README.md.

usage: study.py [--report] [section.key=value ...]      --report: no training, only the tables of the runs that are there

A finished run is not done again: the name of its file ends in a digest of its configuration. A run that fails is reported and the rest goes on.

Environment: TASKS, METHODS, SEEDS, JOBS (runs side by side, 2), RANKS (of each run, 1), STUDY_RESULTS (results/minilm-methods), PEFTSCALE,
PEFTSCALE_MPIRUN, PEFTSCALE_DATA.
"""

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.chdir(ROOT)

import report  # noqa: E402
from experiments.support.data_sets import copy_without  # noqa: E402
from plan import PROGRAM, RESULTS, Job, Plan, trial_data  # noqa: E402

DATA = Path(os.environ.get("PEFTSCALE_DATA", "build/data"))


def say(text: str) -> None:
    print(text, flush=True)


def make_trial_data(task: str) -> None:
    """A copy of the data set without its test examples: a trial cannot look at them."""
    target = DATA / trial_data(task)
    if target.exists():
        return
    copy_without(DATA / f"{task}-wordpiece.h5", target, ["test"])


class Pool:
    """Trains jobs, some side by side; keeps the reason of each failure."""

    def __init__(self):
        self.width = int(os.environ.get("JOBS", "2"))
        ranks = os.environ.get("RANKS", "1")
        mpirun = shlex.split(os.environ.get("PEFTSCALE_MPIRUN") or "mpirun --oversubscribe --bind-to none")
        self.command = [PROGRAM] if ranks == "1" else [*mpirun, "-np", ranks, PROGRAM]
        self.failed: dict[str, str] = {}
        self.running: set[subprocess.Popen] = set()
        self.lock = threading.Lock()
        self.stopping = False

    def stop(self, number: int, _frame) -> None:
        self.stopping = True
        for process in list(self.running):
            process.terminate()
        say(f"stopped by signal {number}")

    def run(self, what: str, jobs: list[Job]) -> None:
        left = [job for job in jobs if not job.path.exists()]
        say(f"{what}: {len(jobs)} runs, {len(jobs) - len(left)} of them done before")
        with ThreadPoolExecutor(self.width) as threads:
            for number, done in enumerate(as_completed([threads.submit(self.train, job) for job in left]), 1):
                job, code, seconds = done.result()
                if self.stopping:
                    continue
                if code == 0:
                    result = f"validation {report.validation_of(job.path):.4f}"
                else:
                    result = self.failed[job.title] = f"failed: {last_line(job.path.with_suffix('.log'))}"
                say(f"{time.strftime('%H:%M:%S')}  [{number}/{len(left)}] {job.title}: {result}  ({seconds:.0f} s)")
        if self.stopping:
            raise SystemExit(130)

    def train(self, job: Job) -> tuple[Job, int, float]:
        began = time.monotonic()
        if self.stopping:
            return job, 1, 0
        job.path.parent.mkdir(parents=True, exist_ok=True)
        with open(job.path.with_suffix(".log"), "wb") as log:
            process = subprocess.Popen([*self.command, "train", *job.words], stdout=log, stderr=log)
            with self.lock:
                self.running.add(process)
            code = process.wait()
            with self.lock:
                self.running.discard(process)
        return job, code or int(not job.path.exists()), time.monotonic() - began


def last_line(path: Path) -> str:
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no message"


def main(arguments: list[str]) -> int:
    only_report = "--report" in arguments
    plan = Plan([word for word in arguments if word != "--report"])
    pool = Pool()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pool.stop)
    began = time.monotonic()
    for task in plan.tasks if not only_report else []:
        make_trial_data(task)
        pool.run(f"{task}, trials of learning rates", [job for method in plan.methods for job in plan.trials(task, method)])
        rates = {method: report.choose_rate(plan.trials(task, method)) for method in plan.methods}
        for method in plan.methods:
            say(f"{task} {method}: " + (f"rate {rates[method]:.3g}" if rates[method] else "no trial ended, so no runs"))
        pool.run(f"{task}, seeds", [job for method in plan.methods if rates[method] for job in plan.finals(task, method, rates[method])])
        say(f"{task} is done after {(time.monotonic() - began) / 60:.0f} minutes")
    say(report.write(plan, RESULTS))
    for title, reason in pool.failed.items():
        say(f"{title}: {reason}")
    return 1 if pool.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
