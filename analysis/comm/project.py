"""From fitted or given parameters to times at host counts that nobody measured, and to the knee: the payload below which fewer parameters stop saving time."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from .fit import BAND, Form, Model, Piece, Study
from .networks import GivenNetwork
from .read import Payload
from .schedules import DOUBLING, RABENSEIFNER, RING

SMALLEST, LARGEST, PER_DOUBLING = 8, 1 << 37, 4  # bytes: where a knee is looked for, and how finely before bisecting
HALVINGS = 40  # of a bracket


@dataclass(frozen=True)
class Way:
    """An algorithm with parameters on one network."""
    name: str
    form: Form
    band: Callable[[int, int], tuple[float, float]]
    ratio: tuple[float, float]  # of alpha / beta to its own estimate: lowest and highest


@dataclass(frozen=True)
class Target:
    """A network to project to."""
    name: str
    status: str
    source: str
    measured: bool  # fitted here: its measured host counts are no projection
    validated: int  # hosts at which times on this very network were compared with the model; 0: never
    hosts: tuple[int, ...]  # measured
    ways: tuple[Way, ...]

    def best(self, hosts: int, payload: int) -> Way:
        return min(self.ways, key=lambda way: way.form.seconds(hosts, payload))

    def seconds(self, hosts: int, payload: int) -> float:
        return self.best(hosts, payload).form.seconds(hosts, payload)


@dataclass(frozen=True)
class Projection:
    target: Target
    hosts: int
    payload: Payload
    algorithm: str
    seconds: float
    low: float
    high: float


@dataclass(frozen=True)
class Knee:
    target: Target
    hosts: int
    projected: bool
    algorithm: str  # the best at the knee
    balance: float  # bytes where latency and bandwidth cost the same; nan: nowhere
    low: float
    high: float
    saving: float  # bytes up to which a halving saves less than the wanted share of the step; nan: not asked for, or nowhere
    below: tuple[str, ...]  # payloads below the balance


def ratio_of(model: Model) -> tuple[float, float]:
    """How far alpha / beta of the largest piece with both may lie from its estimate, by the bootstrap."""
    index = next((index for index in reversed(range(len(model.form.pieces))) if model.form.pieces[index].alpha > 0 and model.form.pieces[index].beta > 0), None)
    if index is None or not model.draws:
        return 1.0, 1.0
    piece = model.form.pieces[index]
    ratios = [draw.pieces[index].alpha / max(draw.pieces[index].beta, 1e-30) * piece.beta / piece.alpha for draw in model.draws]
    low, high = np.percentile(ratios, BAND)
    return min(float(low), 1.0), max(float(high), 1.0)


def target_of(study: Study) -> Target:
    ways = tuple(Way(model.algorithm, model.form, model.band, ratio_of(model)) for model in study.models)
    return Target(study.network.title, "measured", "fitted to the measurements", True, study.largest,
                  tuple(sorted({point.ranks for model in study.models for point in model.fitted + model.held_out})), ways)


def given_target(network: GivenNetwork, spread: Callable[[str], float]) -> Target:
    """spread: how far the model of an algorithm was off where it was tried (log of a factor); no fit can say it of a network without measurements."""
    def form(rule, latency: float, rate: float) -> Form:
        return Form(rule, (Piece(0.0, math.inf, latency, 8 / rate),))

    def way(rule) -> Way:
        quick = form(rule, network.latency_s_range[0], network.bits_per_s_range[1])
        slow = form(rule, network.latency_s_range[1], network.bits_per_s_range[0])
        usual, off = network.latency_s * network.bits_per_s, spread(rule.name)
        return Way(rule.name, form(rule, network.latency_s, network.bits_per_s),
                   lambda hosts, payload: (quick.seconds(hosts, payload) * math.exp(-off), slow.seconds(hosts, payload) * math.exp(off)),
                   (network.latency_s_range[0] * network.bits_per_s_range[0] / usual, network.latency_s_range[1] * network.bits_per_s_range[1] / usual))

    return Target(network.name, "assumed" if network.status == "assumed" else "given", network.source, False, 0, (),
                  tuple(way(rule) for rule in (DOUBLING, RING, RABENSEIFNER)))


def targets_of(studies: Iterable[Study], given: Iterable[GivenNetwork]) -> list[Target]:
    studies = [study for study in studies if study.models and study.projectable]

    def spread(rule: str) -> float:
        """Of the models of this algorithm; of all where none was measured; 0 where nothing was measured between hosts."""
        models = [model for study in studies for model in study.models]
        return max((model.spread for model in [model for model in models if model.algorithm.split(":")[-1] == rule] or models), default=0.0)

    return [target_of(study) for study in studies] + [given_target(network, spread) for network in given]


def project(targets: Iterable[Target], hosts: Iterable[int], payloads: Iterable[Payload]) -> list[Projection]:
    """A measured network's own host counts are left to the tables of measurements."""
    rows = []
    for target in targets:
        for payload in sorted(payloads):
            for count in sorted(set(hosts)):
                if target.measured and count <= target.validated:
                    continue
                way = target.best(count, payload.bytes)
                rows.append(Projection(target, count, payload, way.name, way.form.seconds(count, payload.bytes), *way.band(count, payload.bytes)))
    return rows


def whole(payload: float) -> int:
    """A payload of float32 numbers."""
    return max(4, 4 * round(payload / 4))


def grid() -> list[float]:
    return [SMALLEST * 2 ** (step / PER_DOUBLING) for step in range(int(PER_DOUBLING * math.log2(LARGEST / SMALLEST)) + 1)]


def bisect(low: float, high: float, holds: Callable[[float], bool]) -> float:
    """holds(low) and not holds(high)."""
    for _ in range(HALVINGS):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if holds(middle) else (low, middle)
    return math.sqrt(low * high)


def balance_of(target: Target, hosts: int) -> float:
    """The payload above which the best algorithm's bandwidth part is always the larger one; nan where there is none in reach."""
    def latency_leads(payload: float) -> bool:
        latency, bandwidth = target.best(hosts, whole(payload)).form.parts(hosts, whole(payload))
        return latency >= bandwidth

    sizes = grid()
    last = next((index for index in reversed(range(len(sizes))) if latency_leads(sizes[index])), None)
    if last is None or last == len(sizes) - 1:
        return math.nan
    return bisect(sizes[last], sizes[last + 1], latency_leads)


def saving_of(target: Target, hosts: int, compute: float, share: float) -> float:
    """The payload up to which a halving saves less than this share of a step (compute and one all-reduce); nan where there is none in reach."""
    def saves_little(payload: float) -> bool:
        seconds = target.seconds(hosts, whole(payload))
        return seconds - target.seconds(hosts, whole(payload / 2)) < share * (compute + seconds)

    sizes = grid()
    first = next((index for index, size in enumerate(sizes) if not saves_little(size)), None)
    return math.nan if not first else bisect(sizes[first - 1], sizes[first], saves_little)


def find_knees(targets: Iterable[Target], hosts: Iterable[int], payloads: Iterable[Payload], compute: float | None, share: float) -> list[Knee]:
    payloads = sorted(payloads)
    knees = []
    for target in targets:
        counts = [*target.hosts, *(count for count in sorted(set(hosts)) if not target.measured or count > target.validated)]
        for count in counts:
            balance = balance_of(target, count)
            found = math.isfinite(balance)
            way = target.best(count, whole(balance)) if found else None
            saving = math.nan if compute is None else saving_of(target, count, compute, share)
            knees.append(Knee(target, count, not target.measured or count > target.validated, way.name if way else "", balance,
                              balance * way.ratio[0] if way else math.nan, balance * way.ratio[1] if way else math.nan, saving,
                              tuple(payload.label for payload in payloads if found and payload.bytes < balance)))
    return knees
