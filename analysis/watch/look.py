"""Looks at one run after the other: in which state it is, by the files that are there at this moment. The states are those of `peftscale sweep status`
(src/sweep/plan.c), found without its lock or claim."""

import math
import time
from collections.abc import Container, Iterable
from pathlib import Path

from ..common.text import printable
from ..load.hdf5 import PARTIAL
from ..load.index import Line
from ..load.stamp import Stamp, stamp_of
from .finished import Outcome, read_outcomes
from .follow import Follower, Progress
from .owners import KILLED, KILLED_MOST, STOPPED, Attempts, Owner, find_writer, read_attempts, read_claim, utc_seconds
from .snapshot import DONE, FAILED, INTERRUPTED, MISSING, RUNNING, STALE, Entry
from .snapshot import STOPPED as STATE_STOPPED


class Looker:
    """Looks at runs again and again; remembers what need not be read twice."""

    def __init__(self) -> None:
        self.followers: dict[Path, Follower] = {}
        self.outcomes: dict[Path, tuple[Stamp, Outcome]] = {}

    # ---- files ----

    def learn(self, finished: Iterable[tuple[Path, Line | None]]) -> None:
        """Reads the outcomes that are not known yet, in one go."""
        new: dict[Path, Stamp] = {}
        for run, line in finished:
            stamp = stamp_of(run)
            if stamp is None or self.outcomes.get(run, (None,))[0] == stamp:
                continue
            if known := recall(line, stamp):
                self.outcomes[run] = (stamp, known)
            else:
                new[run] = stamp
        for run, outcome in read_outcomes(list(new)):
            self.outcomes[run] = (new[run], outcome)
            self.followers.pop(run, None)

    def outcome(self, run: Path, line: Line | None) -> Outcome | None:
        """Of a finished run's file; None: there is none."""
        stamp = stamp_of(run)
        if stamp is None:
            return None
        if self.outcomes.get(run, (None,))[0] != stamp:
            self.learn([(run, line)])
        return self.outcomes[run][1] if run in self.outcomes else None

    def progress(self, run: Path) -> Progress | None:
        follower = self.followers.setdefault(run, Follower(partial_of(run)))
        progress = follower.look()
        if progress is None:
            del self.followers[run]
        return progress

    # ---- states ----

    def look_at(self, entry: Entry, run: Path, line: Line | None, names: Container[str]) -> None:
        """Fills in the entry of the run with this file. names: of the files in its folder, as a moment ago."""
        if run.name in names and self.take_finished(entry, run, line):
            return
        owner = read_claim(run) if run.name + ".claim" in names else None
        if owner:
            self.take_running(entry, run, owner)
            return
        tried = read_attempts(run) if run.name + ".attempts" in names else Attempts()
        if tried.last:
            take_attempts(entry, tried)
            entry.progress = self.progress(run)
        elif line is None and run.name + PARTIAL in names:
            self.take_partial(entry, run)
        elif line is not None:
            entry.state = MISSING
        # It may have been finished, and given back, between the listing and now.
        if entry.state in (MISSING, INTERRUPTED):
            self.take_finished(entry, run, line)

    def take_finished(self, entry: Entry, run: Path, line: Line | None) -> bool:
        outcome = self.outcome(run, line)
        if outcome is None:
            return False
        stamp = self.outcomes[run][0]
        entry.state = FAILED if outcome.fault else STALE if line is not None and line.state == STALE and recall(line, stamp) else DONE
        entry.outcome, entry.reason, entry.changed_s, entry.progress = outcome, outcome.fault, stamp.changed_ns / 1e9, None
        return True

    def take_running(self, entry: Entry, run: Path, owner: Owner) -> None:
        entry.state, entry.reason, entry.host = RUNNING, owner.text, owner.host
        entry.attempts = read_attempts(run).count
        self.take_progress(entry, run)
        if entry.progress is None:  # it has not begun its file
            entry.progress = Progress(steps=owner.steps, done=owner.done)

    def take_progress(self, entry: Entry, run: Path) -> None:
        entry.progress = self.progress(run)
        if stamp := stamp_of(partial_of(run)):
            entry.changed_s = stamp.changed_ns / 1e9
            entry.quiet_s = max(0.0, time.time() - entry.changed_s)

    def take_partial(self, entry: Entry, run: Path) -> None:
        """Of a run that no sweep has claimed: the file itself says how it stands."""
        self.take_progress(entry, run)
        if entry.progress is None:
            return
        owner, status = find_writer(partial_of(run), entry.quiet_s), entry.progress.status
        entry.host, entry.attempts = entry.progress.host, max(entry.attempts, entry.progress.attempt)
        how, _, reason = status.partition(": ")
        if owner:
            entry.state, entry.reason, entry.host = RUNNING, owner.text, owner.host
        elif how in (STOPPED, "failed"):
            entry.state, entry.reason = (STATE_STOPPED if how == STOPPED else FAILED), printable(reason)
        else:
            entry.state, entry.reason = INTERRUPTED, entry.progress.fault or "its process ended without a word"


def take_attempts(entry: Entry, tried: Attempts) -> None:
    entry.attempts, entry.reason, entry.changed_s = tried.count, tried.reason, utc_seconds(tried.ended)
    if tried.last == STOPPED:
        entry.state = STATE_STOPPED
    elif tried.last == KILLED:
        entry.state = INTERRUPTED if tried.killed_in_row < KILLED_MOST else FAILED
        if entry.state == FAILED:
            entry.reason = f"killed {tried.killed_in_row} times in a row"
    else:
        entry.state = FAILED


def partial_of(run: Path) -> Path:
    return run.with_name(run.name + PARTIAL)


def number_of(text: str) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def outcome_of(line: Line) -> Outcome:
    """As the index has it."""
    return Outcome(printable(line.cells["metric"]), *(number_of(line.cells[name]) for name in ("validation", "test", "train_s")))


def recall(line: Line | None, stamp: Stamp) -> Outcome | None:
    """What the index says of a finished file, if it was written after that file was."""
    if line is None or not line.is_finished or (line.cells.get("bytes"), line.cells.get("written_ns")) != (str(stamp.size), str(stamp.changed_ns)):
        return None
    return outcome_of(line)
