"""What the study measures: links, sizes, and how many steps of which method at which link."""

import os
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(os.environ.get("CLUSTER_RESULTS", "results/cluster-demo"))
FINAL, TIMED, CALIBRATION = RESULTS / "final", RESULTS / "timed", RESULTS / "calibration"
UNSHAPED = "unshaped"
LINKS = {UNSHAPED: None, "1gbit": 1e9, "100mbit": 1e8, "10mbit": 1e7}  # bits per second
# Apart from what methods send: where a shaper begins to be right, and what is beyond doubt.
PLAIN_SIZES = (4, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 4_000_000)
LONGEST_SUM_S = 15  # larger ones are not summed for calibration: a shaper that is right for smaller ones is right for them
WARM_STEPS = 1  # left out of each timed run: buffers are filled and connections opened
MOST_STEPS, FEWEST_STEPS = 13, 2  # timed in a run
STEP_S = 0.15  # what a step takes without its sum, about


def words(variable: str, default: str) -> list[str]:
    return (os.environ.get(variable) or default).split()


def number(variable: str, default: float) -> float:
    text = os.environ.get(variable) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < 1e9:
        raise SystemExit(f"{variable}={text} is not a number above 0")
    return value


def chosen_links() -> list[str]:
    links = words("CLUSTER_LINKS", " ".join(LINKS))
    unknown = [link for link in links if link not in LINKS]
    if unknown:
        raise SystemExit(f"CLUSTER_LINKS: '{unknown[0]}' is none of {' '.join(LINKS)}")
    return sorted(links, key=list(LINKS).index)


def ideal_s(sent_bytes: float, link: str) -> float:
    """What a sum cannot be faster than: a rank's bytes at the link's rate."""
    return 8 * sent_bytes / LINKS[link] if LINKS[link] else 0.0


def steps_of_run(payload_bytes: int, link: str) -> int:
    """Timed steps in one of the rounds, the warm ones apart."""
    budget_s, rounds = number("CLUSTER_SECONDS", 30), int(number("CLUSTER_ROUNDS", 2))
    return int(min(MOST_STEPS, max(FEWEST_STEPS, budget_s / rounds / (STEP_S + ideal_s(payload_bytes, link)))))


@dataclass(frozen=True)
class Timing:
    round: int
    link: str
    method: str
    steps: int  # warm ones among them

    @property
    def name(self) -> str:
        return f"{self.method}-{self.link}-{self.round}"


def timings(payloads: dict[str, int], links: list[str]) -> list[Timing]:
    """In turn, so that what else the machine does strikes all alike: rounds, then links, then methods."""
    return [Timing(turn, link, method, WARM_STEPS + steps_of_run(payload, link)) for turn in range(1, int(number("CLUSTER_ROUNDS", 2)) + 1) for link in links
            for method, payload in payloads.items()]


def calibration_sizes(payloads: dict[str, int], link: str) -> list[int]:
    return [size for size in sorted({*PLAIN_SIZES, *payloads.values()}) if ideal_s(size, link) <= LONGEST_SUM_S]
