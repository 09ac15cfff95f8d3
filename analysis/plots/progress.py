"""What a score costs in time and in bytes sent: validations against both, and, with a target, how much of each was spent when it was reached."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..load.measure import Validation
from ..load.runs import Run
from .axes import linear_axis, log_axis, new_figure, score_factor, score_words, settle, short_bytes, short_time, time_axis
from .figure import Figure
from .group import Group, Member
from .score import HEIGHT, name_or_list
from .style import COLUMN, FAINT, INK, PAGE, applied
from .words import listed, seeds_of, sentences

FAR = 8.0  # times as long: then time is logarithmic, too


@dataclass(frozen=True)
class Cost:
    label: str
    words: str
    value: Callable[[Validation], float]


TIME, BYTES = "score-time", "score-bytes"
COSTS = {TIME: Cost("time since the first step", "time since the first step, validations in between included", lambda each: each.seconds),
         BYTES: Cost("sent by a rank (bytes)", "bytes that a rank has sent since the first step, the head's among them", lambda each: float(each.sent_bytes))}


def per_seed(runs: Sequence[Run]) -> list[Run]:
    """Of repetitions with one seed the first that has validations."""
    found: dict[int, Run] = {}
    for run in runs:
        if run.validations:
            found.setdefault(run.seed, run)
    return list(found.values())


def path_of(member: Member, cost: Cost) -> tuple[list[float], list[float]]:
    """Mean cost and mean score of each validation that all seeds have."""
    runs = per_seed(member.row.runs)
    xs, ys = [], []
    for several in zip(*(run.validations for run in runs)):
        x, y = (sum(map(each, several)) / len(several) for each in (cost.value, lambda validation: validation.score))
        if math.isfinite(x) and math.isfinite(y) and x >= 0:
            xs.append(x)
            ys.append(y)
    return xs, ys


def scale(axes, which: str, kind: str, values: Sequence[float]) -> float:
    """Sets the axis of a cost; returns what its numbers are multiplied by."""
    if kind == BYTES:
        log_axis(axes, which, values, short_bytes, 5)
        getattr(axes, f"set_{which}label")(COSTS[kind].label)
        return 1.0
    positive = [value for value in values if value > 0]
    if positive and max(positive) > FAR * min(positive):
        log_axis(axes, which, positive, short_time, 5)
        getattr(axes, f"set_{which}label")(COSTS[kind].label)
        return 1.0
    factor = time_axis(axes, which, max(values), COSTS[kind].label)
    getattr(axes, f"set_{which}lim")(0, 1.06 * factor * max(values) or 1.0)
    linear_axis(axes, which)
    return factor


def draw_progress(group: Group, kind: str, target: float | None = None) -> Figure | str:
    """kind: TIME or BYTES. target: a score, drawn as a line."""
    cost, metric = COSTS[kind], group.section.metric
    paths = [(member, *path) for member in group.members if (path := path_of(member, cost))[0]]
    if not any(len(xs) > 1 for _, xs, _ in paths):
        return "no row has two validations"
    values = [x for _, xs, _ in paths for x in xs]
    if not any(values):
        return "nothing was spent"
    factor = score_factor(metric)
    members = [member for member, _, _ in paths]
    scores = [y for _, _, ys in paths for y in ys]
    in_reach = target is not None and min(scores) <= target <= max(scores)
    with applied():
        figure, ((axes,),) = new_figure(COLUMN, HEIGHT)
        unit = scale(axes, "x", kind, values)
        courses = [[(unit * x, factor * y) for x, y in zip(xs, ys)] for _, xs, ys in paths]
        for member, course in zip(members, courses):
            axes.plot(*zip(*course), **member.look.point | member.look.line, zorder=3)
        if in_reach:
            axes.axhline(factor * target, color=FAINT, linewidth=0.8, linestyle=(0, (2, 1.2)), zorder=1.5, label="target")
        axes.set_ylabel(score_words(metric, "validation"))
        linear_axis(axes, "y")
        settle(figure)
        name_or_list(axes, [course[-1] for course in courses], members, [line for course in courses for line in zip(course, course[1:])],
                     [point for course in courses for point in course[:-1]])
    missing = [member.name for member in group.members if member not in members]
    caption = sentences(
        f"Score on validation against {cost.words}; {group.place}.", f"Means over {seeds_of(member.row for member in members)}.",
        f"Dashed: the target, {factor * target:g}." if in_reach else "",
        "With one rank nothing is sent: what it would send." if kind == BYTES and group.section.ranks == 1 else "",
        f"Without validations: {listed(missing)}." if missing else "")
    return group.figure(kind, f"Score on validation against {'time' if kind == TIME else 'bytes sent'}", caption, figure, members)


# ---- to a target ----

def reached(run: Run, target: float) -> Validation | None:
    """The first validation at or above it."""
    return next((each for each in run.validations if each.score >= target), None)


def with_count(member: Member, several: Sequence[Validation | None]) -> str:
    count = sum(each is not None for each in several)
    return member.name + ("" if count == len(several) else f" ({count} of {len(several)} seeds)" if count else " (not reached)")


def draw_target(group: Group, target: float) -> Figure | str:
    """Time and bytes to the target, a dot per seed and a line at the mean; a row in which a seed did not reach it has no mean."""
    metric = group.section.metric
    found = [(member, [reached(run, target) for run in per_seed(member.row.runs)]) for member in group.members]
    found = [(member, several) for member, several in found if several]
    if not any(each for _, several in found for each in several):
        return "no run reaches the target"
    shown = f"{score_factor(metric) * target:g}"
    with applied():
        figure, ((left, right),) = new_figure(PAGE, 0.6 + 0.19 * sum(with_count(*each).count("\n") + 1 for each in found), 1, 2, sharey=True)
        for axes, kind in ((left, TIME), (right, BYTES)):
            values = [COSTS[kind].value(each) for _, several in found for each in several if each]
            unit = scale(axes, "x", kind, values)
            for y, (member, several) in enumerate(found):
                costs = [unit * COSTS[kind].value(each) for each in several if each]
                axes.plot(costs, [y] * len(costs), linestyle="", zorder=3, **member.look.point)
                if costs and len(costs) == len(several):
                    middle = sum(costs) / len(costs)
                    axes.plot([middle, middle], [y - 0.3, y + 0.3], color=INK, linewidth=1.2, zorder=2)
            axes.grid(axis="y", visible=False)
            axes.set_xlabel(COSTS[kind].label if kind == BYTES else axes.get_xlabel().replace("since the first step", "to the target"))
        left.set_yticks(range(len(found)), [with_count(*each) for each in found])
        left.set_ylim(len(found) - 0.5, -0.5)
        for axes in (left, right):
            axes.tick_params(axis="y", length=0)
        settle(figure)
    caption = sentences(
        f"Time since the first step, and bytes that a rank has sent until then, at the first validation with a score of {shown} or more; {group.place}.",
        "A marker per seed; bars: means, where all seeds reach it. What lies between two validations is not known.")
    return group.figure("target", f"Time and bytes to a score of {shown}", caption, figure, [member for member, _ in found])
