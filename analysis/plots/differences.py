"""Paired differences to the control: a dot, the interval over seeds, the wider one over seeds and examples, and a shape for the verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.lines import Line2D

from ..common.text import wrap
from ..common.units import PERCENT
from .axes import SCORES, legend, linear_axis, new_figure, score_factor, settle
from .figure import Figure
from .group import Group, Member
from .style import COLUMN, FAINT, INK, applied
from .words import listed, sentences

if TYPE_CHECKING:
    from ..stats import Difference, Interval

# Verdict: marker, filled, colour.
SHAPES = {"better": ("^", True, "#0072B2"), "worse": ("v", True, "#CC3311"), "not separated": ("o", False, INK), "too few seeds": ("x", True, FAINT),
          "no spread": ("D", False, FAINT)}
OTHER = ("s", False, FAINT)
LINE = 50  # letters of the axis' label
REACH = 4.0  # the axis shows at most so many times the largest difference: an interval of two seeds would leave room for nothing else


def known(interval: Interval | None) -> bool:
    return interval is not None and interval.is_known


def limits(differences: Sequence[Difference], factor: float) -> tuple[float, float]:
    """Around zero, the dots and as much of the intervals as is of use."""
    means = [factor * each.interval.mean for each in differences]
    most = max(map(abs, means))
    ends = [factor * end for each in differences for interval in (each.interval, each.wide) if known(interval) for end in (interval.low, interval.high)]
    reach = max(REACH * most, 1e-3 * factor)
    low, high = min([0.0, *means, *(max(end, -reach) for end in ends)]), max([0.0, *means, *(min(end, reach) for end in ends)])
    pad = 0.06 * (high - low) or 0.01 * factor
    return low - pad, high + pad


def caption_of(group: Group, shown: Sequence[tuple[Member, Difference]], beyond: bool) -> str:
    control = group.control
    level = next((f"{100 * each.interval.level:g} %" for _, each in shown if known(each.interval)), "")
    seeds = sorted({len(each.seeds) for _, each in shown})
    count = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    missing = group.without([control, *(member for member, _ in shown)])
    return sentences(
        f"Test score minus that of {control.name}, pairwise over common seeds ({count}); {group.place}.",
        f"Thick: {level} t interval over seeds." if level else "",
        f"Thin: {level} interval over seeds and examples." if any(known(each.wide) for _, each in shown) else "",
        "Intervals go on where they meet the frame." if beyond else "",
        "Shapes are verdicts, which hold for all comparisons together (Holm).",
        "So a row that is not separated may have an interval beside zero." if level else "",
        f"Without a difference: {listed(missing)}." if missing else "")


def draw_differences(group: Group) -> Figure | str:
    control, metric = group.control, group.section.metric
    if control is None:
        return "no row of the control"
    shown = [(member, member.statistics.difference) for member in group.members if member.statistics and member.statistics.difference
             and math.isfinite(member.statistics.difference.interval.mean)]
    if not shown:
        return "nothing to compare with the control"
    factor = score_factor(metric)
    lines = sum(member.name.count("\n") + 1 for member, _ in shown)
    with applied():
        figure, ((axes,),) = new_figure(COLUMN, 0.6 + 0.19 * lines)
        low, high = limits([each for _, each in shown], factor)
        axes.set_xlim(low, high)
        axes.axvline(0, color=INK, linewidth=0.8, zorder=1.5)
        beyond = False
        for y, (_, each) in enumerate(shown):
            marker, filled, colour = SHAPES.get(each.verdict, OTHER)
            for interval, width, zorder in ((each.wide, 0.8, 2), (each.interval, 2.4, 3)):
                if known(interval):
                    ends = [factor * interval.low, factor * interval.high]
                    axes.plot(ends, [y, y], color=colour, linewidth=width, solid_capstyle="butt", zorder=zorder)
                    beyond |= ends[0] < low or ends[1] > high
            axes.plot([factor * each.interval.mean], [y], linestyle="", marker=marker, markersize=6, markerfacecolor=colour if filled else "white",
                      markeredgecolor=colour, markeredgewidth=1, zorder=4)
        axes.set_yticks(range(len(shown)), [member.name for member, _ in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="y", visible=False)
        linear_axis(axes, "x")
        unit = " (percentage points)" if metric in PERCENT else ""
        axes.set_xlabel("\n".join(wrap(f"test {SCORES.get(metric, metric)} minus {control.name}'s{unit}", LINE)), loc="right")  # it may be longer than the axis
        seen = [verdict for verdict in SHAPES if any(each.verdict == verdict for _, each in shown)]
        seen += sorted({each.verdict for _, each in shown} - set(SHAPES))
        handles = []
        for verdict in seen:
            marker, filled, colour = SHAPES.get(verdict, OTHER)
            handles.append(Line2D([], [], linestyle="", marker=marker, markersize=5, color=colour, markerfacecolor=colour if filled else "white",
                                  label=verdict))
        legend(figure, handles)
        settle(figure)
    return group.figure("differences", f"Differences to {control.name}", caption_of(group, shown, beyond), figure,
                        [control, *(member for member, _ in shown)])
