"""Who works on a run, and how earlier attempts ended, from the small files beside it. They are only read: a claim that was taken, or a lock that was tried,
would make a sweep believe that somebody works there.

NAME.h5.claim and NAME.h5.attempts are those of `peftscale sweep` (src/sweep/claim.h, attempts.h), whose rules these are.
"""

import calendar
import math
import os
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path

from ..common.text import printable
from ..load.live import find_lock

LEASE_S = 120.0  # a sign of life holds so long, where the owner cannot be looked up
KILLED_MOST = 3  # attempts that were killed one after the other: then the run is called failed
KILLED, STOPPED = "killed", "stopped"
MOST_BYTES = 1 << 20
CLAIM = re.compile(r"peftscale claim 1\nhost (\S{1,99})\nprocess (\d{1,18}) (\d{1,20})\nspace (\S{1,63})\nboot (\S{1,63})\njob (\S{1,63})\nsince (\S{1,31})\n"
                   r"(?:progress +(\d{1,18}) of +(\d{1,18})\n)?")


def read_small(path: Path) -> tuple[str, float] | None:
    """Its text and its age in seconds; None: it is not there, or cannot be read."""
    try:
        with open(path, "rb") as file:
            content = file.read(MOST_BYTES)
            return content.decode("utf-8", "replace"), time.time() - os.fstat(file.fileno()).st_mtime
    except OSError:
        return None


# ---- processes ----

def read_word(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return (file.readline().split() or ["-"])[0]
    except OSError:
        return "-"


def started_at(pid: int) -> int:
    """Ticks after the machine's start; 0: there is no such process, or it has ended and only its parent has not noticed."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            words = file.read().rpartition(")")[2].split()
        return 0 if words[0] in "ZX" else int(words[19])
    except (OSError, IndexError, ValueError):
        return 0


def own_machine() -> tuple[str, str]:
    """What tells this machine and its view of processes from others."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = "-"
    return read_word("/proc/sys/kernel/random/boot_id"), space


def is_hidden(pid: int) -> bool:
    """Whether it is another user's, on a machine that shows one's own alone. Signal 0 is none."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        pass
    return False


# ---- claims ----

@dataclass(frozen=True)
class Owner:
    host: str = ""
    text: str = "another process"  # for people
    done: int = 0
    steps: int = 0  # as the claim tells; 0: not yet


def read_claim(run: Path) -> Owner | None:
    """Who holds the run; None: nobody, or an owner that is gone."""
    found = read_small(run.with_name(run.name + ".claim"))
    if found is None:
        return None
    text, age_s = found
    match = CLAIM.match(text)
    owner, alive = Owner(), None
    if match:
        host, pid, started, space, boot, job, since, done, steps = match.groups()
        job = "" if job == "-" else f", job {job}"
        owner = Owner(printable(host), printable(f"process {pid} on {host}{job}, since {since}"))
        if steps and int(done) <= int(steps):
            owner = replace(owner, done=int(done), steps=int(steps))
        own_boot, own_space = own_machine()
        if own_boot == boot != "-" and own_space == space:
            now = started_at(int(pid))
            alive = None if not now and is_hidden(int(pid)) else int(started) != 0 and now == int(started)
    return None if alive is False or (alive is None and age_s > LEASE_S) else owner


def find_writer(partial: Path, age_s: float) -> Owner | None:
    """The process that writes a partial file, for runs that no sweep has claimed. age_s: of the file, which tells where the process cannot be looked up. None:
    nobody."""
    is_locked, holder = find_lock(partial)
    if is_locked is False or (is_locked is None and age_s > LEASE_S):
        return None
    return Owner(holder.partition(" on ")[2].partition(" ")[0], holder or "another process")


def utc_seconds(text: str) -> float:
    """Of 2026-05-04T03:02:01Z, after 1970; NaN for another text."""
    try:
        return float(calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")))
    except ValueError:
        return math.nan


# ---- attempts ----

@dataclass(frozen=True)
class Attempts:
    """What was tried of a run that is not finished."""
    count: int = 0
    killed_in_row: int = 0  # the last ones, without a new checkpoint
    last: str = ""  # how the last one ended: killed, stopped, failed, diverged; "": there was none
    reason: str = ""
    ended: str = ""  # UTC, of the last one; "": it was killed, or goes on


def read_attempts(run: Path) -> Attempts:
    """A damaged list is an empty one."""
    found = read_small(run.with_name(run.name + ".attempts"))
    tried, checkpoint = Attempts(), ""
    for line in (found[0] if found else "").replace("\0", "\n").split("\n"):
        kind, *words = line.split("\t")
        if kind == "begin":
            source = words[3] if len(words) > 3 else ""
            same = tried.last == KILLED and source == checkpoint
            tried = Attempts(tried.count + 1, tried.killed_in_row + 1 if same else 1, KILLED, KILLED)
            checkpoint = source
        elif kind == "end" and tried.count:
            when, how, reason = (words + ["", "", ""])[:3]
            tried = replace(tried, last=how or "failed", killed_in_row=tried.killed_in_row if how == KILLED else 0, reason=printable(reason), ended=when)
    return tried
