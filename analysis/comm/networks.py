"""Networks that nobody measured here: latency and rate from a YAML file, shipped (configs/network) or the user's."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..common.fault import Fault

FOLDER = Path(__file__).resolve().parents[2] / "configs/network"
KEYS = ("name", "status", "latency_s", "latency_s_range", "bits_per_s", "bits_per_s_range", "source")
NEEDED = ("name", "status", "latency_s", "bits_per_s", "source")
STATUS = ("assumed", "measured")


class BadNetwork(Fault):
    """What is wrong with a file."""


@dataclass(frozen=True)
class GivenNetwork:
    name: str
    status: str  # what its author says of the figures
    latency_s: float
    latency_s_range: tuple[float, float]
    bits_per_s: float
    bits_per_s_range: tuple[float, float]
    source: str


def number(path: Path, key: str, value: Any) -> float:
    """YAML reads 40e-6 as a text, since it lacks a dot."""
    try:
        result = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        result = math.nan
    if not math.isfinite(result) or result <= 0:
        raise BadNetwork(f"{path}: {key} is '{value}', no positive number")
    return result


def span(path: Path, key: str, value: Any, middle: float) -> tuple[float, float]:
    if value is None:
        return middle, middle
    if not isinstance(value, list) or len(value) != 2:
        raise BadNetwork(f"{path}: {key} must be [LOWEST, HIGHEST]")
    low, high = (number(path, key, each) for each in value)
    if not low <= middle <= high:
        raise BadNetwork(f"{path}: {key} [{low:g}, {high:g}] does not hold the figure itself, {middle:g}")
    return low, high


def read_network(path: Path) -> GivenNetwork:
    try:
        with open(path, encoding="utf-8") as file:
            content = yaml.safe_load(file)
    except (OSError, UnicodeDecodeError) as error:
        raise BadNetwork(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise BadNetwork(f"{path}: no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise BadNetwork(f"{path}: must hold lines KEY: VALUE with {', '.join(NEEDED)}")
    if unknown := [key for key in content if key not in KEYS]:
        raise BadNetwork(f"{path}: unknown key '{unknown[0]}' (known: {', '.join(KEYS)})")
    if lacking := [key for key in NEEDED if content.get(key) in (None, "")]:
        raise BadNetwork(f"{path}: lacks {lacking[0]}")
    if content["status"] not in STATUS:
        raise BadNetwork(f"{path}: status is '{content['status']}', must be one of {', '.join(STATUS)}")
    latency, rate = (number(path, key, content[key]) for key in ("latency_s", "bits_per_s"))
    return GivenNetwork(" ".join(str(content["name"]).split()), content["status"], latency,
                        span(path, "latency_s_range", content.get("latency_s_range"), latency), rate,
                        span(path, "bits_per_s_range", content.get("bits_per_s_range"), rate), " ".join(str(content["source"]).split()))


def find_networks(words: list[str]) -> list[GivenNetwork]:
    """Names of shipped files or paths; all shipped ones if nothing is named, none for `none`."""
    if words == ["none"]:
        return []
    shipped = {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}
    paths = []
    for word in words or list(shipped):
        if word not in shipped and not Path(word).exists():
            raise BadNetwork(f"'{word}' is neither a file nor one of {', '.join(shipped)}, none")
        paths.append(shipped.get(word, Path(word)))
    networks = [read_network(path) for path in paths]
    names = [network.name for network in networks]
    if double := [name for name in names if names.count(name) > 1]:
        raise BadNetwork(f"two networks are called '{double[0]}'")
    return networks if words else sorted(networks, key=lambda network: network.bits_per_s)
