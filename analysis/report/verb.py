"""The verb `report`: reads the runs, has them compared and drawn, and writes one HTML file."""

import argparse
import sys
from pathlib import Path

from ..common.files import write_file
from ..load.collect import collect
from ..load.hdf5 import Unusable
from ..load.index import BadIndex
from ..load.runs import Collection, Run
from ..load.series import Predictions, read_predictions
from ..load.study import Study, complete_rows, read_study
from ..load.summary import summarise
from ..tables.build import make_groups
from .document import Material, make_document
from .page import write_page
from .study_file import About, find_about


def read(options: argparse.Namespace) -> tuple[Collection, Study | None]:
    """Raises OSError, BadIndex."""
    if not options.study:
        return collect(options.places), None
    study = read_study(options.study, options.stage)
    return study.collection, study


def predictions_of(run: Run) -> Predictions | None:
    """None, too, where they cannot be read: what of a run is of no use is said of its file elsewhere."""
    try:
        return read_predictions(run)
    except Unusable as reason:
        print(f"analysis: {run.name}: {reason}; its predictions are left out", file=sys.stderr)
        return None


def about_of(study: Study | None, places: list[Path]) -> About:
    if study is None:
        return About(f"Runs in {', '.join(map(str, places[:3]))}" + (f" and {len(places) - 3} more places" if len(places) > 3 else ""))
    found = find_about(study.name)
    if found.problem:
        print(f"analysis: {found.problem}", file=sys.stderr)
    return About(study.title or found.title, study.question or found.question, found.folder)


def run_report(options: argparse.Namespace) -> int:
    try:
        collection, study = read(options)
    except OSError as error:
        print(f"analysis: {error}", file=sys.stderr)
        return 2
    except BadIndex as reason:
        print(f"analysis: {reason}", file=sys.stderr)
        return 1
    if not collection.runs:
        print(f"analysis: no finished run in {options.study or ' '.join(map(str, options.places))}; no report is written", file=sys.stderr)
        return 1
    rows = summarise(collection.runs, ranks_in_column=study is not None and "ranks" in study.shown)
    if study:
        complete_rows(study, rows)
    groups = make_groups(rows, options.control, predictions=predictions_of)
    material = Material(about_of(study, options.places), options.stage, options.study or Path(), study, collection, rows, groups)
    try:
        write_file(options.out, write_page(make_document(material)))
    except OSError as error:
        print(f"analysis: {options.out} cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    print(f"Written: {options.out}")
    return 0
