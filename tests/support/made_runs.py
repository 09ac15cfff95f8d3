"""Made-up run files and indexes of studies, and the analysis called on them in this process, which spares its start."""

import contextlib
import io
import sys
import types
from pathlib import Path

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from analysis.load.check import BACKEND  # noqa: E402
from analysis.load.metrics import cross_entropy  # noqa: E402
from analysis.load.xxh3 import hash_texts  # noqa: E402

PHASES = ("expand", "forward", "backward", "gather", "communication", "optimizer")
STEP = np.dtype([("attempt", "<i4"), ("step", "<i8"), ("step_s", "<f8"), ("communication_s", "<f8"), ("tokens", "<i8")])
ATTEMPT = np.dtype([("attempt", "<i4"), ("started", "S24"), ("ranks", "<i4"), ("threads", "<i4"), ("nodes", "<i4"), ("first_step", "<i8")])
EVALUATION = np.dtype([("attempt", "<i4"), ("step", "<i8"), ("epoch", "<i4"), ("split", "S12"), ("loss", "<f8"), ("count", "<i8"), ("metric", "<f8"),
                       *((name, "<f8") for name in ("accuracy", "f1", "matthews", "pearson", "spearman", "seconds"))])
RANK = np.dtype([("attempt", "<i4"), ("step", "<i8"), ("rank", "<i4"), ("peak_bytes", "<i8")])


def series(times, share=0.1, tokens=300, attempt=1, **columns):
    """/series/steps with these step times. columns: more of them, each a value or one per step (loss, wire_bytes, wait_s, forward_s ...)."""
    more = {name: np.asarray(value) for name, value in columns.items()}
    kinds = [(name, "<f8" if value.dtype.kind == "f" else "<i8") for name, value in more.items() if name not in STEP.names]
    rows = np.zeros(len(times), [*STEP.descr, *kinds])
    for name, value in {"attempt": attempt, "step": np.arange(1, len(times) + 1), "step_s": times, "communication_s": share * np.asarray(times, float),
                        "tokens": tokens, **more}.items():
        rows[name] = value
    return rows


def evaluation(rows, metric, attempt=1):
    """/evaluation of rows (step, epoch, split, score, loss, seconds, examples); the score stands in the metric's own column, too."""
    made = np.zeros(len(rows), EVALUATION)
    for name in ("accuracy", "f1", "matthews", "pearson", "spearman"):
        made[name] = np.nan
    for row, (step, epoch, split, score, loss, seconds, examples) in zip(made, rows):
        for name, value in {"attempt": attempt, "step": step, "epoch": epoch, "split": split.encode(), "loss": loss, "count": examples, "metric": score,
                            "seconds": seconds, **({metric: score} if metric in EVALUATION.names else {})}.items():
            row[name] = value
    return made


def predictions(right, count, seed):
    """`count` examples of two classes, of which `right` are told rightly: which ones, chance says, but easy examples are easy for every seed."""
    common, own = np.random.default_rng(7), np.random.default_rng(seed + 1)
    label = common.integers(0, 2, count)
    hardness = common.random(count) + 0.5 * own.random(count)
    hit = np.zeros(count, bool)
    hit[np.argsort(hardness)[:right]] = True
    made = np.zeros(count, [("example", "<i8"), ("label", "<f4"), ("prediction", "<f4"), ("score", "<f4", (2,))])
    made["example"], made["label"], made["prediction"] = np.arange(count) + 1000, label, np.where(hit, label, 1 - label)
    made["score"][np.arange(count), made["prediction"].astype(int)] = 1 + own.random(count)
    return made


def write_run(path, seed=1, test=0.5, validation=0.4, method="lora", options=None, settings=None, model="minilm-l6", task="wordnet-verbs", metric="accuracy",
              ranks=2, threads=1, nodes=1, trainable=1000, head=100, stored=4000, sent=900, message=4016, steps=None, status="complete", version=1, run_id=None,
              regenerated=None, train_s=None, weights="w" * 32, data="d" * 32, kind="peftscale run", contaminated=None, request_id=None,
              created="2024-01-01T00:00:00Z", activation=None, memory=None, validations=None, examples=None, energy=None, **more):
    """A finished run with what the analysis reads, laid out as src/store/SCHEMA.md says. more: texts of /provenance (source_hash, commit, dirty ...).
    validations: rows (step, epoch, score, loss, seconds), at least one; memory: peak bytes per rank; examples: that many predictions for the test split, of two classes;
    `test` is then the nearest accuracy that so many can have."""
    canonical = {"seed": seed, "method.name": method, "train.lr": "0.001", "train.batch": 32}
    canonical |= {f"method.{key}": value for key, value in (options or {}).items()} | (settings or {})
    text = "".join(f"{key}={value}\n" for key, value in sorted(canonical.items()))
    config = f"seed: {seed}\nmodel:\n  name: {model}\n  path: \"/a/b: c\"\ntask:\n  name: {task}\nmethod:\n  name: {method}\noutput:\n  name: auto\n"
    if examples:
        right = round(test * examples)
        test = right / examples
    path.parent.mkdir(parents=True, exist_ok=True)
    experiment_id = hash_texts([text, weights, data, more.get("backend", BACKEND)]) or "e" * 32
    with h5py.File(path, "w") as file:
        identity = run_id or f"{abs(hash((path.name, text, ranks))):032x}"
        for name, value in {"kind": kind, "status": status, "run_id": identity, "experiment_id": experiment_id, "created": created,
                            "request_id": request_id}.items():
            if value is not None:
                file.attrs[name] = np.bytes_(value)
        file.attrs["schema_version"] = version
        file["config"] = np.bytes_(config.encode())
        file["config_canonical"] = np.bytes_(text)
        provenance = file.create_group("provenance").attrs
        for name, value in {"dataset": "wordnet-verb", "weights_hash": weights, "dataset_hash": data, **more}.items():
            provenance[name] = np.bytes_(value)
        accounting = file.create_group("accounting").attrs
        for name, value in {"trainable": trainable + head, "trainable_head": head, "head_floats": head, "stored_bytes": stored, "sent_floats": sent,
                            "sent_bytes_per_step": message, "regenerated_bytes": regenerated, "activation_bytes": activation}.items():
            if value is not None:
                accounting[name] = value
        result = file.create_group("result").attrs
        for name, value in {"metric": np.bytes_(metric), "test_metric": test, "validation_metric": validation, "contaminated": contaminated,
                            "train_s": train_s, "energy_j": energy}.items():
            if value is not None:
                result[name] = value
        file["attempts"] = np.array([(1, b"2024-01-01T00:00:00Z", ranks, threads, nodes, 0)], ATTEMPT)
        tables = file.create_group("series")
        tables["steps"] = series([0.1] * 20) if steps is None else steps
        if memory is not None:
            tables["ranks"] = np.array([(1, 20, rank, peak) for rank, peak in enumerate(memory)], RANK)
        told = predictions(right, examples, seed) if examples else None
        if examples:
            file["predictions/test"] = told
        if validations is not None:
            rows = [(step, epoch, "validation", *rest, 100) for step, epoch, *rest in validations]
            loss = cross_entropy(told["score"], told["label"]) if examples else 0.5
            final = [(*rows[-1][:3], validation, *rows[-1][4:]), (*rows[-1][:2], "test", test, loss, 0.1, examples or 100)]  # as when a training ends
            file["evaluation"] = evaluation(rows + final, metric)
    return path


COLUMNS = ("request_id stage role state file task method seed ranks tuned validation test metric train_s tokens_per_s experiment_id run_id source_hash "
           "attempts reason").split()


def index_text(lines, columns=COLUMNS, remarks=()):
    """lines: dictionaries; what one does not say is empty."""
    rows = [columns, *([str(line.get(name, "")) for name in columns] for line in lines)]
    return "".join(line + "\n" for line in ("# peftscale sweep index 1", *remarks, *map("\t".join, rows)))


def write_index(folder, lines, name="index.tsv", remarks=()):
    (folder / name).write_text(index_text(lines, remarks=remarks), encoding="utf-8")


def read_index(path):
    first, *rest = path.read_text(encoding="utf-8").splitlines()
    assert first == "# peftscale sweep index 1", first
    header, *rows = (line for line in rest if not line.startswith("#"))
    return [dict(zip(header.split("\t"), row.split("\t"))) for row in rows]


def analyse(*words):
    """What `python3 -m analysis WORDS` prints, and its exit status. What it does not catch reaches the test."""
    from analysis.__main__ import main

    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            status = main(list(map(str, words)))
        except SystemExit as end:
            status = end.code
    return types.SimpleNamespace(status=status or 0, out=out.getvalue(), err=err.getvalue())
