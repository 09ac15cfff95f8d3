"""The first chapter: what was compared, what can be said of it and what cannot, and what each method saves. Every sentence follows from the data."""

import math
from collections import Counter
from collections.abc import Collection, Sequence

from ..common.units import PERCENT, score
from ..common.words import count, enumerate_words
from ..load.allowed import CONTAMINATED
from ..load.runs import Collection as Runs
from ..load.runs import Run
from ..load.study import Study
from ..load.summary import Row
from ..stats import Comparison, RowStatistics
from ..stats.judge import BETTER, NOT_SEPARATED, WORSE
from ..tables.build import Group, title
from ..tables.shown import signed
from .blocks import Block, Bullets, Chapter, Link, Paragraph, Part, Strong, Text
from .frugality import describe_frugality
from .places import Places

MOST_NAMED = 12
OK, DIRTY, STALE = "ok", "dirty build", "stale"


def some(names: Sequence[str]) -> str:
    more = [f"{len(names) - MOST_NAMED} more"] if len(names) > MOST_NAMED else []
    return enumerate_words([*names[:MOST_NAMED], *more])


def unit(metric: str) -> str:
    return " points" if metric in PERCENT else ""


def describe_runs(rows: Sequence[Row], runs: Sequence[Run]) -> str:
    methods = list(dict.fromkeys(row.first.method for row in rows))
    tasks = list(dict.fromkeys(row.section.task for row in rows))
    models = list(dict.fromkeys(row.section.model for row in rows if row.section.model))
    seeds = sorted({seed for row in rows for seed in row.seeds})
    ranks, threads = sorted({run.ranks for run in runs}), sorted({run.threads for run in runs})
    parts = [f"{count(len(methods), 'method')} ({some(methods)}) on {count(len(tasks), 'task')} ({some(tasks)})"]
    parts += [f"with {some(models)}"] if models else []
    counts = sorted({len(row.seeds) for row in rows})
    each = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return (f"{', '.join(parts)}: {count(len(runs), 'run')} in {count(len(rows), 'row')}, {each} seed{'' if counts[-1] == 1 else 's'} each "
            f"({', '.join(map(str, seeds))}), on {enumerate_words(list(map(str, ranks)))} rank{'' if ranks == [1] else 's'} with "
            f"{enumerate_words(list(map(str, threads)))} thread{'' if threads == [1] else 's'}.")


# ---- scores ----

def name_difference(each: RowStatistics, metric: str) -> str:
    """red: better, +1.20 points (95 % interval +0.40 to +2.00, with other test examples -0.10 to +2.50; p 0.012 after Holm)."""
    found = each.difference
    p = "below 0.001" if found.p_holm < 0.001 else f"{found.p_holm:.3f}"
    inside = [f"{words} {signed(interval.low, metric)} to {signed(interval.high, metric)}"
              for words, interval in ((f"{100 * found.interval.level:g} % interval", found.interval), ("with other test examples", found.wide))
              if interval and math.isfinite(interval.low)]
    return f"{each.row.label}: {found.verdict}, {signed(found.mean, metric)}{unit(metric)} ({', '.join(inside)}; p {p} after Holm)."


def describe_smallest(comparison: Comparison, metric: str) -> str:
    if not math.isfinite(comparison.smallest):
        return ""
    return (f"By the spread of these seeds a true difference is found with 80 % power only from about {score(comparison.smallest, metric)}{unit(metric)} "
            "upwards, so smaller ones may exist unseen.")


def describe_letters(comparison: Comparison) -> str:
    """Which rows nothing tells apart."""
    groups: dict[str, list[str]] = {}
    for each in comparison.rows:
        for letter in each.letters:
            groups.setdefault(letter, []).append(each.row.label)
    several = {letter: names for letter, names in sorted(groups.items()) if len(names) > 1}
    if not several:
        return ""
    if len(groups) == 1:
        return "No two of its rows can be separated from one another."
    return f"Not separable from one another: {'; '.join(f'({letter}) {some(names)}' for letter, names in several.items())}."


def describe_comparison(group: Group, comparison: Comparison) -> list[str]:
    metric = group.section.metric
    control = comparison.control
    if control is None:
        return [*[note for note in comparison.notes if note.startswith("No control")], *filter(None, [describe_letters(comparison)])]
    compared = [each for each in comparison.rows if each.difference]
    sentences = [name_difference(each, metric) for verdict in (BETTER, WORSE) for each in compared if each.difference.verdict == verdict]
    others: dict[str, list[str]] = {}
    for each in compared:
        if not each.difference.is_separated:
            others.setdefault(each.difference.verdict, []).append(each.row.label)
    for verdict, names in others.items():
        what = f"Not separated from {control.label}" if verdict == NOT_SEPARATED else f"No verdict, because of {verdict}"
        sentences.append(f"{what}: {some(names)}.")
    return [*sentences, *filter(None, [describe_smallest(comparison, metric), describe_letters(comparison)])]


def describe_scores(groups: Sequence[Group]) -> list[Block]:
    blocks: list[Block] = []
    for group in groups:
        for comparison in group.comparisons:
            ranks = f" on {count(comparison.rows[0].row.first.ranks, 'rank')}" if not group.section.ranks and comparison.rows else ""
            against = f", against {comparison.control.label}" if comparison.control else ""
            where = f"{title(group.section)}{ranks}{against}:"
            if sentences := describe_comparison(group, comparison):
                blocks += [Paragraph([Strong(where)]), Bullets(sentences)]
    return blocks


def describe_verdicts(runs: Sequence[Run], allowed: Collection[str]) -> list[str]:
    """52 of 60 runs are contaminated"""
    counts = Counter(word.partition(":")[0] for run in runs for word in run.verdict.split("; ") if word != OK)
    lines = []
    for word, number in counts.items():
        times = ", so that their times do not count" if word == CONTAMINATED and CONTAMINATED not in allowed else ""
        lines.append(f"{number} of {count(len(runs), 'run')} {'is' if number == 1 else 'are'} {'of a dirty build' if word == DIRTY else word}{times}")
    return lines


def describe_rest(study: Study | None, collection: Runs, place: str) -> Text:
    """What is not in the tables, and what is in them with a reservation."""
    left_out = len(collection.left_out)
    lines: list[str] = []
    if study:
        missing = sum(not line.is_finished for line in study.runs)
        lines.append(f"Of {count(len(study.runs), 'planned run')} {len(study.runs) - missing} {'is' if len(study.runs) - missing == 1 else 'are'} finished"
                     + (f" and {missing} {'has' if missing == 1 else 'have'} no number" if missing else ""))
        if stale := sum(line.state == STALE for line in study.runs):
            lines.append(f"{stale} by other sources than today's")
    if left_out:
        lines.append(f"{count(left_out, 'file')} {'was' if left_out == 1 else 'were'} left out")
    lines += describe_verdicts(collection.runs, collection.allowed)
    parts: list[Part] = [f"{'; '.join(lines)}: " if lines else "Nothing was left out: ", Link("details", f"#{place}"), "."]
    return parts


def make_summary(groups: Sequence[Group], rows: Sequence[Row], study: Study | None, collection: Runs, rest_place: str, places: Places) -> Chapter:
    runs = [run for row in rows for run in row.runs]
    blocks: list[Block] = [Paragraph(describe_runs(rows, runs))]
    if controls := {comparison.control.label: None for group in groups for comparison in group.comparisons if comparison.control}:
        blocks.append(Paragraph(f"Control: {some(list(controls))}. Differences to it are paired by seed; p values are corrected by Holm over the comparisons "
                                "of a table, at 5 %."))
    blocks += describe_scores(groups)
    blocks += [Paragraph(text) for text in describe_frugality(groups)]
    blocks.append(Paragraph(describe_rest(study, collection, rest_place)))
    return Chapter("Summary", places.new("summary"), blocks)
