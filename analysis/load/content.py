"""All that the analysis takes out of one finished run, as it lies in the file: attributes and tables, each of the type that src/store/SCHEMA.md gives it.

Values are read through h5py's lower layer, in the file's own types: of 10,000 files the upper one would spend most of the time on building types.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5l, h5o, h5s, h5t

from .hdf5 import BROKEN, KIND, NO_RUN, NOT_FINISHED, SCHEMA_VERSION, Unusable, check_size

# Columns that are read: whole numbers (i), real ones (f), texts (S). Those of older files lack some; what NEEDED names every file has.
TABLES: Mapping[str, Mapping[str, str]] = {
    "attempts": {"attempt": "i", "ranks": "i", "threads": "i", "nodes": "i"},
    "segments": {"name": "S", "counts_as": "S", "rows": "i", "cols": "i"},
    "series/steps": {"attempt": "i", "step": "i", "epoch": "i", "loss": "f", "grad_norm": "f", "tokens": "i", "examples": "i", "step_s": "f", "forward_s": "f",
                     "backward_s": "f", "expand_s": "f", "gather_s": "f", "adapter_s": "f", "communication_s": "f", "optimizer_s": "f", "payload_bytes": "i",
                     "sent_floats": "i", "own_examples": "i", "wire_bytes": "i", "wait_s": "f"},
    "series/ranks": {"attempt": "i", "peak_bytes": "i"},
    "evaluation": {"attempt": "i", "step": "i", "epoch": "i", "split": "S", "loss": "f", "count": "i", "metric": "f", "seconds": "f", "accuracy": "f",
                   "f1": "f", "matthews": "f", "pearson": "f", "spearman": "f"},
    "predictions/validation": {"example": "i", "label": "f", "prediction": "f", "score": "f"},
    "predictions/test": {"example": "i", "label": "f", "prediction": "f", "score": "f"},
}
NEEDED = {"attempts": ("attempt", "ranks", "threads"), "series/steps": ("attempt", "step", "step_s", "communication_s", "tokens"),
          "evaluation": ("attempt", "step", "epoch", "split", "loss", "metric"), "series/ranks": ("attempt",),
          "predictions/validation": ("example", "label", "prediction", "score"), "predictions/test": ("example", "label", "prediction", "score"),
          "segments": ("name", "counts_as", "rows", "cols")}
VECTORS = ("score",)  # several values per row
MOST_TEXT = 1 << 20  # bytes of a text
SHOWN = 200  # of a text that is to be one line
KINDS = {"i": "whole numbers", "f": "real numbers", "S": "texts"}


def one_line(text: str, most: int = SHOWN) -> str:
    """Whatever a file holds goes to terminals and into tables."""
    text = text[:most]
    return text if text.isprintable() else "".join(letter if letter.isprintable() else "?" for letter in text)


class Attributes:
    """Of one group. What is there and of another type than it should be is a reason, not a value."""

    def __init__(self, group: h5g.GroupID | None, place: str):
        self.group, self.place = group, place

    def broken(self, name: str, what: str) -> Unusable:
        return Unusable(f"{BROKEN}: {name} of {self.place} {what}")

    def raw(self, name: str) -> np.ndarray | None:
        """One value as it lies there; None: it is absent."""
        if self.group is None or not h5a.exists(self.group, name.encode()):
            return None
        found = h5a.open(self.group, name.encode())
        kind = found.get_type()
        if found.get_space().get_simple_extent_npoints() != 1:
            raise self.broken(name, "is not one value")
        if kind.get_class() not in (h5t.STRING, h5t.INTEGER, h5t.FLOAT) or kind.get_size() > MOST_TEXT:
            raise self.broken(name, "is neither text nor number")
        if isinstance(kind, h5t.TypeStringID):
            if kind.is_variable_str():  # as other tools that edit a file write them
                value = h5py.AttributeManager(h5py.Group(self.group))[name]
                return np.array(value.encode() if isinstance(value, str) else value, "S")
            value = np.zeros((), f"S{kind.get_size()}")
            found.read(value.reshape(found.shape), mtype=kind)
            return value
        value = np.zeros(found.shape, kind.dtype)
        found.read(value)
        return value.reshape(())

    def text(self, name: str, default: str | None = None) -> str:
        """default None: it must be there, and say something."""
        value = self.raw(name)
        if value is None:
            if default is None:
                raise Unusable(f"{BROKEN}: lacks {name} of {self.place}")
            return default
        if value.dtype.kind != "S":
            raise self.broken(name, "is not a text")
        text = one_line(value[()].decode("utf-8", "replace"))
        if default is None and not text:
            raise self.broken(name, "is empty")
        return text

    def number(self, name: str) -> np.ndarray | None:
        value = self.raw(name)
        if value is not None and value.dtype.kind not in "iuf":
            raise self.broken(name, "is not a number")
        return value

    def whole(self, name: str) -> int | None:
        """None: it is absent. Counts and sizes, so never below 0."""
        value = self.number(name)
        if value is None:
            return None
        number = float(value) if value.dtype.kind == "f" else int(value)
        if not (math.isfinite(number) and number == int(number) and 0 <= number < 1 << 63):
            raise self.broken(name, f"is {number!r}, which counts nothing")
        return int(number)

    def needed(self, name: str) -> int:
        if (value := self.whole(name)) is None:
            raise Unusable(f"{BROKEN}: lacks {name} of {self.place}")
        return value

    def real(self, name: str, default: float | None = None) -> float:
        """default None: it must be there."""
        value = self.number(name)
        if value is not None:
            return float(value)
        if default is None:
            raise Unusable(f"{BROKEN}: lacks {name} of {self.place}")
        return default


# ---- groups, texts, tables ----

def exists(run: h5g.GroupID, place: str) -> bool:
    """HDF5 asks for each part of a path. Raises Unusable where a part lies elsewhere, maybe in another file."""
    parts = place.split("/")
    for count in range(1, len(parts) + 1):
        name = "/".join(parts[:count]).encode()
        if not run.links.exists(name):
            return False
        if run.links.get_info(name).type != h5l.TYPE_HARD:
            raise Unusable(f"{BROKEN}: /{name.decode()} is a link to elsewhere, as no run file has")
    return True


def open_group(run: h5g.GroupID, name: str) -> h5g.GroupID | None:
    if not exists(run, name):
        return None
    found = h5o.open(run, name.encode())
    if not isinstance(found, h5g.GroupID):
        raise Unusable(f"{BROKEN}: /{name} is not a group")
    return found


def open_data(run: h5g.GroupID, place: str) -> h5d.DatasetID:
    if not exists(run, place):
        raise Unusable(f"{BROKEN}: lacks /{place}")
    found = h5o.open(run, place.encode())
    if not isinstance(found, h5d.DatasetID):
        raise Unusable(f"{BROKEN}: /{place} is not a data set")
    if found.get_create_plist().get_external_count():
        raise Unusable(f"{BROKEN}: /{place} lies in another file, as in no run file")
    return found


def read_text(run: h5g.GroupID, place: str) -> str:
    data = open_data(run, place)
    kind = data.get_type()
    if not isinstance(kind, h5t.TypeStringID) or data.get_space().get_simple_extent_npoints() != 1 or kind.get_size() > MOST_TEXT:
        raise Unusable(f"{BROKEN}: /{place} is not a text")
    check_size(data, f"/{place}")
    if kind.is_variable_str():
        value = h5py.Dataset(data)[()]
        return (value if isinstance(value, bytes) else bytes(value[0])).decode("utf-8", "surrogateescape")
    value = np.zeros((), f"S{kind.get_size()}")
    data.read(h5s.ALL, h5s.ALL, value.reshape(data.shape), mtype=kind)
    return value[()].decode("utf-8", "surrogateescape")


def check_columns(kind: np.dtype, place: str) -> None:
    columns = TABLES[place]
    for name in NEEDED[place]:
        if name not in kind.names:
            raise Unusable(f"{BROKEN}: /{place} lacks the column {name}")
    for name in kind.names:
        wanted, found = columns.get(name), kind[name]
        fits = wanted is None or (found.base.kind == wanted and (name in VECTORS or not found.shape))
        if not fits:
            raise Unusable(f"{BROKEN}: {one_line(name)} of /{place} are not {KINDS[wanted]}")


LAYOUTS: dict[tuple[str, bytes], np.dtype] = {}  # by place and the type's encoded form: nearly all files have the same few


def layout_of(kind: h5t.TypeID, place: str) -> np.dtype:
    """How its rows lie in memory, byte by byte as in the file. Raises Unusable where they are not what they should be."""
    key = place, kind.encode()
    if key not in LAYOUTS:
        if not isinstance(kind, h5t.TypeCompoundID):
            raise Unusable(f"{BROKEN}: /{place} is not a table")
        layout = kind.dtype
        if layout.hasobject or layout.itemsize != kind.get_size() or not h5t.py_create(layout).equal(kind):
            raise Unusable(f"{BROKEN}: /{place} has columns of types that no run file has")
        check_columns(layout, place)
        LAYOUTS[key] = layout
    return LAYOUTS[key]


def read_table(run: h5g.GroupID, place: str, optional: bool = True) -> np.ndarray | None:
    """None: there is none."""
    if optional and not exists(run, place):
        return None
    data = open_data(run, place)
    if data.rank != 1:
        raise Unusable(f"{BROKEN}: /{place} is not a table")
    check_size(data, f"/{place}")
    kind = data.get_type()
    rows = np.zeros(data.shape, layout_of(kind, place))
    if len(rows):
        data.read(h5s.ALL, h5s.ALL, rows, mtype=kind)
    return rows


@dataclass
class Content:
    root: Attributes
    provenance: Attributes
    accounting: Attributes
    result: Attributes
    config: str
    canonical: str
    attempts: np.ndarray
    steps: np.ndarray
    # None: there is none
    evaluation: np.ndarray | None
    ranks: np.ndarray | None
    segments: np.ndarray | None
    predictions: dict[str, np.ndarray | None]  # by split


def check_kind(root: Attributes) -> None:
    """Raises Unusable unless it is a run of a version that is known."""
    kind = root.text("kind", "")
    if kind != KIND:
        raise Unusable(f"{NO_RUN} but a {kind.removeprefix('peftscale ')}" if kind.startswith("peftscale ") else NO_RUN)
    if (version := root.needed("schema_version")) > SCHEMA_VERSION:
        raise Unusable(f"written by a newer version (schema {version}, known: {SCHEMA_VERSION})")


def check_finished(root: Attributes) -> None:
    if (status := root.text("status")) != "complete":
        raise Unusable(f"{NOT_FINISHED} ({status})")


def check_run(run: h5py.Group) -> Attributes:
    """Its own attributes. Raises Unusable unless it is a finished run of a version that is known."""
    root = Attributes(h5o.open(run.id, b"."), "/")
    check_kind(root)
    check_finished(root)
    return root


def read_content(run: h5py.Group) -> Content:
    """Raises Unusable, and whatever h5py raises of a damaged file."""
    group = h5o.open(run.id, b".")
    root = check_run(run)
    parts = {name: Attributes(open_group(group, name), f"/{name}") for name in ("provenance", "accounting", "result")}
    return Content(root, **parts, config=read_text(group, "config"), canonical=read_text(group, "config_canonical"),
                   attempts=read_table(group, "attempts", optional=False), steps=read_table(group, "series/steps", optional=False),
                   evaluation=read_table(group, "evaluation"), ranks=read_table(group, "series/ranks"), segments=read_table(group, "segments"),
                   predictions={split: read_table(group, f"predictions/{split}") for split in ("validation", "test")})
