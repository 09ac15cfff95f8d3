"""The verb `stats`: all comparisons of a study."""

from __future__ import annotations

import argparse

from ..common.fault import Fault
from ..common.output import emit, width_of_terminal
from ..common.units import LOWER_IS_BETTER, PERCENT
from ..load.chosen import name_places, read_chosen_study, rows_of
from ..load.left_out import left_out_lines
from ..load.series import read_predictions
from ..load.study import describe
from ..load.summary import Row, Section
from ..load.titles import by_section, setting_of, title
from .averages import Average, compare_averages
from .comparison import Comparison, compare
from .design import MOST_SEEDS, USUAL_POWER, seeds_needed
from .examples import Reader, remember
from .notes import with_unit
from .render import Line, Sheet, as_csv, as_json, as_markdown, as_text


def sheet_of(section: Section, found: Comparison) -> Sheet:
    lines = [Line(each.row.label, (each.row,), each.row.mean["test"], each.score, each.difference, each.letters) for each in found.rows]
    return Sheet(title(section), section.metric, [section], found.control.label if found.control else "", lines, found.notes, found.level, found.family,
                 found.pooled, found.smallest)


def average_sheet(sections: list[Section], found: Average) -> Sheet:
    """Scores of several metrics are shown in percent, as papers do, 0.3 of a correlation as 30."""
    metrics = sorted({section.metric for section in sections})
    unit = ", all x 100" if len(metrics) > 1 else " in %" if metrics[0] in PERCENT else ""
    tasks, setting = ", ".join(section.task for section in sections), ", ".join(setting_of(sections[0]))
    name = f"Mean over {len(sections)} tasks ({tasks}), {setting}: {', '.join(metrics)}{unit}"
    lines = [Line(each.label, each.rows, each.mean, each.score, each.difference, each.letters) for each in found.rows]
    return Sheet(name, found.metric, sections, found.control or "", lines, found.notes, found.level, found.family, found.pooled, found.smallest)


def average_sheets(sections: dict[Section, list[Row]], control: str, predictions: Reader, level: float) -> list[Sheet]:
    """One per model, ranks and threads where there are several tasks, with the rows that all of them have."""
    settings: dict[tuple, list[Section]] = {}
    for section in sections:
        settings.setdefault((section.model, section.ranks, section.threads, section.metric in LOWER_IS_BETTER), []).append(section)
    found = [(members, compare_averages([sections[section] for section in members], control, predictions, level))
             for members in settings.values() if len(members) > 1]
    return [average_sheet(members, average) for members, average in found if len(average.rows) > 1]


def add_seeds_needed(sheet: Sheet, difference: float) -> None:
    """difference: in hundredths of a score."""
    if not (sheet.family and sheet.pooled > 0):
        return
    true = difference / 100
    count = seeds_needed(true, sheet.pooled, (1 - sheet.level) / sheet.family)
    sheet.more.append(f"A true difference of {with_unit(true, sheet.metric)} would take {count or f'more than {MOST_SEEDS:,}'} seeds to be separated with "
                      f"{100 * USUAL_POWER:g} % power in the first step, if {with_unit(sheet.pooled, sheet.metric)} is its true spread.")


def run_stats(options: argparse.Namespace) -> int:
    study = read_chosen_study(options)
    rows = rows_of(study.collection, study)
    if not rows:
        raise Fault(f"no finished run in {name_places(options)}; `peftscale sweep status` tells why")
    sections = by_section(rows)
    level, predictions = options.level / 100, remember(read_predictions)
    sheets = [sheet_of(section, compare(members, options.control, predictions, level)) for section, members in sections.items()]
    if not any(sheet.control for sheet in sheets):
        known = ", ".join(dict.fromkeys(row.label for row in rows))
        reason = next((note for sheet in sheets for note in sheet.notes if note.startswith("No control")), "No control.")
        raise Fault(f"{options.study}: {reason} Rows: {known}; name one with --control")
    sheets += average_sheets(sections, options.control, predictions, level)
    for sheet in sheets if options.difference else []:
        add_seeds_needed(sheet, options.difference)
    below = [*describe(study, rows), *left_out_lines(study.collection.left_out)]
    width = options.width or width_of_terminal()
    emit(options.out_dir, options.format, {
        "text": ("", lambda: as_text(sheets, below, width)), "markdown": ("stats.md", lambda: as_markdown(sheets, below)),
        "csv": ("stats.csv", lambda: as_csv(sheets)), "json": ("stats.json", lambda: as_json(sheets, below))})
    return 0
