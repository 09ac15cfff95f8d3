"""Made-up run files and indexes of studies, and the analysis called on them in this process, which spares its start."""

import contextlib
import io
import sys
import types
from pathlib import Path

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

STEP = np.dtype([("attempt", "<i4"), ("step", "<i8"), ("step_s", "<f8"), ("communication_s", "<f8"), ("tokens", "<i8")])
ATTEMPT = np.dtype([("attempt", "<i4"), ("started", "S24"), ("ranks", "<i4"), ("threads", "<i4"), ("first_step", "<i8")])


def series(times, share=0.1, tokens=300, attempt=1):
    return np.array([(attempt, number, time, share * time, tokens) for number, time in enumerate(times)], STEP)


def write_run(path, seed=1, test=0.5, validation=0.4, method="lora", options=None, settings=None, model="minilm-l6", task="wordnet-verbs", metric="accuracy",
              ranks=2, threads=1, trainable=1000, head=100, stored=4000, sent=900, message=4016, steps=None, status="complete", version=1, run_id=None, regenerated=None, train_s=None,
              weights="w" * 32, data="d" * 32, kind="peftscale run", contaminated=None, request_id=None, created="2024-01-01T00:00:00Z",
              **more):
    """A finished run with what the analysis reads, laid out as src/store/SCHEMA.md says."""
    canonical = {"seed": seed, "method.name": method, "train.lr": "0.001", "train.batch": 32}
    canonical |= {f"method.{key}": value for key, value in (options or {}).items()} | (settings or {})
    text = "".join(f"{key}={value}\n" for key, value in sorted(canonical.items()))
    config = f"seed: {seed}\nmodel:\n  name: {model}\n  path: \"/a/b: c\"\ntask:\n  name: {task}\nmethod:\n  name: {method}\noutput:\n  name: auto\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        identity = run_id or f"{abs(hash((path.name, text, ranks))):032x}"
        for name, value in {"kind": kind, "status": status, "run_id": identity, "experiment_id": "e" * 32, "created": created,
                            "request_id": request_id}.items():
            if value is not None:
                file.attrs[name] = np.bytes_(value)
        file.attrs["schema_version"] = version
        file["config"] = np.bytes_(config)
        file["config_canonical"] = np.bytes_(text)
        provenance = file.create_group("provenance").attrs
        for name, value in {"dataset": "wordnet-verb", "weights_hash": weights, "dataset_hash": data, **more}.items():
            provenance[name] = np.bytes_(value)
        accounting = file.create_group("accounting").attrs
        for name, value in {"trainable": trainable + head, "trainable_head": head, "head_floats": head, "stored_bytes": stored, "sent_floats": sent,
                            "sent_bytes_per_step": message}.items():
            accounting[name] = value
        if regenerated is not None:
            accounting["regenerated_bytes"] = regenerated
        result = file.create_group("result").attrs
        result["metric"] = np.bytes_(metric)
        result["test_metric"] = test
        result["validation_metric"] = validation
        if contaminated is not None:
            result["contaminated"] = contaminated
        if train_s is not None:
            result["train_s"] = train_s
        file["attempts"] = np.array([(1, b"2024-01-01T00:00:00Z", ranks, threads, 0)], ATTEMPT)
        file.create_group("series")["steps"] = series([0.1] * 20) if steps is None else steps
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
