"""Command line of the analysis."""

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path

from .columns import ALL, COLUMNS, parse_columns

EXAMPLES = """examples (from the project's root):
  python3 -m analysis                                             everything below results/
  python3 -m analysis table results/quickstart/runs --out-dir results/quickstart
  python3 -m analysis table results/minilm-trec/runs/lora-s1.h5 --format markdown
  python3 -m analysis table --study results/minilm-glue --curves --out-dir results/minilm-glue
  python3 -m analysis table --study results/comm-scaling --columns ranks,step,communication
"""
PACK_EXAMPLES = """examples (from the project's root):
  python3 -m analysis pack results/minilm-glue
  python3 -m analysis unpack results/minilm-glue                                  lists the runs
  python3 -m analysis unpack results/minilm-glue trec6-lora-s1-0123abcd --out /tmp && build/peftscale check /tmp/trec6-lora-s1-0123abcd.h5
"""
COMM_EXAMPLES = """examples (from the project's root):
  python3 -m analysis commfit comm.h5 --out-dir results/comm
  python3 -m analysis commfit comm-2.h5 comm-4.h5 comm-6.h5 comm-8.h5 --min-bytes 1000000 --require 15,40
  python3 -m analysis commfit comm.h5 --network infiniband-100g --network mine.yaml --nodes 64,1000,4096 --compute-seconds 0.2
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


def whole_number(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"'{text}' is no whole number from {least} to {most}")
        return int(text)
    return read


def real_number(least: float, most: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"'{text}' is no number from {least:g} to {most:g}")
        return value
    return read


def hosts(text: str) -> list[int]:
    return [whole_number(2, 1_000_000)(word.strip()) for word in text.split(",")]


def required(text: str) -> tuple[float, float]:
    words = text.split(",")
    if len(words) != 2:
        raise argparse.ArgumentTypeError(f"'{text}' is not MEDIAN,P90 in percent")
    return real_number(0, 1e6)(words[0]), real_number(0, 1e6)(words[1])


def hold_out(text: str) -> tuple[tuple[int, ...], int]:
    """ranks=6+5,sizes=3"""
    ranks, every = (), 0
    for word in text.split(","):
        key, _, value = word.strip().partition("=")
        if key == "ranks":
            ranks = tuple(whole_number(2, 1_000_000)(each) for each in value.split("+"))
        elif key == "sizes":
            every = whole_number(2, 1000)(value)
        else:
            raise argparse.ArgumentTypeError(f"'{word}' is neither ranks=N[+N...] nor sizes=K")
    return ranks, every


def add_commfit(verbs: argparse._SubParsersAction) -> None:
    fit = verbs.add_parser("commfit", help="fit, validate and project times of the sum over ranks", epilog=COMM_EXAMPLES,
                           formatter_class=argparse.RawDescriptionHelpFormatter,
                           description="Fits a piecewise latency-bandwidth model to files of `peftscale comm`, tries it on points held out, projects it to "
                           "more hosts and other\nnetworks, and finds the knee: the payload below which fewer parameters stop saving time.\n"
                           "Exit status: 0 done, 1 no use of a file, too few points, counts unlike the formulas or an error above --require, 2 wrong usage.")
    fit.add_argument("files", nargs="+", type=Path, metavar="FILE", help="HDF5 files of `peftscale comm`")
    fit.add_argument("--out-dir", type=Path, metavar="DIR", help="write fit.json, tables (tables.md, *.tsv) and pictures (*.png, *.svg) there")
    fit.add_argument("--hold-out", type=hold_out, default=((6,), 3), metavar="WORDS", help="points that the fit never sees: ranks=N[+N...], sizes=K (each K-th "
                     "size) or both (default: ranks=6,sizes=3)")
    fit.add_argument("--min-bytes", type=whole_number(1, 1 << 48), default=1, metavar="N", help="leave smaller payloads out, for links shaped too coarsely "
                     "for them")
    fit.add_argument("--max-bytes", type=whole_number(1, 1 << 48), default=1 << 48, metavar="N", help="leave larger payloads out")
    fit.add_argument("--segment-bytes", type=whole_number(0, 1 << 30), default=1 << 20, metavar="N", help="segment size that mpi:segmented_ring was forced to "
                     "(default: 1048576, what `peftscale comm` sets; 0: Open MPI's own, which is a plain ring)")
    fit.add_argument("--nodes", type=hosts, default=[16, 64, 256, 1000, 1024, 4096], metavar="LIST", help="hosts to project to (default: 16,64,256,1000,1024,"
                     "4096)")
    fit.add_argument("--network", action="append", default=[], metavar="NAME_OR_YAML", help="networks to project to besides the measured one: of "
                     "configs/network, a file like those, or none (default: all of configs/network)")
    fit.add_argument("--payloads", action="append", default=[], type=Path, metavar="TSV", help="more payloads: label and payload_bytes, or what "
                     "`peftscale count --tsv` prints")
    fit.add_argument("--compute-seconds", type=real_number(0, 1e9), metavar="S", help="seconds of computing per step, for the share of a step that a "
                     "halving saves")
    fit.add_argument("--saving", type=real_number(0.001, 49), default=10.0, metavar="PERCENT", help="what a halving must save of a step (default: 10)")
    fit.add_argument("--require", type=required, metavar="MEDIAN,P90", help="fail if an algorithm's held-out error is larger, in percent")
    fit.add_argument("--draws", type=whole_number(20, 10000), default=200, metavar="N", help="bootstrap draws for the bands (default: 200)")
    fit.add_argument("--seed", type=whole_number(0, 1 << 31), default=1, metavar="N", help="of the bootstrap (default: 1)")


def add_table(verbs: argparse._SubParsersAction) -> argparse.ArgumentParser:
    table = verbs.add_parser("table", help="compare the methods of finished runs", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
                             description="One row per method and setting, averaged over the seeds; runs that differ in anything else stay apart. What makes rows "
                             "unlike beyond that\n(other programs, kernels, weights, data or sample orders, dirty builds, disturbed or unfinished runs) is said below "
                             "the table.\nExit status: 0 printed, 1 no finished run, no index of a study or (--strict) unlike runs, 2 wrong usage.")
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
    return table


def add_pack(verbs: argparse._SubParsersAction) -> None:
    pack = verbs.add_parser("pack", help="put a study's finished runs into one small file", epilog=PACK_EXAMPLES,
                            formatter_class=argparse.RawDescriptionHelpFormatter,
                            description="Copies every finished run of a study's index.tsv, trials too, into archive.h5: all but theta, compressed, for a "
                            "repository; archive.tsv is its index.\nWhat the archive holds already is kept; a run that was made again later takes the place of "
                            "the older one.\nExit status: 0 packed, 1 a run or the archive cannot be read, or nothing is finished, 2 wrong usage.")
    pack.add_argument("study", type=Path, metavar="DIR", help="a study's results, with index.tsv: results/STUDY")
    pack.add_argument("--stage", metavar="NAME", help="only the runs of one stage")
    pack.add_argument("--out", type=Path, metavar="DIR", help="where the archive lies (default: DIR)")
    unpack = verbs.add_parser("unpack", help="take runs out of an archive", epilog=PACK_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
                              description="Makes run files of the runs in an archive, for `peftscale check` and whatever else reads run files; never in the "
                              "place of a file.\nExit status: 0 done, 1 no such archive or run, 2 wrong usage.")
    unpack.add_argument("archive", type=Path, metavar="ARCHIVE_OR_DIR", help="archive.h5, or the folder that holds it")
    unpack.add_argument("names", nargs="*", metavar="NAME", help="runs (none: list them)")
    unpack.add_argument("--out", type=Path, default=Path("."), metavar="DIR", help="where to write NAME.h5 (default: here)")


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m analysis", description="Tables from run files (results/ if nothing is named), archives of them, and the "
                                     "model of communication times.", epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    table = add_table(verbs)
    add_pack(verbs)
    add_commfit(verbs)
    options = parser.parse_args(arguments or ["table"])
    if options.verb == "table":
        if options.study and options.places:
            table.error("--study takes the place of files and folders")
        if not options.study and (options.curves or options.stage is not None):
            table.error("--curves and --stage need --study")
        options.format = options.format or (list(FORMATS) if options.out_dir else ["text"])
    return options


def run_table(options: argparse.Namespace) -> int:
    from .tables import run_table as run

    return run(options)


def run_pack(options: argparse.Namespace) -> int:
    from .pack import run_pack as run

    return run(options)


def run_unpack(options: argparse.Namespace) -> int:
    from .pack import run_unpack as run

    return run(options)


def run_commfit(options: argparse.Namespace) -> int:
    from .commreport import run

    return run(options)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    try:
        return {"table": run_table, "pack": run_pack, "unpack": run_unpack, "commfit": run_commfit}[options.verb](options)
    except ImportError as error:
        print(f"analysis: {error.name} is missing (Debian: python3-{error.name})", file=sys.stderr)
        return 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BrokenPipeError:
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)
