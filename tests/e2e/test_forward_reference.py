# needs: assets
"""The encoder's hidden states on real weights and real sentences, against BERT's formulas written down once more in float64 NumPy.

Nothing is shared with the program under test but the weights' file: this reads safetensors, splits words and computes by itself.
Usage: test_forward_reference.py, with PEFTSCALE_ASSETS and PEFTSCALE_BUILD in the environment. Exit code: 0 right, 77 skipped, else wrong.
"""

import json
import math
import os
import re
import struct
import subprocess
import sys
import tempfile
import unicodedata
from pathlib import Path

TOLERANCE = 1e-4  # of a sentence's largest number

SENTENCES = [
    "Yes.",
    "The cat sat on the mat.",
    "Parallel programs fail in ways that serial programs cannot.",
    "Él tomó café naïvely, didn't he?",
    "In 1969, two people walked on the Moon for the first time.",
    "a",
    "She sells sea shells by the sea shore; the shells that she sells are surely seashells, and of that there is little doubt.",
    "Hyperparameter-efficient finetuning: quantisation, sparsification & distillation (2021).",
    "What do you call a ring that is sent around until every rank has seen every number?",
    "It was a bright cold day in April, and the clocks were striking thirteen, while far below in the courtyard somebody was sweeping leaves into a "
    "heap that the wind at once took apart again, as it had done every day that week.",
]


def skip(reason):
    print(reason)
    sys.exit(77)


try:
    import numpy as np
    from scipy.special import erf
except ImportError as missing:
    skip(f"needs {missing.name}: Debian's python3-numpy and python3-scipy")


def read_safetensors(path):
    """All F16 and F32 tensors of a file, in float64."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8:8 + length])
    types = {"F16": "<f2", "F32": "<f4"}
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] not in types:
            continue
        first, last = (8 + length + offset for offset in entry["data_offsets"])
        tensors[name] = np.frombuffer(raw[first:last], dtype=types[entry["dtype"]]).astype(np.float64).reshape(entry["shape"])
    return tensors


def word_pieces(text, vocabulary):
    """Lower case, no accents, punctuation apart, then the longest known piece first."""
    plain = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
    ids = [vocabulary["[CLS]"]]
    for word in re.findall(r"\w+|[^\w\s]", plain):
        pieces, start = [], 0
        while start < len(word):
            for end in range(len(word), start, -1):
                piece = ("##" if start else "") + word[start:end]
                if piece in vocabulary:
                    break
            else:
                pieces = [vocabulary["[UNK]"]]
                break
            pieces.append(vocabulary[piece])
            start = end
        ids += pieces
    return ids + [vocabulary["[SEP]"]]


def norm(x, gain, shift, epsilon):
    centred = x - x.mean(axis=-1, keepdims=True)
    return gain * centred / np.sqrt((centred ** 2).mean(axis=-1, keepdims=True) + epsilon) + shift


def encode(ids, w, config):
    """Last hidden states [tokens][width] of one sentence (segment type 0)."""
    heads, epsilon = config["num_attention_heads"], config["layer_norm_eps"]

    def linear(x, name):
        return x @ w[name + ".weight"].T + w[name + ".bias"]

    def normed(x, name):
        return norm(x, w[name + ".weight"], w[name + ".bias"], epsilon)

    def split(x):
        return x.reshape(len(ids), heads, -1).transpose(1, 0, 2)

    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][:len(ids)] + w["embeddings.token_type_embeddings.weight"][0]
    x = normed(x, "embeddings.LayerNorm")
    for layer in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{layer}."
        q, k, v = (split(linear(x, at + "attention.self." + name)) for name in ("query", "key", "value"))
        scores = q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1])
        share = np.exp(scores - scores.max(axis=-1, keepdims=True))
        share /= share.sum(axis=-1, keepdims=True)
        context = (share @ v).transpose(1, 0, 2).reshape(len(ids), -1)
        middle = normed(x + linear(context, at + "attention.output.dense"), at + "attention.output.LayerNorm")
        u = linear(middle, at + "intermediate.dense")
        wide = 0.5 * u * (1 + erf(u / math.sqrt(2)))
        x = normed(middle + linear(wide, at + "output.dense"), at + "output.LayerNorm")
    return x


def main():
    assets = os.environ.get("PEFTSCALE_ASSETS")
    if not assets or not (Path(assets) / "minilm-l6").is_dir():
        skip("needs assets: PEFTSCALE_ASSETS does not name a directory with minilm-l6")
    home = Path(assets) / "minilm-l6"
    build = Path(os.environ.get("PEFTSCALE_BUILD") or Path(__file__).resolve().parents[2] / "build")
    program = build / "tests/conformance/real_weights"
    if not program.exists():
        print(f"{program} has not been built (make tests)")
        return 1

    config = json.loads((home / "config.json").read_text())
    lines = (home / "vocab.txt").read_text(encoding="utf-8").split("\n")
    vocabulary = {word: index for index, word in enumerate(lines) if word}
    files = sorted(home.glob("*.safetensors"))
    weights = {}
    for file in files:
        weights.update(read_safetensors(file))
    sentences = [word_pieces(text, vocabulary) for text in SENTENCES]
    lengths = [len(ids) for ids in sentences]

    with tempfile.TemporaryDirectory() as folder:
        ids_file, output = Path(folder) / "ids.txt", Path(folder) / "hidden.f32"
        ids_file.write_text("".join(" ".join(map(str, ids)) + "\n" for ids in sentences))
        ran = subprocess.run([str(program), "--hidden", str(ids_file), str(output)], capture_output=True, text=True, check=False)
        if ran.returncode:
            print(ran.stdout + ran.stderr)
            print(f"{program.name} ended with exit code {ran.returncode}")
            return 1
        hidden = np.fromfile(output, dtype="<f4").astype(np.float64)

    width, tokens = config["hidden_size"], sum(lengths)
    if hidden.size != 2 * tokens * width:
        print(f"{hidden.size} numbers instead of {2 * tokens * width}")
        return 1
    packed, alone = hidden.reshape(2, tokens, width)
    wrong, first = 0, 0
    for text, ids in zip(SENTENCES, sentences):
        expected = encode(ids, weights, config)
        rows = slice(first, first + len(ids))
        first += len(ids)
        errors = [np.abs(found[rows] - expected).max() / np.abs(expected).max() for found in (packed, alone)]
        good = all(error <= TOLERANCE for error in errors)  # a NaN is not good
        wrong += not good
        print(f"{'ok' if good else 'WRONG'}: {len(ids):3} tokens, packed {errors[0]:.1e}, alone {errors[1]:.1e}: {text[:50]}")
    if len(set(lengths)) < 8 or any(vocabulary["[UNK]"] in ids for ids in sentences):
        print(f"the sentences are no good test: lengths {lengths}")
        return 1
    print(f"{wrong} of {len(sentences)} sentences wrong" if wrong else "ok")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
