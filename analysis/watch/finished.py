"""What finished run files say: read once, since they do not change."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
from h5py import h5o

from ..load.content import Attributes, check_finished, check_kind, open_group
from ..load.guard import read_all
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
        root = Attributes(group, "/")
        check_kind(root)
        check_finished(root)
        result = Attributes(open_group(group, "result"), "/result")
        return Outcome(result.text("metric", ""), *(result.real(name, math.nan) for name in ("validation_metric", "test_metric", "train_s")))


def read_outcomes(paths: Sequence[Path]) -> Iterator[tuple[Path, Outcome]]:
    """As they come, from processes of their own, which a damaged file may end. Of a file that is gone there is nothing."""
    try:
        for number, answer in read_all(read, paths, LIMIT_S):
            if not isinstance(answer, Unusable):
                yield paths[number], answer
            elif paths[number].exists():
                yield paths[number], Outcome(fault=str(answer))
    except OSError:  # no more processes are to be had: at the next look, then
        pass
