#!/usr/bin/python3
"""Training steps of ours against what people use: transformers + PEFT + DistributedDataParallel, in the environment that `make oracle` makes. Started by
`make bench-peer`.

Both train the same model on the same sentences in the same batches, which is checked (examples and tokens of every step, trained numbers, and the losses of the
first steps without dropout) before anything is timed. Then runs of ours and of each peer take turns; every ratio is of one pair. Results go to DIR/NAME.h5 and
DIR/NAME.md, and to the terminal.

usage: bench_peer.py [--pairs N] [--steps N] [--warm N] [--starts N] [--modes padded,equal] [--precision f32,bf16] [--methods lora,full]
                     [--model minilm-l6 | roberta-base | FOLDER] [--peers NAME[:RANKSxTHREADS],...] [--ours RANKSxTHREADS] [--bind] [--data FILE] [--out DIR]
                     [--name NAME] [--set KEY=VALUE ...]

Modes: padded (batches as they come; the peer pads them to their longest sentence) and equal (all sentences of a batch have one length).
Peers: default (as the documentation has it); tuned (fused AdamW, views of buckets, attention written out, frozen maps kept in bf16, MKL's kernels of the processor's
real level, no memory given back); tuned-sdpa (the same with the library's attention), compiled (that by torch.compile). Models: the folder of that name below
PEFTSCALE_ASSETS; roberta-base is its shape with random weights; or any Hugging Face folder.
"""

import argparse
import os
import platform
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "support")]
import harness  # noqa: E402
import peer_data  # noqa: E402
import peer_report  # noqa: E402
import peer_sides  # noqa: E402

CHECKED_STEPS = 4
DROPOUT = 0.1
# Relative differences of the first loss and of the later ones. bf16 operands have 8 bits.
ALLOWED = {"f32": (1e-3, 1e-3), "bf16": (1e-2, 2e-2)}


def words(text):
    return [word for word in text.split(",") if word]


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60, help="timed ones of each run")
    parser.add_argument("--warm", type=int, default=8, help="steps before them")
    parser.add_argument("--starts", type=int, default=3, help="times that each program is started for one step")
    parser.add_argument("--modes", type=words, default=list(peer_data.MODES))
    parser.add_argument("--precision", type=words, default=["f32", "bf16"])
    parser.add_argument("--methods", type=words, default=["lora"])
    parser.add_argument("--model", default="minilm-l6", help="or roberta-base, or a folder")
    parser.add_argument("--peers", type=words, default=["default", "tuned", "tuned:1x2"])
    parser.add_argument("--ours", default="2x1")
    parser.add_argument("--bind", action="store_true", help="a core of its own for each rank of one thread, on both sides")
    parser.add_argument("--data", help="a prepared data set of single sentences with two classes (sst2-wordpiece.h5)")
    parser.add_argument("--out", default=os.path.join(harness.ROOT, "results", "bench"))
    parser.add_argument("--name", default=time.strftime("peer-%Y%m%d-%H%M%S"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a word of our configuration; the peer takes from it what it has, too")
    options = parser.parse_args(arguments)
    for name, allowed in (("modes", peer_data.MODES), ("precision", tuple(ALLOWED)), ("methods", ("lora", "full"))):
        odd = [word for word in getattr(options, name) if word not in allowed]
        if odd or not getattr(options, name):
            parser.error(f"--{name} {','.join(odd)}: one or more of {', '.join(allowed)}")
    for peer in options.peers:
        if peer.partition(":")[0] not in peer_sides.PEERS:
            parser.error(f"--peers {peer}: one or more of {', '.join(peer_sides.PEERS)}")
    if min(options.pairs, options.steps) < 1 or options.warm < 1 or options.starts < 0:
        parser.error("--pairs, --steps and --warm are at least 1")
    return options


def find_data(named):
    """The prepared SST-2: given, below PEFTSCALE_DATA, or where the README has it made."""
    places = [named] if named else [os.path.join(folder, "sst2-wordpiece.h5") for folder in (os.environ.get("PEFTSCALE_DATA"), os.path.join(harness.ROOT, "build", "data"))
                                    if folder]
    for path in places:
        if os.path.exists(path):
            return path
    raise peer_data.DataError(f"there is no {' and no '.join(places)}: make venv && build/venv/bin/python3 -m experiments.prepare sst2 --tokenizer minilm-l6 --out "
                              "build/data/sst2-wordpiece.h5, with PEFTSCALE_ASSETS naming the folder that holds data/glue/SST-2 and minilm-l6")


def find_model(name, folder):
    """Its folder, and the words that choose it."""
    if name == "roberta-base":
        path = peer_data.write_roberta_base(os.path.join(folder, "roberta-base-shape"))
        return path, [f"model={name}", f"model.path={path}"]
    if os.path.exists(os.path.join(name, "config.json")):
        return os.path.abspath(name), [f"model.path={os.path.abspath(name)}"]
    path = os.path.join(os.environ.get("PEFTSCALE_ASSETS", ""), name)
    if not os.path.exists(os.path.join(path, "config.json")):
        raise peer_data.DataError(f"there is no Hugging Face folder {path}: PEFTSCALE_ASSETS names the one that holds {name}")
    return path, [f"model={name}", f"model.path={path}"]


class Case:
    """One model, method, mode and precision; ours, and the peers against it."""

    def __init__(self, options, folder, model, source, method, mode, precision):
        self.options, self.precision, self.folder = options, precision, folder
        path, chosen = model
        short = os.path.basename(path)
        self.facts = {"name": f"{short} {method} {mode} {precision}", "model": short, "method": method, "mode": mode, "precision": precision}
        drop = [f"model.dropout_{place}={DROPOUT}" for place in ("embedding", "hidden", "attention", "head")]
        own = [*chosen, f"method={method}", *drop, f"train.batch={peer_data.BATCH}", "train.schedule=constant",
               "train.warmup=0", "train.keep=last", *(["precision=bf16"] if precision == "bf16" else []), *options.set]
        keys = peer_sides.settle(own)
        layout = peer_sides.Layout(options.ours, options.bind)
        self.ours = peer_sides.Ours(folder, layout, own)
        self.peers = []
        for text in options.peers:
            name, _, wanted = text.partition(":")
            self.peers.append(peer_sides.Peer(folder, peer_sides.Layout(wanted or options.ours, options.bind), name, path, keys))
        steps = options.warm + options.steps
        self.material = peer_data.Material(folder, source, mode, steps, lambda path: self.ours.plan(path, steps))
        self.runs, self.starts = [], []

    @property
    def name(self):
        return self.facts["name"]

    def check(self):
        """Both train the same thing."""
        start, few = (os.path.join(self.folder, name) for name in ("start.safetensors", "few.npz"))
        steps = min(CHECKED_STEPS, self.material.steps)
        peer_data.cut_batches(self.material.batches, few, steps)
        none = [f"model.dropout_{place}=0" for place in ("embedding", "hidden", "attention", "head", "adapter")]
        ours = self.ours.train(self.material, 1, steps - 1, "--start", start, *none)
        own = [step["loss"] for step in ours["steps"]]
        for peer in self.peers:
            theirs = peer.losses(few, start)
            peer_report.check_losses(f"{self.name}, {peer.side}", own, theirs, *ALLOWED[self.precision])
            say(f"losses without dropout: ours {own[0]:.6f} ... {own[-1]:.6f}, {peer.side} {theirs[0]:.6f} ... {theirs[-1]:.6f}")

    def time_starts(self):
        for _ in range(self.options.starts):
            self.starts.append({"case": self.name, "side": "ours"} | self.ours.first(self.material))
            for peer in self.peers:
                if peer.name != "compiled":  # minutes, of which nobody asks
                    self.starts.append({"case": self.name, "side": peer.side} | peer.first(self.material.first))

    def pair(self, number, peer):
        warm, steps = self.options.warm, self.options.steps
        ours = self.ours.train(self.material, warm, steps) | {"case": self.name, "pair": number, "side": "ours", "against": peer.side}
        theirs = peer.train(self.material.batches, warm) | {"case": self.name, "pair": number, "side": peer.side, "against": "ours"}
        peer_report.check_equal_work(f"{self.name}, {peer.side}", ours, theirs)
        for mine, step in zip(ours["steps"], theirs["steps"]):
            step["flop"] = mine["flop"]
        self.runs += [ours, theirs]
        a, b = (peer_report.figures(run) for run in (ours, theirs))
        say(f"pair {number}: ours {a['tokens_per_s']:.0f} tokens/s, {100 * a['share']:.1f} % of the peak; {peer.side} {b['tokens_per_s']:.0f}, {100 * b['share']:.1f} %; "
            f"ratio {a['tokens_per_s'] / b['tokens_per_s']:.2f}")

    def run(self):
        say(f"== {self.name}")
        self.check()
        self.time_starts()
        for number in range(1, self.options.pairs + 1):
            for peer in self.peers:
                self.pair(number, peer)


def say(text):
    print(text, flush=True)


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), platform.processor())


def work(options):
    for path in (peer_sides.STEP, peer_sides.PEAK_LIBRARY, peer_sides.MKL_LIBRARY, peer_sides.PROGRAM):
        if not os.path.exists(path):
            raise peer_sides.SideError(f"there is no {path}: start this by make bench-peer")
    versions = peer_sides.check_oracle()
    folder = os.path.join(peer_sides.BUILD, "bench-peer")
    os.makedirs(options.out, exist_ok=True)
    os.makedirs(folder, exist_ok=True)
    source, model = peer_data.read_train(find_data(options.data)), find_model(options.model, folder)
    if peer_sides.dropped_variables():
        say(f"left out of both programs' environment: {', '.join(peer_sides.dropped_variables())}")
    facts = {"created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "processor": f"{processor()}, {len(os.sched_getaffinity(0))} cores", **versions,
             "bound": "a core for each rank" if options.bind else "no", "settings": " ".join(options.set) or "none"}
    cases, runs, starts = [], [], []
    for method in options.methods:
        for mode in options.modes:
            for precision in options.precision:
                case = Case(options, folder, model, source, method, mode, precision)
                case.run()
                cases.append(case.facts)
                runs += case.runs
                starts += case.starts
                facts |= {"linalg": case.runs[0]["linalg"], "source_hash": case.runs[0]["source_hash"]}
                save(options, cases, runs, starts, facts)  # what was measured is kept, whatever happens to the next case
    say("\n" + peer_report.text_table(cases, runs, starts))
    say(f"\n{os.path.join(options.out, options.name)}.h5 and .md")


def save(options, cases, runs, starts, facts):
    path = os.path.join(options.out, options.name)
    peer_report.write(path + ".h5.new", cases, runs, starts, facts)
    os.replace(path + ".h5.new", path + ".h5")
    with open(path + ".md", "w", encoding="utf-8") as file:
        file.write(peer_report.markdown(cases, runs, starts, facts))


if __name__ == "__main__":
    try:
        work(parse())
    except (peer_data.DataError, peer_sides.SideError, ValueError) as e:
        sys.exit(f"bench_peer: error: {e}")
