"""What a step's time is spent on, per method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ..load.measure import PHASES
from .axes import legend, linear_axis, new_figure, settle, time_axis
from .figure import Figure
from .group import Group, Member, finite
from .series import StepReader
from .style import COLUMN, PARTS, SMALL, applied
from .words import listed, sentences

WAIT, REST = "wait", "rest"  # parts beside PHASES
WORDS = {WAIT: "waiting"}
NEAR = 5e-3  # of a step: what is smaller in every row has no entry in the legend
LEAST = 5e-4  # overhead: less would read 0.0 %
LABEL = 0.16  # of the axis: what a number behind a bar takes


@dataclass(frozen=True)
class Stack:
    """Mean seconds of a step of one row, over its runs."""
    member: Member
    parts: dict[str, float]  # in the order of PARTS; those that are unknown are in rest
    overhead: float  # the method's own work over the rest of forward and backward; NaN: not known

    @property
    def total(self) -> float:
        return sum(self.parts.values())


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def stack_of(member: Member, steps: StepReader) -> Stack | None:
    """None: no time of a step is known, or none of its parts. Of runs that other work disturbed they are not, unless that is allowed."""
    runs = [run for run in member.row.runs if finite(run.phases.values())]
    totals = finite(each.step_s for run in runs if (each := steps.of(run)))
    parts = {name: mean(finite(run.phases.get(name, math.nan) for run in runs)) for name in PHASES}
    if not totals:
        return None
    total = mean(totals)
    known = {name: value for name, value in parts.items() if math.isfinite(value)}
    share = mean(finite(run.wait_share for run in runs))
    if math.isfinite(share) and "communication" in known:  # of the steps that were sampled for it; the others waited as long, as far as is known
        waited = min(share * total, known["communication"])
        known |= {"communication": known["communication"] - waited, WAIT: waited}
    known[REST] = max(0.0, total - sum(known.values()))
    return Stack(member, {name: known[name] for name in PARTS if name in known}, mean(finite(run.overhead for run in runs)))


def draw_phases(group: Group, steps: StepReader) -> Figure | str:
    stacks = [stack for member in group.members if (stack := stack_of(member, steps))]
    if not stacks:
        return "no time of a step's parts"
    longest = max(stack.total for stack in stacks)
    lines = sum(stack.member.name.count("\n") + 1 for stack in stacks)
    with applied():
        figure, ((axes,),) = new_figure(COLUMN, 0.5 + 0.19 * lines)
        factor = time_axis(axes, "x", longest, "time of a step, mean")
        for y, stack in enumerate(stacks):
            left = 0.0
            for name, seconds in stack.parts.items():
                part = PARTS[name]
                axes.barh(y, factor * seconds, 0.72, factor * left, color=part.colour, hatch=part.hatch, edgecolor="white", linewidth=0.3, label=name)
                left += seconds
            if stack.overhead >= LEAST:
                axes.annotate(f"+{100 * stack.overhead:.1f} %", (factor * left, y), (3, 0), textcoords="offset points", va="center", fontsize=SMALL)
        axes.set_yticks(range(len(stacks)), [stack.member.name for stack in stacks])
        axes.set_ylim(len(stacks) - 0.5, -0.5)
        labelled = max((stack.total for stack in stacks if stack.overhead >= LEAST), default=0.0)
        axes.set_xlim(0, factor * max(1.02 * longest, labelled / (1 - LABEL)))
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        linear_axis(axes, "x")
        seen = [name for name in PARTS if any(stack.parts.get(name, 0.0) > NEAR * stack.total for stack in stacks)]
        handles = [Patch(facecolor=PARTS[name].colour, hatch=PARTS[name].hatch, edgecolor="white", linewidth=0.3, label=WORDS.get(name, name)) for name in seen]
        legend(figure, handles + [Line2D([], [], linestyle="", label="+ %: method adds")] * bool(labelled), handlelength=1.1)
        settle(figure)
    tiny = [name for name in PARTS if name not in seen and any(name in stack.parts for stack in stacks)]
    missing = group.without(stack.member for stack in stacks)
    marked = [stack.member.name for stack in stacks if any(run.contaminated and finite(run.phases.values()) for run in stack.member.row.runs)]
    caption = sentences(
        f"Mean time of a step and its parts on rank 0, without the first steps; {group.place}.",
        "Communication: not hidden behind backward." if "communication" in seen else "",
        "Hatched pink: the part of communication in which rank 0 waited for the slowest rank, from sampled steps." if WAIT in seen else "",
        "Numbers behind bars: the method's own work (expand, gather, its part of forward and backward) over the rest of forward and backward." * bool(labelled),
        f"Below {100 * NEAR:g} % of each step: {', '.join(WORDS.get(name, name) for name in tiny)}." if tiny else "",
        f"Contaminated by other work: {listed(marked)}." if marked else "",
        f"Without times: {listed(missing)}." if missing else "")
    return group.figure("phases", "Parts of a step", caption, figure, [stack.member for stack in stacks])
