"""A user's own data: TSV, CSV or JSONL with a text column, a label column and, if wished, a second text, an id and a split column."""

import csv
import io
import json
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from .examples import METRICS, SPLITS, Example, Subject
from .inputs import InputError, TextFile, read_tsv

FORMATS = {".tsv": "tsv", ".txt": "tsv", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
SPLIT_WORDS = {"train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
               "test": "test"}


@dataclass
class Columns:
    text: str
    pair: str | None
    label: str | None
    own_id: str | None
    split: str | None


def read_csv(file: TextFile) -> Iterator[tuple[int, list[str]]]:
    content = "\n".join(text for _, text in file.lines())
    reader = csv.reader(io.StringIO(content, newline=""), strict=True)
    width = None
    try:
        for fields in reader:
            if not fields:
                continue
            width = width or len(fields)
            if len(fields) != width:
                raise file.fail(reader.line_num, f"{len(fields)} columns where the first row has {width}")
            yield reader.line_num, fields
    except csv.Error as e:
        raise file.fail(reader.line_num, f"not CSV: {e}") from None


def read_jsonl(file: TextFile) -> Iterator[tuple[int, dict]]:
    for number, text in file.rows():
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as e:
            raise file.fail(number, f"not JSON: {e}") from None
        if not isinstance(record, dict):
            raise file.fail(number, "not a JSON object")
        yield number, record


def find_column(file: TextFile, header: list[str] | None, width: int, wanted: str) -> int:
    """A name of the header, or a number from 1."""
    if header and wanted in header:
        return header.index(wanted)
    if re.fullmatch(r"[0-9]{1,9}", wanted) and 1 <= int(wanted) <= width:
        return int(wanted) - 1
    there = f"the columns are {', '.join(header)}" if header else f"there are {width} columns and no header"
    raise InputError(f"{file.path}: there is no column {wanted!r}; {there}")


def read_fields(file: TextFile, kind: str, has_header: bool, names: list[str | None]) -> Iterator[tuple[int, list[str | None]]]:
    """Line number and the values of the named columns (None for a column that was not asked for), as text."""
    if kind == "jsonl":
        for number, record in read_jsonl(file):
            values: list[str | None] = []
            for name in names:
                value = None if name is None else record.get(name)
                if name is not None and (value is None or isinstance(value, (dict, list))):
                    raise file.fail(number, f"the object has no text or number under {name!r}; its keys are {', '.join(record)}")
                value = value if value is None or isinstance(value, str) else json.dumps(value)
                if value and any("\ud800" <= letter <= "\udfff" for letter in value):
                    raise file.fail(number, f"{name!r} holds half a surrogate pair, which is no character")
                values.append(value)
            yield number, values
        return
    places: list[int | None] | None = None
    for number, fields in read_csv(file) if kind == "csv" else read_tsv(file, has_header):
        if places is None:
            places = [None if name is None else find_column(file, fields if has_header else None, len(fields), name) for name in names]
            if has_header:
                continue
        yield number, [None if place is None else fields[place] for place in places]


def read_split(file: TextFile, kind: str, has_header: bool, columns: Columns) -> Iterator[tuple[str | None, int, Example, str]]:
    """(split named in the row, line, example without its label, label as written)"""
    count = 0
    for number, fields in read_fields(file, kind, has_header, [columns.text, columns.pair, columns.label, columns.own_id, columns.split]):
        text, pair, label, own_id, split = (None if field is None else field.strip() for field in fields)
        if not text or pair == "":
            raise file.fail(number, f"the {'text' if not text else 'second text'} is empty")
        if label == "":
            raise file.fail(number, "the label is empty")
        if split is not None:
            if split.lower() not in SPLIT_WORDS:
                raise file.fail(number, f"the split {split!r} is none of {', '.join(SPLIT_WORDS)}")
            split = SPLIT_WORDS[split.lower()]
        count += 1
        yield split, number, Example(text, pair, 0.0, own_id, f"{file.path}:{number}"), label or ""
    if not count:
        raise InputError(f"{file.path}: the file has no rows")


def class_order(written: set[str]) -> list[str]:
    """By number if all labels are whole numbers, otherwise alphabetically."""
    if all(re.fullmatch(r"-?[0-9]{1,18}", label) for label in written):
        return sorted(written, key=lambda label: (int(label), label))
    return sorted(written)


def to_score(example: Example, written: str) -> float:
    try:
        score = float(written)
    except ValueError:
        score = math.nan
    if not math.isfinite(score) or abs(score) > 3e38:
        raise InputError(f"{example.where}: the label {written!r} is not a finite number (--objective regress)")
    return score


def load_table(name: str, paths: dict[str, str], columns: Columns, objective: str, metric: str | None, classes: list[str] | None,
               form: str | None, has_header: bool, licence: str) -> Subject:
    """`paths`: file per split; train is required. A split column takes the place of the other two files."""
    if (columns.label is None) != (objective == "mlm"):
        raise InputError("--label COLUMN is needed" if columns.label is None else "--objective mlm takes no --label: the text itself is predicted")
    if columns.split and len(paths) > 1:
        raise InputError("--split-column divides one file: give --train only")
    metric = metric or METRICS[objective][0]
    if metric not in METRICS[objective]:
        raise InputError(f"--metric {metric} does not fit --objective {objective}; choose from {', '.join(METRICS[objective])}")
    subject = Subject(name, objective, metric, [], {}, "", licence)
    labels: dict[str, list[str]] = {}
    for given, path in paths.items():
        file = TextFile(path)
        kind = form or FORMATS.get(os.path.splitext(path.removesuffix(".gz"))[1].lower())
        if not kind:
            raise InputError(f"{path}: the format is not known from the name; give --format tsv, csv or jsonl")
        subject.inputs[file.name()] = file.sha256()
        for split, _, example, label in read_split(file, kind, has_header, columns):
            subject.splits.setdefault(split or given, []).append(example)
            labels.setdefault(split or given, []).append(label)
    if not subject.splits.get("train"):
        raise InputError(f"{paths['train']}: no row belongs to the split train")
    subject.source = f"table: {', '.join(subject.inputs)}"
    if objective == "classify":
        subject.class_names = classes or class_order(set(labels["train"]))
        if len(subject.class_names) < 2:
            raise InputError(f"{paths['train']}: all training labels are {subject.class_names[0]!r}; classifying needs two classes")
    else:
        subject.class_names = ["score" if objective == "regress" else "text"]
    index = {label: number for number, label in enumerate(subject.class_names)}
    for split in SPLITS:
        for example, label in zip(subject.splits.get(split, []), labels.get(split, []), strict=True):
            if objective == "classify":
                if label not in index:
                    known = "--classes" if classes else "the training split's"
                    raise InputError(f"{example.where}: the label {label!r} is not among {known} classes ({', '.join(subject.class_names)})")
                example.label = float(index[label])
            elif objective == "regress":
                example.label = to_score(example, label)
    return subject
