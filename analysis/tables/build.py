"""From rows to a table: compares them with the control, finds when they reached the target, and fills the cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..load.arguments import CONTROL
from ..load.runs import Run
from ..load.series import Predictions
from ..load.summary import Row, Section
from ..load.targets import Target, choose_target, reach
from ..load.titles import by_section, title
from ..stats import Comparison, RowStatistics, compare, t_interval
from .columns import COLUMNS, METHOD, METHOD_HEADING, heading_of
from .entry import Entry, over_seeds
from .model import Block, Table

MOST_READ = 1000  # runs whose predictions are looked at unasked: from them stand the number of test examples, and intervals over these, in the CSV file
MOST_COMPARED = 100  # rows; pairs of them are compared, so that time grows with the square


@dataclass
class Group:
    """The rows of one section. Where a column tells the ranks, only rows of equal ranks are compared."""
    section: Section
    entries: list[Entry]
    comparisons: list[Comparison] = field(default_factory=list)
    targets: dict[Target | None, None] = field(default_factory=dict)


def compare_rows(rows: list[Row], control: str, predictions: Callable[[Run], Predictions | None] | None) -> Comparison:
    """All rows; of too many their intervals alone."""
    if len(rows) <= MOST_COMPARED:
        return compare(rows, control, predictions)
    scores = [t_interval([score for _, score in over_seeds(row.runs, lambda run: run.test)[1]]) for row in rows]
    return Comparison(None, [RowStatistics(row, score, None, "") for row, score in zip(rows, scores)],
                      [f"Not compared: {len(rows)} rows are too many ({MOST_COMPARED} at most); name fewer runs."])


def make_groups(rows: Sequence[Row], control: str, targets: dict[str, float] | None = None,
                predictions: Callable[[Run], Predictions | None] | None = None) -> list[Group]:
    """Each section's rows, compared. predictions: for intervals over test examples, too; None: without them."""
    groups = []
    for section, members in by_section(rows).items():
        group = Group(section, [])
        by_ranks: dict[int, list[Row]] = {}
        for row in members:
            by_ranks.setdefault(row.first.ranks, []).append(row)
        entries: dict[int, Entry] = {}
        for alike in by_ranks.values():
            comparison = compare_rows(alike, control, predictions)
            target = choose_target(section, targets or {}, comparison.control)
            group.comparisons.append(comparison)
            group.targets[target] = None
            entries |= {id(found.row): Entry(found.row, found, comparison, reach(found.row, target)) for found in comparison.rows}
        group.entries = [entries[id(row)] for row in members]
        groups.append(group)
    return groups


def missing_control(groups: Sequence[Group], control: str) -> str:
    """What to say of a control that was asked for, and is in no section; "" if there is nothing to say."""
    if not groups or control == CONTROL or any(comparison.control for group in groups for comparison in group.comparisons):
        return ""
    note = next((note for group in groups for comparison in group.comparisons for note in comparison.notes if note.startswith("No control")), "")
    return note and f"{note} Rows: {', '.join(dict.fromkeys(entry.row.label for entry in entries_of(groups)))}; name one with --control"


def entries_of(groups: Sequence[Group]) -> list[Entry]:
    return [entry for group in groups for entry in group.entries]


def key_of(section: Section) -> str:
    return "-".join(filter(None, [section.task, section.model, f"{section.ranks}x{section.threads}" if section.ranks else f"x{section.threads}"]))


def make_block(group: Group, columns: Sequence[str]) -> Block:
    shown = [METHOD, *(COLUMNS[name] for name in columns)]
    return Block(title(group.section), [METHOD_HEADING, *map(heading_of, columns)], [[column.show(entry) for column in shown] for entry in group.entries],
                 key_of(group.section))


def make_table(groups: Sequence[Group], columns: Sequence[str]) -> Table:
    """One block per section; what is said below comes from notes.py."""
    return Table([make_block(group, columns) for group in groups])
