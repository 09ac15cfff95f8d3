"""The tables of the study, from its run files: choice of the rate, scores, verdict."""

import csv
import io
import math
import statistics
from dataclasses import dataclass, field
from pathlib import Path

import h5py

from analysis.files import write_file
from analysis.runs import Run, Unusable, as_text, read_run
from analysis.summary import make_label
from analysis.units import human_bytes
from plan import TASKS, Job, Plan

BASELINE = "head"
MARGIN = 2.0  # points above head-only, on one task at least


@dataclass
class Cell:
    """One method on one task."""
    trials: list[tuple[float, float | None]]  # rate, validation score; None: no finished run
    rate: float | None
    runs: list[Run] = field(default_factory=list)
    expected: int = 0

    def points(self, what: str) -> list[float]:
        return [100 * getattr(run, what) for run in self.runs]

    def mean(self, what: str) -> float:
        return statistics.fmean(self.points(what)) if self.runs else math.nan

    @property
    def deviation(self) -> float:
        return statistics.stdev(self.points("test")) if len(self.runs) > 1 else math.nan


def validation_of(path: Path) -> float | None:
    """None: no finished run. Of a run file of a trial nothing else is read."""
    if not path.exists():
        return None
    with h5py.File(path, "r") as file:
        return float(file["result"].attrs["validation_metric"])


def choose_rate(trials: list[Job]) -> float | None:
    """The best on validation; of equal ones the smaller."""
    scored = [(-score, job.rate) for job in trials if (score := validation_of(job.path)) is not None]
    return min(scored)[1] if scored else None


def read_cell(plan: Plan, task: str, method: str) -> Cell:
    trials = plan.trials(task, method)
    cell = Cell([(job.rate, validation_of(job.path)) for job in trials], choose_rate(trials))
    for job in plan.finals(task, method, cell.rate) if cell.rate else []:
        cell.expected += 1
        try:
            cell.runs.append(read_run(job.path))
        except Unusable:
            continue
    return cell


def gain(cells: dict, task: str, method: str) -> float:
    return cells[task, method].mean("test") - cells[task, BASELINE].mean("test") if (task, BASELINE) in cells else math.nan


def verdict(cells: dict, plan: Plan, method: str) -> str:
    if method == BASELINE:
        return "baseline"
    if any(not cells[task, method].runs or len(cells[task, method].runs) < cells[task, method].expected for task in plan.tasks):
        return "yes" if any(gain(cells, task, method) >= MARGIN for task in plan.tasks) else "not finished"
    return "yes" if any(gain(cells, task, method) >= MARGIN for task in plan.tasks) else "missing"


def form(value: float, digits: int = 2, sign: str = "") -> str:
    return "-" if math.isnan(value) else f"{value:{sign}.{digits}f}"


def joined(values: list[str]) -> str:
    """One text where all agree."""
    return values[0] if len(set(values)) == 1 else " / ".join(values)


def as_line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def main_table(plan: Plan, cells: dict) -> list[str]:
    names = [TASKS[task] for task in plan.tasks]
    heads = ["method", *(head for name in names for head in (f"{name} test", "- head", "valid.", "rate")), "numbers trained", "stored", "sent per step", "with head",
             f"{MARGIN:.0f} points above head-only"]
    lines = [as_line(heads), as_line(["---"] + ["---:"] * (len(heads) - 2) + ["---"])]
    for method in plan.methods:
        row, runs = [], [run for task in plan.tasks for run in cells[task, method].runs[:1]]
        for task in plan.tasks:
            cell = cells[task, method]
            count = "" if len(cell.runs) == len(plan.seeds) else f" [{len(cell.runs)} of {len(plan.seeds)} seeds]"
            row += [f"{form(cell.mean('test'))} ({form(cell.deviation)}){count}", "" if method == BASELINE else form(gain(cells, task, method), sign="+"),
                    form(cell.mean("validation")), f"{cell.rate:.3g}" if cell.rate else "-"]
        sizes = ["-"] * 4 if not runs else [f"{runs[0].trainable:,}", human_bytes(runs[0].stored_bytes), human_bytes(runs[0].sent_bytes),
                                            joined([human_bytes(run.sent_bytes_with_head) for run in runs])]
        lines.append(as_line([make_label(runs[0]) if runs else method, *row, *sizes, verdict(cells, plan, method)]))
    return lines


def trial_table(plan: Plan, cells: dict) -> list[str]:
    lines = [as_line(["task", "method", "low", "middle", "high"]), as_line(["---", "---", "---:", "---:", "---:"])]
    for task in plan.tasks:
        for method in plan.methods:
            cell = cells[task, method]
            shown = [f"{rate:.3g}: {'failed' if score is None else form(100 * score)}" for rate, score in cell.trials]
            lines.append(as_line([TASKS[task], method, *(f"**{text}**" if rate == cell.rate else text for text, (rate, _) in zip(shown, cell.trials))]))
    return lines


def build_notes(plan: Plan, cells: dict) -> list[str]:
    """Which program made the numbers, trials included."""
    builds: dict[tuple, int] = {}
    seconds = 0.0
    paths = [run.path for cell in cells.values() for run in cell.runs]
    paths += [job.path for task, method in cells for job in plan.trials(task, method) if job.path.exists()]
    for path in paths:
        with h5py.File(path, "r") as file:
            provenance, seconds = file["provenance"].attrs, seconds + float(file["result"].attrs["total_s"])
            facts = tuple(as_text(provenance.get(name, "?")) for name in ("commit", "dirty", "cpu", "blas_core", "ranks", "threads"))
        builds[facts] = builds.get(facts, 0) + 1
    lines = []
    for (commit, dirty, cpu, core, ranks, threads), count in builds.items():
        state = "clean" if dirty == "0" else f"dirty: {dirty}"
        lines.append(f"{count} runs by commit {commit[:12]} ({state}), {ranks} rank(s) x {threads} thread(s) each, {cpu}, BLAS kernels {core}.")
    if len(builds) > 1:
        lines.append("These builds or machines differ: the scores are not all of one kind.")
    lines.append(f"All runs added up took {seconds / 60:.0f} minutes.")
    return ["\n\n".join(lines)]


def as_csv(plan: Plan, cells: dict) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["task", "method", "metric", "rate", "test_mean", "test_sd", "gain_over_head", "validation_mean", "seeds", "tests", "trainable", "stored_bytes",
                     "sent_bytes", "sent_bytes_with_head", "trial_rates", "trial_validations", "verdict", "run_ids"])
    for task in plan.tasks:
        for method in plan.methods:
            cell = cells[task, method]
            first = cell.runs[0] if cell.runs else None
            sizes = [first.trainable, first.stored_bytes, first.sent_bytes, first.sent_bytes_with_head] if first else [""] * 4
            writer.writerow([task, method, first.metric if first else "", cell.rate or "", repr(cell.mean("test") / 100), repr(cell.deviation / 100),
                             repr(gain(cells, task, method) / 100), repr(cell.mean("validation") / 100), " ".join(str(run.seed) for run in cell.runs),
                             " ".join(f"{run.test:.6f}" for run in cell.runs), *sizes, " ".join(f"{rate:.3g}" for rate, _ in cell.trials),
                             " ".join("failed" if score is None else f"{score:.6f}" for _, score in cell.trials), verdict(cells, plan, method),
                             " ".join(run.run_id[:8] for run in cell.runs)])
    return out.getvalue()


def write(plan: Plan, folder: Path) -> str:
    """table.md and table.csv in `folder`; returns the former."""
    cells = {(task, method): read_cell(plan, task, method) for task in plan.tasks for method in plan.methods}
    lines = [f"Test scores are means of seeds {', '.join(map(str, plan.seeds))} (standard deviation): accuracy in %, for CoLA Matthews correlation x 100.", "",
             *main_table(plan, cells), "", "Trials of learning rates, one epoch, seed 1: score on validation; bold: chosen.", "", *trial_table(plan, cells), "",
             *build_notes(plan, cells)]
    text = "\n".join(lines) + "\n"
    write_file(folder / "table.md", text)
    write_file(folder / "table.csv", as_csv(plan, cells))
    return text
