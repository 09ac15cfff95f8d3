"""Whether our methods compute what other implementations compute: one row per case, verdicts, and a last line N passed, N failed, N skipped.

usage: parity.py [--model tiny|minilm] [--only TEXT] [--list]

Both sides get the same weights, the same random state in which no trained tensor is where it started, and the same batch. Compared are the logits, the gradient
of every trained tensor, the losses of 20 AdamW steps and where these lead; ours are in float32, the reference's in float64. A negative control is wrong by 1 %
on purpose, and passes if that is seen.

Environment: PEFTSCALE_BUILD, PEFTSCALE_ASSETS (holds minilm-l6; without it those cases are skipped), CMOCKA_MESSAGE_OUTPUT=TAP (a line per case for the test
runner). Exit code 1 if a case failed.
"""

import argparse
import os
import re
import sys
import tempfile
import traceback
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cases import CASES
from program import Program
from reference import HEAD, Reference, load_bert, write_random_bert

LARGEST = {"logits": 1e-4, "gradient": 1e-3, "losses": 1e-3, "theta": 1e-3}  # errors allowed, all relative
CLASSES = 3
TRAINING = {"lr": 2e-3, "decay": 0.01, "epsilon": 1e-6, "steps": 20}
LENGTHS = {"tiny": (12, 7, 23, 5, 1, 16), "minilm": (9, 4, 14, 1, 12)}
FIRST_WORD = {"tiny": 5, "minilm": 1000}  # token ids below are special or unused


@dataclass
class Row:
    case: object
    logits: float = float("nan")
    gradient: float = float("nan")
    segment: str = ""
    losses: float = float("nan")
    theta: float = float("nan")
    verdict: str = "ok"  # "ok", "FAIL: reason", "skip: reason"

    @property
    def state(self):
        return self.verdict.split(":")[0]

    def text(self):
        if self.state != "skip" and not np.isnan(self.logits):
            numbers = (f"{self.logits:.1e}", f"{self.gradient:.1e}", self.segment, f"{self.losses:.1e}", f"{self.theta:.1e}")
        else:
            numbers = ("-", "-", "", "-", "-")
        return (self.case.method, self.case.title, self.case.model, self.case.by.VERSION, *numbers, self.verdict)


# ---- what both sides are given ----


def seeded(*words):
    return np.random.default_rng(zlib.crc32("/".join(words).encode()))


def spread_logits(shape, name):
    """VB-LoRA selects the largest: all logits of a tile are 0.25 apart, so that rounding and 20 small steps choose no others."""
    random = seeded("logits", name)
    return np.stack([0.25 * random.permutation(shape[1]) - 0.125 * shape[1] for _ in range(shape[0])])


def moved(start):
    """Every tensor away from where it starts."""
    state = {}
    for name, values in start.items():
        random = seeded("state", name)
        if ".logits_" in name:
            state[name] = (spread_logits(values.shape, name) + random.uniform(-0.05, 0.05, values.shape)).astype(np.float32)
        else:
            state[name] = (values + random.normal(0, 0.1 if name in HEAD.values() else 0.05, values.shape)).astype(np.float32)
    return state


def make_batch(model, vocabulary):
    random = seeded("batch", model)
    return [(int(random.integers(CLASSES)), [int(i) for i in random.integers(FIRST_WORD[model], vocabulary, length)]) for length in LENGTHS[model]]


# ---- comparing ----


def compared(case, tensors):
    """What is compared by itself: a tensor; or, of single numbers, all of one name over layers and maps. A single one is a sum that may nearly cancel, and then
    nothing but the rounding errors of its terms."""
    result = {}
    for name, values in tensors.items():
        joined = values.size == 1 and not case.is_inert(name)
        result.setdefault(re.sub(r"layer\.\d+\.\w+\.", "all ", name) if joined else name, []).append(values.ravel().astype(np.float64))
    return {name: np.concatenate(parts) for name, parts in result.items()}


def gradient_errors(case, ours, theirs):
    """{name: |g - ref| / |ref|}, where |ref| is not below a small part of the whole gradient. Refuses what an error of 1 % would not show in."""
    everything = np.sqrt(sum((g ** 2).sum() for g in theirs.values()))
    found = compared(case, {name: ours[name] for name in theirs})
    errors = {}
    for name, g in compared(case, theirs).items():
        norm, inert = np.linalg.norm(g), case.is_inert(name)
        if inert != bool(norm <= 1e-12 * everything):
            raise RuntimeError(f"{name}: norm of the true gradient {norm:.1e} of {everything:.1e}")
        floor = (1e-2 if inert else 1e-6) * everything  # of an inert tensor we can only say that it is small
        if not inert and 0.01 * norm <= LARGEST["gradient"] * floor:
            raise RuntimeError(f"{name}: norm {norm:.1e} of {everything:.1e}: an error of 1 % would not show")
        errors[name] = np.linalg.norm(found[name] - g) / max(norm, floor)
    return errors


def distance(one, other, names):
    return np.sqrt(sum(((one[name].ravel().astype(np.float64) - other[name].ravel()) ** 2).sum() for name in names))


def selection(logits, top_k):
    return np.sort(np.argsort(-logits, axis=1)[:, :top_k], axis=1)


def check_selection(case, state, after):
    """VB-LoRA: what was selected at first must be so to the end, or the two sides could part at a tie."""
    for name in (name for name in state if ".logits_" in name):
        top_k = int(case.options["top_k"])
        if not np.array_equal(selection(state[name], top_k), selection(after[name].reshape(state[name].shape), top_k)):
            raise RuntimeError(f"{name}: the steps changed what is selected")


def judge(row, state, ours, theirs):
    row.logits = np.abs(ours["logits"] - theirs["logits"]).max() / np.abs(theirs["logits"]).max()
    errors = gradient_errors(row.case, ours["gradient"], theirs["gradient"])
    row.segment = max(errors, key=errors.get)
    row.gradient = errors[row.segment]
    losses = np.array(theirs["losses"])
    row.losses = (np.abs(ours["losses"] - losses) / losses).max()
    if not losses[-1] < 0.95 * losses[0]:
        raise RuntimeError(f"the steps change nothing: loss {losses[0]:.4f}, then {losses[-1]:.4f}")
    # Adam makes steps of full size out of rounding errors where there is no gradient; these lead nowhere in particular.
    names = [name for name in state if not row.case.is_inert(name)]
    row.theta = distance(ours["after"], theirs["after"], names) / distance(state, theirs["after"], names)
    for after in (ours["after"], theirs["after"]):
        check_selection(row.case, state, after)
    too_large = [what for what, most in LARGEST.items() if not getattr(row, what) <= most]  # a NaN is too large
    if row.case.wrong:
        row.verdict = "ok: seen" if "gradient" in too_large else "FAIL: not seen"
    elif too_large:
        row.verdict = f"FAIL: {', '.join(too_large)}"


def compare(case, model_folder, folder):
    row = Row(case)
    encoder = load_bert(model_folder)
    batch = make_batch(case.model, encoder.config.vocab_size)
    reference_encoder, bound, constants = case.build(encoder)
    program = Program(folder, model_folder, case.method, case.all_options(), CLASSES, constants)
    state = moved(program.start())
    judge(row, state, program.measure(state, batch, TRAINING), Reference(reference_encoder, bound, CLASSES).measure(state, batch, TRAINING))
    return row


# ---- reporting ----

TITLES = ("method", "case", "model", "reference", "logits", "gradient", "of", "losses", "theta", "verdict")
SIZES = (8, max(len(case.title) for case in CASES), 6, 11, 7, 8, 26, 7, 7, 0)


def line(cells):
    return "  ".join(str(cell).ljust(size) for cell, size in zip(cells, SIZES)).rstrip()


def report(rows):
    """The exit code."""
    counts = {state: sum(row.state == state for row in rows) for state in ("ok", "FAIL", "skip")}
    if os.environ.get("CMOCKA_MESSAGE_OUTPUT") == "TAP":
        print(f"1..{len(rows)}")
        for number, row in enumerate(rows, 1):
            if row.state == "skip":
                print(f"# {row.verdict}\nok {number} # SKIP {row.case.name}")
            else:
                print(f"{'ok' if row.state == 'ok' else 'not ok'} {number} - {row.case.name}")
    else:
        print(f"{counts['ok']} passed, {counts['FAIL']} failed, {counts['skip']} skipped")
    return int(counts["FAIL"] > 0 or not rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(LENGTHS), help="only the cases on this model")
    parser.add_argument("--only", metavar="TEXT", default="", help="only cases whose name contains TEXT")
    parser.add_argument("--list", action="store_true", help="name the cases and stop")
    options = parser.parse_args()
    cases = [case for case in CASES if options.model in (None, case.model) and options.only in case.name]
    if options.list:
        print("\n".join(case.name for case in cases))
        return 0
    minilm = Path(os.environ.get("PEFTSCALE_ASSETS") or "/nonexistent") / "minilm-l6"
    rows = []
    with tempfile.TemporaryDirectory(prefix="peftscale-oracle-") as folder:
        models = {"tiny": write_random_bert(Path(folder) / "tiny"), "minilm": minilm if minilm.is_dir() else None}
        print(line(TITLES))
        for case in cases:
            if models[case.model] is None:
                row = Row(case, verdict="skip: PEFTSCALE_ASSETS names no directory with minilm-l6")
            else:
                try:
                    row = compare(case, models[case.model], folder)
                except Exception as error:  # a broken case is one failure; the others are still to be seen
                    traceback.print_exc()
                    row = Row(case, verdict=f"FAIL: {str(error)[:200]}")
            rows.append(row)
            print(line(row.text()), flush=True)
    return report(rows)


if __name__ == "__main__":
    sys.exit(main())
