"""Our side: the probe (probe.c), and the files it reads and writes."""

import os
import subprocess
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

BUILD = Path(os.environ.get("PEFTSCALE_BUILD") or Path(__file__).resolve().parents[2] / "build")
PROBE = BUILD / "tests/oracle/probe"


def run_probe(*words):
    ran = subprocess.run([str(PROBE), *words], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(f"{PROBE.name} {' '.join(words)}: exit status {ran.returncode}: {(ran.stdout + ran.stderr).strip()}")


class Program:
    """A method with its options, on one model; `constants`: what it is to take from a file. Files go to `folder`."""

    def __init__(self, folder, model_folder, method, options, classes, constants):
        self.folder = Path(folder)
        self.words = [f"model={model_folder}", f"method={method}", f"classes={classes}", *(f"method.{key}={value}" for key, value in options.items())]
        if constants:
            # The reader knows float32 alone, which holds indices below 2^24 exactly.
            path = self.folder / "constants.safetensors"
            save_file({name: np.ascontiguousarray(values, dtype=np.float32) for name, values in constants.items()}, path)
            self.words.append(f"constants={path}")

    def start(self):
        """What the method begins with: {segment: array [rows][cols]}."""
        path = self.folder / "start.safetensors"
        run_probe(*self.words, f"start={path}")
        return load_file(path)

    def measure(self, state, batch, training):
        """{"logits", "loss", "losses": arrays, "gradient": {segment: array}, "after": {segment: array}} at `state`."""
        files = {name: self.folder / f"{name}.safetensors" for name in ("state", "out")}
        lines = self.folder / "batch.txt"
        save_file(state, files["state"])
        lines.write_text("".join(f"{label} {' '.join(map(str, ids))}\n" for label, ids in batch), encoding="ascii")
        run_probe(*self.words, f"batch={lines}", *(f"{name}={path}" for name, path in files.items()), *(f"{key}={value}" for key, value in training.items()))
        found = {"gradient": {}, "after": {}}
        for name, values in load_file(files["out"]).items():
            kind, _, segment = name.partition("/")
            if segment:
                found[kind][segment] = values
            else:
                found[name] = values
        return found
