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
ORACLE = os.path.join(os.environ.get("PEFTSCALE_ORACLE") or os.path.join(harness.ROOT, "build", "oracle-venv"), "bin", "python3")
TIMEOUT_S = 3600
PEAK_S = 0.2

# What would hold a library to other kernels or another number of threads than it takes by itself.
DROPPED = ("OPENBLAS_", "MKL_", "ONEDNN_", "DNNL_", "ATEN_", "OMP_", "GOMP_", "KMP_", "TORCH", "LD_PRELOAD", "MALLOC_")

# Settings (peer_train.py) and environment of each peer. MALLOC: memory that was freed stays with the process, as with other allocators. SPINCOUNT: threads wait
# for each other some 50 us before they sleep, which costs nothing where each has a core and saves much where one has lost it.
TUNED = {"MALLOC_MMAP_THRESHOLD_": str(1 << 31), "MALLOC_TRIM_THRESHOLD_": str(1 << 31), "GOMP_SPINCOUNT": "10000", "LD_PRELOAD": MKL_LIBRARY}
PEERS = {
    "default": ([], {}),
    "tuned": (["eager", "fused", "ddp", "bf16"], TUNED),
    "tuned-sdpa": (["fused", "ddp", "bf16"], TUNED),
    "compiled": (["fused", "ddp", "bf16", "compile"], TUNED),
}


class SideError(Exception):
    pass


def dropped_variables():
    return sorted(name for name in os.environ if name.startswith(DROPPED))


def environment(changes):
    return harness.environment({name: None for name in dropped_variables()} | changes)


def end(process):
    """Asks first: mpirun then ends its ranks."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run_all(commands, env, what, cores):
    """Runs commands side by side to their ends, each on its core (None: any); where one fails, or none ends, all are ended. What they wrote on standard output."""
    deadline, processes = time.monotonic() + TIMEOUT_S, []
    files = [tempfile.TemporaryFile("w+") for _ in range(2 * len(commands))]  # a pipe that nobody reads would fill up
    try:
        for i, (words, core) in enumerate(zip(commands, cores)):
            bind = (lambda at=core: os.sched_setaffinity(0, {at})) if core is not None else None
            processes.append(subprocess.Popen(words, cwd=harness.ROOT, env=env, stdin=subprocess.DEVNULL, stdout=files[2 * i], stderr=files[2 * i + 1], preexec_fn=bind))
        while any(p.poll() is None for p in processes) and not any(p.poll() for p in processes):
            if time.monotonic() > deadline:
                raise SideError(f"{what}: no end after {TIMEOUT_S} s")
            time.sleep(0.01)
        failed = next((i for i, p in enumerate(processes) if p.poll()), None)
    finally:
        for process in processes:
            end(process)
    said = []
    for file in files:
        file.seek(0)
        said.append(file.read())
        file.close()
    if failed is not None:
        raise SideError(f"{what}: exit status {processes[failed].returncode}\n{(said[2 * failed] + said[2 * failed + 1])[-3000:]}")
    return said[::2]


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
        command = [*self.mpirun, str(ranks or self.layout.ranks), STEP, "--peak", str(PEAK_S), f"threads={self.layout.threads}",
                   f"shards={self.layout.ranks * self.layout.threads}", *words]
        (out,) = run_all([command], environment({}), "bench_step", [None])
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
        reason = f" ({ran.stderr.strip().splitlines()[-1]})" if ran and ran.stderr.strip() else ""
        raise SideError(f"the peer is torch, transformers and peft, which {ORACLE} does not have{reason}: make oracle brings them")
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
        ranks = range(self.layout.ranks)
        run_all([[ORACLE, "-B", os.path.join(HERE, "peer_train.py"), path, str(rank)] for rank in ranks], env, f"the peer ({self.side})",
                [self.layout.core(rank) for rank in ranks])
        found = []
        for rank in ranks:
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
