"""From what a report shows to the runs that it comes from."""

from collections.abc import Sequence

from ..load.runs import Run
from .blocks import Anchors, Link, Part, Text

MOST_LINKS = 6


def short(run: Run) -> str:
    return run.run_id[:8]


def anchor_runs(runs: Sequence[Run], anchors: Anchors) -> dict[str, str]:
    """Where each run stands in the list of all, by run_id."""
    return {run.run_id: anchors.new("run", short(run)) for run in runs}


def run_links(runs: Sequence[Run], run_anchors: dict[str, str], most: int = MOST_LINKS) -> Text:
    """Links to runs; beyond some, how many more."""
    parts: list[Part] = []
    for run in runs[:most]:
        parts += [", "] * bool(parts) + [Link(short(run), f"#{run_anchors[run.run_id]}", run.name)]
    if len(runs) > most:
        parts.append(f" and {len(runs) - most} more")
    return parts


def seed_links(runs: Sequence[Run], run_anchors: dict[str, str]) -> Text:
    """The runs of a row, called by their seeds."""
    parts: list[Part] = []
    for run in runs:
        parts += [" "] * bool(parts) + [Link(str(run.seed), f"#{run_anchors[run.run_id]}", f"seed {run.seed}: {run.name}")]
    return parts
