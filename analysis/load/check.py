"""What a finished run says twice, compared: a file in which the two differ cannot be what it says it is.

A quick part of what `peftscale check` proves: steps, losses, bytes and scores, and the name of the experiment. Theta, the schedule and the choice of the kept
step are not looked at.
"""

import math
import re
from collections.abc import Iterator

import numpy as np

from .content import Content
from .metrics import RANGES, classify, cross_entropy, regress, squared_error
from .xxh3 import hash_texts

SCORE_TOLERANCE = 1e-9  # another order of additions
LOSS_TOLERANCE = 1e-5  # the trainer adds up floats in groups
SUM_TOLERANCE = 1e-9
MOST_CLASSES = 1 << 12
TAIL, EXACT_TAIL, EXACT_MORE_LEVELS = 4, 3, 2  # numbers behind those of the gradient (src/train/payload.h)
BACKEND = "precision=f32;backend=openblas"  # of files that do not say it: all that there was
ORDINARY = re.compile(r"[0-9a-f]{32}")


def differ(a: float, b: float, tolerance: float) -> bool:
    """Unknown numbers are equal to each other alone."""
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) != math.isnan(b)
    return not abs(a - b) <= tolerance * max(1.0, abs(b))


def top_level(config: str) -> dict[str, str]:
    """The keys of /config that belong to no section."""
    pairs = (line.partition(":") for line in config.splitlines() if line and not line[0].isspace())
    return {key: value.strip().strip("\"'") for key, _, value in pairs}


# ---- steps ----

def check_rows(steps: np.ndarray, planned: str) -> Iterator[str]:
    """steps: the newest row of each."""
    if not len(steps):
        return
    gaps = np.flatnonzero(np.diff(steps["step"]) != 1)
    if steps["step"][0] != 1 or len(gaps):
        yield f"step {int(steps['step'][gaps[0]]) + 1 if steps['step'][0] == 1 else 1} is missing"
    elif planned.isascii() and planned.isdigit() and len(planned) < 19 and int(planned) != len(steps):
        yield f"{len(steps)} steps were made, of {planned} (train.steps)"
    for name, what, least in (("loss", "the loss", -math.inf), ("grad_norm", "the gradient's norm", 0.0), ("step_s", "its time", 0.0)):
        if name in steps.dtype.names and len(wrong := steps[~(np.isfinite(steps[name]) & (steps[name] >= least))]):
            yield f"step {int(wrong['step'][0])}: {what} is {float(wrong[name][0]):g}"


def check_sums(content: Content, steps: np.ndarray) -> Iterator[str]:
    """/result against the steps that were made, in however many attempts."""
    result, names = content.result, steps.dtype.names
    if (count := result.whole("steps")) is not None and count != len(steps):
        yield f"steps of /result is {count}, but {len(steps)} are in /series/steps"
    for name, column in (("tokens", "tokens"), ("gradient_payload_bytes", "payload_bytes")):
        if column in names and (stored := result.whole(name)) is not None and stored != (total := int(steps[column].sum(dtype=np.int64))):
            yield f"{name} of /result is {stored}, but the steps sum up to {total}"
    for name in ("step_s", "communication_s"):
        total, stored = float(steps[name].sum()), result.real(name, math.nan)
        if not math.isnan(stored) and not abs(stored - total) <= SUM_TOLERANCE * abs(total):
            yield f"{name} of /result is {stored:.12g}, but the steps sum up to {total:.12g}"


# ---- bytes ----

def row_bytes(segments: np.ndarray) -> int:
    """Of one example where the head goes as factors: of each of its linear maps what comes in and what goes out."""
    maps = segments[(segments["counts_as"] == b"head") & np.char.endswith(segments["name"], b".weight")]
    return 4 * int((maps["rows"] + maps["cols"]).sum())


def check_bytes(content: Content, steps: np.ndarray, ranks: int) -> Iterator[str]:
    """The formulas of src/store/SCHEMA.md, Bytes of a step."""
    execution, accounting = top_level(content.config), content.accounting
    exact, factors = execution.get("reduce") == "exact", execution.get("head_reduce") == "factors"
    counts = {name: accounting.whole(name) for name in ("sent_floats", "head_floats", "sent_bytes_per_step", "head_bytes_factors")}
    lacking = [name for name in ("sent_floats", "head_floats", "sent_bytes_per_step") if counts[name] is None]
    if "reduce" not in execution or lacking or content.segments is None or factors and counts["head_bytes_factors"] is None:
        return
    levels = len(content.segments) + EXACT_MORE_LEVELS if exact else 0
    width, tail = (8, EXACT_TAIL) if exact else (4, TAIL)
    head = 0 if factors else counts["head_floats"]
    message = width * (counts["sent_floats"] + head + tail) + levels
    if counts["sent_bytes_per_step"] != message + (counts["head_bytes_factors"] if factors else 0):
        yield f"sent_bytes_per_step is {counts['sent_bytes_per_step']}, but the numbers that are sent make {message} bytes" + (
            f" and the head's rows {counts['head_bytes_factors']}" if factors else "")
    if not {"payload_bytes", "sent_floats", "own_examples"} <= set(steps.dtype.names):
        return
    expected = width * (steps["sent_floats"] + head + tail) + levels if ranks > 1 else np.zeros(len(steps), np.int64)
    if factors and ranks > 1:
        expected = expected + row_bytes(content.segments) * steps["own_examples"]
    if len(wrong := np.flatnonzero(steps["payload_bytes"] != expected)):
        step, stored, made = (int(values[wrong[0]]) for values in (steps["step"], steps["payload_bytes"], expected))
        yield f"step {step}: payload_bytes is {stored}, by the numbers that were sent {made}"


# ---- scores ----

def check_range(metric: str, split: str, score: float) -> Iterator[str]:
    low, high = RANGES.get(metric, (-math.inf, math.inf))
    if math.isinf(score) or not math.isnan(score) and not low - SCORE_TOLERANCE <= score <= high + SCORE_TOLERANCE:
        yield f"the {split} score is {score:g}, which no {metric} is"


def judge(rows: np.ndarray, classes: int, is_class: bool) -> str:
    """What is wrong with a prediction; "": nothing."""
    label, told, score = rows["label"], rows["prediction"], rows["score"].reshape(len(rows), -1)
    if not (np.isfinite(score).all() and np.isfinite(label).all()):
        return "a score or a label is not finite"
    if not is_class:
        return "" if (told == score[:, 0]).all() else "a prediction is not its score"
    if ((label < 0) | (label >= classes) | (label != np.floor(label))).any():
        return "a label is no class"
    return "" if (told == score.argmax(1)).all() else "a prediction is not the class of its largest score"


def final_row(content: Content, split: str) -> np.void | None:
    """The last evaluation of a split: that of the final model."""
    if content.evaluation is None:
        return None
    rows = content.evaluation[(content.evaluation["attempt"] > 0) & (content.evaluation["split"] == split.encode())]
    return rows[-1] if len(rows) else None


def check_predictions(content: Content, split: str, metric: str, score: float) -> Iterator[str]:
    rows, final = content.predictions[split], final_row(content, split)
    if rows is None or not len(rows):
        return
    if final is not None and "count" in final.dtype.names and int(final["count"]) != len(rows):
        yield f"{len(rows)} predictions for {split}, of {int(final['count'])} examples"
        return
    is_class = metric in ("accuracy", "f1", "matthews") or metric == "loss" and final is not None and not math.isnan(recorded(final, "accuracy"))
    classes = int(np.prod(rows["score"].shape[1:], dtype=np.int64))
    if not 1 <= classes <= MOST_CLASSES:
        return
    if wrong := judge(rows, classes, is_class):
        yield f"predictions for {split}: {wrong}"
        return
    found = classify(rows["label"], rows["prediction"], classes) if is_class else regress(rows["label"], rows["prediction"])
    if metric in RANGES and differ(score, found.get(metric, math.nan), SCORE_TOLERANCE):
        yield f"{split}_metric of /result is {score:.9g}, but the predictions give {found.get(metric, math.nan):.9g}"
    if final is None:
        return
    loss = cross_entropy(rows["score"].reshape(len(rows), -1), rows["label"]) if is_class else squared_error(rows["label"], rows["prediction"])
    if differ(float(final["loss"]), loss, LOSS_TOLERANCE):
        yield f"{split} loss of /evaluation is {float(final['loss']):.9g}, but the predictions give {loss:.9g}"


def recorded(row: np.void, name: str) -> float:
    return float(row[name]) if name in row.dtype.names else math.nan


def check_scores(content: Content) -> Iterator[str]:
    metric = content.result.text("metric")
    for split in ("validation", "test"):
        score, final = content.result.real(f"{split}_metric"), final_row(content, split)
        yield from check_range(metric, split, score)
        if final is not None and differ(score, float(final["metric"]), 0):
            yield f"{split}_metric of /result is {score:.9g}, but {float(final['metric']):.9g} in /evaluation"
        yield from check_predictions(content, split, metric, score)


# ---- identity ----

def check_identity(content: Content) -> Iterator[str]:
    """experiment_id names the settings, the weights, the data and the backend."""
    stored, provenance = content.root.text("experiment_id", ""), content.provenance
    weights, data = provenance.text("weights_hash", ""), provenance.text("dataset_hash", "")
    if not (ORDINARY.fullmatch(stored) and weights and data):
        return
    parts = [content.canonical, weights, data, provenance.text("start_hash", ""), provenance.text("backend", "") or BACKEND]
    if (found := hash_texts([part for part in parts if part])) not in ("", stored):  # "": too short to be told
        yield f"experiment_id is {stored[:8]}, but the settings and the hashes of weights and data give {found[:8]}"


def find_fault(content: Content, steps: np.ndarray, ranks: int) -> str:
    """The first thing that cannot be, and how many more there are; "": nothing was found. steps: the newest row of each."""
    planned = next((line.partition("=")[2] for line in content.canonical.splitlines() if line.startswith("train.steps=")), "")
    found = [*check_identity(content), *check_rows(steps, planned), *check_sums(content, steps), *check_bytes(content, steps, ranks), *check_scores(content)]
    return found[0] + (f" (and {len(found) - 1} more)" if len(found) > 1 else "") if found else ""
