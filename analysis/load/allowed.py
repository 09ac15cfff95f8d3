"""What is refused as a rule, and how a command line allows it; needs no library."""

import argparse

INVALID, MIXED, CONTAMINATED = ALLOWED = ("invalid", "mixed", "contaminated")
NOTHING: frozenset[str] = frozenset()


def parse_allowed(text: str) -> frozenset[str]:
    """The type of --allow: some of the words, separated by commas."""
    words = frozenset(word.strip() for word in text.split(","))
    if unknown := sorted(words - set(ALLOWED)):
        raise argparse.ArgumentTypeError(f"'{unknown[0]}' is none of {', '.join(ALLOWED)}")
    return words


def add_reading(parser: argparse.ArgumentParser) -> None:
    """The options of every verb that reads runs: options.allow and options.use_cache, for load.collect.collect and load.study.read_study."""
    parser.add_argument("--allow", type=parse_allowed, default=NOTHING, metavar="LIST", help="do not refuse: invalid (runs that contradict themselves), mixed "
                        "(runs of one table by several versions of the program, of which otherwise the one of most runs counts), contaminated (times of runs "
                        "that other work disturbed, which otherwise do not count)")
    parser.add_argument("--no-cache", dest="use_cache", action="store_false", help="read every file anew, and keep nothing of what was read")
