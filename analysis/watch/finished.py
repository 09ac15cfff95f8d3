"""What finished run files say: read once, since they do not change."""

import math
from dataclasses import dataclass
from pathlib import Path

import h5py

from ..load.hdf5 import BROKEN, Unusable, as_text, check_kind, reasons


@dataclass(frozen=True)
class Outcome:
    metric: str = ""
    validation: float = math.nan
    test: float = math.nan
    train_s: float = math.nan
    fault: str = ""  # why it is of no use


def read_outcome(path: Path) -> Outcome | None:
    """None: there is no such file (any more)."""
    try:
        with reasons(), h5py.File(path, "r") as file:
            check_kind(file)
            result = need_group(file, "result").attrs
            return Outcome(as_text(result.get("metric", "")), *(float(result.get(name, math.nan)) for name in ("validation_metric", "test_metric", "train_s")))
    except Unusable as reason:
        return Outcome(fault=str(reason)) if path.exists() else None


def need_group(file: h5py.File, name: str) -> h5py.Group:
    group = file.get(name)
    if not isinstance(group, h5py.Group):
        raise Unusable(f"{BROKEN}: lacks /{name}")
    return group
