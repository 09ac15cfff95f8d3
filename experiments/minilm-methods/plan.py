"""What the study consists of: which run, under which name, with which words on the command line."""

import hashlib
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = "experiments/minilm-methods"
RESULTS = Path(os.environ.get("STUDY_RESULTS", "results/minilm-methods"))
TASKS = {"trec6": "TREC-6", "cola": "CoLA"}
METHODS = ("full", "lora", "vera", "tied", "vblora", "unilora", "red", "glora", "bitfit", "head")
FACTORS = (1 / 3, 1, 3)
TRIAL_SEED, TRIAL_EPOCHS = 1, 1
PROGRAM = os.environ.get("PEFTSCALE", "build/peftscale")


def chosen_words(variable: str, default) -> list[str]:
    return os.environ.get(variable, " ".join(str(word) for word in default)).split()


@dataclass(frozen=True)
class Job:
    task: str
    method: str
    rate: float
    seed: int
    is_trial: bool
    path: Path  # of the run file
    words: tuple[str, ...]  # for `peftscale train`

    @property
    def title(self) -> str:
        return f"{self.task} {self.method} {self.rate:.3g} seed {self.seed}" + (" (trial)" if self.is_trial else "")


class Plan:
    def __init__(self, extra: list[str]):
        self.extra = extra
        self.tasks = chosen_words("TASKS", TASKS)
        self.methods = chosen_words("METHODS", METHODS)
        self.seeds = [int(word) for word in chosen_words("SEEDS", (1, 2, 3))]

    def words(self, task: str, method: str) -> list[str]:
        own = f"{HERE}/{method}.yaml"
        return [f"{HERE}/settings.yaml", *([own] if Path(own).exists() else []), f"task={task}", f"method={method}", *self.extra]

    def rates(self, task: str, method: str) -> list[float]:
        """A third, one and three times the rate in the method's file."""
        middle = resolve(self.words(task, method))["train"][rate_key(method)]
        return [float(f"{middle * factor:.3g}") for factor in FACTORS]

    def trials(self, task: str, method: str) -> list[Job]:
        return [self.job(task, method, rate, TRIAL_SEED, True) for rate in self.rates(task, method)]

    def finals(self, task: str, method: str, rate: float) -> list[Job]:
        return [self.job(task, method, rate, seed, False) for seed in self.seeds]

    def job(self, task: str, method: str, rate: float, seed: int, is_trial: bool) -> Job:
        words = [*self.words(task, method), f"train.{rate_key(method)}={rate:.3g}", f"seed={seed}"]
        if is_trial:
            words += [f"train.epochs={TRIAL_EPOCHS}", f"task.data={trial_data(task)}"]
        settings = resolve(words)
        settings.pop("output")
        settings["model"].pop("path")
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
        folder = RESULTS / ("trials" if is_trial else "runs")
        name = f"{task}-{method}-lr{rate:.3g}-s{seed}-{digest}"
        return Job(task, method, rate, seed, is_trial, folder / f"{name}.h5", (*words, f"output.dir={folder}", f"output.name={name}"))


def trial_data(task: str) -> str:
    """Name of the data set of the trials, which has no test examples."""
    return f"{task}-wordpiece-no-test.h5"


def rate_key(method: str) -> str:
    """Head-only has no rate but the head's; for all others the head's is fixed."""
    return "lr_head" if method == "head" else "lr"


def resolve(words: list[str]) -> dict:
    """The configuration that `train` would use."""
    done = subprocess.run([PROGRAM, "config", *words, "--json"], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr.strip() or f"{PROGRAM} config failed")

    def values(node: dict):
        return node["value"] if set(node) == {"value", "origin"} else {key: values(child) for key, child in node.items()}
    return values(json.loads(done.stdout))
