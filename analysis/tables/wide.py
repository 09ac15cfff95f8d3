"""The form that papers print: methods below one another, tasks side by side, and the average over them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from ..common.text import AND
from ..load.summary import Section
from ..load.titles import setting_of
from ..stats import Average, AverageRow, Difference, compare_averages
from .build import Group
from .columns import METHOD_HEADING
from .entry import Entry, over_seeds
from .model import Block, Cell, Heading, Table
from .shown import UNKNOWN, half_width, has_interval, interval_values, mark_of

AVERAGE, COMPARED = "average", "against control"


def times_100(value: float) -> str:
    return f"{100 * value:.2f}" if math.isfinite(value) else UNKNOWN


def verdict_of(difference: Difference | None) -> tuple[tuple[str, object], ...]:
    """None: of the control, and where nothing was compared."""
    return ((COMPARED, difference.verdict),) if difference else ()


def show_score(entry: Entry | None) -> Cell:
    if entry is None:
        return Cell(UNKNOWN)
    mean, seeds = over_seeds(entry.runs, lambda run: run.test)
    verdict = verdict_of(entry.statistics and entry.statistics.difference)
    if not has_interval(entry.statistics and entry.statistics.score):
        return Cell(times_100(mean), (("mean", mean), *seeds, *verdict), entry.runs, mark_of(entry))
    interval = entry.statistics.score
    return Cell(times_100(interval.mean) + AND + times_100(half_width(interval)), (*interval_values(interval), *seeds, *verdict), entry.runs, mark_of(entry))


def show_average(row: AverageRow | None) -> Cell:
    """None: some task lacks the method."""
    if row is None:
        return Cell(UNKNOWN)
    runs = [run for each in row.rows for run in each.runs]
    mark = row.difference.verdict if row.difference and row.difference.is_separated else ""
    more = ("seeds", row.seeds), *verdict_of(row.difference)
    if not has_interval(row.score):
        return Cell(times_100(row.mean), (("mean", row.mean), *more), runs, mark)
    return Cell(times_100(row.score.mean) + AND + times_100(half_width(row.score)), (*interval_values(row.score), *more), runs, mark)


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


def make_average(groups: Sequence[Group], control: str) -> Average | None:
    """None: of one task, or of scores that have no mean that says anything."""
    try:
        return compare_averages([[entry.row for entry in group.entries] for group in groups], control) if len(groups) > 1 else None
    except ValueError:
        return None


def make_wide_block(groups: Sequence[Group], average: Average | None) -> Block:
    sections = [group.section for group in groups]
    found = [{entry.row.label: entry for entry in group.entries} for group in groups]
    most = max(len(each) for each in found)
    labels = dict.fromkeys(label for each in sorted(found, key=lambda each: len(each) < most) for label in each)
    headings = [METHOD_HEADING]
    for place, section in enumerate(sections):
        headings.append(Heading(name_of(section, sections), (name_of(section, sections), section.metric),
                                "test score x 100: mean over seeds ± half of its 95 % t interval over seeds", place + 1, marked=True))
    if average:
        headings.append(Heading(AVERAGE, (AVERAGE, "of tasks"),
                                "mean over all tasks, each with the same weight, x 100, over the seeds that all have, ± half of its 95 % t interval",
                                marked=True))
    rows = []
    for label in labels:
        entries = [each.get(label) for each in found]
        name = Cell(label, (), [run for entry in entries if entry for run in entry.runs])
        rows.append([name, *map(show_score, entries), *([show_average(average.find(label))] if average else [])])
    setting = setting_of(sections[0])
    return Block(f"{', '.join(setting)}: test scores x 100", headings, rows, "-".join(["wide", *setting]))


def make_wide(groups: Sequence[Group], control: str) -> Table:
    settings = list(by_setting(groups).values())
    averages = [make_average(members, control) for members in settings]
    blocks = [make_wide_block(members, average) for members, average in zip(settings, averages)]
    controls = list(dict.fromkeys(comparison.control.label for group in groups for comparison in group.comparisons if comparison.control))
    about = ["Mean over seeds ± half of a 95 % t interval; without an interval: one seed, or no spread."]
    if controls:
        test = f"the control {' or '.join(controls)} (paired over common seeds, Holm over the methods of a column, 5 %)"
        marked = any(cell.mark for block in blocks for row in block.rows for cell in row)
        about.append(f"↑ better, ↓ worse than {test}; all others could not be separated from it." if marked else
                     f"No method could be separated from {test}.")
    if any(averages):
        mixed = len({group.section.metric for group in groups}) > 1
        about.append(f"average: of tasks, each with the same weight{', whatever its metric' * mixed}, per seed; only where every task has the row.")
    return Table(blocks, about=about)


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
                fields += [values.get(COMPARED, ""), " ".join(run.run_id[:8] for run in cell.runs)]
            writer.writerow([block.title.rpartition(":")[0], row[0].text, *fields])
    return out.getvalue()
