"""All runs as one tidy table: a row per run, a column per number, with units."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd

from .measure import PHASES
from .runs import Run

# Column: unit ("" for texts), what it means. In the order of the table; behind them stand the settings, each under its own name (method.rank, train.lr).
COLUMNS: dict[str, tuple[str, str]] = {
    "name": ("", "of the file"),
    "place": ("", "the file; of a run in an archive ARCHIVE:NAME"),
    "run_id": ("", "hash of all that decides the numbers and of how it was executed"),
    "request_id": ("", "hash of what was asked for: names a planned run"),
    "task": ("", ""),
    "dataset": ("", "name inside the data file"),
    "model": ("", ""),
    "method": ("", ""),
    "seed": ("1", ""),
    "ranks": ("1", "MPI processes"),
    "threads": ("1", "of a rank"),
    "nodes": ("1", "hosts; 0: not told"),
    "metric": ("", "what test and validation are"),
    "test": ("metric", "score of the final model on the test split"),
    "validation": ("metric", "likewise on the validation split"),
    "trainable": ("1", "numbers trained, without the task head"),
    "head": ("1", "numbers of the task head"),
    "stored_bytes": ("bytes", "of the method's result"),
    "regenerated_bytes": ("bytes", "frozen numbers made anew from a seed"),
    "sent_bytes": ("bytes", "per step and rank, the method's"),
    "sent_bytes_with_head": ("bytes", "per step and rank, the whole message"),
    "wire_bytes": ("bytes", "per step, handed to the network by rank 0"),
    "step_s": ("s", "median of a step, without the first ones"),
    **{f"{name}_s": ("s", f"mean part of a step on rank 0: {name}") for name in PHASES},
    "communication_share": ("1", "of the steps' time"),
    "wait_share": ("1", "of the steps' time, waiting for the slowest rank: a part of communication_share"),
    "tokens_per_s": ("1/s", "without the first steps"),
    "train_s": ("s", "from the first step to the last, validations in between included"),
    "steps": ("1", "optimiser steps"),
    "activation_bytes": ("bytes", "workspaces of rank 0"),
    "memory_bytes": ("bytes", "most resident bytes of the rank that had most"),
    "validations": ("1", "how many while it trained"),
    "created": ("", "UTC, ISO 8601"),
    "weights_hash": ("", "of the base weights"),
    "dataset_hash": ("", ""),
    "order_hash": ("", "of the sample order"),
    "source_hash": ("", "of the sources that decide the numbers"),
    "binary_hash": ("", "of the program's file"),
    "commit": ("", ""),
    "blas_core": ("", "kind of BLAS kernels"),
    "verdict": ("", "ok, or what is wrong"),
}
DERIVED: dict[str, Callable[[Run], Any]] = {
    "place": lambda run: f"{run.path}:{run.member}" if run.member else str(run.path),
    "validations": lambda run: len(run.validations),
    **{f"{name}_s": lambda run, name=name: run.phases.get(name, math.nan) for name in PHASES},
}
WHOLE = ("regenerated_bytes", "activation_bytes", "memory_bytes")  # may be unknown


def to_frame(runs: Iterable[Run]) -> pd.DataFrame:
    """One tidy row per run, in their order. Numbers that are not known are NaN (whole ones <NA>), settings that a run lacks NaN."""
    runs = list(runs)
    values = {name: [DERIVED[name](run) if name in DERIVED else getattr(run, name) for run in runs] for name in COLUMNS}
    settings = sorted({key for run in runs for key in run.settings} - set(COLUMNS))
    frame = pd.DataFrame({**values, **{key: [run.settings.get(key, math.nan) for run in runs] for key in settings}})
    return frame.astype({name: "Int64" for name in WHOLE})
