"""The verb `report`: reads the runs, has them compared and drawn, and writes one HTML file."""

import argparse
import sys
from pathlib import Path

from ..comm.figures import make_model_figures
from ..common.fault import Fault
from ..common.output import save
from ..common.words import some
from ..load.chosen import name_places, read_chosen, rows_of
from ..load.runs import Collection
from ..load.series import read_predictions
from ..load.study import Study
from ..load.summary import Row
from ..plots import make_figures
from ..tables.beside import Beside, read_beside
from ..tables.build import MOST_READ, Group, make_groups, missing_control
from .document import Material, make_document
from .page import write_page
from .study_file import About, find_about

MOST_PLACES = 3  # that a title names


def about_of(study: Study | None, places: list[Path]) -> About:
    if study is None:
        return About(f"Runs in {some(places, MOST_PLACES)}")
    found = find_about(study.name)
    if found.problem:
        print(f"analysis: {found.problem}", file=sys.stderr)
    return About(study.title or found.title, study.question or found.question, found.folder)


def compare(options: argparse.Namespace, collection: Collection, study: Study | None, ranks_in_column: bool) -> tuple[list[Row], list[Group]]:
    rows = rows_of(collection, study, ranks_in_column)
    predictions = read_predictions if len(collection.runs) <= MOST_READ else None
    return rows, make_groups(rows, options.control, options.target, predictions)


def gather(options: argparse.Namespace, collection: Collection, study: Study | None, beside: Beside | None) -> Material:
    """Raises Fault."""
    in_column = study is not None and "ranks" in study.shown
    rows, groups = compare(options, collection, study, in_column)
    drawn = compare(options, collection, study, False) if in_column else (rows, groups)  # figures are of one number of ranks, or of all
    figures = make_figures(study or collection, drawn[0], [comparison for group in drawn[1] for comparison in group.comparisons], options.target)
    if options.comm:
        figures += make_model_figures(options.comm)
    return Material(about_of(study, options.places), options.stage, options.study or Path(), study, collection, rows, groups, options.control, beside, figures)


def run_report(options: argparse.Namespace) -> int:
    beside = read_beside(options)
    collection, study = read_chosen(options)
    if not collection.runs:
        raise Fault(f"no finished run in {name_places(options)}; no report is written")
    material = gather(options, collection, study, beside)
    if missing := missing_control(material.groups, options.control):
        raise Fault(missing)
    save(options.out, write_page(make_document(material)))
    return 0
