"""The verb `table`: of run files and archives as they lie there, or of a study by its index."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass

from ..common.fault import Fault
from ..common.output import emit, save, width_of_terminal
from ..load.chosen import name_places, read_chosen, rows_of
from ..load.mixture import find_mixtures, left_out_kinds
from ..load.runs import Collection
from ..load.series import read_predictions
from ..load.study import Study, describe
from ..load.summary import summarise
from ..load.trials import Curve, find_curves
from .beside import Beside, describe_beside, fields_of, put_beside, read_beside
from .build import MOST_READ, Group, entries_of, make_groups, make_table, missing_control
from .columns import sort_out, usual, with_difference
from .curves import curves_csv, curves_markdown, curves_text
from .entry import Entry
from .latex import as_latex
from .markdown import as_markdown
from .model import Table
from .notes import count_runs, describe_collection, explain
from .sheet import as_csv
from .text import as_text
from .trace import NAME as CELLS
from .trace import as_trace
from .wide import as_wide_csv, make_wide


@dataclass
class Made:
    """All that a call shows, in no form yet."""
    groups: list[Group]
    long: Table | None
    wide: Table | None
    curves: list[Curve]
    fields: dict[str, Callable[[Entry], str]]  # that the CSV file has beside its usual ones


def refuse_unlike(collection: Collection, study: Study | None) -> None:
    """--strict: says what makes the runs unlike. Raises Fault."""
    wrong = find_mixtures(collection) + left_out_kinds(collection)
    if study and not study.is_whole:
        wrong += [note.strip() for note in describe(study, summarise(collection.runs))]
    for line in wrong:
        print(f"analysis: {line}", file=sys.stderr)
    if wrong:
        raise Fault("no table of such runs (--strict)")


# ---- what goes into it ----

def named_columns(options: argparse.Namespace, study: Study | None) -> tuple[str, ...]:
    """Those of the command line, else those of the study file; none: the usual ones. A name that only a later version knows is told and left out."""
    if options.columns:
        return options.columns
    columns, unknown = sort_out(study.shown) if study else ((), [])
    if unknown:
        print(f"analysis: {study.index} asks for columns that are not known here: {', '.join(name[:40] for name in unknown)}", file=sys.stderr)
    return columns


def make(options: argparse.Namespace, collection: Collection, study: Study | None, beside: Beside | None) -> Made:
    """Raises Misuse."""
    named = named_columns(options, study)
    rows = rows_of(collection, study, "ranks" in named)
    if study:
        collection.notes += describe(study, rows)
    predictions = read_predictions if len(collection.runs) <= MOST_READ or "difference_examples" in named else None
    groups = make_groups(rows, options.control, options.target, predictions)
    columns = named or usual(entries_of(groups))
    if options.asks_control and not options.columns and any(entry.statistics and entry.statistics.difference for entry in entries_of(groups)):
        columns = with_difference(columns)
    below = describe_collection(collection)
    counted = count_runs(collection, len(rows))
    long = wide = None
    fields = {}
    if options.layout != "wide" or not rows:
        long = make_table(groups, columns)
        shown = [(group, put_beside(block, group, beside)) for block, group in zip(long.blocks, groups)] if beside else []
        fields = fields_of([source for _, sources in shown for source in sources], beside) if beside else {}
        if rows:
            long.explain = lambda shown: explain([name for name in columns if name in shown], groups, bool(options.target))
            long.about = long.explain(columns)
        long.counted, long.notes = counted, [*(describe_beside(shown, beside) if beside else []), *below]
    if rows and (options.layout == "wide" or options.layout == "both" and len(groups) > 1):
        wide = make_wide(groups, options.control)
        if long is None:
            wide.counted, wide.notes = counted, below
    return Made(groups, long, wide, find_curves(study) if study and options.curves else [], fields)


# ---- what comes out of it ----

def forms_of(table: Table, name: str, options: argparse.Namespace, sheet: Callable[[], str], more: str = "") -> dict[str, tuple[str, Callable[[], str]]]:
    """Its forms by format. more: Markdown below it."""
    traced = options.trace.name if options.trace else ""
    width = options.width or width_of_terminal()
    return {"text": ("", lambda: as_text(table, width)),
            "markdown": (f"{name}.md", lambda: as_markdown(table, traced) + (f"\n{more}" if more else "")),
            "csv": (f"{name}.csv", sheet),
            "latex": (f"{name}.tex", lambda: as_latex(table, traced, asked=bool(options.columns)))}


def output(options: argparse.Namespace, made: Made) -> None:
    """Raises Fault."""
    forms = [form for form in options.format if entries_of(made.groups) or form == "text"]  # an older table is worth more than an empty one
    curves = curves_markdown(made.curves) if made.curves else ""
    parts = []
    if made.long:
        parts.append(forms_of(made.long, "table", options, lambda: as_csv(made.groups, made.fields), curves))
    if made.wide:
        parts.append(forms_of(made.wide, "wide", options, lambda: as_wide_csv(made.wide), "" if made.long else curves))
    for number, files in enumerate(parts):
        if number and "text" in forms:
            print()
        emit(options.out_dir, forms, files)
    if made.curves:
        width = options.width or width_of_terminal()
        files = {"text": ("", lambda: "\n" + curves_text(made.curves, width)), "csv": ("curves.csv", lambda: curves_csv(made.curves))}
        emit(options.out_dir, [form for form in forms if form in files], files)  # table.md has them
    if options.trace and entries_of(made.groups):
        save(options.trace, as_trace([table for table in (made.long, made.wide) if table]))


def run_table(options: argparse.Namespace) -> int:
    beside = read_beside(options)
    collection, study = read_chosen(options)
    if options.strict:
        refuse_unlike(collection, study)
    if options.out_dir and not options.trace:
        options.trace = options.out_dir / CELLS
    made = make(options, collection, study, beside)
    if missing := missing_control(made.groups, options.control):
        raise Fault(missing)
    output(options, made)
    if not entries_of(made.groups):
        raise Fault(f"no finished run in {name_places(options)}")
    return 0
