"""The verb `runs`: one row per run, every number that the analysis knows of it."""

import argparse
import csv
import io
import math
import sys
from typing import Any

import pandas as pd

from ..common.fault import Fault
from ..common.output import save
from ..common.text import lay_out, markdown_line
from .chosen import name_places, read_chosen
from .frame import to_frame

# What a terminal has room for.
SHORT = ("name", "task", "model", "method", "seed", "ranks", "test", "validation", "trainable", "step_s", "verdict")


def show(value: Any) -> str:
    """For people: what is not known is a dash."""
    if value is pd.NA or isinstance(value, float) and math.isnan(value):
        return "-"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def exact(value: Any) -> str:
    """For programs: what is not known is empty, numbers are whole to the last bit."""
    if value is pd.NA or isinstance(value, float) and math.isnan(value):
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value)


def as_text(frame: pd.DataFrame) -> str:
    cells = [[show(value) for value in row] for row in frame[list(SHORT)].itertuples(index=False)]
    widest = max([len(row[0]) for row in cells] + [len(SHORT[0])])
    width = widest + sum(2 + max([len(row[column]) for row in cells] + [len(name)]) for column, name in enumerate(SHORT) if column)
    return "\n".join(lay_out(cells, width, [("", name) for name in SHORT])) + "\n"


def as_markdown(frame: pd.DataFrame) -> str:
    lines = [markdown_line(list(frame.columns)), markdown_line(["---"] * len(frame.columns))]
    return "\n".join([*lines, *(markdown_line([show(value) for value in row]) for row in frame.itertuples(index=False))]) + "\n"


def as_csv(frame: pd.DataFrame) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([list(frame.columns), *([exact(value) for value in row] for row in frame.itertuples(index=False))])
    return out.getvalue()


FORMS = {"text": as_text, "markdown": as_markdown, "csv": as_csv}


def run_runs(options: argparse.Namespace) -> int:
    collection, _ = read_chosen(options)
    for path, reason in collection.left_out:
        print(f"analysis: left out: {path}: {reason}", file=sys.stderr)
    for path, count in collection.twice.items():
        print(f"analysis: {path}: {count} of its runs are files, too, and count once", file=sys.stderr)
    if not collection.runs:
        raise Fault(f"no run in {name_places(options)} that can be compared")
    text = FORMS[options.format](to_frame(collection.runs))
    if options.out:
        save(options.out, text)
    else:
        print(text, end="")
    return 0
