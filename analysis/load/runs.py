"""One finished training as a Run: what a run file, or a group of an archive, says of it."""

import math
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from .check import find_fault
from .content import Attributes, Content, one_line, read_content
from .hdf5 import BROKEN, Unusable, newest, open_file, reasons
from .measure import Validation, find_validations, measure_steps

LONGEST = 1 << 16  # of a setting


def member_path(archive: Path, name: str) -> Path:
    """Of a run in an archive, or of what should be one."""
    return archive.with_name(f"{archive.name}:{name}")


# Fields of a run that was disturbed by other work which say nothing of the method; the parts of a step and the seconds of its validations do not, either.
CONTAMINATED_FIELDS = ("step_s", "overhead", "communication_share", "wait_share", "tokens_per_s", "train_s", "energy_j")


@dataclass
class Run:
    path: Path  # of the file; an archive's holds others, too
    member: str  # the run's name in an archive; "" for a file of its own
    run_id: str
    request_id: str
    settings: dict[str, str]  # what decides the numbers, the seed left out
    seed: int
    task: str
    dataset: str
    dataset_hash: str
    model: str
    weights_hash: str
    method: str
    ranks: int
    threads: int
    metric: str
    test: float
    validation: float
    trainable: int  # of the method; the head apart
    head: int
    stored_bytes: int
    regenerated_bytes: int | None  # None: the file does not tell
    sent_bytes: int  # per step and rank, the method's part
    sent_bytes_with_head: int  # the whole message
    # Of the steps that count, all but the first min(5, a quarter), which fill caches and open connections. NaN: not known.
    step_s: float  # median
    phases: dict[str, float]  # mean seconds of a step on rank 0: expand, forward, backward, gather, communication, optimizer
    overhead: float  # the method's own work (expand, its part of forward and backward, gather) over the rest of forward and backward
    communication_share: float  # of the steps' time
    wait_share: float  # likewise: rank 0 waited for the slowest rank, in the steps that were sampled for it; a part of communication_share
    tokens_per_s: float
    wire_bytes: float  # mean per step, of all steps in which it was measured: what rank 0 handed to the network, MPI's headers in it
    train_s: float  # first to last step; NaN: the file does not tell
    energy_j: float  # of all nodes, first to last step, by the machines' counters; NaN: not measured
    steps: int
    nodes: int  # 0: the file does not tell
    activation_bytes: int | None  # workspaces of rank 0
    memory_bytes: int | None  # most resident bytes of the rank that had most
    validations: tuple[Validation, ...]  # in the order of the steps
    created: str  # UTC, ISO 8601
    # of files of older versions: ""
    source_hash: str  # of the sources that decide the numbers
    binary_hash: str
    commit: str
    dirty: str
    blas_core: str
    order_hash: str
    contaminated: bool  # other work disturbed its times
    invalid: str  # why the file cannot be what it says; "": nothing speaks against it

    @property
    def verdict(self) -> str:
        """"ok", or what is wrong with it."""
        wrong = [f"invalid: {self.invalid}"] * bool(self.invalid) + ["contaminated"] * self.contaminated + ["dirty build"] * (self.dirty == "1")
        return "; ".join(wrong) or "ok"

    @property
    def place(self) -> Path:
        """As the column `file` of an index names it."""
        return member_path(self.path, self.member) if self.member else self.path

    @property
    def name(self) -> str:
        """The same whether the run lies in a file of its own or in an archive."""
        return f"{self.member}.h5" if self.member else self.path.name


@dataclass
class Collection:
    runs: list[Run] = field(default_factory=list)
    left_out: list[tuple[Path, str]] = field(default_factory=list)
    twice: dict[Path, int] = field(default_factory=dict)  # per archive: its runs that are also among the others, and count once
    notes: list[str] = field(default_factory=list)  # what else is to be said below the table
    allowed: frozenset[str] = frozenset()  # of what is left out, or not counted, as a rule (refuse.py)


def split_settings(text: str) -> dict[str, str]:
    """The lines KEY=VALUE of /config_canonical."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {one_line(key, LONGEST): one_line(value, LONGEST) for key, value in pairs}


def take_seed(settings: dict[str, str]) -> int:
    """Out of the settings. Raises Unusable."""
    seed = settings.pop("seed", "")
    if not (seed.isascii() and seed.isdigit() and len(seed) < 20):
        raise Unusable(f"{BROKEN}: /config_canonical {f'says seed={seed}' if seed else 'lacks seed'}")
    return int(seed)


def find_names(text: str) -> dict[str, str]:
    """model.name and the like from /config: names are no part of what decides the numbers. Plain `section:`, `  key: value` lines need no YAML library."""
    names, section = {}, ""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if line and not line[0].isspace():
            section = key
        elif key.strip() == "name":
            names[section] = one_line(value.strip().strip("\"'"))
    return names


def last_attempt(rows: np.ndarray, provenance: Attributes) -> tuple[int, int, int]:
    """Ranks, threads of a rank, and nodes (0: not told). Raises Unusable."""
    rows = rows[rows["attempt"] > 0]
    if not len(rows):
        raise Unusable(f"{BROKEN}: /attempts has no rows")
    last = rows[np.argmax(rows["attempt"])]
    nodes = str(last["nodes"]) if "nodes" in rows.dtype.names else provenance.text("nodes", "")
    found = int(last["ranks"]), int(last["threads"]), int(nodes) if nodes.isascii() and nodes.isdigit() else 0
    if min(found[:2]) < 1:
        raise Unusable(f"{BROKEN}: /attempts says {found[0]} ranks x {found[1]} threads")
    return found


def most_resident(rows: np.ndarray | None) -> int | None:
    """Of all ranks and times; files of older versions do not tell."""
    if rows is None or "peak_bytes" not in rows.dtype.names:
        return None
    known = rows["peak_bytes"][(rows["attempt"] > 0) & (rows["peak_bytes"] > 0)]
    return int(known.max()) if len(known) else None


def make_run(path: Path, member: str, content: Content) -> Run:
    """Raises Unusable."""
    root, provenance, accounting, result = content.root, content.provenance, content.accounting, content.result
    settings, names = split_settings(content.canonical), find_names(content.config)
    if not settings.get("method.name"):
        raise Unusable(f"{BROKEN}: /config_canonical lacks method.name")
    ranks, threads, nodes = last_attempt(content.attempts, provenance)
    steps = newest(content.steps, "step")
    dataset, message = provenance.text("dataset", ""), accounting.needed("sent_bytes_per_step")
    trainable, head = accounting.needed("trainable"), accounting.needed("trainable_head")
    if head > trainable:
        raise Unusable(f"{BROKEN}: /accounting says that {trainable} numbers are trained, {head} of them the head's")
    return Run(
        path=path, member=member, run_id=root.text("run_id"), request_id=root.text("request_id", ""), seed=take_seed(settings), settings=settings,
        task=names.get("task", "") or dataset, dataset=dataset, model=names.get("model", ""), method=settings["method.name"], ranks=ranks, threads=threads,
        nodes=nodes, metric=result.text("metric"), test=result.real("test_metric"), validation=result.real("validation_metric"),
        trainable=trainable - head, head=head,
        stored_bytes=accounting.needed("stored_bytes"), regenerated_bytes=accounting.whole("regenerated_bytes"),
        sent_bytes=4 * accounting.needed("sent_floats"), sent_bytes_with_head=message, **measure_steps(steps), steps=len(steps),
        train_s=result.real("train_s", math.nan), energy_j=result.real("energy_j", math.nan),
        activation_bytes=accounting.whole("activation_bytes"), memory_bytes=most_resident(content.ranks),
        validations=find_validations(content.evaluation, steps, ranks, message), created=root.text("created", ""),
        contaminated=bool(result.real("contaminated", 0)), invalid=find_fault(content, steps, ranks),
        **{name: provenance.text(name, "") for name in ("weights_hash", "dataset_hash", "source_hash", "binary_hash", "commit", "dirty", "blas_core",
                                                        "order_hash")})


def read_group(path: Path, member: str, run: h5py.Group) -> Run:
    """A run that is open: a whole file, or a group of an archive. Raises Unusable."""
    with reasons():
        return make_run(path, member, read_content(run))


def read_run(path: Path) -> Run:
    """One run file. Raises Unusable with the reason for every other file."""
    with open_file(path) as file:
        return read_group(path, "", file)
