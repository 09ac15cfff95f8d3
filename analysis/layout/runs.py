#!/usr/bin/env python3
"""From run files to a tidy frame, paired differences and a loss curve, with h5py and pandas alone.

Nothing of this project is imported: an example to take away and change. Layout of the files: src/store/SCHEMA.md; runs.ipynb is the same as a notebook.

usage: runs.py FILE_OR_FOLDER... [--control METHOD] [--out DIR]
"""

import argparse
from pathlib import Path

import h5py
import pandas as pd

# Half a 95 % interval in standard errors (Student's t), by degrees of freedom; beyond, 2 is near enough.
T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 10: 2.228}


def text(value):
    """h5py gives texts of fixed length as bytes."""
    return value.decode("utf-8") if isinstance(value, bytes) else value


def read_table(run, place):
    """A table as a frame. Rows that were never filled are left out, and columns that hold several numbers per row."""
    rows = run[place][:]
    frame = pd.DataFrame({name: rows[name] for name in rows.dtype.names if rows[name].ndim == 1})
    for name in rows.dtype.names:
        if rows[name].dtype.kind == "S":
            frame[name] = frame[name].str.decode("utf-8")
    return frame[frame["attempt"] > 0] if "attempt" in frame else frame


def newest(frame, *key):
    """A run that was stopped or killed and went on may have rows of several attempts: of each key the last one counts."""
    return frame.sort_values([*key, "attempt"], kind="stable").drop_duplicates(list(key), keep="last", ignore_index=True)


def runs_in(path):
    """(name, group) of each finished run: a run file holds one, an archive many, a file of another kind none."""
    with h5py.File(path, "r") as file:
        kind = text(file.attrs.get("kind", b""))
        found = {"peftscale run": {path.stem: file}, "peftscale archive": file}.get(kind, {})
        for name, run in found.items():
            if isinstance(run, h5py.Group) and text(run.attrs["status"]) == "complete" and run.attrs["schema_version"] <= 1:
                yield name, run


def find_files(places):
    return [path for place in map(Path, places) for path in (sorted(place.rglob("*.h5")) if place.is_dir() else [place])]


def read_settings(run):
    """All that decides a run's numbers."""
    return dict(line.split("=", 1) for line in text(run["config_canonical"][()]).splitlines())


def read_run(name, run):
    """One tidy row."""
    settings, result, accounting = read_settings(run), run["result"].attrs, run["accounting"].attrs
    steps, ranks = newest(read_table(run, "series/steps"), "step"), read_table(run, "series/ranks")
    return {"run": name, "data": text(run["provenance"].attrs["dataset"]), "method": settings["method.name"], "seed": int(settings["seed"]),
            "metric": text(result["metric"]), "test": result["test_metric"], "validation": result["validation_metric"],
            "trainable": accounting["trainable_method"], "stored_bytes": accounting["stored_bytes"], "sent_bytes": 4 * accounting["sent_floats"],
            "step_s": steps["step_s"].median(), "tokens_per_s": result["tokens_per_s"], "train_s": result["train_s"],
            "peak_bytes": ranks["peak_bytes"].max() if "peak_bytes" in ranks else float("nan"),
            "variant": " ".join(f"{key}={value}" for key, value in sorted(settings.items()) if key != "seed")}


def to_frame(files):
    """One row per run that has a test score: trials of learning rates have none. Two methods, or one with two settings, differ in `variant`."""
    rows = [read_run(name, run) for path in files for name, run in runs_in(path)]
    return pd.DataFrame(rows).dropna(subset=["test"]).sort_values(["data", "method", "seed"], ignore_index=True) if rows else pd.DataFrame()


def paired(frame, control):
    """Differences to the control's test scores over the seeds that both have: mean, and half of its 95 % interval."""
    rows = []
    for data, runs in frame.groupby("data"):
        scores = runs.pivot_table(index="seed", columns=["method", "variant"], values="test")  # a seed that was run twice counts once
        if control not in scores or scores[control].shape[1] != 1:
            raise SystemExit(f"{data}: the control {control} must be there with one setting")
        for method, variant in scores.columns:
            difference = (scores[method, variant] - scores[control].iloc[:, 0]).dropna()
            count = len(difference)
            half = T.get(count - 1, 2.0) * difference.std() / count ** 0.5 if count > 1 else float("nan")
            if method != control:
                rows.append({"data": data, "method": method, "variant": variant, "seeds": count, "difference": difference.mean(), "half": half})
    return pd.DataFrame(rows)


def curves(files, frame, smooth=10):
    """Training loss of the frame's runs per method, data and step: mean, lowest and highest over the seeds, each a mean of the last `smooth` steps."""
    parts = []
    for path in files:
        for name, run in runs_in(path):
            for row in frame[frame["run"] == name].itertuples():
                steps = newest(read_table(run, "series/steps"), "step")
                loss = steps["loss"].rolling(smooth, min_periods=1).mean()
                parts.append(pd.DataFrame({"data": row.data, "method": row.method, "step": steps["step"], "loss": loss}))
    return pd.concat(parts).groupby(["data", "method", "step"])["loss"].agg(["mean", "min", "max"])


def main():
    parser = argparse.ArgumentParser(description="A tidy frame, paired differences and loss curves of run files.")
    parser.add_argument("places", nargs="+", metavar="FILE_OR_FOLDER")
    parser.add_argument("--control", default="lora", metavar="METHOD")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write runs.csv, differences.csv and curves.csv there")
    options = parser.parse_args()
    files = find_files(options.places)
    frame = to_frame(files)
    if frame.empty:
        raise SystemExit("no finished run with a test score")
    differences, course = paired(frame, options.control), curves(files, frame)
    ends = course.groupby(["data", "method"]).tail(1)
    print(*(table.to_string() for table in (frame.drop(columns="variant"), differences.drop(columns="variant"), ends)), sep="\n\n")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        frame.to_csv(options.out / "runs.csv", index=False)
        differences.to_csv(options.out / "differences.csv", index=False)
        course.to_csv(options.out / "curves.csv")


if __name__ == "__main__":
    main()
