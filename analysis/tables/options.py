"""Options of the verb `table`."""

import argparse
from pathlib import Path

from ..common.arguments import whole_number
from ..load.allowed import add_reading
from .columns import ALL, COLUMNS, parse_columns

EXAMPLES = """examples (from the project's root):
  python3 -m analysis                                             everything below results/
  python3 -m analysis table results/quickstart/runs --out-dir results/quickstart
  python3 -m analysis table results/minilm-trec/runs/lora-s1.h5 --format markdown
  python3 -m analysis table --study results/minilm-glue --curves --out-dir results/minilm-glue
  python3 -m analysis table --study results/comm-scaling --columns ranks,step,communication
"""
FORMATS = ("text", "markdown", "csv")


def formats(text: str) -> list[str]:
    chosen = [word.strip() for word in text.split(",")]
    if unknown := [word for word in chosen if word not in FORMATS]:
        raise argparse.ArgumentTypeError(f"'{unknown[0]}' is none of {', '.join(FORMATS)}")
    return chosen


def columns(text: str) -> tuple[str, ...]:
    try:
        return parse_columns(text)
    except ValueError as reason:
        raise argparse.ArgumentTypeError(str(reason)) from None


def check(options: argparse.Namespace) -> None:
    if options.study and options.places:
        options.parser.error("--study takes the place of files and folders")
    if not options.study and (options.curves or options.stage is not None):
        options.parser.error("--curves and --stage need --study")
    options.format = options.format or (list(FORMATS) if options.out_dir else ["text"])


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    table = verbs.add_parser("table", help="compare the methods of finished runs", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
                             description="One row per method and setting, averaged over the seeds; runs that differ in anything else stay apart. What makes "
                             "rows unlike beyond that\n(other programs, kernels, weights, data or sample orders, dirty builds, disturbed or unfinished runs) is said "
                             "below the table.\nExit status: 0 printed, 1 no finished run, no index of a study or (--strict) unlike runs, 2 wrong usage.")
    table.add_argument("places", nargs="*", type=Path, metavar="DIR_OR_FILE", help="run files and archives of them, or folders with such files below "
                       "(default: results)")
    table.add_argument("--study", type=Path, metavar="DIR", help="a study's results instead: the rows are what its index lists as runs, never trials, with the "
                       "number of seeds that were planned; below the table all that did not become a number, and why")
    table.add_argument("--stage", metavar="NAME", help="with --study: of one stage")
    table.add_argument("--curves", action="store_true", help="with --study: also every trial of tuned values and its score on validation "
                       "(curves.csv in --out-dir)")
    table.add_argument("--columns", type=columns, metavar="LIST", help=f"of {', '.join(COLUMNS)}, or {ALL} (default: what the study file names, else the usual "
                       "ones). CSV has all of them")
    table.add_argument("--out-dir", type=Path, metavar="DIR", help="write table.md and table.csv there")
    table.add_argument("--format", type=formats, metavar="LIST", help="of text,markdown,csv (default: text, and with --out-dir all three). Text is printed; "
                       "the others are written to --out-dir, or printed where there is none")
    table.add_argument("--width", type=whole_number(60, 1000), metavar="N", help="columns of text (default: the terminal's, from 80 to 100)")
    table.add_argument("--strict", action="store_true", help="refuse to make a table of unlike runs, or of a study that lacks one")
    add_reading(table)
    table.set_defaults(module=".tables.verb", function="run_table", check=check, parser=table)
