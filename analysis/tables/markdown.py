"""A table as Markdown."""

import re
from collections.abc import Sequence

from ..common.text import markdown_line, printable
from .model import ARROWS, BETTER, Block, Cell, Heading, Table

SPECIAL = re.compile(r"([\\`*<\[\]])")  # | is markdown_line's


def escape(text: str) -> str:
    return SPECIAL.sub(r"\\\1", printable(text))


def show(heading: Heading, cell: Cell) -> str:
    text = escape(cell.text)
    text = f"**{text}**" if cell.mark == BETTER else text
    return f"{text} {ARROWS[cell.mark]}" if heading.marked and cell.mark else text


def as_notes(notes: Sequence[str]) -> list[str]:
    """Lines of one paragraph; those that belong to the one above them become a list below it."""
    lines: list[str] = []
    for note, following in zip(notes, [*notes[1:], ""]):
        text = printable(note).strip().replace("<", "\\<")
        if note.startswith("  "):
            lines.append(f"- {text}")
            continue
        is_head = following.startswith("  ")
        if lines and lines[-1] and (is_head or lines[-1].startswith("- ")):
            lines.append("")
        lines += [text, ""] if is_head else [text]
    return lines


def as_block(block: Block) -> list[str]:
    lines = [f"**{escape(block.title)}**", "", markdown_line([heading.title for heading in block.headings]),
             markdown_line(["---", *["---:"] * (len(block.headings) - 1)])]
    return [*lines, *(markdown_line([show(*pair) for pair in zip(block.headings, row)]) for row in block.rows)]


def as_markdown(table: Table, trace: str = "") -> str:
    """trace: the file that has each cell's exact values and runs; "": there is none."""
    lines = [line for block in table.blocks for line in [*as_block(block), ""]]
    traced = [f"Exact values, formulas and runs of every cell: {trace}."] if trace else []
    lines += as_notes([*filter(None, [table.counted]), *table.about, *traced, *table.notes])
    return "\n".join(lines).rstrip() + "\n"
