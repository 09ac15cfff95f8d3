"""The verb `stats`: all comparisons of a study."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable

from ..common.files import write_file
from ..common.text import NARROW, WIDTH
from ..common.units import PERCENT
from ..load.index import BadIndex
from ..load.series import read_predictions
from ..load.study import complete_rows, describe, read_study
from ..load.summary import Row, Section, summarise
from .averages import Average, compare_averages
from .comparison import Comparison, compare
from .design import MOST_SEEDS, USUAL_POWER, seeds_needed
from .examples import Reader, remember
from .metrics import LOWER_IS_BETTER
from .notes import with_unit
from .render import Line, Sheet, as_csv, as_json, as_markdown, as_text, place, title_of


def sheet_of(section: Section, found: Comparison) -> Sheet:
    lines = [Line(each.row.label, (each.row,), each.row.mean["test"], each.score, each.difference, each.letters) for each in found.rows]
    return Sheet(title_of(section), section.metric, [section], found.control.label if found.control else "", lines, found.notes, found.level, found.family,
                 found.pooled, found.smallest)


def average_sheet(sections: list[Section], found: Average) -> Sheet:
    """Scores of several metrics are shown in percent, as papers do, 0.3 of a correlation as 30."""
    metrics = {section.metric for section in sections}
    title = f"Mean over {len(sections)} tasks ({', '.join(section.task for section in sections)}), {place(sections[0])}: " + (
        f"{metrics.pop()}{' in %' if metrics <= PERCENT else ''}" if len(metrics) == 1 else f"{', '.join(sorted(metrics))}, all x 100")
    lines = [Line(each.label, each.rows, each.mean, each.score, each.difference, each.letters) for each in found.rows]
    return Sheet(title, found.metric, sections, found.control or "", lines, found.notes, found.level, found.family, found.pooled, found.smallest)


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


def emit(options: argparse.Namespace, forms: dict[str, tuple[str, Callable[[], str]]]) -> int:
    for form in options.format:
        name, text = forms[form]
        if not name or not options.out_dir:
            print(text(), end="")
            continue
        path = options.out_dir / name
        try:
            write_file(path, text())
        except OSError as error:
            print(f"analysis: {path} cannot be written: {error.strerror}; name another --out-dir", file=sys.stderr)
            return 1
        print(f"Written: {path}")
    return 0


def run_stats(options: argparse.Namespace) -> int:
    try:
        study = read_study(options.study, options.stage)
    except OSError as error:
        print(f"analysis: {error}", file=sys.stderr)
        return 2
    except BadIndex as reason:
        print(f"analysis: {reason}", file=sys.stderr)
        return 1
    rows = summarise(study.collection.runs)
    complete_rows(study, rows)
    if not rows:
        print(f"analysis: no finished run in {options.study}; `peftscale sweep status` tells why", file=sys.stderr)
        return 1
    sections: dict[Section, list[Row]] = {}
    for row in rows:
        sections.setdefault(row.section, []).append(row)
    level, predictions = options.level / 100, remember(read_predictions)
    sheets = [sheet_of(section, compare(members, options.control, predictions, level)) for section, members in sections.items()]
    if not any(sheet.control for sheet in sheets):
        known = ", ".join(dict.fromkeys(row.label for row in rows))
        reason = next((note for sheet in sheets for note in sheet.notes if note.startswith("No control")), "No control.")
        print(f"analysis: {options.study}: {reason} Rows: {known}; name one with --control", file=sys.stderr)
        return 1
    sheets += average_sheets(sections, options.control, predictions, level)
    for sheet in sheets if options.difference else []:
        add_seeds_needed(sheet, options.difference)
    below = [note.strip() for note in describe(study, rows)] + [f"Left out: {path}: {reason}" for path, reason in study.collection.left_out]
    width = options.width or max(NARROW, min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns))
    return emit(options, {"text": ("", lambda: as_text(sheets, below, width)), "markdown": ("stats.md", lambda: as_markdown(sheets, below)),
                          "csv": ("stats.csv", lambda: as_csv(sheets)), "json": ("stats.json", lambda: as_json(sheets, below))})
