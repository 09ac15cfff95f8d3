#!/usr/bin/python3
"""A SLURM cluster on this machine, by hand and for scripts. README.md beside this file explains it.

usage: slurm.py up [N] [--owner PID] [--share DIR]...   starts N nodes (2; up to 8) and prints their tag; PID: the process they belong to (the caller; 0: nobody)
       slurm.py run WORD...                             a command on the login node, where sbatch, squeue, scontrol and srun work
       slurm.py down                                    takes the cluster down, with whatever still runs on it
       slurm.py with [N] [--share DIR]... -- WORD...    starts N nodes, runs a command on the login node, takes them down
       slurm.py list                                    all that stand: tag, nodes, address range, owner
       slurm.py clean                                   removes those whose owner is gone, prints their tags
       slurm.py check                                   says what this machine lacks

Which cluster: --tag TAG before the verb, or PEFTSCALE_CLUSTER, or the only one that stands. Nodes have a /tmp of their own; --share DIR: a folder below /tmp that
they see all the same, as they see this project, the current folder and PEFTSCALE_ASSETS.
Exit status: 0, or the command's; 1 failed; 2 wrong usage; 77 this machine cannot do it.
"""

import os
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))  # before this folder, which has a slurm.py too
import cluster  # noqa: E402
import slurm  # noqa: E402
import verbs  # noqa: E402
from verbs import Usage, number, take  # noqa: E402


def find(tag):
    tag = verbs.choose(tag, slurm.tags(), "no SLURM stands; start one: slurm.py up")
    if tag not in slurm.tags():
        raise cluster.Broken(f"there is no SLURM cluster '{tag}'")
    return slurm.Slurm(tag)


def take_count(words):
    return (int(words[0]), words[1:]) if words and words[0].isdigit() else (2, words)


def take_shared(words):
    shared = []
    while words[:1] == ["--share"]:
        folder, words = take(words, "--share", None)
        if not Path(folder).is_dir():
            raise Usage(f"'{folder}' is no folder")
        shared.append(folder)
    return shared, words


def up(_tag, words):
    count, words = take_count(words)
    owner, words = take(words, "--owner", str(os.getppid()))
    shared, words = take_shared(words)
    verbs.end(words)
    verbs.print_made(lambda: slurm.create(count, shared=shared, owner=number(owner, "--owner")))


def within(_tag, words):
    count, words = take_count(words)
    shared, words = take_shared(words)
    words = verbs.command(words, "which command?")
    verbs.root_of_mpi()
    with slurm.standing(count, shared=shared) as made:
        return verbs.run_inside(made.enter(made.login, *words), {"PEFTSCALE_CLUSTER": made.tag})


def run(tag, words):
    made, words = find(tag), verbs.command(words, "which command?")
    verbs.root_of_mpi()
    verbs.replace_by(made.enter(made.login, *words))


def down(tag, _words):
    find(tag).destroy()


def list_all(_tag, _words):
    verbs.print_standing(cluster.Cluster(tag) for tag in slurm.tags())


def clean(_tag, _words):
    for tag in cluster.clean():
        print(tag)


def check(_tag, _words):
    lack = slurm.find_lack()
    if lack:
        raise cluster.Unavailable(lack)
    print("SLURM can be started on this machine")


VERBS = {"up": up, "run": run, "down": down, "with": within, "list": list_all, "clean": clean, "check": check}

if __name__ == "__main__":
    sys.exit(verbs.main("slurm.py", __doc__, VERBS, sys.argv[1:]))
