#!/usr/bin/python3
"""Several hosts on one machine, by hand and for scripts. README.md beside this file explains them.

usage: hosts.py up N [--rate RATE] [--owner PID]   makes N hosts (2 to 8), prints their tag; PID: the process they belong to (the caller; 0: nobody)
       hosts.py rate RATE                          unshaped, 1gbit, 100mbit, 10mbit or another rate for what each host sends
       hosts.py run [--slots N] WORD...            mpirun WORD... across all hosts, N ranks on each (1)
       hosts.py on NUMBER WORD...                  a command on one host, from 1
       hosts.py link NUMBER up|down                the host's cable
       hosts.py counters                           what each host sent and received until now, tab-separated
       hosts.py down                               takes them down, with whatever still runs on them
       hosts.py with N [--rate RATE] WORD...       makes N hosts, runs a command on this machine, takes them down; the command finds
                                                   PEFTSCALE_CLUSTER (the tag) and PEFTSCALE_MPIRUN (mpirun across them) in its environment
       hosts.py list                               all that stand: tag, hosts, address range, owner
       hosts.py clean                              removes those whose owner is gone, prints their tags
       hosts.py check                              says what this machine lacks

Which hosts: --tag TAG before the verb, or PEFTSCALE_CLUSTER, or the only ones that stand.
Exit status: 0, or the command's; 1 failed; 2 wrong usage; 77 this machine cannot do it.
"""

import os
import shlex
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import cluster  # noqa: E402
import verbs  # noqa: E402
from verbs import Usage, number, take  # noqa: E402


def find(tag):
    return cluster.Cluster(verbs.choose(tag, cluster.tags(), "no hosts stand; make some: hosts.py up 2"))


def host(made, word):
    index = number(word, "a host")
    if not 1 <= index <= len(made.hosts):
        raise Usage(f"there are hosts 1 to {len(made.hosts)}")
    return made.hosts[index - 1]


def take_count(words):
    return number(words[0] if words else "", "how many hosts"), words[1:]


def up(_tag, words):
    count, words = take_count(words)
    rate, words = take(words, "--rate", cluster.UNSHAPED)
    owner, words = take(words, "--owner", str(os.getppid()))
    verbs.end(words)
    verbs.print_made(lambda: cluster.create(count, rate, number(owner, "--owner")))


def within(_tag, words):
    count, words = take_count(words)
    rate, words = take(words, "--rate", cluster.UNSHAPED)
    words = verbs.command(words, "which command?")
    with cluster.standing(count, rate) as made:
        here = [sys.executable, str(Path(__file__).resolve()), "--tag", made.tag, "run"]
        return verbs.run_inside(words, {"PEFTSCALE_CLUSTER": made.tag, "PEFTSCALE_MPIRUN": shlex.join(here)})


def rate(tag, words):
    if len(words) != 1:
        raise Usage("one word is needed: a rate")
    find(tag).set_rate(words[0])


def run(tag, words):
    slots, words = take(words, "--slots", "1")
    words = verbs.command(words, "what is mpirun to run?")
    verbs.root_of_mpi()
    verbs.replace_by(find(tag).mpirun(*words, slots=number(slots, "--slots")))


def on(tag, words):
    made = find(tag)
    if len(words) < 2:
        raise Usage("a host's number and a command are needed")
    verbs.root_of_mpi()
    verbs.replace_by(made.enter(host(made, words[0]), *words[1:]))


def link(tag, words):
    made = find(tag)
    if len(words) != 2 or words[1] not in ("up", "down"):
        raise Usage("a host's number and up or down are needed")
    made.set_link(host(made, words[0]), words[1] == "up")


def counters(tag, _words):
    names = list(cluster.Counters.__dataclass_fields__)
    print("host", *names, sep="\t")
    for name, values in find(tag).counters().items():
        print(name, *(getattr(values, each) for each in names), sep="\t")


def down(tag, _words):
    find(tag).destroy()


def list_all(_tag, _words):
    verbs.print_standing(cluster.Cluster(tag) for tag in cluster.tags())


def clean(_tag, _words):
    for tag in cluster.clean():
        print(tag)


def check(_tag, _words):
    lack = cluster.find_lack()
    if lack:
        raise cluster.Unavailable(lack)
    print("several hosts can be made on this machine")


VERBS = {"up": up, "rate": rate, "run": run, "on": on, "link": link, "counters": counters, "down": down, "with": within, "list": list_all, "clean": clean, "check": check}

if __name__ == "__main__":
    sys.exit(verbs.main("hosts.py", __doc__, VERBS, sys.argv[1:]))
