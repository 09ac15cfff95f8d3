"""What is said below a comparison: control, seeds, families, what could not be done and why."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..common.units import score
from .design import spread_range
from .judge import NO_SPREAD, NOT_SEPARATED, TOO_FEW, Entry, Judgement

if TYPE_CHECKING:
    from ..load.summary import Row

MOST_NAMED = 5


def name(labels: Sequence[str]) -> str:
    return ", ".join(labels[:MOST_NAMED]) + (f" and {len(labels) - MOST_NAMED} more" if len(labels) > MOST_NAMED else "")


def count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def listed(seeds: Sequence[int]) -> str:
    return f"seed{'' if len(seeds) == 1 else 's'} {' '.join(map(str, seeds))}"


def percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def about_seeds(found: Judgement, entries: Sequence[Entry], control: int) -> list[str]:
    """The common seeds of most comparisons, and those that have others."""
    sets: dict[tuple[int, ...], list[int]] = {}
    for index, difference in enumerate(found.differences):
        if difference:
            sets.setdefault(difference.seeds, []).append(index)
    if not sets:
        return []
    ordered = sorted(sets, key=lambda seeds: -len(sets[seeds]))
    lines = [f"Control: {entries[control].label}. Differences are a row minus the control, over the seeds that both have: "
             f"{' '.join(map(str, ordered[0])) or 'none'}{'' if len(ordered) == 1 else ', but'}"]
    lines[0] += "." if len(ordered) == 1 else ":"
    own = set(entries[control].scores)
    for index, difference in enumerate(found.differences):
        if difference is None:
            continue
        sides = [(f"without {listed(sorted(own - set(difference.seeds)))} of the control", own - set(difference.seeds)),
                 (f"without its own {listed(sorted(set(entries[index].scores) - set(difference.seeds)))}", set(entries[index].scores) - set(difference.seeds))]
        left_out = [text for text, seeds in sides if seeds]
        if difference.seeds != ordered[0] or left_out and len(ordered) == 1:
            lines.append(f"  {entries[index].label}: {listed(difference.seeds) if difference.seeds else 'no common seed'}"
                         f"{', ' if left_out else ''}{', '.join(left_out)}")
    return lines


def about_family(found: Judgement, entries: Sequence[Entry], control: int, level: float, metric: str) -> list[str]:
    alpha = 1 - level
    if not found.family:
        return []
    lines = [f"Family: the {count(found.family, 'comparison')} with the control here. Holm's procedure keeps the chance of any false verdict in it at {percent(alpha)}; its "
             f"first step asks for p of {alpha / found.family:.2g} or less."]
    if math.isfinite(found.smallest):
        low, high = spread_range(found.least_seeds - 1)
        lines.append(f"Smallest: the true difference that the first step separates with 80 % power, by the spread of the row's own differences; by that of all "
                     f"together ({score(found.pooled, metric)}), {score(found.smallest, metric)}. A spread from {found.least_seeds} seeds may be {low:.2f} to {high:.1f} "
                     f"times as large in truth, and so may this.")
    if few := [entries[index].label for index, each in enumerate(found.differences) if each and each.verdict == TOO_FEW]:
        lines.append(f"Too few seeds, not in the family: {name(few)}.")
    if flat := [entries[index].label for index, each in enumerate(found.differences) if each and each.verdict == NO_SPREAD]:
        lines.append(f"No spread: the differences of {name(flat)} vary over seeds no more than the rounding of scores to whole examples makes them, so that seeds give "
                     "neither an interval nor a p value; in the family they count as not separated.")
    if equal := [entries[index].label for index, each in enumerate(found.differences)
                 if each and each.verdict == NOT_SEPARATED and not math.isfinite(each.p)]:
        lines.append(f"Equal to the control in every seed: {name(equal)}.")
    if any(each and each.wide for each in found.differences):
        lines.append("With new examples: the interval for other seeds and other test examples; the first one holds for these test examples alone.")
    if held := [entries[index].label for index, each in enumerate(found.differences) if each and each.is_separated and each.wide and each.wide.has_zero]:
        lines.append(f"Separated on these test examples, but not beyond them, since the interval with new examples reaches 0: {name(held)}.")
    return lines


def about_letters(found: Judgement, level: float) -> list[str]:
    if found.too_many_groups:
        return ["No letters: there are too many groups to show."]
    if not found.pairs:
        return []
    return [f"Letters: rows that share one cannot be separated, by Holm's procedure over all {count(found.pairs, 'pair')} of rows at {percent(1 - level)}, which asks more of "
            "each than the comparisons with the control do. They are no order of rows."]


def describe(found: Judgement, entries: Sequence[Entry], control: int | None, level: float, metric: str) -> list[str]:
    lines = []
    if control is not None:
        lines = about_seeds(found, entries, control) + about_family(found, entries, control, level, metric)
    return lines + about_letters(found, level)


def describe_missing(rows: Sequence[Row], entries: Sequence[Entry], reasons: Mapping[str, Sequence[str]]) -> list[str]:
    """Rows that were not compared, seeds that never finished, intervals over examples that could not be made."""
    lines = []
    if unknown := [entry.label for entry in entries if not entry.scores]:
        lines.append(f"Not compared, because a test score is not known: {name(unknown)}.")
    if short := [f"{row.label} {len(row.seeds)} of {row.planned}" for row in rows if row.planned > len(row.seeds)]:
        lines.append(f"Seeds that are missing are not looked at, whatever ended their runs: {name(short)}.")
    lines += [f"No interval over examples ({name(labels)}): {reason}." for reason, labels in reasons.items()]
    return lines
