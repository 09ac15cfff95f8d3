"""What a report is made of, before it is HTML: chapters of paragraphs, tables, pictures. Texts are plain; whoever writes HTML escapes them all."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

LONGEST_LINE = 26  # letters of a cell that stays in one


@dataclass(frozen=True)
class Link:
    text: str
    target: str  # #ANCHOR, or an address
    title: str = ""

    def __post_init__(self) -> None:
        if not re.match(r"#[\w.-]+\Z|https://", self.target):
            raise ValueError(f"not a target of a link: {self.target}")


@dataclass(frozen=True)
class Mono:
    """What is typed."""
    tag: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True)
class Strong:
    tag: ClassVar[str] = "b"
    text: str


Part = str | Link | Mono | Strong
Text = Sequence[Part] | str


def length(text: Text) -> int:
    return len(text) if isinstance(text, str) else sum(len(part if isinstance(part, str) else part.text) for part in text)


def typed(text: str) -> Text:
    """What stands between backticks is what is typed."""
    parts: list[Part] = [Mono(part) if number % 2 else part for number, part in enumerate(text.split("`"))]
    return [part for part in parts if part]


@dataclass(frozen=True)
class Head:
    text: str
    is_number: bool = False  # sorted by value, set to the right
    title: str = ""  # what the heading means


@dataclass(frozen=True)
class Cell:
    text: Text
    value: float | str | None = None  # what it is sorted by where that is not its text; None in a column of numbers: not known, always last
    title: str = ""
    mark: str = ""  # better, worse: a class of its own


@dataclass
class Paragraph:
    kind: ClassVar[str] = "paragraph"
    text: Text


@dataclass
class Bullets:
    kind: ClassVar[str] = "bullets"
    items: Sequence[Text]


@dataclass
class Code:
    kind: ClassVar[str] = "code"
    text: str


@dataclass
class Heading:
    kind: ClassVar[str] = "heading"
    title: str
    anchor: str


@dataclass
class Table:
    kind: ClassVar[str] = "table"
    anchor: str
    caption: str
    heads: Sequence[Head]
    rows: Sequence[Sequence[Cell]]
    row_anchors: Sequence[str] = ()
    notes: Sequence[Text] = ()
    sortable: bool = True

    @property
    def wraps(self) -> list[bool]:
        """Which columns hold long texts, that may take several lines."""
        return [max((length(row[column].text) for row in self.rows), default=0) > LONGEST_LINE for column in range(len(self.heads))]


@dataclass
class Facts:
    """Names with what holds for them."""
    kind: ClassVar[str] = "facts"
    pairs: Sequence[tuple[str, Text]]


@dataclass
class Picture:
    kind: ClassVar[str] = "picture"
    anchor: str
    title: str
    caption: Text
    svg: str  # safe as it is: of svg.inline
    is_broad: bool = False
    behind: Sequence["Block"] = ()  # in a fold below it: where it comes from


@dataclass
class Gallery:
    """Pictures side by side, where there is room."""
    kind: ClassVar[str] = "gallery"
    pictures: Sequence[Picture]


@dataclass
class Fold:
    """Shown on demand, and in print."""
    kind: ClassVar[str] = "fold"
    title: str
    blocks: Sequence["Block"]
    is_open: bool = False


Block = Paragraph | Bullets | Code | Heading | Table | Facts | Picture | Gallery | Fold


@dataclass
class Chapter:
    title: str
    anchor: str
    blocks: list[Block] = field(default_factory=list)

    @property
    def headings(self) -> list[Heading]:
        return [block for block in self.blocks if isinstance(block, Heading)]


@dataclass
class Document:
    title: str
    question: str
    remarks: Sequence[Text]  # below the title
    chapters: Sequence[Chapter]


class Anchors:
    """Hands out names of places, each once."""

    def __init__(self) -> None:
        self.taken: set[str] = set()

    def new(self, *words: str) -> str:
        name = re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower()).strip("-")[:60] or "part"
        name = name if name[0].isalpha() else f"part-{name}"
        free, number = name, 1
        while free in self.taken:
            number += 1
            free = f"{name}-{number}"
        self.taken.add(free)
        return free
