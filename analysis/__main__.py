"""Command line of the analysis. Each verb's options stand in its package's options.py; what they run is imported only then, since `--help` needs no library."""

import argparse
import errno
import importlib
import os
import sys

from .comm import options as comm
from .common import output  # noqa: F401  knows "spell"
from .common.arguments import HEAD, Help
from .common.fault import Fault
from .load import options as load
from .plots import options as plots
from .published import options as published
from .report import options as report
from .stats import options as stats
from .tables import options as tables
from .watch import options as watch

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # of a disk that takes no more


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m analysis", formatter_class=Help, description="Tables, statistics, figures and reports from run files and "
                                     "archives of them, a live view of a running sweep, and the model of communication times. Without a verb: `table` of "
                                     "everything below results/.", epilog=f"Each verb has --help.\n\n{HEAD}\n{tables.EXAMPLES}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for package in (tables, stats, plots, report, published, load, comm, watch):
        package.add_verbs(verbs)
    options = parser.parse_args(arguments or ["table"])
    if "check" in options:
        options.check(options)
    return options


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    try:
        return getattr(importlib.import_module(options.module, __package__), options.function)(options)
    except Fault as fault:
        print(f"analysis: {fault}", file=sys.stderr)
        return fault.status
    except ImportError as error:
        library = (error.name or "").partition(".")[0]
        if library in ("", __package__):
            raise  # a mistake of ours
        print(f"analysis: {library} is missing (Debian: python3-{library})", file=sys.stderr)
        return 1


def drop_output() -> None:
    """What is still to be printed goes nowhere, so that Python's own end does not fail at it once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="spell")
    try:
        status = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        drop_output()
        status = 0
    except KeyboardInterrupt:
        status = 130
    except OSError as error:
        if error.filename or error.errno not in FULL:
            raise  # a mistake of ours
        drop_output()
        print(f"analysis: standard output cannot be written: {error.strerror}", file=sys.stderr)
        status = 1
    sys.exit(status)
