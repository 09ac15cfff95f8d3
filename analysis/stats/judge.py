"""Verdicts: one family of comparisons with a control, and groups among all pairs. Knows scores by seed, not where they come from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .crossed import crossed_interval
from .design import pooled_spread, smallest_difference
from .groups import letters, pair_matrix, separated_pairs
from .intervals import Interval, make_interval, t_interval
from .multiple import holm
from .pairs import LEAST_SEEDS, Paired, paired, rounding_spread

BETTER, WORSE, NOT_SEPARATED, TOO_FEW, NO_SPREAD = "better", "worse", "not separated", "too few seeds", "no spread"
MOST_GROUPED = 100  # rows: the pairs of them grow with the square, and letters of more tell nobody anything


@dataclass(frozen=True)
class Entry:
    """What is compared."""
    label: str
    scores: Mapping[int, float]  # by seed, all finite; empty: it is not compared
    step: float = 0.0  # of the scores' grid


@dataclass(frozen=True)
class Difference:
    """A row minus the control, over common seeds."""
    seeds: tuple[int, ...]
    interval: Interval  # new seeds, these test examples; its ends are NaN with too few seeds or no spread, its mean without a common seed
    wide: Interval | None  # new seeds and new test examples
    adjusted: Interval | None  # as `interval`, but all of the family at once hold their true differences in `level` of all repetitions (Bonferroni)
    sd: float  # over seeds; NaN: fewer than two
    p: float  # NaN: no test
    p_holm: float
    smallest: float  # the true difference that would be separated with 80 % power; NaN: not known
    verdict: str

    @property
    def mean(self) -> float:
        return self.interval.mean

    @property
    def is_separated(self) -> bool:
        return self.verdict in (BETTER, WORSE)


@dataclass
class Judgement:
    scores: list[Interval | None]
    differences: list[Difference | None]  # None: of the control, and of what is not compared
    letters: list[str]  # "": compared with no other row
    family: int  # comparisons with the control that have two common seeds or more
    pairs: int  # likewise of all rows
    pooled: float  # standard deviation of differences, pooled over the family; NaN: no family
    least_seeds: int  # the fewest of any comparison of the family; 0: no family
    smallest: float  # by the pooled spread and the fewest seeds; NaN: not known
    too_many_groups: bool = False


PartOfExamples = Callable[[int, tuple[int, ...]], "tuple[float, int] | None"]  # of an entry's difference to the control over these seeds: B, and examples


def pair_of(first: Entry, second: Entry, level: float) -> Paired:
    return paired(first.scores, second.scores, level, rounding_spread(first.step, second.step))


def verdict_of(pair: Paired, p_holm: float, alpha: float, lower_is_better: bool) -> str:
    if len(pair.seeds) < LEAST_SEEDS:
        return TOO_FEW
    if pair.flat:
        return NOT_SEPARATED if pair.equal else NO_SPREAD
    if not p_holm <= alpha:
        return NOT_SEPARATED
    return BETTER if (pair.mean < 0) == lower_is_better else WORSE


def wide_interval(pair: Paired, part: tuple[float, int] | None, level: float) -> Interval | None:
    if part is None or len(pair.seeds) < LEAST_SEEDS:
        return None
    return crossed_interval(pair.mean, pair.sd ** 2 / len(pair.seeds), part[0], len(pair.seeds), part[1], level)


def finish(pair: Paired, p_holm: float, family: int, wide: Interval | None, level: float, lower_is_better: bool) -> Difference:
    """Bonferroni's intervals, each at 1 - alpha / K: where one leaves out 0, Holm separates, too. The converse does not hold, since Holm's later steps ask
    for less."""
    alpha, count = 1 - level, len(pair.seeds)
    adjusted, smallest = None, math.nan
    if pair.interval.is_known:
        adjusted = make_interval(pair.mean, pair.sd / math.sqrt(count), count - 1, 1 - alpha / family)
        smallest = smallest_difference(pair.sd, count, alpha / family)
    return Difference(pair.seeds, pair.interval, wide, adjusted, pair.sd, pair.p, p_holm, smallest,
                      verdict_of(pair, p_holm, alpha, lower_is_better))


def judge_against(entries: Sequence[Entry], control: int, level: float, lower_is_better: bool, part_of_examples: PartOfExamples) -> Judgement:
    """Comparisons with the control, without letters."""
    indices = [index for index, entry in enumerate(entries) if index != control and entry.scores and entries[control].scores]
    pairs = {index: pair_of(entries[index], entries[control], level) for index in indices}
    tested = [index for index in indices if len(pairs[index].seeds) >= LEAST_SEEDS]
    adjusted = dict(zip(tested, holm([pairs[index].p for index in tested]).tolist()))
    differences: list[Difference | None] = [None] * len(entries)
    for index in indices:
        wide = wide_interval(pairs[index], part_of_examples(index, pairs[index].seeds) if index in adjusted else None, level)
        differences[index] = finish(pairs[index], adjusted.get(index, math.nan), len(tested), wide, level, lower_is_better)
    pooled, least, smallest = math.nan, 0, math.nan
    if tested:
        least = min(len(pairs[index].seeds) for index in tested)
        pooled = pooled_spread([(pairs[index].sd, len(pairs[index].seeds) - 1) for index in tested])
        if not all(pairs[index].flat for index in tested):
            smallest = smallest_difference(pooled, least, (1 - level) / len(tested))
    return Judgement([], differences, [], len(tested), 0, pooled, least, smallest)


def find_groups(entries: Sequence[Entry], level: float) -> tuple[list[str] | None, int]:
    """Letters (None: too many), and how many pairs were tested."""
    compared = [index for index, entry in enumerate(entries) if entry.scores]
    if len(compared) > MOST_GROUPED:
        return None, 0
    pairs = [pair_of(entries[first], entries[second], level) for place, first in enumerate(compared) for second in compared[place + 1:]]
    has_seeds = np.array([len(pair.seeds) >= LEAST_SEEDS for pair in pairs], bool)
    separated = np.zeros(len(pairs), bool)
    separated[has_seeds] = separated_pairs(np.array([pair.p for pair in pairs])[has_seeds], 1 - level)
    is_tested = pair_matrix(len(compared), has_seeds).any(1)
    found = letters(pair_matrix(len(compared), separated)[np.ix_(is_tested, is_tested)])
    if found is None:
        return None, int(has_seeds.sum())
    texts, following = [""] * len(entries), iter(found)
    for index, tested in zip(compared, is_tested):
        texts[index] = next(following) if tested else ""
    return texts, int(has_seeds.sum())


def judge(entries: Sequence[Entry], control: int | None, level: float, lower_is_better: bool, part_of_examples: PartOfExamples) -> Judgement:
    """entries: those of one section. control: which of them; None: groups alone."""
    nothing = Judgement([], [None] * len(entries), [], 0, 0, math.nan, 0, math.nan)
    found = nothing if control is None else judge_against(entries, control, level, lower_is_better, part_of_examples)
    texts, pairs = find_groups(entries, level)
    scores = [t_interval(list(entry.scores.values()), level, entry.step / math.sqrt(12)) if entry.scores else None for entry in entries]
    return replace(found, scores=scores, letters=texts or [""] * len(entries), pairs=pairs, too_many_groups=texts is None)
