"""What lies in a run file beside the numbers of a Run: its steps, and what its final model predicts."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import h5py
import numpy as np
import pandas as pd

from .hdf5 import BROKEN, Unusable, member_of, need, newest, open_file, reasons
from .runs import Run


@dataclass(frozen=True)
class Predictions:
    """One element per example, in the order of the file; equal in all runs on one data set."""
    example: np.ndarray  # id in the data set
    label: np.ndarray  # class number, or the value of a regression
    prediction: np.ndarray
    score: np.ndarray  # [n, classes] what the head put out


@contextmanager
def opened(run: Run) -> Iterator[h5py.Group]:
    """Where the run lies. Raises Unusable."""
    with open_file(run.path) as file:
        yield member_of(file, run.member) if run.member else file


def read_steps(run: Run) -> pd.DataFrame:
    """/series/steps, one row per step with the columns and units of src/store/SCHEMA.md; of a step that was made again the newest attempt. Raises Unusable."""
    with opened(run) as group, reasons():
        rows = newest(need(group, "series/steps"), "step")
        return pd.DataFrame({name: rows[name] for name in rows.dtype.names})


def read_predictions(run: Run, split: str = "test") -> Predictions | None:
    """split: test or validation. None: the run has none of it (output.predictions or output.test was off, or the split is empty). Raises Unusable."""
    with opened(run) as group, reasons():
        place = f"predictions/{split}"
        if place not in group:
            return None
        rows = need(group, place)
        if not len(rows):
            return None
        scores = rows["score"].reshape(len(rows), -1)
        if not all(rows[name].shape == (len(rows),) for name in ("example", "label", "prediction")):
            raise Unusable(f"{BROKEN}: /{place} holds other than one label and prediction per example")
        return Predictions(rows["example"], rows["label"], rows["prediction"], scores)
