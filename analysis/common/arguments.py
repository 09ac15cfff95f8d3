"""Types of command line options, and options that several verbs have."""

import argparse
import math
import shutil
import textwrap
from collections.abc import Callable, Collection
from pathlib import Path

from .text import NARROW, WIDTH

HEAD = "examples (from the project's root):"
LEAST_TEXT = 24  # letters of a text beside its name


class Help(argparse.HelpFormatter):
    """Paragraphs are wrapped; lines that begin with a blank stay as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(line if line.startswith(" ") else textwrap.fill(line, width) for line in text.splitlines())

    def add_argument(self, action: argparse.Action) -> None:
        """Verbs stand indented in their list; argparse forgets that when it looks how much room names need."""
        super().add_argument(action)
        if isinstance(action, argparse._SubParsersAction):
            self._action_max_length += self._indent_increment


def listed(names: str, text: str) -> str:
    """For a list below the options: as wide as the options are, what has no room on the line stands below the text's beginning."""
    width = shutil.get_terminal_size().columns - 2
    begin = f"  {names} "
    if len(begin) + LEAST_TEXT > width:
        return "\n".join([begin.rstrip(), *textwrap.wrap(text, max(width, LEAST_TEXT), initial_indent="    ", subsequent_indent="    ")])
    return textwrap.fill(text, width, initial_indent=begin, subsequent_indent=" " * len(begin)) or begin.rstrip()


def add_verb(verbs: argparse._SubParsersAction, name: str, short: str, description: str, examples: str, below: str = "") -> argparse.ArgumentParser:
    """short: in the list of verbs. examples: lines that begin with two blanks. below: what else stands below the options."""
    return verbs.add_parser(name, help=short, description=description, epilog="\n\n".join(filter(None, [below, f"{HEAD}\n{examples}"])), formatter_class=Help)


def whole_number(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"'{text}' is no whole number from {least} to {most}")
        return int(text)
    return read


def real_number(least: float, most: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"'{text}' is no number from {least:g} to {most:g}")
        return value
    return read


def names(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def some_of(known: Collection[str]) -> Callable[[str], list[str]]:
    """Some of these words, separated by commas, each once."""
    def read(text: str) -> list[str]:
        chosen = list(dict.fromkeys(word.strip() for word in text.split(",")))
        if unknown := [word for word in chosen if word not in known]:
            raise argparse.ArgumentTypeError(f"'{unknown[0]}' is none of {', '.join(known)}")
        return chosen
    return read


def add_output(parser: argparse.ArgumentParser, forms: Collection[str], written: str) -> None:
    """options.out_dir, format and width, for common.output.emit; complete_output() belongs to them. written: which files."""
    parser.add_argument("--out-dir", type=Path, metavar="DIR", help=f"write {written} there")
    parser.add_argument("--format", type=some_of(forms), metavar="LIST", help=f"of {','.join(forms)} (default: text, and with --out-dir all). Text is printed; "
                        "the others are written to --out-dir, or printed where there is none")
    add_width(parser)


def add_width(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--width", type=whole_number(NARROW, 1000), metavar="N", help=f"columns of text (default: the terminal's, from {NARROW} to {WIDTH})")


def complete_output(options: argparse.Namespace, forms: Collection[str]) -> None:
    options.format = options.format or (list(forms) if options.out_dir else ["text"])
