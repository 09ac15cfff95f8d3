"""The chapter of figures, as analysis.plots draws them."""

from collections.abc import Mapping, Sequence

from ..load.runs import Run
from ..plots import Figure, save
from .blocks import Anchors, Chapter, Paragraph, Picture
from .links import run_links
from .svg import inline


def make_picture(figure: Figure, anchors: Anchors, runs: Mapping[str, Run], run_anchors: Mapping[str, str]) -> Picture:
    svg, is_broad = inline(save(figure, ["svg"])["svg"])
    known = [runs[run_id] for run_id in figure.run_ids if run_id in runs]
    rest = len(figure.run_ids) - len(known)
    parts = ["Runs: ", *run_links(known, run_anchors, len(known)), *([f"; {rest} more that are in no table of this report"] if rest else []), "."]
    return Picture(anchors.new("figure", figure.name), figure.title, figure.caption, svg, is_broad, [Paragraph(parts)] if figure.run_ids else [])


def make_figures_chapter(figures: Sequence[Figure], left_out: Sequence[str], anchors: Anchors, runs: Sequence[Run], run_anchors: Mapping[str, str]) -> Chapter:
    """left_out: which figures the data do not carry, and why."""
    chapter = Chapter("Figures", anchors.new("figures"))
    by_id = {run.run_id: run for run in runs}
    chapter.blocks += [make_picture(figure, anchors, by_id, run_anchors) for figure in figures]
    chapter.blocks += [Paragraph(line) for line in left_out]
    if not chapter.blocks:
        chapter.blocks.append(Paragraph("These runs carry no figure."))
    return chapter
