#!/usr/bin/python3
"""What analysis/stats does where the truth is known: coverage of its intervals, family error of its verdicts and letters, power.

Used by test_stats_proof.py with few draws. By hand with many, as Markdown for analysis/stats/README.md: `make stats-proof`.
Every study has random numbers of its own, from fixed seeds; a draw is one made-up experiment."""

import argparse
import functools
import math
import sys
import time
import zlib
from pathlib import Path

import numpy as np
from scipy import special

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from analysis.stats.crossed import crossed_df, crossed_parts  # noqa: E402
from analysis.stats.design import power, smallest_difference  # noqa: E402
from analysis.stats.groups import separated_pairs  # noqa: E402
from analysis.stats.intervals import t_quantile  # noqa: E402
from analysis.stats.metrics import pseudo_values  # noqa: E402
from analysis.stats.multiple import holm  # noqa: E402
from analysis.stats.pairs import rounding_spread, t_statistics  # noqa: E402

SEEDS = (3, 5, 10)
LEVEL = 0.95
ALPHA = 1 - LEVEL
ROWS = 10  # of a section: a control and K = 9 others
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(60)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def generator(*words):
    return np.random.default_rng([20240611, zlib.crc32(repr(words).encode())])


def error_of(share, draws):
    """Monte Carlo standard error."""
    return math.sqrt(max(share * (1 - share), 1e-9) / draws)


# ---- scores of methods with known means over n seeds, [draws, methods, n], and the rounding of their differences ----

def normal_scores(rng, draws, means, n):
    """A seed gives something to all methods, and as much to each alone."""
    return means[:, None] + rng.normal(0, 0.01, (draws, 1, n)) + rng.normal(0, 0.01, (draws, len(means), n)), 0.0


def accuracies(rng, draws, means, n):
    """Of 500 examples: binomial counts, of a chance that varies with the seed."""
    chance = means[:, None] + rng.normal(0, 0.01, (draws, 1, n)) + rng.normal(0, 0.01, (draws, len(means), n))
    return rng.binomial(500, np.clip(chance, 0, 1)) / 500, rounding_spread(1 / 500, 1 / 500)


def open_examples(count, chance):
    """Of 100 examples all but `count` are decided alike by every seed, these are right with `chance`: a spread of about one step of the grid."""
    def make(rng, draws, means, n):
        steps = np.round(100 * means)[:, None] - round(count * chance)
        scores = (steps + rng.binomial(count, chance, (draws, len(means), n)) + rng.integers(-1, 2, (draws, 1, n))) / 100
        return scores, rounding_spread(0.01, 0.01)
    return make


KINDS = {"normal": normal_scores, "accuracy, N = 500": accuracies, "N = 100, 1 open example": open_examples(1, 0.5),
         "N = 100, 4 open examples": open_examples(4, 0.5), "N = 100, 10 open examples": open_examples(10, 0.1)}


# ---- intervals over seeds ----

def cover_by_seeds(kind, n, draws):
    """Of the interval of a paired difference: coverage where there is one, and how often there is none for want of a spread."""
    scores, rounding = KINDS[kind](generator("seeds", kind, n), draws, np.array([0.8, 0.78]), n)
    mean, spread, p = t_statistics(scores[:, 0] - scores[:, 1], rounding)
    given = ~np.isnan(p)
    inside = np.abs(mean - 0.02) <= t_quantile(LEVEL, n - 1.0) * spread / math.sqrt(n) + 1e-12
    return inside[given].mean(), 1 - given.mean()


def cover_by_bootstrap(n, draws, resamples=2000):
    """The percentile bootstrap of the mean of n normal values: what is not used, and why."""
    rng = generator("bootstrap", n)
    weights = rng.multinomial(n, np.full(n, 1 / n), resamples) / n
    hits = 0
    for _ in range(0, draws, 1000):
        means = rng.normal(0, 1, (1000, n)) @ weights.T
        low, high = np.quantile(means, [ALPHA / 2, 1 - ALPHA / 2], axis=1)
        hits += ((low <= 0) & (0 <= high)).sum()
    return hits / (1000 * math.ceil(draws / 1000))


# ---- intervals over seeds and examples ----

# Standard deviations, beside 1 of what is left, of a latent value whose sign is right or wrong: of a seed of one method; of an example, for both methods; of an
# example for one method. From nothing but chance to examples that decide nearly all.
EFFECTS = {"none": (0, 0, 0), "examples 0.3": (0, 1, 0.3), "examples 1": (0, 1, 1), "seeds 0.05, examples 0.3": (0.05, 1, 0.3),
           "seeds 0.1, examples 0.3": (0.1, 1, 0.3), "seeds 0.1, examples 1": (0.1, 1, 1), "seeds 0.3, examples 0.3": (0.3, 1, 0.3),
           "seeds 0.3, examples 1": (0.3, 1, 1), "seeds 0.1, examples 2 of 3": (0.1, 3, 2)}
RIGHT = (0.84, 0.88)  # chances of the two methods


def latent_rights(rng, draws, n, count, effects, thresholds):
    """Right (1) or wrong (0), per method [draws, n, count]. thresholds: per method, one number or one per example."""
    seed, example, own = (np.float32(each) for each in effects)
    normal = rng.standard_normal
    shared = example * normal((draws, 1, count), np.float32)
    for threshold in thresholds:
        latent = shared + own * normal((draws, 1, count), np.float32) + seed * normal((draws, n, 1), np.float32) + normal((draws, n, count), np.float32)
        yield (latent > -np.asarray(threshold, np.float32)).astype(np.int8)


def scale_of(effects):
    return math.sqrt(1 + sum(each * each for each in effects))


def judge_wide(differences, truth):
    """Whether the interval holds the truth: as it is, and by Hillis' degrees of freedom without their cap. differences: [draws, n, count]."""
    n, count = differences.shape[-2:]
    mean, a, b = crossed_parts(differences)
    miss, given = np.abs(mean - truth), a + b > 1e-24
    uncapped = np.clip((n - 1) * np.divide(a + b, a, out=np.full_like(a, 1e6), where=a > 1e-24) ** 2, n - 1, 1e6)
    return given, *(miss <= t_quantile(LEVEL, df) * np.sqrt(a + b) for df in (crossed_df(a, b, n, count), uncapped))


def cover_accuracy(effects, n, count, draws):
    """Coverage, and without the cap, of the interval over seeds and examples of a difference of accuracies; the same of the interval over seeds alone."""
    rng = generator("wide", effects, n, count)
    thresholds = [scale_of(effects) * special.ndtri(right) for right in RIGHT]
    truth = RIGHT[0] - RIGHT[1]
    found, chunk = [], max(1, 1_000_000 // (n * count))
    for _ in range(0, draws, chunk):
        first, second = latent_rights(rng, chunk, n, count, effects, thresholds)
        differences = first - second
        given, capped, uncapped = judge_wide(differences.astype(np.float32), truth)
        mean, spread, p = t_statistics(differences.mean(-1, dtype=float), rounding_spread(1 / count, 1 / count))
        alone = np.abs(mean - truth) <= t_quantile(LEVEL, n - 1.0) * spread / math.sqrt(n)
        found.append(np.stack([given, capped, uncapped, ~np.isnan(p), alone]))
    given, capped, uncapped, has_test, alone = np.concatenate(found, 1)
    return capped[given].mean(), uncapped[given].mean(), alone[has_test].mean(), given.size


def average_over_seeds(form, spread):
    """E form(u) for u normal with this standard deviation."""
    return float((WEIGHTS * form(spread * NODES)).sum())


def matthews_of(label_share, right):
    """Of a population in which `label_share` is of class 1 and class c is predicted rightly with right[c]."""
    true_one, true_zero = label_share * right[1], (1 - label_share) * right[0]
    predicted = true_one + (1 - label_share) * (1 - right[0])
    cross = true_one * true_zero - label_share * (1 - right[1]) * (1 - label_share) * (1 - right[0])
    return cross / np.sqrt(label_share * (1 - label_share) * predicted * (1 - predicted))


def f1_of(label_share, right):
    true_one = label_share * right[1]
    return 2 * true_one / (label_share + true_one + (1 - label_share) * (1 - right[0]))


def draw_classes(metric, effects, n, count):
    """Labels of two classes, the rarer one harder; a function that draws one experiment, [n, count] per method, and the true difference of scores."""
    share, scale = 0.3, scale_of(effects)
    chances = ((0.9, 0.6), (0.93, 0.65))  # per method, of class 0 and 1
    form = {"matthews": matthews_of, "f1": f1_of}[metric]
    inner = math.sqrt(scale ** 2 - effects[0] ** 2)

    def score(method):
        limits = [scale * special.ndtri(right) for right in chances[method]]
        return average_over_seeds(lambda u: form(share, [special.ndtr((limit + u) / inner) for limit in limits]), effects[0])

    def draw(rng):
        label = (rng.random(count) < share).astype(int)
        rights = latent_rights(rng, 1, n, count, effects, [scale * special.ndtri(np.array(chances[method]))[label] for method in (0, 1)])
        return label, [np.where(right[0] == 1, label, 1 - label) for right in rights]

    return draw, score(0) - score(1), 2


def draw_values(metric, effects, n, count):
    """Labels and predictions from a binormal distribution whose correlation varies with method and seed."""
    centres = (0.85, 0.83)
    form = {"spearman": lambda rho: 6 / np.pi * np.arcsin(rho / 2), "pearson": lambda rho: rho}[metric]
    shares = np.array([effects[1], effects[2], 1.0]) / math.sqrt(1 + effects[1] ** 2 + effects[2] ** 2)
    spread = 0.1 * effects[0]

    def draw(rng):
        label, shared = rng.normal(size=(2, count))
        predictions = []
        for centre in centres:
            rho = centre + spread * rng.normal(size=(n, 1))
            noise = shares[0] * shared + shares[1] * rng.normal(size=count) + shares[2] * rng.normal(size=(n, count))
            predictions.append(rho * label + np.sqrt(1 - rho ** 2) * noise)
        return label, predictions

    return draw, average_over_seeds(lambda u: form(centres[0] + u) - form(centres[1] + u), spread), 1


def cover_metric(metric, effects, n, count, draws):
    """As cover_accuracy, of a score that is no mean."""
    rng = generator(metric, effects, n, count)
    draw, truth, classes = (draw_classes if metric in ("matthews", "f1") else draw_values)(metric, effects, n, count)
    score = np.zeros((count, classes))
    found = []
    for _ in range(draws):
        label, predictions = draw(rng)
        first, second = (np.stack([pseudo_values(metric, label, each, score)[1] for each in of_method]) for of_method in predictions)
        found.append(judge_wide((first - second)[None], truth))
    given, capped, uncapped = np.concatenate(np.array(found), 1)
    return capped[given].mean(), uncapped[given].mean(), given.size


@functools.cache
def legendre():
    return np.polynomial.legendre.leggauss(800)


def exact_coverage(n, share, capped):
    """For many examples, where B is known: with A chi-square distributed, E P(|Z| <= t_df sqrt(A + B)), B being `share` of the whole variance."""
    nodes, weights = legendre()
    a = (1 - share) * special.chdtri(n - 1, (1 - nodes) / 2) / (n - 1)
    df = crossed_df(a, np.full_like(a, share), n, 10 ** 6) if capped else np.minimum((n - 1) * ((a + share) / a) ** 2, 1e6)
    return float((weights / 2 * (2 * special.ndtr(t_quantile(LEVEL, df) * np.sqrt(a + share)) - 1)).sum())


# ---- families ----

# True differences of the nine others to the control, in standard deviations of a paired difference (of normal scores).
FAMILIES = {"all equal": np.zeros(9), "1 of 9 differs": np.r_[np.zeros(8), 4.0], "6 of 9 differ": np.r_[np.zeros(3), 1.0, 1.0, 2.0, 4.0, -2.0, -8.0],
            "8 of 9 differ": np.r_[0.0, np.full(8, 8.0)]}


def draw_family(kind, shifts, n, draws, words):
    """Scores of the control and nine others, the rounding of their differences, and their true means. shifts: of the others, in 0.014, or steps of the grid."""
    unit = 0.01 if kind.startswith("N = 100") else 0.01 * math.sqrt(2)
    means = np.round(0.8 + unit * np.r_[0.0, shifts], 9)
    scores, rounding = KINDS[kind](generator("family", kind, n, *words), draws, means, n)
    return scores, rounding, means


def family_error(kind, family, n, draws):
    """Shares of experiments with any false verdict (a true difference of 0 called one, or a wrong sign), and of true differences that were found."""
    scores, rounding, means = draw_family(kind, FAMILIES[family], n, draws, [family])
    mean, _, p = t_statistics(scores[:, 1:] - scores[:, :1], rounding)
    separated = np.nan_to_num(holm(p), nan=1.0) <= ALPHA
    truth = means[1:] - means[0]
    false = separated & (np.sign(mean) != np.sign(truth))
    return false.any(1).mean(), separated[:, truth != 0].mean() if (truth != 0).any() else math.nan


CLUSTERS = {"all equal": np.zeros(9), "5 and 5": np.r_[np.zeros(4), np.full(5, 8.0)], "3, 3 and 4": np.r_[np.zeros(2), np.full(3, 4.0), np.full(4, 20.0)]}


def letters_error(kind, clusters, n, draws):
    """Share of experiments in which any two rows that are equal share no letter: by groups.letters, exactly the pairs that are separated."""
    scores, rounding, means = draw_family(kind, CLUSTERS[clusters], n, draws, ["letters", clusters])
    first, second = np.triu_indices(ROWS, 1)
    parts = np.array_split(scores, max(1, draws // 2000))
    p = np.concatenate([t_statistics(part[:, first] - part[:, second], rounding)[2] for part in parts])
    return (separated_pairs(p, ALPHA) & (means[first] == means[second])).any(1).mean()


def find_power(kind, n, draws):
    """Of one comparison at the level of Holm's first step of nine, whose true difference is the one that has 80 % power: by the formula, and as seen."""
    alpha = ALPHA / (ROWS - 1)
    spread = 0.01 * math.sqrt(2) if kind == "normal" else math.sqrt(2 * (0.01 ** 2 + 0.5 * 0.5 / 500))
    difference = smallest_difference(spread, n, alpha)
    centre = 0.5  # where a binomial spread hardly changes with the mean
    means = centre + np.array([difference, -difference]) / 2
    if kind != "normal" and not 0.2 < means[1] < means[0] < 0.8:
        return difference, power(difference, spread, n, alpha), math.nan
    scores, rounding = KINDS[kind](generator("power", kind, n), draws, means, n)
    p = t_statistics(scores[:, 0] - scores[:, 1], rounding)[2]
    return difference, power(difference, spread, n, alpha), (np.nan_to_num(p, nan=1.0) <= alpha).mean()


# ---- the tables of analysis/stats/README.md ----

def percent(share, digits=1):
    return "-" if math.isnan(share) else f"{100 * share:.{digits}f}"


def table(head, rows):
    yield "| " + " | ".join(head) + " |"
    yield "| --- |" + " ---: |" * (len(head) - 1)
    yield from ("| " + " | ".join(row) + " |" for row in rows)
    yield ""


def write_tables(draws, wide_draws, metric_draws):
    columns = [f"n = {n}" for n in SEEDS]
    yield from ("**Intervals over seeds**, nominal 95 %: coverage in % where there is one (in brackets: no interval for want of a spread, % of draws); "
                f"{draws:,} draws, standard error {percent(error_of(0.95, draws), 2)}.", "")
    rows = []
    for kind in KINDS:
        found = [cover_by_seeds(kind, n, draws) for n in SEEDS]
        rows.append([f"t, {kind}", *(percent(share) + (f" ({percent(none)})" if none else "") for share, none in found)])
    rows.append(["percentile bootstrap, normal", *(percent(cover_by_bootstrap(n, min(draws, 20_000))) for n in SEEDS)])
    yield from table(["", *columns], rows)

    yield from (f"**Intervals over seeds and examples**, accuracy: coverage in %, in brackets with Hillis' degrees of freedom uncapped; {wide_draws:,} draws, "
                f"standard error {percent(error_of(0.95, wide_draws), 2)}.", "")
    rows = []
    for count in (100, 500, 2000):
        for name, effects in EFFECTS.items():
            found = [cover_accuracy(effects, n, count, wide_draws) for n in SEEDS]
            rows.append([f"N = {count}, {name}", *(f"{percent(each[0])} ({percent(each[1])})" for each in found), *(percent(each[2]) for each in found)])
    yield from table(["", *columns, *(f"seeds alone, n = {n}" for n in SEEDS)], rows)

    yield from (f"**Other scores**: coverage in %, in brackets with Hillis' degrees of freedom uncapped; {metric_draws:,} draws, standard error "
                f"{percent(error_of(0.95, metric_draws), 2)}.", "")
    rows = []
    for metric in ("matthews", "f1", "spearman", "pearson"):
        for count in (100, 500):
            for name in ("examples 1", "seeds 0.1, examples 0.3", "seeds 0.3, examples 1"):
                found = [cover_metric(metric, EFFECTS[name], n, count, metric_draws) for n in SEEDS]
                rows.append([f"{metric}, N = {count}, {name}", *(f"{percent(each[0])} ({percent(each[1])})" for each in found)])
    yield from table(["", *columns], rows)

    yield from ("**The same for many examples, exactly**: coverage in % by the share of the variance that examples bring (exact_coverage).", "")
    shares = (0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95)
    yield from table(["", *(f"{percent(share, 0)} %" for share in shares)],
                     [[f"n = {n}{'' if capped else ', uncapped'}", *(percent(exact_coverage(n, share, capped)) for share in shares)]
                      for n in (2, 3, 4, 5, 10) for capped in (True, False)])

    yield from ("**Family error** of nine comparisons with one control (Holm, nominal at most 5 %): % of experiments with any false verdict, wrong "
                f"signs among them (in brackets: true differences found, %); {draws:,} draws, standard error {percent(error_of(0.05, draws), 2)}.", "")
    rows = []
    for kind in KINDS:
        for family in FAMILIES:
            found = [family_error(kind, family, n, draws) for n in SEEDS]
            rows.append([f"{kind}, {family}", *(percent(error, 2) + ("" if math.isnan(hits) else f" ({percent(hits, 0)})") for error, hits in found)])
    yield from table(["", *columns], rows)

    yield from (f"**Letters** of ten rows (Holm over 45 pairs): % of experiments in which any two equal rows share none; {draws:,} draws.", "")
    yield from table(["", *columns], [[f"{kind}, {clusters}", *(percent(letters_error(kind, clusters, n, draws), 2) for n in SEEDS)]
                                      for kind in KINDS for clusters in CLUSTERS])

    yield from ("**Power** at Holm's first step of nine: the difference that should have 80 %, in points and in standard deviations of a paired difference, "
                f"and how often it was found, %; {draws:,} draws, standard error {percent(error_of(0.8, draws), 2)}.", "")
    rows = []
    for kind in ("normal", "accuracy, N = 500"):
        found = [find_power(kind, n, draws) for n in SEEDS]
        spreads = 0.01 * math.sqrt(2) if kind == "normal" else math.sqrt(2 * (0.01 ** 2 + 0.25 / 500))
        rows.append([kind, *(f"{100 * difference:.2f} = {difference / spreads:.2f} sd: {percent(seen)}" for difference, _, seen in found)])
    yield from table(["", *columns], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=100_000, help="of scores over seeds (default 100000)")
    parser.add_argument("--wide-draws", type=int, default=10_000, help="of accuracies over seeds and examples (default 10000)")
    parser.add_argument("--metric-draws", type=int, default=4000, help="of other scores (default 4000)")
    options = parser.parse_args()
    start = time.monotonic()
    for line in write_tables(options.draws, options.wide_draws, options.metric_draws):
        print(line, flush=True)
    print(f"{time.monotonic() - start:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
