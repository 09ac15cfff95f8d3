"""A table for a terminal."""

from collections.abc import Callable, Sequence

from ..common.text import NARROWEST, WIDTH, align, lay_out, printable, wrap
from .model import ARROWS, Block, Cell, Heading, Table


def texts_of(heading: Heading, cells: Sequence[Cell]) -> list[str]:
    """A column's cells below one another; where some have an arrow, the others keep its place free."""
    texts = align([cell.text for cell in cells])
    if not heading.marked or not any(cell.mark for cell in cells):
        return texts
    return [f"{text} {ARROWS.get(cell.mark, ' ')}" for text, cell in zip(texts, cells)]


def width_of(heading: Heading, cells: Sequence[Cell]) -> int:
    return max(map(len, [*heading.lines, *texts_of(heading, cells)]))


def narrow(block: Block, room: float, measure: Callable[[Heading, Sequence[Cell]], float] = width_of, asked: bool = False) -> Block:
    """The columns that fit beside the first, into so much room. measure: of a column, the gap before it apart. asked: of all but papers, what was asked for
    stays."""
    _, *others = block.columns()
    least = {heading: measure(heading, cells) + 1 for heading, cells in others}
    for heading in sorted((heading for heading in least if heading.rank and not (asked and heading.is_ours)), key=lambda heading: -heading.rank):
        if sum(least.values()) <= room:
            break
        del least[heading]
    return block.keep([block.headings[0], *least])


def lost_columns(table: Table, kept: Sequence[Block]) -> list[Heading]:
    """Those that some block had no room for, the first to go first."""
    left = {heading for block, less in zip(table.blocks, kept) for heading in block.headings if heading not in less.headings}
    return sorted(left, key=lambda heading: -heading.rank)


def as_text(table: Table, width: int = WIDTH) -> str:
    lines: list[str] = []
    kept = [narrow(block, width - NARROWEST) for block in table.blocks]
    for block in kept:
        cells = [list(row) for row in zip(*(texts_of(*column) for column in block.columns()))]
        lines += [*wrap(printable(block.title), width), "", *lay_out(cells, width, [heading.lines for heading in block.headings]), ""]
    if lost := lost_columns(table, kept):
        lines += wrap(f"{width} columns have no room for: {', '.join(heading.title.rstrip('.') for heading in lost)}.", width)
    for note in filter(None, [table.counted, *table.about_of(kept), *table.notes]):
        lines += wrap(printable(note), width)
    return "\n".join(lines) + "\n"
