"""Options of the verb `table`."""

import argparse
from pathlib import Path

from ..common.arguments import whole_number
from ..load.allowed import add_reading
from .columns import ALL, COLUMNS, parse_columns
from .targets import parse_targets

EXAMPLES = """examples (from the project's root):
  python3 -m analysis                                             everything below results/
  python3 -m analysis table results/quickstart/runs --out-dir results/quickstart
  python3 -m analysis table results/minilm-trec/runs/lora-s1.h5 --format markdown
  python3 -m analysis table --study results/minilm-glue --curves --out-dir results/minilm-glue
  python3 -m analysis table --study results/comm-scaling --columns ranks,step,communication
  python3 -m analysis table --study results/minilm-glue --layout wide --control full --format latex
  python3 -m analysis table --study results/minilm-glue --columns test,difference,time_to_target,bytes_to_target --target trec6=90%,cola=0.1
  python3 -m analysis table results/mine/runs --published
"""
FORMATS = ("text", "markdown", "csv", "latex")
LAYOUTS = ("long", "wide", "both")
CONTROL = "lora"


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


def targets(text: str) -> dict[str, float]:
    try:
        return parse_targets(text)
    except ValueError as reason:
        raise argparse.ArgumentTypeError(str(reason)) from None


def names(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def check(options: argparse.Namespace) -> None:
    if options.study and options.places:
        options.parser.error("--study takes the place of files and folders")
    if not options.study and (options.curves or options.stage is not None):
        options.parser.error("--curves and --stage need --study")
    options.published = options.published or bool(options.published_file or options.published_source)
    if options.published and options.layout == "wide":
        options.parser.error("published numbers stand in the long layout alone")
    options.format = options.format or (list(FORMATS) if options.out_dir else ["text"])


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    table = verbs.add_parser("table", help="compare the methods of finished runs", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
                             description="One row per method and setting, averaged over the seeds; runs that differ in anything else stay apart. What makes "
                             "rows unlike beyond that\n(other programs, kernels, weights, data or sample orders, dirty builds, disturbed or unfinished "
                             "runs) is said below the table.\nExit status: 0 printed, 1 no finished run, no index of a study or (--strict) unlike runs, "
                             "2 wrong usage.")
    table.add_argument("places", nargs="*", type=Path, metavar="DIR_OR_FILE", help="run files and archives of them, or folders with such files below "
                       "(default: results)")
    table.add_argument("--study", type=Path, metavar="DIR", help="a study's results instead: the rows are what its index lists as runs, never trials, with the "
                       "number of seeds that were planned; below the table all that did not become a number, and why")
    table.add_argument("--stage", metavar="NAME", help="with --study: of one stage")
    table.add_argument("--curves", action="store_true", help="with --study: also every trial of tuned values and its score on validation "
                       "(curves.csv in --out-dir)")
    table.add_argument("--columns", type=columns, metavar="LIST", help=f"of {', '.join(COLUMNS)}, or {ALL} (default: what the study file names, else the usual "
                       "ones). CSV has all of them")
    table.add_argument("--control", default=CONTROL, metavar="NAME", help="what all others are compared with: a method, or a row as the table calls it "
                       f"where a method has several (default: {CONTROL})")
    table.add_argument("--target", type=targets, metavar="LIST", help="scores on validation for time_to_target and bytes_to_target: 0.92, 92%%, or of tasks, "
                       "as trec6=92%%,cola=0.3 (default: what every seed of the control reached)")
    table.add_argument("--layout", choices=LAYOUTS, default="long", help="wide: methods below one another, tasks side by side, and their average; both: "
                       "wide, too, where there are several tasks (default: long)")
    table.add_argument("--published", action="store_true", help="put what papers print beside ours, in columns of their own: as few sources as have all rows")
    table.add_argument("--published-source", type=names, action="extend", default=[], metavar="LIST", help="of these sources alone, and all of them: parts "
                       "of the names of papers, arXiv ids or models")
    table.add_argument("--published-file", type=Path, action="append", default=[], metavar="FILE", help="published numbers of one's own, too (form: "
                       "analysis/published/README.md)")
    table.add_argument("--out-dir", type=Path, metavar="DIR", help="write table.md, .csv and .tex there (wide.* of the wide layout), and table.cells.tsv")
    table.add_argument("--format", type=formats, metavar="LIST", help="of text,markdown,csv,latex (default: text, and with --out-dir all). Text is printed; "
                       "the others are written to --out-dir, or printed where there is none")
    table.add_argument("--trace", type=Path, metavar="FILE", help="write where each cell comes from: shown text, exact values, formula, runs and files, as TSV "
                       "(with --out-dir: table.cells.tsv there)")
    table.add_argument("--width", type=whole_number(60, 1000), metavar="N", help="columns of text (default: the terminal's, from 80 to 100)")
    table.add_argument("--strict", action="store_true", help="refuse to make a table of unlike runs, or of a study that lacks one")
    add_reading(table)
    table.set_defaults(module=".tables.verb", function="run_table", check=check, parser=table)
