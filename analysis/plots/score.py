"""Score against what a method costs: numbers trained, bytes stored, bytes sent; with intervals over seeds and the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ..common.units import LOWER_IS_BETTER, PERCENT
from ..load.summary import Row
from .axes import SCORES, legend, linear_axis, log_axis, new_figure, score_factor, score_words, settle, short_bytes, short_count
from .figure import Figure
from .group import Group, Member
from .labels import name_points
from .style import COLUMN, applied
from .words import listed, seeds_of, sentences

MOST_NAMES = 14  # rows whose names stand beside their points
HEIGHT = 2.55


@dataclass(frozen=True)
class Size:
    label: str
    title: str
    words: str  # in the caption
    value: Callable[[Row], float]
    form: Callable[[float, int], str]


SIZES = {
    "score-trainable": Size("numbers trained, head apart", "numbers trained", "the numbers that a method trains, the task head's apart",
                            lambda row: row.first.trainable, short_count),
    "score-stored": Size("stored, head apart (bytes)", "stored bytes", "the bytes of a method's result, the task head's apart",
                         lambda row: row.first.stored_bytes, short_bytes),
    "score-sent": Size("sent per step, head apart (bytes)", "bytes sent per step", "the bytes that a rank gives to the sum over ranks in a step, the task "
                       "head's apart", lambda row: row.mean["sent_bytes"], short_bytes),
    "score-message": Size("sent per step, with head (bytes)", "bytes sent per step with the head", "the bytes of a rank's whole message in a step, the task "
                          "head's among them", lambda row: row.mean["sent_bytes_with_head"], short_bytes),
}
SENT = ("score-sent", "score-message")


def front_of(points: Sequence[tuple[float, float]], lower_is_better: bool = False) -> list[int]:
    """Indexes of the points (size, score) that no other one dominates (no larger, no worse, and not the same), by size."""
    def dominates(one: tuple[float, float], other: tuple[float, float]) -> bool:
        no_worse = one[1] <= other[1] if lower_is_better else one[1] >= other[1]
        return one[0] <= other[0] and no_worse and one != other
    return sorted((index for index, point in enumerate(points) if not any(dominates(other, point) for other in points)), key=lambda index: points[index])


def whisker(member: Member) -> tuple[float, float] | None:
    interval = member.statistics.score if member.statistics else None
    return (interval.low, interval.high) if interval is not None and interval.is_known else None


def bounds_of(metric: str) -> tuple[float, float]:
    """What a score can be."""
    return (0.0, 1.0) if metric in PERCENT else (-1.0, 1.0) if metric in SCORES else (-math.inf, math.inf)


def score_limits(members: Sequence[Member], metric: str) -> tuple[float, float]:
    """Around all points and as much of the whiskers as can be a score."""
    least, most = bounds_of(metric)
    ends = [min(max(end, least), most) for member in members for end in whisker(member) or ()] + [member.score for member in members]
    pad = 0.06 * (max(ends) - min(ends)) or 0.05 * max(abs(ends[0]), 0.2)
    return min(ends) - pad, max(ends) + pad


def name_or_list(axes: Axes, points: Sequence[tuple[float, float]], members: Sequence[Member], lines: Sequence[Sequence[tuple[float, float]]],
                 crowd: Sequence[tuple[float, float]] = ()) -> None:
    """Names beside the points of the members; of too many, or where there is no room, numbers, and names in a legend below. The layout must be final. lines,
    crowd: what names had better not cover: lines, other points."""
    names, colours = [member.name for member in members], [member.look.colour for member in members]
    if len(members) <= MOST_NAMES and name_points(axes, points, names, colours, lines, crowd):
        return
    numbers = [str(number) for number in range(1, len(members) + 1)]
    figure = axes.figure
    figure.set_layout_engine("constrained")
    legend(figure, [Line2D([], [], linestyle="", label=f"{number}  {member.name}", **member.look.point) for number, member in zip(numbers, members)],
           above=False, handlelength=1.0)
    settle(figure)
    name_points(axes, points, numbers, colours, lines, crowd)


def caption_of(group: Group, kind: str, shown: Sequence[Member], front: Sequence[int], linear: float, beyond: bool) -> str:
    size = SIZES[kind]
    spans = [member for member in shown if whisker(member)]
    level = f"{100 * spans[0].statistics.score.level:g} %" if spans else ""
    unknown, fewer = group.without(shown), "a lower" if group.section.metric in LOWER_IS_BETTER else "a higher"
    return sentences(
        f"Test score against {size.words}; {group.place}.",
        "With one rank nothing is sent: what it would send." if kind in SENT and group.section.ranks == 1 else "",
        f"Points: means over {seeds_of(member.row for member in shown)}.",
        f"Whiskers: {level} t intervals over seeds{', which go on where they meet the frame' if beyond else ''}." if spans else "",
        f"No interval: {listed([member.name for member in shown if not whisker(member)])}." if len(spans) < len(shown) else "",
        f"Grey steps: the Pareto front, through the rows that no other row beats with fewer and {fewer} mean; it is one of means, and rows on it or near it "
        "whose intervals overlap may change places." if len(front) > 1 else "",
        f"The axis is linear below {size.form(linear, 0)}, so that 0 is on it." if linear else "",
        f"Without a test score: {listed(unknown)}." if unknown else "")


def draw_score(group: Group, kind: str) -> Figure | str:
    """kind: of SIZES. The figure, or why there is none."""
    size, metric = SIZES[kind], group.section.metric
    shown = [member for member in group.members if math.isfinite(member.score) and size.value(member.row) >= 0]
    if not shown:
        return "no test score"
    factor = score_factor(metric)
    points = [(float(size.value(member.row)), factor * member.score) for member in shown]
    if not any(x for x, _ in points):
        return "each value is 0"
    with applied():
        figure, ((axes,),) = new_figure(COLUMN, HEIGHT)
        linear = log_axis(axes, "x", [x for x, _ in points], size.form)
        low, high = (factor * end for end in score_limits(shown, metric))
        axes.set_ylim(low, high)
        linear_axis(axes, "y")
        axes.set_xlabel(size.label)
        axes.set_ylabel(score_words(metric, "test"))
        front = front_of(points, metric in LOWER_IS_BETTER)
        lines = []
        if len(front) > 1:
            xs, ys = zip(*(points[index] for index in front))
            axes.step([*xs, axes.get_xlim()[1]], [*ys, ys[-1]], where="post", color="#9a9a9a", linewidth=0.9, zorder=1.5, label="front")
            lines += [line for x0, x1, y0, y1 in zip(xs, xs[1:], ys, ys[1:]) for line in ([(x0, y0), (x1, y0)], [(x1, y0), (x1, y1)])]
        beyond = False
        for member, (x, y) in zip(shown, points):
            if span := whisker(member):
                ends = [factor * end for end in span]
                axes.plot([x, x], ends, color=member.look.colour, linewidth=0.9, zorder=2, solid_capstyle="butt")
                lines.append([(x, max(ends[0], low)), (x, min(ends[1], high))])
                beyond |= ends[0] < low or ends[1] > high
            axes.plot([x], [y], linestyle="", zorder=4, **member.look.point)
        settle(figure)
        name_or_list(axes, points, shown, lines)
    return group.figure(kind, f"Test score against {size.title}", caption_of(group, kind, shown, front, linear, beyond), figure, shown)
