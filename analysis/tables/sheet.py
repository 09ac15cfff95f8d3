"""The CSV file of a table: every number that its columns could show, exact, one line per row."""

import csv
import io
import math
from collections.abc import Callable, Sequence

from ..load.mixture import marks_of
from ..load.runs import Run
from .build import Group, entries_of
from .entry import Entry, over_seeds
from .shown import half_width, wrong_of


def known(value: float | None) -> str:
    """What is not known is no number."""
    return "" if value is None or not math.isfinite(value) else repr(float(value))


def count_of(value: float) -> str:
    """A mean of counts, which are mostly equal."""
    return str(int(value)) if value.is_integer() else known(value)


def whole(value: int | None) -> str:
    return "" if value is None else str(value)


def options_of(entry: Entry) -> str:
    return " ".join(f"{key.removeprefix('method.')}={value}" for key, value in sorted(entry.row.first.settings.items())
                    if key.startswith("method.") and key != "method.name")


def marks(entry: Entry) -> str:
    return "; ".join(sorted({mark for run in entry.runs for mark in marks_of(run)} | ({"stale"} if entry.row.stale else set())))


def verdict(entry: Entry) -> str:
    words = [f"{reason} ({count} of {len(entry.runs)})" for reason, count in wrong_of(entry).items()] + ["stale"] * entry.row.stale
    return "; ".join(words) or "ok"


def mean(value: Callable[[Run], float | None], times: bool = False) -> Callable[[Entry], str]:
    return lambda entry: known(over_seeds(entry.runs, value, times)[0])


def time(value: Callable[[Run], float | None]) -> Callable[[Entry], str]:
    """Also shares of times, speeds and energy: of the runs that were not disturbed."""
    return mean(value, times=True)


def most(value: Callable[[Run], int | None]) -> Callable[[Entry], str]:
    def show(entry: Entry) -> str:
        found = [value(run) for run in entry.runs]
        return "" if None in found else str(max(found))
    return show


def compared(value: Callable) -> Callable[[Entry], str]:
    """Of the difference to the control."""
    def show(entry: Entry) -> str:
        difference = entry.statistics.difference if entry.statistics else None
        found = value(difference) if difference else None
        return found if isinstance(found, str) else known(found)
    return show


def reached(value: Callable) -> Callable[[Entry], str]:
    def show(entry: Entry) -> str:
        found = value(entry.reached) if entry.reached else None
        return str(found) if isinstance(found, int) else known(found)
    return show


def score_of(value: Callable) -> Callable[[Entry], str]:
    return lambda entry: known(value(entry.statistics.score)) if entry.statistics and entry.statistics.score else ""


def end_of(interval: str, end: str) -> Callable:
    return lambda difference: getattr(found, end) if (found := getattr(difference, interval)) else None


FIELDS: dict[str, Callable[[Entry], str]] = {
    "task": lambda entry: entry.row.section.task,
    "dataset": lambda entry: entry.row.section.dataset,
    "model": lambda entry: entry.row.section.model,
    "method": lambda entry: entry.row.first.method,
    "options": options_of,
    "ranks": lambda entry: str(entry.row.first.ranks),
    "threads": lambda entry: str(entry.row.section.threads),
    "metric": lambda entry: entry.row.section.metric,
    "test_mean": mean(lambda run: run.test),
    "test_min": lambda entry: known(entry.row.low),
    "test_max": lambda entry: known(entry.row.high),
    "test_sd": lambda entry: known(entry.row.deviation),
    "validation_mean": mean(lambda run: run.validation),
    "trainable": lambda entry: str(entry.row.first.trainable),
    "head": lambda entry: str(entry.row.first.head),
    "stored_bytes": lambda entry: str(entry.row.first.stored_bytes),
    "sent_bytes": lambda entry: count_of(entry.row.mean["sent_bytes"]),
    "sent_bytes_with_head": lambda entry: count_of(entry.row.mean["sent_bytes_with_head"]),
    "step_s": time(lambda run: run.step_s),
    "communication_share": time(lambda run: run.communication_share),
    "tokens_per_s": time(lambda run: run.tokens_per_s),
    "steps": lambda entry: str(entry.row.first.steps),
    "seeds": lambda entry: " ".join(map(str, entry.row.seeds)),
    "runs": lambda entry: str(len(entry.runs)),
    "run_ids": lambda entry: " ".join(run.run_id[:8] for run in entry.runs),
    "label": lambda entry: entry.row.label,
    "marks": marks,
    "seeds_planned": lambda entry: whole(entry.row.planned or None),
    "tuned": lambda entry: " ".join(entry.row.tuned),
    "regenerated_bytes": lambda entry: whole(entry.row.first.regenerated_bytes),
    "train_s": time(lambda run: run.train_s),
    "test_low": score_of(lambda interval: interval.low),
    "test_high": score_of(lambda interval: interval.high),
    "test_half": score_of(half_width),
    "control": lambda entry: entry.comparison.control.label if entry.comparison and entry.comparison.control else "",
    "difference": compared(lambda difference: difference.mean),
    "difference_low": compared(end_of("interval", "low")),
    "difference_high": compared(end_of("interval", "high")),
    "difference_examples_low": compared(end_of("wide", "low")),
    "difference_examples_high": compared(end_of("wide", "high")),
    "p": compared(lambda difference: difference.p),
    "p_holm": compared(lambda difference: difference.p_holm),
    "smallest_difference": compared(lambda difference: difference.smallest),
    "compared": compared(lambda difference: difference.verdict),
    "letters": lambda entry: entry.statistics.letters if entry.statistics else "",
    "wire_bytes": mean(lambda run: run.wire_bytes),
    "expand_s": time(lambda run: run.phases.get("expand")),
    "gather_s": time(lambda run: run.phases.get("gather")),
    "wait_share": time(lambda run: run.wait_share),
    "activation_bytes": most(lambda run: run.activation_bytes),
    "memory_bytes": most(lambda run: run.memory_bytes),
    "target": reached(lambda reached: reached.target.score),
    "target_seeds": reached(lambda reached: len(reached.first)),
    "target_s": reached(lambda reached: reached.mean(lambda each: each.seconds)[0]),
    "target_bytes": reached(lambda reached: reached.mean(lambda each: each.sent_bytes)[0]),
    "overhead": time(lambda run: run.overhead),
    "energy_j": time(lambda run: run.energy_j),
    "verdict": verdict,
}


def as_csv(groups: Sequence[Group], more: dict[str, Callable[[Entry], str]] | None = None) -> str:
    """more: fields that only this table has."""
    fields = FIELDS | (more or {})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(fields)
    writer.writerows([show(entry) for show in fields.values()] for entry in entries_of(groups))
    return out.getvalue()
