"""What the view and the plain lines say of a run, in few words."""

import math
from collections.abc import Sequence

from ..common.units import score as score_text
from ..common.words import count
from .snapshot import ENDED, FAILED, FINISHED, RUNNING, STALE, Entry, Snapshot

BLOCKS, LETTERS = "▁▂▃▄▅▆▇█", "_.-~=+*#"  # of a sparkline, where the terminal has no Unicode the second
QUIET_S = 60.0  # a file that has not grown for so long, and for ten steps' time, is worth a word


def duration(seconds: float) -> str:
    """0:07, 12:30, 3:04:05, 2 d 3 h"""
    if not math.isfinite(seconds):
        return "-"
    whole = int(max(0.0, seconds) + 0.5)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02}"
    if whole < 100 * 3600:
        return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
    return f"{whole // 86400} d {whole // 3600 % 24} h"


def sparkline(values: Sequence[float], width: int, unicode: bool = True) -> str:
    """At most `width` signs, from the lowest to the highest value; each is the mean of a stretch."""
    if not values or width < 1:
        return ""
    signs, count = BLOCKS if unicode else LETTERS, min(width, len(values))
    edges = [number * len(values) // count for number in range(count + 1)]
    means = [sum(values[first:last]) / (last - first) for first, last in zip(edges, edges[1:])]
    low, high = min(means), max(means)
    scale = (len(signs) - 1) / (high - low) if high > low else 0.0
    return "".join(signs[round((mean - low) * scale)] for mean in means)


def bar(done: int, failed: int, total: int, width: int, unicode: bool = True) -> tuple[str, str, str]:
    """Parts of one line: done, failed, the rest."""
    full, empty = "█░" if unicode else "#-"
    first = done * width // total if total else 0
    second = min(width - first, math.ceil(failed * width / total)) if total else 0
    return full * first, full * second, empty * (width - first - second)


def counts_line(snapshot: Snapshot) -> str:
    """10 runs: 3 done, 2 running, 5 missing; about 1:20 left. With nothing running no end is in sight: it is what all the rest would take."""
    counts = snapshot.counts
    text = count(len(snapshot.entries), "run")
    if counts:
        text += ": " + ", ".join(f"{number:,} {state}" for state, number in counts.items())
    if not math.isfinite(snapshot.left_s):
        return text
    return f"{text}; about {duration(snapshot.left_s)} {'left' if snapshot.of(RUNNING) else 'of work left'}"


def loss_text(loss: float) -> str:
    return f"{loss:.4f}" if abs(loss) < 1000 else f"{loss:.3g}" if math.isfinite(loss) else "-" if math.isnan(loss) else "inf"


def step_text(entry: Entry) -> str:
    if not entry.steps:
        return str(entry.done) if entry.done else "starting"
    return f"{entry.done}/{entry.steps}" if entry.done else f"0/{entry.steps}"


def speed_text(entry: Entry) -> str:
    speed = entry.progress.tokens_per_s if entry.progress else math.nan
    return f"{speed:,.0f}" if math.isfinite(speed) else "-"


def validation_text(entry: Entry, with_metric: bool = False) -> str:
    """Of a running one: of the last validation; of a finished one: of the model that was kept."""
    source = entry.outcome or entry.progress
    value = entry.outcome.validation if entry.outcome else entry.progress.score if entry.progress else math.nan
    if source is None or math.isnan(value):
        return "-"
    return f"{source.metric} {score_text(value, source.metric)}" if with_metric else score_text(value, source.metric)


def left_text(entry: Entry) -> str:
    """Time left; or that the run says nothing any more, or has made its steps and concludes."""
    progress = entry.progress
    if progress is None or entry.state != RUNNING:
        return ""
    if is_quiet(entry):
        return f"quiet {duration(entry.quiet_s)}"
    if progress.steps and progress.done >= progress.steps:
        return "concludes"
    return duration(progress.left_s)


def is_quiet(entry: Entry) -> bool:
    per_step = entry.progress.left_s / max(1, entry.steps - entry.done) if entry.progress and math.isfinite(entry.progress.left_s) else 0.0
    return entry.state == RUNNING and entry.quiet_s > max(QUIET_S, 10 * per_step)


def ended_text(entry: Entry) -> str:
    """Scores of a finished run, the reason of another one."""
    if entry.state not in FINISHED or entry.outcome is None:
        return entry.reason
    outcome = entry.outcome
    parts = [f"validation {outcome.metric} {score_text(outcome.validation, outcome.metric)}"]
    if not math.isnan(outcome.test):
        parts.append(f"test {score_text(outcome.test, outcome.metric)}")
    if math.isfinite(outcome.train_s):
        parts.append(duration(outcome.train_s))
    return ", ".join(parts) + (" (by another version of the program)" if entry.state == STALE else "")


def recently_ended(snapshot: Snapshot) -> list[Entry]:
    """The latest first; those whose time is not known are in the index alone, and old."""
    ended = [entry for entry in snapshot.of(*ENDED) if math.isfinite(entry.changed_s)]
    return sorted(ended, key=lambda entry: -entry.changed_s)


def failed(snapshot: Snapshot) -> list[Entry]:
    return sorted(snapshot.of(FAILED), key=lambda entry: -entry.changed_s if math.isfinite(entry.changed_s) else 0.0)


def attempt_text(entry: Entry) -> str:
    return f"attempt {entry.attempts}" if entry.attempts > 1 else ""
