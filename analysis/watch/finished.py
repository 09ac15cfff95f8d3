"""What finished run files say: read once, since they do not change."""

import math
from dataclasses import dataclass
from pathlib import Path

import h5py
from h5py import h5o

from ..load.content import Attributes, check_kind, open_group
from ..load.guard import call
from ..load.hdf5 import Unusable, reasons

LIMIT_S = 10.0


@dataclass(frozen=True)
class Outcome:
    metric: str = ""
    validation: float = math.nan
    test: float = math.nan
    train_s: float = math.nan
    fault: str = ""  # why it is of no use


def read(path: Path) -> Outcome:
    with reasons(), h5py.File(path, "r") as file:
        group = h5o.open(file.id, b".")
        check_kind(Attributes(group, "/"))
        result = Attributes(open_group(group, "result"), "/result")
        return Outcome(result.text("metric", ""), *(result.real(name, math.nan) for name in ("validation_metric", "test_metric", "train_s")))


def read_outcome(path: Path) -> Outcome | None:
    """In a process of its own, which a damaged file may end. None: there is no such file (any more)."""
    try:
        return call(read, path, LIMIT_S)
    except Unusable as reason:
        return Outcome(fault=str(reason)) if path.exists() else None
