#!/usr/bin/python3
"""Tiny data sets and tiny random BERT encoders, so that tests of the whole program need no downloaded files.

As a module: write_dataset, write_model, read_safetensors, write_safetensors. As a program: make_tiny.py DIRECTORY writes DIRECTORY/data.h5 and DIRECTORY/model.
"""

import json
import os
import struct
import sys

import h5py
import numpy as np

SPLITS = ("train", "validation", "test")
FIRST_WORD, MASK = 5, 4


def _text(value):
    return np.bytes_(value.encode())


def draw_lengths(random, count, shortest, longest):
    """Lengths with both ends among them (of more than one row)."""
    lengths = random.integers(shortest, longest + 1, count)
    lengths[: min(2, count)] = (longest, shortest)[: min(2, count)]
    return lengths


def draw_rows(random, objective, classes, count, vocabulary, lengths):
    """Tokens and labels that can be learnt from them: each class has its own third of likely words; a score is the share of the upper half of all words."""
    words = vocabulary - FIRST_WORD
    labels = random.integers(0, classes, count).astype(np.float32)
    rows = []
    for i, length in enumerate(lengths):
        tokens = FIRST_WORD + random.integers(0, words, length)
        if objective == "classify":
            likely = random.random(length) < 0.7
            share = words // classes
            tokens[likely] = FIRST_WORD + int(labels[i]) * share + random.integers(0, share, length)[likely]
        elif objective == "regress":
            labels[i] = 4 * np.mean(tokens >= FIRST_WORD + words // 2) - 2
        else:  # each word decides the next one, so that a hidden one can be guessed
            tokens = FIRST_WORD + (random.integers(0, words) + np.arange(length)) % words
            labels[i] = 0
        rows.append(tokens.astype(np.int32))
    return rows, labels


def write_dataset(path, objective="classify", metric=None, classes=3, counts=(64, 24, 24), vocabulary=65, shortest=1, longest=128, seed=0, change=None):
    """A data set file. change(file): a last edit of the open h5py file, for broken ones."""
    random = np.random.default_rng(seed)
    classes = classes if objective == "classify" else 1
    with h5py.File(path, "w") as file:
        attributes = {"kind": "peftscale dataset", "name": "tiny", "objective": objective, "tokenizer": "tiny", "tokenizer_hash": "0" * 64,
                      "metric": metric or {"classify": "accuracy", "regress": "pearson", "mlm": "loss"}[objective]}
        for name, value in attributes.items():
            file.attrs[name] = _text(value)
        for name, value in {"schema_version": 1, "class_count": classes, "vocabulary_size": vocabulary, "first_word": FIRST_WORD, "mask_token": MASK}.items():
            file.attrs[name] = np.int64(value)
        file["class_names"] = np.array([f"class {i}".encode() for i in range(classes)])
        first_id = 0
        for split, count in zip(SPLITS, counts):
            lengths = draw_lengths(random, count, shortest, longest)
            rows, labels = draw_rows(random, objective, classes, count, vocabulary, lengths)
            group = file.create_group(split)
            group["tokens"] = np.concatenate([*rows, np.zeros(0, np.int32)])
            group["offsets"] = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
            group["segment_start"] = np.array([(length + 1) // 2 if i % 3 == 0 else length for i, length in enumerate(lengths)], np.int32)
            group["target_start"] = lengths.astype(np.int32)
            group["label"] = labels
            group["example_id"] = np.arange(first_id, first_id + count, dtype=np.int64)
            first_id += count
        if change:
            change(file)
    return path


def write_safetensors(path, tensors):
    """{name: float32 array}. A header by hand (bytes) may be put in its place afterwards: see replace_header."""
    header, at = {}, 0
    for name, value in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [at, at + value.nbytes]}
        at += value.nbytes
    write_with_header(path, json.dumps(header).encode(), b"".join(np.ascontiguousarray(v, np.float32).tobytes() for v in tensors.values()))


def write_with_header(path, header, data):
    header += b" " * (-len(header) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header + data)


def read_safetensors(path):
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
        data = file.read()
    return {name: np.frombuffer(data[e["data_offsets"][0]:e["data_offsets"][1]], np.float32).reshape(e["shape"])
            for name, e in header.items() if name != "__metadata__"}


def draw_tensors(width, layers, ffn, vocabulary, positions, seed):
    """Weights at the scale of a trained encoder: no part of it is negligible."""
    random = np.random.default_rng(seed)

    def normal(*shape, deviation):
        return (random.standard_normal(shape) * deviation).astype(np.float32)

    def norm(name):
        return {name + ".weight": 1 + normal(width, deviation=0.1), name + ".bias": normal(width, deviation=0.1)}

    def linear(name, rows, columns):
        return {name + ".weight": normal(rows, columns, deviation=columns ** -0.5), name + ".bias": normal(rows, deviation=0.1)}

    tensors = {f"embeddings.{table}_embeddings.weight": normal(rows, width, deviation=0.5)
               for table, rows in (("word", vocabulary), ("position", positions), ("token_type", 2))}
    tensors |= norm("embeddings.LayerNorm")
    for layer in range(layers):
        at = f"encoder.layer.{layer}."
        for part in ("query", "key", "value"):
            tensors |= linear(f"{at}attention.self.{part}", width, width)
        tensors |= linear(at + "attention.output.dense", width, width) | norm(at + "attention.output.LayerNorm")
        tensors |= linear(at + "intermediate.dense", ffn, width) | linear(at + "output.dense", width, ffn) | norm(at + "output.LayerNorm")
    return tensors


def write_model(directory, width=32, layers=2, heads=4, ffn=64, vocabulary=65, positions=128, seed=0, change=None):
    """A Hugging Face directory. change(tensors): an edit of the dictionary of tensors before it is written."""
    os.makedirs(directory, exist_ok=True)
    tensors = draw_tensors(width, layers, ffn, vocabulary, positions, seed)
    if change:
        change(tensors)
    write_safetensors(os.path.join(directory, "model.safetensors"), tensors)
    config = {"model_type": "bert", "hidden_act": "gelu", "hidden_size": width, "intermediate_size": ffn, "layer_norm_eps": 1e-12, "max_position_embeddings": positions,
              "num_attention_heads": heads, "num_hidden_layers": layers, "type_vocab_size": 2, "vocab_size": vocabulary}
    with open(os.path.join(directory, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file)
    return directory


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    os.makedirs(sys.argv[1], exist_ok=True)
    write_dataset(os.path.join(sys.argv[1], "data.h5"))
    write_model(os.path.join(sys.argv[1], "model"))
