"""The chapter that names every run: its verdict, its settings, where it lies."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..common.units import human_time, score
from ..common.words import count
from ..load.mixture import by_value
from ..load.runs import Run
from ..load.summary import Row
from .blocks import Block, Bullets, Cell, Chapter, Facts, Fold, Head, Mono, Paragraph, Table
from .places import Places, short

OK = "ok"
MEANINGS = {
    "contaminated": "Contaminated: while it ran, threads waited for a core for more than 5 % of their time, so that its times are not to be trusted; scores "
                    "and bytes are not touched.",
    "dirty build": "Dirty build: the program was built from sources that are in no commit.",
    "stale": "Stale: other sources than today's made it.",
    "invalid": "Invalid: what its file says does not fit together.",
}


def place_of(run: Run, base: Path) -> str:
    """Its file, from where the report's runs lie: the same wherever that folder is."""
    path = Path(os.path.relpath(run.path, base)).as_posix()
    return f"{path}:{run.member}" if run.member else path


def cell(text: str, value: float) -> Cell:
    """A number; one that is not known sorts last."""
    return Cell(text, value if value == value else None)


def list_runs(runs: Sequence[Run], labels: Mapping[str, str], verdict: Callable[[Run], str], base: Path, places: Places) -> Table:
    """Every run, where links to it lead."""
    heads = [Head("run", title="the first eight digits of its run_id"), Head("method"), Head("task"), Head("seed", True), Head("ranks", True),
             Head("threads", True), Head("steps", True), Head("test", True, "score on the test split"),
             Head("validation", True, "score on the validation split"), Head("train time", True, "from the first step to the last"), Head("verdict"),
             Head("made", title="UTC"), Head("file")]
    rows = [[Cell(short(run), title=run.run_id), Cell(labels[run.run_id]), Cell(run.task), Cell(str(run.seed), run.seed), Cell(str(run.ranks), run.ranks),
             Cell(str(run.threads), run.threads), Cell(f"{run.steps:,}", run.steps), cell(score(run.test, run.metric), run.test),
             cell(score(run.validation, run.metric), run.validation), cell(human_time(run.train_s), run.train_s), Cell(verdict(run)),
             Cell(run.created[:16].replace("T", " "), title=run.created), Cell(place_of(run, base))] for run in runs]
    return Table(places.new("all runs"), f"All {len(runs)} runs of the tables", heads, rows, [places.runs[run.run_id] for run in runs])


def common_settings(rows: Sequence[Row]) -> dict[str, str]:
    first, *others = [row.first.settings for row in rows]
    return {key: value for key, value in sorted(first.items()) if all(each.get(key) == value for each in others)}


def list_settings(rows: Sequence[Row], places: Places) -> list[Block]:
    """What all runs have in common once, what is a row's own beside its name."""
    common = common_settings(rows)
    own = [[Cell(row.label), Cell(row.section.task), Cell(str(row.first.ranks), row.first.ranks),
            Cell(" ".join(f"{key}={value}" for key, value in sorted(row.first.settings.items()) if key not in common)), Cell(places.link_seeds(row.runs))]
           for row in rows]
    differing = Table(places.new("settings"), "Settings that differ", [Head("method"), Head("task"), Head("ranks", True), Head("settings"), Head("seeds")], own)
    return [Fold("Settings that all runs share", [Facts(list(common.items()))]), Fold(differing.caption, [differing])]


def make_chapter(rows: Sequence[Row], verdict: Callable[[Run], str], base: Path, places: Places) -> Chapter:
    """verdict: of a run, with what its study says of it."""
    chapter = Chapter("Runs and their validity", places.new("runs"))
    runs = [run for row in rows for run in row.runs]
    labels = {run.run_id: row.label for row in rows for run in row.runs}
    groups = by_value(runs, verdict)
    chapter.blocks.append(Paragraph(f"{len(groups.get(OK, []))} of {count(len(runs), 'run')} {'has' if len(runs) == 1 else 'have'} the verdict {OK}: whole "
                                    "files, a program without local changes, and no other work that disturbed their times."))
    if wrong := {what: members for what, members in groups.items() if what != OK}:
        chapter.blocks.append(Bullets([[f"{what}, {count(len(members), 'run')}: ", *places.link_runs(members)] for what, members in wrong.items()]))
        said = [meaning for name, meaning in MEANINGS.items() if any(name in what for what in wrong)]
        chapter.blocks.append(Paragraph(" ".join(said)))
    chapter.blocks.append(Paragraph([Mono("peftscale check FILES"), " recomputes what a run file says from what it follows from, and compares runs that ought "
                                     "to be equal."]))
    chapter.blocks += list_settings(rows, places)
    chapter.blocks.append(Fold(f"List of all {len(runs)} runs", [list_runs(runs, labels, verdict, base, places)], is_open=len(runs) <= 30))
    return chapter
