"""The chapter on what the runs were made with: said once where it is the same for all, side by side where it differs."""

from collections.abc import Sequence

from ..load.conditions import read_conditions
from ..load.hdf5 import Unusable
from ..load.mixture import by_value
from ..load.runs import Run
from .blocks import Cell, Chapter, Facts, Head, Paragraph, Table, Text
from .places import Places

MOST_READ = 1000  # runs whose files are opened for it


def read_all(runs: Sequence[Run]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """By run_id; and why some could not be read."""
    found, problems = {}, []
    for run in runs:
        try:
            found[run.run_id] = read_conditions(run)
        except Unusable as reason:
            problems.append(f"{run.name}: {reason}")
    return found, problems


def make_chapter(runs: Sequence[Run], places: Places) -> Chapter:
    chapter = Chapter("Conditions", places.new("conditions"))
    conditions, problems = read_all(runs[:MOST_READ])
    if len(runs) > MOST_READ:
        chapter.blocks.append(Paragraph(f"Of the first {MOST_READ:,} of {len(runs):,} runs:"))
    told = [run for run in runs if run.run_id in conditions]
    names = list(dict.fromkeys(name for each in conditions.values() for name in each))
    same: list[tuple[str, Text]] = [("runs", str(len(runs)))]
    rows = []
    for name in names:
        groups = by_value(told, lambda run: conditions[run.run_id].get(name, ""))
        if len(groups) == 1:
            same.append((name, next(iter(groups))))
            continue
        for value, members in groups.items():
            links = places.link_runs(members)
            rows.append([Cell(name), Cell(value), Cell(str(len(members)), len(members)), Cell(links)])
    dates = sorted(run.created for run in runs if run.created)
    if dates:
        same.append(("made", dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"))
    chapter.blocks.append(Paragraph("The same for all runs that this report is about:" if rows else "All runs that this report is about were made alike:"))
    chapter.blocks.append(Facts(same))
    if rows:
        heads = [Head("what"), Head("value"), Head("runs", True), Head("which")]
        chapter.blocks += [Paragraph("What differs between them, and how many runs have it:"),
                           Table(places.new("differences in conditions"), "Conditions that differ", heads, rows)]
    chapter.blocks += [Paragraph(problem) for problem in problems]
    return chapter
