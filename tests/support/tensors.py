"""Safetensors files of any type, read and written by hand for tests: {name: numpy array}, {key: text} of __metadata__."""

import json

import numpy as np

TYPES = {"F32": "<f4", "F16": "<f2", "U8": "u1", "U16": "<u2", "I16": "<i2", "I32": "<i4", "I64": "<i8"}


def read(path):
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header, data = json.loads(file.read(size)), file.read()
    notes = header.pop("__metadata__", {})
    return {name: np.frombuffer(data[e["data_offsets"][0]:e["data_offsets"][1]], TYPES[e["dtype"]]).reshape(e["shape"]).copy() for name, e in header.items()}, notes


def write(path, tensors, notes):
    words = {np.dtype(kind): word for word, kind in TYPES.items()}
    header, at = {"__metadata__": notes}, 0
    for name, value in tensors.items():
        header[name] = {"dtype": words[value.dtype], "shape": list(value.shape), "data_offsets": [at, at + value.nbytes]}
        at += value.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + b"".join(np.ascontiguousarray(v).tobytes() for v in tensors.values()))
    return path


def edit(path, target, change):
    """A copy of a file; change(tensors, notes) may do anything to both."""
    tensors, notes = read(path)
    change(tensors, notes)
    return write(target, tensors, notes)
