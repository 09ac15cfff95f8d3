"""The state of a run that is not finished, for whoever watches it: a file that grows, or what a killed, stopped or failed training left behind.

Such a run is never compared; collect() leaves it out.
"""

import errno
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from .content import Attributes, check_kind, open_group, read_table, read_text
from .guard import call
from .hdf5 import BROKEN, NOT_OPENED, PARTIAL, Unusable, check_place, newest, reasons
from .measure import Validation, find_validations
from .runs import find_names, last_attempt, split_settings, take_seed
from .swmr import open_live

LOCK = ".lock"
RUNNING, KILLED, STOPPED, FAILED, COMPLETE = "running", "killed", "stopped", "failed", "complete"
RECENT = 100  # steps that its speed is taken from
TRIES, PAUSE_S = 5, 0.05  # a reader may meet a writer in the middle of its work
MOST_HOLDER = 200


@dataclass(frozen=True)
class Live:
    path: Path  # what was read
    state: str  # running, killed (it says that it runs, but nobody holds its lock), stopped, failed, complete
    status: str  # in the file's own words: running, complete, stopped: ..., failed: ...
    locked: bool | None  # whether a process is writing it; None: another machine would have to be asked
    holder: str  # who, in the lock's own words: process 12 on HOST since TIME; "": nobody
    updated: float  # seconds since 1970: the last change of the file
    run_id: str
    request_id: str
    created: str  # UTC, ISO 8601
    task: str
    model: str
    method: str
    seed: int
    settings: dict[str, str]  # without the seed
    ranks: int
    threads: int
    nodes: int  # 0: not told
    attempt: int  # from 1
    step: int  # updates done
    planned: int  # steps of the whole run; 0: not told
    epoch: int
    steps: np.ndarray  # numbers of the steps that were recorded, ascending; of one that was made again the newest attempt
    losses: np.ndarray  # of these
    validations: tuple[Validation, ...]
    # Of the last RECENT steps, without validations; NaN: there are none.
    step_s: float  # mean
    tokens_per_s: float
    communication_share: float
    left_s: float  # what the steps that are left would take at this speed; NaN: not known


# ---- the lock ----

def holds_lock(path: Path, holder: str) -> bool:
    """Whether a process of this machine holds it, as the kernel lists locks. It is not tried: a training that begins meanwhile would believe that somebody
    writes its file. holder: what the lock says; some file systems tell the kernel another device than they tell us, then the process decides."""
    try:
        found = os.stat(path)
        with open("/proc/locks", encoding="ascii", errors="replace") as file:
            locks = [line.split() for line in file]
    except OSError:
        return False
    device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}"
    process = holder.removeprefix("process ").partition(" ")[0]
    held = [(words[4], *words[5].rpartition(":")[::2]) for words in locks if len(words) > 5 and words[1] == "FLOCK"]
    return any(inode == str(found.st_ino) and (place == device or pid == process) for pid, place, inode in held)


def read_holder(path: Path) -> str | None:
    """None: there is no lock."""
    try:
        with open(path, "rb") as file:
            text = file.read(MOST_HOLDER).decode("utf-8", "replace")
    except OSError:
        return None
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def find_lock(partial: Path) -> tuple[bool | None, str]:
    """Whether it is held, and by whom."""
    path = partial.with_name(partial.name + LOCK)
    if (holder := read_holder(path)) is None:
        return False, ""
    if holds_lock(path, holder):
        return True, holder
    host = holder.partition(" on ")[2].partition(" ")[0]
    return (None, holder) if host and host != os.uname().nodename else (False, "")


# ---- the file ----

def open_growing(path: Path) -> h5py.File:
    """A plain open, which a file refuses that has, or had, a writer; then as a reader beside a writer. Raises Unusable."""
    try:
        check_place(path)
        try:
            return h5py.File(path, "r")
        except OSError:
            return open_live(path)
    except OSError as error:
        raise Unusable(f"{NOT_OPENED}: {os.strerror(error.errno)}" if error.errno else f"{BROKEN}: not a whole HDF5 file") from None
    except RuntimeError:
        raise Unusable(f"{BROKEN}: not a whole HDF5 file") from None


def state_of(status: str, locked: bool | None) -> str:
    word = status.partition(":")[0]
    if word == RUNNING:
        return KILLED if locked is False else RUNNING
    return word if word in (STOPPED, COMPLETE) else FAILED


def planned_steps(settings: dict[str, str]) -> int:
    text = settings.get("train.steps", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0


def speed_of(rows: np.ndarray, planned: int) -> dict[str, float]:
    """rows: of all steps that were recorded."""
    recent = rows[-RECENT:]
    seconds, count = float(recent["step_s"].sum()), len(recent)
    if not count or not seconds > 0:
        return dict.fromkeys(("step_s", "tokens_per_s", "communication_share", "left_s"), math.nan)
    return {"step_s": seconds / count, "tokens_per_s": float(recent["tokens"].sum()) / seconds,
            "communication_share": float(recent["communication_s"].sum()) / seconds,
            "left_s": max(0, planned - int(rows["step"][-1])) * seconds / count if planned else math.nan}


def read_open(path: Path, run: h5py.File) -> Live:
    """Raises Unusable, and whatever h5py raises of a damaged file."""
    group = h5py.h5o.open(run.id, b".")
    root = Attributes(group, "/")
    check_kind(root)
    status, (locked, holder) = root.text("status"), find_lock(path) if path.name.endswith(PARTIAL) else (False, "")
    settings, names = split_settings(read_text(group, "config_canonical")), find_names(read_text(group, "config"))
    attempts, rows = read_table(group, "attempts", optional=False), newest(read_table(group, "series/steps", optional=False), "step")
    ranks, threads, nodes = last_attempt(attempts, Attributes(open_group(group, "provenance"), "/provenance"))
    message = Attributes(open_group(group, "accounting"), "/accounting").whole("sent_bytes_per_step") or 0
    planned, has = planned_steps(settings), rows.dtype.names
    return Live(
        path=path, state=state_of(status, locked), status=status, locked=locked, holder=holder, updated=os.stat(path).st_mtime, run_id=root.text("run_id"),
        request_id=root.text("request_id", ""), created=root.text("created", ""), task=names.get("task", ""), model=names.get("model", ""),
        method=settings.get("method.name", ""), seed=take_seed(settings), settings=settings, ranks=ranks, threads=threads, nodes=nodes,
        attempt=int(attempts["attempt"].max()), step=int(rows["step"][-1]) if len(rows) else 0, planned=planned,
        epoch=int(rows["epoch"][-1]) if len(rows) and "epoch" in has else 0, steps=rows["step"].copy(),
        losses=rows["loss"].copy() if "loss" in has else np.full(len(rows), math.nan),
        validations=find_validations(read_table(group, "evaluation"), rows, ranks, message), **speed_of(rows, planned))


def read_once(path: Path) -> Live:
    with open_growing(path) as run, reasons():
        return read_open(path, run)


def read_patiently(path: Path) -> Live:
    """What cannot be understood may be whole a moment later."""
    for tries_left in reversed(range(TRIES)):
        try:
            return read_once(path)
        except Unusable as reason:
            if not tries_left or not str(reason).startswith(BROKEN):
                raise
        time.sleep(PAUSE_S)
    raise AssertionError("not reached")


def read_live(path: Path) -> Live:
    """The state of one run now. path: NAME.h5.partial or NAME.h5; a run that has finished since, or has gone on since, is found under its other name.

    Each call reads the file anew, in a process of its own (some 20 ms and 200 bytes per step that was made): for a look every second or so. Nothing is
    changed or locked, so that a training never notices. Rows that their writer had no time to fill are left out. Raises Unusable with the reason, for a file
    that is not there among others.
    """
    partial = path if path.name.endswith(PARTIAL) else path.with_name(path.name + PARTIAL)
    final = partial.with_name(partial.name.removesuffix(PARTIAL))
    for place in (partial, final):
        if os.path.lexists(place):
            try:
                return call(read_patiently, place)
            except Unusable as reason:
                if place == final or not os.path.lexists(final) or os.path.lexists(partial):
                    raise reason from None
    raise Unusable(f"{NOT_OPENED}: {os.strerror(errno.ENOENT)}")
