"""A task's scores from its predictions, as the trainer computes them (src/train/metrics.c): a file's scores are compared with these."""

import math

import numpy as np

from ..common.units import METRICS, PERCENT

RANGES = {name: (0.0 if name in PERCENT else -1.0, 1.0) for name in METRICS}


def f1_of(table: np.ndarray) -> np.ndarray:
    """Per class; 0 where it neither occurs nor is told."""
    hits, sizes = np.diag(table), table.sum(0) + table.sum(1)
    return np.divide(2.0 * hits, sizes, out=np.zeros(len(table)), where=sizes > 0)


def classify(label: np.ndarray, prediction: np.ndarray, classes: int) -> dict[str, float]:
    """label, prediction: class numbers below `classes`. Scores that do not apply are left out."""
    if not len(label):
        return {}
    table = np.bincount(label.astype(np.int64) * classes + prediction.astype(np.int64), minlength=classes * classes).reshape(classes, classes)
    labelled, predicted = table.sum(1).astype(float), table.sum(0).astype(float)
    total, hits, f1 = float(len(label)), float(np.trace(table)), f1_of(table)
    spread = (total ** 2 - float((labelled * labelled).sum())) * (total ** 2 - float((predicted * predicted).sum()))
    return {"accuracy": hits / total, "f1": float(f1[1]) if classes == 2 else float(f1.mean()),
            "matthews": (hits * total - float((labelled * predicted).sum())) / math.sqrt(spread) if spread > 0 else 0.0}


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    spread = float((a * a).sum()) * float((b * b).sum())
    return float((a * b).sum()) / math.sqrt(spread) if spread > 0 else math.nan


def average_ranks(values: np.ndarray) -> np.ndarray:
    """From 1; equal values share the mean of their places."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - 0.5 * (count - 1))[place]


def regress(label: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
    if len(label) < 2:
        return {}
    a, b = label.astype(float), prediction.astype(float)
    return {"pearson": correlation(a, b), "spearman": correlation(average_ranks(a), average_ranks(b))}


def cross_entropy(score: np.ndarray, label: np.ndarray) -> float:
    """Mean over the examples. score: [n, classes]."""
    score = score.astype(float)
    largest = score.max(1)
    return float((np.log(np.exp(score - largest[:, None]).sum(1)) + largest - score[np.arange(len(score)), label.astype(np.int64)]).mean())


def squared_error(label: np.ndarray, prediction: np.ndarray) -> float:
    return float(((prediction.astype(float) - label.astype(float)) ** 2).mean())
