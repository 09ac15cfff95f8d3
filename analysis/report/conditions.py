"""The chapter on what the runs were made with: said once where it is the same for all, side by side where it differs."""

from collections.abc import Callable, Sequence

from ..load.conditions import read_conditions
from ..load.hdf5 import Unusable
from ..load.runs import Run
from .blocks import Cell, Chapter, Facts, Head, Paragraph, Table, Text
from .places import Places

UNTOLD = "not told by the file"


def group(runs: Sequence[Run], value: Callable[[Run], str]) -> dict[str, list[Run]]:
    """Runs by a value, the most frequent first."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(value(run), []).append(run)
    return dict(sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])))


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
    conditions, problems = read_all(runs)
    told = [run for run in runs if run.run_id in conditions]
    names = list(dict.fromkeys(name for each in conditions.values() for name in each))
    same: list[tuple[str, Text]] = [("runs", str(len(runs)))]
    rows = []
    for name in names:
        groups = group(told, lambda run: conditions[run.run_id].get(name, ""))
        if len(groups) == 1:
            same.append((name, next(iter(groups))))
            continue
        for value, members in groups.items():
            links = places.link_runs(members)
            rows.append([Cell(name), Cell(value or UNTOLD), Cell(str(len(members)), len(members)), Cell(links)])
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
