"""One finished training as a Run: what a run file, or a group of an archive, says of it."""

import math
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from .hdf5 import as_text, check_kind, need, newest, open_file, reasons
from .measure import Validation, find_validations, measure_steps


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
    communication_share: float  # of the steps' time
    wait_share: float  # likewise: rank 0 waited for the slowest rank, in the steps that were sampled for it; a part of communication_share
    tokens_per_s: float
    wire_bytes: float  # mean per step, of all steps in which it was measured: what rank 0 handed to the network, MPI's headers in it
    train_s: float  # first to last step; NaN: the file does not tell
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
    def name(self) -> str:
        """The same whether the run lies in a file of its own or in an archive."""
        return f"{self.member}.h5" if self.member else self.path.name


@dataclass
class Collection:
    runs: list[Run] = field(default_factory=list)
    left_out: list[tuple[Path, str]] = field(default_factory=list)
    twice: dict[Path, int] = field(default_factory=dict)  # per archive: its runs that are also among the others, and count once
    notes: list[str] = field(default_factory=list)  # what else is to be said below the table


def split_settings(text: str) -> dict[str, str]:
    """The lines KEY=VALUE of /config_canonical."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def find_names(text: str) -> dict[str, str]:
    """model.name and the like from /config: names are no part of what decides the numbers. Plain `section:`, `  key: value` lines need no YAML library."""
    names, section = {}, ""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if line and not line[0].isspace():
            section = key
        elif key.strip() == "name":
            names[section] = value.strip().strip("\"'")
    return names


def optional(attributes, name: str) -> int | None:
    return None if name not in attributes else int(attributes[name])


def most_resident(run: h5py.Group) -> int | None:
    """Of all ranks and times; files of older versions do not tell."""
    if "series/ranks" not in run or "peak_bytes" not in (run["series/ranks"].dtype.names or ()):
        return None
    rows = need(run, "series/ranks")
    known = rows["peak_bytes"][(rows["attempt"] > 0) & (rows["peak_bytes"] > 0)]
    return int(known.max()) if len(known) else None


def read_group(path: Path, member: str, run: h5py.Group) -> Run:
    """A run that is open: a whole file, or a group of an archive. Raises Unusable."""
    with reasons():
        check_kind(run)
        settings = split_settings(as_text(need(run, "config_canonical")))
        names = find_names(as_text(need(run, "config")))
        provenance = run["provenance"].attrs if "provenance" in run else {}
        attempts = need(run, "attempts")
        last = attempts[np.argmax(attempts["attempt"])]
        ranks, nodes = int(last["ranks"]), int(last["nodes"]) if "nodes" in last.dtype.names else int(provenance.get("nodes", 0))
        series = newest(need(run, "series/steps"), "step")
        counts = {name: int(need(run, "accounting", name)) for name in ("trainable", "trainable_head", "stored_bytes", "sent_floats", "sent_bytes_per_step")}
        accounting, result = run["accounting"].attrs, run["result"].attrs
        scores = {name: float(need(run, "result", name)) for name in ("test_metric", "validation_metric")}
        evaluation = need(run, "evaluation") if "evaluation" in run else None
        dataset = as_text(provenance.get("dataset", ""))
        return Run(
            path=path, member=member, run_id=as_text(need(run, "/", "run_id")), request_id=as_text(run.attrs.get("request_id", "")),
            seed=int(settings.pop("seed")), settings=settings, task=names.get("task", "") or dataset, dataset=dataset,
            dataset_hash=as_text(provenance.get("dataset_hash", "")), model=names.get("model", ""), weights_hash=as_text(provenance.get("weights_hash", "")),
            method=settings["method.name"], ranks=ranks, threads=int(last["threads"]), metric=as_text(need(run, "result", "metric")),
            test=scores["test_metric"], validation=scores["validation_metric"], trainable=counts["trainable"] - counts["trainable_head"],
            head=counts["trainable_head"], stored_bytes=counts["stored_bytes"], regenerated_bytes=optional(accounting, "regenerated_bytes"),
            sent_bytes=4 * counts["sent_floats"], sent_bytes_with_head=counts["sent_bytes_per_step"], **measure_steps(series),
            train_s=float(result.get("train_s", math.nan)), steps=len(series), nodes=nodes, activation_bytes=optional(accounting, "activation_bytes"),
            memory_bytes=most_resident(run), validations=find_validations(evaluation, series, ranks, counts["sent_bytes_per_step"]),
            created=as_text(run.attrs.get("created", "")), contaminated=bool(result.get("contaminated", 0)), invalid="",
            **{name: as_text(provenance.get(name, "")) for name in ("source_hash", "binary_hash", "commit", "dirty", "blas_core", "order_hash")})


def read_run(path: Path) -> Run:
    """One run file. Raises Unusable with the reason for every other file."""
    with open_file(path) as file:
        return read_group(path, "", file)
