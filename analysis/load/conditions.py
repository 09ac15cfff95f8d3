"""Under which conditions a run was made, as its file tells: the program and its libraries, the machine, how ranks were placed and what lay between them."""

import numpy as np

from .hdf5 import as_text, need, reasons
from .runs import Run
from .series import opened

# Attributes of /provenance, in the order in which they are told, by their names for people.
PROVENANCE = {
    "version": "program version", "commit": "commit", "dirty": "changed since that commit", "source_hash": "source_hash", "binary_hash": "binary_hash",
    "compiler": "compiler", "cflags": "compiler flags", "backend": "precision and backend", "blas": "BLAS library", "blas_core": "BLAS kernels",
    "onednn": "oneDNN library", "mpi": "MPI library", "hdf5": "HDF5 library", "host": "host of rank 0", "cpu": "processor", "memory": "memory",
    "kernel": "operating system",
    "cores_allowed": "cores that rank 0 may use", "core_count": "number of these cores", "nodes": "nodes", "ranks": "ranks", "threads": "threads of a rank",
    "binding": "binding of ranks to cores", "wire": "how bytes on the wire were measured", "energy_source": "source of energy figures",
    "node_reduce": "sums within a node first", "weights_hash": "base weights", "dataset_hash": "data set", "start_hash": "adapter it started from",
}
# Of /config: how a run was executed, which is no part of what decides its numbers.
EXECUTION = {"network": "network, as named by the user", "reduce": "sum over ranks", "payload": "payload", "head_reduce": "head travels as"}
# Told elsewhere, or different in each run by its nature.
UNTOLD = ("initial_theta_hash", "order_hash", "schedule_hash", "dataset", "cjson", "libyaml", "slurm_step_id")
YES_OR_NO = {"dirty": {"0": "no", "1": "yes"}}


def find_execution(config: str) -> dict[str, str]:
    """Plain `key: value` lines that stand in no section."""
    pairs = (line.partition(":") for line in config.splitlines() if line and not line[0].isspace())
    return {EXECUTION[key]: value.strip().strip("\"'") for key, _, value in pairs if key in EXECUTION}


def read_conditions(run: Run) -> dict[str, str]:
    """By names for people, in a fixed order; what the file does not tell is missing. Environment variables keep their own names. Raises Unusable."""
    with opened(run) as group, reasons():
        attributes = {name: as_text(value) for name, value in group["provenance"].attrs.items()} if "provenance" in group else {}
        found = {title: YES_OR_NO.get(name, {}).get(attributes[name], attributes[name]) for name, title in PROVENANCE.items() if attributes.get(name)}
        if "dataset" in attributes and "data set" in found:
            found["data set"] = f"{attributes['dataset']} {found['data set']}"
        found |= {name: value for name, value in find_execution(as_text(need(group, "config"))).items() if value}
        rows = need(group, "series/ranks") if "series/ranks" in group else np.empty(0, [("host", "S1")])
        if "host" in (rows.dtype.names or ()) and len(hosts := sorted({as_text(host) for host in np.unique(rows["host"])} - {""})) > 1:
            found["hosts"] = ", ".join(hosts)
        found |= {name: value for name, value in sorted(attributes.items()) if name not in PROVENANCE and name not in UNTOLD and value}
        return found
