"""The chapter of figures, as analysis.plots draws them."""

from collections.abc import Mapping, Sequence

from ..common.words import count
from ..load.runs import Run
from ..plots import Figure, Figures, save
from ..plots.options import OF_MODEL
from ..tables.build import Group, title
from .blocks import Bullets, Chapter, Fold, Gallery, Heading, Link, Paragraph, Part, Picture, typed
from .places import Places
from .svg import inline

# Of figures that belong to no table: their headings, by kind.
OTHERS = {"rates": "Trials of tuned values", **dict.fromkeys(("scaling", "wire"), "Over numbers of ranks"),
          **dict.fromkeys(OF_MODEL, "Times of sums over ranks")}


def tell_runs(figure: Figure, groups: Sequence[Group], places: Places, runs: Mapping[str, Run]) -> Paragraph:
    """All of a table in a word, others one by one."""
    shown = set(figure.run_ids)
    for group in groups:
        if shown == {run.run_id for entry in group.entries for run in entry.runs}:
            return Paragraph([f"All {len(shown)} runs of the tables of ", Link(title(group.section), f"#{places.tables[group.section]}"), "."])
    known = [runs[run_id] for run_id in figure.run_ids if run_id in runs]
    parts: list[Part] = ["Runs: ", *places.link_runs(known, len(known))] if known else []
    if rest := len(shown) - len(known):
        parts.append(f"{', and ' if known else ''}{count(rest, 'run')} that no table of this report shows, as trials")
    return Paragraph([*parts, "."])


def make_picture(figure: Figure, groups: Sequence[Group], places: Places, runs: Mapping[str, Run]) -> Picture:
    svg, is_broad = inline(save(figure, ["svg"])["svg"])
    behind = [tell_runs(figure, groups, places, runs)] if figure.run_ids else []
    return Picture(places.new("figure", figure.name), figure.title, figure.caption, svg, is_broad, behind)


def make_chapter(figures: Figures, groups: Sequence[Group], places: Places, runs: Sequence[Run]) -> Chapter:
    """Those of one table after another, then those of several."""
    chapter = Chapter("Figures", places.new("figures"))
    by_id = {run.run_id: run for run in runs}
    by_heading: dict[str, list[Figure]] = {}
    for figure in sorted(figures, key=lambda figure: figure.section is None):
        by_heading.setdefault(title(figure.section) if figure.section else OTHERS.get(figure.kind, "Several tables together"), []).append(figure)
    for heading, members in by_heading.items():
        chapter.blocks.append(Heading(heading, places.new("figures", heading)))
        pictures = [make_picture(figure, groups, places, by_id) for figure in members]
        chapter.blocks.append(Gallery(sorted(pictures, key=lambda picture: picture.is_broad)))  # without gaps between them
    if figures.left_out:
        chapter.blocks.append(Fold("Figures that these runs do not carry", [Bullets([typed(line) for line in figures.left_out])]))
    return chapter
