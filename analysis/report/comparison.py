"""The chapters that show the tables of analysis.tables: what methods reach and cost, which of them can be separated, and what papers print."""

import math
import re
from collections.abc import Sequence

from ..common.words import some
from ..tables.beside import Beside, describe_beside, put_beside
from ..tables.build import Group, make_block, title
from ..tables.columns import AGAINST
from ..tables.model import ARROWS, Block
from ..tables.model import Cell as Shown
from ..tables.notes import explain
from ..tables.shown import UNKNOWN
from ..tables.wide import make_wide
from .blocks import Bullets, Cell, Chapter, Fold, Head, Heading, Paragraph, Table, Text, typed
from .notes import nest
from .places import Places, short

# What a table shows, in this order; a column without a single value is left out, and said.
SCORES = ("ranks", "test", "compared", "letters", "validation", "tuned", "trainable", "stored", "regenerated", "sent", "sent_with_head", "verdict")
COSTS = ("ranks", "step", "expand", "gather", "overhead", "communication", "wait", "wire", "tokens_per_s", "train_s", "energy", "activation", "memory",
         "time_to_target", "bytes_to_target")
STATISTICS = ("ranks", "test", "sd", "difference", "difference_examples", "p_value", "compared", "smallest", "letters")
PUBLISHED = ("ranks", "test", "trainable")
RANKS = "ranks"
NUMBER = re.compile(r"[-+<]?\d")
# In words; analysis/stats/README.md has the proofs and the limits.
FORMULAS = (
    "Interval of a score: mean over n seeds ± t s / \u221an, with s the standard deviation over seeds and t the quantile of Student's distribution with n - 1 "
    "degrees of freedom. It speaks of other seeds on these test examples.",
    "Difference to the control: of each seed that both have, the row's score minus the control's; then mean and interval as of a score. What the seeds have in "
    "common, as the order of the data, drops out.",
    "Interval with new examples: seeds and test examples as crossed random effects. To the variance of the mean over seeds comes what other examples would "
    "add, estimated from the predictions that the run files hold; scores that are no means are taken apart into one pseudo-value per example.",
    "p: two-sided t test of the paired differences. Holm: the p values of a table's comparisons with the control in ascending order, each times the number of "
    "those not smaller than it, and none below the one before; so that the chance of any false verdict in the table stays below 5 %.",
    "Letters: the same test of every pair of rows, Holm over all pairs. Rows that share a letter could not be separated; that is no proof that they are equal.",
    "Could separate: the true difference that a study with these seeds and this spread finds with 80 % power (noncentral t distribution) at the level of "
    "Holm's first step. With few seeds the spread itself is known badly, and so is this.",
    "No bootstrap: with 3 to 10 seeds percentile intervals cover much less than they say.")
MOST_RUNS = 12  # that a cell names


def exact(value: object) -> str:
    return repr(float(value)) if isinstance(value, float) else ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def sort_key(shown: Shown) -> float | None:
    """The first exact value; of a text that is a number, that."""
    first = shown.values[0][1] if shown.values else None
    if not isinstance(first, (int, float)):
        try:
            first = float(shown.text)
        except ValueError:
            return None
    return first if math.isfinite(first) else None


def tell(shown: Shown) -> str:
    """What a cell's text is made of: exact values, and the runs that they come from."""
    values = [f"{name}: {exact(value)}" for name, value in shown.values]
    names = [short(run) for run in shown.runs]
    runs = [f"runs {some(names, MOST_RUNS)}"] if names else []
    return "; ".join([*values, *runs, *([f"source: {shown.source}"] if shown.source else [])])


def to_cell(shown: Shown, is_number: bool, marked: bool) -> Cell:
    arrow = f" {ARROWS[shown.mark]}" if marked and shown.mark else ""
    return Cell(shown.text + arrow, sort_key(shown) if is_number else None, tell(shown), shown.mark)


def make_table(block: Block, caption: str, places: Places) -> Table:
    """Without the columns in which no row has a value."""
    heads, columns, empty = [], [], []
    for number, (heading, cells) in enumerate(block.columns()):
        known = [cell for cell in cells if cell.text not in ("", UNKNOWN)]
        if number and not known:
            empty.append(heading.title)
            continue
        is_number = bool(number) and all(NUMBER.match(cell.text) for cell in known if cell.values)
        heads.append(Head(heading.title, is_number, heading.formula))
        columns.append([to_cell(cell, is_number, heading.marked) for cell in cells])
    heads.append(Head("by seed", title="the runs, called by their seeds: where each stands in the list of all"))
    columns.append([Cell(places.link_seeds(row[0].runs)) for row in block.rows])
    notes: list[Text] = [f"Not known of any row: {', '.join(empty)}."] if empty else []
    return Table(places.new("table", caption), caption, heads, list(zip(*columns)), notes=notes)


def block_of(group: Group, names: Sequence[str]) -> Block:
    """The number of ranks stands in the heading, where all rows have the same."""
    return make_block(group, [name for name in names if name != RANKS or not group.section.ranks])


def make_comparison(groups: Sequence[Group], control: str, places: Places) -> Chapter:
    chapter = Chapter("Comparison", places.new("comparison"))
    chapter.blocks.append(Paragraph(
        "A heading sorts its table: once upwards, twice downwards, three times back. Rows come with the most trained numbers first, which says nothing about "
        "scores; sorted by score they stand in the order of means, not of evidence: rows that share a letter under \u201cgroup\u201d cannot be separated. Each "
        "cell names its exact values and runs where a pointer rests on it; the last column leads to the runs."))
    if len(groups) > 1:
        wide = make_wide(groups, control)
        chapter.blocks.append(Heading("All tasks", places.new("comparison of all tasks")))
        chapter.blocks += [make_table(block, block.title, places) for block in wide.blocks]
        chapter.blocks.append(Bullets([typed(line) for line in wide.about]))
    for group in groups:
        places.tables[group.section] = places.new("comparison", group.section.task)
        chapter.blocks.append(Heading(title(group.section), places.tables[group.section]))
        for names, caption in ((SCORES, "Scores and sizes"), (COSTS, "Time, memory and bytes")):
            chapter.blocks.append(make_table(block_of(group, names), f"{caption}: {group.section.task}", places))
    named = [name for name in (*SCORES, *COSTS) if name not in AGAINST]  # of those the next chapter tells
    chapter.blocks.append(Fold("What the columns mean", [Bullets([typed(line) for line in explain(named, groups)])]))
    return chapter


def make_statistics(groups: Sequence[Group], places: Places) -> Chapter:
    chapter = Chapter("What can be separated", places.new("statistics"))
    for group in groups:
        chapter.blocks.append(make_table(block_of(group, STATISTICS), f"Differences to the control: {group.section.task}", places))
    chapter.blocks.append(Bullets([typed(line) for line in explain(STATISTICS, groups)]))
    chapter.blocks.append(Fold("How these numbers are made", [Bullets(FORMULAS)]))
    return chapter


def make_published(groups: Sequence[Group], beside: Beside, places: Places) -> Chapter:
    chapter = Chapter("What papers print", places.new("published"))
    chapter.blocks.append(Paragraph("Beside our scores, in columns of their own, headed by their source; they are in no mean, interval or comparison."))
    shown = []
    for group in groups:
        block = block_of(group, PUBLISHED)
        if sources := put_beside(block, group, beside):
            chapter.blocks.append(make_table(block, f"Published numbers beside ours: {group.section.task}", places))
        shown.append((group, sources))
    chapter.blocks += nest(describe_beside(shown, beside))
    return chapter
