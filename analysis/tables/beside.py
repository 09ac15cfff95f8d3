"""Columns of published numbers beside ours: never among ours, and headed by where they are from."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..common.units import PERCENT
from ..load.summary import Row, Section
from ..published.match import by_source, choose, find_count, find_score, other_metric
from ..published.read import EMPTY, OWN, Count, Published, Score, Source, count_of, read_published, shift
from .build import Group
from .entry import Entry
from .model import Block, Cell, Heading
from .shown import UNKNOWN

PAPERS = "published"  # how a trace calls their columns
COUNTS_RANK, SCORES_RANK = 100.0, 0.5  # counts are the first to go where there is no room, scores nearly the last: they were asked for


@dataclass(frozen=True)
class Beside:
    """--published: what is known, and parts of names of what is wanted (none: few that have most)."""
    published: Published
    wanted: tuple[str, ...] = ()


def read_beside(options: argparse.Namespace) -> Beside | None:
    """options: of published.options.add_beside(). None: not wanted. Raises BadPublished."""
    if not options.published:
        return None
    return Beside(read_published([*OWN, *options.published_file]), tuple(options.published_source))


def show_score(score: Score | None, section: Section) -> Cell:
    if score is None:
        return Cell(UNKNOWN)
    unit = 100 if section.metric in PERCENT else 1
    spread = "" if score.spread == EMPTY else f" ({shift(score.spread, score.scale, unit)})"
    method, task, metric = score.names
    return Cell(shift(score.printed, score.scale, unit) + spread, (("score", score.value), ("printed", score.printed), ("printed spread", score.spread)),
                source=f"{score.origin.paper} {score.origin.source}, {score.origin.model}: {method}, {task}, {metric}")


def show_count(score: Score | None, count: Count | None) -> Cell:
    printed = count.printed if count else score.parameters if score else EMPTY
    origin = (count or score).origin if count or score else None
    if origin is None or printed == EMPTY:
        return Cell(UNKNOWN)
    return Cell(printed, (("numbers", count_of(printed)),), source=f"{origin.paper} {origin.source}, {origin.model}")


def name_of(source: Source) -> str:
    return f"{PAPERS} {source.paper} {source.source} {source.model}"


def headings_of(source: Source, place: int) -> tuple[Heading, Heading]:
    """place: of the source among the table's; those that have most of the rows stay longest."""
    lines = (PAPERS, source.paper, *source.source.split(" ", 1), source.model)
    score = Heading(name_of(source), lines, "score as a paper prints it, in our unit; in parentheses the spread printed with it", SCORES_RANK + place / 1000,
                    is_ours=False)
    return score, Heading(f"{score.name} parameters", (*lines, "parameters"), "number of parameters as a paper prints it", COUNTS_RANK + place, is_ours=False)


def put_beside(block: Block, group: Group, beside: Beside) -> list[Source]:
    """Adds columns to a section's block; returns whose they are."""
    rows: list[Row] = [entry.row for entry in group.entries]
    sources = choose(beside.published, rows, beside.wanted)
    found = by_source(beside.published)
    for place, source in enumerate(sources):
        scores, counts = found[source]
        pairs = [(find_score(scores, row), find_count(counts, row)) for row in rows]
        columns = ([show_score(score, group.section) for score, _ in pairs], [show_count(*pair) for pair in pairs])
        for heading, cells in zip(headings_of(source, place), columns):
            if any(cell.text != UNKNOWN for cell in cells):
                block.headings.append(heading)
                for row, cell in zip(block.rows, cells):
                    row.append(cell)
    return sources


def fields_of(sources: Sequence[Source], beside: Beside) -> dict[str, Callable[[Entry], str]]:
    """For a CSV file: what is shown of each source, as a share of 1 like all scores there."""
    found = by_source(beside.published)

    def field(source: Source) -> Callable[[Entry], str]:
        return lambda entry: repr(score.value) if (score := find_score(found[source][0], entry.row)) else ""
    return {name_of(source): field(source) for source in dict.fromkeys(sources)}


# ---- what is said of them ----

def protocols(scores: Sequence[Score]) -> str:
    """How they were made; of which methods, where a table mixes."""
    methods: dict[str, dict[str, None]] = {}
    for score in scores:
        methods.setdefault(score.protocol, {})[score.method] = None
    if len(methods) == 1:
        return next(iter(methods))
    return "; ".join(f"{', '.join(members)}: {protocol}" for protocol, members in methods.items())


def describe_source(source: Source, groups: Sequence[Group], found: tuple[list[Score], list[Count]]) -> list[str]:
    """groups: in whose tables it stands."""
    shown = [score for group in groups for entry in group.entries if (score := find_score(found[0], entry.row))]
    ours = {group.section.model for group in groups}
    same = "the same model" if ours == {source.model} else "the same model in one table, another in others"
    other = same if source.model in ours else "other model, not comparable"
    lines = [f"  {source.paper}, arXiv {source.source}, {source.model}: {other}{'; ' * bool(shown)}{protocols(shown)}."]
    for note in dict.fromkeys(score.note for score in shown if score.note != EMPTY):
        where = dict.fromkeys(f"{score.task} {score.method}" for score in shown if score.note == note)
        lines.append(f"  {source.paper} {source.source}, {', '.join(where)}: {note}.")
    return lines


def describe_beside(shown: Sequence[tuple[Group, Sequence[Source]]], beside: Beside) -> list[str]:
    """Lines below the tables."""
    of_source: dict[Source, list[Group]] = {}
    for group, sources in shown:
        for source in sources:
            of_source.setdefault(source, []).append(group)
    lines = []
    if of_source:
        lines.append("Published numbers stand in columns of their own, headed by paper, arXiv id with table, and model; in parentheses the spread printed with "
                     "them. They are in no mean, interval, comparison or group.")
        found = by_source(beside.published)
        lines += [line for source, groups in of_source.items() for line in describe_source(source, groups, found[source])]
    nothing = [group.section.task for group, sources in shown if not sources]
    if nothing:
        lines.append(f"No published number was found for: {', '.join(dict.fromkeys(nothing))}.")
    for group, _ in shown:
        if others := other_metric(beside.published, group.section, {entry.row.first.method for entry in group.entries}):
            names = ", ".join(sorted({score.metric if score.metric != EMPTY else "a metric that is not clear" for score in others}))
            lines.append(f"Not shown: {len(others)} published scores of {group.section.task} in {names}, ours are {group.section.metric}.")
    return lines
