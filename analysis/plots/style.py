"""One look for every picture of the analysis: sizes, fonts, and per method one colour, marker and dash pattern, which readers with any kind of colour vision,
and readers of a grey print, tell apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import matplotlib

matplotlib.use("Agg")

if TYPE_CHECKING:
    from ..load.summary import Row

COLUMN, PAGE = 3.4, 7.0  # inches: of a printed column, of two
SMALL, USUAL = 7.0, 8.0  # points at these widths; nothing is smaller
MARKER = 4.5  # points
SCALE = {"*": 1.6, "P": 1.25, "X": 1.25, "^": 1.15, "v": 1.15, "<": 1.15, ">": 1.15, "D": 0.95}  # so that all look equally large
INK, FAINT = "#222222", "#808080"

RC = {
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": USUAL, "axes.labelsize": USUAL, "axes.titlesize": USUAL,
    "xtick.labelsize": SMALL, "ytick.labelsize": SMALL, "legend.fontsize": SMALL, "legend.title_fontsize": SMALL, "figure.titlesize": USUAL,
    "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.edgecolor": FAINT,
    "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.minor.width": 0.4, "ytick.minor.width": 0.4,
    "xtick.major.size": 2.5, "ytick.major.size": 2.5, "xtick.minor.size": 1.5, "ytick.minor.size": 1.5, "xtick.major.pad": 2, "ytick.major.pad": 2,
    "axes.labelpad": 2.5, "axes.titlepad": 3, "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
    "axes.grid": True, "grid.color": "#e4e4e4", "grid.linewidth": 0.5, "lines.linewidth": 1.1, "lines.markersize": MARKER, "hatch.linewidth": 0.6,
    "legend.frameon": False, "legend.handlelength": 2.2, "legend.columnspacing": 1.2, "legend.handletextpad": 0.5, "legend.borderaxespad": 0.2,
    "figure.constrained_layout.h_pad": 0.03, "figure.constrained_layout.w_pad": 0.03, "figure.dpi": 200, "text.hinting": "none", "path.simplify": True,
    "text.parse_math": False,  # names come from files: a dollar is a dollar
    "svg.fonttype": "none",  # text stays text: small, searchable, read aloud; DejaVu's letters are wide, so others that take their place fit
    "svg.hashsalt": "peftscale", "pdf.fonttype": 42, "pdf.compression": 6,
}


@contextmanager
def applied() -> Iterator[None]:
    """For drawing and for saving: some of it is looked up only then. Nothing of a user's own matplotlibrc gets in."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(RC)
        yield


# ---- methods ----

@dataclass(frozen=True)
class Look:
    colour: str
    marker: str
    dash: Any  # as matplotlib's linestyle
    fill: str = "full"  # of the marker: rows of one method differ in it

    @property
    def line(self) -> dict[str, Any]:
        return {"color": self.colour, "linestyle": self.dash}

    @property
    def point(self) -> dict[str, Any]:
        """A white rim keeps points apart that lie on one another."""
        full = self.fill == "full"
        return {"color": self.colour, "marker": self.marker, "markersize": MARKER * SCALE.get(self.marker, 1.0), "fillstyle": self.fill,
                "markerfacecoloralt": "white", "markeredgecolor": "white" if full else self.colour, "markeredgewidth": 0.4 if full else 0.9}


SOLID, DASHED, DOTTED, MIXED = "-", (0, (4, 1.4)), (0, (1, 1)), (0, (4, 1.2, 1, 1.2))
LONG = (0, (8, 1.6))
# Colours of Okabe and Ito and of Paul Tol, chosen so that any two stay apart under all three kinds of colour blindness (tests/analysis/test_plots.py).
LOOKS = {
    "full": Look("#000000", "s", SOLID), "lora": Look("#0072B2", "o", SOLID), "vera": Look("#E69F00", "^", DASHED), "tied": Look("#009E73", "D", MIXED),
    "vblora": Look("#CC3311", "v", LONG), "unilora": Look("#332288", "P", DASHED), "red": Look("#AA3377", "X", MIXED), "glora": Look("#33BBEE", ">", SOLID),
    "bitfit": Look("#CC79A7", "*", LONG), "head": Look("#EE7733", "<", DOTTED),
}
SEQUENCE = tuple(LOOKS.values())
MORE_MARKERS = ("p", "d", "h", "8", "H")  # of methods that are not in the list
FILLS = ("full", "none", "left", "top", "right", "bottom")
DASHES = (SOLID, DASHED, MIXED, DOTTED, LONG)


def look_of_number(number: int) -> Look:
    """Of a series that is no method."""
    look = SEQUENCE[number % len(SEQUENCE)]
    return look if number < len(SEQUENCE) else replace(look, dash=DASHES[(DASHES.index(look.dash) + number // len(SEQUENCE)) % len(DASHES)])


class Looks:
    """Of all methods of a set of figures: those that are known look the same always, others within the set."""

    def __init__(self, methods: Iterable[str]):
        others = sorted(set(methods) - set(LOOKS))
        self.methods = LOOKS | {name: replace(look_of_number(number), marker=MORE_MARKERS[number % len(MORE_MARKERS)],
                                              dash=DASHES[number % len(DASHES)]) for number, name in enumerate(others)}

    def of(self, rows: Sequence[Row]) -> list[Look]:
        """Rows of one table. Those of one method have its colour and shape, and differ in fill and dashes."""
        seen: dict[str, int] = {}
        found = []
        for row in rows:
            method = row.first.method
            number, look = seen.get(method, 0), self.methods[method]
            seen[method] = number + 1
            found.append(replace(look, fill=FILLS[number % len(FILLS)], dash=DASHES[(DASHES.index(look.dash) + number) % len(DASHES)]) if number else look)
        return found


# ---- parts of a step ----

@dataclass(frozen=True)
class Part:
    colour: str
    hatch: str = ""


# In the order in which they are stacked; neighbours differ in lightness, waiting is hatched.
PARTS = {
    "expand": Part("#F0E442"), "forward": Part("#56B4E9"), "backward": Part("#0072B2"), "gather": Part("#E69F00"), "communication": Part("#882255"),
    "wait": Part("#CC79A7", "////"), "optimizer": Part("#332288"), "rest": Part("#DDDDDD"),
}
