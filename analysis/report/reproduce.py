"""The chapters on how to make it again, and how it is to be cited."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path, PurePath

import yaml

from ..load.index import ARCHIVE
from ..load.runs import Run
from ..load.study import Study
from .blocks import Block, Chapter, Code, Mono, Paragraph
from .places import Places
from .study_file import PROJECT, About

CITATION = PROJECT / "CITATION.cff"


def versions(runs: Sequence[Run]) -> list[str]:
    """Commits that made runs, the most frequent first."""
    counts: dict[str, int] = {}
    for run in runs:
        if run.commit not in ("", "unknown"):
            counts[run.commit] = counts.get(run.commit, 0) + 1
    return sorted(counts, key=lambda commit: (-counts[commit], commit))


def study_commands(study: Study, about: About, stage: str | None, runs: Sequence[Run]) -> list[str]:
    chosen = f" stage={shlex.quote(stage)}" if stage else ""
    place = about.folder or f"experiments/{shlex.quote(study.name)}"
    results = f"results/{shlex.quote(study.name)}"
    commits = versions(runs)
    lines = [f"git checkout {shlex.quote(commits[0])}"] if commits else []
    return [*lines, "make", f"build/peftscale sweep run {place}{chosen}",
            f"python3 -m analysis report --study {results}{f' --stage {shlex.quote(stage)}' if stage else ''}"]


def file_commands(runs: Sequence[Run], study: Study | None, base: Path) -> list[str]:
    """How one run of these is looked at, and made again."""
    run = runs[0]
    lines = []
    path = PurePath(f"results/{study.name}") / os.path.relpath(run.path, base) if study else run.path
    name = str(path)
    if run.member:
        lines.append(f"python3 -m analysis unpack {shlex.quote(str(path.parent))} {shlex.quote(run.member)} --out .     # out of {ARCHIVE}")
        name = f"{run.member}.h5"
    return [*lines, f"build/peftscale check {shlex.quote(name)}",
            f"python3 -c 'import h5py, sys; print(h5py.File(sys.argv[1])[\"config\"][()].decode())' {shlex.quote(name)} > again.yaml",
            f"mpirun -np {run.ranks} build/peftscale train again.yaml output.dir=again"]


def make_reproduction(study: Study | None, about: About, stage: str | None, runs: Sequence[Run], base: Path, places: Places) -> Chapter:
    chapter = Chapter("How to make it again", places.new("reproduce"))
    if study:
        chapter.blocks += [Paragraph("The whole study, from the root of the project; what is done already is not done again:"),
                           Code("\n".join(study_commands(study, about, stage, runs)))]
        if len(versions(runs)) > 1:
            chapter.blocks.append(Paragraph(f"Its runs were made by {len(versions(runs))} commits, named above under Conditions; the first line takes the one "
                                            "that made most."))
    if runs:
        chapter.blocks += [Paragraph("One of its runs, from the configuration that its file holds; data and weights must lie where that names them, or below "
                                     "PEFTSCALE_DATA and PEFTSCALE_ASSETS:"), Code("\n".join(file_commands(runs, study, base)))]
    return chapter


def read_citation() -> dict[str, str]:
    """What CITATION.cff says; empty where it does not lie beside the program."""
    try:
        found = yaml.safe_load(CITATION.read_text(encoding="utf-8"))
        return {"title": str(found["title"]), "version": str(found["version"]),
                "authors": " and ".join(author.get("name") or f"{author['family-names']}, {author['given-names']}" for author in found["authors"])}
    except (OSError, ValueError, yaml.YAMLError, LookupError, TypeError, AttributeError):
        return {}


def make_citation(about: About, runs: Sequence[Run], places: Places) -> Chapter:
    chapter = Chapter("How to cite", places.new("cite"))
    found = read_citation()
    year = max((run.created for run in runs), default="")[:4]
    entry = ["@software{peftscale,", *(f"  {key} = {{{{{found[name]}}}}}," for key, name in (("author", "authors"), ("title", "title"), ("version", "version"))
                                       if name in found), *([f"  year = {{{year}}},"] if year.isdigit() else []), "}"]
    blocks: list[Block] = [Paragraph("The program, with its version, and the commit of the runs:"), Code("\n".join(entry))] if found else \
        [Paragraph(["The program: see ", Mono("CITATION.cff"), " of peftscale."])]
    commits = versions(runs)
    told = f"Runs of the study \u201c{about.title}\u201d, made {describe_time(runs)}" + (f" by commit {', '.join(commits)}" if commits else "") + "."
    chapter.blocks += [*blocks, Paragraph(told)]
    return chapter


def describe_time(runs: Sequence[Run]) -> str:
    days = sorted({run.created[:10] for run in runs if run.created})
    return f"on {days[0]}" if len(days) == 1 else f"from {days[0]} to {days[-1]}" if days else "at a time that the files do not tell"
