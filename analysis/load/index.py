"""The index of a study: one line per planned run, as `peftscale sweep` writes it (index.tsv), or of the runs in an archive (archive.tsv)."""

import math
import re
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath

from ..common.fault import Fault
from ..common.text import printable

INDEX, ARCHIVE_INDEX, ARCHIVE = "index.tsv", "archive.tsv", "archive.h5"
MARK, VERSION = "# peftscale sweep index", 1
REMARK = "#"  # begins the lines between the first and the header
SHOWN, TITLE, QUESTION = "# columns:", "# title:", "# question:"  # what the study's table shows; how the study file calls the study; what it asks
COLUMNS = ("request_id", "stage", "role", "state", "file", "task", "method", "seed", "ranks", "tuned", "validation", "test", "metric", "train_s",
           "tokens_per_s", "experiment_id", "run_id", "source_hash", "attempts", "reason")
FINISHED = ("done", "stale")  # stale: by another version of the program
STATES = (*FINISHED, "running", "stopped", "interrupted", "failed", "waiting", "missing")
NAMELESS = ("waiting", "failed")  # a tuned run has no id before its trials have chosen (or if none of them can)
RUN, TRIAL = "run", "trial"
SUFFIX = ".h5"
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=-]{0,199}")  # of a run: a file's, and a group's in an archive
NOT_A_NAME = "index"  # what the archive calls its own index


class BadIndex(Fault):
    """Why nothing can be read; names the file."""


@dataclass(frozen=True)
class Line:
    """One planned run. `cells` has all columns, also those that are unknown here."""
    cells: dict[str, str]

    @property
    def request_id(self) -> str:
        return self.cells["request_id"]

    @property
    def role(self) -> str:
        return self.cells["role"]

    @property
    def state(self) -> str:
        return self.cells["state"]

    @property
    def is_finished(self) -> bool:
        return self.state in FINISHED

    @property
    def group(self) -> tuple[str, ...]:
        """What the seeds of one comparison have in common, as far as an index tells it."""
        return tuple(self.cells.get(name, "") for name in ("stage", "task", "method", "ranks", "group"))

    @property
    def validation(self) -> float:
        return float(self.cells["validation"] or "nan")

    @property
    def archived(self) -> bool:
        return ":" in self.cells["file"]

    @property
    def name(self) -> str:
        """Of the run: its file without .h5, or its group in an archive; "" for a run without a file."""
        file = self.cells["file"]
        return file.partition(":")[2] if self.archived else PurePosixPath(file).name.removesuffix(SUFFIX)


@dataclass
class Index:
    lines: list[Line]
    shown: tuple[str, ...] = ()  # columns of the study's table as the study file names them, known here or not; none: it names none
    title: str = ""  # "", too, in an index of an older version
    question: str = ""


def check_file(text: str) -> str:
    """What is wrong with the cell `file` of a finished run; "" for nothing. It must lie below the study's folder, whoever wrote the index."""
    file, colon, member = text.partition(":")
    path = PurePosixPath(file)
    if path.is_absolute() or ".." in path.parts or "\0" in text or path.suffix != SUFFIX:
        return f"file '{text[:80]}' is no run file below the study's folder"
    name = member if colon else path.name.removesuffix(SUFFIX)
    return "" if NAME.fullmatch(name) and name != NOT_A_NAME else f"'{name[:80]}' is no name of a run"


def check_cells(cells: dict[str, str]) -> str:
    if not cells["request_id"] and cells["state"] not in NAMELESS:
        return "no request_id"
    if cells["role"] not in (RUN, TRIAL):
        return f"role '{cells['role'][:40]}' is neither {RUN} nor {TRIAL}"
    if cells["state"] not in STATES:
        return f"state '{cells['state'][:40]}' is none of {', '.join(STATES)}"
    if cells["state"] in FINISHED and not cells["file"]:
        return f"a run that is {cells['state']} has no file"
    if cells["seed"] and not (cells["seed"].isascii() and cells["seed"].isdigit()):
        return f"seed '{cells['seed'][:40]}' is no whole number"
    try:
        float(cells["validation"] or math.nan)
    except ValueError:
        return f"validation '{cells['validation'][:40]}' is no number"
    return check_file(cells["file"]) if cells["state"] in FINISHED else ""


def find_remark(remarks: list[str], name: str, where: str) -> str:
    """What stands behind `name`; "" where it does not occur. Remarks of another kind are for other readers."""
    found = [printable(remark.removeprefix(name).strip()) for remark in remarks if remark.startswith(name)]
    if len(found) > 1:
        raise BadIndex(f"{where}: broken: two lines begin with '{name}'")
    return "".join(found)


def parse_index(text: str, where: str) -> Index:
    """Raises BadIndex, which begins with `where`: a line less would change counts unseen, so a damaged index is no index."""
    first, *rest = text.split("\n")
    mark, _, version = first.rstrip("\r").rpartition(" ")
    if mark != MARK or not version.isdigit():
        raise BadIndex(f"{where}: not an index of a study: the first line is not '{MARK} {VERSION}'")
    if int(version) != VERSION:
        raise BadIndex(f"{where}: written by another version (index {version}, known: {VERSION})")
    if not rest or rest[-1]:
        raise BadIndex(f"{where}: broken: its last line is cut off")
    remarks = list(takewhile(lambda line: line.startswith(REMARK), rest))
    shown, title, question = (find_remark(remarks, name, where) for name in (SHOWN, TITLE, QUESTION))
    above = 1 + len(remarks)  # lines above the header
    header = rest[len(remarks)].rstrip("\r").split("\t")
    if lacking := [name for name in COLUMNS if name not in header]:
        raise BadIndex(f"{where}: broken: lacks the column {lacking[0]}")
    if len(set(header)) != len(header):
        raise BadIndex(f"{where}: broken: a column is there twice")
    lines: dict[str, Line] = {}
    for number, row in enumerate(rest[above:-1], above + 2):
        cells = [printable(cell) for cell in row.rstrip("\r").split("\t")]
        if len(cells) != len(header):
            raise BadIndex(f"{where}: line {number}: broken: {len(cells)} columns, the header has {len(header)}")
        line = Line(dict(zip(header, cells)))
        if wrong := check_cells(line.cells):
            raise BadIndex(f"{where}: line {number}: broken: {wrong}")
        if line.request_id and line.request_id in lines:
            raise BadIndex(f"{where}: line {number}: broken: request_id {line.request_id[:40]} is there twice")
        lines[line.request_id or f"line {number}"] = line
    return Index(list(lines.values()), tuple(dict.fromkeys(shown.split())), title, question)


def read_index(path: Path) -> Index:
    """Raises BadIndex, and FileNotFoundError."""
    try:
        with open(path, "rb") as file:
            if not file.read(len(MARK)).startswith(MARK.encode()):  # whatever else it is, it may be large
                raise BadIndex(f"{path}: not an index of a study: the first line is not '{MARK} {VERSION}'")
            file.seek(0)
            return parse_index(file.read().decode("utf-8"), str(path))
    except UnicodeDecodeError:
        raise BadIndex(f"{path}: broken: not UTF-8 text") from None
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BadIndex(f"{path}: cannot be read: {error.strerror or error}") from None


def write_index(index: Index) -> str:
    """The text of an index; with the columns of all lines, what one lacks is empty."""
    header = list(dict.fromkeys([*COLUMNS, *(name for line in index.lines for name in line.cells)]))
    texts = {TITLE: index.title, QUESTION: index.question, SHOWN: " ".join(index.shown)}
    remarks = [f"{name} {text}" for name, text in texts.items() if text]
    rows = [f"{MARK} {VERSION}", *remarks, "\t".join(header), *("\t".join(line.cells.get(name, "") for name in header) for line in index.lines)]
    return "\n".join(rows) + "\n"
