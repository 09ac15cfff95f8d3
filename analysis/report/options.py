"""Options of the verb `report`."""

import argparse
from pathlib import Path

from ..load.allowed import add_reading
from ..tables.options import CONTROL, names, targets

EXAMPLES = """examples (from the project's root):
  python3 -m analysis report --study results/quickstart                  results/quickstart/report.html
  python3 -m analysis report --study results/minilm-glue --stage short --control bitfit --out /tmp/minilm.html
  python3 -m analysis report results/runs/*.h5 --out report.html
  make report STUDY=minilm-glue
"""
DEFAULT_NAME = "report.html"


def check(options: argparse.Namespace) -> None:
    if bool(options.study) == bool(options.places):
        options.parser.error("name either a study (--study DIR) or files and folders")
    if not options.study and options.stage is not None:
        options.parser.error("--stage needs --study")
    if not options.out and not options.study and (len(options.places) > 1 or not options.places[0].is_dir()):
        options.parser.error("--out FILE says where to write, where there is neither a study nor one folder")
    options.published = options.published or bool(options.published_file or options.published_source)
    options.out = options.out or (options.study or options.places[0]) / DEFAULT_NAME


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    report = verbs.add_parser("report", help="one HTML file with tables, statistics and figures", epilog=EXAMPLES,
                              formatter_class=argparse.RawDescriptionHelpFormatter,
                              description="Writes one HTML file that needs no other and no network: what was compared, what can be separated and what not, "
                              "tables that sort,\nfigures, what is in no table and why, conditions, every run, and how to make it again. The same runs make "
                              "the same bytes.\nExit status: 0 written, 1 no finished run or no index of a study, 2 wrong usage.")
    report.add_argument("places", nargs="*", type=Path, metavar="DIR_OR_FILE", help="run files and archives of them, or folders with such files below")
    report.add_argument("--study", type=Path, metavar="DIR", help="a study's results instead: results/STUDY")
    report.add_argument("--stage", metavar="NAME", help="with --study: of one stage")
    add_reading(report)
    report.add_argument("--control", default=CONTROL, metavar="NAME", help="what all others are compared with: a method, or a row as the table calls it where "
                        f"a method has several (default: {CONTROL})")
    report.add_argument("--target", type=targets, metavar="LIST", help="scores on validation that time and bytes are counted to, as of `table`")
    report.add_argument("--published", action="store_true", help="also what papers print, in tables of their own")
    report.add_argument("--published-source", type=names, action="extend", default=[], metavar="LIST", help="of these sources alone, as of `table`")
    report.add_argument("--published-file", type=Path, action="append", default=[], metavar="FILE", help="published numbers of one's own, too")
    report.add_argument("--comm", nargs="+", default=[], type=Path, metavar="FILE", help="files of `peftscale comm`: also the model of all-reduce times, as "
                        "`commfit` makes it without options")
    report.add_argument("--out", type=Path, metavar="FILE", help=f"where to write (default, with --study: {DEFAULT_NAME} in DIR)")
    report.set_defaults(module=".report.verb", function="run_report", check=check, parser=report)
