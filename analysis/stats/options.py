"""Options of the verb `stats`."""

import argparse
from pathlib import Path

from ..common.arguments import add_output, add_verb, complete_output, real_number
from ..load.arguments import add_control, add_reading

FORMATS = ("text", "markdown", "csv", "json")
EXAMPLES = """\
  python3 -m analysis stats --study results/minilm-glue
  python3 -m analysis stats --study results/minilm-glue --control head \\
      --difference 1
  python3 -m analysis stats --study results/minilm-glue --stage short \\
      --out-dir results/minilm-glue
"""


def check(options: argparse.Namespace) -> None:
    complete_output(options, FORMATS)


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    stats = add_verb(verbs, "stats", "which methods of a study can be separated",
                     "Compares every row of each section with one control: paired differences over common seeds with t intervals, p values by Holm over the "
                     "section, intervals for other seeds and other test examples, the smallest difference that could have been separated, and groups of rows "
                     "that cannot be. analysis/stats/README.md has the methods and their proof.\n"
                     "Exit status: 0 printed, 1 no finished run, no index of a study or no such control in any section, 2 wrong usage.", EXAMPLES)
    stats.add_argument("--study", type=Path, metavar="DIR", required=True, help="a study's results, with index.tsv or archive.tsv: results/STUDY")
    stats.add_argument("--stage", metavar="NAME", help="of one stage")
    add_control(stats)
    stats.add_argument("--level", type=real_number(50, 99.99), default=95.0, metavar="PERCENT", help="of intervals; the rest is the chance of any false "
                       "verdict in a family (default: 95)")
    stats.add_argument("--difference", type=real_number(1e-9, 1e9), metavar="D", help="also say how many seeds would separate a true difference of D "
                       "hundredths of a score: percent points, 0.01 of a correlation")
    add_output(stats, FORMATS, "stats.md, stats.csv and stats.json")
    add_reading(stats)
    stats.set_defaults(module=".stats.verb", function="run_stats", check=check, parser=stats)
