"""The trials that a study's tuned values were chosen by: every value with its score on validation, those without a score, too."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..common.units import score
from ..common.words import enumerate_words
from .index import Line
from .study import Study

STALE = "~"  # behind a score: by another version of the program


@dataclass
class Trial:
    line: Line
    key: str  # train.lr
    value: str  # 0.003
    is_chosen: bool = False

    @property
    def has_score(self) -> bool:
        return self.line.is_finished and math.isfinite(self.line.validation)

    @property
    def result(self) -> str:
        """A score, or why there is none. A number only of a trial that is finished."""
        if self.has_score:
            return score(self.line.validation, self.line.cells["metric"]) + (STALE if self.line.state == "stale" else "")
        if self.line.is_finished:
            return "no score"
        return "diverged" if self.line.state == "failed" and "diverged" in self.line.cells["reason"] else self.line.state


@dataclass
class Curve:
    """All trials of one choice, by value."""
    stage: str
    task: str
    method: str
    ranks: str
    trials: list[Trial]

    @property
    def section(self) -> tuple[str, str, str, str]:
        keys = sorted({trial.key for trial in self.trials})
        return self.stage, self.task, self.ranks, ", ".join(keys)

    @property
    def place(self) -> str:
        """trec6, stage short, 2 ranks"""
        return ", ".join(filter(None, [self.task, self.stage and f"stage {self.stage}", self.ranks and f"{self.ranks} rank{'' if self.ranks == '1' else 's'}"]))

    @property
    def edge(self) -> str:
        """"lowest" or "highest", where the chosen value is at that end of those tried; else nothing."""
        values = [as_number(trial.value) for trial in self.trials]
        chosen = {as_number(trial.value) for trial in self.trials if trial.is_chosen}
        if len(chosen) != 1 or len(set(values)) < 2 or len({trial.key for trial in self.trials}) > 1 or math.inf in values:
            return ""
        return "lowest" if min(values) in chosen else "highest" if max(values) in chosen else ""

    @property
    def is_tied(self) -> bool:
        """Whether another value scored as the chosen one did."""
        chosen = {(trial.value, trial.line.validation) for trial in self.trials if trial.is_chosen and trial.has_score}
        if len(chosen) != 1:
            return False
        ((value, score),) = chosen
        return any(trial.has_score and trial.value != value and trial.line.validation == score for trial in self.trials)

    @property
    def metric(self) -> str:
        return next((trial.line.cells["metric"] for trial in self.trials if trial.has_score), "")


def as_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.inf


def describe_choices(curves: Sequence[Curve]) -> list[str]:
    """What speaks for a wider range, or against a choice."""
    edges = [f"the {end} of {enumerate_words(found)}" for end in ("lowest", "highest") if (found := [curve.method for curve in curves if curve.edge == end])]
    lines = [f"Chosen at the end of the values that were tried, so that others beyond may be better: {', '.join(edges)}."] if edges else []
    if tied := [curve.method for curve in curves if curve.is_tied]:
        lines.append(f"Another value scored as much as the chosen one: of {enumerate_words(tied)}.")
    return lines


def find_curves(study: Study) -> list[Curve]:
    """Chosen is what the runs of the same group were made with."""
    chosen: dict[tuple[str, ...], set[str]] = {}
    for line in study.runs:
        chosen.setdefault(line.group, set()).add(line.cells["tuned"])
    groups: dict[tuple[str, ...], list[Trial]] = {}
    for line in study.trials:
        key, _, value = line.cells["tuned"].partition("=")
        groups.setdefault(line.group, []).append(Trial(line, key, value, line.cells["tuned"] in chosen.get(line.group, set()) - {""}))
    curves = []
    for trials in groups.values():
        cells = trials[0].line.cells
        trials.sort(key=lambda trial: (trial.key, as_number(trial.value), trial.value, as_number(trial.line.cells["seed"])))
        curves.append(Curve(cells["stage"], cells["task"], cells["method"], cells["ranks"], trials))
    return curves
