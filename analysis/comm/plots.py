"""Pictures of the all-reduce model: measured points with the fit, projections with their band, the knee. Never a projection beside a measurement."""

import io
import math
from collections.abc import Sequence

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
from matplotlib.lines import Line2D  # noqa: E402
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: E402

from ..common.text import wrap  # noqa: E402
from ..common.units import human_bytes, human_time  # noqa: E402
from .fit import Study  # noqa: E402
from .project import Knee, Projection, Target, whole  # noqa: E402
from .read import Payload  # noqa: E402
from .tables import PROJECTION, scale  # noqa: E402

# Okabe and Ito's colours, which colour-blind readers tell apart; lines also differ in dashes.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":")
MOST_LINES = 10  # payloads in one picture
MOST_HOSTS = 4  # host counts in a picture of the knee
STYLE = {"font.size": 9, "axes.grid": True, "grid.alpha": 0.3, "grid.linewidth": 0.5, "axes.axisbelow": True, "svg.hashsalt": "peftscale", "figure.dpi": 100}


def look(index: int) -> dict[str, object]:
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": DASHES[index // len(COLOURS) % len(DASHES)]}


def spread_out(items: Sequence, most: int) -> list:
    """At most so many, first and last among them."""
    return [items[index] for index in sorted(set(np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int)))] if items else []


def short_bytes(value: float, _position: int = 0) -> str:
    """Of a tick: three digits are too many."""
    return human_bytes(round(value)).replace(".00 ", " ").replace(".0 ", " ") if value >= 1 else ""


def short_time(value: float, _position: int = 0) -> str:
    return human_time(value).replace(".00 ", " ").replace(".0 ", " ")


def log_axes(axes: plt.Axes, x_is_bytes: bool = True) -> None:
    axes.set_xscale("log", base=10 if x_is_bytes else 2)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(short_time))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(short_bytes if x_is_bytes else lambda value, _position: f"{value:,.0f}"))
    if x_is_bytes:
        axes.xaxis.set_major_locator(LogLocator(numticks=6))


def headline(figure: plt.Figure, text: str) -> None:
    figure.suptitle("\n".join(line for part in text.split("\n") for line in wrap(part, 110)), fontsize=10, x=0.01, ha="left")


def save(figure: plt.Figure) -> dict[str, bytes]:
    """As PNG and SVG, without a date: the same input gives the same files."""
    files = {}
    for form, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        out = io.BytesIO()
        figure.savefig(out, format=form, dpi=130, bbox_inches="tight", metadata=metadata)
        files[form] = out.getvalue()
    plt.close(figure)
    return files


def draw_fit(study: Study) -> dict[str, bytes]:
    """A panel per algorithm: medians, filled where fitted, hollow where held out; lines are the model."""
    with plt.rc_context(STYLE):
        columns = min(3, len(study.models))
        rows = -(-len(study.models) // columns)
        figure, panels = plt.subplots(rows, columns, figsize=(1.6 + 3.3 * columns, 1.2 + 2.9 * rows), squeeze=False, sharex=True, sharey=True,
                                      layout="constrained")
        counts = sorted({point.ranks for model in study.models for point in model.fitted + model.held_out})
        style = {ranks: look(index) for index, ranks in enumerate(counts)}
        for index, axes in enumerate(panels.flat):
            if index >= len(study.models):
                axes.set_visible(False)
                continue
            model = study.models[index]
            log_axes(axes)
            for ranks in counts:
                points = [point for point in model.fitted + model.held_out if point.ranks == ranks]
                if not points:
                    continue
                sizes = np.geomspace(min(point.payload for point in points), max(point.payload for point in points), 80)
                axes.plot(sizes, [model.form.seconds(ranks, whole(each)) for each in sizes], linewidth=1, **style[ranks])
                for held in (False, True):
                    some = [point for point in points if bool(point.held_out) == held]
                    axes.plot([point.payload for point in some], [point.median for point in some], "o", markersize=4.5, markeredgecolor=style[ranks]["color"],
                              markerfacecolor="white" if held else style[ranks]["color"], markeredgewidth=1)
            axes.set_title(f"{model.algorithm}\nheld out: median {100 * model.errors.median:.1f} %, p90 {100 * model.errors.p90:.1f} %", fontsize=9)
            axes.tick_params(labelbottom=index + columns >= len(study.models))
            if index + columns >= len(study.models):
                axes.set_xlabel("payload (bytes, decimal units)")
            if index % columns == 0:
                axes.set_ylabel("time of one all-reduce")
        handles = [Line2D([], [], label=f"{ranks} ranks", linewidth=1.5, **style[ranks]) for ranks in counts]
        handles += [Line2D([], [], linestyle="", marker="o", color="0.3", label="measured, fitted"),
                    Line2D([], [], linestyle="", marker="o", color="0.3", markerfacecolor="white", label="measured, held out"),
                    Line2D([], [], color="0.3", linewidth=1, label="model")]
        figure.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
        headline(figure, f"Measured all-reduce times and the fitted model\n{study.network.title}; medians of repetitions")
        return save(figure)


def is_power(count: int) -> bool:
    return count & (count - 1) == 0


def draw_payload(axes: plt.Axes, line: list[Projection], label: str, style: dict[str, object]) -> None:
    """Powers of two as a line; other host counts cost more and stand alone: a line to them would suggest what lies between."""
    smooth, alone = [row for row in line if is_power(row.hosts)], [row for row in line if not is_power(row.hosts)]
    hosts = [row.hosts for row in smooth]
    axes.fill_between(hosts, [row.low for row in smooth], [row.high for row in smooth], color=style["color"], alpha=0.15, linewidth=0)
    axes.plot(hosts, [row.seconds for row in smooth], marker=".", linewidth=1.4, label=label, **style)
    axes.vlines([row.hosts for row in alone], [row.low for row in alone], [row.high for row in alone], color=style["color"], alpha=0.3, linewidth=3)
    axes.plot([row.hosts for row in alone], [row.seconds for row in alone], linestyle="", marker="D", markersize=4, color=style["color"],
              markerfacecolor="white")


def draw_projection(target: Target, rows: list[Projection], form_scale: int) -> dict[str, bytes]:
    """Time against hosts, a line per payload with its band."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8.2, 5), layout="constrained")
        log_axes(axes, x_is_bytes=False)
        names: dict[int, list[str]] = {}
        for row in rows:
            if row.payload.label not in names.setdefault(row.payload.bytes, []):
                names[row.payload.bytes].append(row.payload.label)
        for index, size in reversed(list(enumerate(spread_out(sorted(names), MOST_LINES)))):
            line = sorted({row.hosts: row for row in rows if row.payload.bytes == size}.values(), key=lambda row: row.hosts)
            label = ", ".join(names[size][:2]) + (f" and {len(names[size]) - 2} more" if len(names[size]) > 2 else "")
            draw_payload(axes, line, "\n  ".join(wrap(f"{label} ({human_bytes(size)})", 34)), look(index))
        if any(not is_power(row.hosts) for row in rows):
            axes.plot([], [], linestyle="", marker="D", color="0.3", markerfacecolor="white", markersize=4, label="hosts no power of two")
        axes.set_xlabel("hosts, one rank each")
        axes.set_ylabel("projected time of one all-reduce, best algorithm")
        some = f" ({MOST_LINES} of {len(names)})" if len(names) > MOST_LINES else ""
        figure.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, title=f"payload of{some}")
        headline(figure, f"{PROJECTION}: {target.name}, parameters {target.status}\n{scale(target, form_scale)} Shaded: band.")
        return save(figure)


def draw_knee(target: Target, rows: list[Knee], payloads: list[Payload], form_scale: int) -> dict[str, bytes]:
    """Time against payload with the knee marked; below, where the methods' payloads lie."""
    projected = rows[0].projected
    with plt.rc_context(STYLE):
        listed = spread_out(payloads, 16)
        height = 0.5 + 0.21 * max(len(listed), 1)
        figure, (axes, strip) = plt.subplots(2, 1, figsize=(8.2, 4.6 + height), sharex=True, layout="constrained", height_ratios=(3.8, height))
        log_axes(axes)
        chosen = spread_out(rows, MOST_HOSTS)
        knees = [row.balance for row in chosen if math.isfinite(row.balance)]
        low = min([4, *(payload.bytes for payload in payloads)]) if not knees else min([min(knees) / 100, *(payload.bytes for payload in payloads)])
        high = max([1 << 20, *(100 * knee for knee in knees), *(payload.bytes for payload in payloads)])
        sizes = np.geomspace(max(low / 2, 4), 2 * high, 120)
        for index, row in enumerate(chosen):
            axes.plot(sizes, [target.seconds(row.hosts, whole(each)) for each in sizes], linewidth=1.4, **look(index))
            for panel, bottom in ((axes, None), (strip, 0)):
                if math.isfinite(row.balance):
                    panel.axvline(row.balance, linewidth=0.9, alpha=0.7, **look(index))
                    if bottom is None:
                        panel.plot(row.balance, target.seconds(row.hosts, whole(row.balance)), "D", markersize=6, color=look(index)["color"])
        for index, payload in enumerate(listed):
            strip.plot(payload.bytes, index, "o", color="0.25", markersize=4.5)
        strip.set_yticks(range(len(listed)), [f"{payload.label[:34]} ({human_bytes(payload.bytes)})" for payload in listed], fontsize=8)
        strip.set_ylim(-0.8, max(len(listed), 1) - 0.2)
        strip.set_xlabel("payload (bytes, decimal units)")
        axes.set_ylabel(("projected" if projected else "modelled") + " time of one all-reduce")
        handles = [Line2D([], [], linewidth=1.5, label=f"{row.hosts:,} hosts, knee {short_bytes(row.balance) if math.isfinite(row.balance) else 'none'}",
                          **look(index)) for index, row in enumerate(chosen)]
        handles.append(Line2D([], [], linestyle="", marker="D", color="0.3", label="latency = bandwidth"))
        figure.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
        kind = f"{PROJECTION}: knee" if projected else "Knee of the fitted model at measured host counts"
        headline(figure, f"{kind}, {target.name}, parameters {target.status}\nLeft of a line latency is the larger part: fewer parameters hardly save time. "
                 + scale(target, form_scale))
        return save(figure)
