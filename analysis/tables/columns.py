"""The columns of a comparison table: by the names that a study file's `columns` and --columns take, how each is headed, what it means and what shows it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ..common.units import human_time
from . import shown
from .entry import Entry
from .model import Cell, Heading

MOST_NAMED = 10


@dataclass(frozen=True)
class Column:
    heading: tuple[str, str]  # one above the other
    show: Callable[[Entry], Cell]
    formula: str  # in words, with the unit

    @property
    def title(self) -> str:
        return " ".join(filter(None, self.heading))


METHOD = Column(("", "method"), lambda entry: Cell(entry.row.label, (), entry.runs), "method, and the settings that tell its row from others")  # the first

TIMED = "of the steps that count: all but the first min(5, a quarter)"
# All others, in the order in which `all` shows them.
COLUMNS = {
    "ranks": Column(("ranks", ""), lambda entry: shown.plain(str(entry.row.first.ranks), entry, ("ranks", entry.row.first.ranks)), "MPI ranks"),
    "test": Column(("test", ""), shown.show_test, "score of the final model on the test split: mean over seeds ± half of its 95 % t interval over seeds"),
    "sd": Column(("test", "s.d."), shown.show_deviation, "standard deviation of the test score over seeds (n - 1)"),
    "difference": Column(("minus", "control"), shown.show_difference,
                         "test score minus the control's, paired by seed: mean over common seeds ± half of its 95 % t interval"),
    "difference_examples": Column(("with new", "examples"), shown.show_wide,
                                  "the same difference with an interval over seeds and test examples, from the stored predictions"),
    "compared": Column(("against", "control"), shown.show_verdict,
                       "better or worse than the control after Holm's correction at 5 %, or why neither can be said"),
    "p_value": Column(("p", "(Holm)"), shown.show_p, "p value of the paired t test against the control, Holm-corrected over the comparisons of its table"),
    "smallest": Column(("smallest", ""), shown.show_smallest, "the smallest difference to the control that this design would separate with 80 % power"),
    "letters": Column(("group", ""), shown.show_letters, "rows that share a letter cannot be separated"),
    "validation": Column(("valid.", ""), shown.show_validation, "score on validation of the model that was kept: mean over seeds"),
    "tuned": Column(("tuned", ""), shown.show_tuned, "value of the tuned setting, chosen on validation"),
    "trainable": Column(("numbers", "trained"), shown.show_count(lambda run: run.trainable), "trained numbers of the method, the head apart"),
    "head": Column(("numbers", "of head"), shown.show_count(lambda run: run.head), "trained numbers of the task head"),
    "stored": Column(("stored", ""), shown.show_bytes(lambda run: run.stored_bytes), "bytes of the method's result, the head apart"),
    "regenerated": Column(("regenerated", ""), shown.show_bytes(lambda run: run.regenerated_bytes), "bytes of frozen numbers that are made anew from a seed"),
    "sent": Column(("sent per", "step"), shown.show_mean(lambda run: run.sent_bytes, shown.as_bytes, "bytes", times=False),
                   "bytes of the method's numbers that a rank gives to the sum of a step: 4 each, of trained embeddings only rows that a batch reaches; mean "
                   "over steps and seeds"),
    "sent_with_head": Column(("with", "head"), shown.show_mean(lambda run: run.sent_bytes_with_head, shown.as_bytes, "bytes", times=False),
                             "bytes of a rank's whole message of a step: mean over ranks, steps and seeds"),
    "wire": Column(("on the wire", "per step"), shown.show_mean(lambda run: run.wire_bytes, shown.as_bytes, "bytes", times=False),
                   "bytes that rank 0 handed to the network per step, MPI's headers in it, as measured: mean over steps and seeds"),
    "step": Column(("step", "time"), shown.show_mean(lambda run: run.step_s, human_time, "seconds"),
                   f"median time of a step on rank 0 {TIMED}: mean over seeds"),
    "expand": Column(("expand", ""), shown.show_phase("expand"), f"mean time per step for making the low-rank factors from theta, {TIMED}"),
    "gather": Column(("gather", ""), shown.show_phase("gather"), f"mean time per step for the way back, gradients of factors to that of theta, {TIMED}"),
    "overhead": Column(("method", "adds"), shown.show_mean(lambda run: run.overhead, shown.as_share, "share"),
                       f"time of the method's own work (expand, its part of forward and backward, gather) over the rest of forward and backward, {TIMED}; "
                       "nothing where the model's own numbers are trained"),
    "communication": Column(("comm.", "share"), shown.show_mean(lambda run: run.communication_share, shown.as_share, "share"),
                            f"share of communication in the time {TIMED}; not what backward hides, but waiting included"),
    "wait": Column(("wait", "share"), shown.show_mean(lambda run: run.wait_share, shown.as_share, "share"),
                   "part of the communication share in which rank 0 waited for the slowest rank, from sampled steps"),
    "tokens_per_s": Column(("tokens", "/s"), shown.show_mean(lambda run: run.tokens_per_s, shown.as_speed, "tokens per second"),
                           f"tokens of all ranks over the time {TIMED}"),
    "train_s": Column(("train", "time"), shown.show_mean(lambda run: run.train_s, human_time, "seconds"),
                      "time from the first step to the last, validations in between included: mean over seeds"),
    "activation": Column(("activation", "memory"), shown.show_largest(lambda run: run.activation_bytes),
                         "bytes of rank 0's workspaces (saved activations, scratch): the most of the row's runs"),
    "memory": Column(("memory", "in all"), shown.show_largest(lambda run: run.memory_bytes),
                     "most resident bytes of the rank that had most, shared memory in it: the most of the row's runs"),
    "time_to_target": Column(("time to", "target"), shown.show_reached(lambda each: each.seconds, human_time, "seconds"),
                             "time from the first step to the first validation that reached the target: mean over the seeds that did"),
    "bytes_to_target": Column(("sent to", "target"), shown.show_reached(lambda each: each.sent_bytes, shown.as_bytes, "bytes"),
                              "bytes that a rank had sent till then, the method's and the head's: mean over the seeds that reached it"),
    "energy": Column(("energy", ""), shown.show_mean(lambda run: run.energy_j, shown.as_energy, "joules", partly=True),
                     "joules of all nodes from the first step to the last, where the machines' counters could be read: mean over seeds"),
    "seeds": Column(("seeds", ""), shown.show_seeds, "number of seeds, and of how many that were planned"),
    "verdict": Column(("runs", ""), shown.show_runs, "ok, or what is wrong with the row's runs: contaminated, dirty build, stale, invalid"),
}
ALL = "all"
AGAINST = ("difference", "difference_examples", "compared", "p_value", "smallest", "letters")  # that need a comparison
TO_CONTROL = ("difference", "difference_examples", "compared", "p_value", "smallest")  # of these those that show the control
TARGETS = ("time_to_target", "bytes_to_target")
USUAL = ("test", "difference", "letters", "validation", "trainable", "stored", "sent", "sent_with_head", "step", "communication", "tokens_per_s", "seeds")
USUAL_ALONE = tuple(name for name in USUAL if name not in AGAINST)  # where nothing can be compared: one seed, one row
# Where a terminal is narrow. The others are narrow themselves, and without `ranks` rows could not be told apart.
DROPPED_FIRST = ("regenerated", "train_s", "head", "energy", "wait", "expand", "gather", "overhead", "activation", "memory", "wire", "bytes_to_target",
                 "difference_examples", "stored", "sent_with_head", "communication", "tokens_per_s", "smallest", "p_value", "time_to_target", "sd",
                 "validation", "step", "verdict", "compared", "tuned", "difference")


def heading_of(name: str) -> Heading:
    column = COLUMNS[name]
    rank = len(DROPPED_FIRST) - DROPPED_FIRST.index(name) if name in DROPPED_FIRST else 0
    return Heading(name, column.heading, column.formula, rank)


METHOD_HEADING = Heading("method", METHOD.heading, METHOD.formula)


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
    """The columns that are known, and those that are not."""
    return tuple(name for name in names if name in COLUMNS), [name for name in names if name not in COLUMNS]


def with_difference(columns: Sequence[str]) -> tuple[str, ...]:
    """For a control that was asked for: a column that shows it is there, else the difference comes behind the score."""
    if any(name in columns for name in TO_CONTROL):
        return tuple(columns)
    place = columns.index("test") + 1 if "test" in columns else 0
    return (*columns[:place], "difference", *columns[place:])


def usual(entries: Sequence[Entry]) -> tuple[str, ...]:
    """What is shown where nobody chose: how rows compare where anything could be compared."""
    differences = [entry.statistics.difference for entry in entries if entry.statistics and entry.statistics.difference]
    return USUAL if any(shown.has_interval(difference.interval) for difference in differences) else USUAL_ALONE
