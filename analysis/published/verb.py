"""The verb `published`: lists what papers print."""

import argparse
from collections.abc import Sequence

from ..common.fault import Fault
from ..common.output import width_of_terminal
from ..common.text import lay_out, wrap
from .match import show_options
from .read import EMPTY, OWN, Count, Published, Score, Source, read_published


def choose(published: Published, tasks: Sequence[str], methods: Sequence[str], models: Sequence[str]) -> Published:
    def fits(each: Score | Count) -> bool:
        return (not methods or each.method in methods) and (not models or each.origin.model in models)
    scores = [score for score in published.scores if fits(score) and (not tasks or score.task in tasks)]
    return Published(scores, [count for count in published.counts if fits(count) and not tasks])


def with_spread(score: Score) -> str:
    return score.printed + (f" ({score.spread})" if score.spread != EMPTY else "")


def heading(task: str, metric: str) -> tuple[str, str]:
    return task, metric if metric != EMPTY else "unclear"


def in_parts(columns: Sequence[Sequence[str]], room: int) -> list[int]:
    """Where to begin anew, so that none of the parts is wider than the room. columns: heading and cells of each."""
    starts, used = [0], 0
    for place, column in enumerate(columns):
        width = 1 + max(map(len, column))
        if used + width > room and place > starts[-1]:
            starts.append(place)
            used = 0
        used += width
    return starts


def source_text(source: Source, members: Sequence[Score], width: int) -> list[str]:
    """Printed rows below one another, tasks side by side, as many as there is room for."""
    order = list(dict.fromkeys(score.task for score in members))
    tasks = sorted(dict.fromkeys((score.task, score.metric) for score in members), key=lambda pair: order.index(pair[0]))  # a task's metrics side by side
    rows: dict[tuple[str, str], dict[tuple[str, str], Score]] = {}
    for score in members:
        rows.setdefault((f"{score.method} ({score.names[0]})", score.parameters), {})[score.task, score.metric] = score
    cells = [[*names, *(with_spread(found[task]) if task in found else EMPTY for task in tasks)] for names, found in rows.items()]
    heads = [("", "method (as printed)"), ("", "parameters"), *(heading(*task) for task in tasks)]
    columns = [[*head, *column] for head, column in zip(heads, zip(*cells))]
    first = sum(1 + max(map(len, column)) for column in columns[:2])
    starts = in_parts(columns[2:], width - first)
    lines = [*wrap(f"{source.paper}, arXiv {source.source}, {source.model}", width), ""]
    for start, end in zip(starts, [*starts[1:], len(tasks)]):
        lines += [*lay_out([[*row[:2], *row[2 + start:2 + end]] for row in cells], width, [*heads[:2], *heads[2 + start:2 + end]]), ""]
    return lines


def grouped(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """What is said of several names is said once: (what, name) pairs."""
    said: dict[str, dict[str, None]] = {}
    for what, name in pairs:
        said.setdefault(what, {})[name] = None
    return [f"{', '.join(names)}: {what}." for what, names in said.items()]


def notes_of(members: Sequence[Score]) -> list[str]:
    """A note that all scores of a method have names the method alone."""
    pairs = []
    for score in members:
        if score.note != EMPTY:
            everywhere = all(other.note == score.note for other in members if other.names[0] == score.names[0])
            pairs.append((score.note, score.names[0] if everywhere else f"{score.names[0]} on {score.names[1]}"))
    return grouped(pairs)


def scores_text(scores: Sequence[Score], width: int) -> list[str]:
    """A table per source, and below it how it was made."""
    sources: dict[Source, list[Score]] = {}
    for score in scores:
        sources.setdefault(score.origin, []).append(score)
    lines: list[str] = []
    for source, members in sources.items():
        notes = grouped([(score.protocol, score.names[0]) for score in members])
        notes += notes_of(members)
        lines += [*source_text(source, members, width), *(line for note in notes for line in wrap(note, width)), ""]
    return lines


def counts_text(counts: Sequence[Count], width: int) -> list[str]:
    if not counts:
        return []
    cells = [[f"{count.method} {show_options(count.options)}".removesuffix(f" {EMPTY}"), count.origin.model, count.figure, count.printed,
              f"{count.origin.paper} {count.origin.source}"] for count in counts]
    heads = [("", "method"), ("", "model"), ("", "figure"), ("", "printed"), ("", "source")]
    notes = dict.fromkeys(f"{count.origin.source}, {count.method} on {count.origin.model}, {count.printed}: {count.note}." for count in counts
                          if count.note != EMPTY)
    return ["Counts", "", *lay_out(cells, width, heads), "", *(line for note in notes for line in wrap(note, width))]


def as_tsv(published: Published) -> str:
    lines = [("kind", "paper", "source", "model", "method", "options", "task", "metric", "value", "spread", "scale", "parameters", "protocol", "note")]
    for score in published.scores:
        origin = score.origin
        lines.append(("score", origin.paper, origin.source, origin.model, score.method, show_options(score.options), score.task, score.metric, score.printed,
                      score.spread, str(score.scale), score.parameters, score.protocol, score.note))
    for count in published.counts:
        origin = count.origin
        lines.append((count.figure, origin.paper, origin.source, origin.model, count.method, show_options(count.options), EMPTY, EMPTY, count.printed, EMPTY,
                      "1", EMPTY, EMPTY, count.note))
    return "".join("\t".join(line) + "\n" for line in lines)


def run_published(options: argparse.Namespace) -> int:
    published = read_published(options.file or OWN)
    chosen = choose(published, options.task, options.method, options.model)
    if not chosen.scores and not chosen.counts:
        each = [*published.scores, *published.counts]
        known = {"tasks": {one.task for one in published.scores}, "methods": {one.method for one in each}, "models": {one.origin.model for one in each}}
        there = "; ".join(f"{what} {', '.join(sorted(found))}" for what, found in known.items())
        raise Fault(f"no published number fits; there are {there}")
    if options.format == "tsv":
        print(as_tsv(chosen), end="")
        return 0
    width = width_of_terminal()
    print("\n".join(scores_text(chosen.scores, width) + counts_text(chosen.counts, width)).rstrip())
    return 0
