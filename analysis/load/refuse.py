"""What must not be compared is left out, with the reason: runs that contradict themselves, and runs by other versions of the program than most of their table.
Of runs that were disturbed the scores count, the times do not. Each of the three can be allowed."""

import math
from collections.abc import Iterable
from dataclasses import replace

from .allowed import CONTAMINATED, INVALID, MIXED
from .runs import CONTAMINATED_FIELDS, Collection, Run
from .summary import Section, section_of


def short(version: str) -> str:
    return version[:8] or "unknown"


def most_used(runs: Iterable[Run]) -> str:
    """The version of most runs; of several the one that made the newest run."""
    versions: dict[str, list[str]] = {}
    for run in runs:
        versions.setdefault(run.source_hash, []).append(run.created)
    return max(versions, key=lambda version: (len(versions[version]), max(versions[version]), version))


def check_valid(run: Run, allow: frozenset[str]) -> str:
    """Why it must not be compared; "": it may. Asked before anything else, so that a damaged copy of a run takes nobody's place."""
    return f"{INVALID}: {run.invalid}" if run.invalid and INVALID not in allow else ""


def refuse_mixed(collection: Collection) -> None:
    """Rows of one table must come from one version: another one may compute something else under the same settings."""
    sections: dict[Section, list[Run]] = {}
    for run in collection.runs:
        sections.setdefault(section_of(run), []).append(run)
    refused: set[int] = set()
    for runs in sections.values():
        kept = most_used(runs)
        others = [run for run in runs if run.source_hash != kept]
        against = f"most of its table ({len(runs) - len(others)}) by {short(kept)}"
        collection.left_out += [(run.place, f"{MIXED}: by source_hash {short(run.source_hash)}, but {against}") for run in others]
        refused.update(map(id, others))
    collection.runs = [run for run in collection.runs if id(run) not in refused]


def without_times(run: Run) -> Run:
    return replace(run, **dict.fromkeys(CONTAMINATED_FIELDS, math.nan), phases=dict.fromkeys(run.phases, math.nan),
                   validations=tuple(replace(each, seconds=math.nan) for each in run.validations))


def sift(collection: Collection, allow: frozenset[str]) -> Collection:
    """The same collection, of valid runs, with what may be compared."""
    collection.allowed = allow
    if MIXED not in allow:
        refuse_mixed(collection)
    if CONTAMINATED not in allow:
        collection.runs = [without_times(run) if run.contaminated else run for run in collection.runs]
    return collection
