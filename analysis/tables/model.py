"""A table in no form yet: what each cell shows, its exact values, and the runs that they come from. All renderers read this, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..common.text import printable

if TYPE_CHECKING:
    from ..load.runs import Run

BETTER, WORSE = "better", "worse"  # marks: than the control, as far as that could be separated. Nothing else is ever set off
ARROWS = {BETTER: "↑", WORSE: "↓"}


@dataclass(frozen=True)
class Cell:
    text: str
    values: tuple[tuple[str, object], ...] = ()  # exact ones, by what they are
    runs: Sequence[Run] = ()  # that the values come from
    mark: str = ""  # BETTER, WORSE, or nothing that could be separated
    source: str = ""  # of what no run says: a paper's table

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", printable(self.text))


@dataclass(frozen=True)
class Heading:
    name: str  # by which --columns and a trace call it
    lines: tuple[str, ...]  # one above the other
    formula: str  # in words, with the unit
    rank: float = 0.0  # where a terminal is narrow, the column with the highest one goes first; 0: never
    marked: bool = False  # its cells' marks are shown as arrows
    is_ours: bool = True  # False: a paper's

    @property
    def title(self) -> str:
        return " ".join(filter(None, self.lines))


@dataclass
class Block:
    """The rows that stand under one heading."""
    title: str
    headings: list[Heading]  # the first: of the rows' names
    rows: list[list[Cell]]
    key: str = ""  # short, for a label

    def columns(self) -> Iterator[tuple[Heading, list[Cell]]]:
        for number, heading in enumerate(self.headings):
            yield heading, [row[number] for row in self.rows]

    def keep(self, headings: Sequence[Heading]) -> Block:
        """With these columns alone."""
        places = [number for number, heading in enumerate(self.headings) if heading in headings]
        return Block(self.title, [self.headings[place] for place in places], [[row[place] for place in places] for row in self.rows], self.key)


@dataclass
class Table:
    blocks: list[Block]
    counted: str = ""  # how many runs and rows there are
    about: list[str] = field(default_factory=list)  # below every block: what its columns mean
    notes: list[str] = field(default_factory=list)  # below the last: of the collection. A line that begins with two blanks belongs to the one above it
    explain: Callable[[Collection[str]], list[str]] | None = None  # as `about`, of some columns by their names; None: `about` holds of any

    @property
    def headings(self) -> list[Heading]:
        return list({heading.name: heading for block in self.blocks for heading in block.headings}.values())

    def about_of(self, shown: Sequence[Block]) -> list[str]:
        """What the columns of these blocks mean, all of which may have lost some."""
        if self.explain is None:
            return self.about
        return self.explain({heading.name for block in shown for heading in block.headings})
