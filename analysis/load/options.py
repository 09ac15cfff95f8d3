"""Options of the verbs `runs`, `pack` and `unpack`."""

import argparse
from pathlib import Path

from ..common.arguments import add_verb, add_width, listed
from .arguments import add_reading, add_runs, check_runs
from .fields import COLUMNS

RUNS_EXAMPLES = """\
  python3 -m analysis runs results/quickstart/runs
  python3 -m analysis runs --study results/minilm-glue --format csv \\
      --out runs.csv
"""
EXAMPLES = """\
  python3 -m analysis pack results/minilm-glue
  python3 -m analysis unpack results/minilm-glue            lists the runs
  python3 -m analysis unpack results/minilm-glue trec6-lora-s1-0123abcd
  build/peftscale check trec6-lora-s1-0123abcd.h5
"""


def describe_columns() -> str:
    head = "columns of CSV and Markdown, their units, and what is not plain; behind them the settings by their own names (method.rank, train.lr):"
    return "\n".join([head, *(listed(f"{name:<20} {unit or 'text':<6}", meaning) for name, (unit, meaning) in COLUMNS.items())])


def add_listing(verbs: argparse._SubParsersAction) -> None:
    runs = add_verb(verbs, "runs", "list finished runs, one a row, with every number",
                    "One row per finished run, nothing averaged. What is left out is named on stderr, with the reason.\n"
                    "Exit status: 0 listed, 1 no run that can be compared, or no index of a study, 2 wrong usage.", RUNS_EXAMPLES, describe_columns())
    add_runs(runs, "the runs that a study's index lists, never trials, instead", "results")
    runs.add_argument("--format", choices=("text", "csv", "markdown"), default="text", help="text has a few columns, as many as there is room for; the others "
                      "have all (default: text)")
    runs.add_argument("--out", type=Path, metavar="FILE", help="write it there instead of printing it")
    add_width(runs)
    add_reading(runs)
    runs.set_defaults(module=".load.listing", function="run_runs", check=check_runs, parser=runs)


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    add_listing(verbs)
    pack = add_verb(verbs, "pack", "put a study's finished runs into one small file",
                    "Copies every finished run of a study's index.tsv, trials too, into archive.h5: all but theta, compressed, for a repository; archive.tsv "
                    "is its index. What the archive holds already is kept; a run that was made again later takes the place of the older one.\n"
                    "Exit status: 0 packed, 1 a run or the archive cannot be read, or nothing is finished, 2 wrong usage.", EXAMPLES)
    pack.add_argument("study", type=Path, metavar="DIR", help="a study's results, with index.tsv: results/STUDY")
    pack.add_argument("--stage", metavar="NAME", help="only the runs of one stage")
    pack.add_argument("--out", type=Path, metavar="DIR", help="where the archive lies (default: DIR)")
    pack.set_defaults(module=".load.pack", function="run_pack")
    unpack = add_verb(verbs, "unpack", "take runs out of an archive",
                      "Makes run files of the runs in an archive, for `peftscale check` and whatever else reads run files; never in the place of a file.\n"
                      "Exit status: 0 done, 1 no such archive or run, 2 wrong usage.", EXAMPLES)
    unpack.add_argument("archive", type=Path, metavar="ARCHIVE_OR_DIR", help="archive.h5, or the folder that holds it")
    unpack.add_argument("names", nargs="*", metavar="NAME", help="runs (none: list them)")
    unpack.add_argument("--out", type=Path, default=Path("."), metavar="DIR", help="where to write NAME.h5 (default: here)")
    unpack.set_defaults(module=".load.pack", function="run_unpack")
