#!/usr/bin/python3
"""Reference without a pretrained model: multinomial naive Bayes on the word tokens of a prepared data set.

usage: naive_bayes.py [wordnet-verbs-words.h5]     (default: that file below $PEFTSCALE_DATA, or build/data)

Counts of words per class with additive smoothing: once Laplace's (1), once the one that is best on validation.
"""

import os
import sys
from pathlib import Path

import h5py
import numpy as np

SMOOTHING = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0)


def count_words(split: h5py.Group, first_word: int, vocabulary: int) -> tuple[np.ndarray, np.ndarray]:
    """[examples][vocabulary] counts, and the labels. Special tokens, unknown words among them, are no words."""
    tokens, offsets = split["tokens"][()], split["offsets"][()]
    example = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    words = tokens >= first_word
    counts = np.zeros((len(offsets) - 1, vocabulary), np.float32)
    np.add.at(counts, (example[words], tokens[words]), 1)
    return counts, split["label"][()].astype(np.int64)


def fit(counts: np.ndarray, labels: np.ndarray, classes: int, smoothing: float) -> tuple[np.ndarray, np.ndarray]:
    """log p(word | class) and log p(class)."""
    per_class = np.stack([counts[labels == c].sum(axis=0, dtype=np.float64) for c in range(classes)]) + smoothing
    prior = np.bincount(labels, minlength=classes) + smoothing
    return np.log(per_class / per_class.sum(axis=1, keepdims=True)), np.log(prior / prior.sum())


def accuracy(model: tuple[np.ndarray, np.ndarray], counts: np.ndarray, labels: np.ndarray) -> float:
    words, prior = model
    return float(np.mean((counts @ words.T + prior).argmax(axis=1) == labels))


def main() -> int:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(os.environ.get("PEFTSCALE_DATA") or "build/data") / "wordnet-verbs-words.h5"
    try:
        with h5py.File(path, "r") as file:
            sizes = int(file.attrs["first_word"]), int(file.attrs["vocabulary_size"])
            classes = int(file.attrs["class_count"])
            data = {split: count_words(file[split], *sizes) for split in ("train", "validation", "test")}
    except (OSError, KeyError):
        print(f"naive_bayes: {path}: not a prepared data set" if path.exists() else f"naive_bayes: {path}: no such file", file=sys.stderr)
        return 1
    models = {smoothing: fit(*data["train"], classes, smoothing) for smoothing in SMOOTHING}
    best = max(SMOOTHING, key=lambda smoothing: accuracy(models[smoothing], *data["validation"]))
    majority = np.bincount(data["train"][1]).argmax()
    print("{:46} {:>10} {:>6}".format(f"{path.name}, accuracy in %", "validation", "test"))
    for smoothing, why in ((1.0, "(Laplace)"), (best, "(best on validation)")):
        scores = (100 * accuracy(models[smoothing], *data[split]) for split in ("validation", "test"))
        print("naive Bayes, smoothing {:<4} {:20} {:9.2f} {:6.2f}".format(smoothing, why, *scores))
    scores = (100 * np.mean(data[split][1] == majority) for split in ("validation", "test"))
    print("{:46} {:10.2f} {:6.2f}".format("most frequent class", *scores))
    return 0


if __name__ == "__main__":
    sys.exit(main())
