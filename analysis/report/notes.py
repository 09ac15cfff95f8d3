"""Lines below a table as blocks of a report."""

from collections.abc import Sequence

from .blocks import Block, Bullets, Paragraph, typed


def nest(lines: Sequence[str]) -> list[Block]:
    """Lines that begin with two blanks belong to the one above them."""
    blocks: list[Block] = []
    for line in lines:
        if not line.startswith("  "):
            blocks.append(Paragraph(typed(line)))
        elif blocks and isinstance(blocks[-1], Bullets):
            blocks[-1].items.append(typed(line.strip()))
        else:
            blocks.append(Bullets([typed(line.strip())]))
    return blocks
