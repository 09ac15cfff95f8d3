"""What a look at a sweep found: the runs with their states, and what follows from them all."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from .finished import Outcome
from .follow import Progress

DONE, STALE, RUNNING, STOPPED, INTERRUPTED, FAILED, WAITING, MISSING = STATES = (
    "done", "stale", "running", "stopped", "interrupted", "failed", "waiting", "missing")  # as `peftscale sweep status` calls them
FINISHED = (DONE, STALE)
ENDED = (*FINISHED, FAILED)  # nothing more is to be expected of them, by themselves


@dataclass
class Entry:
    """One run, as it was at this look."""
    key: str  # stays the same over all looks
    label: str
    state: str = MISSING
    reason: str = ""  # why it failed, who works on it, what it waits for
    host: str = ""  # of a running one
    attempts: int = 0
    kind: tuple[str, ...] = ()  # runs of one kind take about as long
    progress: Progress | None = None  # of one that has begun and is not finished
    outcome: Outcome | None = None  # of a finished one
    changed_s: float = math.nan  # when it ended, or gave the last sign of life; seconds after 1970
    quiet_s: float = 0.0  # of a running one: since its file grew

    @property
    def done(self) -> int:
        return self.progress.done if self.progress else 0

    @property
    def fault(self) -> str:
        """Why the file of one that has begun cannot be read now."""
        return self.progress.fault if self.progress else ""

    @property
    def steps(self) -> int:
        return self.progress.steps if self.progress else 0


@dataclass
class Snapshot:
    name: str
    place: str
    entries: list[Entry]
    is_planned: bool  # all that is planned is among the entries
    at_s: float  # seconds after 1970
    notes: list[str] = field(default_factory=list)  # what is wrong with the place as a whole

    @cached_property
    def counts(self) -> dict[str, int]:
        counted = Counter(entry.state for entry in self.entries)
        return {state: counted[state] for state in STATES if counted[state]}

    def of(self, *states: str) -> list[Entry]:
        return [entry for entry in self.entries if entry.state in states]

    @property
    def has_ended(self) -> bool:
        return self.is_planned and bool(self.entries) and all(entry.state in ENDED for entry in self.entries)

    @cached_property
    def left_s(self) -> float:
        """Until all is done, if as many runs go on side by side as now; NaN: not known."""
        open_runs = [entry for entry in self.entries if entry.state not in ENDED]
        if not open_runs or not self.is_planned:
            return math.nan
        typical = typical_times(self.entries)
        times = [(entry.state, expected_s(entry, typical)) for entry in open_runs]
        running = [seconds for state, seconds in times if state == RUNNING]
        total = sum(seconds for _, seconds in times)  # NaN if one is
        return total if math.isnan(total) else max([total / max(1, len(running)), *running])


def typical_times(entries: Iterable[Entry]) -> dict[tuple[str, ...], float]:
    """Median seconds of the finished runs of each kind, and of all that have the beginning of a kind in common; of running ones where none has finished."""
    finished: dict[tuple[str, ...], list[float]] = {}
    running: dict[tuple[str, ...], list[float]] = {}
    for entry in entries:
        seconds, known = (entry.outcome.train_s, finished) if entry.outcome else (whole_s(entry), running)
        if math.isfinite(seconds):
            for common in range(len(entry.kind) + 1):
                known.setdefault(entry.kind[:common], []).append(seconds)
    return {kind: statistics.median(seconds) for kind, seconds in {**running, **finished}.items()}


def whole_s(entry: Entry) -> float:
    """Of a running one, if all its steps take as long as those that are left. NaN: not known."""
    return entry.progress.left_s * entry.steps / (entry.steps - entry.done) if entry.progress and entry.steps > entry.done else math.nan


def expected_s(entry: Entry, typical: dict[tuple[str, ...], float]) -> float:
    """What is left of a run: by its own speed, else as finished runs of its kind took, or of the kind that is most like it. NaN: not known."""
    if entry.progress and math.isfinite(entry.progress.left_s):
        return entry.progress.left_s
    share = 1 - entry.done / entry.steps if entry.steps else 1.0
    for common in range(len(entry.kind), -1, -1):
        if entry.kind[:common] in typical:
            return share * typical[entry.kind[:common]]
    return math.nan
