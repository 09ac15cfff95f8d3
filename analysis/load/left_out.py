"""What is said of files that were left out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..common.words import some

MOST_ALIKE = 3  # that are named where many have one reason


def left_out_lines(left_out: Sequence[tuple[Path, str]]) -> list[str]:
    """How many files are no runs of a table, and a line per file; what many have in common is said once."""
    reasons: dict[str, list[Path]] = {}
    for path, reason in left_out:
        reasons.setdefault(reason, []).append(path)
    lines = [f"Left out: {len(left_out)}"] if left_out else []
    for reason, paths in reasons.items():
        if len(paths) <= MOST_ALIKE:
            lines += [f"  {path}: {reason}" for path in paths]
        else:
            lines.append(f"  {len(paths)} files: {reason}: {some(paths, MOST_ALIKE)}")
    return lines
