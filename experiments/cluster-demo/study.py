#!/usr/bin/python3
"""The study of slow links: trainings to the end, calibration of the shaper, timed steps, tables. Started by run.sh among its hosts; see README.md.

usage: study.py [section.key=value ...]       words for every training
       study.py --report                      no measurement: the tables of what is there

What has been measured is not measured again: a stopped study goes on where it was.
"""

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.chdir(ROOT)

import report  # noqa: E402
from analysis.load.hdf5 import Unusable  # noqa: E402
from experiments.support.data_sets import copy_without  # noqa: E402
from plan import CALIBRATION, FINAL, LINKS, RESULTS, TIMED, UNSHAPED, calibration_sizes, chosen_links, number, timings, words  # noqa: E402

PROGRAM = os.environ.get("PEFTSCALE", "build/peftscale")
HOSTS = [sys.executable, "tests/cluster/hosts.py"]
STEPS = 337  # one epoch of 10,788 examples in batches of 32, less the last, shorter one


def say(text: str) -> None:
    print(text, flush=True)


def need(variable: str) -> str:
    if not os.environ.get(variable):
        raise SystemExit(f"{variable} is not set: start experiments/cluster-demo/run.sh")
    return os.environ[variable]


def set_link(link: str) -> None:
    subprocess.run([*HOSTS, "rate", link], check=True)


def run_program(target: Path, arguments: list[str]) -> None:
    """Across the hosts, one rank on each; what it says goes into a log beside its file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    log = target.with_suffix(".log")
    command = [*shlex.split(need("PEFTSCALE_MPIRUN")), "-np", str(int(number("CLUSTER_HOSTS", 2))), PROGRAM, *arguments]
    with open(log, "wb") as file:
        code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file).returncode
    if code or not target.exists():
        raise SystemExit(f"{target}: failed ({code}), see {log}:\n{log.read_text(errors='replace')[-2000:]}")


def training_words(method: str, extra: list[str]) -> list[str]:
    study = need("CLUSTER_STUDY")
    own = f"{study}/{method}.yaml"
    return ["train", f"{study}/settings.yaml", *([own] if Path(own).exists() else []), f"method={method}", "seed=1", "train.keep=last", "output.predictions=false",
            "output.theta=false", *extra]


def train_to_the_end(methods: list[str], data: str, extra: list[str]) -> None:
    """Once per method, at full speed: the numbers are the same whatever the link."""
    steps = int(number("CLUSTER_STEPS", STEPS))
    every = max(1, steps // int(number("CLUSTER_EVALUATIONS", 13)))
    set_link(UNSHAPED)
    for index, method in enumerate(methods, 1):
        target = FINAL / f"{method}.h5"
        if target.exists():
            continue
        say(f"{time.strftime('%H:%M:%S')}  to the end [{index}/{len(methods)}] {method}, {steps} steps")
        run_program(target, [*training_words(method, extra), f"task.data={data}", f"train.steps={steps}", f"train.evaluate_every={every}", f"network={UNSHAPED}",
                             f"output.dir={FINAL}", f"output.name={method}"])


def calibrate(payloads: dict[str, int], links: list[str]) -> None:
    for link in links:
        target = CALIBRATION / f"{link}.h5"
        if target.exists():
            continue
        sizes = calibration_sizes(payloads, link)
        say(f"{time.strftime('%H:%M:%S')}  sums of {len(sizes)} sizes, {link}")
        set_link(link)
        run_program(target, ["comm", "--models", "none", "--sizes", ",".join(str(size) for size in sizes), "--repetitions", "20", "--seconds", "10", "--network", link,
                             *(["--rate", link] if LINKS[link] else []), "--out", str(target)])


def time_steps(payloads: dict[str, int], links: list[str], data: Path, extra: list[str]) -> None:
    """On a copy of the data without validation and test examples: only steps are of interest."""
    plan = timings(payloads, links)
    set_to = None
    for index, timing in enumerate(plan, 1):
        target = TIMED / f"{timing.name}.h5"
        if target.exists():
            continue
        if timing.link != set_to:
            set_link(timing.link)
            set_to = timing.link
        say(f"{time.strftime('%H:%M:%S')}  timed [{index}/{len(plan)}] {timing.method}, {timing.link}, {timing.steps} steps")
        run_program(target, [*training_words(timing.method, extra), f"task.data={data}", f"train.steps={timing.steps}", f"network={timing.link}",
                             f"repetition={timing.round}", "train.warmup=0", "sample_every=5", f"output.dir={TIMED}", f"output.name={timing.name}"])


def main(arguments: list[str]) -> int:
    if arguments != ["--report"]:
        methods, links = words("CLUSTER_METHODS", ""), chosen_links()
        if not methods:
            raise SystemExit("CLUSTER_METHODS names no method")
        data = Path(os.environ.get("PEFTSCALE_DATA", "build/data")) / f"{need('CLUSTER_DATA')}.h5"
        train_to_the_end(methods, str(data), arguments)
        payloads = {method: report.payload_of(FINAL / f"{method}.h5") for method in methods}
        calibrate(payloads, links)
        steps_only = RESULTS / "steps-only.h5"
        if not steps_only.exists():
            copy_without(data, steps_only, ["validation", "test"])
        time_steps(payloads, links, steps_only, arguments)
    say(report.write(RESULTS))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Unusable as reason:
        sys.exit(str(reason))
