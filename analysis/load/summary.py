"""Groups runs that differ in nothing but the seed, and averages each group."""

from dataclasses import dataclass, replace

import pandas as pd

from .runs import CONTAMINATED_FIELDS, Run

MEANS = ("test", "validation", "sent_bytes", "sent_bytes_with_head", "step_s", "communication_share", "tokens_per_s", "train_s")
# Shown with every method; all other settings only where they tell two rows apart.
OPTIONS = {"method.rank": "r={}", "method.modules": "{}"}


@dataclass(frozen=True)
class Section:
    """What all rows of one table have in common."""
    task: str
    dataset: str
    model: str
    metric: str
    ranks: int  # 0: several, which a column tells
    threads: int


@dataclass
class Row:
    section: Section
    label: str
    runs: list[Run]
    mean: dict[str, float]
    low: float
    high: float
    deviation: float | None  # of the test score; None with a single seed
    # Of a study that has an index:
    planned: int = 0  # seeds; 0: not known
    tuned: tuple[str, ...] = ()  # train.lr=0.003
    stale: bool = False  # some of its runs were made by another version of the program

    @property
    def first(self) -> Run:
        return self.runs[0]

    @property
    def seeds(self) -> list[int]:
        return sorted({run.seed for run in self.runs})


def section_of(run: Run) -> Section:
    return Section(run.task, run.dataset, run.model, run.metric, run.ranks, run.threads)


def identity_of(run: Run) -> tuple:
    """All that decides the numbers except the seed."""
    return tuple(sorted(run.settings.items())), run.weights_hash, run.dataset_hash


def make_label(run: Run) -> str:
    shown = [form.format(run.settings[key]) for key, form in OPTIONS.items() if run.settings.get(key)]
    return " ".join([run.method, *shown])


def average(section: Section, runs: list[Run]) -> Row:
    runs = sorted(runs, key=lambda run: (run.seed, run.run_id))
    frame = pd.DataFrame([{"seed": run.seed, **{name: getattr(run, name) for name in MEANS}} for run in runs])
    by_seed = frame.groupby("seed").mean()  # a repeated seed is no second opinion
    scores = by_seed["test"]
    # skipna: a mean score of fewer seeds than the row names would be a wrong one; times are those of the runs that were not disturbed.
    means = {name: float(by_seed[name].mean(skipna=name in CONTAMINATED_FIELDS)) for name in MEANS}
    return Row(section, make_label(runs[0]), runs, means, float(scores.min(skipna=False)), float(scores.max(skipna=False)),
               float(scores.std(ddof=1, skipna=False)) if len(scores) > 1 else None)


# What a setting is where /config_canonical leaves it out: the program does so at the value at which it behaves as if there were no such key.
UNSAID = {"precision": "f32", "linalg": "openblas", "model.adapter_dropout": "shared", "model.dropout_embedding": "0", "model.dropout_attention": "0",
          "model.dropout_hidden": "0", "model.dropout_adapter": "0", "model.dropout_head": "0", "task.limit": "0", "train.clip": "0"}


def value_of(settings: dict[str, str], key: str) -> str:
    return settings.get(key, UNSAID.get(key, "-"))


def tell_apart(rows: list[Row]) -> None:
    """Rows that would read alike get the settings in which they differ."""
    by_label: dict[tuple, list[Row]] = {}
    for row in rows:
        by_label.setdefault((row.section, row.label), []).append(row)
    for alike in by_label.values():
        if len(alike) < 2:
            continue
        settings = [{**row.first.settings, "weights": row.first.weights_hash[:8], "data": row.first.dataset_hash[:8]} for row in alike]
        keys = sorted({key for each in settings for key in each})
        differing = [key for key in keys if len({value_of(each, key) for each in settings}) > 1]
        for row, each in zip(alike, settings):
            row.label = " ".join([row.label, *(f"{key.rpartition('.')[2]}={value_of(each, key)}" for key in differing)])


def summarise(runs: list[Run], ranks_in_column: bool = False) -> list[Row]:
    """One row per group, sections by name, the most frugal method of a section last. ranks_in_column: rows of all numbers of ranks share a section."""
    groups: dict[tuple, list[Run]] = {}
    for run in runs:
        groups.setdefault((section_of(run), identity_of(run)), []).append(run)
    rows = [average(replace(section, ranks=0) if ranks_in_column else section, members) for (section, _), members in groups.items()]
    tell_apart(rows)
    return sorted(rows, key=lambda row: (tuple(map(str, vars(row.section).values())), -row.first.trainable, make_label(row.first), row.first.ranks, row.label))
