"""The study's tables, from its run files and files of `peftscale comm` alone: what a step costs at each link, what a score costs, how right the shaper was."""

import csv
import io
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import h5py
import numpy as np

from analysis.common.files import write_file
from analysis.common.units import number as formatted
from analysis.load.content import check_run
from analysis.load.hdf5 import Unusable, as_text, need, newest
from analysis.common.units import human_bytes, human_time
from plan import LINKS, WARM_STEPS, ideal_s

RIGHT, FAST, SLOW, NO_RATE = "right", "below the shaper's resolution", "slower than the link", "no rate"
TOLERANCE = 0.15
MARKS = {FAST: " (1)", SLOW: " (2)"}
BUSY = " (3)"
BASELINE, MIDDLE, HEAD = "full", "lora", "head"


# ---- reading ----

@dataclass
class Final:
    """A training to the end."""
    method: str
    payload_bytes: int  # of a step
    trainable: int
    metric: str
    curve: list[tuple[int, float]]  # step, validation score

    @property
    def best(self) -> float:
        return max(score for _, score in self.curve)

    def steps_to(self, score: float) -> int | None:
        return next((step for step, reached in self.curve if reached >= score), None)


@dataclass
class Timed:
    """All timed steps of a method at a link. Seconds are rank 0's."""
    method: str
    link: str
    step_s: np.ndarray
    exposed_s: np.ndarray  # communication that no computation hid, waiting for the other rank included
    wait_s: np.ndarray  # of sampled steps: how much of it was waiting; those do not count in the two above
    sent_bytes: float  # on the wire, per step and rank, in the mean; nan: not measured
    busy_runs: int  # with times that are not to be trusted, by the program's own judgement
    runs: int

    @property
    def share(self) -> float:
        return float(self.exposed_s.sum() / self.step_s.sum())


Found = TypeVar("Found")


def read_one(path: Path, read: Callable[[h5py.File], Found]) -> Found:
    """Raises Unusable with the path for whatever is wrong with a file."""
    try:
        with h5py.File(path, "r") as file:
            return read(file)
    except Unusable as reason:
        raise Unusable(f"{path}: {reason}") from None
    except (OSError, RuntimeError, ValueError, TypeError, LookupError) as error:
        raise Unusable(f"{path}: broken: {(str(error).splitlines() or [type(error).__name__])[0]}") from None


def read_all(folder: Path, read: Callable[[h5py.File], Found]) -> Iterator[tuple[Path, Found]]:
    return ((path, read_one(path, read)) for path in sorted(folder.glob("*.h5")))


def payload_of(path: Path) -> int:
    return read_one(path, lambda file: int(need(file, "accounting", "sent_bytes_per_step")))


def settings_of(file: h5py.File) -> dict[str, str]:
    """The top-level keys of /config, and method.name."""
    found, section = {}, ""
    for line in as_text(need(file, "config")).splitlines():
        key, _, value = line.partition(":")
        if line[:1].strip():
            section = key
            found[key] = value.strip().strip("\"'")
        elif section == "method" and key.strip() == "name":
            found["method"] = value.strip().strip("\"'")
    return found


def find_mixtures(results: Path) -> list[str]:
    """What was measured by several programs, or on several kinds of processor, cannot stand in one table: a line for each."""
    def origins(file: h5py.File) -> dict[str, str]:
        attributes = file["provenance"].attrs
        return {name: as_text(attributes[name])[:16] for name in ("commit", "dirty", "binary_hash", "blas_core", "cpu", "ranks") if name in attributes}

    values: dict[str, dict[str, list[str]]] = {}
    for folder in ("final", "timed", "calibration"):
        for path, found in read_all(results / folder, origins):
            for name, value in found.items():
                values.setdefault(name, {}).setdefault(value, []).append(f"{folder}/{path.name}")
    lines = []
    for name, found in values.items():
        if len(found) > 1:
            lines.append(f"MIXTURE of {name}: " + "; ".join(f"{value} ({len(files)} files, such as {files[0]})" for value, files in found.items()))
    return lines + (["DIRTY: the program was built from changed sources."] if "1" in values.get("dirty", {}) else [])


def read_final(file: h5py.File) -> Final:
    check_run(file)
    rows = newest(need(file, "evaluation"), "step", "split")
    curve = [(int(row["step"]), float(row["metric"])) for row in rows if row["split"] == b"validation"]
    return Final(settings_of(file)["method"], int(need(file, "accounting", "sent_bytes_per_step")), int(need(file, "accounting", "trainable_method")),
                 as_text(need(file, "result", "metric")), curve)


def read_finals(folder: Path) -> dict[str, Final]:
    return {final.method: final for _, final in read_all(folder, read_final)}


def read_timed_run(file: h5py.File) -> tuple[tuple[str, str], tuple]:
    """(method, link) and (steps, bytes on the wire per step and rank, whether it was disturbed)."""
    check_run(file)
    settings = settings_of(file)
    rows = newest(need(file, "series/steps"), "step")[WARM_STEPS:]
    if as_text(need(file, "provenance", "wire")) != "tcp":
        raise Unusable("its ranks did not talk over TCP")
    ranks = need(file, "series/ranks")
    count = int(need(file, "attempts")[-1]["ranks"])
    total = int(ranks["wire_bytes"].sum()) if np.all(ranks["wire_bytes"] >= 0) else math.nan
    return (settings["method"], settings["network"]), (rows, total / count / (len(rows) + WARM_STEPS), int(need(file, "result", "contaminated")) > 0)


def read_timed(folder: Path) -> dict[tuple[str, str], Timed]:
    parts: dict[tuple[str, str], list[tuple]] = {}
    for _, (key, part) in read_all(folder, read_timed_run):
        parts.setdefault(key, []).append(part)
    timed = {}
    for (method, link), runs in parts.items():
        rows = np.concatenate([each[0] for each in runs])
        sampled = np.isfinite(rows["wait_s"])
        plain = rows[~sampled]
        timed[method, link] = Timed(method, link, plain["step_s"], plain["communication_s"], rows["wait_s"][sampled], float(np.mean([each[1] for each in runs])),
                                    sum(each[2] for each in runs), len(runs))
    return timed


@dataclass
class Sum:
    """A size that was summed for calibration."""
    payload_bytes: int
    median_s: float
    p90_s: float
    sent_bytes: float
    verdict: str


def judge(median_s: float, sent_bytes: float, link: str, latency_s: float) -> str:
    """Right: 15 % about what the bytes take at the link's rate, and behind that a sum of nothing."""
    if not LINKS[link]:
        return NO_RATE
    ideal = ideal_s(sent_bytes, link)
    if median_s < (1 - TOLERANCE) * ideal:
        return FAST
    return RIGHT if median_s <= (1 + TOLERANCE) * (ideal + latency_s) else SLOW


def read_sums(file: h5py.File) -> tuple[str, list[Sum]]:
    if as_text(file.attrs.get("kind", "")) != "peftscale comm" or as_text(need(file, "/", "status")) != "complete":
        raise Unusable("not a finished file of `peftscale comm`")
    link = as_text(need(file, "/", "network"))
    cases, repetitions = need(file, "cases"), need(file, "repetitions")
    sums: list[Sum] = []
    for case in np.sort(cases, order="payload_bytes"):
        own = repetitions[repetitions["case"] == case["case"]]
        payload, median = int(case["payload_bytes"]), float(np.median(own["seconds"]))
        sent = float(np.mean(own["wire_bytes_mean"])) if np.all(own["wire_bytes_mean"] >= 0) else float(payload)
        latency = sums[0].median_s if sums else median  # of the smallest size
        sums.append(Sum(payload, median, float(np.percentile(own["seconds"], 90)), sent, judge(median, sent, link, latency)))
    return link, sums


def read_calibration(folder: Path) -> dict[str, list[Sum]]:
    return dict(found for _, found in read_all(folder, read_sums))


def verdict_of(calibration: dict[str, list[Sum]], payload_bytes: int, link: str) -> str:
    """Of the size itself, or of the largest that was summed: what is right for it is right for larger ones."""
    if not LINKS[link]:
        return NO_RATE
    sums = [each for each in calibration.get(link, []) if each.payload_bytes <= payload_bytes]
    return sums[-1].verdict if sums else "not calibrated"


# ---- tables ----

@dataclass
class Table:
    name: str
    title: str
    head: list[str]  # of the TSV; the first columns are words
    rows: list[list]
    shown_head: list[str]
    shown: list[list[str]]

    def markdown(self) -> str:
        def line(cells: list[str]) -> str:
            return "| " + " | ".join(cells) + " |"
        return "\n".join([f"**{self.title}**", "", line(self.shown_head), line(["---"] + ["---:"] * (len(self.shown_head) - 1)), *(line(cells) for cells in self.shown)]) + "\n"

    def tsv(self) -> str:
        out = io.StringIO()
        csv.writer(out, delimiter="\t", lineterminator="\n").writerows([self.head, *self.rows])
        return out.getvalue()


def percent(share: float) -> str:
    return formatted(100 * share, ".1f") + " %"


def times(ratio: float) -> str:
    return "-" if not math.isfinite(ratio) else f"{ratio:,.0f} x" if ratio >= 99.5 else f"{ratio:.1f} x"


def in_order(finals: dict[str, Final]) -> list[Final]:
    """Full fine-tuning first, then LoRA, then by what travels."""
    return sorted(finals.values(), key=lambda final: (final.method != BASELINE, final.method != MIDDLE, -final.payload_bytes, final.method))


def links_of(timed: dict[tuple[str, str], Timed]) -> list[str]:
    return [link for link in LINKS if any(link == other for _, other in timed)]


STEP_HEAD = ["link", "method", "payload_bytes", "sent_bytes", "ideal_s", "step_median_s", "exposed_median_s", "exposed_p90_s", "exposed_share",
             "exposed_per_ideal", "wait_median_s", "steps", "runs", "busy_runs", "shaper"]
STEP_SHOWN = ["method", "payload", "on the wire", "bytes / rate", "step", "exposed, median", "p90", "of it waiting", "share of step",
              "exposed / (bytes / rate)", "shaper"]


def step_row(final: Final, timed: Timed, verdict: str) -> tuple[list, list[str]]:
    link = timed.link
    ideal = ideal_s(timed.sent_bytes, link)
    median, p90, step = float(np.median(timed.exposed_s)), float(np.percentile(timed.exposed_s, 90)), float(np.median(timed.step_s))
    wait = float(np.median(timed.wait_s)) if len(timed.wait_s) else math.nan
    per_ideal = median / ideal if ideal else math.nan
    mark = MARKS.get(verdict, "") + (BUSY if timed.busy_runs else "")
    row = [link, final.method, final.payload_bytes, round(timed.sent_bytes, 1), ideal, step, median, p90, timed.share, per_ideal, wait, len(timed.step_s),
           timed.runs, timed.busy_runs, verdict]
    shown = [final.method, human_bytes(final.payload_bytes), human_bytes(round(timed.sent_bytes)) if math.isfinite(timed.sent_bytes) else "-",
             human_time(ideal) if ideal else "-", human_time(step), human_time(median) + mark, human_time(p90), human_time(wait), percent(timed.share),
             formatted(per_ideal, ".2f"), verdict]
    return row, shown


def compare(name: str, upper: str, lower: str, finals: dict[str, Final], timed: dict[tuple[str, str], Timed], link: str) -> list[str]:
    """A row of ratios under the columns of a step's table."""
    one, other = timed[upper, link], timed[lower, link]
    exposed = [float(np.median(each.exposed_s)) for each in (one, other)]
    ratios = {"payload": finals[upper].payload_bytes / finals[lower].payload_bytes, "on the wire": one.sent_bytes / other.sent_bytes,
              "step": float(np.median(one.step_s) / np.median(other.step_s)), "exposed, median": exposed[0] / exposed[1] if exposed[1] > 0 else math.nan,
              "p90": float(np.percentile(one.exposed_s, 90) / max(np.percentile(other.exposed_s, 90), 1e-12))}
    return [f"*{name}*", *(times(ratios[column]) if column in ratios else "" for column in STEP_SHOWN[1:])]


def smallest(finals: dict[str, Final]) -> str:
    """The method that sends least beside the head."""
    return min((final for final in finals.values() if final.method != HEAD), key=lambda final: final.payload_bytes).method


def step_tables(finals: dict[str, Final], timed: dict[tuple[str, str], Timed], calibration: dict[str, list[Sum]]) -> list[Table]:
    tables = []
    for link in links_of(timed):
        rows, shown = [], []
        for final in in_order(finals):
            if (final.method, link) in timed:
                row, cells = step_row(final, timed[final.method, link], verdict_of(calibration, final.payload_bytes, link))
                rows.append(row)
                shown.append(cells)
        least = smallest(finals)
        if (BASELINE, link) in timed and (MIDDLE, link) in timed:
            shown.append(compare("LoRA alone saves", BASELINE, MIDDLE, finals, timed, link))
            if least != MIDDLE and (least, link) in timed:
                shown.append(compare(f"{least} saves beyond LoRA", MIDDLE, least, finals, timed, link))
        tables.append(Table(f"steps-{link}", f"A step at {link}", STEP_HEAD, rows, STEP_SHOWN, shown))
    return tables


def choose_score(finals: dict[str, Final]) -> float:
    """What was asked for; else half of what full fine-tuning gains over the head alone (of the two that are there, the worst and the best), in whole percent."""
    if os.environ.get("CLUSTER_SCORE"):
        return float(os.environ["CLUSTER_SCORE"])
    best = {method: final.best for method, final in finals.items()}
    return math.floor(50 * (best.get(HEAD, min(best.values())) + best.get(BASELINE, max(best.values())))) / 100


def score_table(finals: dict[str, Final], timed: dict[tuple[str, str], Timed], calibration: dict[str, list[Sum]]) -> Table:
    score, links = choose_score(finals), links_of(timed)
    rows, shown, seconds = [], [], {}
    for final in in_order(finals):
        steps = final.steps_to(score)
        sent = [timed[final.method, link].sent_bytes for link in links if (final.method, link) in timed]
        wire = math.nan if steps is None or not sent else steps * sent[0]
        row = [final.method, final.trainable, final.best, score, "" if steps is None else steps, "" if steps is None else steps * final.payload_bytes, wire]
        cells = [final.method, f"{final.trainable:,}", f"{final.best:.4f}", "not reached" if steps is None else str(steps),
                 "-" if steps is None else human_bytes(steps * final.payload_bytes), human_bytes(round(wire)) if math.isfinite(wire) else "-"]
        for link in links:
            own = timed.get((final.method, link))
            seconds[final.method, link] = math.nan if steps is None or own is None else steps * float(np.median(own.step_s))
            row.append(seconds[final.method, link])
            verdict = verdict_of(calibration, final.payload_bytes, link)
            cells.append(long_time(seconds[final.method, link]) + (MARKS.get(verdict, "") + (BUSY if own and own.busy_runs else "") if steps is not None else ""))
        rows.append(row)
        shown.append(cells)
    if BASELINE in finals and MIDDLE in finals:
        def bytes_to(method: str) -> float:
            steps = finals[method].steps_to(score)
            return math.nan if steps is None else steps * finals[method].payload_bytes
        for name, upper, lower in (("LoRA alone saves", BASELINE, MIDDLE), (f"{smallest(finals)} saves beyond LoRA", MIDDLE, smallest(finals))):
            if upper != lower:
                ratios = [times(seconds[upper, link] / seconds[lower, link]) for link in links]
                shown.append([f"*{name}*", "", "", "", times(bytes_to(upper) / bytes_to(lower)), "", *ratios])
    metric = next(iter(finals.values())).metric
    return Table("score", f"To a validation score ({metric}) of {score:g}; times are computed: steps of the training to the end, times the median step at the link",
                 ["method", "trainable", "best_score", "score", "steps", "payload_bytes", "sent_bytes", *(f"computed_s_{link}" for link in links)], rows,
                 ["method", "numbers trained", "best score", "steps", "payload", "on the wire", *links], shown)


def long_time(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min" if seconds >= 120 else human_time(seconds)


def calibration_table(calibration: dict[str, list[Sum]]) -> Table:
    links = [link for link in LINKS if link in calibration]
    rows = [[link, each.payload_bytes, each.sent_bytes, ideal_s(each.sent_bytes, link), each.median_s, each.p90_s, each.verdict]
            for link in links for each in calibration[link]]
    shown = []
    for size in sorted({each.payload_bytes for sums in calibration.values() for each in sums}):
        cells = [f"{size:,}"]
        for link in links:
            found = next((each for each in calibration[link] if each.payload_bytes == size), None)
            if found is None:
                cells.append("")
            elif LINKS[link]:
                cells.append(f"{human_time(found.median_s)}, {found.median_s / ideal_s(found.sent_bytes, link):.2f}" + MARKS.get(found.verdict, ""))
            else:
                cells.append(human_time(found.median_s))
        shown.append(cells)
    return Table("calibration", "Sums alone: median time, and its ratio to bytes / rate", ["link", "payload_bytes", "sent_bytes", "ideal_s", "median_s", "p90_s", "verdict"], rows,
                 ["bytes", *links], shown)


NOTES = f"""payload: what a rank gives to the sum of a step, head included; on the wire: what its sockets then sent, mean over ranks, without headers of TCP and below.
exposed: rank 0's time in the sum that no computation hid, waiting for other ranks included; waiting is known of sampled steps, which count for nothing else.
(1) {FAST}: sums of this size were faster than the link's rate allows, so the time says nothing about such a link.
(2) {SLOW}: sums of this size alone took more than {100 * TOLERANCE:.0f} % longer than their bytes at the link's rate.
(3) something else took the cores in at least one of the runs, so its times are not to be trusted.
"""


def write(results: Path) -> str:
    """Writes tables.md and a TSV per table; returns the text."""
    finals, timed, calibration = read_finals(results / "final"), read_timed(results / "timed"), read_calibration(results / "calibration")
    if not finals or not timed:
        raise SystemExit(f"{results}: there are no finished measurements")
    tables = [*step_tables(finals, timed, calibration), score_table(finals, timed, calibration), calibration_table(calibration)]
    text = "\n".join([*(line + "\n" for line in find_mixtures(results)), *(table.markdown() for table in tables), NOTES])
    write_file(results / "tables.md", text)
    for table in tables:
        write_file(results / f"{table.name}.tsv", table.tsv())
    return text
