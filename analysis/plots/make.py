"""All figures of a study or of a collection of runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Collection as Names
from typing import TYPE_CHECKING

from ..load.runs import Collection
from ..load.study import Study
from ..load.summary import Row
from .courses import draw_loss, draw_validation
from .differences import draw_differences
from .figure import Figure, Figures
from .group import Group, make_groups
from .options import KINDS, OF_MODEL
from .phases import draw_phases
from .progress import BYTES, TIME, draw_progress, draw_target
from .ranks import find_families
from .rates import draw_rates
from .scaling import draw_scaling, draw_wire, has_times, has_wire
from .score import SIZES, draw_score
from .series import StepReader
from .style import Looks

if TYPE_CHECKING:
    from ..stats import Comparison

MOST_READ = 2000  # runs whose steps are read, for `loss` and `phases`


def of_groups(kind: str, groups: Sequence[Group], draw: Callable[[Group], Figure | str], made: Figures) -> None:
    """Adds a figure per group; a line for those without, groups with the same reason together."""
    reasons: dict[str, list[str]] = {}
    for group in groups:
        figure = draw(group)
        if isinstance(figure, str):
            reasons.setdefault(figure, []).append(group.tag)
        else:
            made.append(figure)
    for reason, tags in reasons.items():
        which = f" of {', '.join(tags)}" if len(tags) < len(groups) else ""
        made.left_out.append(f"{kind}{which}: {reason}")


def note_unread(steps: StepReader, made: Figures) -> None:
    if steps.reasons:
        more = f" and {len(steps.reasons) - 1} more" if len(steps.reasons) > 1 else ""
        made.left_out.append(f"steps of {len(steps.reasons)} runs could not be read: {steps.reasons[0]}{more}")


def make_figures(source: Study | Collection, rows: Sequence[Row], comparisons: Iterable[Comparison], targets: Mapping[str, float] | None = None,
                 only: Names[str] = ()) -> Figures:
    """source: for the trials of a study. rows: of all sections, as load.summary.summarise() makes them; comparisons: of them, as stats.compare() does, none for
    figures without intervals. targets: scores on validation by task, "" for all others; of a task without one, what every seed of the control reached. only:
    of options.KINDS, none: all. In the order of KINDS; what is left out stands in `left_out`. Raises Misuse for a target that no run could reach."""
    made = Figures()
    trials = source.trials if isinstance(source, Study) else []
    looks = Looks([*(row.first.method for row in rows), *(line.cells["method"] for line in trials)])
    groups = make_groups(rows, comparisons, looks, targets)
    steps = StepReader()
    count = sum(len(row.runs) for row in rows)
    drawers: dict[str, Callable[[Group], Figure | str]] = {
        **{kind: lambda group, kind=kind: draw_score(group, kind) for kind in SIZES}, "differences": draw_differences,
        "loss": lambda group: draw_loss(group, steps), "validation": draw_validation, "phases": lambda group: draw_phases(group, steps),
        **{kind: lambda group, kind=kind: draw_progress(group, kind) for kind in (TIME, BYTES)}, "target": draw_target}
    of_ranks = {"scaling": (draw_scaling, has_times, "no row has times on two or more numbers of ranks"),
                "wire": (draw_wire, has_wire, "no row has bytes on the wire on two or more numbers of ranks above one")}
    for kind in KINDS:
        if kind in OF_MODEL or only and kind not in only:
            continue
        if kind in ("loss", "phases") and count > MOST_READ:
            made.left_out.append(f"{kind}: {count} runs are too many to read the steps of ({MOST_READ} at most)")
        elif kind in drawers:
            of_groups(kind, groups, drawers[kind], made)
        elif kind == "rates":
            found = draw_rates(source, looks) if isinstance(source, Study) else "no study, so no trials"
            made.left_out += [f"{kind}: {found}"] if isinstance(found, str) else []
            made.extend([] if isinstance(found, str) else found)
        else:
            draw, is_known, reason = of_ranks[kind]
            families = find_families(rows, is_known, looks)
            made.extend(map(draw, families))
            made.left_out += [] if families else [f"{kind}: {reason}"]
    note_unread(steps, made)
    return made
