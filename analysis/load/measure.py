"""What is computed from the tables of a run: times of its steps and their parts, and how far it was at each validation."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .fields import PHASES


@dataclass(frozen=True)
class Validation:
    """One score on the validation split while it trained."""
    step: int  # updates done before it
    epoch: int
    score: float  # the task's own metric
    loss: float
    seconds: float  # from the first step to the last one before it, validations in between included
    sent_bytes: int  # until then by a rank: the method's, the head's and the tail's. With one rank, which sends nothing: what it would send


def column(rows: np.ndarray, name: str) -> np.ndarray | None:
    """None: a file of an older version lacks it."""
    return rows[name] if name in rows.dtype.names else None


def skip_first(rows: np.ndarray) -> np.ndarray:
    """The steps that count for times: the first ones fill caches and open connections."""
    return rows[min(5, len(rows) // 4):]


def share_waited(rows: np.ndarray) -> float:
    """Of the sampled steps' time; they alone tell."""
    waited = column(rows, "wait_s")
    sampled = rows[np.isfinite(waited)] if waited is not None else rows[:0]
    total = float(sampled["step_s"].sum())
    return float(sampled["wait_s"].sum()) / total if total > 0 else math.nan


def own_work(rows: np.ndarray) -> float:
    """The method's own work over the rest of forward and backward."""
    parts = [column(rows, name) for name in ("expand_s", "adapter_s", "gather_s", "forward_s", "backward_s")]
    if any(part is None for part in parts):
        return math.nan
    expand, adapter, gather, forward, backward = (float(part.sum()) for part in parts)
    rest = forward + backward - adapter
    return (expand + adapter + gather) / rest if rest > 0 else math.nan


def mean_wire(rows: np.ndarray) -> float:
    """Per step; below 0: not measured."""
    wire = column(rows, "wire_bytes")
    known = wire[wire >= 0] if wire is not None else ()
    return float(np.mean(known)) if len(known) else math.nan


def measure_steps(rows: np.ndarray) -> dict[str, Any]:
    """The fields of a Run that follow from the newest rows of /series/steps; NaN where they do not."""
    counted = skip_first(rows)
    total = float(counted["step_s"].sum())
    has_times = len(counted) > 0 and total > 0
    seconds = {name: column(counted, f"{name}_s") for name in PHASES}
    return {"step_s": float(np.median(counted["step_s"])) if has_times else math.nan,
            "phases": {name: float(np.mean(each)) if has_times and each is not None else math.nan for name, each in seconds.items()},
            "overhead": own_work(counted),
            "communication_share": float(counted["communication_s"].sum()) / total if has_times else math.nan,
            "wait_share": share_waited(counted),
            "tokens_per_s": float(counted["tokens"].sum()) / total if has_times else math.nan,
            "wire_bytes": mean_wire(rows)}


def first_validations(rows: np.ndarray) -> np.ndarray:
    """Of each step the newest attempt's first: when the training has ended, the validation of the step that was kept is repeated."""
    rows = rows[(rows["attempt"] > 0) & (rows["split"] == b"validation")]
    rows = rows[np.lexsort((-np.arange(len(rows)), rows["attempt"], rows["step"]))]
    last = np.ones(len(rows), bool)
    last[:-1] = rows["step"][1:] != rows["step"][:-1]
    return rows[last]


def find_validations(rows: np.ndarray | None, steps: np.ndarray, ranks: int, message_bytes: int) -> tuple[Validation, ...]:
    """rows: /evaluation (None: absent); steps: the newest rows of /series/steps; message_bytes: what a rank sends per step, for files and runs in which the
    steps do not tell."""
    if rows is None:
        return ()
    rows = first_validations(rows)
    done = np.searchsorted(steps["step"], rows["step"], side="right")  # steps before each validation
    paid = column(steps, "payload_bytes") if ranks > 1 else None
    trained = np.concatenate([[0.0], np.cumsum(steps["step_s"], dtype=float)])[done]
    validated = np.concatenate([[0.0], np.cumsum(rows["seconds"], dtype=float)])[:-1] if column(rows, "seconds") is not None else np.zeros(len(rows))
    sent = np.concatenate([[0], np.cumsum(paid, dtype=np.int64)])[done] if paid is not None else done.astype(np.int64) * message_bytes
    return tuple(Validation(int(row["step"]), int(row["epoch"]), float(row["metric"]), float(row["loss"]), float(time), int(count))
                 for row, time, count in zip(rows, trained + validated, sent))
