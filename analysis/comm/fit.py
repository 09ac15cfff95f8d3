"""A piecewise latency-bandwidth model of all-reduce times, fitted to measurements and tried on points that the fit never saw.

T(n, S) = alpha rounds + beta path [+ gamma reduced | + delta both_ways], rounds and bytes by formula (schedules.py), in pieces by the mean size of a
message, m = path / rounds, since transports change their protocol with it. Least squares of log(T / measured), outliers damped, parameters >= 0.

Everything that is chosen (the number of pieces, their borders, gamma, delta or neither, the formula where a library chose for itself) is chosen by
cross-validation within the points to fit. The held-out points serve for one thing: the printed error.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import nnls

from ..common.words import count
from .read import Measurements, Network, Point
from .schedules import Rule, rules_for

SEGMENT = 1 << 20  # bytes, of mpi:segmented_ring in `peftscale comm`
FEWEST_POINTS, FEWEST_OF_SEVERAL = 4, 8  # of a single piece, of each of several; at two sizes of message
MOST_PIECES = 3
TERMS = ((0, 1), (0, 1, 2), (0, 1, 3))  # of alpha, beta, gamma, delta, simplest first
MOST_BORDERS = 8  # candidates between which pieces are chosen
FOLDS = 5
GAIN, FLOOR = 0.9, 0.002  # a richer form must bring the cross-validated error, with FLOOR added, below GAIN of a simpler one's
ROUNDS_OF_WEIGHTS = 6
BAND = (5, 95)  # percentiles of the bootstrap


class TooFew(Exception):
    """Why nothing can be fitted."""


@dataclass(frozen=True)
class HoldOut:
    ranks: tuple[int, ...] = (6,)
    every: int = 3  # each so-manieth size; 0: none

    def mark(self, points: Sequence[Point]) -> None:
        """Sizes are counted over all algorithms, so that all hold out the same ones. With every=3: the third smallest, the sixth ..."""
        sizes = sorted({point.payload for point in points})
        out = set(sizes[self.every - 1::self.every]) if self.every else set()
        for point in points:
            reasons = [f"n={point.ranks}"] if point.ranks in self.ranks else []
            reasons += ["size"] if point.payload in out else []
            point.held_out = " and ".join(reasons)


@dataclass(frozen=True)
class Piece:
    """Parameters for mean message sizes in [low, high). Zero: not seen in the data, or less than other terms can hide."""
    low: float
    high: float
    alpha: float  # s per round
    beta: float  # s per byte
    gamma: float = 0.0  # s per byte added up
    delta: float = 0.0  # s more per byte that goes while another comes from the same rank

    @property
    def parameters(self) -> np.ndarray:
        return np.array([self.alpha, self.beta, self.gamma, self.delta])


def features_of(rule: Rule, ranks: int, payload: int) -> np.ndarray:
    cost = rule.cost(ranks, payload)
    return np.array([cost.rounds, cost.path, cost.reduced, cost.both_ways], float)


@dataclass(frozen=True)
class Form:
    """A rule with fitted pieces: what predicts."""
    rule: Rule
    pieces: tuple[Piece, ...]

    def piece(self, ranks: int, payload: int) -> Piece:
        features = features_of(self.rule, ranks, payload)
        size = features[1] / features[0]
        return next((piece for piece in self.pieces if size < piece.high), self.pieces[-1])

    def parts(self, ranks: int, payload: int) -> tuple[float, float]:
        """Seconds for latency, and for all that grows with bytes."""
        parts = features_of(self.rule, ranks, payload) * self.piece(ranks, payload).parameters
        return float(parts[0]), float(parts[1:].sum())

    def seconds(self, ranks: int, payload: int) -> float:
        return sum(self.parts(ranks, payload))


@dataclass
class Errors:
    """|predicted - measured| / measured."""
    points: int = 0
    median: float = math.nan
    p90: float = math.nan
    worst: float = math.nan

    @classmethod
    def of(cls, form: Form, points: Sequence[Point]) -> "Errors":
        if not points:
            return cls()
        errors = [abs(form.seconds(point.ranks, point.payload) / point.median - 1) for point in points]
        return cls(len(points), float(np.median(errors)), float(np.percentile(errors, 90)), float(max(errors)))


@dataclass
class Model:
    """One algorithm on one network."""
    algorithm: str
    form: Form
    fitted: list[Point]
    held_out: list[Point]
    draws: list[Form]  # bootstrap: the same pieces, refitted
    cross_validated: float  # mean |log error|, what choices were made by
    fit_errors: Errors = field(default_factory=Errors)
    errors: Errors = field(default_factory=Errors)  # of the held-out points
    spread: float = 0.0  # 90th percentile of |log(predicted / measured)| there

    def band(self, ranks: int, payload: int) -> tuple[float, float]:
        """From the bootstrap, widened by the held-out error."""
        seconds = [draw.seconds(ranks, payload) for draw in self.draws] or [self.form.seconds(ranks, payload)]
        low, high = np.percentile(seconds, BAND)
        return float(low) * math.exp(-self.spread), float(high) * math.exp(self.spread)


@dataclass
class Study:
    """All algorithms on one network."""
    network: Network
    points: list[Point]
    models: list[Model] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def largest(self) -> int:
        """The most ranks at which times were compared with the model."""
        return max(point.ranks for model in self.models for point in model.fitted + model.held_out)

    @property
    def projectable(self) -> bool:
        return self.network.spread == "one rank per host"


@dataclass(frozen=True)
class Sample:
    """Points as arrays, for one rule."""
    features: np.ndarray  # rounds, path, reduced, both_ways
    seconds: np.ndarray
    size: np.ndarray  # mean bytes of a message

    @classmethod
    def of(cls, rule: Rule, points: Sequence[Point]) -> "Sample":
        features = np.array([features_of(rule, point.ranks, point.payload) for point in points])
        return cls(features, np.array([point.median for point in points]), features[:, 1] / features[:, 0])

    def take(self, chosen: np.ndarray, seconds: np.ndarray | None = None) -> "Sample":
        """Chosen by mask or number; with other times if given."""
        return Sample(self.features[chosen], (self.seconds if seconds is None else seconds)[chosen], self.size[chosen])

    def inside(self, low: float, high: float) -> "Sample":
        return self.take((self.size >= low) & (self.size < high))

    def levels(self) -> np.ndarray:
        """Logs of the message sizes that differ."""
        return np.unique(np.round(np.log(self.size), 3))


def solve(features: np.ndarray, seconds: np.ndarray, rounds: int = ROUNDS_OF_WEIGHTS) -> np.ndarray:
    """Non-negative parameters with the least sum of squared log errors, points beyond 1.5 robust deviations damped. Weighted NNLS whose weights make its
    stationary point that of the logs: w^2 = log(q) / (predicted^2 (1 - 1/q)), q = predicted / measured."""
    weight = 1 / seconds
    answer = np.zeros(features.shape[1])
    for _ in range(rounds):
        rows = features * weight[:, None]
        scale = np.maximum(rows.max(axis=0), 1e-300)
        answer = nnls(rows / scale, seconds * weight)[0] / scale
        predicted = np.maximum(features @ answer, 1e-6 * seconds)
        error = np.log(predicted / seconds)
        damped = 1.5 * max(1.4826 * float(np.sort(np.abs(error))[len(error) // 2]), 0.01)
        near = np.where(np.abs(error) < 1e-6, 1 + error / 2, error / -np.expm1(-np.where(error == 0, 1, error)))
        weight = np.sqrt(near) / predicted * np.sqrt(np.minimum(1, damped / np.maximum(np.abs(error), 1e-12)))
    return answer


def solve_piece(low: float, high: float, part: Sample, terms: Sequence[int], rounds: int = ROUNDS_OF_WEIGHTS) -> Piece:
    """terms: the columns that have a parameter."""
    answer = np.zeros(part.features.shape[1])
    answer[list(terms)] = solve(part.features[:, list(terms)], part.seconds, rounds)
    return Piece(low, high, *map(float, answer))


def log_errors(part: Sample, piece: Piece) -> np.ndarray:
    return np.abs(np.log(np.maximum(part.features @ piece.parameters, 1e-6 * part.seconds) / part.seconds))


def candidate_borders(levels: np.ndarray) -> list[float]:
    """Between neighbouring message sizes, at most MOST_BORDERS."""
    middles = (levels[1:] + levels[:-1]) / 2
    if len(middles) > MOST_BORDERS:
        middles = middles[np.linspace(0, len(middles) - 1, MOST_BORDERS + 2).round().astype(int)[1:-1]]
    return [float(math.exp(middle)) for middle in middles]


def choose_pieces(sample: Sample, most: int, terms: Sequence[int]) -> list[tuple[Piece, ...]]:
    """The best cut into 1 .. most pieces, by dynamic programming over the candidate borders; fewer where points do not suffice."""
    edges = [0.0, *candidate_borders(sample.levels()), math.inf] if most > 1 else [0.0, math.inf]
    cost: dict[tuple[int, int], tuple[float, Piece]] = {}
    for start in range(len(edges) - 1):
        for end in range(start + 1, len(edges)):
            part = sample.inside(edges[start], edges[end])
            alone = end - start == len(edges) - 1
            if len(part.seconds) < (FEWEST_POINTS if alone else FEWEST_OF_SEVERAL) or len(part.levels()) < 2:
                continue
            piece = solve_piece(edges[start], edges[end], part, terms, 3)
            cost[start, end] = (float(log_errors(part, piece).sum()), piece)
    last = len(edges) - 1
    best: dict[tuple[int, int], tuple[float, tuple[Piece, ...]]] = {(0, 0): (0.0, ())}
    for number in range(1, most + 1):
        for (start, end), (error, piece) in cost.items():
            if (number - 1, start) in best:
                before, pieces = best[number - 1, start]
                if (number, end) not in best or before + error < best[number, end][0]:
                    best[number, end] = (before + error, (*pieces, piece))
    return [best[number, last][1] for number in range(1, most + 1) if (number, last) in best]


def refit(form: Form, sample: Sample, terms: Sequence[int]) -> Form:
    """The same borders, parameters fitted to the full; a piece keeps its parameters where points do not suffice."""
    pieces = []
    for piece in form.pieces:
        part = sample.inside(piece.low, piece.high)
        pieces.append(solve_piece(piece.low, piece.high, part, terms) if len(part.seconds) >= 2 else piece)
    return Form(form.rule, tuple(pieces))


def cross_validate(sample: Sample, terms: Sequence[int], most: int) -> list[float]:
    """Mean |log error| on the fold left out, for 1 .. most pieces; infinite where a fold's points do not suffice for so many."""
    folds = min(FOLDS, len(sample.seconds))
    turn = np.arange(len(sample.seconds)) % folds
    errors: list[list[float]] = [[] for _ in range(most)]
    for fold in range(folds):
        out = sample.take(turn == fold)
        for number, pieces in enumerate(choose_pieces(sample.take(turn != fold), most, terms)):
            for piece in pieces:
                errors[number] += np.minimum(log_errors(out.inside(piece.low, piece.high), piece), 2.0).tolist()
    return [float(np.mean(each)) if len(each) == len(sample.seconds) else math.inf for each in errors]


def choose_form(rules: Sequence[Rule], points: Sequence[Point]) -> tuple[Form, Sequence[int], float]:
    """The form with the fewest parameters that no richer one beats clearly. Returns it with its terms and its cross-validated error."""
    order = sorted(points, key=lambda point: (point.payload, point.ranks))  # folds take turns along the sizes
    candidates = []  # parameters, cross-validated error, rule, terms, pieces
    for rule in rules:
        sample = Sample.of(rule, order)
        candidates += [((number + 1) * len(terms), error, rule, terms, number + 1)
                       for terms in TERMS for number, error in enumerate(cross_validate(sample, terms, MOST_PIECES)) if math.isfinite(error)]
    if not candidates:
        raise TooFew("too few points at different sizes")
    enough = (min(error for _, error, *_ in candidates) + FLOOR) / GAIN - FLOOR
    _, error, rule, terms, number = min((each for each in candidates if each[1] <= enough), key=lambda each: each[:2])
    sample = Sample.of(rule, order)
    return refit(Form(rule, choose_pieces(sample, number, terms)[-1]), sample, terms), terms, error


def bootstrap(form: Form, points: Sequence[Point], terms: Sequence[int], draws: int, random: np.random.Generator) -> list[Form]:
    """Points are drawn with replacement, and repetitions within each: the band holds both the noise and that other points might have been measured."""
    sample = Sample.of(form.rule, points)
    medians = np.array([np.median(random.choice(point.seconds, (draws, len(point.seconds))), axis=1) for point in points])
    return [refit(form, sample.take(random.integers(0, len(points), len(points)), medians[:, draw]), terms) for draw in range(draws)]


def fit_algorithm(algorithm: str, points: Sequence[Point], segment: int = SEGMENT, draws: int = 200, seed: int = 1,
                  rules: Sequence[Rule] | None = None) -> Model:
    """Fits to the points that are not held out and measures the error on the others. Raises TooFew."""
    rules = rules_for(algorithm, segment) if rules is None else rules
    if not rules:
        raise TooFew("no formula is known for it")
    fitted = [point for point in points if not point.held_out]
    held_out = [point for point in points if point.held_out]
    if len(fitted) < FEWEST_POINTS or len({point.payload for point in fitted}) < 2:
        raise TooFew(f"{count(len(fitted), 'point')} to fit, at least {FEWEST_POINTS} are needed, of two sizes")
    if not held_out:
        raise TooFew("no point is held out to validate on (see --hold-out)")
    form, terms, error = choose_form(rules, fitted)
    model = Model(algorithm, form, fitted, held_out, bootstrap(form, fitted, terms, draws, np.random.default_rng(seed)), error)
    model.fit_errors, model.errors = Errors.of(form, fitted), Errors.of(form, held_out)
    model.spread = float(np.percentile([abs(math.log(max(form.seconds(point.ranks, point.payload) / point.median, 1e-9))) for point in held_out], 90))
    return model


def check_counts(points: Sequence[Point], segment: int) -> list[str]:
    """Where the suite counted its own messages, the formulas must say the same."""
    wrong = []
    for point in points:
        rules = rules_for(point.algorithm, segment)
        if point.rounds < 0 or len(rules) != 1:
            continue
        cost = rules[0].cost(point.ranks, point.payload)
        if (cost.rounds, cost.sent_max) != (point.rounds, point.counted_max):
            wrong.append(f"{point.algorithm}, n={point.ranks}, {point.payload} B: counted {point.rounds} rounds, {point.counted_max:.0f} B; "
                         f"by formula {cost.rounds}, {cost.sent_max} B" + (" (--reduce exact sends two messages, which the model does not know)"
                                                                           if point.rounds == 2 * cost.rounds else ""))
    return wrong


def fit_study(network: Network, points: list[Point], hold_out: HoldOut, segment: int = SEGMENT, draws: int = 200, seed: int = 1) -> Study:
    hold_out.mark(points)
    study = Study(network, points)
    for algorithm in sorted({point.algorithm for point in points}):
        try:
            study.models.append(fit_algorithm(algorithm, [point for point in points if point.algorithm == algorithm], segment, draws, seed))
        except TooFew as reason:
            study.left_out.append(f"{algorithm}: {reason}")
    return study


def fit_all(found: Measurements, hold_out: HoldOut, segment: int = SEGMENT, draws: int = 200, seed: int = 1) -> list[Study]:
    return [fit_study(network, points, hold_out, segment, draws, seed) for network, points in found.points.items()]
