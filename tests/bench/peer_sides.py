"""Starts the two programs of the comparison, each as its users would, and reads what they measured.

Both get the same numbers: everything the peer needs to know is read from our program's own configuration.
"""

import json
import os
import subprocess
import tempfile
import time

import harness
import launcher

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.abspath(os.environ.get("PEFTSCALE_BUILD") or os.path.join(harness.ROOT, "build"))
PROGRAM = harness.PROGRAM
STEP = os.path.join(BUILD, "bench", "bench_step")
PEAK_LIBRARY = os.path.join(BUILD, "bench", "libpeak.so")
MKL_LIBRARY = os.path.join(BUILD, "bench", "libmkl_as_on_intel.so")
ORACLE = os.path.join(harness.ROOT, "build", "oracle-venv", "bin", "python3")
TIMEOUT_S = 3600
PEAK_S = 0.2

# What would hold a library to other kernels or another number of threads than it takes by itself.
DROPPED = ("OPENBLAS_", "MKL_", "ONEDNN_", "DNNL_", "ATEN_", "OMP_", "GOMP_", "KMP_", "TORCH", "LD_PRELOAD", "MALLOC_")

# Settings (peer_train.py) and environment of each peer. MALLOC: memory that was freed stays with the process, as other allocators do.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 31), "MALLOC_TRIM_THRESHOLD_": str(1 << 31)}
PEERS = {
    "default": ([], {}),
    "tuned": (["eager", "fused", "ddp", "bf16"], KEEP_MEMORY | {"LD_PRELOAD": MKL_LIBRARY}),
    "tuned-sdpa": (["fused", "ddp", "bf16"], KEEP_MEMORY | {"LD_PRELOAD": MKL_LIBRARY}),
    "compiled": (["fused", "ddp", "bf16", "compile"], KEEP_MEMORY | {"LD_PRELOAD": MKL_LIBRARY}),
}


class SideError(Exception):
    pass


def dropped_variables():
    return sorted(name for name in os.environ if name.startswith(DROPPED))


def environment(changes):
    return harness.environment({name: None for name in dropped_variables()} | changes)


def run_to_end(processes, what):
    """Waits for all; if one fails or hangs all are ended."""
    end = time.monotonic() + TIMEOUT_S
    try:
        while any(p.poll() is None for p in processes) and not any(p.poll() for p in processes):
            if time.monotonic() > end:
                raise SideError(f"{what}: no end after {TIMEOUT_S} s")
            time.sleep(0.02)
    finally:
        for process in processes:
            if process.poll() is None and any(p.poll() for p in processes):
                process.kill()
            if time.monotonic() > end:
                process.kill()
    outputs = [process.communicate() for process in processes]
    for process, (out, err) in zip(processes, outputs):
        if process.returncode:
            raise SideError(f"{what}: exit status {process.returncode}\n{(out + err)[-3000:]}")
    return outputs


def start(words, env, core=None):
    bind = (lambda: os.sched_setaffinity(0, {core})) if core is not None else None
    return subprocess.Popen(words, cwd=harness.ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=bind)


class Layout:
    """"2x1": ranks x threads; bind: each rank has cores of its own."""

    def __init__(self, text, bind=False):
        ranks, _, threads = text.partition("x")
        if not (ranks.isdigit() and threads.isdigit() and int(ranks) and int(threads)):
            raise SideError(f"'{text}' is not RANKSxTHREADS, such as 2x1")
        self.ranks, self.threads, self.bind = int(ranks), int(threads), bind and int(threads) == 1

    def core(self, rank):
        cores = sorted(os.sched_getaffinity(0))
        return cores[rank % len(cores)] if self.bind else None


# ---- ours ----


class Ours:
    def __init__(self, folder, layout, words):
        self.folder, self.layout, self.words = folder, layout, list(words)
        self.mpirun = [*launcher.words(PROGRAM, layout.bind), "-np"]

    def call(self, *words, ranks=None):
        began = time.clock_gettime(time.CLOCK_MONOTONIC)
        command = [*self.mpirun, str(ranks or self.layout.ranks), STEP, "--peak", str(PEAK_S), *words, f"threads={self.layout.threads}",
                   f"shards={self.layout.ranks * self.layout.threads}"]
        ((out, _),) = run_to_end([start(command, environment({}))], "bench_step")
        return out, began

    def result(self, *words, ranks=None):
        path = os.path.join(self.folder, "ours.json")
        self.call("--json", path, *words, ranks=ranks)
        with open(path, encoding="utf-8") as file:
            return json.load(file)

    def plan(self, data, steps):
        """Rows of the data set and ids of each step. The training's order does not depend on ranks."""
        return self.result("--only", "plan", "--warm", "0", "--steps", str(steps), *self.words, f"task.data={data}", ranks=1)["plan"]

    def train(self, material, warm, steps, *more):
        found = self.result("--warm", str(warm), "--steps", str(steps), *self.words, f"task.data={material.data}", *more)
        ranks = found["ranks"]
        rows = [step | {"ids": plan["ids"], "places": step["tokens"], "cpu_s": sum(rank["cpu_s"][i] for rank in ranks)}
                for i, (step, plan) in enumerate(zip(found["steps"], found["plan"]))]
        return {"ranks": len(ranks), "threads": found["threads"], "warm": warm, "trained": found["trained"], "steps": rows,
                "peak": sum(rank["peak_before"] + rank["peak_after"] for rank in ranks) / 2, "peak_bytes": max(rank["peak_bytes"] for rank in ranks),
                "proportional_bytes": max(rank["proportional_bytes"] for rank in ranks), "linalg": f"{found['linalg']}, {found['blas']}", "source_hash": found["source_hash"]}

    def first(self, material):
        """Seconds to the end of the first step, run file and all."""
        with tempfile.TemporaryDirectory(dir=self.folder) as runs:
            out, began = self.call("--only", "first", *self.words, f"task.data={material.data}", f"output.dir={runs}")
        found = json.loads(out.strip().splitlines()[-1])
        return {"process_s": found["first_step_s"], "launch_s": found["at_s"] - began}


def settle(words):
    """The configuration that these words make, key by key."""
    outcome = harness.peftscale("config", *words, "--json")
    if outcome.status:
        raise SideError(f"these words make no configuration: {outcome}")
    keys = {}

    def walk(values, before):
        for name, value in values.items():
            if "value" in value:
                keys[before + name] = value["value"]
            else:
                walk(value, f"{before}{name}.")

    walk(json.loads(outcome.out), "")
    return keys


# ---- the peer ----


def check_oracle():
    """Versions of what the peer is made of. Raises SideError with what to do."""
    script = "import json, torch, transformers, peft; print(json.dumps([torch.__version__, transformers.__version__, peft.__version__]))"
    try:
        ran = subprocess.run([ORACLE, "-c", script], capture_output=True, text=True, timeout=300, env=environment({}))
    except OSError:
        ran = None
    if ran is None or ran.returncode:
        raise SideError(f"the peer needs torch, transformers and peft in build/oracle-venv: run make oracle first{': ' + ran.stderr.strip()[-300:] if ran else ''}")
    return dict(zip(("torch", "transformers", "peft"), json.loads(ran.stdout)))


class Peer:
    def __init__(self, folder, layout, name, model, keys):
        self.folder, self.layout, self.name = folder, layout, name
        settings, self.environment = PEERS[name]
        if keys["model.dropout_embedding"] != keys["model.dropout_hidden"]:
            raise SideError("the peer has one rate of dropout for embeddings and hidden vectors")
        if keys["train.schedule"] != "constant" or keys["train.warmup"] or keys["train.clip"]:
            raise SideError("the peer's learning rate is constant, and nothing is clipped")
        head = {name: keys[name] if keys[name] != "auto" else keys[name.removesuffix("_head")] for name in ("train.lr_head", "train.decay_head")}
        bf16 = keys.get("precision") == "bf16"
        self.spec = {"model": model, "method": keys["method.name"], "rank": keys.get("method.rank"), "alpha": keys.get("method.alpha"),
                     "modules": keys.get("method.modules"), "pooling": keys["model.pooling"], "head": keys["model.head"], "classes": 2,
                     "dropout": {place: keys[f"model.dropout_{place}"] for place in ("hidden", "attention", "adapter", "head")}, "lr": keys["train.lr"],
                     "lr_head": head["train.lr_head"], "decay": keys["train.decay"], "decay_head": head["train.decay_head"],
                     "betas": [keys["train.beta1"], keys["train.beta2"]], "epsilon": keys["train.epsilon"], "precision": "bf16" if bf16 else "f32",
                     "settings": [s for s in settings if s != "bf16" or (bf16 and keys["method.name"] == "lora")], "ranks": layout.ranks, "threads": layout.threads,
                     "peak_library": PEAK_LIBRARY, "peak_s": PEAK_S, "start": None}

    @property
    def side(self):
        return f"{self.name} {self.layout.ranks}x{self.layout.threads}"

    def call(self, batches, warm, changes=None):
        """What every rank wrote, and when they were started."""
        path, rendezvous, out = (os.path.join(self.folder, name) for name in ("peer.json", "rendezvous", "peer-out"))
        if os.path.exists(rendezvous):
            os.unlink(rendezvous)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(self.spec | {"batches": batches, "warm": warm, "rendezvous": rendezvous, "out": out} | (changes or {}), file)
        env = environment({"OMP_NUM_THREADS": str(self.layout.threads), "OMP_WAIT_POLICY": None, "GLOO_SOCKET_IFNAME": "lo", "HF_HUB_OFFLINE": "1"} | self.environment)
        began = time.clock_gettime(time.CLOCK_MONOTONIC)
        run_to_end([start([ORACLE, "-B", os.path.join(HERE, "peer_train.py"), path, str(rank)], env, self.layout.core(rank)) for rank in range(self.layout.ranks)],
                   f"the peer ({self.side})")
        found = []
        for rank in range(self.layout.ranks):
            with open(f"{out}.{rank}.json", encoding="utf-8") as file:
                found.append(json.load(file))
        return found, began

    def train(self, batches, warm, changes=None):
        ranks, _ = self.call(batches, warm, changes)
        rows = []
        for parts in zip(*(rank["steps"] for rank in ranks)):
            examples = [len(part["ids"]) for part in parts]
            rows.append({"ids": [i for part in parts for i in part["ids"]], "examples": sum(examples), "wall_s": parts[0]["wall_s"],
                         "loss": sum(part["loss"] * count for part, count in zip(parts, examples)) / sum(examples),
                         **{name: sum(part[name] for part in parts) for name in ("tokens", "places", "cpu_s")}})
        return {"ranks": len(ranks), "threads": self.layout.threads, "warm": warm, "trained": ranks[0]["trained"], "steps": rows,
                "peak": sum(rank["peak_before"] + rank["peak_after"] for rank in ranks) / 2, "peak_bytes": max(rank["peak_bytes"] for rank in ranks),
                "proportional_bytes": max(rank["proportional_bytes"] for rank in ranks)}

    def losses(self, batches, start_file):
        """Without dropout, from our start."""
        none = {place: 0.0 for place in self.spec["dropout"]}
        return [step["loss"] for step in self.train(batches, 1 << 30, {"dropout": none, "start": start_file})["steps"]]

    def first(self, batches):
        (zero, *_), began = self.call(batches, 1 << 30)
        return {"process_s": zero["first_step_s"], "launch_s": zero["at_s"] - began}
