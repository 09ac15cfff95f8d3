"""What ends a verb: one line for people, and the exit status."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Fault(Exception):
    """Says what is wrong, and where; `python3 -m analysis` prints it behind "analysis: "."""
    status = 1


class Misuse(Fault):
    """The call itself cannot be meant so: a place that is not there, a number that nothing can reach."""
    status = 2


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """What cannot be written is a Fault. place: named where the system names no file."""
    try:
        yield
    except BrokenPipeError:
        raise  # the reader of our text has gone: no failure of ours
    except OSError as error:
        raise Fault(f"{error.filename or place} cannot be written: {error.strerror}") from None
