"""Scores from predictions, as src/train/metrics.c forms them, and their jackknife pseudo-values: what each example brings to a score that is no mean.

Pseudo-values (Quenouille, Tukey; for studies of readers and cases Dorfman, Berbaum and Metz 1992, Receiver operating characteristic rating analysis,
Investigative Radiology 27): Y_e = N s - (N - 1) s_(e), s the score of all N examples, s_(e) that without example e. Of a mean they are its terms (of
accuracy: 1 or 0). Their mean is the jackknife's estimate; here they are shifted so that their mean is the score itself ("normalised", Hillis, Obuchowski,
Schartz and Berbaum 2005, A comparison of the Dorfman-Berbaum-Metz and Obuchowski-Rockette methods, Statistics in Medicine 24), so that both intervals of a
difference have the same centre.

No score is formed N times: s_(e) depends on e through its cell of the table of labels and predictions, or follows from sums."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .ranks import spearman_left_out

LEAST_EXAMPLES = 3
# Scores whose grid has steps of about 1/N: one prediction more or less. Exact for accuracy; of the others the order of magnitude.
STEPPED = frozenset({"accuracy", "f1", "matthews"})


def classes_of(label: np.ndarray, prediction: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Raises ValueError for what is no class number."""
    for values in (label, prediction):
        if not (np.isfinite(values).all() and (values == np.floor(values)).all() and values.min() >= 0 and values.max() < classes):
            raise ValueError(f"a class number that is none of 0 to {classes - 1}")
    return label.astype(np.int64), prediction.astype(np.int64)


class Table:
    """Counts of labels and predictions: t of each label, p of each prediction, both of each class's hits; and the cells that occur."""

    def __init__(self, label: np.ndarray, prediction: np.ndarray, classes: int):
        label, prediction = classes_of(label, prediction, classes)
        self.size, self.classes = len(label), classes
        self.labelled = np.bincount(label, minlength=classes).astype(float)
        self.predicted = np.bincount(prediction, minlength=classes).astype(float)
        self.hit = np.bincount(label[label == prediction], minlength=classes).astype(float)
        codes, self.cell = np.unique(label * classes + prediction, return_inverse=True)
        self.of_label, self.of_prediction = codes // classes, codes % classes  # of each cell
        self.same = (self.of_label == self.of_prediction).astype(float)


def f1_left_out(table: Table) -> tuple[float, np.ndarray]:
    """F1 of class 1 where there are two, else the mean over classes of 2 hits / (labelled + predicted), 0 for a class that occurs nowhere. Without an example
    of the cell (a, p) only the terms of a and p change."""
    def term(hit: np.ndarray, total: np.ndarray) -> np.ndarray:
        return np.divide(2 * hit, total, out=np.zeros_like(total), where=total > 0)

    total = table.labelled + table.predicted
    terms = term(table.hit, total)
    a, p, same = table.of_label, table.of_prediction, table.same
    as_label = term(table.hit[a] - same, total[a] - 1 - same) - terms[a]
    as_prediction = np.where(same > 0, 0.0, term(table.hit[p], total[p] - 1) - terms[p])
    if table.classes == 2:
        changes = np.where(a == 1, as_label, 0.0) + np.where(p == 1, as_prediction, 0.0)
        return float(terms[1]), terms[1] + changes
    return float(terms.mean()), terms.mean() + (as_label + as_prediction) / table.classes


def matthews_left_out(table: Table) -> tuple[float, np.ndarray]:
    """Gorodkin's R_K: (hits N - sum t_k p_k) / sqrt((N^2 - sum t_k^2)(N^2 - sum p_k^2)), 0 where one side has one class alone."""
    def form(hits: np.ndarray, size: float, cross: np.ndarray, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        spread = np.asarray((size * size - labels) * (size * size - predictions), float)
        return np.divide(hits * size - cross, np.sqrt(spread), out=np.zeros_like(spread), where=spread > 0)

    t, q = table.labelled, table.predicted
    hits, cross, labels, predictions = table.hit.sum(), (t * q).sum(), (t * t).sum(), (q * q).sum()
    a, p, same = table.of_label, table.of_prediction, table.same
    left_out = form(hits - same, table.size - 1.0, cross - q[a] - t[p] + same, labels - 2 * t[a] + 1, predictions - 2 * q[p] + 1)
    return float(form(hits, float(table.size), cross, labels, predictions)), left_out


def pearson_left_out(label: np.ndarray, prediction: np.ndarray) -> tuple[float, np.ndarray]:
    """Centred sums without one example: S_uv - u v N / (N - 1), since the mean moves, too."""
    u, v = label - label.mean(), prediction - prediction.mean()
    grow = len(u) / (len(u) - 1)
    uu, vv, uv = (u * u).sum(), (v * v).sum(), (u * v).sum()
    left_u, left_v = uu - grow * u * u, vv - grow * v * v
    constant = (left_u <= 1e-13 * uu) | (left_v <= 1e-13 * vv)  # all others are equal, but for the computer's rounding
    with np.errstate(invalid="ignore", divide="ignore"):
        value = uv / np.sqrt(uu * vv) if uu > 0 and vv > 0 else np.nan
        return float(value), np.where(constant, np.nan, (uv - grow * u * v) / np.sqrt(left_u * left_v))


def losses(label: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Per example: the squared error of a regression, else the cross entropy of what the head put out (src/model/heads.c)."""
    if score.shape[1] == 1:
        return (score[:, 0] - label) ** 2
    label, _ = classes_of(label, label, score.shape[1])
    shifted = score - score.max(1, keepdims=True)
    return np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(label)), label]


def of_terms(terms: np.ndarray) -> tuple[float, np.ndarray]:
    return float(terms.mean()), terms


def of_left_out(value: float, left_out: np.ndarray) -> tuple[float, np.ndarray]:
    """Normalised pseudo-values: they differ from the score by (N - 1) times how far s_(e) lies below the mean of all s_(e)."""
    return value, value - (len(left_out) - 1) * (left_out - left_out.mean())


def of_table(form: Callable[[Table], tuple[float, np.ndarray]]) -> Callable[..., tuple[float, np.ndarray]]:
    def make(label: np.ndarray, prediction: np.ndarray, score: np.ndarray) -> tuple[float, np.ndarray]:
        table = Table(label, prediction, score.shape[1])
        value, left_out = form(table)
        return of_left_out(value, left_out[table.cell])
    return make


METRICS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[float, np.ndarray]]] = {
    "accuracy": lambda label, prediction, score: of_terms((label == prediction).astype(float)),
    "f1": of_table(f1_left_out),
    "matthews": of_table(matthews_left_out),
    "pearson": lambda label, prediction, score: of_left_out(*pearson_left_out(label, prediction)),
    "spearman": lambda label, prediction, score: of_left_out(*spearman_left_out(label, prediction)),
    "mse": lambda label, prediction, score: of_terms((prediction - label) ** 2),
    "loss": lambda label, prediction, score: of_terms(losses(label, score)),
}


def pseudo_values(metric: str, label: np.ndarray, prediction: np.ndarray, score: np.ndarray) -> tuple[float, np.ndarray]:
    """The score, and per example its pseudo-value; their mean is the score. label, prediction: [N], score: [N, classes] what the head put out (of a
    regression: one column). Raises ValueError if there is no such metric, too few examples, a value that is none, or a score without one of the examples is
    not defined."""
    if metric not in METRICS:
        raise ValueError(f"the metric {metric} cannot be formed from predictions")
    label, prediction, score = (np.asarray(values, float) for values in (label, prediction, score))
    if len(label) < LEAST_EXAMPLES:
        raise ValueError(f"{len(label)} examples are too few")
    if not all(np.isfinite(values).all() for values in ((label, score) if metric == "loss" else (label, prediction))):
        raise ValueError("a prediction or label that is not finite")
    value, values = METRICS[metric](label, prediction, score)
    if not (np.isfinite(value) and np.isfinite(values).all()):
        raise ValueError(f"{metric} is not defined without one of the examples")
    return value, values
