"""The verb `report`: reads the runs, has them compared and drawn, and writes one HTML file."""

import argparse
import sys
from pathlib import Path

from ..common.files import write_file
from ..load.index import BadIndex
from ..load.study import Study, complete_rows
from ..load.summary import summarise
from ..plots import make_figures
from ..published.read import BadPublished
from ..tables.build import make_groups
from ..tables.verb import MOST_READ, read, read_beside, test_predictions
from .document import Material, make_document
from .page import write_page
from .study_file import About, find_about


def about_of(study: Study | None, places: list[Path]) -> About:
    if study is None:
        return About(f"Runs in {', '.join(map(str, places[:3]))}" + (f" and {len(places) - 3} more places" if len(places) > 3 else ""))
    found = find_about(study.name)
    if found.problem:
        print(f"analysis: {found.problem}", file=sys.stderr)
    return About(study.title or found.title, study.question or found.question, found.folder)


def run_report(options: argparse.Namespace) -> int:
    try:
        beside = read_beside(options)
        collection, study = read(options)
    except OSError as error:
        print(f"analysis: {error}", file=sys.stderr)
        return 2
    except (BadIndex, BadPublished) as reason:
        print(f"analysis: {reason}", file=sys.stderr)
        return 1
    if not collection.runs:
        print(f"analysis: no finished run in {options.study or ' '.join(map(str, options.places))}; no report is written", file=sys.stderr)
        return 1
    rows = summarise(collection.runs, ranks_in_column=study is not None and "ranks" in study.shown)
    if study:
        complete_rows(study, rows)
    predictions = test_predictions if len(collection.runs) <= MOST_READ else None
    groups = make_groups(rows, options.control, options.target, predictions)
    figures = make_figures(study or collection, rows, [comparison for group in groups for comparison in group.comparisons])
    material = Material(about_of(study, options.places), options.stage, options.study or Path(), study, collection, rows, groups, options.control, beside,
                        figures)
    try:
        write_file(options.out, write_page(make_document(material)))
    except OSError as error:
        print(f"analysis: {options.out} cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    print(f"Written: {options.out}")
    return 0
