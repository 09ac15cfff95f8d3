"""What the figures of one table have in common: its rows, their names, looks and statistics."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..load.runs import Run
from ..load.summary import Row, Section
from .figure import Figure, word
from .style import Look, Looks
from .words import ids_of, place, runs_of, short_names

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
    section: Section
    members: list[Member]
    comparison: Comparison | None
    tag: str  # ends a figure's name

    @property
    def rows(self) -> list[Row]:
        return [member.row for member in self.members]

    @property
    def runs(self) -> list[Run]:
        return runs_of(self.rows)

    @property
    def place(self) -> str:
        return place(self.section)

    @property
    def control(self) -> Member | None:
        wanted = self.comparison.control if self.comparison else None
        return next((member for member in self.members if member.row is wanted), None)

    def figure(self, kind: str, title: str, caption: str, canvas: Canvas, members: Sequence[Member]) -> Figure:
        return Figure("-".join(filter(None, [kind, self.tag])), f"{title}: {self.place}", caption, canvas,
                      ids_of(runs_of(member.row for member in members)), kind, self.section)


def tags_of(sections: Sequence[Section]) -> dict[Section, str]:
    """Nothing for a section alone."""
    if len(sections) < 2:
        return dict.fromkeys(sections, "")
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
        number = sum(other.split(".")[0] == text for other in tags.values()) + 1
        tags[section] = text if number == 1 else f"{text}.{number}"
    return tags


def make_groups(rows: Iterable[Row], comparisons: Iterable[Comparison] | Mapping[Section, Comparison]) -> list[Group]:
    """In the order of the rows. A comparison belongs to the section of its rows."""
    sections: dict[Section, list[Row]] = {}
    for row in rows:
        sections.setdefault(row.section, []).append(row)
    given = comparisons.values() if isinstance(comparisons, Mapping) else comparisons
    compared = {comparison.rows[0].row.section: comparison for comparison in given if comparison.rows}
    looks = Looks(row.first.method for members in sections.values() for row in members)
    tags = tags_of(list(sections))
    groups = []
    for section, members in sections.items():
        comparison = compared.get(section)
        known = {id(item.row): item for item in comparison.rows} if comparison else {}
        groups.append(Group(section, [Member(row, name, look, known.get(id(row))) for row, name, look in zip(members, short_names(members), looks.of(members))],
                            comparison, tags[section]))
    return groups


def finite(values: Iterable[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]
