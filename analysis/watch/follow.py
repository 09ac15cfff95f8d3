"""Follows one run file that grows: of what is new since the last look, only that is read."""

import math
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
from h5py import h5g, h5o

from ..common.text import printable
from ..load.content import Attributes, check_kind, check_size, open_data, open_group, read_text
from ..load.guard import call
from ..load.hdf5 import BROKEN, Unusable, reasons
from ..load.live import planned_steps
from ..load.runs import split_settings
from ..load.stamp import Stamp, stamp_of
from ..load.swmr import open_live

STRETCHES = 128  # of the loss over all steps so far
BLOCK_ROWS = 1 << 16
RECENT_ROWS = 200
RECENT_S = 20.0  # of the steps that speed is taken from
PAUSES_S = (0.0, 0.02, 0.05)  # before each try at one look: the writer may be in the middle of something
SETTLED_S = 1.0  # a file that has not changed for so long is the one that was read, whatever a clock of files rounds
LIMIT_S = 10.0  # of the first reading
SMOOTH = 10  # steps whose mean is shown as the loss
STEP_COLUMNS = ("attempt", "step", "loss", "tokens", "step_s")
SCORE_COLUMNS = ("attempt", "step", "split", "metric", "seconds")


@dataclass
class Progress:
    """How far a run is, as its partial file tells."""
    status: str = ""  # running; how it ended
    host: str = ""
    attempt: int = 0
    steps: int = 0  # of the run; 0: not known
    done: int = 0
    loss: float = math.nan  # mean of the last steps
    curve: tuple[float, ...] = ()  # loss from the first step to the last one done, means of equally long stretches
    metric: str = ""
    score: float = math.nan  # of the last validation
    score_step: int = 0
    tokens_per_s: float = math.nan  # of the last steps, without validations
    left_s: float = math.nan  # steps and validations that are still to come
    fault: str = ""  # why it could not be read this time; all else is from before


class Curve:
    """A long course as the means of equally long stretches, of which there are half of STRETCHES to all of them."""

    def __init__(self) -> None:
        self.sums, self.counts = np.zeros(STRETCHES), np.zeros(STRETCHES)
        self.length = 1  # of a stretch
        self.seen = 0  # values

    def add(self, values: np.ndarray) -> None:
        while self.seen + len(values) > STRETCHES * self.length:
            for name in ("sums", "counts"):
                pairs = getattr(self, name).reshape(-1, 2).sum(axis=1)
                setattr(self, name, np.concatenate([pairs, np.zeros(STRETCHES // 2)]))
            self.length *= 2
        place, known = (self.seen + np.arange(len(values))) // self.length, np.isfinite(values)
        self.sums += np.bincount(place[known], values[known], STRETCHES)
        self.counts += np.bincount(place[known], minlength=STRETCHES)
        self.seen += len(values)

    def means(self) -> tuple[float, ...]:
        filled = self.counts > 0
        return tuple((self.sums[filled] / self.counts[filled]).tolist())


class Follower:
    def __init__(self, partial: Path):
        self.partial = partial
        self.stamp: Stamp | None = None  # of the last look
        self.forget()

    def forget(self) -> None:
        self.progress = Progress()
        self.is_sound = False  # a process of its own has read it, and survived
        self.rows = self.score_rows = 0  # that were read
        self.losses = Curve()
        self.recent: deque[tuple[float, float, float]] = deque(maxlen=RECENT_ROWS)  # loss, tokens, seconds of the last steps
        self.validated: list[tuple[int, float]] = []  # step, seconds

    def look(self) -> Progress | None:
        """None: there is no such file (any more). What cannot be read now is tried again when the file has changed."""
        stamp = stamp_of(self.partial)
        if stamp is None:
            return None
        if stamp == self.stamp and time.time() - stamp.changed_ns / 1e9 > SETTLED_S:
            return replace(self.progress)
        if self.stamp and stamp.inode != self.stamp.inode:  # the next attempt has put its file in this one's place
            self.forget()
        self.stamp = stamp
        try:
            if not self.is_sound:
                call(probe, self.partial, LIMIT_S)
                self.is_sound = True
            self.read_patiently()
            self.progress.fault = ""
        except (Unusable, OSError) as reason:  # OSError: no more processes are to be had
            self.progress.fault = str(reason)
            self.is_sound = False
        return replace(self.progress)

    def read_patiently(self) -> None:
        for pause_s in PAUSES_S:
            if pause_s:
                time.sleep(pause_s)
            try:
                with reasons(), open_live(self.partial) as file:
                    self.read(file)
                return
            except Unusable:
                if pause_s == PAUSES_S[-1]:
                    raise

    def read(self, file: h5py.File) -> None:
        """Raises Unusable, and whatever h5py raises."""
        run = h5o.open(file.id, b".")
        if not self.rows:
            self.read_head(run)
        self.progress.status = Attributes(run, "/").text("status")
        self.read_steps(open_table(run, "series/steps", STEP_COLUMNS))
        self.read_scores(open_table(run, "evaluation", SCORE_COLUMNS))
        self.judge()

    def read_head(self, run: h5g.GroupID) -> None:
        check_kind(Attributes(run, "/"))
        progress, settings = self.progress, split_settings(read_text(run, "config_canonical"))
        progress.metric = printable(settings.get("task.metric", ""))
        progress.steps = planned_steps(settings)
        progress.host = Attributes(open_group(run, "provenance"), "/provenance").text("host", "")

    def read_steps(self, table: h5py.Dataset) -> None:
        for first in range(self.rows, table.shape[0], BLOCK_ROWS):
            rows, whole = written(table.fields(list(STEP_COLUMNS))[first:first + BLOCK_ROWS])
            self.take_steps(rows)
            self.rows += len(rows)
            if not whole:
                break

    def take_steps(self, rows: np.ndarray) -> None:
        if not len(rows):
            return
        progress = self.progress
        progress.attempt, progress.done = int(rows["attempt"][-1]), max(progress.done, int(rows["step"].max()))
        self.losses.add(rows["loss"].astype(float))
        tail = rows[-RECENT_ROWS:]
        self.recent.extend(zip(*(tail[name].astype(float).tolist() for name in ("loss", "tokens", "step_s"))))

    def read_scores(self, table: h5py.Dataset) -> None:
        rows, _ = written(table.fields(list(SCORE_COLUMNS))[self.score_rows:])
        self.score_rows += len(rows)
        for row in rows[rows["split"] == b"validation"]:
            self.progress.score, self.progress.score_step = float(row["metric"]), int(row["step"])
            self.validated.append((int(row["step"]), float(row["seconds"])))

    def judge(self) -> None:
        """What follows from the rows."""
        progress = self.progress
        progress.curve = self.losses.means()
        losses = [loss for loss, _, _ in self.recent][-SMOOTH:]
        progress.loss = sum(losses) / len(losses) if losses else math.nan
        tokens = seconds = 0.0
        count = 0
        for _, more_tokens, more_seconds in reversed(self.recent):
            if seconds >= RECENT_S:
                break
            tokens, seconds, count = tokens + more_tokens, seconds + more_seconds, count + 1
        progress.tokens_per_s = tokens / seconds if seconds > 0 else math.nan
        progress.left_s = math.nan
        if progress.steps and count:
            left = max(0, progress.steps - progress.done)
            progress.left_s = left * (seconds / count + self.validation_s_per_step())

    def validation_s_per_step(self) -> float:
        seconds = [each for _, each in self.validated if math.isfinite(each)]
        apart = self.validated[-1][0] / len({step for step, _ in self.validated}) if self.validated else 0
        return sum(seconds) / len(seconds) / apart if seconds and apart > 0 else 0.0


def probe(partial: Path) -> None:
    """All that a look takes of a file, for the sake of its reader's life."""
    Follower(partial).read_patiently()


def open_table(run: h5g.GroupID, place: str, columns: tuple[str, ...]) -> h5py.Dataset:
    data = open_data(run, place)
    check_size(data, place)
    table = h5py.Dataset(data)
    if table.ndim != 1 or not set(columns) <= set(table.dtype.names or ()):
        raise Unusable(f"{BROKEN}: /{place} is no table of {', '.join(columns)}")
    return table


def written(rows: np.ndarray) -> tuple[np.ndarray, bool]:
    """The rows before the first one that was not filled yet, and whether these are all."""
    empty = np.flatnonzero(rows["attempt"] == 0)
    return (rows, True) if not len(empty) else (rows[:empty[0]], False)
