"""The form that papers print: methods below one another, tasks side by side, and the average over them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from ..common.text import AND
from ..load.summary import Row, Section
from ..stats import average_over
from .build import Group, setting_of
from .columns import METHOD, METHOD_HEADING
from .entry import Entry, over_seeds
from .model import Block, Cell, Heading, Table
from .shown import UNKNOWN, half_width, interval_values, mark_of

AVERAGE = "average"


def times_100(value: float) -> str:
    return f"{100 * value:.2f}" if math.isfinite(value) else UNKNOWN


def show_score(entry: Entry | None) -> Cell:
    if entry is None:
        return Cell(UNKNOWN)
    mean, seeds = over_seeds(entry.runs, lambda run: run.test)
    interval = entry.statistics.score if entry.statistics else None
    if interval is None or not math.isfinite(mean):
        return Cell(times_100(mean), (("mean", mean), *seeds), entry.runs)
    return Cell(times_100(interval.mean) + AND + times_100(half_width(interval)), (*interval_values(interval), *seeds), entry.runs, mark_of(entry))


def show_average(rows: Sequence[Row | None]) -> Cell:
    """Only of a method that every task has."""
    if any(row is None for row in rows):
        return Cell(UNKNOWN)
    runs = [run for row in rows for run in row.runs]
    found = average_over(rows)
    if found is None or not math.isfinite(found.mean):
        return Cell(UNKNOWN, (), runs)
    half = half_width(found)
    return Cell(times_100(found.mean) + (AND + times_100(half) if math.isfinite(half) else ""), interval_values(found), runs)


def by_setting(groups: Sequence[Group]) -> dict[tuple[str, ...], list[Group]]:
    """Tasks that stand side by side have model, ranks and threads in common."""
    settings: dict[tuple[str, ...], list[Group]] = {}
    for group in groups:
        settings.setdefault(tuple(setting_of(group.section)), []).append(group)
    return settings


def name_of(section: Section, among: Sequence[Section]) -> str:
    """A task alone, with its data and its metric where it is there twice."""
    alike = [other for other in among if other.task == section.task]
    return " ".join([section.task, *([section.dataset, section.metric] if len(alike) > 1 else [])])


def make_wide_block(groups: Sequence[Group]) -> Block:
    sections = [group.section for group in groups]
    found = [{entry.row.label: entry for entry in group.entries} for group in groups]
    most = max(len(each) for each in found)
    labels = dict.fromkeys(label for each in sorted(found, key=lambda each: len(each) < most) for label in each)
    headings = [METHOD_HEADING]
    for place, section in enumerate(sections):
        headings.append(Heading(name_of(section, sections), (name_of(section, sections), section.metric),
                                "test score x 100: mean over seeds ± half of its 95 % t interval over seeds", place + 1, marked=True))
    if len(groups) > 1:
        headings.append(Heading(AVERAGE, (AVERAGE, "of tasks"), "mean over all tasks, each with the same weight, x 100 ± half of its 95 % t interval over seeds"))
    rows = []
    for label in labels:
        entries = [each.get(label) for each in found]
        first = next(entry for entry in entries if entry)
        average = [show_average([entry and entry.row for entry in entries])] if len(groups) > 1 else []
        name = Cell(label, (), [run for entry in entries if entry for run in entry.runs])
        assert METHOD.show(first).text == name.text
        rows.append([name, *map(show_score, entries), *average])
    setting = setting_of(sections[0])
    return Block(f"{', '.join(setting)}: test scores x 100", headings, rows, "-".join(["wide", *setting]))


def make_wide(groups: Sequence[Group]) -> Table:
    blocks = [make_wide_block(members) for members in by_setting(groups).values()]
    controls = list(dict.fromkeys(comparison.control.label for group in groups for comparison in group.comparisons if comparison.control))
    about = ["Mean over seeds ± half of a 95 % t interval; without an interval: one seed."]
    if controls and any(cell.mark for block in blocks for row in block.rows for cell in row):
        about.append(f"↑ better, ↓ worse than the control {' or '.join(controls)} (paired over common seeds, Holm over the methods of a task, 5 %); all others "
                     "could not be separated from it.")
    elif controls:
        about.append(f"No method could be separated from the control {' or '.join(controls)} (paired over common seeds, Holm over the methods of a task, 5 %).")
    if any(len(block.headings) > 2 for block in blocks):
        metrics = len({group.section.metric for group in groups}) > 1
        about.append(f"average: of tasks, each with the same weight{', whatever its metric' * metrics}; only where every task has the row.")
    return Table(blocks, about)


def as_wide_csv(table: Table) -> str:
    """A line per method; scores as in run files, not x 100."""
    tasks = list(dict.fromkeys(heading.name for heading in table.headings[1:]))
    ends = ("mean", "low", "high")
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["setting", "method", *(f"{task}_{end}" for task in tasks for end in (*ends, "compared", "run_ids"))])
    for block in table.blocks:
        for row in block.rows:
            cells = dict(zip((heading.name for heading in block.headings), row))
            fields = []
            for task in tasks:
                cell = cells.get(task, Cell(UNKNOWN))
                values = dict(cell.values)
                fields += [repr(float(values[end])) if math.isfinite(values.get(end, math.nan)) else "" for end in ends]
                fields += [cell.mark, " ".join(run.run_id[:8] for run in cell.runs)]
            writer.writerow([block.title.rpartition(":")[0], row[0].text, *fields])
    return out.getvalue()
