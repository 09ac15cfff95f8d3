"""The figures of a fitted model, for `commfit` and for whoever wants them beside others."""

from collections.abc import Collection, Sequence
from pathlib import Path

from ..plots.figure import Figure
from .options import defaults
from .outcome import Outcome, work_out
from .plots import draw_all


def figures_of(outcome: Outcome) -> list[Figure]:
    return draw_all(outcome.studies, outcome.rows, outcome.knees, outcome.payloads, outcome.form_scale)


def make_model_figures(files: Sequence[Path], only: Collection[str] = ()) -> list[Figure]:
    """Of the model as `commfit` makes it of files of `peftscale comm` without options. only: kinds, none: all. Raises Fault."""
    return [figure for figure in figures_of(work_out(defaults(files))) if not only or figure.kind in only]
