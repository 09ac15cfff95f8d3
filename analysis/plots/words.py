"""What captions have in common."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from ..common.words import count, some
from ..load.runs import Run
from ..load.summary import Row

MOST_NAMED = 6


def wrapped(text: str, letters: int) -> str:
    return "\n".join(textwrap.wrap(" ".join(text.split()), letters, break_on_hyphens=False))


def short_names(rows: Sequence[Row], letters: int = 24) -> list[str]:
    """The method's name where it stands for one row alone, else with those words of the row's label that its rows do not have in common."""
    words: dict[str, list[list[str]]] = {}
    for row in rows:
        words.setdefault(row.first.method, []).append(row.label.split()[1:])
    names = []
    for row in rows:
        alike = words[row.first.method]
        common = set.intersection(*map(set, alike)) if len(alike) > 1 else set(alike[0])
        names.append(" ".join([row.first.method, *(word for word in row.label.split()[1:] if word not in common)]))
    if len(set(names)) < len(names):
        names = [row.label for row in rows]
    return [wrapped(name, letters) for name in names]


def listed(names: Sequence[str], most: int = MOST_NAMED) -> str:
    """Names as they stand in a figure, where they may be wrapped."""
    return some([" ".join(name.split()) for name in names], most)


def seeds_of(rows: Iterable[Row]) -> str:
    counts = sorted({len(row.seeds) for row in rows})
    return count(counts[0], "seed") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"


def ids_of(runs: Iterable[Run]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(run.run_id for run in runs))


def runs_of(rows: Iterable[Row]) -> list[Run]:
    return [run for row in rows for run in row.runs]


def sentences(*parts: str) -> str:
    return " ".join(filter(None, parts))
