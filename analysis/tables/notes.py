"""What is said below a table: what its columns mean, which runs are in it, and what became no number, with the reason."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..common.words import count, enumerate_words, some
from ..load.left_out import left_out_lines
from ..load.mixture import find_mixtures, left_out_kinds
from ..load.runs import Collection
from ..load.targets import describe_targets
from .build import Group, entries_of
from .columns import AGAINST, MOST_NAMED, TARGETS, TO_CONTROL
from .entry import Entry, over_seeds
from .shown import has_interval, seeds_of


def names_of(entries: Sequence[Entry], among: Sequence[Entry]) -> str:
    """Labels, with task and ranks where the table has several."""
    several = len({entry.row.section.task for entry in among}) > 1
    return some([" ".join([entry.row.section.task] * several + [entry.row.label] + [f"ranks={entry.row.first.ranks}"] * (not entry.row.section.ranks))
                 for entry in entries], MOST_NAMED)


def explain_scores(entries: Sequence[Entry]) -> str:
    """n and interval: which rows have none."""
    known = [entry for entry in entries if entry.statistics and has_interval(entry.statistics.score)]
    single = [entry for entry in entries if len(entry.row.seeds) == 1]
    several = [entry for entry in entries if entry.row.deviation is not None and math.isfinite(entry.row.deviation)]
    flat = [entry for entry in several if not (entry.statistics and has_interval(entry.statistics.score))]
    parts = [f"test: mean over seeds ± half of its {100 * known[0].statistics.score.level:g} % t interval"] if known else []
    if single:
        parts.append(f"no interval with one seed: {names_of(single, entries)}" if len(single) < len(entries) else "test: one seed, so no interval")
    if flat:
        parts.append(f"no interval without a spread over seeds: {names_of(flat, entries)}")
    return f"{'; '.join(parts)}." if parts else ""


# How notes of a comparison begin that matter only beside one of these columns.
NEEDS = {"Control:": TO_CONTROL, "Family:": ("difference", "compared", "p_value", "smallest"),
         "Smallest": ("smallest",), "With new examples": ("difference_examples",), "Separated on these": ("difference_examples",),
         "No interval over examples": ("difference_examples",), "Letters:": ("letters",), "No letters": ("letters",),
         "Seeds that are missing": ()}  # is said with the planned ones


def whole_notes(lines: Sequence[str]) -> list[tuple[str, ...]]:
    """Each with the lines that belong to it, which begin with two blanks."""
    notes: list[list[str]] = []
    for line in lines:
        if line.startswith("  ") and notes:
            notes[-1].append(line)
        else:
            notes.append([line])
    return [tuple(note) for note in notes]


def explain_comparison(columns: Sequence[str], groups: Sequence[Group]) -> list[str]:
    if not any(name in columns for name in AGAINST):
        return []
    comparisons = [(group, comparison) for group in groups for comparison in group.comparisons]
    unasked = tuple(beginning for beginning, needs in NEEDS.items() if not any(name in columns for name in needs))
    found: dict[tuple[str, ...], list[str]] = {}  # a note with what belongs to it: tasks
    for group, comparison in comparisons:
        for note in whole_notes(comparison.notes):
            if not note[0].startswith(unasked):
                found.setdefault(note, []).append(group.section.task)
    lines = []
    for note, tasks in found.items():
        place = f"{some(list(dict.fromkeys(tasks)), MOST_NAMED)}: " if len(tasks) < len(comparisons) else ""
        lines += [place + note[0], *note[1:]]
    return lines


def explain_targets(columns: Sequence[str], groups: Sequence[Group], given: bool) -> list[str]:
    if not any(name in columns for name in TARGETS):
        return []
    lines = [describe_targets([(group.section, target) for group in groups for target in group.targets], not given),
             "time and bytes to target: at the first validation that reached it, so no finer than validations are; 2/3: mean over the 2 of 3 seeds that did; "
             "-: none did. With one rank, which sends nothing, bytes are what it would send."]
    missed = [entry for entry in entries_of(groups) if entry.reached and len(entry.reached.first) < len(entry.reached.seeds)]
    if missed:
        missing = sum(len(entry.reached.seeds) - len(entry.reached.first) for entry in missed)
        lines.append(f"target not reached by {count(missing, 'run')}: {names_of(missed, entries_of(groups))}.")
    return lines


def explain_parts(columns: Sequence[str], entries: Sequence[Entry]) -> list[str]:
    """Of the first energy that is a mean over some of the seeds."""
    for entry in entries if "energy" in columns else []:
        known, all_seeds = len(over_seeds(entry.runs, lambda run: run.energy_j, times=True)[1]), len(entry.row.seeds)
        if 0 < known < all_seeds:
            return [f"{known}/{all_seeds}: mean over the {known} of {all_seeds} seeds that tell it and whose times count."]
    return []


def tuned_settings(entries: Sequence[Entry]) -> str:
    """train.lr (of head: train.lr_head), the setting that most methods tune first; "" where nothing was tuned."""
    methods: dict[str, dict[str, None]] = {}  # by what they tune
    for entry in entries:
        for text in entry.row.tuned:
            methods.setdefault(text.partition("=")[0], {})[entry.row.first.method] = None
    first, *others = sorted(methods, key=lambda setting: -len(methods[setting])) or [""]
    exceptions = "; ".join(f"of {', '.join(methods[setting])}: {setting}" for setting in others)
    return first + (f" ({exceptions})" if exceptions else "")


def count_seeds(entries: Sequence[Entry]) -> str:
    """What the column `seeds` would say: a mean of fewer seeds than were planned must be seen."""
    counts = sorted({len(entry.row.seeds) for entry in entries})
    several = len({entry.row.section.task for entry in entries}) > 1
    short = [" ".join([entry.row.section.task] * several + [entry.row.label, seeds_of(entry)])
             for entry in entries if entry.row.planned > len(entry.row.seeds)]
    fewer = f"; fewer than planned: {some(short, MOST_NAMED)}" if short else ""
    return f"seeds per row: {counts[0]}{f' to {counts[-1]}' if len(counts) > 1 else ''}{fewer}."


FIXED = {
    "sd": "s.d.: standard deviation over seeds.",
    "regenerated": "regenerated: frozen numbers that are made anew from a seed; - where a run file does not tell (`peftscale count` does).",
    "wire": "on the wire: what rank 0 handed to the network, as measured; - where it could not be.",
    "step": "step time: median without the first steps.",
    "overhead": "method adds: time of the method's own work over the rest of forward and backward; - where the model's own numbers are trained.",
    "wait": "wait share: the part of the communication share in which rank 0 waited for the slowest rank.",
    "train_s": "train time: from the first step to the last, validations in between included.",
    "activation": "activation memory: rank 0's workspaces.",
    "memory": "memory in all: most resident bytes of the rank that had most.",
    "energy": "energy: of all nodes while training, by the machines' own counters; - where these cannot be read.",
}


def explain(columns: Sequence[str], groups: Sequence[Group], given_target: bool = False) -> list[str]:
    """What headings do not tell. groups: with at least one row."""
    entries = entries_of(groups)
    lines = list(filter(None, [explain_scores(entries)])) if "test" in columns else []
    lines += explain_comparison(columns, groups)
    own = [words for name, words in (("trainable", "numbers trained"), ("stored", "stored"), ("sent", "sent")) if name in columns]
    parts = []
    if own:
        parts.append(f"{enumerate_words(own)} {'are' if len(own) > 1 or 'trainable' in columns else 'is'} the method's, the task head apart")
    if "sent_with_head" in columns:
        parts.append("with head: a rank's whole message of a step")
    lines += [f"{'; '.join(parts)}."] if parts else []
    if "expand" in columns or "gather" in columns:
        lines.append("expand, gather: mean per step of what theta costs on the way to the low-rank factors, and their gradients on the way back.")
    lines += [text for name, text in FIXED.items() if name in columns]
    lines += explain_parts(columns, entries)
    lines += explain_targets(columns, groups, given_target)
    if "tuned" in columns and (settings := tuned_settings(entries)):
        lines.append(f"tuned: {settings}, chosen on validation.")
    if "seeds" not in columns:
        lines.append(count_seeds(entries))
    return lines


def count_runs(collection: Collection, rows: int) -> str:
    return f"{count(len(collection.runs), 'run')}, {count(rows, 'row')}."


def describe_collection(collection: Collection) -> list[str]:
    """Of the runs: what makes them unlike, and what is not among them."""
    lines = list(collection.notes)
    lines += [f"In {path} and in files, counted once: {count(number, 'run')}." for path, number in collection.twice.items()]
    if mixtures := find_mixtures(collection) + left_out_kinds(collection):
        lines += [f"Not alike: {len(mixtures)}", *(f"  {mixture}" for mixture in mixtures)]
    lines += left_out_lines(collection.left_out)
    return lines
