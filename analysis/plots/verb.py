"""The verb `plot`: figures of a study or of run files, each in every format, and their captions."""

import argparse
import sys
from collections.abc import Sequence

from ..comm.networks import BadNetwork
from ..comm.verb import Failed
from ..common.files import write_bytes, write_file
from ..common.text import wrap
from ..load.hdf5 import Unusable
from ..load.index import BadIndex
from ..load.study import complete_rows, describe
from ..load.summary import summarise
from ..tables.build import make_groups, missing_control
from ..tables.notes import describe_collection
from ..tables.verb import read, test_predictions
from .figure import Figure, Figures, save
from .make import make_figures, make_model_figures
from .options import OF_MODEL

CAPTIONS = "captions.md"
SHORT_ID = 8


class BadTarget(Exception):
    """No run could reach it."""


def captions(figures: Sequence[Figure], forms: Sequence[str], notes: Sequence[str]) -> str:
    lines = []
    for figure in figures:
        names = ", ".join(f"[{figure.name}.{form}]({figure.name}.{form})" for form in forms)
        runs = f"Runs: {' '.join(run_id[:SHORT_ID] for run_id in figure.run_ids)}." if figure.run_ids else ""
        lines += [f"## {figure.title}", "", names, "", figure.caption, "", *([runs, ""] if runs else [])]
    return "\n".join([*lines, *(["## Of the runs", "", *(f"- {note.strip()}" for note in notes), ""] if notes else [])])


def draw(options: argparse.Namespace) -> tuple[Figures, list[str]]:
    """The figures, and what is to be said of the runs. Raises OSError, BadIndex, BadTarget, Unusable, BadNetwork, Failed."""
    figures, notes = Figures(), []
    of_runs = not options.only or any(kind not in OF_MODEL for kind in options.only)
    if of_runs and (options.study or options.places):
        collection, study = read(options)
        rows = summarise(collection.runs)
        if study:
            complete_rows(study, rows)
            collection.notes += describe(study, rows)
        try:
            groups = make_groups(rows, options.control, options.target, test_predictions)
        except ValueError as reason:
            raise BadTarget(str(reason)) from None
        if missing := missing_control(groups, options.control):
            print(f"analysis: {missing}", file=sys.stderr)
        figures = make_figures(study or collection, rows, [comparison for group in groups for comparison in group.comparisons], options.target, options.only)
        notes = describe_collection(collection)
        if not rows:
            figures.left_out.insert(0, f"no finished run in {options.study or ' '.join(map(str, options.places))}")
    if options.comm:
        figures += make_model_figures(options.comm, options.only)
    return figures, notes


def write(options: argparse.Namespace, figures: Figures, notes: Sequence[str]) -> None:
    """Raises OSError."""
    for figure in figures:
        for form, content in save(figure, options.format).items():
            write_bytes(options.out_dir / f"{figure.name}.{form}", content)
        print(f"{figure.name}: {figure.title}")
    if figures:
        write_file(options.out_dir / CAPTIONS, captions(figures, options.format, notes))
        print(f"Written to {options.out_dir}: {len(figures)} figure{'' if len(figures) == 1 else 's'} as {', '.join(options.format)}, {CAPTIONS}")


def run_plot(options: argparse.Namespace) -> int:
    try:
        figures, notes = draw(options)
    except (BadIndex, Unusable, BadNetwork, Failed) as reason:
        print(f"analysis: {reason}", file=sys.stderr)
        return 1
    except (OSError, BadTarget) as error:  # a place that is not there
        print(f"analysis: {error}", file=sys.stderr)
        return 2
    try:
        write(options, figures, notes)
    except BrokenPipeError:
        raise  # the reader of our text has gone: no failure of ours
    except OSError as error:
        print(f"analysis: {error.filename or options.out_dir} cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    for line in [*(f"Not drawn: {line}" for line in figures.left_out), *notes]:
        print("\n".join(wrap(line)))
    if not figures:
        print("analysis: nothing to draw", file=sys.stderr)
        return 1
    return 0
