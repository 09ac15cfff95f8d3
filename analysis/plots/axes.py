"""Empty figures of the right size, and axes with round ticks and units."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator, ScalarFormatter

from ..common.units import PERCENT, human_bytes, human_time

SCORES = {"accuracy": "accuracy", "f1": "F1", "matthews": "Matthews correlation", "pearson": "Pearson correlation", "spearman": "Spearman correlation"}
MOST_TICKS = 6


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **more: Any) -> tuple[Canvas, np.ndarray]:
    """Axes as an array [rows, columns]. Apart from pyplot, which would keep the figure for ever."""
    figure = Canvas(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **more)


def settle(figure: Canvas) -> None:
    """Makes the layout, once and for all: what is put in place by hand relies on it."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def legend(figure: Canvas, handles: Sequence[Artist], above: bool = True, **more: Any) -> None:
    """In as many columns as there is room for, above or below all axes; the figure grows by its height. Before settle()."""
    renderer = figure.canvas.get_renderer()
    width, height = figure.get_size_inches()
    for columns in range(len(handles), 0, -1):
        lines = -(-len(handles) // columns)
        if columns > 1 and lines == -(-len(handles) // (columns - 1)):
            continue  # as many lines, more evenly filled
        across = [handle for column in range(columns) for handle in handles[column::columns]]  # legends are filled column by column, read line by line
        made = figure.legend(handles=across, loc="upper center" if above else "lower center", bbox_to_anchor=(0.5, 1.0 if above else 0.0),
                             ncols=columns, **more)
        box = made.get_window_extent(renderer)
        if box.width <= (width - 0.04) * figure.dpi or columns == 1:
            break
        made.remove()
    room = box.height / figure.dpi + 0.02
    figure.set_size_inches(width, height + room)
    share = room / (height + room)
    figure.get_layout_engine().set(rect=(0, 0 if above else share, 1, 1 - share))


# ---- words of ticks ----

def short_bytes(value: float, _position: int = 0) -> str:
    """Of a tick: three digits are too many."""
    for size, unit in ((1e18, "EB"), (1e15, "PB")):
        if value >= size:
            return f"{value / size:g} {unit}"
    return human_bytes(round(value)).replace(".00 ", " ").replace(".0 ", " ") if value >= 1 else "0" if value == 0 else ""


def short_count(value: float, _position: int = 0) -> str:
    """1k, 10M"""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def short_rate(value: float, _position: int = 0) -> str:
    """Of a learning rate: 0.1, 2e-2, 1e-3"""
    return f"{value:g}" if value >= 0.1 else f"{value:.1e}".replace(".0e", "e").replace("e-0", "e-")


def short_time(value: float, _position: int = 0) -> str:
    return human_time(value).replace(".00 ", " ").replace(".0 ", " ")


def score_words(metric: str, split: str) -> str:
    return f"{split} {SCORES.get(metric, metric or 'score')}{' (%)' if metric in PERCENT else ''}"


def score_factor(metric: str) -> float:
    """From a score to what is drawn."""
    return 100.0 if metric in PERCENT else 1.0


# ---- scales ----

def round_ticks(low: float, high: float, most: int = MOST_TICKS) -> list[float]:
    """Powers of ten (each, or every second, third ...) from low to high; where there are fewer than three, 1, 2, 5 between them."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    powers = [float(10.0 ** power) for power in range(first, last + 1)]
    inside = [power for power in powers if low <= power <= high]
    if len(inside) < 3:
        for steps in ((1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9)):
            inside = [power * step for power in powers for step in steps if low <= power * step <= high * (1 + 1e-12)]
            if len(inside) >= 3:
                break
    return inside[::max(1, math.ceil(len(inside) / most))]


def log_limits(values: Iterable[float], share: float = 0.07) -> tuple[float, float]:
    """Around positive values; alone, a factor of three to each side."""
    known = [value for value in values if value > 0 and math.isfinite(value)]
    if not known:
        return 0.1, 10.0
    low, high = math.log10(min(known)), math.log10(max(known))
    if high - low < 1e-9:
        return float(10 ** (low - 0.5)), float(10 ** (high + 0.5))
    pad = max(share * (high - low), 0.04)
    return float(10 ** (low - pad)), float(10 ** (high + pad))


def log_axis(axes: Axes, which: str, values: Sequence[float], form: Callable[[float, int], str], most: int = MOST_TICKS) -> float:
    """Logarithmic; where a value is 0, linear below a round number, which is returned (else 0)."""
    axis = getattr(axes, f"{which}axis")
    low, high = log_limits(values)
    linear = 0.0
    if any(value == 0 for value in values) and any(value > 0 for value in values):
        linear = float(10.0 ** math.floor(math.log10(min(value for value in values if value > 0))))
        getattr(axes, f"set_{which}scale")("symlog", linthresh=linear, linscale=0.6)
        getattr(axes, f"set_{which}lim")(-0.25 * linear, high)
        ticks = [0.0, *round_ticks(linear, high, most - 1)]
    else:
        getattr(axes, f"set_{which}scale")("log")
        getattr(axes, f"set_{which}lim")(low, high)
        ticks = round_ticks(low, high, most)
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(form))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
    return linear


class PlainFormatter(ScalarFormatter):
    """As many decimals for all ticks, without a factor or a number to add at the axis' end, which are overlooked and in the way."""

    def __init__(self) -> None:
        super().__init__(useOffset=False)
        self.set_scientific(False)

    def __call__(self, value: float, position: int | None = None) -> str:
        largest = max(map(abs, self.axis.get_view_interval()))
        if 1e-3 <= largest < 1e6:
            return super().__call__(value, position)
        return re.sub(r"e([+-])0*", lambda sign: "e" + sign[1].strip("+"), f"{value:.3g}").replace("-", "\N{MINUS SIGN}")


def linear_axis(axes: Axes, which: str, most: int = 5, whole: bool = False) -> None:
    axis = getattr(axes, f"{which}axis")
    axis.set_major_locator(MaxNLocator(most, integer=whole, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(PlainFormatter())


def time_axis(axes: Axes, which: str, longest: float, words: str) -> float:
    """Labels a linear axis in the unit that fits; returns what seconds are to be multiplied by."""
    factor, unit = (1.0, "s") if longest >= 2 else (1e3, "ms") if longest >= 2e-3 else (1e6, "µs")
    getattr(axes, f"set_{which}label")(f"{words} ({unit})")
    return factor


def ranks_axis(axes: Axes, ranks: Sequence[int]) -> None:
    """Base 2; a tick at each number of ranks that was measured, as far as there is room."""
    low, high = min(ranks), max(ranks)
    axes.set_xscale("log", base=2)
    pad = 2.0 ** max(0.15, 0.06 * math.log2(high / low))
    axes.set_xlim(low / pad, high * pad)
    shown: list[int] = []
    for count in sorted(set(ranks)):
        if not shown or math.log2(count / shown[-1]) >= 0.08 * max(math.log2(high / low), 1e-9):
            shown.append(count)
    axes.xaxis.set_major_locator(FixedLocator(shown))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _position: f"{value:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("MPI ranks")
