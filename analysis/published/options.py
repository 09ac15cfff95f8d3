"""Options of the verb `published`."""

import argparse
from pathlib import Path

EXAMPLES = """examples (from the project's root):
  python3 -m analysis published --task cola --model roberta-base
  python3 -m analysis published --method vera,vblora --format tsv
  python3 -m analysis published --file mine.tsv
"""


def names(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    listing = verbs.add_parser("published", help="list what papers print", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
                               description="Scores and numbers of parameters that papers print, with their tables; analysis/published/README.md tells how they "
                               "were taken. `table --published` puts them beside ours.\nExit status: 0 listed, 1 nothing fits or a file is of no use, 2 wrong "
                               "usage.")
    for option, what in (("task", "cola,mrpc"), ("method", "lora,vera"), ("model", "roberta-base")):
        listing.add_argument(f"--{option}", type=names, default=[], metavar="LIST", help=f"of these alone, as {what}; with --task no counts, which have none")
    listing.add_argument("--file", type=Path, action="append", default=[], metavar="FILE", help="a file of one's own, listed alone (may be given again)")
    listing.add_argument("--format", choices=("text", "tsv"), default="text", help="tsv: a line per number with all that is known of it")
    listing.set_defaults(module=".published.verb", function="run_published")
