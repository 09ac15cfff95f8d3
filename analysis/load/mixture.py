"""What makes the rows of one table unlike beyond their settings: other programs, kernels, data or sample orders, dirty builds, disturbed or unfinished runs."""

from collections.abc import Callable

from ..common.units import score
from ..common.words import count, some
from .allowed import CONTAMINATED, INVALID, MIXED
from .hdf5 import BROKEN, NOT_FINISHED
from .runs import Collection, Run
from .summary import Section, identity_of, make_label, section_of

UNKNOWN = "unknown"  # a file of an older version does not say; that is one more value, not a proof of equality
NAMED = 3

# Of all runs of a table: what is said, and where it is read.
SAME: dict[str, Callable[[Run], str]] = {
    "versions (source_hash)": lambda run: run.source_hash[:8],
    "programs (binary_hash)": lambda run: run.binary_hash[:8],
    "commits": lambda run: run.commit[:8],
    "kinds of BLAS kernels": lambda run: run.blas_core,
    "base weights": lambda run: run.weights_hash[:8],
    "data sets": lambda run: run.dataset_hash[:8],
}
MARKS: dict[str, Callable[[Run], bool]] = {INVALID: lambda run: bool(run.invalid), "dirty build": lambda run: run.dirty == "1",
                                           CONTAMINATED: lambda run: run.contaminated}
SCORES_ALONE = "; their scores count, their times do not (--allow contaminated)"


def name_files(names: list[str]) -> str:
    return some(names, NAMED)


def count_runs(runs: list[Run]) -> str:
    return f"{count(len(runs), 'run')}: {name_files([run.name for run in runs])}"


def by_value(runs: list[Run], value: Callable[[Run], str]) -> dict[str, list[Run]]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(value(run) or UNKNOWN, []).append(run)
    return dict(sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])))


def unlike(kind: str, place: str, runs: list[Run], value: Callable[[Run], str]) -> list[str]:
    groups = by_value(runs, value)
    if len(groups) < 2:
        return []
    return [f"Mixture{place}: {len(groups)} {kind}: " + "; ".join(f"{name} ({count_runs(members)})" for name, members in groups.items())]


def unlike_orders(place: str, runs: list[Run]) -> list[str]:
    """Seeds differ in order; methods with one seed must not. One line for all seeds."""
    seeds = {seed: by_value([run for run in runs if run.seed == seed], lambda run: run.order_hash[:8]) for seed in sorted({run.seed for run in runs})}
    differing = {seed: groups for seed, groups in seeds.items() if len(groups) > 1}
    if not differing:
        return []
    details = (f"seed {seed}: " + ", ".join(f"{name} ({count_runs(members)})" for name, members in groups.items()) for seed, groups in differing.items())
    return [f"Mixture{place}: several sample orders of one seed: {'; '.join(details)}"]


def repeated_seeds(runs: list[Run]) -> list[str]:
    """Runs that nothing but chance can tell apart, and that score otherwise."""
    groups: dict[tuple, list[Run]] = {}
    for run in runs:
        groups.setdefault((section_of(run), identity_of(run), run.seed), []).append(run)
    found = [members for members in groups.values() if len({run.test for run in members if run.test == run.test}) > 1]
    return [f"Several runs of one seed, which count as their mean: {make_label(members[0])}, seed {members[0].seed}: "
            + ", ".join(f"{score(run.test, run.metric)} ({run.name})" for run in members) for members in found]


def where(section: Section) -> str:
    return f" in {section.task}, {section.metric}, {section.ranks} x {section.threads}"


def left_out_kinds(collection: Collection) -> list[str]:
    """What was refused, a sentence per kind."""
    found = []
    for kind in (NOT_FINISHED, BROKEN, INVALID, MIXED):
        if paths := [path for path, reason in collection.left_out if reason.startswith(kind)]:
            found.append(f"{kind.capitalize()}: {count(len(paths), 'file')}: {name_files([path.name for path in paths])}")
    return found


def find_mixtures(collection: Collection) -> list[str]:
    """Of what is in the tables, a sentence per kind and table; none: the rows may stand beside each other."""
    sections: dict[Section, list[Run]] = {}
    for run in collection.runs:
        sections.setdefault(section_of(run), []).append(run)
    found: list[str] = []
    for section, runs in sections.items():
        place = where(section) if len(sections) > 1 else ""
        for kind, value in SAME.items():
            found += unlike(kind, place, runs, value)
        found += unlike_orders(place, runs)
    for kind, has in MARKS.items():
        if marked := [run for run in collection.runs if has(run)]:
            scores_alone = SCORES_ALONE if kind == CONTAMINATED and CONTAMINATED not in collection.allowed else ""
            found.append(f"{kind.capitalize()}: {count_runs(marked)}{scores_alone}")
    return found + repeated_seeds(collection.runs)


def marks_of(run: Run) -> list[str]:
    return [kind for kind, has in MARKS.items() if has(run)]
