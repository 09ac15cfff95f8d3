"""A figure with all that belongs to it, and its files: the same input makes the same bytes."""

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass

from matplotlib.figure import Figure as Canvas

from ..load.summary import Section
from .style import applied
from .svg import finish

FORMS = ("svg", "png", "pdf")
PRINT_DPI = 300


@dataclass
class Figure:
    name: str  # of its files: score-sent-trec6
    title: str  # a line for a heading or a list; never in the picture
    caption: str
    figure: Canvas
    run_ids: tuple[str, ...]
    kind: str = ""  # score-sent
    section: Section | None = None  # the table that it belongs to; None: several, or none


class Figures(list[Figure]):
    """With a line for each figure that the data do not carry."""

    def __init__(self, figures: Iterable[Figure] = ()):
        super().__init__(figures)
        self.left_out: list[str] = []


def word(text: str) -> str:
    """A part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60]


def save(figure: Figure, forms: Iterable[str] = FORMS) -> dict[str, bytes]:
    """Each form as a whole file. SVG has neither XML declaration nor fonts, so that it can stand in an HTML page as it is; its ids begin with the name."""
    files = {}
    metadata = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None, "Title": figure.title},
                "pdf": {"CreationDate": None, "Creator": None, "Producer": None, "Title": figure.title}}
    with applied():
        for form in forms:
            out = io.BytesIO()
            figure.figure.savefig(out, format=form, dpi=PRINT_DPI, metadata=metadata[form])
            files[form] = finish(out.getvalue(), figure.name, figure.title, figure.caption) if form == "svg" else out.getvalue()
    return files
