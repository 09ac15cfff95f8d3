"""Pictures of the all-reduce model: measured points with the fit, projections with their band, the knee. Never a projection beside a measurement."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ..common.text import wrap
from ..common.units import human_bytes
from ..plots.axes import legend, log_axis, new_figure, ranks_axis, round_ticks, settle, short_bytes, short_time
from ..plots.figure import Figure
from ..plots.labels import EndNames
from ..plots.style import FAINT, INK, LOOKS, PAGE, SMALL, Look, applied, look_of_number
from .fit import Study
from .project import Knee, Projection, Target, whole
from .read import Payload
from .tables import PROJECTION, scale

MOST_LINES = 10  # payloads in one picture
MOST_HOSTS = 4  # host counts in a picture of the knee
MOST_LISTED = 16  # payloads below it
ACROSS = 3  # panels
HOLLOW = {"linestyle": "", "markersize": 3.5, "markeredgewidth": 0.9}
MARK = {"fontsize": SMALL, "fontweight": "bold"}  # of what says on each projection that it is one


def spread_out(items: Sequence, most: int) -> list:
    """At most so many, first and last among them."""
    return [items[index] for index in sorted(set(np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int)))] if items else []


def time_axis(axes: Axes, times: Sequence[float]) -> None:
    log_axis(axes, "y", times, short_time)


def draw_fit(study: Study, name: str) -> Figure:
    """A panel per algorithm: medians, filled where fitted, hollow where held out; lines are the model."""
    columns = min(ACROSS, len(study.models))
    rows = -(-len(study.models) // columns)
    everything = [point for model in study.models for point in model.fitted + model.held_out]
    counts = sorted({point.ranks for point in everything})
    looks = {ranks: look_of_number(number) for number, ranks in enumerate(counts)}
    with applied():
        figure, panels = new_figure(PAGE if columns > 1 else 0.6 * PAGE, 0.3 + 1.9 * rows, rows, columns, sharex=True, sharey=True)
        for index, axes in enumerate(panels.flat):
            if index >= len(study.models):
                axes.set_visible(False)
                continue
            model = study.models[index]
            for ranks in counts:
                points = [point for point in model.fitted + model.held_out if point.ranks == ranks]
                if not points:
                    continue
                sizes = np.geomspace(min(point.payload for point in points), max(point.payload for point in points), 80)
                axes.plot(sizes, [model.form.seconds(ranks, whole(each)) for each in sizes], linewidth=0.9, **looks[ranks].line)
                for held in (False, True):
                    some = [point for point in points if bool(point.held_out) == held]
                    axes.plot([point.payload for point in some], [point.median for point in some], **HOLLOW, marker=looks[ranks].marker,
                              color=looks[ranks].colour, markerfacecolor="white" if held else looks[ranks].colour)
            log_axis(axes, "x", [point.payload for point in everything], short_bytes, 4)
            time_axis(axes, [point.median for point in everything])
            axes.set_title(model.algorithm, fontsize=SMALL, loc="left")
            axes.tick_params(labelbottom=index + columns >= len(study.models), labelleft=index % columns == 0)
        figure.supxlabel("payload (bytes)", fontsize=8)
        figure.supylabel("time of one all-reduce", fontsize=8)
        handles = [Line2D([], [], label=f"{ranks} ranks", marker=look.marker, markersize=3.5, **look.line) for ranks, look in looks.items()]
        handles += [Line2D([], [], marker="o", color=FAINT, label="measured, fitted", **HOLLOW),
                    Line2D([], [], marker="o", color=FAINT, markerfacecolor="white", label="measured, held out", **HOLLOW),
                    Line2D([], [], color=FAINT, linewidth=0.9, label="model")]
        legend(figure, handles)
        settle(figure)
    errors = "; ".join(f"{model.algorithm} {100 * model.errors.median:.1f} %, {100 * model.errors.p90:.1f} %" for model in study.models)
    return Figure(name, f"Measured all-reduce times and the fitted model: {study.network.title}",
                  f"Medians of repetitions, and the model, on {study.network.title}. Error on points held out, median and p90: {errors}.", figure, (), "fit")


def is_power(count: int) -> bool:
    return count & (count - 1) == 0


def draw_payload(axes: Axes, line: list[Projection], look: Look) -> None:
    """Powers of two as a line; other host counts cost more and stand alone: a line to them would suggest what lies between."""
    smooth, alone = [row for row in line if is_power(row.hosts)], [row for row in line if not is_power(row.hosts)]
    hosts = [row.hosts for row in smooth]
    axes.fill_between(hosts, [row.low for row in smooth], [row.high for row in smooth], color=look.colour, alpha=0.15, linewidth=0)
    axes.plot(hosts, [row.seconds for row in smooth], **look.point | look.line)
    axes.vlines([row.hosts for row in alone], [row.low for row in alone], [row.high for row in alone], color=look.colour, alpha=0.3, linewidth=3)
    axes.plot([row.hosts for row in alone], [row.seconds for row in alone], **look.point | {"linestyle": "", "markerfacecolor": "white",
                                                                                             "markeredgecolor": look.colour, "markeredgewidth": 0.9})


def looks_of(names: Sequence[Sequence[str]]) -> list[Look]:
    """Of payloads by their labels: a method's own look, if each is that of another method."""
    methods = [several[0].split()[0] if several else "" for several in names]
    if len(set(methods)) == len(methods) and set(methods) <= set(LOOKS):
        return [LOOKS[method] for method in methods]
    return [look_of_number(number) for number in range(len(names))]


def draw_projection(target: Target, rows: list[Projection], form_scale: int, name: str) -> Figure:
    """Time against hosts, a line per payload with its band."""
    names: dict[int, list[str]] = {}
    for row in rows:
        if row.payload.label not in names.setdefault(row.payload.bytes, []):
            names[row.payload.bytes].append(row.payload.label)
    sizes = spread_out(sorted(names), MOST_LINES)
    looks = looks_of([names[size] for size in sizes])
    ends, texts = [], []
    with applied():
        figure, ((axes,),) = new_figure(PAGE, 3.4)
        for size, look in zip(sizes, looks):
            line = sorted({row.hosts: row for row in rows if row.payload.bytes == size}.values(), key=lambda row: row.hosts)
            draw_payload(axes, line, look)
            ends.append((line[-1].hosts, line[-1].seconds))
            more = f" and {len(names[size]) - 1} more" if len(names[size]) > 1 else ""
            texts.append("\n".join(wrap(f"{names[size][0]}{more} ({human_bytes(size)})", 36)[:2]))
        ranks_axis(axes, [row.hosts for row in rows])
        axes.set_xlabel("hosts, one rank each")
        time_axis(axes, [time for row in rows for time in (row.low, row.high)])
        axes.set_ylabel("projected time of one all-reduce")
        figure.suptitle(PROJECTION, **MARK)
        beside = EndNames(axes, ends, texts, looks)
        settle(figure)
        beside.settle()
    some = f" {len(sizes)} of {len(names)} payloads." if len(sizes) < len(names) else ""
    return Figure(name, f"{PROJECTION}: {target.name}", f"{PROJECTION}: {target.name}, parameters {target.status}. Time of one all-reduce, best algorithm, a "
                  f"line per payload; shaded: band; hollow: host counts that are no power of two. {scale(target, form_scale)}{some}", figure, (), "projection")


def draw_knee(target: Target, rows: list[Knee], payloads: list[Payload], form_scale: int, name: str) -> Figure:
    """Time against payload with the knee marked; below, where the methods' payloads lie."""
    projected = rows[0].projected
    listed = spread_out(payloads, MOST_LISTED)
    chosen = spread_out(rows, MOST_HOSTS)
    knees = [row.balance for row in chosen if math.isfinite(row.balance)]
    low = min([4, *(payload.bytes for payload in payloads)]) if not knees else min([min(knees) / 100, *(payload.bytes for payload in payloads)])
    high = max([1 << 20, *(100 * knee for knee in knees), *(payload.bytes for payload in payloads)])
    sizes = np.geomspace(max(low / 2, 4), 2 * high, 120)
    looks = [look_of_number(number) for number in range(len(chosen))]
    with applied():
        height = 0.3 + 0.16 * max(len(listed), 1)
        figure, grid = new_figure(PAGE, 2.4 + height, 2, 1, sharex=True, gridspec_kw={"height_ratios": (2.2, height)})
        axes, strip = grid[:, 0]
        times = []
        for row, look in zip(chosen, looks):
            curve = [target.seconds(row.hosts, whole(each)) for each in sizes]
            times += curve
            axes.plot(sizes, curve, **look.line)
            if math.isfinite(row.balance):
                axes.plot(row.balance, target.seconds(row.hosts, whole(row.balance)), **look.point | {"markersize": 7})
                for panel in (axes, strip):
                    panel.axvline(row.balance, linewidth=0.8, alpha=0.7, **look.line)
        for index, payload in enumerate(listed):
            strip.plot(payload.bytes, index, "o", color=INK, markersize=3.5)
        strip.set_yticks(range(len(listed)), [f"{payload.label[:34]} ({human_bytes(payload.bytes)})" for payload in listed])
        strip.set_ylim(-0.8, max(len(listed), 1) - 0.2)
        strip.set_xlabel("payload (bytes)")
        time_axis(axes, times)
        log_axis(strip, "x", sizes, short_bytes, len(round_ticks(float(sizes[0]), float(sizes[-1]), 8)))
        axes.set_ylabel(("projected" if projected else "modelled") + " time of one all-reduce")
        legend(figure, [Line2D([], [], marker=look.marker, label=f"{row.hosts:,} hosts, knee "
                               f"{short_bytes(row.balance) if math.isfinite(row.balance) else 'none'}", **look.line) for row, look in zip(chosen, looks)],
               **{"title": PROJECTION, "title_fontproperties": {"size": MARK["fontsize"], "weight": MARK["fontweight"]}} if projected else {})
        settle(figure)
    kind = f"{PROJECTION}: knee" if projected else "Knee of the fitted model at measured host counts"
    return Figure(name, f"{kind}: {target.name}", f"{kind}, {target.name}, parameters {target.status}. Markers: latency and bandwidth cost the same. Left of a "
                  f"line latency is the larger part: fewer parameters hardly save time. {scale(target, form_scale)}", figure, (), "knee")


def draw_all(studies: Sequence[Study], rows: Sequence[Projection], knees: Sequence[Knee], payloads: list[Payload], form_scale: int) -> list[Figure]:
    figures = [draw_fit(study, f"fit-{number}") for number, study in enumerate(studies, 1) if study.models]
    for number, target in enumerate(dict.fromkeys(row.target for row in rows), 1):
        figures.append(draw_projection(target, [row for row in rows if row.target == target], form_scale, f"projection-{number}"))
    for number, key in enumerate(dict.fromkeys((knee.target, knee.projected) for knee in knees), 1):
        chosen = [knee for knee in knees if (knee.target, knee.projected) == key]
        figures.append(draw_knee(key[0], chosen, payloads, form_scale, f"knee-{'projection' if key[1] else 'measured'}-{number}"))
    return figures
