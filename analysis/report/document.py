"""From runs, tables and figures to the chapters of a report."""

from dataclasses import dataclass
from pathlib import Path

from ..common.words import count
from ..load.runs import Collection, Run
from ..load.study import Study
from ..load.summary import Row
from ..plots import Figures
from ..tables.beside import Beside
from ..tables.build import Group
from . import conditions, figures, frugality, left_out, reproduce, runs, trials
from .blocks import Chapter, Document, Text
from .comparison import make_comparison, make_published, make_statistics
from .places import Places
from .study_file import About
from .summary import make_summary

STALE = "stale"


@dataclass
class Material:
    """All that a report tells."""
    about: About
    stage: str | None
    base: Path  # where the study lies; files are named from there
    study: Study | None
    collection: Collection
    rows: list[Row]
    groups: list[Group]
    control: str  # as it was asked for
    beside: Beside | None  # published numbers, where they were asked for
    figures: Figures

    @property
    def runs(self) -> list[Run]:
        """In the order of the tables."""
        return [run for row in self.rows for run in row.runs]

    def verdict(self, run: Run) -> str:
        line = self.study.line_of.get(run.run_id) if self.study else None
        words = [run.verdict] * (run.verdict != runs.OK) + [STALE] * (line is not None and line.state == STALE)
        return "; ".join(words) or runs.OK


def remarks(material: Material) -> list[Text]:
    places = [f"Study {material.study.name}" + (f", stage {material.stage}" if material.stage else "")] if material.study else []
    return [" \u00b7 ".join([*places, count(len(material.runs), "run"), f"made {reproduce.describe_time(material.runs)}"])]


def make_document(material: Material) -> Document:
    places = Places(material.runs)
    rest = left_out.make_chapter(material.study, material.collection, material.rows, places)
    chapters: list[Chapter | None] = [
        make_summary(material.groups, material.rows, material.study, material.collection, rest.anchor, places),
        make_comparison(material.groups, material.control, places),
        make_statistics(material.groups, places),
        make_published(material.groups, material.beside, places) if material.beside else None,
        figures.make_chapter(material.figures, material.groups, places, material.runs),
        frugality.make_chapter(material.groups, places),
        trials.make_chapter(material.study, places) if material.study else None,
        rest,
        conditions.make_chapter(material.runs, places),
        runs.make_chapter(material.rows, material.verdict, material.base, places),
        reproduce.make_reproduction(material.study, material.about, material.stage, material.runs, material.base, places),
        reproduce.make_citation(material.about, material.runs, places)]
    return Document(material.about.title, material.about.question, remarks(material), list(filter(None, chapters)))
