"""A study's runs by its index: which of them are numbers of the table, and what is said of all others."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..common.words import count, some
from .allowed import NOTHING
from .index import RUN, TRIAL, Line
from .refuse import check_valid, sift
from .runs import Collection
from .source import find_index, of_stage, read_lines
from .summary import Row

MOST_NAMES, MOST_REASONS, LONGEST_REASON = 3, 12, 200
MOST_ROWS = 10  # likewise, of rows that a table lacks
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")


@dataclass
class Study:
    name: str
    index: Path  # what it was read from
    runs: list[Line]  # planned
    trials: list[Line]
    shown: tuple[str, ...] = ()  # columns of its table; none: the usual ones
    title: str = ""
    question: str = ""
    collection: Collection = field(default_factory=Collection)  # of the runs that are done or stale
    line_of: dict[str, Line] = field(default_factory=dict)  # of a run in the collection, by run_id

    @property
    def is_whole(self) -> bool:
        """Every planned run is in the table, by this version of the program."""
        return len(self.line_of) == len(self.runs) and all(line.state == "done" for line in self.runs)

    @property
    def has_tasks(self) -> bool:
        return len({line.cells["task"] for line in self.runs + self.trials}) > 1


def read_study(folder: Path, stage: str | None = None, allow: frozenset[str] = NOTHING, use_cache: bool = True) -> Study:
    """Raises BadIndex, FileNotFoundError. A run whose file is of no use, or that must not be compared (refuse.py; allow: what may), is left out of the
    collection, with the reason."""
    path, index = find_index(folder)
    lines = of_stage(index.lines, stage, path)
    runs, trials = ([line for line in lines if line.cells["role"] == role] for role in (RUN, TRIAL))
    study = Study(folder.resolve().name, path, runs, trials, index.shown, index.title, index.question)
    collection = study.collection
    for line, run in read_lines(folder, [line for line in study.runs if line.is_finished], use_cache):
        reason = run if isinstance(run, str) else check_valid(run, allow)
        if not reason and run.run_id in study.line_of:
            reason = f"the same run as {study.line_of[run.run_id].cells['file']}"
        if reason:
            collection.left_out.append((folder / line.cells["file"], reason))
            continue
        study.line_of[run.run_id] = line
        collection.runs.append(run if run.source_hash else replace(run, source_hash=line.cells["source_hash"]))
    sift(collection, allow)
    kept = {run.run_id for run in collection.runs}
    study.line_of = {run_id: line for run_id, line in study.line_of.items() if run_id in kept}
    return study


def complete_rows(study: Study, rows: list[Row]) -> None:
    """Tells each row how many seeds were planned, the tuned value, and whether it has runs that are stale."""
    planned: dict[tuple[str, ...], set[str]] = {}
    for line in study.runs:
        planned.setdefault(line.group, set()).add(line.cells["seed"])
    for row in rows:
        lines = [study.line_of[run.run_id] for run in row.runs]
        row.planned = len(set().union(*(planned[line.group] for line in lines)))
        row.tuned = tuple(sorted({line.cells["tuned"] for line in lines} - {""}))
        row.stale = any(line.state == "stale" for line in lines)


# ---- what is said below the table ----

def names_of(lines: Iterable[Line], columns: tuple[str, ...], most: int) -> str:
    """lora train.lr=0.003, vera and 2 more"""
    return some(list(dict.fromkeys(" ".join(filter(None, (line.cells[column] for column in columns))) for line in lines)), most)


def reason_of(line: Line) -> str:
    """Which trial a run waits for matters only where that one has failed."""
    reason = line.cells["reason"]
    return "for trials" if line.state == "waiting" and reason.startswith("for the trial ") and not reason.endswith("which failed") else reason


def merge_reasons(reasons: list[str]) -> str:
    """Reasons that differ in nothing but numbers, as one: where these differ, the lowest and the highest."""
    columns = zip(*(NUMBER.findall(reason) for reason in reasons))
    numbers = iter([words[0] if len(set(words)) == 1 else f"{min(words, key=float)}..{max(words, key=float)}" for words in columns])
    text = " ".join(NUMBER.sub(lambda _: next(numbers), reasons[0]).split())
    return text if len(text) <= LONGEST_REASON else text[:LONGEST_REASON] + " ..."


def unfinished_notes(lines: list[Line], columns: tuple[str, ...]) -> list[str]:
    """A line per state and, numbers apart, reason; the most frequent first."""
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        groups.setdefault((line.state, NUMBER.sub("0", reason_of(line))), []).append(line)
    notes = []
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    for (state, _), members in ordered[:MOST_REASONS]:
        reason = merge_reasons([reason_of(line) for line in members])
        notes.append(f"  {len(members)} {state}{': ' if reason else ''}{reason} ({names_of(members, columns, MOST_NAMES)})")
    if rest := [line for _, members in ordered[MOST_REASONS:] for line in members]:
        notes.append(f"  {len(rest)} more, for {count(len(ordered) - MOST_REASONS, 'other reason')}")
    return notes


def stale_notes(lines: list[Line], columns: tuple[str, ...]) -> list[str]:
    versions: dict[str, list[Line]] = {}
    for line in lines:
        versions.setdefault(line.cells["source_hash"], []).append(line)
    return [f"  {count(len(members), 'run')} by another version of the program: source_hash {version[:8] or 'unknown'} "
            f"({names_of(members, columns, MOST_NAMES)})" for version, members in versions.items()]


def describe(study: Study, rows: list[Row]) -> list[str]:
    """Lines below the table: how much was planned and is finished; what is not, and why; what other versions of the program made."""
    columns = ("task", "method", "tuned") if study.has_tasks else ("method", "tuned")
    planned = [f"{count(len(lines), what)} planned, {sum(line.is_finished for line in lines)} finished"
               for what, lines in (("run", study.runs), ("trial", study.trials)) if lines]
    notes = [f"Study {study.name}: {'; '.join(planned) or 'nothing planned'}."]
    for head, lines in (("Not in the table", study.runs), ("Trials without a score", study.trials)):
        if missing := [line for line in lines if not line.is_finished]:
            notes += [f"{head}: {len(missing)}", *unfinished_notes(missing, columns)]
    shown = {study.line_of[run.run_id].group for row in rows for run in row.runs}
    finished = {line.group for line in study.runs if line.is_finished}
    for why, is_so in (("no run is finished", lambda group: group not in finished), ("all that is finished is left out", finished.__contains__)):
        if nothing := [line for line in study.runs if line.group not in shown and is_so(line.group)]:
            notes.append(f"No row, because {why}: {names_of(nothing, columns[:-1], MOST_ROWS)}.")
    if stale := [line for line in study.runs + study.trials if line.state == "stale"]:
        notes += [f"Stale: {len(stale)}", *stale_notes(stale, columns)]
    return notes
