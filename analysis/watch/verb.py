"""The verb `watch`: looks, shows, waits."""

import argparse
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Before h5py is imported: a reader's lock, however short, could keep a writer from a file that it is about to open.
os.environ["HDF5_USE_FILE_LOCKING"] = "FALSE"

from ..load.index import BadIndex  # noqa: E402
from .lines import changes, last_line, whole_picture  # noqa: E402
from .snapshot import Snapshot  # noqa: E402
from .sweep import Files, Study, open_place  # noqa: E402

ENDING = (signal.SIGTERM, signal.SIGHUP)


class Ended(Exception):
    """By a signal."""


@contextmanager
def listening() -> Iterator[None]:
    """SIGTERM and the end of the terminal leave the view in order, as Ctrl-C does; a change of the terminal's size ends a wait."""
    def end(number: int, _frame) -> None:
        raise Ended(number)

    before = {number: signal.signal(number, end) for number in ENDING if signal.getsignal(number) != signal.SIG_IGN}
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGWINCH})
        for number, handler in before.items():
            signal.signal(number, handler)


def wait(seconds: float) -> bool:
    """Whether it was the terminal's size that ended it."""
    return signal.sigtimedwait({signal.SIGWINCH}, seconds) is not None


def is_unicode() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")


def print_changes(place: Study | Files, interval_s: float) -> Snapshot:
    before = None
    while True:
        now = place.look()
        for line in changes(before, now):
            print(line, flush=True)
        if now.has_ended:
            return now
        before = now
        wait(interval_s)


def show(place: Study | Files, interval_s: float) -> Snapshot:
    """On the terminal's other screen; what stood there before comes back."""
    from rich.console import Console
    from rich.live import Live

    from .view import Picture

    console = Console(highlight=False, markup=False, emoji=False)
    now = place.look()
    if now.has_ended:
        return now
    with Live(Picture(now, interval_s), console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
        try:
            while not now.has_ended:
                live.update(Picture(now, interval_s), refresh=True)
                if not wait(interval_s):
                    now = place.look()
        except KeyboardInterrupt:
            pass
    return now


def run_watch(options: argparse.Namespace) -> int:
    try:
        place = open_place(options.places)
    except (FileNotFoundError, ValueError, BadIndex) as reason:
        print(f"analysis: {reason}", file=sys.stderr)
        return 1
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # names of runs may hold letters that the terminal has not
    if options.once:
        snapshot = place.look()
        print("\n".join(whole_picture(snapshot, is_unicode())))
        return 0 if snapshot.entries else 1
    is_terminal = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    try:
        with listening():
            snapshot = show(place, options.interval) if is_terminal else print_changes(place, options.interval)
    except KeyboardInterrupt:
        return 0
    except Ended as end:
        return 128 + end.args[0]
    print("\n".join(whole_picture(snapshot, is_unicode())) if is_terminal else last_line(snapshot))
    return 0
