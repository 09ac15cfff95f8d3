"""The chapter on what is in no table, or stands there though it is unlike the rest."""

from collections.abc import Sequence

from ..common.words import count
from ..load.index import STATES
from ..load.mixture import find_mixtures
from ..load.runs import Collection
from ..load.study import Study, describe
from ..load.summary import Row
from .blocks import Bullets, Cell, Chapter, Fold, Head, Paragraph, Table, Text
from .notes import nest
from .places import Places

MOST_OPEN = 12


def count_states(study: Study, places: Places) -> Table:
    kinds = [(what, lines) for what, lines in (("runs", study.runs), ("trials", study.trials)) if lines]
    states = [state for state in STATES if any(line.state == state for _, lines in kinds for line in lines)]
    rows = [[Cell(state), *(Cell(str(found := sum(line.state == state for line in lines)), found) for _, lines in kinds)] for state in states]
    heads = [Head("state"), *(Head(what, True) for what, _ in kinds)]
    return Table(places.new("states"), "What was planned, and what became of it", heads, rows, sortable=False)


def unfinished(study: Study, places: Places) -> Table | None:
    lines = [line for line in study.runs + study.trials if not line.is_finished]
    rows = [[Cell(line.state), Cell(line.role), Cell(line.cells["task"]), Cell(line.cells["method"]), Cell(line.cells["seed"], int(line.cells["seed"] or 0)),
             Cell(line.cells["tuned"]), Cell(line.cells["attempts"]), Cell(line.cells["reason"]), Cell(line.request_id[:8], title=line.request_id)]
            for line in lines]
    heads = [*map(Head, ("state", "role", "task", "method")), Head("seed", True), Head("tuned"), Head("attempts", True), Head("reason"), Head("request")]
    return Table(places.new("unfinished"), "All that has no number", heads, rows) if rows else None


def make_chapter(study: Study | None, collection: Collection, rows: Sequence[Row], places: Places) -> Chapter:
    chapter = Chapter("What is not in the tables", places.new("left out"))
    if study:
        chapter.blocks += [count_states(study, places), *nest(describe(study, list(rows)))]
        if table := unfinished(study, places):
            chapter.blocks.append(Fold(table.caption, [table]))
    chapter.blocks += nest(collection.notes)
    chapter.blocks += [Paragraph(f"In {path} and in files, counted once: {count(number, 'run')}.") for path, number in collection.twice.items()]
    if mixtures := find_mixtures(collection):
        items: list[Text] = list(mixtures)
        chapter.blocks += [Paragraph("In the tables, and not alike:"), Bullets(items)]
    if collection.left_out:
        table = Table(places.new("files left out"), "Files that were left out", [Head("file"), Head("reason")],
                      [[Cell(str(path)), Cell(reason)] for path, reason in collection.left_out])
        chapter.blocks += [Paragraph(f"Left out: {count(len(collection.left_out), 'file')}."),
                           table if len(table.rows) <= MOST_OPEN else Fold(table.caption, [table])]
    if not chapter.blocks:
        chapter.blocks.append(Paragraph("Nothing was left out, and nothing makes the rows unlike beyond their settings."))
    return chapter
