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
import signal
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import cluster  # noqa: E402


class Usage(Exception):
    pass


def take(words, name, default):
    """The value of an option among the leading words: --name VALUE."""
    if words[:1] == [name]:
        if len(words) < 2:
            raise Usage(f"{name} needs a value")
        return words[1], words[2:]
    return default, words


def number(word, what):
    if not word.isdigit():
        raise Usage(f"{what} is a number, not '{word}'")
    return int(word)


def find(tag):
    tag = tag or os.environ.get("PEFTSCALE_CLUSTER")
    if tag:
        return cluster.Cluster(tag)
    tags = cluster.tags()
    if len(tags) != 1:
        raise Usage(f"say which with --tag: {' '.join(tags)}" if tags else "no hosts stand; make some: hosts.py up 2")
    return cluster.Cluster(tags[0])


def host(made, word):
    index = number(word, "a host")
    if not 1 <= index <= len(made.hosts):
        raise Usage(f"there are hosts 1 to {len(made.hosts)}")
    return made.hosts[index - 1]


def one(words, what):
    if len(words) != 1:
        raise Usage(f"one word is needed: {what}")
    return words[0]


def replace_by(words):
    sys.stdout.flush()
    os.execvp(words[0], words)


def root_of_mpi():
    """Open MPI refuses root unless told twice; who makes namespaces is root."""
    os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")


def up(_tag, words):
    count, words = number(words[0] if words else "", "how many hosts"), words[1:]
    rate, words = take(words, "--rate", cluster.UNSHAPED)
    owner, words = take(words, "--owner", str(os.getppid()))
    if words:
        raise Usage(f"'{words[0]}' is too much")
    with cluster.uninterrupted():
        made = cluster.create(count, rate, number(owner, "--owner"))
        if signal.sigpending() & cluster.SIGNALS:
            made.destroy()
    print(made.tag)


def within(_tag, words):
    count, words = number(words[0] if words else "", "how many hosts"), words[1:]
    rate, words = take(words, "--rate", cluster.UNSHAPED)
    words = words[1:] if words[:1] == ["--"] else words
    if not words:
        raise Usage("which command?")
    with cluster.standing(count, rate) as made:
        here = [sys.executable, str(Path(__file__).resolve()), "--tag", made.tag, "run"]
        process = subprocess.Popen(words, env={**os.environ, "PEFTSCALE_CLUSTER": made.tag, "PEFTSCALE_MPIRUN": shlex.join(here)})
        for each in cluster.SIGNALS:  # the command ends first, then its hosts
            signal.signal(each, lambda signum, _frame: process.send_signal(signum))
        code = process.wait()
    return code if code >= 0 else 128 - code


def rate(tag, words):
    find(tag).set_rate(one(words, "a rate"))


def run(tag, words):
    slots, words = take(words, "--slots", "1")
    words = words[1:] if words[:1] == ["--"] else words
    if not words:
        raise Usage("what is mpirun to run?")
    root_of_mpi()
    replace_by(find(tag).mpirun(*words, slots=number(slots, "--slots")))


def on(tag, words):
    made = find(tag)
    if len(words) < 2:
        raise Usage("a host's number and a command are needed")
    root_of_mpi()
    replace_by(made.enter(host(made, words[0]), *words[1:]))


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
    for made in (cluster.Cluster(tag) for tag in cluster.tags()):
        owner = "nobody" if made.owner["pid"] == 0 else f"process {made.owner['pid']}" + ("" if cluster.is_alive(made.owner) else ", which is gone")
        print(made.tag, len(made.hosts), made.subnet, owner, sep="\t")


def clean(_tag, _words):
    for tag in cluster.clean():
        print(tag)


def check(_tag, _words):
    lack = cluster.find_lack()
    if lack:
        raise cluster.Unavailable(lack)
    print("several hosts can be made on this machine")


VERBS = {"up": up, "rate": rate, "run": run, "on": on, "link": link, "counters": counters, "down": down, "with": within, "list": list_all, "clean": clean, "check": check}


def main(words):
    if not words or words[0] in ("-h", "--help", "help"):
        print(__doc__)
        return 0 if words else 2
    try:
        tag, words = take(words, "--tag", None)
        if not words or words[0] not in VERBS:
            raise Usage(f"no such verb: {words[0] if words else ''}; see --help")
        if os.geteuid() != 0 and words[0] != "list":
            raise cluster.Unavailable("needs root, to make network namespaces")
        return VERBS[words[0]](tag, words[1:]) or 0
    except Usage as error:
        print(f"hosts.py: {error}", file=sys.stderr)
        return 2
    except cluster.Unavailable as error:
        print(error)
        return 77
    except (cluster.Broken, OSError) as error:
        print(f"hosts.py: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
