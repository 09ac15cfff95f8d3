"""How the time of a step, and the bytes that it puts on the wire, change with the number of ranks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from ..load.summary import Row
from .axes import linear_axis, log_axis, new_figure, ranks_axis, settle, short_bytes, time_axis
from .figure import Figure, word
from .group import finite
from .labels import EndNames
from .ranks import STRONG, Family, Series
from .style import FAINT, PAGE, SMALL, applied
from .words import ids_of, listed, runs_of, sentences

HEIGHT, LINE = 2.4, 0.135  # inches: of a figure, of a name beside it
GUIDE = {"color": FAINT, "linewidth": 0.9, "linestyle": (0, (2, 1.2)), "zorder": 1.5}  # what would be ideal
Line = tuple[Series, list[int], list[float]]


def height_of(names: int) -> float:
    return max(HEIGHT, 0.55 + LINE * names)


def name_guide(axes: Axes, text: str, x: float, y: float, above: bool) -> None:
    """Above a rising line, to the left of this point of it, or below to the right: on the side where methods hardly are."""
    way = -1 if above else 1
    axes.annotate(text, (x, y), xytext=(2 * way, -2 * way), textcoords="offset points", ha="right" if above else "left", va="bottom" if above else "top",
                  fontsize=SMALL, color=FAINT)


def spread_of(row: Row) -> tuple[float, float]:
    """The fastest and the slowest run's time of a step."""
    times = finite(run.step_s for run in row.runs)
    return min(times), max(times)


def gains(series: Series) -> list[float]:
    """How many times as fast as one rank, if the fewest ranks of the series were ideal."""
    first, base = series.times()[0], series.ranks[0]
    return [base * first / time for time in series.times()]


def efficiencies(series: Series, kind: str) -> list[float]:
    first = series.times()[0]
    return [first / time * (series.ranks[0] / ranks if kind == STRONG else 1.0) for ranks, time in zip(series.ranks, series.times())]


def power_axis(axes: Axes, low: float, high: float) -> None:
    axes.set_yscale("log", base=2)
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(FixedLocator([2.0 ** power for power in range(math.ceil(math.log2(low)), math.floor(math.log2(high)) + 1)]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def draw_speed_up(axes: Axes, family: Family, ranks: Sequence[int]) -> None:
    values = []
    for series in family.series:
        speed = gains(series)
        values += speed
        axes.plot(series.ranks, speed, **series.look.point | series.look.line, zorder=3)
        for row, count in zip(series.rows, series.ranks):
            fast, slow = spread_of(row)
            ends = [series.ranks[0] * series.times()[0] / time for time in (slow, fast)]
            axes.plot([count, count], ends, color=series.look.colour, linewidth=0.8, zorder=2)
            values += ends
    axes.plot([min(ranks), max(ranks)], [min(ranks), max(ranks)], **GUIDE, label="ideal")
    middle = math.sqrt(min(ranks) * max(ranks))
    name_guide(axes, "ideal", middle, middle, above=True)
    axes.set_ylabel("speed-up")
    power_axis(axes, 0.85 * min(*values, *ranks), 1.18 * max(*values, *ranks))


def draw_step_time(axes: Axes, family: Family) -> None:
    factor = time_axis(axes, "y", max(spread_of(row)[1] for row in family.rows), "time of a step")
    values = []
    for series in family.series:
        times = [factor * time for time in series.times()]
        values += times
        axes.plot(series.ranks, times, **series.look.point | series.look.line, zorder=3)
        axes.plot([series.ranks[0], series.ranks[-1]], [times[0], times[0]], **GUIDE | {"linewidth": 0.5}, label="ideal")
        for row, count in zip(series.rows, series.ranks):
            ends = [factor * time for time in spread_of(row)]
            axes.plot([count, count], ends, color=series.look.colour, linewidth=0.8, zorder=2)
            values += ends
    log_axis(axes, "y", values, lambda value, _position: f"{value:g}", 5)


def end_names(axes: Axes, lines: Sequence[Line]) -> EndNames:
    low, high = axes.get_ylim()
    return EndNames(axes, [(xs[-1], min(max(ys[-1], low), high)) for _, xs, ys in lines], [series.name for series, _, _ in lines],
                    [series.look for series, _, _ in lines])


def name_of(kind: str, family: Family) -> str:
    return "-".join(filter(None, [kind, family.kind, word(family.tag)]))


def draw_scaling(family: Family) -> Figure:
    ranks = sorted({count for series in family.series for count in series.ranks})
    bases = {series.ranks[0] for series in family.series}
    with applied():
        figure, ((left, right),) = new_figure(PAGE, height_of(len(family.series)), 1, 2)
        if family.kind == STRONG:
            draw_speed_up(left, family, ranks)
        else:
            draw_step_time(left, family)
        lines: list[Line] = [(series, series.ranks, [100 * each for each in efficiencies(series, family.kind)]) for series in family.series]
        for series, xs, ys in lines:
            right.plot(xs, ys, **series.look.point | series.look.line, zorder=3)
        right.axhline(100, **GUIDE, label="ideal")
        right.set_ylim(0, 1.06 * max(100.0, *(y for _, _, ys in lines for y in ys)))
        linear_axis(right, "y")
        right.set_ylabel("efficiency (%)")
        for axes in (left, right):
            ranks_axis(axes, ranks)
        names = end_names(right, lines)
        settle(figure)
        names.settle()
    strong = family.kind == STRONG
    marked = [series.name for series in family.series if any(run.contaminated and run.step_s > 0 for run in runs_of(series.rows))]
    caption = sentences(
        f"{family.kind.capitalize()} scaling, {family.words}; {family.place}.",
        "Left: speed-up of the median step" if strong else "Left: median time of a step",
        "over the fewest ranks" + (f" ({bases.pop()})," if len(bases) == 1 else " of each method,") if strong else "(logarithmic),",
        "mean over runs; whiskers: the fastest and the slowest run.",
        f"Right: efficiency, {'speed-up over ranks' if strong else 'the time with the fewest ranks over the time'}. Dashed grey: ideal.",
        f"Contaminated by other work: {listed(marked)}." if marked else "")
    return Figure(name_of("scaling", family), f"{family.kind.capitalize()} scaling: {family.place}", caption, figure, ids_of(runs_of(family.rows)), "scaling")


# ---- bytes ----

def wire_of(row: Row) -> float:
    """Measured bytes of a step of rank 0, mean over runs; NaN where not measured in each."""
    return float(np.mean([run.wire_bytes for run in row.runs]))


def payload_of(row: Row) -> float:
    return float(np.mean([run.sent_bytes_with_head for run in row.runs]))


def has_wire(row: Row) -> bool:
    return row.first.ranks > 1 and wire_of(row) > 0 and payload_of(row) > 0


def has_times(row: Row) -> bool:
    return row.mean["step_s"] > 0


def draw_wire(family: Family) -> Figure:
    """family: of rows that have it."""
    measured: list[Line] = [(series, series.ranks, [wire_of(row) for row in series.rows]) for series in family.series]
    payloads: list[Line] = [(series, series.ranks, [payload_of(row) for row in series.rows]) for series in family.series]
    ranks = sorted({count for _, counts, _ in measured for count in counts})
    with applied():
        figure, ((left, right),) = new_figure(PAGE, height_of(len(measured)), 1, 2)
        ratios: list[Line] = []
        for (series, xs, ys), (_, _, sent) in zip(measured, payloads):
            left.plot(xs, ys, **series.look.point | series.look.line, zorder=3)
            left.plot(xs, sent, color=series.look.colour, linewidth=0.7, linestyle=(0, (1, 1)), zorder=2, label="payload")
            ratios.append((series, xs, [y / each for y, each in zip(ys, sent)]))
            right.plot(xs, ratios[-1][2], **series.look.point | series.look.line, zorder=3)
        curve = np.linspace(min(ranks), max(ranks), 60)
        right.plot(curve, 2 * (curve - 1) / curve, **GUIDE, label="ring")
        name_guide(right, "ring", curve[30], 2 * (curve[30] - 1) / curve[30], above=False)
        log_axis(left, "y", [y for lines in (measured, payloads) for _, _, ys in lines for y in ys], short_bytes)
        left.set_ylabel("sent by rank 0 per step (bytes)")
        right.set_ylabel("on the wire / payload")
        right.set_ylim(0, 1.1 * max([2.0, *(y for _, _, ys in ratios for y in ys)]))
        linear_axis(right, "y")
        for axes in (left, right):
            ranks_axis(axes, ranks)
        names = end_names(right, ratios)
        settle(figure)
        names.settle()
    caption = sentences(
        "Bytes that rank 0 puts on the wire for the sum over ranks of a step, MPI's headers in it, and its payload; "
        f"{family.kind} scaling, {family.words}; {family.place}.",
        "Left: measured (markers) and payload (dotted). Right: their quotient; dashed grey: 2 (n - 1) / n, a ring's.")
    return Figure(name_of("wire", family), f"Bytes on the wire: {family.kind} scaling, {family.place}", caption, figure, ids_of(runs_of(family.rows)), "wire")
