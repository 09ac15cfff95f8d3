"""What a score costs in time and in bytes sent: validations against both, and, with a target, how much of each was spent when it was reached."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from ..common.units import PERCENT, score
from ..load.measure import Validation
from ..load.runs import Run
from ..load.targets import Reached, reach
from .axes import linear_axis, log_axis, new_figure, score_factor, score_words, settle, short_bytes, short_time, time_axis
from .figure import Figure
from .group import Group, Member, finite
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


def scale(axes: Axes, which: str, kind: str, values: Sequence[float]) -> float:
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


def draw_progress(group: Group, kind: str) -> Figure | str:
    """kind: TIME or BYTES."""
    cost, metric = COSTS[kind], group.section.metric
    paths = [(member, *path) for member in group.members if (path := path_of(member, cost))[0]]
    if not any(len(xs) > 1 for _, xs, _ in paths):
        return "no row has two validations" if kind == BYTES else "no row has two validations whose times are known"
    values = [x for _, xs, _ in paths for x in xs]
    if not any(values):
        return "nothing was spent"
    factor = score_factor(metric)
    members = [member for member, _, _ in paths]
    scores = [y for _, _, ys in paths for y in ys]
    target = group.target
    in_reach = target is not None and min(scores) <= target.score <= max(scores)
    with applied():
        figure, ((axes,),) = new_figure(COLUMN, HEIGHT)
        unit = scale(axes, "x", kind, values)
        courses = [[(unit * x, factor * y) for x, y in zip(xs, ys)] for _, xs, ys in paths]
        for member, course in zip(members, courses):
            axes.plot(*zip(*course), **member.look.point | member.look.line, zorder=3)
        if in_reach:
            axes.axhline(factor * target.score, color=FAINT, linewidth=0.8, linestyle=(0, (2, 1.2)), zorder=1.5, label="target")
        axes.set_ylabel(score_words(metric, "validation"))
        linear_axis(axes, "y")
        settle(figure)
        name_or_list(axes, [course[-1] for course in courses], members, [line for course in courses for line in zip(course, course[1:])],
                     [point for course in courses for point in course[:-1]])
    missing = group.without(members)
    caption = sentences(
        f"Score on validation against {cost.words}; {group.place}.", f"Means over {seeds_of(member.row for member in members)}.",
        f"Dashed: {target_words(group)}." if in_reach else "",
        "With one rank nothing is sent: what it would send." if kind == BYTES and group.section.ranks == 1 else "",
        f"Without {'times that are known' if kind == TIME else 'validations'}: {listed(missing)}." if missing else "")
    return group.figure(kind, f"Score on validation against {'time' if kind == TIME else 'bytes sent'}", caption, figure, members)


# ---- to a target ----

def target_words(group: Group) -> str:
    target = group.target
    unit = " %" if group.section.metric in PERCENT else ""
    return f"the target, {score(target.score, group.section.metric)}{unit}" + (f", which {target.origin} reached" if target.origin else "")


def with_count(member: Member, reached: Reached) -> str:
    count, all_seeds = len(reached.first), len(reached.seeds)
    return member.name + ("" if count == all_seeds else f" ({count} of {all_seeds} seeds)" if count else " (not reached)")


def costs_of(reached: Reached, kind: str) -> list[float]:
    return [COSTS[kind].value(each) for each in reached.first.values()]


def draw_target(group: Group) -> Figure | str:
    """Time and bytes to the target, a marker per seed and a bar at the mean; a row in which a seed did not reach it has no mean."""
    if group.target is None:
        return "no target: no row of the control with validations"
    found = [(member, each) for member in group.members if (each := reach(member.row, group.target))]
    if not any(each.first for _, each in found):
        return "no run reaches the target"
    kinds = [kind for kind in (TIME, BYTES) if any(finite(costs_of(reached, kind)) for _, reached in found)]  # times of disturbed runs are not known
    names = [with_count(*each) for each in found]
    with applied():
        width = PAGE if len(kinds) > 1 else COLUMN
        figure, panels = new_figure(width, 0.6 + 0.19 * sum(name.count("\n") + 1 for name in names), 1, len(kinds), sharey=True)
        for axes, kind in zip(panels.flat, kinds):
            unit = scale(axes, "x", kind, finite(cost for _, reached in found for cost in costs_of(reached, kind)))
            for y, (member, reached) in enumerate(found):
                costs = [unit * cost for cost in finite(costs_of(reached, kind))]
                axes.plot(costs, [y] * len(costs), linestyle="", zorder=3, **member.look.point)
                if costs and len(costs) == len(reached.seeds):
                    middle = sum(costs) / len(costs)
                    axes.plot([middle, middle], [y - 0.3, y + 0.3], color=INK, linewidth=1.2, zorder=2)
            axes.grid(axis="y", visible=False)
            axes.set_xlabel(axes.get_xlabel().replace("since the first step", "to the target"))
            axes.tick_params(axis="y", length=0)
        panels[0, 0].set_yticks(range(len(found)), names)
        panels[0, 0].set_ylim(len(found) - 0.5, -0.5)
        settle(figure)
    missing = group.without(member for member, _ in found)
    unknown = any(not math.isfinite(cost) for _, reached in found for cost in costs_of(reached, TIME))
    caption = sentences(
        f"What was spent when a validation first reached {target_words(group)}: {'; '.join(COSTS[kind].words for kind in kinds)}; {group.place}.",
        "A marker per seed; bars: means, where all seeds reach it. What lies between two validations is not known.",
        "With one rank nothing is sent: what it would send." if BYTES in kinds and group.section.ranks == 1 else "",
        "Times of contaminated runs are not known." if unknown else "",
        f"Without validations: {listed(missing)}." if missing else "")
    return group.figure("target", "Time and bytes to a score on validation", caption, figure, [member for member, _ in found])
