"""When runs first reached a score on validation, and what they had sent till then."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from ..common.fault import Misuse
from ..common.units import LOWER_IS_BETTER, PERCENT, score

if TYPE_CHECKING:
    from .runs import Run, Validation
    from .summary import Row, Section

TARGET = re.compile(r"(?:(?P<task>[^=]+)=)?\s*(?P<number>[-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)(?P<percent>\s*%)?")


@dataclass(frozen=True)
class Target:
    score: float  # as in run files: of accuracy a share
    origin: str  # of whom it is; "": it was given


@dataclass
class Reached:
    target: Target
    first: dict[int, Validation]  # by seed: the first that reached it
    seeds: tuple[int, ...]  # all

    def mean(self, value: Callable[[Validation], float]) -> tuple[float, tuple[tuple[str, float], ...]]:
        """Over the seeds that reached it and tell it: times of disturbed runs are not known."""
        values = {seed: number for seed, validation in self.first.items() if math.isfinite(number := float(value(validation)))}
        return fmean(values.values()) if values else math.nan, tuple((f"seed {seed}", each) for seed, each in sorted(values.items()))


def parse_targets(text: str) -> dict[str, float]:
    """Of --target: scores by task, "" for all others. Raises ValueError, which says what is wrong."""
    targets: dict[str, float] = {}
    for word in text.split(","):
        if not (found := TARGET.fullmatch(word.strip())):
            raise ValueError(f"'{word.strip()}' is no score; write 0.92, 92%, or trec6=92%,cola=0.3")
        try:
            value = float(found["number"])
        except ValueError:
            raise ValueError(f"'{found['number']}' is no number") from None
        value /= 100 if found["percent"] else 1
        task = (found["task"] or "").strip()
        if task in targets:
            raise ValueError("there are two targets " + (f"of {task}" if task else "without a task"))
        targets[task] = value
    return targets


def best_of(run: Run) -> float:
    """The best score on validation, of all validations; NaN if there is none."""
    best = min if run.metric in LOWER_IS_BETTER else max
    return best((each.score for each in run.validations if math.isfinite(each.score)), default=math.nan)


def target_of(control: Row | None) -> Target | None:
    """What every run of the control reached: the worst of their best scores on validation. It needs no spread, so one seed is enough, and the control reaches
    it with all of them."""
    best = [best_of(run) for run in control.runs] if control else []
    if not best or not all(map(math.isfinite, best)):
        return None
    worst = max if control.section.metric in LOWER_IS_BETTER else min
    return Target(worst(best), f"every seed of {control.label}" if len(best) > 1 else control.label)


def choose_target(section: Section, given: dict[str, float], control: Row | None) -> Target | None:
    """given: by task. Raises Misuse for one that no run could reach."""
    value = given.get(section.task, given.get(""))
    if value is None:
        return target_of(control)
    if section.metric not in LOWER_IS_BETTER and not -1 <= value <= 1:
        hint = f"; write {value:g}% if that is what you mean" if section.metric in PERCENT and 1 < value <= 100 else ""
        raise Misuse(f"the target {value:g} of {section.task} is no {section.metric}, which is at most 1{hint}")
    return Target(value, "")


def check_targets(given: Mapping[str, float] | None, tasks: Iterable[str]) -> None:
    """given: by task. tasks: all that there are; none: nothing is known of them. Raises Misuse for a target of another one."""
    known = sorted(set(tasks))
    unknown = [task for task in given or {} if task and task not in known]
    if known and unknown:
        raise Misuse(f"--target: there is no run of {' or '.join(unknown)}; there are: {', '.join(known)}")


def is_reached(score: float, target: Target, metric: str) -> bool:
    return score <= target.score if metric in LOWER_IS_BETTER else score >= target.score


def reach(row: Row, target: Target | None) -> Reached | None:
    """Of several runs of one seed the one that was made first counts."""
    if not target or not any(run.validations for run in row.runs):
        return None
    first: dict[int, Validation] = {}
    for seed in row.seeds:
        run = min((run for run in row.runs if run.seed == seed), key=lambda run: (run.created, run.run_id))
        if found := next((each for each in run.validations if is_reached(each.score, target, row.section.metric)), None):
            first[seed] = found
    return Reached(target, first, tuple(row.seeds))


def describe_targets(targets: Sequence[tuple[Section, Target | None]], default: bool) -> str:
    """Which score it was, for the lines below a table."""
    several = len({section.task for section, _ in targets}) > 1
    parts: dict[str, None] = {}
    for section, target in targets:
        place = f"{section.task}: " * several
        if target is None:
            parts[f"{place}none, no run of the control tells its validations"] = None
            continue
        unit = " %" if section.metric in PERCENT else ""
        parts[f"{place}{score(target.score, section.metric)}{unit}" + (f", which {target.origin} reached" if target.origin else "")] = None
    rule = "; by default the worst, over the control's seeds, of the best score on validation (--target sets another)" if default else ""
    return f"target, a score on validation: {'; '.join(parts)}{rule}."
