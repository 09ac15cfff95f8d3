"""The verb `table`: of run files and archives as they lie there, or of a study by its index."""

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ..common.files import write_file
from ..common.text import NARROW, WIDTH
from ..load.collect import collect
from ..load.index import ARCHIVE_INDEX, INDEX, BadIndex
from ..load.mixture import find_mixtures
from ..load.runs import Collection
from ..load.study import Study, complete_rows, describe, read_study
from ..load.summary import Row, summarise
from .columns import USUAL, sort_out
from .curves import Curve, curves_csv, curves_markdown, curves_text, find_curves
from .render import as_csv, as_markdown, as_text

RESULTS = Path("results")


def width_of_terminal() -> int:
    return max(NARROW, min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns))


def note_studies(places: list[Path], collection: Collection) -> None:
    """Trials are runs like others to whoever looks at files alone."""
    for folder in places:
        found = sorted({path.parent for name in (INDEX, ARCHIVE_INDEX) for path in folder.rglob(name)}) if folder.is_dir() else []
        collection.notes += [f"{path} holds a study, whose trials are among the rows: see table --study {path}." for path in found]


def refuse_unlike(collection: Collection, study: Study | None) -> bool:
    """--strict: says what makes the runs unlike."""
    wrong = find_mixtures(collection)
    if study and not study.is_whole:
        wrong += [note.strip() for note in describe(study, summarise(collection.runs))]
    for line in wrong:
        print(f"analysis: {line}", file=sys.stderr)
    if wrong:
        print("analysis: no table of such runs (--strict)", file=sys.stderr)
    return bool(wrong)


def emit(options: argparse.Namespace, chosen: list[str], files: dict[str, tuple[str, Callable[[], str]]]) -> int:
    """Prints text; writes the others to --out-dir, or prints them where there is none. files: format to name and text."""
    for form in chosen:
        name, text = files[form]
        if not name or not options.out_dir:
            print(text(), end="")
            continue
        path = options.out_dir / name
        try:
            write_file(path, text())
        except OSError as error:
            print(f"analysis: {path} cannot be written: {error.strerror}", file=sys.stderr)
            return 1
        print(f"Written: {path}")
    return 0


def read(options: argparse.Namespace) -> tuple[Collection, Study | None]:
    """Raises OSError, BadIndex."""
    if options.study:
        study = read_study(options.study, options.stage, options.allow, options.use_cache)
        if study.index.name == ARCHIVE_INDEX:
            print(f"analysis: {options.study} has no {INDEX}: read from {ARCHIVE_INDEX}, which knows finished runs alone", file=sys.stderr)
        return study.collection, study
    collection = collect(options.places or [RESULTS], options.allow, options.use_cache)
    note_studies(options.places or [RESULTS], collection)
    return collection, None


def choose_columns(options: argparse.Namespace, study: Study | None) -> Sequence[str]:
    """Those of the command line, else those of the study file, else the usual ones. A name that only a later version knows is told and left out."""
    if options.columns:
        return options.columns
    columns, unknown = sort_out(study.shown) if study else (USUAL, [])
    if unknown:
        print(f"analysis: {study.index} asks for columns that are not known here: {', '.join(name[:40] for name in unknown)}", file=sys.stderr)
    return columns


def output(options: argparse.Namespace, rows: list[Row], collection: Collection, curves: list[Curve], columns: Sequence[str]) -> int:
    width = options.width or width_of_terminal()
    forms = [form for form in options.format if rows or form == "text"]  # an older table is worth more than an empty one
    code = emit(options, forms, {"text": ("", lambda: as_text(rows, collection, width, columns)),
                                 "markdown": ("table.md", lambda: as_markdown(rows, collection, columns) + (f"\n{curves_markdown(curves)}" if curves else "")),
                                 "csv": ("table.csv", lambda: as_csv(rows))})
    if code or not curves:
        return code
    forms = [form for form in options.format if form in ("text", "csv")]  # table.md has them
    return emit(options, forms, {"text": ("", lambda: "\n" + curves_text(curves, width)), "csv": ("curves.csv", lambda: curves_csv(curves))})


def run_table(options: argparse.Namespace) -> int:
    try:
        collection, study = read(options)
    except OSError as error:
        print(f"analysis: {error}", file=sys.stderr)
        return 2
    except BadIndex as reason:
        print(f"analysis: {reason}", file=sys.stderr)
        return 1
    if options.strict and refuse_unlike(collection, study):
        return 1
    columns = choose_columns(options, study)
    rows = summarise(collection.runs, ranks_in_column="ranks" in columns)
    curves = []
    if study:
        complete_rows(study, rows)
        collection.notes += describe(study, rows)
        curves = find_curves(study) if options.curves else []
    if code := output(options, rows, collection, curves, columns):
        return code
    if not rows:
        place = options.study or " ".join(map(str, options.places or [RESULTS]))
        print(f"analysis: no finished run in {place}", file=sys.stderr)
        return 1
    return 0
