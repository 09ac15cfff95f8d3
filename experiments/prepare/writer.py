"""The HDF5 file. The same examples and tokenizer give the same bytes: no times are stored. Layout: README.md beside this file."""

import json
import os
from dataclasses import dataclass

import h5py
import numpy

from . import VERSION
from .examples import SPLITS, Subject

SCHEMA_VERSION = 1
KIND = "peftscale dataset"


@dataclass
class Split:
    tokens: numpy.ndarray
    offsets: numpy.ndarray
    segment_start: numpy.ndarray
    target_start: numpy.ndarray
    label: numpy.ndarray
    example_id: numpy.ndarray
    cut: int

    def lengths(self) -> numpy.ndarray:
        return numpy.diff(self.offsets)


def fixed_text(text: str) -> numpy.ndarray:
    encoded = text.encode()
    return numpy.array(encoded, dtype=h5py.string_dtype("utf-8", max(len(encoded), 1)))


def write_array(group: h5py.Group, name: str, values: numpy.ndarray) -> None:
    group.create_dataset(name, data=values, chunks=(min(len(values), 65536),), compression="gzip", compression_opts=4, shuffle=True, fletcher32=True,
                         track_times=False)


def write_dataset(path: str, subject: Subject, splits: dict[str, Split], tokenizer, preparation: dict) -> None:
    """Writes under a temporary name beside `path` and renames: a reader sees a whole file or none."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    partial = f"{path}.tmp-{os.getpid()}"
    try:
        with h5py.File(partial, "w") as file:
            attributes = {
                "kind": fixed_text(KIND), "schema_version": numpy.int32(SCHEMA_VERSION),
                "name": fixed_text(subject.name), "objective": fixed_text(subject.objective), "metric": fixed_text(subject.metric),
                "class_count": numpy.int32(len(subject.class_names)),
                "tokenizer": fixed_text(tokenizer.name), "tokenizer_hash": fixed_text(tokenizer.hash),
                "vocabulary_size": numpy.int32(tokenizer.vocabulary_size), "first_word": numpy.int32(tokenizer.first_word),
                "mask_token": numpy.int32(tokenizer.mask_token),
                "source": fixed_text(subject.source), "licence": fixed_text(subject.licence),
                "preparation": fixed_text(json.dumps(preparation, sort_keys=True)), "prepared_by": fixed_text(f"experiments.prepare {VERSION}"),
            }
            for name, value in attributes.items():
                file.attrs.create(name, value)
            names = [name.encode() for name in subject.class_names]
            width = max(1, *map(len, names))
            file.create_dataset("class_names", data=numpy.array(names, dtype=h5py.string_dtype("utf-8", width)), track_times=False)
            for split in SPLITS:
                group = file.create_group(split)
                for name in ("tokens", "offsets", "segment_start", "target_start", "label", "example_id"):
                    write_array(group, name, getattr(splits[split], name))
            file.flush()
        with open(partial, "rb") as written:
            os.fsync(written.fileno())
        os.replace(partial, path)
    except BaseException:
        if os.path.exists(partial):
            os.unlink(partial)
        raise


def write_bytes(path: str, content: bytes) -> None:
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    partial = f"{path}.tmp-{os.getpid()}"
    try:
        with open(partial, "wb") as file:
            file.write(content)
        os.replace(partial, path)
    except BaseException:
        if os.path.exists(partial):
            os.unlink(partial)
        raise
