"""The verb `report`: reads the runs, has them compared and drawn, and writes one HTML file."""

import argparse
import sys
from pathlib import Path

from ..comm.networks import BadNetwork
from ..comm.verb import Failed
from ..common.files import write_file
from ..load.hdf5 import Unusable
from ..load.index import BadIndex
from ..load.runs import Collection
from ..load.study import Study, complete_rows
from ..load.summary import Row, summarise
from ..plots import make_figures
from ..plots.make import make_model_figures
from ..published.read import BadPublished
from ..tables.beside import Beside
from ..tables.build import Group, make_groups, missing_control
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


def compare(options: argparse.Namespace, collection: Collection, study: Study | None, ranks_in_column: bool) -> tuple[list[Row], list[Group]]:
    rows = summarise(collection.runs, ranks_in_column)
    if study:
        complete_rows(study, rows)
    predictions = test_predictions if len(collection.runs) <= MOST_READ else None
    return rows, make_groups(rows, options.control, options.target, predictions)


def gather(options: argparse.Namespace, collection: Collection, study: Study | None, beside: Beside | None) -> Material:
    """Raises OSError, ValueError, Unusable, BadNetwork, Failed."""
    in_column = study is not None and "ranks" in study.shown
    rows, groups = compare(options, collection, study, in_column)
    drawn = compare(options, collection, study, False) if in_column else (rows, groups)  # figures are of one number of ranks, or of all
    figures = make_figures(study or collection, drawn[0], [comparison for group in drawn[1] for comparison in group.comparisons], options.target)
    if options.comm:
        figures += make_model_figures(options.comm)
    return Material(about_of(study, options.places), options.stage, options.study or Path(), study, collection, rows, groups, options.control, beside, figures)


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
    try:
        material = gather(options, collection, study, beside)
    except ValueError as error:  # a target that no run could reach
        print(f"analysis: {error}", file=sys.stderr)
        return 2
    except (Unusable, BadNetwork, Failed) as reason:  # files of --comm
        print(f"analysis: {reason}", file=sys.stderr)
        return 1
    if missing := missing_control(material.groups, options.control):
        print(f"analysis: {missing}", file=sys.stderr)
    try:
        write_file(options.out, write_page(make_document(material)))
    except OSError as error:
        print(f"analysis: {options.out} cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    print(f"Written: {options.out}")
    return 0
