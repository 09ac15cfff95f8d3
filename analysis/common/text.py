"""Lays out text for a terminal and lines of Markdown."""

import textwrap
from collections.abc import Sequence

WIDTH, NARROW = 100, 60  # the widest that is made of one's own accord, the narrowest that is made at all
NARROWEST = 12  # of a first column
AND = " ±"  # numbers with it stand below one another


def printable(text: str) -> str:
    """In one line, without what would move a terminal's cursor: names come from files."""
    return text if text.isprintable() else "".join(sign if sign.isprintable() else " " if sign.isspace() else "?" for sign in text)


def align(parts: Sequence[str]) -> list[str]:
    """A column's cells: value and half width each below one another."""
    split = [part.partition(AND) for part in parts]
    before, behind = (max((len(each[side]) for each in split if each[1]), default=0) for side in (0, 2))
    if not before:
        return list(parts)
    room = len(AND) + behind
    return [f"{value:>{before}}{sign + half:>{room}}" if sign else value + " " * room * (len(value) <= before) for value, sign, half in split]


def lay_out(table: list[list[str]], width: int, headers: Sequence[tuple[str, ...]]) -> list[str]:
    """Right-aligned columns after the first; the first is wrapped if the line would not fit. headers: for each column its lines, the last of them lowest."""
    depth = max(map(len, headers))
    lowered = [("",) * (depth - len(each)) + tuple(each) for each in headers]
    heads = [head for level in range(depth) if any(head := [each[level] for each in lowered])]
    table = [list(row) for row in zip(*(column if number == 0 else align(column) for number, column in enumerate(zip(*table))))]
    widths = [max(len(line[column]) for line in heads + table) for column in range(len(headers))]
    gap = "  " if sum(widths) + 2 * (len(widths) - 1) <= width else " "
    room = width - sum(widths[1:]) - len(gap) * (len(widths) - 1)
    widths[0] = min(widths[0], max(room, NARROWEST))

    def line(parts: list[str]) -> str:
        return gap.join([parts[0].ljust(widths[0]), *(part.rjust(space) for part, space in zip(parts[1:], widths[1:]))]).rstrip()

    lines = [line(head) for head in heads]
    lines.append(gap.join("-" * space for space in widths))
    for row in table:
        first, *rest = textwrap.wrap(row[0], widths[0], subsequent_indent="  ", break_on_hyphens=False) or [""]
        lines.append(line([first, *row[1:]]))
        lines += rest
    return lines


def wrap(note: str, width: int = WIDTH) -> list[str]:
    """An indented note stays indented."""
    return textwrap.wrap(note, width, subsequent_indent="    " if note.startswith("  ") else "", break_long_words=False, break_on_hyphens=False)


def markdown_line(parts: Sequence[str]) -> str:
    return "| " + " | ".join(part.replace("|", "\\|") for part in parts) + " |"
