"""Where a verb's tables go: to the terminal, or to files of a folder."""

import codecs
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

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


def save(path: Path, text: str) -> int:
    """An exit status. What cannot be written is said."""
    try:
        write_file(path, text)
    except OSError as error:
        print(f"analysis: {path} cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    print(f"Written: {path}")
    return 0


def emit(out_dir: Path | None, chosen: Sequence[str], files: dict[str, tuple[str, Callable[[], str]]]) -> int:
    """Prints what has no name; saves the others in out_dir, or prints them where there is none. files: format to name and text. Returns an exit status."""
    for form in chosen:
        name, text = files[form]
        if not name or not out_dir:
            print(text(), end="")
        elif code := save(out_dir / name, text()):
            return code
    return 0
