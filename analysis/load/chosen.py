"""The runs that a command line chooses (arguments.py)."""

import argparse
import sys
from pathlib import Path

from ..common.fault import Misuse
from .collect import collect
from .index import ARCHIVE_INDEX, INDEX
from .runs import Collection
from .study import Study, complete_rows, read_study
from .summary import Row, summarise
from .targets import check_targets

RESULTS = Path("results")  # read where nothing is named


def name_places(options: argparse.Namespace) -> str:
    return str(options.study) if options.study else " ".join(map(str, options.places or [RESULTS]))


def note_studies(places: list[Path], collection: Collection) -> None:
    """Trials are runs like others to whoever looks at files alone."""
    for folder in places:
        found = sorted({path.parent for name in (INDEX, ARCHIVE_INDEX) for path in folder.rglob(name)}) if folder.is_dir() else []
        collection.notes += [f"{path} holds a study, whose trials are among the rows: see table --study {path}." for path in found]


def read_chosen_study(options: argparse.Namespace) -> Study:
    """Raises BadIndex, Misuse."""
    try:
        study = read_study(options.study, options.stage, options.allow, options.use_cache)
    except OSError as error:
        raise Misuse(str(error)) from None
    if study.index.name == ARCHIVE_INDEX:
        print(f"analysis: {options.study} has no {INDEX}: read from {ARCHIVE_INDEX}, which knows finished runs alone", file=sys.stderr)
    return study


def read_chosen(options: argparse.Namespace) -> tuple[Collection, Study | None]:
    """Raises BadIndex, Misuse; this, too, for a --target of a task that none of them has."""
    collection, study = read_places(options)
    planned = [line.cells["task"] for line in study.runs] if study else []
    check_targets(vars(options).get("target"), [*(run.task for run in collection.runs), *filter(None, planned)])
    return collection, study


def read_places(options: argparse.Namespace) -> tuple[Collection, Study | None]:
    if options.study:
        study = read_chosen_study(options)
        return study.collection, study
    places = options.places or [RESULTS]
    try:
        collection = collect(places, options.allow, options.use_cache)
    except OSError as error:
        raise Misuse(str(error)) from None
    note_studies(places, collection)
    return collection, None


def rows_of(collection: Collection, study: Study | None, ranks_in_column: bool = False) -> list[Row]:
    """As summarise() makes them; of a study with what its index tells of them."""
    rows = summarise(collection.runs, ranks_in_column)
    if study:
        complete_rows(study, rows)
    return rows
