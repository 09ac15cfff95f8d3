"""Loss of the training and score on validation against steps: few rows in one picture, many in a small panel each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from ..load.runs import Run
from .axes import linear_axis, new_figure, score_factor, score_words, settle
from .figure import Figure
from .group import Group, Member
from .labels import EndNames
from .series import Course, StepReader, by_seed, course_of, window_of
from .style import COLUMN, FAINT, PAGE, SMALL, applied
from .words import listed, seeds_of, sentences, wrapped

TOGETHER = 4  # rows that one picture bears, bands and all
ACROSS, MOST = 5, 25  # panels beside each other, in all
PANEL_LETTERS = 20  # above one
BLOWN_UP = 6  # times as high as nine tenths of all values
Drawn = Sequence[tuple[Member, Course]]


def draw_course(axes: Axes, member: Member, course: Course, factor: float, marked: bool, dash: Any) -> None:
    points = member.look.point if marked else {}
    axes.plot(course.x, factor * course.mean, **{**points, "color": member.look.colour, "linestyle": dash}, zorder=3)
    if course.has_band:
        axes.fill_between(course.x, factor * course.low, factor * course.high, color=member.look.colour, alpha=0.18, linewidth=0, zorder=2)


def limits_of(drawn: Drawn) -> tuple[float, float, bool]:
    """Around all that is finite, and whether something goes beyond: a course that blows up must not flatten the others."""
    values = np.concatenate([part[np.isfinite(part)] for _, course in drawn for part in (course.low, course.high)])
    low, high = float(values.min()), float(values.max())
    calm = float(np.percentile(values, 90))
    beyond = high - low > BLOWN_UP * (calm - low) > 0
    return low, low + 2 * (calm - low) if beyond else high, beyond


def limit(panels: Sequence[Axes], drawn: Drawn, factor: float) -> None:
    low, high = (factor * end for end in limits_of(drawn)[:2])
    pad = 0.05 * (high - low) or 0.05 * max(abs(high), 0.1)
    first = min(float(course.x[0]) for _, course in drawn)
    last = max(float(course.x[-1]) for _, course in drawn)
    side = 0.03 * (last - first) or 0.5
    for axes in panels:
        axes.set_ylim(low - pad, high + pad)
        axes.set_xlim(first - side, last + side)


def end_of(course: Course, factor: float) -> tuple[float, float] | None:
    known = np.flatnonzero(np.isfinite(course.mean))
    return (float(course.x[known[-1]]), factor * float(course.mean[known[-1]])) if len(known) else None


def draw_together(drawn: Drawn, factor: float, label: str, marked: bool) -> Canvas:
    figure, ((axes,),) = new_figure(COLUMN, 2.3)
    for member, course in drawn:
        draw_course(axes, member, course, factor, marked, member.look.dash)
    limit([axes], drawn, factor)
    axes.set_xlabel("step")
    axes.set_ylabel(label)
    linear_axis(axes, "x", whole=True)
    linear_axis(axes, "y")
    low, high = axes.get_ylim()
    ends = [(member, end) for member, course in drawn if (end := end_of(course, factor))]
    names = EndNames(axes, [(x, min(max(y, low), high)) for _, (x, y) in ends], [member.name for member, _ in ends], [member.look for member, _ in ends])
    settle(figure)
    names.settle()
    return figure


def draw_apart(drawn: Drawn, factor: float, label: str, marked: bool, control: Course | None) -> Canvas:
    """control: its mean stands in each panel."""
    columns = min(ACROSS, len(drawn))
    rows = -(-len(drawn) // columns)
    figure, panels = new_figure(PAGE, 0.35 + 1.15 * rows, rows, columns, sharex=True, sharey=True)
    for axes, (member, course) in zip(panels.flat, drawn):
        if control is not None and control is not course:
            axes.plot(control.x, factor * control.mean, color=FAINT, linewidth=0.7, linestyle=(0, (2, 1)), zorder=2.5)
        draw_course(axes, member, course, factor, marked, "-")
        axes.set_title(wrapped(member.name, PANEL_LETTERS), fontsize=SMALL, loc="left")
        linear_axis(axes, "x", 3, whole=True)
        linear_axis(axes, "y", 4)
    limit(list(panels.flat), drawn, factor)
    for index, axes in enumerate(panels.flat):
        axes.set_visible(index < len(drawn))
        axes.tick_params(labelbottom=index + columns >= len(drawn), labelleft=index % columns == 0)
    figure.supxlabel("step", fontsize=8)
    figure.supylabel(label, fontsize=8)
    settle(figure)
    return figure


def draw_courses(group: Group, found: Drawn, kind: str, words: str, label: str, factor: float, marked: bool, window: int) -> Figure:
    """found: not empty."""
    control = group.control
    shown = found if len(found) <= TOGETHER else found[:MOST]
    of_control = next((course for member, course in found if member is control), None)
    with applied():
        figure = draw_together(shown, factor, label, marked) if len(shown) <= TOGETHER else draw_apart(shown, factor, label, marked, of_control)
    bands = any(course.has_band for _, course in shown)
    members = [member for member, _ in shown]
    missing = group.without(member for member, _ in found)
    caption = sentences(
        f"{words} against steps; {group.place}.",
        f"Lines: means over {seeds_of(member.row for member in members)}; bands: lowest and highest seed." if bands else "One seed.",
        "Courses go on where they leave the frame." if limits_of(shown)[2] else "",
        f"Running mean over {window} steps." if window > 1 else "",
        f"Dashed grey: {control.name}." if len(shown) > TOGETHER and of_control is not None else "",
        f"The first {len(shown)} of {len(found)} rows." if len(shown) < len(found) else "",
        f"Without it: {listed(missing)}." if missing else "")
    return group.figure(kind, words, caption, figure, members)


def draw_loss(group: Group, steps: StepReader) -> Figure | str:
    def losses(run: Run) -> tuple[np.ndarray, np.ndarray]:
        read = steps.of(run)
        return (read.step, read.loss) if read is not None and len(read.loss) else (np.empty(0), np.empty(0))

    series = [by_seed(member.row.runs, list(map(losses, member.row.runs))) for member in group.members]
    longest = max((len(x) for each in series for x, _ in each), default=0)
    if longest < 2:
        return "no loss of two or more steps"
    window = window_of(longest)
    found = [(member, course) for member, each in zip(group.members, series) if (course := course_of(each, window))]
    if not found:
        return "no finite loss"
    return draw_courses(group, found, "loss", "Loss of the training", "training loss", 1.0, False, window)


def draw_validation(group: Group) -> Figure | str:
    def course(member: Member) -> Course | None:
        runs = member.row.runs
        return course_of(by_seed(runs, [(np.array([each.step for each in run.validations]), np.array([each.score for each in run.validations], float))
                                        for run in runs]))
    found = [(member, each) for member in group.members if (each := course(member))]
    if not any(len(each.x) > 1 for _, each in found):
        return "no row has two validations"
    metric = group.section.metric
    return draw_courses(group, found, "validation", "Score on validation", score_words(metric, "validation"), score_factor(metric), True, 1)
