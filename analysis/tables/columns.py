"""The columns of a comparison table: by the names that a study file's `columns` and --columns take, how each is headed and what it shows of a row."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..common.units import human_bytes, human_time, number, score

if TYPE_CHECKING:  # names alone need no pandas
    from ..load.summary import Row

UNKNOWN = "-"
MOST_NAMED = 10


def show_test(row: Row) -> str:
    metric = row.section.metric
    spread = "" if row.deviation is None or not math.isfinite(row.deviation) else f" ±{score(row.deviation, metric)}"
    return score(row.mean["test"], metric) + spread


def show_tuned(row: Row) -> str:
    """The value alone: of which setting is said below the table."""
    return " ".join(text.partition("=")[2] for text in row.tuned) or UNKNOWN


def show_regenerated(row: Row) -> str:
    return UNKNOWN if row.first.regenerated_bytes is None else human_bytes(row.first.regenerated_bytes)


def show_seeds(row: Row) -> str:
    return f"{len(row.seeds)} of {row.planned}" if row.planned > len(row.seeds) else str(len(row.seeds))


@dataclass(frozen=True)
class Column:
    heading: tuple[str, str]  # one above the other
    show: Callable[[Row], str]

    @property
    def title(self) -> str:
        return " ".join(filter(None, self.heading))


METHOD = Column(("", "method"), lambda row: row.label)  # of every table the first

# All others, in the order in which `all` shows them.
COLUMNS = {
    "ranks": Column(("ranks", ""), lambda row: str(row.first.ranks)),
    "test": Column(("test", ""), show_test),
    "validation": Column(("valid.", ""), lambda row: score(row.mean["validation"], row.section.metric)),
    "tuned": Column(("tuned", ""), show_tuned),
    "trainable": Column(("numbers", "trained"), lambda row: f"{row.first.trainable:,}"),
    "head": Column(("numbers", "of head"), lambda row: f"{row.first.head:,}"),
    "stored": Column(("stored", ""), lambda row: human_bytes(row.first.stored_bytes)),
    "regenerated": Column(("regenerated", ""), show_regenerated),
    "sent": Column(("sent per", "step"), lambda row: human_bytes(row.first.sent_bytes)),
    "sent_with_head": Column(("with", "head"), lambda row: human_bytes(row.first.sent_bytes_with_head)),
    "step": Column(("step", "time"), lambda row: human_time(row.mean["step_s"])),
    "communication": Column(("comm.", "share"), lambda row: number(100 * row.mean["communication_share"], ".1f") + " %"),
    "tokens_per_s": Column(("tokens", "/s"), lambda row: number(row.mean["tokens_per_s"], ",.0f")),
    "train_s": Column(("train", "time"), lambda row: human_time(row.mean["train_s"])),
    "seeds": Column(("seeds", ""), show_seeds),
}
ALL = "all"
USUAL = ("test", "validation", "trainable", "stored", "sent", "sent_with_head", "step", "communication", "tokens_per_s", "seeds")
# Where a terminal is narrow. The others are narrow themselves, and without `ranks` rows could not be told apart.
DROPPED_FIRST = ("regenerated", "train_s", "head", "stored", "sent_with_head", "communication", "tokens_per_s", "validation", "step", "tuned")


def parse_columns(text: str) -> tuple[str, ...]:
    """Of --columns. Raises ValueError, which says what is wrong."""
    if text.strip() == ALL:
        return tuple(COLUMNS)
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in COLUMNS:
            near = difflib.get_close_matches(name, COLUMNS, 1)
            raise ValueError(f"there is no column '{name}'; " + (f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(COLUMNS)}, and {ALL}"))
        if names.count(name) > 1:
            raise ValueError(f"the column '{name}' is there twice")
    return names


def sort_out(names: Iterable[str]) -> tuple[tuple[str, ...], list[str]]:
    """The columns that are known, the usual ones if none is; and those that are not."""
    known, unknown = [name for name in names if name in COLUMNS], [name for name in names if name not in COLUMNS]
    return tuple(known) or USUAL, unknown


# ---- what is said of them below the table ----

def tuned_settings(rows: Sequence[Row]) -> str:
    """train.lr (of head: train.lr_head), the setting that most methods tune first; "" where nothing was tuned."""
    methods: dict[str, dict[str, None]] = {}  # by what they tune
    for row in rows:
        for text in row.tuned:
            methods.setdefault(text.partition("=")[0], {})[row.first.method] = None
    first, *others = sorted(methods, key=lambda setting: -len(methods[setting])) or [""]
    exceptions = "; ".join(f"of {', '.join(methods[setting])}: {setting}" for setting in others)
    return first + (f" ({exceptions})" if exceptions else "")


def count_seeds(rows: Sequence[Row]) -> str:
    """What the column `seeds` would say: a mean of fewer seeds than were planned must be seen."""
    counts = sorted({len(row.seeds) for row in rows})
    several_tasks = len({row.section.task for row in rows}) > 1
    short = [" ".join([row.section.task] * several_tasks + [row.label, show_seeds(row)]) for row in rows if row.planned > len(row.seeds)]
    more = f" and {len(short) - MOST_NAMED} more" if len(short) > MOST_NAMED else ""
    fewer = f"; fewer than planned: {', '.join(short[:MOST_NAMED])}{more}" if short else ""
    return f"seeds per row: {counts[0]}{f' to {counts[-1]}' if len(counts) > 1 else ''}{fewer}."


def explain(columns: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """What headings do not tell. rows: at least one."""
    own = [words for name, words in (("trainable", "numbers trained"), ("stored", "stored"), ("sent", "sent")) if name in columns]
    parts = []
    if own:
        together = " and ".join(filter(None, [", ".join(own[:-1]), own[-1]]))
        parts.append(f"{together} {'are' if len(own) > 1 or 'trainable' in columns else 'is'} the method's, the task head apart")
    if "sent_with_head" in columns:
        parts.append("with head: a rank's whole message of a step")
    lines = [f"{'; '.join(parts)}."] if parts else []
    if "regenerated" in columns:
        lines.append("regenerated: frozen numbers that are made anew from a seed; - where a run file does not tell (`peftscale count` does).")
    if "step" in columns:
        lines.append("step time: median without the first steps.")
    if "train_s" in columns:
        lines.append("train time: from the first step to the last, validations in between included.")
    if "tuned" in columns and (settings := tuned_settings(rows)):
        lines.append(f"tuned: {settings}, chosen on validation.")
    if "seeds" not in columns:
        lines.append(count_seeds(rows))
    return lines
