"""The verb `runs`: one row per run, every number that the analysis knows of it."""

import argparse
import csv
import io
import math
import sys
from typing import Any

import pandas as pd

from ..common.fault import Fault
from ..common.output import save, width_of_terminal
from ..common.text import lay_out, markdown_line, printable, wrap
from .chosen import name_places, read_chosen
from .frame import to_frame

# What a terminal has room for.
SHORT = ("name", "task", "model", "method", "seed", "ranks", "test", "validation", "trainable", "step_s", "verdict")
NAME = SHORT[0]
DROPPED_FIRST = ("model", "ranks", "trainable", "step_s", "validation", "task", "verdict")  # of these, where a terminal is narrow
LONGEST = 32  # letters of a name that other columns make room for
UNBOUNDED = 10_000  # a file has room


def show(value: Any) -> str:
    """For people: what is not known is a dash."""
    if value is pd.NA or isinstance(value, float) and math.isnan(value):
        return "-"
    return f"{value:.5g}" if isinstance(value, float) else printable(str(value))


def exact(value: Any) -> str:
    """For programs: what is not known is empty, numbers are whole to the last bit."""
    if value is pd.NA or isinstance(value, float) and math.isnan(value):
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value)


def narrow(columns: dict[str, list[str]], width: int) -> dict[str, list[str]]:
    """Those that fit beside names as long as they are, or as LONGEST."""
    least = {name: max(map(len, [name, *cells])) for name, cells in columns.items()}
    least[NAME] = min(least[NAME], LONGEST)
    for name in DROPPED_FIRST:
        if sum(least.values()) + len(least) - 1 <= width:
            break
        del least[name]
    return {name: columns[name] for name in least}


def as_text(frame: pd.DataFrame, width: int) -> str:
    columns = {name: [show(value) for value in frame[name]] for name in SHORT}
    kept = narrow(columns, width)
    lines = lay_out([list(row) for row in zip(*kept.values())], width, [("", name) for name in kept])
    if lost := [name for name in columns if name not in kept]:
        lines += ["", *wrap(f"{width} columns have no room for: {', '.join(lost)}.", width)]
    return "\n".join(lines) + "\n"


def as_markdown(frame: pd.DataFrame, _width: int) -> str:
    lines = [markdown_line(list(frame.columns)), markdown_line(["---"] * len(frame.columns))]
    return "\n".join([*lines, *(markdown_line([show(value) for value in row]) for row in frame.itertuples(index=False))]) + "\n"


def as_csv(frame: pd.DataFrame, _width: int) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([list(frame.columns), *([exact(value) for value in row] for row in frame.itertuples(index=False))])
    return out.getvalue()


FORMS = {"text": as_text, "markdown": as_markdown, "csv": as_csv}


def run_runs(options: argparse.Namespace) -> int:
    collection, _ = read_chosen(options)
    for path, reason in collection.left_out:
        print(f"analysis: left out: {printable(str(path))}: {reason}", file=sys.stderr)
    for path, count in collection.twice.items():
        print(f"analysis: {path}: {count} of its runs are files, too, and count once", file=sys.stderr)
    if not collection.runs:
        raise Fault(f"no run in {name_places(options)} that can be compared")
    width = options.width or (UNBOUNDED if options.out else width_of_terminal())
    text = FORMS[options.format](to_frame(collection.runs), width)
    if options.out:
        save(options.out, text)
    else:
        print(text, end="")
    return 0
