"""Options of the verb `report`."""

import argparse
from pathlib import Path

from ..common.arguments import add_verb
from ..load.arguments import add_control, add_reading, add_runs, add_target, check_runs
from ..published.options import add_beside, complete_beside

EXAMPLES = """\
  python3 -m analysis report --study results/quickstart
  python3 -m analysis report --study results/minilm-glue --stage short \\
      --control bitfit --out minilm.html
  python3 -m analysis report results/runs/*.h5 --out report.html
  make report STUDY=minilm-glue
"""
DEFAULT_NAME = "report.html"


def check(options: argparse.Namespace) -> None:
    check_runs(options)
    if not options.study and not options.places:
        options.parser.error("name files and folders, or a study (--study DIR)")
    if not options.out and not options.study and (len(options.places) > 1 or not options.places[0].is_dir()):
        options.parser.error("--out FILE says where to write, where there is neither a study nor one folder")
    complete_beside(options)
    options.out = options.out or (options.study or options.places[0]) / DEFAULT_NAME


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    report = add_verb(verbs, "report", "one HTML file with tables, statistics and figures",
                      "Writes one HTML file that needs no other and no network: what was compared, what can be separated and what not, tables that sort, "
                      "figures, what is in no table and why, conditions, every run, and how to make it again. The same runs make the same bytes.\n"
                      "Exit status: 0 written, 1 no finished run or no index of a study, 2 wrong usage.", EXAMPLES)
    add_runs(report, "a study's results instead: results/STUDY")
    add_control(report)
    add_target(report, "time and bytes to target")
    add_beside(report, "also what papers print, in tables of their own")
    report.add_argument("--comm", nargs="+", default=[], type=Path, metavar="FILE", help="files of `peftscale comm`: also the model of all-reduce times, as "
                        "`commfit` makes it without options")
    add_reading(report)
    report.add_argument("--out", type=Path, metavar="FILE", help=f"where to write (default, with --study: {DEFAULT_NAME} in DIR)")
    report.set_defaults(module=".report.verb", function="run_report", check=check, parser=report)
