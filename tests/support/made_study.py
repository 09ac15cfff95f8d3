"""A made-up study with all that a report has to show: two tasks, five methods, three seeds, trials, failures, contaminated runs, texts like markup."""

import numpy as np
from made_runs import series, write_index, write_run

SCRIPT = "<script>window.hacked = 1</script>"
IMAGE = "\"><img src=x onerror='window.hacked = 2'>"
FORMULA = "$\\frac{$"  # that matplotlib would try to set
NAME = "a \"study\" & <more>"
SEEDS = (1, 2, 3)
METHODS = {  # trained numbers, rate, score on trec6, on cola
    "full": (22_565_376, "2e-4", 0.95, 0.29),
    "lora": (73_728, "1e-3", 0.95, 0.15),
    "red": (4_608, "3e-3", 0.95, 0.16),
    "glora": (101_424, "3e-3", 0.94, 0.14),
    "head": (0, "1e-2", 0.70, 0.08),
}
TASKS = {"trec6": ("accuracy", 2), "cola": ("matthews", 3)}  # metric, place of the score above
STEPS = 40


def steps_of(method, seed):
    """A loss that falls, times that differ, phases that add up to them."""
    chance = np.random.default_rng(1000 * seed + len(method))
    times = 0.1 + 0.01 * chance.random(STEPS) + (0.1 if method == "full" else 0.0)
    loss = 2.0 * np.exp(-np.arange(STEPS) / 15) + 0.3 + 0.05 * chance.random(STEPS)
    parts = {f"{name}_s": share * times for name, share in (("expand", 0.01), ("forward", 0.3), ("backward", 0.5), ("gather", 0.02), ("optimizer", 0.02))}
    sampled = np.where(np.arange(STEPS) % 10 == 0, 0.03 * times, np.nan)
    return series(times, loss=loss, epoch=1 + np.arange(STEPS) // 20, lr=0.001 * np.ones(STEPS), wire_bytes=np.full(STEPS, 1200 + METHODS[method][0]),
                  wait_s=sampled, payload_bytes=np.full(STEPS, 4 * METHODS[method][0] + 400), **parts)


class MadeStudy:
    def __init__(self, folder):
        self.place = folder / NAME
        self.lines = []

    def add(self, task, method, seed, state="done", role="run", rate="", score=None, **cells):
        """A planned run, with a file if it is finished."""
        metric, _ = TASKS[task]
        trained, chosen, *_ = METHODS[method]
        rate = rate or chosen
        number = len(self.lines)
        identity = f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}{number:016x}"
        line = {"request_id": f"{number:032x}", "run_id": identity, "stage": "one", "role": role, "state": state, "task": task, "method": method, "seed": seed,
                "ranks": 2, "tuned": f"train.lr={rate}", "metric": metric, "attempts": 1, "source_hash": "5" * 16, "group": method, **cells}
        if state in ("done", "stale"):
            line["file"] = f"runs/{task}-{method}-{role}-s{seed}-{number:04}.h5"
            line["validation"] = score - 0.01
            options = {"rank": 8, "modules": "q,v"} if method == "lora" else {"rank": SCRIPT, "modules": f"{IMAGE} {FORMULA}"} if method == "glora" else {}
            write_run(self.place / line["file"], seed=seed, test=score, validation=score - 0.01, method=method, options=options, settings={"train.lr": rate},
                      task=task, metric=metric, trainable=trained, head=2310, stored=4 * trained, sent=trained, message=4 * (trained + 2314),
                      steps=steps_of(method, seed), run_id=identity, request_id=line["request_id"],
                      validations=[(step, step // 20, score - 0.2 / step, 0.4, 0.5) for step in (10, 20, 30, 40)],
                      examples=400 if metric == "accuracy" and role == "run" else None, created=f"2024-02-0{seed}T10:{number % 60:02}:00Z", train_s=5.0 + seed,
                      memory=[90_000_000, 91_000_000], activation=38_000_000, contaminated=int(seed == 3 and method == "red"), source_hash="5" * 16,
                      commit="c" * 40, dirty="0", mpi="Open MPI v4.1.4", cpu=f"a {IMAGE}", blas_core="Haswell",
                      host="one" if seed < 3 else "other", binding="bound", wire="tcp", energy_source="none")
        self.lines.append(line)

    def write(self):
        """Returns the study's folder."""
        for task, (metric, place) in TASKS.items():
            for method, values in METHODS.items():
                for factor in (0.3, 1, 3):
                    self.add(task, method, 1, role="trial", rate=f"{factor * float(values[1]):g}", score=values[place] - 0.02 * abs(np.log(factor)))
                for seed in SEEDS:
                    noise = np.sin(7 * seed + 2 * list(METHODS).index(method) + place)
                    self.add(task, method, seed, rate=f"{float(values[1]):g}", score=values[place] + (0.04 if method == "head" else 0.01) * noise)
        self.add("trec6", "red", 4, state="failed", reason=f"diverged at step 12: loss nan {IMAGE}{SCRIPT}\x1b[2J\x00")
        self.add("trec6", "red", 5, state="missing")
        return self.write_lines()

    def write_lines(self):
        """The index of what was added. Returns the study's folder."""
        write_index(self.place, self.lines, remarks=(f"# title: A study of {SCRIPT} and {IMAGE}", "# question: Is <b>this</b> \"safe\" & sound?",
                                                      "# columns: test validation tuned trainable stored sent step"))
        return self.place
