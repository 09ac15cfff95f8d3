"""What the tools of tests/cluster and tests/slurm have in common: words of a command line, and how a tool ends."""

import os
import signal
import subprocess
import sys

import cluster


class Usage(Exception):
    """What is wrong with the words, in one line."""


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


def end(words):
    """After the last word that was expected."""
    if words:
        raise Usage(f"'{words[0]}' is too much")


def command(words, question):
    """What follows a tool's own words, perhaps after --."""
    words = words[1:] if words[:1] == ["--"] else words
    if not words:
        raise Usage(question)
    return words


def choose(tag, tags, nothing):
    """The cluster that is meant: by --tag, by PEFTSCALE_CLUSTER, or the only one that stands."""
    tag = tag or os.environ.get("PEFTSCALE_CLUSTER")
    if not tag and len(tags) != 1:
        raise Usage(f"say which with --tag: {' '.join(tags)}" if tags else nothing)
    return tag or tags[0]


def print_made(make):
    """Makes a cluster and prints its tag; a signal that came meanwhile takes it down again."""
    with cluster.uninterrupted():
        made = make()
        if signal.sigpending() & cluster.SIGNALS:
            made.destroy()
    print(made.tag)


def print_standing(clusters):
    for made in clusters:
        owner = "nobody" if made.owner["pid"] == 0 else f"process {made.owner['pid']}" + ("" if cluster.is_alive(made.owner) else ", which is gone")
        print(made.tag, len(made.hosts), made.subnet, owner, sep="\t")


def run_inside(words, environment):
    """Runs a command to its end, before which this process does not end: signals go to the command. Returns its exit status."""
    process = subprocess.Popen(words, env={**os.environ, **environment})
    for each in cluster.SIGNALS:
        signal.signal(each, lambda signum, _frame: process.send_signal(signum))
    code = process.wait()
    return code if code >= 0 else 128 - code


def replace_by(words):
    sys.stdout.flush()
    os.execvp(words[0], words)


def root_of_mpi():
    """Open MPI refuses root unless told twice; who makes namespaces is root."""
    os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")


def main(name, document, verbs, words):
    """verbs: {word: function(tag, the words after it)}. Returns the exit status: 0 or the verb's, 1 failed, 2 wrong usage, 77 this machine cannot do it."""
    if not words or words[0] in ("-h", "--help", "help"):
        print(document)
        return 0 if words else 2
    try:
        tag, words = take(words, "--tag", None)
        if not words or words[0] not in verbs:
            raise Usage(f"no such verb: {words[0] if words else ''}; see --help")
        if os.geteuid() != 0 and words[0] != "list":
            raise cluster.Unavailable("needs root, to make network namespaces")
        return verbs[words[0]](tag, words[1:]) or 0
    except Usage as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except cluster.Unavailable as error:
        print(error)
        return 77
    except (cluster.Broken, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
