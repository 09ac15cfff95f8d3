"""Options of the verb `published`, and of those that show its numbers beside ours."""

import argparse
from pathlib import Path

from ..common.arguments import add_verb, names

EXAMPLES = """\
  python3 -m analysis published --task cola --model roberta-base
  python3 -m analysis published --method vera,vblora --format tsv
  python3 -m analysis published --file mine.tsv
"""


def add_beside(parser: argparse.ArgumentParser, what: str) -> None:
    """Of verbs that show published numbers beside ours: options.published, published_source and published_file. what: --published does."""
    parser.add_argument("--published", action="store_true", help=what)
    parser.add_argument("--published-source", type=names, action="extend", default=[], metavar="LIST", help="of these sources alone, and all of them: parts "
                        "of the names of papers, arXiv ids or models")
    parser.add_argument("--published-file", type=Path, action="append", default=[], metavar="FILE", help="published numbers of one's own, too (form: "
                        "analysis/published/README.md)")


def complete_beside(options: argparse.Namespace) -> None:
    options.published = options.published or bool(options.published_file or options.published_source)


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    listing = add_verb(verbs, "published", "list what papers print",
                       "Scores and numbers of parameters that papers print, with their tables; analysis/published/README.md tells how they were taken. `table "
                       "--published` puts them beside ours.\nExit status: 0 listed, 1 nothing fits or a file is of no use, 2 wrong usage.", EXAMPLES)
    for option, what in (("task", "cola,mrpc"), ("method", "lora,vera"), ("model", "roberta-base")):
        listing.add_argument(f"--{option}", type=names, default=[], metavar="LIST", help=f"of these alone, as {what}; with --task no counts, which have none")
    listing.add_argument("--file", type=Path, action="append", default=[], metavar="FILE", help="a file of one's own, listed alone (may be given again)")
    listing.add_argument("--format", choices=("text", "tsv"), default="text", help="tsv: a line per number with all that is known of it")
    listing.set_defaults(module=".published.verb", function="run_published")
