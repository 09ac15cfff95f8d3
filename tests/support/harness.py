"""What the tests of the whole program share: starting it, with and without MPI, and reading run files.

The environment says what to test: PEFTSCALE (the program), PEFTSCALE_MPIRUN (mpirun with its flags).
"""

import glob
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.path.abspath(os.environ.get("PEFTSCALE") or os.path.join(ROOT, "build", "peftscale"))
TIMEOUT_S = 60

sys.dont_write_bytecode = True
sys.path.append(os.path.join(ROOT, "experiments", "support"))

try:
    import h5py
    import numpy as np
except ImportError as e:
    print(f"skipped: no {e.name} (Debian's python3-h5py)")
    sys.exit(77)

import launcher  # noqa: E402
import make_tiny  # noqa: E402, F401
import tap  # noqa: E402

MPIRUN = shlex.split(os.environ.get("PEFTSCALE_MPIRUN") or "") or launcher.words(PROGRAM)
OPEN_MPI = launcher.library_of(PROGRAM).startswith("Open MPI")
needs_open_mpi = unittest.skipUnless(OPEN_MPI, "needs a program built with Open MPI: it is about what that library alone has")

# Ranks of one machine talk through sockets: for Open MPI, and for MPICH over UCX.
OVER_TCP = {"OMPI_MCA_pml": "ob1", "OMPI_MCA_btl": "tcp,self", "OMPI_MCA_btl_tcp_if_include": "127.0.0.0/8", "UCX_TLS": "tcp"}


def environment(changes=None):
    # ob1: starts in half the time of a search for fast networks, which one machine does not need.
    result = {"OMPI_MCA_pml": "ob1", **os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_mpi_yield_when_idle": "1",
              "OMPI_MCA_odls_base_sigkill_timeout": "0", "OMP_WAIT_POLICY": "passive", "PEFTSCALE_CONFIGS": os.path.join(ROOT, "configs")}
    result.pop("PEFTSCALE_DATA", None)
    for name, value in (changes or {}).items():
        result.pop(name, None)
        if value is not None:
            result[name] = value
    return result


class Outcome:
    """One ended call: status, out, err, and what of err the program itself said went wrong."""

    def __init__(self, words, status, out, err):
        self.words, self.status, self.out, self.err = words, status, out, err
        self.errors = [line for line in err.splitlines() if line.startswith("peftscale: error:")]

    def __str__(self):
        return f"{' '.join(self.words)}\nexit status {self.status}\n{self.out[-2000:]}\n{self.err[-4000:]}"


def command(*arguments, ranks=0):
    """ranks 0: without mpirun."""
    return [*([*MPIRUN, "-np", str(ranks)] if ranks else []), PROGRAM, *arguments]


def call(words, changes=None, timeout_s=TIMEOUT_S, directory=ROOT):
    """Runs a command to its end; a hang is an AssertionError, after its whole process group was ended."""
    process = subprocess.Popen(words, cwd=directory, env=environment(changes), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise AssertionError(f"hangs: no end after {timeout_s} s\n{Outcome(words, None, out, err)}") from None
    return Outcome(words, process.returncode, out, err)


def peftscale(*arguments, ranks=0, changes=None, timeout_s=TIMEOUT_S):
    return call(command(*arguments, ranks=ranks), changes, timeout_s)


def succeed(*arguments, **how):
    outcome = peftscale(*arguments, **how)
    if outcome.status:
        raise AssertionError(f"failed: {outcome}")
    return outcome


def train(*settings, ranks=1, changes=None):
    """Trains and returns the path of the run file."""
    return json.loads(succeed("train", "--json", "--quiet", *settings, ranks=ranks, changes=changes).out)["run"]


def evaluate(run, *arguments, ranks=1):
    return json.loads(succeed("evaluate", run, "--json", *arguments, ranks=ranks).out)


def text(value):
    """h5py gives texts of fixed length as bytes."""
    return value.decode() if isinstance(value, bytes) else value


def read(run, where):
    with h5py.File(run, "r") as file:
        return file[where][...]


def attribute(run, where, name):
    with h5py.File(run, "r") as file:
        return text(file[where or "/"].attrs[name])


def losses(run):
    return read(run, "series/steps")["loss"]


def evaluations(run, split):
    rows = read(run, "evaluation")
    return rows[rows["split"] == split.encode()]


def run_files(directory):
    """Finished ones, and those on their way."""
    return sorted(glob.glob(os.path.join(directory, "**", "*.h5"), recursive=True)), sorted(glob.glob(os.path.join(directory, "**", "*.h5.partial*"), recursive=True))


def methods():
    return [row["name"] for row in json.loads(succeed("list", "methods", "--json").out)["methods"]]


class Case(unittest.TestCase):
    """A folder of its own per class, with a tiny data set and a tiny model in it."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="peftscale-")
        cls.addClassCleanup(cls.folder.cleanup)
        cls.data = make_tiny.write_dataset(cls.at("data.h5"))
        cls.model = make_tiny.write_model(cls.at("model"))

    @classmethod
    def at(cls, name):
        return os.path.join(cls.folder.name, name)

    @classmethod
    def settings(cls, name, **changed):
        """key=value words of a small training whose run file is NAME.h5; section__key stands for section.key."""
        keys = {"model.path": cls.model, "task.data": cls.data, "output.dir": cls.at("runs"), "output.name": name, "output.theta": "true", "shards": "8",
                "train.batch": "16", "train.epochs": "2", "train.lr": "5e-3", "train.lr_head": "5e-3"}
        keys.update({key.replace("__", "."): value for key, value in changed.items()})
        return [f"{key}={value}" for key, value in keys.items()]


def main():
    if not os.access(PROGRAM, os.X_OK):
        print(f"no program at {PROGRAM}: run make first")
        sys.exit(1)
    tap.main()


__all__ = ["Case", "MPIRUN", "OPEN_MPI", "OVER_TCP", "Outcome", "PROGRAM", "ROOT", "attribute", "call", "command", "environment", "evaluate", "evaluations", "h5py", "launcher", "losses",
           "main", "make_tiny", "methods", "needs_open_mpi", "np", "peftscale", "read", "run_files", "succeed", "text", "train"]
