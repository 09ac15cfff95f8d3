"""Where a verb's tables go: to the terminal, or to files of a folder."""

import codecs
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from .fault import Fault
from .files import write_file
from .text import NARROW, WIDTH

PLAIN = {"±": "+-", "µ": "u", "–": "-", "−": "-", "—": "-", "…": "..."}


def spell(error: UnicodeError) -> tuple[str | bytes, int]:
    """For a stream that lacks a letter: ours are spelled, any other (a file's name may hold bytes that are no text) is shown by its number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    error.end = error.start + 1
    plain = PLAIN.get(error.object[error.start])
    return (plain, error.end) if plain else codecs.backslashreplace_errors(error)


codecs.register_error("spell", spell)


def width_of_terminal() -> int:
    return max(NARROW, min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns))


def save(path: Path, text: str) -> None:
    """Raises Fault."""
    try:
        write_file(path, text)
    except OSError as error:
        raise Fault(f"{path} cannot be written: {error.strerror}") from None
    print(f"Written: {path}")


def emit(out_dir: Path | None, chosen: Sequence[str], files: dict[str, tuple[str, Callable[[], str]]]) -> None:
    """Prints what has no name; saves the others in out_dir, or prints them where there is none. files: format to name and text. Raises Fault."""
    for form in chosen:
        name, text = files[form]
        if not name or not out_dir:
            print(text(), end="")
        else:
            save(out_dir / name, text())
