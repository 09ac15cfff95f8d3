"""What an all-reduce of S bytes over n ranks costs in rounds and bytes, for each algorithm, by formula. Not one formula holds a time.

n ranks, p = 2^L the largest power of two that is no larger, r = n - p ranks left over (folded into a neighbour first and served last). c numbers of e bytes,
S = c e. Halving a vector of uneven length leaves ceil(c / 2^k) on the luckless rank after k halvings.

Cost:
  rounds    messages one after the other on the longest way, which is what latency is paid for
  sent_max  bytes that the busiest rank sends, for comparison with counters
  path      bytes of each round's largest message, added up: what bandwidth is paid for. A link carries both directions at once, so a round costs the larger
            of what a rank sends and receives, not both; and all wait for the rank that has the most
  reduced   bytes of each round's largest addition, added up
  both_ways that part of path where two ranks send to each other at once: over one TCP connection the two directions hold each other up
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np


@dataclass(frozen=True)
class Cost:
    rounds: int
    sent_max: int
    path: int
    reduced: int
    both_ways: int


def split_ranks(ranks: int) -> tuple[int, int, int]:
    """L, p and r."""
    steps = ranks.bit_length() - 1
    return steps, 1 << steps, ranks - (1 << steps)


def numbers_of(payload: int) -> tuple[int, int]:
    """c and e: float32 where the size allows it, else bytes."""
    return (payload // 4, 4) if payload % 4 == 0 else (payload, 1)


def halve(count: int, times: int) -> int:
    """The larger half, so many times."""
    return -(-count >> times)


def doubling(ranks: int, payload: int) -> Cost:
    """Recursive doubling: every rank of p exchanges the whole vector L times. A leftover rank hands its vector over before and gets the sum after."""
    steps, _, left = split_ranks(ranks)
    fold = left > 0
    return Cost(steps + 2 * fold, (steps + fold) * payload, (steps + 2 * fold) * payload, (steps + fold) * payload, steps * payload)


def ring(ranks: int, payload: int) -> Cost:
    """Reduce-scatter and all-gather round the ring, n blocks, the first c mod n of them longer by one number. A rank sends all blocks but one in each half."""
    count, width = numbers_of(payload)
    short, longer = divmod(count, ranks)
    block = short + (longer > 0)
    unsent = 2 * short + (longer == ranks - 1)  # two neighbouring blocks, the shortest pair
    path = 2 * (ranks - 1) * block * width
    return Cost(2 * (ranks - 1), width * (2 * count - unsent), path, path // 2, path if ranks == 2 else 0)


def rabenseifner(ranks: int, payload: int) -> Cost:
    """Reduce-scatter by halving, all-gather by doubling, over p ranks and p blocks, the first c mod p of them longer. Leftovers are folded as in recursive
    doubling. The rank that works on the first blocks is the busiest. Fewer numbers than p cannot be halved so often: recursive doubling then."""
    count, width = numbers_of(payload)
    steps, whole, left = split_ranks(ranks)
    if count < whole:
        return doubling(ranks, payload)
    short, longer = divmod(count, whole)
    kept = [blocks * short + min(blocks, longer) for blocks in (whole >> step for step in range(steps + 1))]
    fold = count * (left > 0)
    return Cost(2 * steps + 2 * (left > 0), width * (sum(kept[:-1]) + fold), width * (2 * sum(kept[1:]) + 2 * fold),
                width * (sum(kept[1:]) + fold), 2 * width * sum(kept[1:]))


def most_of_halves(count: int, steps: int, below: int) -> int:
    """The most numbers that one of the ranks 0 .. below - 1 of p sends while halving and gathering: sum of w_k, k < L, where w_0 = c and bit k of the rank
    decides whether it keeps the larger half of w_k."""
    ranks = np.arange(below)
    width = np.full(below, count, np.int64)
    total = np.zeros(below, np.int64)
    for step in range(steps):
        total += width
        width = (width + ((ranks >> step) & 1)) // 2
    return int(total.max())


def openmpi_rabenseifner(ranks: int, payload: int) -> Cost:
    """Open MPI's form: halves instead of blocks, and a leftover pair shares its sum by halves; one of the two then holds all of it, goes on, and hands the
    result back at the end: S/2, S/2 and S more on its way."""
    count, width = numbers_of(payload)
    steps, whole, left = split_ranks(ranks)
    halves = sum(halve(count, step) for step in range(1, steps + 1))
    sent = most_of_halves(count, steps, whole)
    if not left:
        return Cost(2 * steps, width * sent, 2 * width * halves, width * halves, 2 * width * halves)
    upper = count - count // 2
    folded = upper + most_of_halves(count, steps, left) + count
    return Cost(2 * steps + 3, width * max(sent, folded), width * (2 * halves + 2 * upper + count),
                width * (halves + upper), width * (2 * halves + upper))


def tree(ranks: int, payload: int) -> Cost:
    """Binomial reduce, then binomial broadcast: near to what Open MPI's `nonoverlapping` does with small vectors, whose trees vary with size."""
    levels = (ranks - 1).bit_length()
    return Cost(2 * levels, levels * payload, 2 * levels * payload, levels * payload, 0)


def openmpi_ring(ranks: int, payload: int) -> Cost:
    """Open MPI's ring, which hands vectors with fewer numbers than ranks to recursive doubling. The segmented ring is the same thing unless a segment size is
    set: without one, a segment is the whole block."""
    return (doubling if numbers_of(payload)[0] < ranks else ring)(ranks, payload)


def segmented_ring(segment: int) -> Callable[[int, int], Cost]:
    """The ring with blocks cut into segments of so many bytes. A block's segments go round one after the other in the first half: rounds grow, bytes do not."""
    def cost(ranks: int, payload: int) -> Cost:
        plain = openmpi_ring(ranks, payload)
        count, width = numbers_of(payload)
        numbers = segment // width
        if numbers < 1 or count < ranks * numbers:
            return plain
        phases, rest = divmod(count, ranks * numbers)
        phases += rest >= ranks and rest > ranks * numbers // 2
        return Cost((phases + 1) * (ranks - 1), plain.sent_max, plain.path, plain.reduced, plain.both_ways)
    return cost


# What Open MPI 4.1 chooses for a commutative sum: up to (not including) so many ranks, then up to (not including) so many bytes.
ENDLESS = 1 << 62
OPENMPI_4_1: list[tuple[int, list[tuple[int, Callable[[int, int], Cost]]]]] = [
    (4, [(8, openmpi_ring), (4096, doubling), (8192, openmpi_ring), (16384, doubling), (262144, openmpi_ring), (ENDLESS, openmpi_rabenseifner)]),
    (8, [(16, openmpi_ring), (8192, doubling), (ENDLESS, openmpi_rabenseifner)]),
    (16, [(8192, doubling), (ENDLESS, openmpi_rabenseifner)]),
    (32, [(64, openmpi_ring), (4096, doubling), (ENDLESS, openmpi_rabenseifner)]),
    (64, [(128, openmpi_ring), (ENDLESS, openmpi_rabenseifner)]),
    (128, [(262144, doubling), (ENDLESS, openmpi_rabenseifner)]),
    (256, [(131072, tree), (262144, doubling), (ENDLESS, openmpi_rabenseifner)]),
    (512, [(4096, tree), (ENDLESS, openmpi_rabenseifner)]),
    (2048, [(2048, tree), (16384, doubling), (ENDLESS, openmpi_rabenseifner)]),
    (4096, [(2048, tree), (4096, openmpi_ring), (16384, doubling), (ENDLESS, openmpi_rabenseifner)]),
    (ENDLESS, [(2048, tree), (16384, openmpi_ring), (32768, doubling), (ENDLESS, openmpi_rabenseifner)]),
]


def openmpi_choice(ranks: int, payload: int) -> Cost:
    sizes = next(sizes for below, sizes in OPENMPI_4_1 if ranks < below)
    return next(rule for below, rule in sizes if payload < below)(ranks, payload)


@dataclass(frozen=True)
class Rule:
    """A named formula; answers are kept, since fits ask the same again and again."""
    name: str
    formula: Callable[[int, int], Cost]

    def cost(self, ranks: int, payload: int) -> Cost:
        return cached_cost(self, ranks, payload)


@lru_cache(maxsize=1 << 18)
def cached_cost(rule: Rule, ranks: int, payload: int) -> Cost:
    return rule.formula(ranks, payload)


DOUBLING, RING, RABENSEIFNER = Rule("doubling", doubling), Rule("ring", ring), Rule("rabenseifner", rabenseifner)
OPENMPI_RING, OPENMPI_RABENSEIFNER = Rule("Open MPI's ring", openmpi_ring), Rule("Open MPI's rabenseifner", openmpi_rabenseifner)
OPENMPI_CHOICE = Rule("Open MPI 4.1's choice", openmpi_choice)


def rules_for(algorithm: str, segment: int) -> list[Rule]:
    """The formulas that may describe what a file calls by this name, most likely first; none for an unknown name. What a library chooses for itself may be
    another library's choice, so single algorithms stand beside Open MPI's table."""
    rings = Rule("Open MPI's segmented ring", segmented_ring(segment)) if segment else OPENMPI_RING
    known = {"doubling": [DOUBLING], "ring": [RING], "rabenseifner": [RABENSEIFNER], "mpi:doubling": [DOUBLING], "mpi:ring": [OPENMPI_RING],
             "mpi:segmented_ring": [rings], "mpi:rabenseifner": [OPENMPI_RABENSEIFNER], "mpi": [OPENMPI_CHOICE, DOUBLING, OPENMPI_RING, OPENMPI_RABENSEIFNER]}
    return known.get(algorithm, [])
