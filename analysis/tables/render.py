"""Writes rows as text for a terminal, as Markdown and as CSV."""

import csv
import io
import math
import textwrap
from collections.abc import Sequence

from ..common.text import NARROWEST, WIDTH, lay_out, markdown_line, wrap
from ..common.units import PERCENT
from ..load.mixture import find_mixtures, marks_of
from ..load.runs import Collection
from ..load.summary import Row, Section
from .columns import COLUMNS, DROPPED_FIRST, METHOD, USUAL, Column, explain


def title(section: Section) -> str:
    unit = " in %" if section.metric in PERCENT else ""
    data = "" if section.dataset in ("", section.task) else f" (data {section.dataset})"
    ranks = f"{section.ranks} rank{'s' if section.ranks > 1 else ''}" if section.ranks else ""
    threads = f"{section.threads} threads" if section.threads > 1 else ""
    place = ", ".join(filter(None, [f"{section.task}{data}", section.model or "a model without a name", " x ".join(filter(None, [ranks, threads]))]))
    return f"{place}: {section.metric}{unit}"


def with_method(columns: Sequence[str]) -> list[Column]:
    return [METHOD, *(COLUMNS[name] for name in columns)]


def by_section(rows: list[Row]) -> dict[Section, list[Row]]:
    sections: dict[Section, list[Row]] = {}
    for row in rows:
        sections.setdefault(row.section, []).append(row)
    return sections


def notes(rows: list[Row], collection: Collection, columns: Sequence[str]) -> list[str]:
    """What is said below the tables. Lines that begin with two blanks belong to the one above them."""
    count = len(collection.runs)
    lines = [f"{count} run{'' if count == 1 else 's'}, {len(rows)} row{'' if len(rows) == 1 else 's'}."]
    if any(row.deviation is not None for row in rows):
        lines[0] += " Scores are means over seeds ± standard deviation."
    if rows:
        lines += explain(columns, rows)
    lines += collection.notes
    lines += [f"In {path} and in files, counted once: {number} run{'' if number == 1 else 's'}." for path, number in collection.twice.items()]
    if mixtures := find_mixtures(collection):
        lines.append(f"Not alike: {len(mixtures)}")
        lines += [f"  {mixture}" for mixture in mixtures]
    if collection.left_out:
        lines.append(f"Left out: {len(collection.left_out)}")
        lines += [f"  {path}: {reason}" for path, reason in collection.left_out]
    return lines


def narrow(columns: Sequence[str], rows: list[Row], width: int) -> list[str]:
    """The columns that fit."""
    least = {name: max(map(len, [*COLUMNS[name].heading, *map(COLUMNS[name].show, rows)])) for name in columns}
    for name in DROPPED_FIRST:
        if NARROWEST + sum(least.values()) + len(least) <= width:
            break
        least.pop(name, None)
    return list(least)


def as_text(rows: list[Row], collection: Collection, width: int = WIDTH, columns: Sequence[str] = USUAL) -> str:
    lines: list[str] = []
    missing: set[str] = set()
    for section, members in by_section(rows).items():
        kept = narrow(columns, members, width)
        missing |= set(columns) - set(kept)
        shown = with_method(kept)
        lines += [*textwrap.wrap(title(section), width), ""]
        lines += [*lay_out([[column.show(row) for column in shown] for row in members], width, [column.heading for column in shown]), ""]
    if missing:
        lines += wrap(f"{width} columns have no room for: {', '.join(COLUMNS[name].title for name in DROPPED_FIRST if name in missing)}.", width)
    for note in notes(rows, collection, columns):
        lines += wrap(note, width)
    return "\n".join(lines) + "\n"


def as_markdown(rows: list[Row], collection: Collection, columns: Sequence[str] = USUAL) -> str:
    lines: list[str] = []
    shown = with_method(columns)
    for section, members in by_section(rows).items():
        lines += [f"**{title(section)}**", "", markdown_line([column.title for column in shown]), markdown_line(["---"] + ["---:"] * len(columns))]
        lines += [markdown_line([column.show(row) for column in shown]) for row in members] + [""]
    said = notes(rows, collection, columns)
    for note, following in zip(said, [*said[1:], ""]):
        is_item, is_head = note.startswith("  "), following.startswith("  ")
        before = "" if is_item or not (is_head or lines[-1:] and lines[-1].startswith("- ")) else "\n"
        lines.append(f"- {note.strip()}" if is_item else f"{before}{note}\n" if is_head else f"{before}{note}")
    return "\n".join(lines).rstrip() + "\n"


def known(value: float | None) -> str:
    """A score that is not known is no number."""
    return "" if value is None or not math.isfinite(value) else repr(value)


def as_csv(rows: list[Row]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["task", "dataset", "model", "method", "options", "ranks", "threads", "metric", "test_mean", "test_min", "test_max", "test_sd",
                     "validation_mean", "trainable", "head", "stored_bytes", "sent_bytes", "sent_bytes_with_head", "step_s", "communication_share",
                     "tokens_per_s", "steps", "seeds", "runs", "run_ids", "label", "marks", "seeds_planned", "tuned", "regenerated_bytes", "train_s"])
    for row in rows:
        run, section = row.first, row.section
        options = " ".join(f"{key.removeprefix('method.')}={value}" for key, value in sorted(run.settings.items())
                           if key.startswith("method.") and key != "method.name")
        writer.writerow([section.task, section.dataset, section.model, run.method, options, run.ranks, section.threads, section.metric,
                         *(known(value) for value in (row.mean["test"], row.low, row.high, row.deviation, row.mean["validation"])),
                         run.trainable, run.head, run.stored_bytes, run.sent_bytes, run.sent_bytes_with_head, repr(row.mean["step_s"]),
                         repr(row.mean["communication_share"]), repr(row.mean["tokens_per_s"]), run.steps,
                         " ".join(str(seed) for seed in row.seeds), len(row.runs), " ".join(each.run_id[:8] for each in row.runs), row.label,
                         "; ".join(sorted({mark for each in row.runs for mark in marks_of(each)} | ({"stale"} if row.stale else set()))),
                         row.planned or "", " ".join(row.tuned), "" if run.regenerated_bytes is None else run.regenerated_bytes, known(row.mean["train_s"])])
    return out.getvalue()
