"""Memory of 1, 2 and 3 ranks on one node, LoRA on the shape of RoBERTa-base: what all hold together, and what each further rank adds.

usage: memory.py            in the project's root
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import launcher  # noqa: E402

PROGRAM = os.environ.get("PEFTSCALE", "build/peftscale")
MODEL = "build/bench-peer/roberta-base-shape"  # bench_peer.py makes it
RANKS = (1, 2, 3)
BATCHES = {"32 in all": lambda ranks: 32, "32 a rank": lambda ranks: 32 * ranks}


def measure(mpirun: list[str], ranks: int, precision: str, batch: int) -> tuple[float, float, float]:
    """MB: proportional set sizes of all ranks together behind the last step; of these the frozen numbers, which are there once; rank 0's workspace."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "steps.json"
        words = ["build/bench/bench_step", "--warm", "2", "--steps", "4", "--json", str(path), f"model.path={MODEL}", "task=sst2", "method=lora",
                 f"precision={precision}", f"train.batch={batch}", f"shards={ranks}"]
        subprocess.run([*mpirun, "-np", str(ranks), *words], check=True, stdout=subprocess.DEVNULL)
        found = json.loads(path.read_text(encoding="utf-8"))
    return sum(rank["proportional_bytes"] for rank in found["ranks"]) / 1e6, found["store_bytes"] / 1e6, found["workspace_bytes"] / 1e6


def main() -> None:
    if len(sys.argv) > 1:
        print(__doc__.strip())
        sys.exit(0 if sys.argv[1:] in (["-h"], ["--help"]) else 2)
    mpirun = launcher.words(PROGRAM)
    if not os.path.isdir(MODEL):
        sys.exit(f"{MODEL} is not there; make bench-peer ARGS='--model roberta-base ...' makes it")
    print("MB, proportional set sizes behind the last step; workspace: activations and scratch; rest: program, libraries, data\n")
    print("| precision | batch | ranks | all ranks | a further rank adds | frozen, once | workspace of a rank | rest of a rank |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for precision in ("f32", "bf16"):
        for name, batch in BATCHES.items():
            before = None
            for ranks in RANKS:
                total, frozen, workspace = measure(mpirun, ranks, precision, batch(ranks))
                more = "" if before is None else f"{total - before:,.0f}"
                print(f"| {precision} | {name} | {ranks} | {total:,.0f} | {more} | {frozen:,.0f} | {workspace:,.0f} | {(total - frozen) / ranks - workspace:,.0f} |")
                before = total


if __name__ == "__main__":
    main()
