"""Which published numbers belong beside which of our rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .read import EMPTY, Count, Published, Score, Source

if TYPE_CHECKING:
    from ..load.runs import Run
    from ..load.summary import Row, Section

ALL_MODULES = {"q", "k", "v", "o", "up", "down", "gate"}


def modules_of(text: str) -> frozenset[str]:
    names = {name.strip() for name in text.split(",")}
    return frozenset(ALL_MODULES if "all" in names else names)


def fits(options: dict[str, str], run: Run, same_model: bool) -> bool:
    """Whether a printed row was made with our settings, as far as it tells. Of another model only the maps are asked for: sizes change with the width."""
    for key, value in options.items():
        ours = run.settings.get(f"method.{key}")
        if ours is None or not (same_model or key == "modules"):
            continue
        if modules_of(ours) != modules_of(value) if key == "modules" else ours != value:
            return False
    return True


def find_score(scores: Sequence[Score], row: Row) -> Score | None:
    """Of one source. The first, where a table has several that fit."""
    section, run = row.section, row.first
    return next((score for score in scores if (score.task, score.metric, score.method) == (section.task, section.metric, run.method)
                 and fits(score.options, run, score.origin.model == section.model)), None)


def find_count(counts: Sequence[Count], row: Row) -> Count | None:
    """Of one source; of the same model alone, as any other has other counts."""
    section, run = row.section, row.first
    return next((count for count in counts if count.figure == "trainable" and (count.origin.model, count.method) == (section.model, run.method)
                 and fits(count.options, run, True)), None)


def by_source(published: Published) -> dict[Source, tuple[list[Score], list[Count]]]:
    sources: dict[Source, tuple[list[Score], list[Count]]] = {}
    for place, each in enumerate((published.scores, published.counts)):
        for row in each:
            sources.setdefault(row.origin, ([], []))[place].append(row)
    return sources


def choose(published: Published, rows: Sequence[Row], wanted: Sequence[str] = ()) -> list[Source]:
    """The sources that a table of these rows (of one section) shows. wanted: parts of the names of papers, sources or models; then all that fit. Else few:
    the one that has most of the rows, our own model before others, and as long as some row has none, one that has it, of the same model if possible."""
    section = rows[0].section
    found: dict[Source, set[int]] = {}
    for source, (scores, counts) in by_source(published).items():
        if places := {place for place, row in enumerate(rows) if find_score(scores, row) or find_count(counts, row)}:
            found[source] = places
    if wanted:
        return [source for source in found if any(word.lower() in f"{source.paper} {source.source} {source.model}".lower() for word in wanted)]
    chosen: list[Source] = []
    covered: set[int] = set()
    while True:
        model = chosen[0].model if chosen else section.model
        gain = {source: len(places - covered) for source, places in found.items() if places - covered}
        if not gain:
            return chosen
        best = max(gain, key=lambda source: (source.model == model, gain[source]))  # the first of equals, in the files' order
        chosen.append(best)
        covered |= found[best]


def other_metric(published: Published, section: Section, methods: set[str]) -> list[Score]:
    """Scores of our task and methods that stand nowhere, because their metric is another or not clear."""
    return [score for score in published.scores if score.task == section.task and score.method in methods and score.metric != section.metric]


def show_options(options: dict[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in options.items()) or EMPTY
