"""Comparisons as text for a terminal, as Markdown, as CSV and as JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..common.text import NARROWEST, lay_out, markdown_line, wrap
from ..common.units import score
from ..load.summary import Row, Section
from .intervals import Interval
from .judge import Difference

UNKNOWN = "-"
HEADINGS = [("", "method"), ("", "score"), ("minus", "control"), ("with new", "examples"), ("p", "Holm"), ("", "verdict"), ("", "group"), ("small-", "est")]
WITHOUT_CONTROL = (0, 1, 6)  # of these columns
DROPPED_FIRST = (7, 3, 4)  # where a terminal is narrow


@dataclass(frozen=True)
class Line:
    """One row of a table, of a section or of a mean over tasks."""
    label: str
    rows: tuple[Row, ...]
    mean: float
    score: Interval | None
    difference: Difference | None
    letters: str


@dataclass
class Sheet:
    """One table."""
    title: str
    metric: str  # whose units are shown
    sections: list[Section]
    control: str  # a label; "" for none
    lines: list[Line]
    notes: list[str]
    level: float
    family: int
    pooled: float
    smallest: float
    more: list[str] = field(default_factory=list)  # notes that answer what was asked on the command line


# ---- cells ----

def signed(value: float, metric: str) -> str:
    text = score(value, metric)
    return text if text in (UNKNOWN, score(0.0, metric)) or text.startswith("-") else f"+{text}"


def with_half(text: str, interval: Interval | None, metric: str) -> str:
    return text + (f" ±{score(interval.half, metric)}" if interval and interval.is_known else "")


def p_text(p: float) -> str:
    return UNKNOWN if not math.isfinite(p) else "<0.001" if p < 0.0005 else f"{p:.3f}"


def cells_of(line: Line, sheet: Sheet) -> list[str]:
    metric, each = sheet.metric, line.difference
    first = [line.label, with_half(score(line.mean, metric), line.score, metric)]
    if line.label == sheet.control:
        return [*first, "control", "", "", "", line.letters or UNKNOWN, ""]
    if each is None:
        return [*first, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, line.letters or UNKNOWN, UNKNOWN]
    wide = f"±{score(each.wide.half, metric)}" if each.wide else UNKNOWN
    return [*first, with_half(signed(each.mean, metric), each.interval, metric), wide, p_text(each.p_holm), each.verdict, line.letters or UNKNOWN,
            score(each.smallest, metric)]


# ---- for people ----

def columns_of(sheet: Sheet) -> list[int]:
    return list(range(len(HEADINGS))) if sheet.control else list(WITHOUT_CONTROL)


def title_of_column(column: int) -> str:
    return "smallest" if column == 7 else " ".join(filter(None, HEADINGS[column]))


def narrow(table: Sequence[list[str]], columns: list[int], width: int) -> list[int]:
    """The columns that fit."""
    least = {column: max(map(len, [*HEADINGS[column], *(cells[column] for cells in table)])) for column in columns}
    least[0] = min(least[0], NARROWEST)
    for column in DROPPED_FIRST:
        if sum(least.values()) + len(least) - 1 <= width:
            break
        least.pop(column, None)
    return list(least)


def split_notes(sheets: Sequence[Sheet]) -> tuple[list[list[str]], list[str]]:
    """Per table what is said of it alone; and below all what is said of every one. With one table all stays below it."""
    if len(sheets) < 2:
        return [[*sheet.notes, *sheet.more] for sheet in sheets], []
    common = [note for note in sheets[0].notes if all(note in sheet.notes for sheet in sheets)]
    return [[*(note for note in sheet.notes if note not in common), *sheet.more] for sheet in sheets], common


def legend(level: float) -> str:
    return f"±: half of a {100 * level:g} % interval. minus control: paired over seeds, in the units of the score."


def as_text(sheets: Sequence[Sheet], below: Sequence[str], width: int) -> str:
    lines: list[str] = []
    missing: set[int] = set()
    own, common = split_notes(sheets)
    for sheet, notes in zip(sheets, own):
        table = [cells_of(line, sheet) for line in sheet.lines]
        columns = narrow(table, columns_of(sheet), width)
        missing |= set(columns_of(sheet)) - set(columns)
        shown = [[cells[column] for column in columns] for cells in table]
        lines += [*wrap(sheet.title, width), "", *lay_out(shown, width, [HEADINGS[column] for column in columns]), ""]
        lines += [line for note in notes for line in wrap(note, width)] + ([""] if notes else [])
    if missing:
        lines += wrap(f"{width} columns have no room for: {', '.join(map(title_of_column, sorted(missing)))}.", width)
    for note in [legend(sheets[0].level), *common, *below]:
        lines += wrap(note, width)
    return "\n".join(lines) + "\n"


def as_markdown(sheets: Sequence[Sheet], below: Sequence[str]) -> str:
    lines: list[str] = []
    own, common = split_notes(sheets)
    for sheet, notes in zip(sheets, own):
        columns = columns_of(sheet)
        lines += [f"**{sheet.title}**", "", markdown_line(list(map(title_of_column, columns))), markdown_line(["---"] + ["---:"] * (len(columns) - 1))]
        lines += [markdown_line([cells[column] for column in columns]) for cells in (cells_of(line, sheet) for line in sheet.lines)]
        lines += ["", *(f"- {note}" for note in notes), ""]
    lines += [f"- {note.strip()}" for note in [legend(sheets[0].level), *common, *below]]
    return "\n".join(lines) + "\n"


# ---- for programs ----

def number(value: float | None) -> float | None:
    """What is not known is nothing, not a number."""
    return None if value is None or not math.isfinite(value) else float(value)


def ends(name: str, interval: Interval | None) -> dict[str, float | None]:
    return {f"{name}_{end}": number(getattr(interval, end)) if interval else None for end in ("low", "high", "df")}


def values_of(line: Line) -> dict:
    each = line.difference
    return {"method": line.rows[0].first.method, "label": line.label, "seeds": sorted(set.intersection(*(set(row.seeds) for row in line.rows))),
            "mean": number(line.mean), **ends("mean", line.score), "common_seeds": list(each.seeds) if each else [],
            "difference": number(each.mean) if each else None, **ends("difference", each.interval if each else None),
            **ends("with_examples", each.wide if each else None), **ends("simultaneous", each.adjusted if each else None),
            "sd": number(each.sd) if each else None, "p": number(each.p) if each else None, "p_holm": number(each.p_holm) if each else None,
            "verdict": each.verdict if each else "", "smallest": number(each.smallest) if each else None, "letters": line.letters,
            "run_ids": [run.run_id for row in line.rows for run in row.runs]}


def place_values(sheet: Sheet) -> dict:
    first, several = sheet.sections[0], len(sheet.sections) > 1
    return {"tasks": [section.task for section in sheet.sections], "model": first.model, "ranks": first.ranks, "threads": first.threads,
            "metric": "mean of " + ", ".join(dict.fromkeys(section.metric for section in sheet.sections)) if several else first.metric,
            "control": sheet.control, "level": sheet.level, "family": sheet.family}


def as_csv(sheets: Sequence[Sheet]) -> str:
    """One line per row, scores as in run files (0.95, not 95 %)."""
    out = io.StringIO()
    writer: csv.DictWriter | None = None
    for sheet in sheets:
        for line in sheet.lines:
            fields = {**place_values(sheet), **values_of(line)}
            writer = writer or csv.DictWriter(out, fields, lineterminator="\n")
            if not out.tell():
                writer.writeheader()
            writer.writerow({key: " ".join(map(str, value)) if isinstance(value, list) else value for key, value in fields.items()})
    return out.getvalue()


def as_json(sheets: Sequence[Sheet], below: Sequence[str]) -> str:
    tables = [{"title": sheet.title, **place_values(sheet), "pooled_sd": number(sheet.pooled), "smallest": number(sheet.smallest),
               "rows": [values_of(line) for line in sheet.lines], "notes": [*sheet.notes, *sheet.more]} for sheet in sheets]
    return json.dumps({"tables": tables, "notes": [note.strip() for note in below]}, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
