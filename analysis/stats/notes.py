"""What is said below a comparison: control, seeds, families, what could not be done and why."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..common.units import PERCENT, score
from ..common.words import count, some
from .design import spread_range
from .judge import NO_SPREAD, NOT_SEPARATED, TOO_FEW, Entry, Judgement

if TYPE_CHECKING:
    from ..load.summary import Row

MOST_NAMED = 5


def listed(seeds: Sequence[int]) -> str:
    return f"seed{'' if len(seeds) == 1 else 's'} {' '.join(map(str, seeds))}"


def percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def with_unit(value: float, metric: str) -> str:
    """A difference of scores: percent points where the metric is shown in percent."""
    return score(value, metric) + (" points" if metric in PERCENT else "")


def about_seeds(found: Judgement, entries: Sequence[Entry], control: int) -> list[str]:
    """The common seeds of most comparisons, and those that have others."""
    compared = {index: difference for index, difference in enumerate(found.differences) if difference}
    if not compared:
        return []
    of_control = set(entries[control].scores)
    seeds = [difference.seeds for difference in compared.values()]
    usual = max(seeds, key=lambda each: (seeds.count(each), len(each)))
    text = f"Control: {entries[control].label}. Differences: a row minus the control, by the seeds that both have: {' '.join(map(str, usual)) or 'none'}"
    others = []
    for index, difference in compared.items():
        unused = [f"{whose} {listed(sorted(rest))}" for whose, rest in (("the control's", of_control - set(difference.seeds)),
                                                                       ("its own", set(entries[index].scores) - set(difference.seeds))) if rest]
        if unused:
            others.append(f"{entries[index].label} {' '.join(map(str, difference.seeds)) or 'none'}, without {' and '.join(unused)}")
    more = f"; and {len(others) - MOST_NAMED} more with seeds that only one side has" if len(others) > MOST_NAMED else ""
    return [f"{text}{'; but ' if others else ''}{'; '.join(others[:MOST_NAMED])}{more}."]


def about_family(found: Judgement, level: float, metric: str) -> list[str]:
    if not found.family:
        return []
    alpha = 1 - level
    lines = [f"Family: {count(found.family, 'comparison')} with the control. The chance of any false verdict in it is at most {percent(alpha)} (Holm, whose "
             f"first step asks for p of {alpha / found.family:.2g} or less)."]
    if math.isfinite(found.smallest):
        low, high = spread_range(found.least_seeds - 1)
        lines += ["Smallest: the true difference that the first step would separate with 80 % power, by the spread of this row's differences over seeds. A "
                  f"spread from {count(found.least_seeds, 'seed')} may in truth be {low:.2f} to {high:.1f} times as large ({percent(level)}), and so may this.",
                  f"Smallest by the spread of all differences together ({with_unit(found.pooled, metric)}): {with_unit(found.smallest, metric)}."]
    return lines


def about_verdicts(found: Judgement, entries: Sequence[Entry]) -> list[str]:
    """What verdicts and intervals do not tell by themselves."""
    shown = [(entry.label, difference) for entry, difference in zip(entries, found.differences) if difference]
    lines = []
    if few := [label for label, each in shown if each.verdict == TOO_FEW]:
        lines.append(f"Too few seeds, so not in the family: {some(few, MOST_NAMED)}.")
    if flat := [label for label, each in shown if each.verdict == NO_SPREAD]:
        lines.append(f"No spread: {some(flat, MOST_NAMED)}. The differences vary over seeds no more than rounding to whole test examples may make them, so "
                     "that seeds give neither an interval nor a p value; in the family such a comparison counts as not separated.")
    if equal := [label for label, each in shown if each.verdict == NOT_SEPARATED and not math.isfinite(each.p)]:
        lines.append(f"Equal to the control in every seed: {some(equal, MOST_NAMED)}.")
    if any(each.wide for _, each in shown):
        lines.append("With new examples: for other seeds and other test examples; the difference's own interval is for other seeds on these test examples.")
    if held := [label for label, each in shown if each.is_separated and each.wide and each.wide.has_zero]:
        lines.append(f"Separated on these test examples, not beyond them, since the interval with new examples reaches 0: {some(held, MOST_NAMED)}.")
    return lines


def about_letters(found: Judgement, level: float) -> list[str]:
    if found.too_many_groups:
        return ["No groups: there are too many rows or groups to show."]
    if not found.pairs:
        return []
    return [f"Group: rows that share a letter cannot be separated (Holm over {count(found.pairs, 'pair')} of rows, {percent(1 - level)} for all of them: it "
            "asks more of a pair than the comparisons with the control do). Letters are no order."]


def describe(found: Judgement, entries: Sequence[Entry], control: int | None, level: float, metric: str) -> list[str]:
    lines = []
    if control is not None:
        lines = about_seeds(found, entries, control) + about_family(found, level, metric) + about_verdicts(found, entries)
    return lines + about_letters(found, level)


def describe_missing(rows: Sequence[Row], entries: Sequence[Entry], reasons: Mapping[str, Sequence[str]]) -> list[str]:
    """Rows that were not compared, seeds that never finished, intervals over examples that could not be made."""
    lines = []
    if unknown := [f"{row.label} (seed {some([run.seed for run in row.runs if not math.isfinite(run.test)], MOST_NAMED)})"
                   for row, entry in zip(rows, entries) if not entry.scores]:
        lines.append(f"Not compared, because a test score is not known: {some(unknown, MOST_NAMED)}.")
    if short := [f"{row.label} {len(row.seeds)} of {row.planned}" for row in rows if row.planned > len(row.seeds)]:
        lines.append(f"Seeds that are missing are not looked at, whatever ended their runs: {some(short, MOST_NAMED)}.")
    lines += [f"No interval over examples ({some(labels, MOST_NAMED)}): {reason}." for reason, labels in reasons.items()]
    return lines
