"""Where things stand in a report, and links to them: from what is shown to the runs that it comes from."""

from collections.abc import Sequence

from ..load.runs import Run
from ..load.summary import Section
from .blocks import Anchors, Link, Part, Text

MOST_LINKS = 6


def short(run: Run) -> str:
    return run.run_id[:8]


class Places(Anchors):
    """The names of all places of one report."""

    def __init__(self, runs: Sequence[Run]) -> None:
        super().__init__()
        self.runs = {run.run_id: self.new("run", short(run)) for run in runs}  # in the list of all
        self.tables: dict[Section, str] = {}  # headings of the comparison

    def link_runs(self, runs: Sequence[Run], most: int = MOST_LINKS) -> Text:
        """By their numbers; beyond some, how many more."""
        parts: list[Part] = []
        for run in runs[:most]:
            parts += [", "] * bool(parts) + [Link(short(run), f"#{self.runs[run.run_id]}", run.name)]
        if len(runs) > most:
            parts.append(f" and {len(runs) - most} more")
        return parts

    def link_seeds(self, runs: Sequence[Run]) -> Text:
        """The runs of a row, called by their seeds; those of several tasks apart."""
        parts: list[Part] = []
        for number, run in enumerate(runs):
            gap = "" if not number else " " if run.task == runs[number - 1].task else ", "
            parts += [gap] * bool(gap) + [Link(str(run.seed), f"#{self.runs[run.run_id]}", f"seed {run.seed}: {run.name}")]
        return parts
