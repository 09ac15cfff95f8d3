"""Options of the verb `plot`."""

import argparse
import difflib
from pathlib import Path

from ..common.arguments import add_verb, add_width, listed, some_of
from ..load.arguments import add_control, add_reading, add_runs, add_target, check_runs

# Kinds of figures, in the order in which they are drawn.
KINDS = {
    "score-trainable": "test score against numbers trained, and the Pareto front", "score-stored": "against stored bytes",
    "score-sent": "against bytes sent per step", "score-message": "likewise, the head's among them", "differences": "to the control, with both intervals",
    "loss": "of the training", "validation": "score on validation against steps", "score-time": "against time", "score-bytes": "against bytes sent",
    "target": "time and bytes to a score", "rates": "trials of learning rates", "phases": "parts of a step's time", "scaling": "over ranks, with efficiency",
    "wire": "bytes on the wire against ranks", "fit": "measured all-reduce times and their model", "projection": "to more hosts",
    "knee": "the payload below which fewer parameters stop saving time"}
OF_MODEL = ("fit", "projection", "knee")  # from files of `peftscale comm`
FORMATS = ("svg", "png", "pdf")
EXAMPLES = """\
  python3 -m analysis plot --study results/minilm-glue --out-dir figures
  python3 -m analysis plot results/quickstart/runs --only score,phases \\
      --format pdf --out-dir figures
  python3 -m analysis plot --study results/comm-scaling --only scaling,fit \\
      --comm comm.h5 --out-dir figures
"""


def kinds(text: str) -> list[str]:
    """score stands for all that begin with score-."""
    chosen: list[str] = []
    for name in (word.strip() for word in text.split(",")):
        if not (found := [kind for kind in KINDS if name and (kind == name or kind.startswith(f"{name}-"))]):
            near = difflib.get_close_matches(name, [*KINDS, *(kind.partition("-")[0] for kind in KINDS)], 1)
            raise argparse.ArgumentTypeError(f"there is no figure '{name}'; " + (f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(KINDS)}"))
        chosen += found
    return chosen


def check(options: argparse.Namespace) -> None:
    check_runs(options)
    if not options.study and not options.places and not options.comm:
        options.parser.error("name run files, archives or folders, --study DIR or --comm FILE")


def add_verbs(verbs: argparse._SubParsersAction) -> None:
    plot = add_verb(verbs, "plot", "draw figures for a paper or a page",
                    "Figures of finished runs, each only where the data carry it; what is not drawn is said with its reason. Each is written in every format; "
                    "captions.md has their titles, captions and runs.\n"
                    "Exit status: 0 drawn, 1 nothing to draw, no index of a study, or a file cannot be read or written, 2 wrong usage.", EXAMPLES,
                    "\n".join(["figures:", *(listed(f"{name:<16}", words) for name, words in KINDS.items())]))
    add_runs(plot, "a study's results instead, by its index: its runs, and for `rates` its trials")
    plot.add_argument("--only", type=kinds, default=[], metavar="LIST", help="these figures alone; score stands for all that begin with it")
    plot.add_argument("--format", type=some_of(FORMATS), default=list(FORMATS), metavar="LIST", help=f"of {','.join(FORMATS)} (default: all)")
    add_control(plot)
    add_target(plot, "`target`")
    plot.add_argument("--comm", nargs="+", default=[], type=Path, metavar="FILE", help="files of `peftscale comm`: also fit, projection and knee, as `commfit` "
                      "makes them without options")
    add_reading(plot)
    plot.add_argument("--out-dir", type=Path, required=True, metavar="DIR", help="where to write them")
    add_width(plot)
    plot.set_defaults(module=".plots.verb", function="run_plot", check=check, parser=plot)
