"""What must not be compared is left out, with the reason: runs that contradict themselves, and runs by other versions of the program than most of their table.
Of runs that were disturbed the scores count, the times do not. Each of the three can be allowed."""

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from .allowed import CONTAMINATED, INVALID, MIXED
from .runs import DISTURBED, Collection, Run
from .summary import Section, section_of


def place_of(run: Run) -> Path:
    return run.path.with_name(f"{run.path.name}:{run.member}") if run.member else run.path


def version_of(run: Run) -> str:
    return run.source_hash[:8] or "unknown"


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
    kept = {section: most_used(runs) for section, runs in sections.items()}
    others = [run for run in collection.runs if run.source_hash != kept[section_of(run)]]
    for run in others:
        by = sum(each.source_hash == kept[section_of(run)] for each in sections[section_of(run)])
        version = kept[section_of(run)][:8] or "unknown"
        collection.left_out.append((place_of(run), f"{MIXED}: by source_hash {version_of(run)}, but most of its table ({by}) by {version}"))
    names = {id(run) for run in others}
    collection.runs = [run for run in collection.runs if id(run) not in names]


def without_times(run: Run) -> Run:
    return replace(run, **dict.fromkeys(DISTURBED, math.nan), phases=dict.fromkeys(run.phases, math.nan),
                   validations=tuple(replace(each, seconds=math.nan) for each in run.validations))


def sift(collection: Collection, allow: frozenset[str]) -> Collection:
    """The same collection, of valid runs, with what may be compared."""
    collection.allowed = allow
    if MIXED not in allow:
        refuse_mixed(collection)
    if CONTAMINATED not in allow:
        collection.runs = [without_times(run) if run.contaminated else run for run in collection.runs]
    return collection
