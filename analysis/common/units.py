"""Numbers with units, for people; and what is known of scores by their name."""

import math

PERCENT = frozenset({"accuracy", "f1"})  # scores that are shown so
METRICS = ("accuracy", "f1", "matthews", "pearson", "spearman")  # that a task may be scored by
LOWER_IS_BETTER = frozenset({"loss", "mse"})


def number(value: float, form: str) -> str:
    return "-" if not math.isfinite(value) else format(value, form)


def score(value: float, metric: str, digits: int = 2) -> str:
    return number(100 * value, f".{digits}f") if metric in PERCENT else number(value, f".{digits + 1}f")


def human_bytes(count: int) -> str:
    """Three digits and a decimal unit: 304 kB."""
    value, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.5 or unit == "TB":
            break
        value /= 1000
    return f"{count} B" if unit == "B" else f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {unit}"


def human_time(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "-"
    if seconds >= 0.9995:
        return f"{seconds:.2f} s" if seconds < 99.95 else f"{seconds:,.0f} s"
    if seconds < 0.9995e-3:
        return f"{1e6 * seconds:.{1 if seconds < 0.9995e-5 else 0}f} µs"
    return f"{1000 * seconds:.{1 if seconds < 0.09995 else 0}f} ms"
