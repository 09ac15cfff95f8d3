"""Options of the verb `commfit`."""

import argparse
from collections.abc import Iterable
from pathlib import Path

from ..common.arguments import add_verb, real_number, whole_number

EXAMPLES = """\
  python3 -m analysis commfit comm.h5 --out-dir results/comm
  python3 -m analysis commfit comm-2.h5 comm-4.h5 comm-6.h5 comm-8.h5 \\
      --min-bytes 1000000 --require 15,40
  python3 -m analysis commfit comm.h5 --network infiniband-100g \\
      --network mine.yaml --nodes 64,1000,4096 --compute-seconds 0.2
"""


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


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    fit = add_verb(verbs, "commfit", "fit, validate and project times of the sum over ranks",
                   "Fits a piecewise latency-bandwidth model to files of `peftscale comm`, tries it on points held out, projects it to more hosts and other "
                   "networks, and finds the knee: the payload below which fewer parameters stop saving time.\n"
                   "Exit status: 0 done, 1 no use of a file, too few points, counts unlike the formulas or an error above --require, 2 wrong usage.", EXAMPLES)
    fit.add_argument("files", nargs="+", type=Path, metavar="FILE", help="HDF5 files of `peftscale comm`")
    fit.add_argument("--out-dir", type=Path, metavar="DIR", help="write fit.json, tables (tables.md, *.tsv) and pictures (*.svg, *.png, *.pdf) there")
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
    fit.set_defaults(module=".comm.verb", function="run")


def defaults(files: Iterable[Path]) -> argparse.Namespace:
    """As of `commfit FILES`, for whoever wants the same model without its tables."""
    parser = argparse.ArgumentParser()
    add_verbs(parser.add_subparsers())
    return parser.parse_args(["commfit", "--", *map(str, files)])
