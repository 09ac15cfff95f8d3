"""How much a score depends on the tuned value: every trial of a study by its learning rate, a panel per method; chosen ones and failed ones marked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from ..load.study import Study
from ..load.trials import Curve, Trial, as_number, describe_choices, find_curves
from .axes import legend, linear_axis, log_axis, new_figure, score_factor, score_words, settle, short_rate
from .courses import ACROSS, MOST, PANEL_LETTERS
from .figure import Figure, word
from .style import COLUMN, FAINT, INK, PAGE, SMALL, Look, Looks, applied
from .words import sentences, wrapped

USUAL_KEY = "train.lr"
BOTTOM = 0.045  # of a panel's height: where trials without a score stand


@dataclass(frozen=True)
class Panel:
    curve: Curve
    key: str  # of its trials' tuned setting
    look: Look

    @property
    def points(self) -> list[Trial]:
        """Whose value can stand on a logarithmic axis."""
        return [trial for trial in self.curve.trials if trial.key == self.key and 0 < as_number(trial.value) < math.inf]

    @property
    def scored(self) -> list[Trial]:
        return [trial for trial in self.points if trial.has_score]

    @property
    def name(self) -> str:
        return self.curve.method + ("" if self.key == USUAL_KEY else f" ({self.key.rpartition('.')[2]})")


def panels_of(curves: Sequence[Curve], looks: Looks) -> list[Panel]:
    found = [Panel(curve, key, looks.methods[curve.method]) for curve in curves for key in dict.fromkeys(trial.key for trial in curve.trials)]
    return [panel for panel in found if panel.points]


def tables_of(study: Study) -> dict[tuple[str, str, str], list[Curve]]:
    """By stage, task and ranks; whatever is tuned."""
    tables: dict[tuple[str, str, str], list[Curve]] = {}
    for curve in find_curves(study):
        tables.setdefault((curve.stage, curve.task, curve.ranks), []).append(curve)
    return tables


def mean_line(panel: Panel) -> tuple[list[float], list[float]]:
    """Through the means of trials with one value (several seeds)."""
    scores: dict[float, list[float]] = {}
    for trial in panel.scored:
        scores.setdefault(as_number(trial.value), []).append(trial.line.validation)
    xs = sorted(scores)
    return xs, [sum(scores[x]) / len(scores[x]) for x in xs]


def draw_panel(axes: Axes, panel: Panel, factor: float) -> None:
    xs, ys = mean_line(panel)
    axes.plot(xs, [factor * y for y in ys], color=panel.look.colour, zorder=2, label="mean")
    for trial in panel.points:
        x = as_number(trial.value)
        if trial.has_score:
            axes.plot([x], [factor * trial.line.validation], linestyle="", zorder=3, **panel.look.point)
            if trial.is_chosen:
                axes.plot([x], [factor * trial.line.validation], linestyle="", marker="o", markersize=9, markerfacecolor="none", markeredgecolor=INK,
                          markeredgewidth=0.9, zorder=4)
        else:
            diverged = trial.result == "diverged"
            axes.plot([x], [BOTTOM], linestyle="", marker="x" if diverged else "|", markersize=5, markeredgewidth=1.2, color=INK if diverged else FAINT,
                      transform=axes.get_xaxis_transform(), zorder=4)
    axes.set_title(wrapped(panel.name, PANEL_LETTERS), fontsize=SMALL, loc="left")


def handles_of(panels: Sequence[Panel]) -> list[Line2D]:
    trials = [trial for panel in panels for trial in panel.points]
    handles = []
    if any(trial.is_chosen and trial.has_score for trial in trials):
        handles.append(Line2D([], [], linestyle="", marker="o", markersize=8, markerfacecolor="none", color=INK, label="chosen"))
    if any(trial.result == "diverged" for trial in trials):
        handles.append(Line2D([], [], linestyle="", marker="x", markersize=5, color=INK, label="diverged"))
    if any(not trial.has_score and trial.result != "diverged" for trial in trials):
        handles.append(Line2D([], [], linestyle="", marker="|", markersize=5, color=FAINT, label="no score (failed, not run)"))
    return handles


def draw_panels(panels: Sequence[Panel], metric: str) -> Canvas:
    factor = score_factor(metric)
    columns = min(ACROSS, len(panels))
    rows = -(-len(panels) // columns)
    size = (COLUMN, 2.2) if len(panels) == 1 else (COLUMN if len(panels) == 2 else PAGE, 0.45 + 1.2 * rows)
    figure, grid = new_figure(*size, rows, columns, sharex=True, sharey=True)
    values = [as_number(trial.value) for panel in panels for trial in panel.points]
    scores = [factor * trial.line.validation for panel in panels for trial in panel.scored]
    for index, axes in enumerate(grid.flat):
        if index >= len(panels):
            axes.set_visible(False)
            continue
        draw_panel(axes, panels[index], factor)
        log_axis(axes, "x", values, short_rate, 4 if len(panels) > 2 else 5)
        low, high = min(scores), max(scores)
        pad = 0.08 * (high - low) or 0.05 * max(abs(high), 0.1)
        failed = any(not trial.has_score for panel in panels for trial in panel.points)
        axes.set_ylim(low - (0.16 * (high - low) or pad if failed else 0) - pad, high + pad)
        linear_axis(axes, "y", 5)
        axes.tick_params(labelbottom=index + columns >= len(panels), labelleft=index % columns == 0)
    keys = dict.fromkeys(panel.key for panel in panels)
    figure.supxlabel("learning rate" if all(key.startswith("train.lr") for key in keys) else ", ".join(keys), fontsize=8)
    figure.supylabel(score_words(metric, "validation"), fontsize=8)
    if handles := handles_of(panels):
        legend(figure, handles)
    settle(figure)
    return figure


def caption_of(study: Study, place: str, panels: Sequence[Panel], shown: Sequence[Panel]) -> str:
    trials = [trial for panel in shown for trial in panel.points]
    keys = dict.fromkeys(panel.key for panel in shown)
    diverged = sum(trial.result == "diverged" for trial in trials)
    other = sum(not trial.has_score for trial in trials) - diverged
    several = any(len(mean_line(panel)[0]) < len(panel.scored) for panel in shown)
    return sentences(
        f"All trials of {', '.join(keys)} of study {study.name}{', ' if place else ''}{place}: score on validation.",
        "Lines: means of trials with one value." if several else "",
        "Rings: chosen for the runs." if any(trial.is_chosen for trial in trials) else "",
        *describe_choices([panel.curve for panel in shown]),
        f"At the bottom: {diverged} diverged." if diverged else "",
        f"At the bottom, grey: {other} without a score." if other else "",
        f"The first {len(shown)} of {len(panels)} panels." if len(shown) < len(panels) else "")


def draw_rates(study: Study, looks: Looks) -> list[Figure] | str:
    """A figure per stage, task and number of ranks."""
    tables = tables_of(study)
    if not tables:
        return "no trials"
    figures = []
    for (stage, task, ranks), curves in tables.items():
        panels = panels_of(curves, looks)
        shown = panels[:MOST]
        metric = next((curve.metric for curve in curves if curve.metric), "")
        if not any(panel.scored for panel in shown):
            continue
        place = curves[0].place
        tag = word("-".join(part for number, part in enumerate((stage, task, f"{ranks}-ranks")) if len({key[number] for key in tables}) > 1))
        with applied():
            canvas = draw_panels(shown, metric)
        ids = dict.fromkeys(trial.line.cells["run_id"] or trial.line.request_id for panel in shown for trial in panel.points)
        figures.append(Figure("-".join(filter(None, ["rates", tag])), f"Trials of the learning rate: {place}", caption_of(study, place, panels, shown),
                              canvas, tuple(filter(None, ids)), "rates"))
    return figures or "no trial has a score"
