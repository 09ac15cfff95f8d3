"""What tells whether a file is still the one that was read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Stamp:
    size: int
    changed_ns: int
    inode: int


def stamp_of(path: Path) -> Stamp | None:
    """None: it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return Stamp(found.st_size, found.st_mtime_ns, found.st_ino)
