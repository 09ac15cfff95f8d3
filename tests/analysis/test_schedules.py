#!/usr/bin/env python3
"""The formulas of all-reduce schedules against schedules played through here, message by message, and against figures that were seen on the wire.
Run: python3 tests/analysis/test_schedules.py [-v]"""

import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path[:0] = [str(ROOT / "tests/support"), str(ROOT)]

try:
    import numpy as np
except ImportError as e:
    print(f"skipped: no {e.name} (Debian's python3-{e.name})")
    sys.exit(77)

import tap  # noqa: E402

from analysis.comm import schedules  # noqa: E402

# A schedule is a list of rounds; a round is a list of (from, to, first number, end, added up or copied). All messages of a round go at once.

def folded(ranks):
    """Who works where the rank count is no power of two: the odd one of each leading pair, then the rest."""
    power = max(2 ** k for k in range(10) if 2 ** k <= ranks)
    pairs = ranks - power
    return power, pairs, [2 * pair + 1 for pair in range(pairs)] + list(range(2 * pairs, ranks))


def wrap_fold(ranks, count, inner):
    _, pairs, _ = folded(ranks)
    before = [[(2 * pair, 2 * pair + 1, 0, count, True) for pair in range(pairs)]] if pairs else []
    after = [[(2 * pair + 1, 2 * pair, 0, count, False) for pair in range(pairs)]] if pairs else []
    return before + inner + after


def play_doubling(ranks, count):
    power, _, workers = folded(ranks)
    rounds, distance = [], 1
    while distance < power:
        rounds.append([(workers[w], workers[w ^ distance], 0, count, True) for w in range(power)])
        distance *= 2
    return wrap_fold(ranks, count, rounds)


def cut(count, parts):
    sizes = [len(part) for part in np.array_split(np.arange(count), parts)]
    return [sum(sizes[:index]) for index in range(parts + 1)]


def play_ring(ranks, count):
    edge = cut(count, ranks)
    rounds = []
    for step in range(2 * (ranks - 1)):
        blocks = [(rank - step) % ranks for rank in range(ranks)]
        rounds.append([(rank, (rank + 1) % ranks, edge[block], edge[block + 1], step < ranks - 1) for rank, block in enumerate(blocks)])
    return rounds


def play_halving(workers, split):
    """split(first, end) -> middle. Halving with neighbours first, then the way back, by what each holds."""
    power = len(workers)
    held = [split.whole for _ in workers]
    rounds, undo, distance = [], [], 1
    while distance < power:
        messages, kept = [], []
        for w in range(power):
            first, end = held[w]
            middle = split(first, end)
            mine, other = ((first, middle), (middle, end)) if not w & distance else ((middle, end), (first, middle))
            messages.append((workers[w], workers[w ^ distance], *other, True))
            kept.append(mine)
        rounds.append(messages)
        undo.append([(workers[w], workers[w ^ distance], *kept[w], False) for w in range(power)])
        held, distance = kept, 2 * distance
    return rounds + undo[::-1]


class BlockSplit:
    """Halves as whole blocks of the first cut."""

    def __init__(self, count, power):
        self.edge, self.whole, self.blocks = cut(count, power), (0, count), power

    def __call__(self, first, end):
        inside = [index for index, edge in enumerate(self.edge) if first <= edge <= end]
        return self.edge[(inside[0] + inside[-1]) // 2]


class EvenSplit:
    """The first half is the smaller one."""

    def __init__(self, count):
        self.whole = (0, count)

    def __call__(self, first, end):
        return first + (end - first) // 2


def play_rabenseifner(ranks, count):
    power, _, workers = folded(ranks)
    return play_doubling(ranks, count) if count < power else wrap_fold(ranks, count, play_halving(workers, BlockSplit(count, power)))


def play_openmpi_rabenseifner(ranks, count):
    power, pairs, _ = folded(ranks)
    workers = [2 * pair for pair in range(pairs)] + list(range(2 * pairs, ranks))
    half, even = count // 2, [2 * pair for pair in range(pairs)]
    before = [[message for rank in even for message in ((rank, rank + 1, half, count, True), (rank + 1, rank, 0, half, True))],
              [(rank + 1, rank, half, count, False) for rank in even]] if pairs else []
    return before + play_halving(workers, EvenSplit(count)) + ([[(rank, rank + 1, 0, count, False) for rank in even]] if pairs else [])


def play(schedule, ranks, count):
    """Really adds numbers up. Returns rounds, most numbers sent by a rank; of each round the largest message, addition and message between two that exchange,
    added up; and whether all have the sum."""
    start = np.random.default_rng(ranks * 1000 + count).integers(0, 1000, (ranks, count))
    data, sent, path, reduced, both = start.copy(), [0] * ranks, 0, 0, 0
    for messages in schedule:
        carried = [data[source, first:end].copy() for source, _, first, end, _ in messages]
        for (source, to, first, end, adds), numbers in zip(messages, carried):
            data[to, first:end] = numbers + (data[to, first:end] if adds else 0)
            sent[source] += end - first
        path += max(end - first for _, _, first, end, _ in messages)
        reduced += max([end - first for _, _, first, end, adds in messages if adds], default=0)
        pairs = {(source, to) for source, to, *_ in messages}
        both += max([end - first for source, to, first, end, _ in messages if (to, source) in pairs], default=0)
    return len(schedule), max(sent), path, reduced, both, bool((data == start.sum(axis=0)).all())


class Formulas(unittest.TestCase):
    def compare(self, formula, player):
        for ranks in range(2, 34):
            for count in (1, 5, 32, 37, 100, 257):
                rounds, sent, path, reduced, both, right = play(player(ranks, count), ranks, count)
                self.assertTrue(right, f"the schedule of this test is wrong: {ranks} ranks, {count} numbers")
                self.assertEqual(formula(ranks, 4 * count), schedules.Cost(rounds, 4 * sent, 4 * path, 4 * reduced, 4 * both),
                                 f"{ranks} ranks, {count} numbers")

    def test_doubling(self):
        self.compare(schedules.doubling, play_doubling)

    def test_ring(self):
        self.compare(schedules.ring, play_ring)

    def test_rabenseifner(self):
        self.compare(schedules.rabenseifner, play_rabenseifner)

    def test_openmpi_rabenseifner(self):
        self.compare(schedules.openmpi_rabenseifner, play_openmpi_rabenseifner)

    def test_comparison_can_fail(self):
        with self.assertRaises(AssertionError):
            self.compare(schedules.rabenseifner, play_openmpi_rabenseifner)

    def test_known_figures(self):
        size = 1 << 20  # what monitoring of Open MPI shows: 2.5 S on one of 3 ranks, 1.5 S at 4, 1.75 S at 8, log2 n S for small vectors
        self.assertEqual([schedules.openmpi_choice(n, size).sent_max / size for n in (2, 3, 4, 8)], [1, 2.5, 1.5, 1.75])
        self.assertEqual([schedules.openmpi_choice(n, 4000).sent_max / 4000 for n in (2, 4, 8)], [1, 2, 3])

    def test_choice_of_open_mpi(self):
        kind = {(2, 4000): "doubling", (3, 6000): "ring", (2, 10_000): "doubling", (3, 100_000): "ring", (2, 300_000): "rabenseifner", (6, 8000): "doubling",
                (6, 8192): "rabenseifner", (40, 64): "doubling", (40, 4096): "rabenseifner", (100, 200_000): "doubling", (5000, 20_000): "doubling"}
        formulas = {"doubling": schedules.doubling, "ring": schedules.ring, "rabenseifner": schedules.openmpi_rabenseifner}
        for (ranks, payload), name in kind.items():
            self.assertEqual(schedules.openmpi_choice(ranks, payload), formulas[name](ranks, payload), (ranks, payload))

    def test_segments(self):
        plain, cut_up = schedules.ring(4, 1 << 20), schedules.segmented_ring(1 << 16)(4, 1 << 20)
        self.assertEqual((cut_up.path, cut_up.sent_max), (plain.path, plain.sent_max))
        self.assertEqual((plain.rounds, cut_up.rounds), (6, 4 * 3 + 3))  # 256 kB blocks in 4 segments
        self.assertEqual(schedules.segmented_ring(0)(4, 1 << 20), plain)


if __name__ == "__main__":
    tap.main()
