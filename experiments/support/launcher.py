#!/usr/bin/python3
"""The mpirun that belongs to the program, with its flags; Open MPI's and MPICH's may be installed side by side, and their flags differ.

usage: launcher.py PROGRAM [--bind]

Prints the words, to be followed by -np RANKS: ranks may run on any core, and may be more than there are; with --bind each has a core of its own.
"""

import json
import shutil
import subprocess
import sys

# Name of the library as the program or the launcher tells it; commands in the order of trying; flags for free ranks, and for bound ones.
OPEN_MPI = ("Open MPI", ["mpirun", "mpirun.openmpi"], ["--oversubscribe", "--bind-to", "none"], ["--bind-to", "core"])
MPICH = ("MPICH", ["mpirun.mpich", "mpiexec.hydra", "mpirun"], ["-bind-to", "none"], ["-bind-to", "core"])


def said_by(*words):
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def library_of(program):
    """What the program says it was built with; "" if there is no program, or it does not say."""
    try:
        return json.loads(said_by(program, "info", "--json")).get("mpi", "")
    except ValueError:
        return ""


def kind_of(launcher):
    return MPICH if "HYDRA" in said_by(launcher, "--version") else OPEN_MPI


def words(program, bind=False):
    library = library_of(program)
    kind = MPICH if library.startswith("MPICH") else OPEN_MPI if library else kind_of("mpirun")
    there = [command for command in kind[1] if shutil.which(command) and kind_of(command) is kind]
    return [there[0] if there else kind[1][0], *kind[3 if bind else 2]]


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or sys.argv[2:] not in ([], ["--bind"]):
        sys.exit(__doc__)
    print(*words(sys.argv[1], len(sys.argv) == 3))
