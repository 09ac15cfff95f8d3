"""What each column shows of a row: a text for people, and the exact values behind it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..common.text import AND
from ..common.units import human_bytes, human_time, number, score
from .entry import Entry, over_seeds
from .model import BETTER, WORSE, Cell

if TYPE_CHECKING:
    from ..load.runs import Run, Validation
    from ..stats import Interval

UNKNOWN = "-"
CONTROL = "control"


def of_seeds(known: int, all_seeds: int) -> str:
    """Behind a mean over some of them."""
    return f" {known}/{all_seeds}" if known < all_seeds else ""


def plain(text: str, entry: Entry, *values: tuple[str, object]) -> Cell:
    return Cell(text, values, entry.runs)


def unknown(entry: Entry) -> Cell:
    return Cell(UNKNOWN, (), entry.runs)


def signed(value: float, metric: str) -> str:
    text = score(value, metric)
    return f"+{text}" if value > 0 and text.strip("0.") else text.removeprefix("-") if not text.strip("-0.") else text


def half_width(interval: Interval) -> float:
    return (interval.high - interval.low) / 2


def has_interval(interval: Interval | None) -> bool:
    """One seed, or scores without a spread, give none, or one with ends that are no numbers."""
    return interval is not None and math.isfinite(half_width(interval))


def mean_and_half(interval: Interval, metric: str, form: Callable[[float, str], str] = score) -> str:
    return f"{form(interval.mean, metric)}{AND}{score(half_width(interval), metric)}"


def interval_values(interval: Interval) -> tuple[tuple[str, object], ...]:
    return ("mean", interval.mean), ("low", interval.low), ("high", interval.high), ("level", interval.level), ("degrees of freedom", interval.df)


# ---- scores ----

def show_test(entry: Entry) -> Cell:
    row = entry.row
    mean, seeds = over_seeds(row.runs, lambda run: run.test)
    interval = entry.statistics.score if entry.statistics else None
    if not has_interval(interval):
        return plain(score(mean, row.section.metric), entry, ("mean", mean), *seeds)
    return plain(mean_and_half(interval, row.section.metric), entry, *interval_values(interval), *seeds)


def show_deviation(entry: Entry) -> Cell:
    deviation = entry.row.deviation
    if deviation is None or not math.isfinite(deviation):
        return unknown(entry)
    return plain(score(deviation, entry.row.section.metric), entry, ("standard deviation", deviation))


def show_validation(entry: Entry) -> Cell:
    mean, seeds = over_seeds(entry.runs, lambda run: run.validation)
    return plain(score(mean, entry.row.section.metric), entry, ("mean", mean), *seeds)


# ---- against the control ----

def of_difference(show: Callable[[Entry], Cell]) -> Callable[[Entry], Cell]:
    """Columns that show nothing of a row without a difference."""
    def guarded(entry: Entry) -> Cell:
        if entry.is_control:
            return plain(CONTROL, entry)
        return show(entry) if entry.statistics and entry.statistics.difference else unknown(entry)
    return guarded


def with_control(entry: Entry) -> Sequence[Run]:
    return [*entry.runs, *(entry.comparison.control.runs if entry.comparison and entry.comparison.control else [])]


@of_difference
def show_difference(entry: Entry) -> Cell:
    difference, metric = entry.statistics.difference, entry.row.section.metric
    if not math.isfinite(difference.mean):
        return unknown(entry)
    interval = difference.interval
    known = has_interval(interval)
    values = (*(interval_values(interval) if known else (("mean", difference.mean),)), ("seeds", difference.seeds),
              ("control", entry.comparison.control.label))
    text = mean_and_half(interval, metric, signed) if known else signed(difference.mean, metric)
    return Cell(text, values, with_control(entry), mark_of(entry))


@of_difference
def show_wide(entry: Entry) -> Cell:
    wide = entry.statistics.difference.wide
    if not has_interval(wide):
        return unknown(entry)
    return Cell(mean_and_half(wide, entry.row.section.metric, signed), interval_values(wide), with_control(entry))


@of_difference
def show_verdict(entry: Entry) -> Cell:
    difference = entry.statistics.difference
    return Cell(difference.verdict, (("p", difference.p), ("p after Holm", difference.p_holm)), with_control(entry), mark_of(entry))


@of_difference
def show_p(entry: Entry) -> Cell:
    difference = entry.statistics.difference
    if not math.isfinite(difference.p_holm):
        return unknown(entry)
    text = "<0.001" if difference.p_holm < 0.001 else f"{difference.p_holm:.3f}"
    return Cell(text, (("p after Holm", difference.p_holm), ("p", difference.p)), with_control(entry))


@of_difference
def show_smallest(entry: Entry) -> Cell:
    smallest = entry.statistics.difference.smallest
    return Cell(score(smallest, entry.row.section.metric), (("difference", smallest),), with_control(entry)) if math.isfinite(smallest) else unknown(entry)


def show_letters(entry: Entry) -> Cell:
    letters = entry.statistics.letters if entry.statistics else ""
    return plain(letters, entry, ("letters", letters)) if letters else unknown(entry)


def mark_of(entry: Entry) -> str:
    difference = entry.statistics.difference if entry.statistics else None
    return difference.verdict if difference and difference.verdict in (BETTER, WORSE) else ""


# ---- counts, bytes, times ----

def show_count(value: Callable[[Run], int]) -> Callable[[Entry], Cell]:
    return lambda entry: plain(f"{value(entry.row.first):,}", entry, ("numbers", value(entry.row.first)))


def show_bytes(value: Callable[[Run], int | None]) -> Callable[[Entry], Cell]:
    """What all runs of a row have in common."""
    def show(entry: Entry) -> Cell:
        count = value(entry.row.first)
        return unknown(entry) if count is None else plain(human_bytes(count), entry, ("bytes", count))
    return show


def show_largest(value: Callable[[Run], int | None]) -> Callable[[Entry], Cell]:
    """Bytes that differ from run to run: the most."""
    def show(entry: Entry) -> Cell:
        found = [value(run) for run in entry.runs]
        if None in found:
            return unknown(entry)
        return plain(human_bytes(max(found)), entry, ("most", max(found)), *((f"seed {run.seed}", count) for run, count in zip(entry.runs, found)))
    return show


def show_mean(value: Callable[[Run], float | None], form: Callable[[float], str], what: str, times: bool = True,
              partly: bool = False) -> Callable[[Entry], Cell]:
    """partly: some of the seeds may tell it and others not, so that it says over how many."""
    def show(entry: Entry) -> Cell:
        mean, seeds = over_seeds(entry.runs, value, times)
        if not math.isfinite(mean):
            return unknown(entry)
        return plain(form(mean) + of_seeds(len(seeds), len(entry.row.seeds)) * partly, entry, (what, mean), *seeds)
    return show


def as_bytes(value: float) -> str:
    return human_bytes(round(value))


def as_share(value: float) -> str:
    return number(100 * value, ".1f") + " %"


def as_speed(value: float) -> str:
    return number(value, ",.0f")


def as_energy(joules: float) -> str:
    return f"{joules / 1000:.2f} kJ" if joules >= 999.5 else f"{joules:.{0 if joules >= 99.95 else 1}f} J"


def show_phase(name: str) -> Callable[[Entry], Cell]:
    return show_mean(lambda run: run.phases.get(name), human_time, "seconds")


def show_reached(value: Callable[[Validation], float], form: Callable[[float], str], what: str) -> Callable[[Entry], Cell]:
    """A mean over some of the seeds says over how many."""
    def show(entry: Entry) -> Cell:
        reached = entry.reached
        if reached is None or not reached.first:
            return unknown(entry)
        mean, seeds = reached.mean(value)
        if not math.isfinite(mean):
            return unknown(entry)
        return plain(form(mean) + of_seeds(len(reached.first), len(reached.seeds)), entry, (what, mean), ("target", reached.target.score),
                     ("seeds that reached it", len(reached.first)), ("seeds", len(reached.seeds)), *seeds)
    return show


# ---- of the runs ----

def show_tuned(entry: Entry) -> Cell:
    """The value alone: of which setting is said below the table."""
    return plain(" ".join(text.partition("=")[2] for text in entry.row.tuned) or UNKNOWN, entry, ("settings", list(entry.row.tuned)))


def seeds_of(entry: Entry) -> str:
    row = entry.row
    return f"{len(row.seeds)} of {row.planned}" if row.planned > len(row.seeds) else str(len(row.seeds))


def show_seeds(entry: Entry) -> Cell:
    return plain(seeds_of(entry), entry, ("seeds", entry.row.seeds), ("planned", entry.row.planned or UNKNOWN))


def wrong_of(entry: Entry) -> dict[str, int]:
    """What is wrong with how many of its runs."""
    found = Counter(reason for run in entry.runs if run.verdict != "ok" for reason in run.verdict.split("; "))
    return dict(found)


def show_runs(entry: Entry) -> Cell:
    wrong = wrong_of(entry)
    words = [(f"{count}/{len(entry.runs)} " if count < len(entry.runs) else "") + reason.partition(":")[0] for reason, count in wrong.items()]
    words += ["stale"] * entry.row.stale
    return plain(", ".join(words) or "ok", entry, *wrong.items(), *([("stale", "yes")] if entry.row.stale else []))
