"""All runs as one tidy table: a row per run, a column per number; fields.py has their units."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd

from .fields import COLUMNS, PHASES
from .runs import Run

DERIVED: dict[str, Callable[[Run], Any]] = {
    "place": lambda run: str(run.place),
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
