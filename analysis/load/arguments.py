"""Options of all verbs that read runs; what they choose is read by chosen.py. Needs no library."""

import argparse
from pathlib import Path

from ..common.arguments import some_of
from .allowed import ALLOWED, NOTHING
from .targets import parse_targets

CONTROL = "lora"  # what the others are compared with, if nothing is said


def allowed(text: str) -> frozenset[str]:
    return frozenset(some_of(ALLOWED)(text))


def add_runs(parser: argparse.ArgumentParser, study: str, default: str = "") -> None:
    """options.places, study and stage. study: what --study does; default: the places where none is named."""
    parser.add_argument("places", nargs="*", type=Path, metavar="DIR_OR_FILE", help="run files and archives of them, or folders with such files below"
                        + (f" (default: {default})" if default else ""))
    parser.add_argument("--study", type=Path, metavar="DIR", help=study)
    parser.add_argument("--stage", metavar="NAME", help="with --study: of one stage")


def check_runs(options: argparse.Namespace) -> None:
    if options.study and options.places:
        options.parser.error("--study takes the place of files and folders")
    if options.stage is not None and not options.study:
        options.parser.error("--stage needs --study")


class Control(argparse.Action):
    """Also tells that it was asked for, be it the usual one."""

    def __call__(self, parser: argparse.ArgumentParser, options: argparse.Namespace, value: str, option: str | None = None) -> None:
        options.control, options.asks_control = value, True


def add_control(parser: argparse.ArgumentParser) -> None:
    """options.control and asks_control."""
    parser.set_defaults(asks_control=False)
    parser.add_argument("--control", action=Control, default=CONTROL, metavar="NAME", help="what all others are compared with: a method, or a row as the "
                        f"table calls it where a method has several (default: {CONTROL})")


def targets(text: str) -> dict[str, float]:
    try:
        return parse_targets(text)
    except ValueError as reason:
        raise argparse.ArgumentTypeError(str(reason)) from None


def add_target(parser: argparse.ArgumentParser, use: str) -> None:
    """use: what it is for."""
    parser.add_argument("--target", type=targets, metavar="LIST", help=f"scores on validation for {use}: 0.92, 92%%, or of tasks, as trec6=92%%,cola=0.3 "
                        "(default: what every seed of the control reached)")


def add_reading(parser: argparse.ArgumentParser) -> None:
    """options.allow and options.use_cache."""
    parser.add_argument("--allow", type=allowed, default=NOTHING, metavar="LIST", help="do not refuse: invalid (runs that contradict themselves), mixed "
                        "(runs of one table by several versions of the program, of which otherwise the one of most runs counts), contaminated (times of runs "
                        "that other work disturbed, which otherwise do not count)")
    parser.add_argument("--no-cache", dest="use_cache", action="store_false", help="read every file anew, and keep nothing of what was read")
