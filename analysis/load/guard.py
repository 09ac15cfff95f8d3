"""Reads files in processes of their own: the HDF5 library does not survive all damage (some of it ends the process, some might never end), and with many files
the cores share the work.

What a process that has died, hung or taken too much memory was reading is named; all else is read all the same.
"""

import os
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any, NoReturn

from .hdf5 import BROKEN, Unusable

LIMIT_S = 60.0  # for one item
MOST_BYTES = 2 << 30  # of memory, beside what this process has already
MOST_PROCESSES, FEWEST_ITEMS = 8, 8  # a process is worth its start for so many items
DIED = f"{BROKEN}: the HDF5 library does not survive it"


def limit_memory() -> None:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            now = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        most = now + MOST_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    except (OSError, ValueError):
        pass


def work(function: Callable[[Any], Any], items: Sequence[Any], out: Connection) -> NoReturn:
    """In the new process: one answer per item, in order."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)  # the last words of a library that gives up
        limit_memory()
        for item in items:
            try:
                answer = True, function(item)
            except Unusable as reason:
                answer = False, str(reason)
            except Exception as error:  # a mistake in `function`: of no more concern than its item
                answer = False, f"{BROKEN}: reading it fails: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            out.send(answer)
            if not answer[0] and answer[1].startswith(BROKEN):
                break  # it may have left the library in disorder: what is left is for another process
        code = 0
    finally:
        os._exit(code)  # nothing of the other process's is flushed or closed


@dataclass
class Worker:
    pid: int
    answers: Connection
    left: list[int]  # numbers of the items, the one in work first
    is_fresh: bool = True  # it has answered nothing yet
    since: float = 0.0  # of the last answer

    def stop(self) -> int:
        """The signal that ended it, or 0."""
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        return self.join()

    def join(self) -> int:
        self.answers.close()
        _, status = os.waitpid(self.pid, 0)
        return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def start(function: Callable[[Any], Any], items: Sequence[Any], left: list[int]) -> Worker:
    """Raises OSError if there can be no more processes."""
    answers, out = Pipe(duplex=False)
    pid = os.fork()
    if pid == 0:
        work(function, [items[number] for number in left], out)
    out.close()
    return Worker(pid, answers, left, since=time.monotonic())


def take(worker: Worker) -> tuple[int, Any] | None:
    """One answer, with the number of its item. None: it has ended."""
    try:
        is_good, answer = worker.answers.recv()
    except (EOFError, OSError):
        return None
    worker.is_fresh, worker.since = False, time.monotonic()
    return worker.left.pop(0), answer if is_good else Unusable(answer)


def bury(worker: Worker) -> tuple[int, Any] | None:
    """Of a process that has ended: what is to be said of the item that it was at. None: another process shall try it."""
    ended_by = worker.join()
    if not worker.left or not worker.is_fresh:
        return None
    return worker.left.pop(0), Unusable(f"{DIED} ({signal.Signals(ended_by).name})" if ended_by else f"{BROKEN}: reading it fails")


def read_all(function: Callable[[Any], Any], items: Sequence[Any], limit_s: float = LIMIT_S) -> Iterator[tuple[int, Any]]:
    """Calls function(item) for each; gives the item's number with what was returned, or with the Unusable that was raised or that is the verdict on it; as they
    come. What function returns is copied between processes. Raises OSError if no process can be started."""
    count = max(1, min(len(os.sched_getaffinity(0)), MOST_PROCESSES, -(-len(items) // FEWEST_ITEMS)))
    waiting = [list(range(first, len(items), count)) for first in range(count)] if items else []
    workers: dict[Connection, Worker] = {}
    try:
        while waiting or workers:
            while waiting and len(workers) < count:
                worker = start(function, items, waiting.pop())
                workers[worker.answers] = worker
            ready = wait(list(workers), timeout=max(0.0, min(worker.since for worker in workers.values()) + limit_s - time.monotonic()))
            for answers in ready:
                worker = workers[answers]
                if (found := take(worker)) is None:
                    del workers[answers]
                    found = bury(worker)
                    if worker.left:
                        waiting.append(worker.left)
                if found:
                    yield found
            late = [worker for worker in workers.values() if time.monotonic() - worker.since > limit_s and not worker.answers.poll()]
            for worker in late:
                del workers[worker.answers]
                worker.stop()
                number, *rest = worker.left or [None]
                if rest:
                    waiting.append(rest)
                if number is not None:
                    yield number, Unusable(f"cannot be read: no answer within {limit_s:g} s")
    finally:
        for worker in workers.values():
            worker.stop()


def call(function: Callable[[Any], Any], item: Any, limit_s: float = LIMIT_S) -> Any:
    """function(item), in a process of its own. Raises Unusable."""
    for _, answer in read_all(function, [item], limit_s):
        if isinstance(answer, Unusable):
            raise answer
        return answer
    raise Unusable(f"{BROKEN}: reading it fails")
