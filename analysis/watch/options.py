"""Options of the verb `watch`."""

import argparse
from pathlib import Path

from ..common.arguments import add_verb, real_number

EXAMPLES = """\
  python3 -m analysis watch results/quickstart             while the sweep runs
  python3 -m analysis watch results/quickstart --once      plain text, once
  python3 -m analysis watch results/runs/*.h5.partial      single trainings
"""


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    watch = add_verb(verbs, "watch", "look at a running sweep, live",
                     "Shows what the runs of a study (or run files) are doing: step, loss, last validation, speed, time left; what is done, what failed and "
                     "why, what is left. It only reads, and takes no locks. Without a terminal it prints a line per change. It ends when nothing is left to be "
                     "done, or with Ctrl-C, which ends the view and not the sweep. It waits for the first run where there is index.tsv or runs/, which a sweep "
                     "makes first; a folder with neither, and without run files, is nothing to look at.\n"
                     "Exit status: 0 shown, 1 nothing to look at, 2 wrong usage.", EXAMPLES)
    watch.add_argument("places", nargs="+", type=Path, metavar="STUDY_DIR_OR_FILE", help="a study's results (results/STUDY), or run files, finished or not, or "
                       "folders with such files below")
    watch.add_argument("--interval", type=real_number(0.1, 3600), default=2.0, metavar="S", help="seconds between looks (default: 2)")
    watch.add_argument("--once", action="store_true", help="print what there is as plain text, and end")
    watch.set_defaults(module=".watch.verb", function="run_watch")
