"""Tables of the trials that a study's tuned values were chosen by: as text, Markdown and CSV."""

import csv
import io

from ..common.text import markdown_line, wrap
from ..common.units import PERCENT
from ..load.trials import STALE, Curve, describe_choices

GAP = 2
CHOSEN = "*"


def by_section(curves: list[Curve]) -> dict[tuple[str, ...], list[Curve]]:
    sections: dict[tuple[str, ...], list[Curve]] = {}
    for curve in curves:
        sections.setdefault(curve.section, []).append(curve)
    return sections


def title(curves: list[Curve]) -> str:
    place, keys = curves[0].place, curves[0].section[-1]
    metric = next(filter(None, (curve.metric for curve in curves)), "score")
    unit = " in %" if metric in PERCENT else ""
    return f"Trials of {keys or 'a tuned value'}{' on ' if place else ''}{place}: {metric} on validation{unit}"


def pairs(curve: Curve) -> list[tuple[str, str]]:
    return [(trial.value, trial.result + (f" {CHOSEN}" if trial.is_chosen else "")) for trial in curve.trials]


def notes(curves: list[Curve]) -> list[str]:
    trials = [trial for curve in curves for trial in curve.trials]
    lines = [f"{CHOSEN} chosen for the runs."] if any(trial.is_chosen for trial in trials) else []
    if any(trial.has_score and trial.line.state == "stale" for trial in trials):
        lines.append(f"{STALE} by another version of the program.")
    if open_ones := [curve.method for curve in curves if not any(trial.is_chosen for trial in curve.trials)]:
        lines.append(f"Not chosen yet: {', '.join(dict.fromkeys(open_ones))}.")
    lines += describe_choices(curves)
    return [" ".join(lines)] if lines else []


def lay_out(curves: list[Curve], width: int) -> list[str]:
    """One line per method, with as many values in it as fit; the others go on below."""
    first = max(len("method"), *(len(curve.method) for curve in curves))
    cells = [pairs(curve) for curve in curves]
    left, right = (max(len(pair[side]) for each in cells for pair in each) for side in (0, 1))
    each = GAP + left + 1 + right
    most = max(len(pair) for pair in cells)
    columns = max(1, min(most, (width - first) // each))
    lines = []
    for curve, values in zip(curves, cells):
        for start in range(0, len(values), columns):
            head = "" if start else curve.method
            parts = (f"{value:>{left}} {result:<{right}}" for value, result in values[start:start + columns])
            lines.append((" " * GAP).join([f"{head:<{first}}", *parts]).rstrip())
    return lines


def curves_text(curves: list[Curve], width: int) -> str:
    lines: list[str] = []
    for members in by_section(curves).values():
        lines += [*wrap(title(members), width), "", *lay_out(members, width), ""]
        lines += [line for note in notes(members) for line in wrap(note, width)] + [""]
    return "\n".join(lines).rstrip() + "\n"


def curves_markdown(curves: list[Curve]) -> str:
    lines: list[str] = []
    for members in by_section(curves).values():
        most = max(len(curve.trials) for curve in members)
        lines += [f"**{title(members)}**", "", markdown_line(["method", *[""] * most]), markdown_line(["---"] * (most + 1))]
        for curve in members:
            words = [f"{value}: {result}" for value, result in pairs(curve)]
            words = [f"**{word.removesuffix(f' {CHOSEN}')}**" if word.endswith(CHOSEN) else word for word in words]
            lines.append(markdown_line([curve.method, *words, *[""] * (most - len(words))]))
        lines += ["", *(note.replace(f"{CHOSEN} chosen", "Bold: chosen").replace(STALE, "\\~") for note in notes(members)), ""]
    return "\n".join(lines).rstrip() + "\n"


def curves_csv(curves: list[Curve]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["stage", "task", "method", "ranks", "seed", "key", "value", "chosen", "state", "validation", "metric", "reason", "request_id", "run_id"])
    for curve in curves:
        for trial in curve.trials:
            cells = trial.line.cells
            writer.writerow([curve.stage, curve.task, curve.method, curve.ranks, cells["seed"], trial.key, trial.value, "yes" if trial.is_chosen else "no",
                             trial.line.state, cells["validation"] if trial.has_score else "", cells["metric"], cells["reason"], trial.line.request_id,
                             cells["run_id"]])
    return out.getvalue()
