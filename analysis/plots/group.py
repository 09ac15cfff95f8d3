"""What the figures of one table have in common: its rows, their names, looks and statistics."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..load.summary import Row, Section
from ..load.targets import Target, choose_target
from ..load.titles import place_of
from .figure import Figure, word
from .style import Look, Looks
from .words import ids_of, runs_of, short_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

    from ..stats import Comparison, RowStatistics

# Of what tells sections apart, as much as is needed becomes part of a figure's name.
TAGS: tuple[Callable[[Section], str], ...] = (
    lambda section: section.task, lambda section: section.dataset, lambda section: section.model, lambda section: section.metric,
    lambda section: f"{section.ranks}-ranks", lambda section: f"{section.threads}-threads")


@dataclass(frozen=True)
class Member:
    """One row, as figures show it."""
    row: Row
    name: str
    look: Look
    statistics: RowStatistics | None = None

    @property
    def score(self) -> float:
        return self.row.mean["test"]


@dataclass
class Group:
    """Rows that can be compared: of one section and one number of ranks."""
    section: Section  # with that number
    of_table: Section  # as the rows have it: 0 ranks where a column tells them
    members: list[Member]
    comparison: Comparison | None
    target: Target | None  # a score on validation
    tag: str  # ends a figure's name

    @property
    def rows(self) -> list[Row]:
        return [member.row for member in self.members]

    @property
    def place(self) -> str:
        return place_of(self.section)

    @property
    def control(self) -> Member | None:
        wanted = self.comparison.control if self.comparison else None
        return next((member for member in self.members if member.row is wanted), None)

    def without(self, members: Iterable[Member]) -> list[str]:
        """The names of all others."""
        shown = {id(member) for member in members}
        return [member.name for member in self.members if id(member) not in shown]

    def figure(self, kind: str, title: str, caption: str, canvas: Canvas, members: Sequence[Member]) -> Figure:
        return Figure("-".join(filter(None, [kind, self.tag])), f"{title}: {self.place}", caption, canvas,
                      ids_of(runs_of(member.row for member in members)), kind, self.of_table)


def tags_of(sections: Sequence[Section]) -> dict[Section, str]:
    """Nothing for a section alone."""
    used: list[Callable[[Section], str]] = []
    count = 1
    for tag in TAGS:
        parts = len({tuple(each(section) for each in [*used, tag]) for section in sections})
        if parts > count:
            used.append(tag)
            count = parts
    tags: dict[Section, str] = {}
    for section in sections:
        text = word("-".join(each(section) for each in used))
        number = sum(re.fullmatch(rf"{text}(-[0-9]+)?", other) is not None for other in tags.values()) + 1  # names that a file's name cannot tell apart
        tags[section] = text if number == 1 else f"{text}-{number}"
    return tags


def make_groups(rows: Iterable[Row], comparisons: Iterable[Comparison], looks: Looks, targets: Mapping[str, float] | None = None) -> list[Group]:
    """In the order of the rows. A comparison belongs to the group of its rows. targets: by task, "" for all others. Raises Misuse for one that no run
    could reach."""
    sections: dict[Section, list[Row]] = {}
    for row in rows:
        sections.setdefault(replace(row.section, ranks=row.first.ranks), []).append(row)
    known = {id(item.row): (comparison, item) for comparison in comparisons for item in comparison.rows}
    tags = tags_of(list(sections))
    groups = []
    for section, members in sections.items():
        comparison = next((known[id(row)][0] for row in members if id(row) in known), None)
        target = choose_target(section, dict(targets or {}), comparison.control if comparison else None)
        groups.append(Group(section, members[0].section, [Member(row, name, look, known[id(row)][1] if id(row) in known else None)
                                                          for row, name, look in zip(members, short_names(members), looks.of(members))],
                            comparison, target, tags[section]))
    return groups


def finite(values: Iterable[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]
