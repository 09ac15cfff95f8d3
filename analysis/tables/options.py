"""Options of the verb `table`."""

import argparse
from pathlib import Path

from ..common.arguments import add_output, add_verb, complete_output
from ..load.arguments import add_control, add_reading, add_runs, add_target, check_runs
from ..published.options import add_beside, complete_beside
from .columns import ALL, COLUMNS, parse_columns

EXAMPLES = """\
  python3 -m analysis                              everything below results/
  python3 -m analysis table results/quickstart/runs --out-dir results/quickstart
  python3 -m analysis table results/runs/lora-s1.h5 --format markdown
  python3 -m analysis table --study results/minilm-glue --curves --out-dir out
  python3 -m analysis table --study results/comm-scaling --columns ranks,step
  python3 -m analysis table --study results/minilm-glue --layout wide \\
      --control full --format latex
  python3 -m analysis table --study results/minilm-glue --target trec6=90% \\
      --columns test,difference,time_to_target,bytes_to_target
  python3 -m analysis table results/mine/runs --published
"""
FORMATS = ("text", "markdown", "csv", "latex")
LAYOUTS = ("long", "wide", "both")


def columns(text: str) -> tuple[str, ...]:
    try:
        return parse_columns(text)
    except ValueError as reason:
        raise argparse.ArgumentTypeError(str(reason)) from None


def check(options: argparse.Namespace) -> None:
    check_runs(options)
    if options.curves and not options.study:
        options.parser.error("--curves needs --study")
    complete_beside(options)
    if options.published and options.layout == "wide":
        options.parser.error("published numbers stand in the long layout alone")
    complete_output(options, FORMATS)


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    table = add_verb(verbs, "table", "compare the methods of finished runs",
                     "One row per method and setting, averaged over the seeds; runs that differ in anything else stay apart. What makes rows unlike beyond "
                     "that (other programs, kernels, weights, data or sample orders, dirty builds, contaminated or unfinished runs) is said below the table.\n"
                     "Exit status: 0 printed, 1 no finished run, no index of a study or (--strict) unlike runs, 2 wrong usage.", EXAMPLES)
    add_runs(table, "a study's results instead: the rows are what its index lists as runs, never trials, with the number of seeds that were planned; below the "
             "table all that did not become a number, and why", "results")
    table.add_argument("--curves", action="store_true", help="with --study: also every trial of tuned values and its score on validation "
                       "(curves.csv in --out-dir)")
    table.add_argument("--columns", type=columns, metavar="LIST", help=f"of {', '.join(COLUMNS)}, or {ALL} (default: what the study file names, else the usual "
                       "ones; with --control the difference to it, too). CSV has all of them")
    add_control(table)
    add_target(table, "time_to_target and bytes_to_target")
    table.add_argument("--layout", choices=LAYOUTS, default="long", help="wide: methods below one another, tasks side by side, and their average; both: "
                       "wide, too, where there are several tasks (default: long)")
    add_beside(table, "put what papers print beside ours, in columns of their own: as few sources as have all rows")
    add_output(table, FORMATS, "table.md, .csv and .tex (wide.* of the wide layout), and table.cells.tsv")
    table.add_argument("--trace", type=Path, metavar="FILE", help="write where each cell comes from: shown text, exact values, formula, runs and files, as TSV "
                       "(with --out-dir: table.cells.tsv there)")
    table.add_argument("--strict", action="store_true", help="refuse to make a table of unlike runs, or of a study that lacks one")
    add_reading(table)
    table.set_defaults(module=".tables.verb", function="run_table", check=check, parser=table)
