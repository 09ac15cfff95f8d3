"""From a study's results, or from run files, to a snapshot: which runs there are, what they are called, and how each of them stands."""

import os
import re
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..common.text import printable
from ..load.hdf5 import NO_RUN, PARTIAL
from ..load.index import ARCHIVE, ARCHIVE_INDEX, INDEX, RUN, SUFFIX, TRIAL, BadIndex, Line, read_index
from ..load.stamp import Stamp, stamp_of
from .look import Looker, outcome_of
from .snapshot import FAILED, WAITING, Entry, Snapshot

KIND = ("role", "stage", "task", "ranks", "method")  # runs that have these in common take about as long
INDEXES = (INDEX, ARCHIVE_INDEX)
NOTHING_YET = "there is no run file yet"
FILE_NAME = re.compile(r"(?P<task>.+?)-(?P<method>[a-z0-9_]+?)(?P<trial>-trial)?-s(?P<seed>\d+)-[0-9a-f]{8}")  # as the sweep calls a run


@dataclass(frozen=True)
class Planned:
    """A line of the index with what is the same at every look."""
    line: Line
    key: str
    label: str
    kind: tuple[str, ...]
    name: str  # of its file; "": it has none yet
    run: Path | None


class Study:
    """A study's results: index.tsv says what is planned, and the folder runs/ how far it is."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.looker = Looker()
        self.planned: list[Planned] = []
        self.stamp: Stamp | None = None  # of the index that was read

    def look(self) -> Snapshot:
        notes: list[str] = []
        self.read_index(notes)
        runs = self.folder / "runs"
        names = list_names(runs, notes)
        extra = files_of_runs(names) - {planned.name for planned in self.planned}
        entries = []
        self.looker.learn([(planned.run, planned.line) for planned in self.planned if planned.run and planned.name in names])
        self.looker.learn([(runs / name, None) for name in extra & names])
        for planned in self.planned:
            entry = Entry(key=planned.key, label=planned.label, kind=planned.kind)
            self.look_at(entry, planned, names, extra)
            entries.append(entry)
        for name in sorted(extra):
            entry = Entry(key=name, label=printable(name.removesuffix(SUFFIX)), kind=kind_by_name(name))
            self.looker.look_at(entry, runs / name, None, names)
            entries.append(entry)
        return Snapshot(self.folder.resolve().name, printable(str(self.folder)), entries, bool(self.planned), time.time(), notes)

    def look_at(self, entry: Entry, planned: Planned, names: set[str], extra: set[str]) -> None:
        line, run = planned.line, planned.run
        if run is None and (name := take_chosen(line, extra)):
            run = self.folder / "runs" / name
        if line.archived and planned.name not in names:
            entry.state, entry.outcome = line.state, outcome_of(line)
        elif run:
            self.looker.look_at(entry, run, line, names)
        else:
            entry.state, entry.reason = (FAILED if line.state == FAILED else WAITING), printable(line.cells["reason"])

    def read_index(self, notes: list[str]) -> None:
        """Again, if it is another one than the last time; a damaged one, or none, leaves what is known."""
        try:
            path = next((path for path in map(self.folder.joinpath, INDEXES) if path.exists()), self.folder / INDEX)
            stamp = stamp_of(path)
            if stamp != self.stamp or stamp is None:
                self.planned = plan(read_index(path).lines, self.folder / "runs")
                self.stamp = stamp
        except BadIndex as reason:
            notes.append(str(reason))
        except FileNotFoundError:
            self.stamp = None
            if not self.planned:
                notes.append(f"there is no {INDEX} yet: how many runs are planned is not known")


class Files:
    """Run files as they were named; of a folder all that are below it."""

    def __init__(self, places: list[Path]):
        self.places = places
        self.looker = Looker()

    def look(self) -> Snapshot:
        notes: list[str] = []
        entries = []
        listed: dict[Path, set[str]] = {}
        runs = list(dict.fromkeys(run for place in self.places for run in runs_at(place)))
        for run in runs:
            if run.parent not in listed:
                listed[run.parent] = list_names(run.parent, notes)
        self.looker.learn([(run, None) for run in runs if run.name in listed[run.parent]])
        for run in runs:
            entry = Entry(key=str(run), label=printable(run.name.removesuffix(SUFFIX)), reason="there is no such file", kind=kind_by_name(run.name))
            self.looker.look_at(entry, run, None, listed[run.parent])
            if run in self.places or not entry.reason.startswith(NO_RUN):  # below a folder there may be files of another kind
                entries.append(entry)
        if not (entries or notes):
            notes.append(NOTHING_YET)
        place = str(self.places[0]) if len(self.places) == 1 else f"{len(self.places)} places"
        return Snapshot("run files", printable(place), entries, True, time.time(), list(dict.fromkeys(notes)))


def is_study(folder: Path) -> bool:
    return any((folder / name).exists() for name in INDEXES) or (folder / "runs").is_dir()


def open_place(places: list[Path]) -> Study | Files:
    """Raises FileNotFoundError, and ValueError for what cannot be watched, or where no run is to be expected."""
    for place in places:
        if not place.exists() and not (place.name.endswith(SUFFIX) and place.with_name(place.name + PARTIAL).exists()):
            raise FileNotFoundError(f"{place}: no such file or folder; `peftscale sweep run` makes the folder of a study's results when it begins")
        if (place / "study.yaml").exists() and not is_study(place):
            raise ValueError(f"{place}: holds a study, not its results; these are in results/{place.resolve().name}, if `--results` said nothing else")
    studies = [place for place in places if place.is_dir() and is_study(place)]
    if studies and len(places) > 1:
        raise ValueError(f"{studies[0]}: is the folder of a study, which is watched alone; name one study, or run files")
    if studies:
        return Study(studies[0])
    files = Files(places)
    seen = files.look()
    if not seen.entries:
        where = str(places[0]) if len(places) == 1 else f"{len(places)} places"
        wrong = [note for note in seen.notes if note != NOTHING_YET]
        raise ValueError(wrong[0] if wrong else f"{where}: no run file is there, and neither {INDEX} nor runs/, which a sweep makes first; name a study's "
                         "results (results/STUDY) or run files")
    return files


# ---- names ----

def plan(lines: list[Line], runs: Path) -> list[Planned]:
    labels = make_labels(lines)
    names = [line.name + SUFFIX if line.name else "" for line in lines]
    return [Planned(line, f"{number} {line.request_id}", labels[number], tuple(line.cells[column] for column in KIND), name, runs / name if name else None)
            for number, (line, name) in enumerate(zip(lines, names))]


def take_chosen(line: Line, extra: set[str]) -> str:
    """The file of a run that was waiting for its trials when the index was written, and has its name by now; it is taken out of `extra`. "" for none."""
    if line.state != WAITING:
        return ""
    wanted = (re.sub(r"[^A-Za-z0-9_.-]", "-", line.cells["task"][:63]), line.cells["method"][:60], line.cells["seed"])
    for name in sorted(extra):
        found = FILE_NAME.fullmatch(name.removesuffix(SUFFIX))
        if found and not found["trial"] and (found["task"] if wanted[0] else "", found["method"], found["seed"]) == wanted:
            extra.remove(name)
            return name
    return ""


def list_names(folder: Path, notes: list[str]) -> set[str]:
    try:
        return set(os.listdir(folder))
    except FileNotFoundError:
        return set()
    except OSError as error:
        notes.append(f"{folder}: cannot be read: {error.strerror}")
        return set()


def files_of_runs(names: Iterable[str]) -> set[str]:
    """NAME.h5 of each finished or unfinished run with a file there."""
    return {name.removesuffix(PARTIAL) for name in names if name.endswith((SUFFIX, SUFFIX + PARTIAL))}


def runs_at(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place.with_name(place.name.removesuffix(PARTIAL))]
    return sorted(Path(folder) / name for folder, _, names in os.walk(place) for name in files_of_runs(names) - {ARCHIVE})


def kind_by_name(name: str) -> tuple[str, ...]:
    found = FILE_NAME.fullmatch(name.removesuffix(SUFFIX))
    return (TRIAL if found["trial"] else RUN, "", found["task"], "", found["method"]) if found else ()


def make_labels(lines: list[Line]) -> dict[int, str]:
    """What tells a line from all others, in few words: by number."""
    varied = [name for name in ("task", "ranks", "stage") if len({line.cells[name] for line in lines}) > 1]
    forms = {"ranks": "{} ranks"}

    def label(line: Line, identity: bool) -> str:
        key, sign, value = line.cells["tuned"].partition("=")
        words = [line.cells["method"], *(forms.get(name, "{}").format(line.cells[name]) for name in varied), key.rpartition(".")[2] + sign + value,
                 "trial" if line.role == TRIAL else "", f"s{line.cells['seed']}" if line.cells["seed"] else "", line.request_id[:8] if identity else ""]
        return printable(" ".join(filter(None, words)))

    short = [label(line, False) for line in lines]
    often = Counter(short)
    return {number: short[number] if often[short[number]] == 1 else label(line, True) for number, line in enumerate(lines)}
