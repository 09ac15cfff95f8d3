"""The chapter on the trials that tuned values were chosen by: every one of them, those without a score, too."""

import math
from collections.abc import Sequence

from ..common.units import PERCENT
from ..load.study import Study
from ..load.trials import STALE, Curve, Trial, find_curves
from ..tables.curves import CHOSEN, by_section, notes, title
from .blocks import Block, Bullets, Cell, Chapter, Fold, Head, Paragraph, Table
from .places import Places


def value_of(trial: Trial) -> float | None:
    if not trial.has_score or not math.isfinite(score := trial.line.validation):
        return None
    return 100 * score if trial.line.cells["metric"] in PERCENT else score


def overview(curves: Sequence[Curve], places: Places) -> Table:
    """A line per method, its trials from the lowest to the highest value."""
    most = max(len(curve.trials) for curve in curves)
    heads = [Head("method"), *(Head(f"value {number}", title="tried, and its score or why it has none") for number in range(1, most + 1))]
    rows = []
    for curve in curves:
        cells = [Cell(f"{trial.value}: {trial.result}{f' {CHOSEN}' if trial.is_chosen else ''}", title=trial.line.cells["reason"]) for trial in curve.trials]
        rows.append([Cell(curve.method), *cells, *[Cell("")] * (most - len(cells))])
    return Table(places.new("trials", curves[0].stage, curves[0].task), title(list(curves)), heads, rows, notes=notes(list(curves)), sortable=False)


def all_trials(curves: Sequence[Curve], places: Places) -> Table:
    heads = [Head("method"), Head("setting"), Head("value", True), Head("seed", True), Head("validation", True), Head("chosen"), Head("state"), Head("reason"),
             Head("run"), Head("file")]
    rows = []
    for curve in curves:
        for trial in curve.trials:
            cells = trial.line.cells
            try:
                value: float | None = float(trial.value)
            except ValueError:
                value = None
            rows.append([Cell(curve.method), Cell(trial.key), Cell(trial.value, value), Cell(cells["seed"], int(cells["seed"] or 0)),
                         Cell(trial.result, value_of(trial)), Cell("yes" if trial.is_chosen else ""), Cell(cells["state"]), Cell(cells["reason"]),
                         Cell(cells["run_id"][:8], title=cells["run_id"]), Cell(cells["file"])])
    return Table(places.new("all trials", curves[0].stage, curves[0].task), title(list(curves)), heads, rows)


def make_chapter(study: Study, places: Places) -> Chapter | None:
    """None: the study tuned nothing."""
    if not (curves := find_curves(study)):
        return None
    blocks: list[Block] = [Paragraph("Each choice was made on the validation split alone, before the runs of the tables were begun; trials read no test split "
                                     f"and enter no mean. {CHOSEN} marks what was chosen, {STALE} what another version of the program made.")]
    sections = list(by_section(curves).values())
    begun = [members for members in sections if any(trial.has_score for curve in members for trial in curve.trials)]
    blocks += [overview(members, places) for members in begun]
    if waiting := [members[0] for members in sections if members not in begun]:
        blocks += [Paragraph("Without a score so far are all trials of"), Bullets([f"{curve.section[-1]} on {curve.place}" for curve in waiting])]
    blocks.append(Fold("All trials, one by one", [all_trials(members, places) for members in sections]))
    return Chapter("Trials of tuned values", places.new("trials"), blocks)
