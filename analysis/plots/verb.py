"""The verb `plot`: figures of a study or of run files, each in every format, and their captions."""

import argparse
from collections.abc import Sequence

from ..comm.figures import make_model_figures
from ..common.fault import Fault, writing
from ..common.files import write_bytes, write_file
from ..common.output import width_of_terminal
from ..common.text import wrap
from ..common.words import count
from ..load.chosen import name_places, read_chosen, rows_of
from ..load.series import read_predictions
from ..load.study import describe
from ..tables.build import make_groups, missing_control
from ..tables.notes import describe_collection
from .figure import Figure, Figures, save
from .make import make_figures
from .options import OF_MODEL

CAPTIONS = "captions.md"
SHORT_ID = 8


def captions(figures: Sequence[Figure], forms: Sequence[str], notes: Sequence[str]) -> str:
    lines = []
    for figure in figures:
        names = ", ".join(f"[{figure.name}.{form}]({figure.name}.{form})" for form in forms)
        runs = f"Runs: {' '.join(run_id[:SHORT_ID] for run_id in figure.run_ids)}." if figure.run_ids else ""
        lines += [f"## {figure.title}", "", names, "", figure.caption, "", *([runs, ""] if runs else [])]
    return "\n".join([*lines, *(["## Of the runs", "", *(f"- {note.strip()}" for note in notes), ""] if notes else [])])


def draw(options: argparse.Namespace) -> tuple[Figures, list[str]]:
    """The figures, and what is to be said of the runs. Raises Fault."""
    figures, notes = Figures(), []
    of_runs = not options.only or any(kind not in OF_MODEL for kind in options.only)
    if of_runs and (options.study or options.places):
        collection, study = read_chosen(options)
        rows = rows_of(collection, study)
        if study:
            collection.notes += describe(study, rows)
        groups = make_groups(rows, options.control, options.target, read_predictions)
        if missing := missing_control(groups, options.control):
            raise Fault(missing)
        figures = make_figures(study or collection, rows, [comparison for group in groups for comparison in group.comparisons], options.target, options.only)
        notes = describe_collection(collection)
        if not rows:
            figures.left_out.insert(0, f"no finished run in {name_places(options)}")
    if options.comm:
        figures += make_model_figures(options.comm, options.only)
    return figures, notes


def tell(line: str, width: int) -> None:
    print("\n".join(wrap(line, width)))


def write(options: argparse.Namespace, figures: Figures, notes: Sequence[str], width: int) -> None:
    """Raises OSError."""
    for figure in figures:
        for form, content in save(figure, options.format).items():
            write_bytes(options.out_dir / f"{figure.name}.{form}", content)
        tell(f"{figure.name}: {figure.title}", width)
    if figures:
        write_file(options.out_dir / CAPTIONS, captions(figures, options.format, notes))
        tell(f"Written to {options.out_dir}: {count(len(figures), 'figure')} as {', '.join(options.format)}, {CAPTIONS}", width)


def run_plot(options: argparse.Namespace) -> int:
    figures, notes = draw(options)
    width = options.width or width_of_terminal()
    with writing(options.out_dir):
        write(options, figures, notes, width)
    for line in [*(f"Not drawn: {line}" for line in figures.left_out), *notes]:
        tell(line, width)
    if not figures:
        raise Fault("nothing to draw")
    return 0
