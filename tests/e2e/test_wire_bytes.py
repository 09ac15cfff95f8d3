#!/usr/bin/python3
# timeout: 600
# needs: root
"""Bytes of a step on several hosts: payload by each method's closed formula, and bytes on the wire counted in three ways. Run: test_wire_bytes.py [-v]

The head travels whole here; as factors: test_head_reduce.py.

The three ways know nothing of each other: the run file's (TCP_INFO of the ranks' own sockets), Open MPI's monitoring, and the counters of the hosts' network
interfaces. The last two see the whole job, so what a step takes is the difference between two trainings of different length.
"""

import glob
import itertools
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
from harness import attribute, main, make_tiny, methods, read  # noqa: E402
from cluster_case import ClusterCase  # noqa: E402

# make_tiny's model and data.
LAYERS, WIDTH, FFN, VOCABULARY, POSITIONS, TYPES, CLASSES = 2, 32, 64, 65, 128, 2, 3
MAPS = 2 * LAYERS  # q and v
HEAD = CLASSES * (WIDTH + 1)
LAYER_BIASES = (4 * WIDTH + FFN + WIDTH) + 2 * WIDTH  # of the six maps and the two normalisations
LAYER = 4 * WIDTH * WIDTH + 2 * WIDTH * FFN + LAYER_BIASES + 2 * WIDTH
EMBEDDING = (VOCABULARY + POSITIONS + TYPES) * WIDTH + 2 * WIDTH
RANK, VERA_RANK, BANK, TOP_K = {"lora": 8, "tied": 8, "vblora": 4, "unilora": 4, "glora": 4}, 4 * WIDTH, 90, 2
PAIR = 2 * WIDTH  # of rank 1: a row of A and a column of B
# What a method sends in a step, in numbers, as configs/method sets it.
SENT = {
    "lora": MAPS * RANK["lora"] * PAIR,
    "vera": MAPS * (VERA_RANK + WIDTH),
    "tied": 2 * RANK["tied"] * PAIR + MAPS * (RANK["tied"] + WIDTH),  # a pair for q and one for v
    "vblora": BANK * WIDTH + MAPS * RANK["vblora"] * 2 * TOP_K,  # the bank, and k logits for each row of A and column of B, which are a vector each
    "unilora": int(MAPS * RANK["unilora"] * PAIR / 6.4),
    "red": LAYERS * 2 * WIDTH,
    "glora": MAPS * (2 * RANK["glora"] * PAIR + RANK["glora"] * (WIDTH + 1) + 2 * WIDTH),  # A and B, C, D and E
    "bitfit": LAYERS * LAYER_BIASES + WIDTH,
    "full": EMBEDDING + LAYERS * LAYER,
    "head": 0,
}
TAIL = {"float": 4, "exact": 3}  # loss, examples, tokens; errors
STEPS = 12
FRAME_HEADERS, SEGMENT = 14 + 20 + 32, 1448  # Ethernet, IP, TCP with time stamps; what is left for data
WAYS_APART = 0.05


def drawn_sizes():
    """All that a step of GLoRA's super-network can take: for each map one of the supports' sizes."""
    rank = RANK["glora"]
    weight, column, bias = (0, 1, WIDTH, rank * PAIR), (0, WIDTH, rank * (WIDTH + 1)), (0, 1, WIDTH)
    of_map = {sum(choice) for choice in itertools.product(weight, weight, column, bias, bias)}
    sizes = {0}
    for _ in range(MAPS):
        sizes = {size + other for size in sizes for other in of_map}
    return sizes


class Payload(ClusterCase):
    HOSTS = 2

    def rows(self, name, method, reduce, **changed):
        """Steps of a training on two hosts; with exact sums the first one, which looks for a scale, left out."""
        run = self.train(2, *self.settings(f"{name}-{reduce}", method=method, reduce=reduce, train__steps=str(STEPS), head_reduce="dense", **changed))
        self.assertEqual(attribute(run, "provenance", "wire"), "tcp")
        return run, read(run, "series/steps")[1 if reduce == "exact" else 0:]

    def message(self, run, numbers, reduce):
        if reduce == "float":
            return 4 * (numbers + HEAD + TAIL[reduce])
        return 8 * (numbers + HEAD + TAIL[reduce]) + len(read(run, "segments")) + 2

    def test_every_method(self):
        self.assertEqual(set(SENT), set(methods()), "a method without a formula")
        for method, numbers in SENT.items():
            # Of trained embeddings a compact message holds what a batch reaches: see below.
            whole = {"payload": "dense"} if method == "full" else {}
            for reduce in TAIL:
                with self.subTest(method=method, reduce=reduce):
                    run, rows = self.rows(method, method, reduce, **whole)
                    self.assertEqual(set(rows["payload_bytes"].tolist()), {self.message(run, numbers, reduce)})
                    # Two ranks give each other all of it, whatever the algorithm.
                    self.assertGreaterEqual(int(rows["wire_bytes"].sum()), int(rows["payload_bytes"].sum()))

    def test_all_of_it_where_that_was_asked_for(self):
        trained = BANK * WIDTH + MAPS * RANK["vblora"] * 2 * BANK
        run, rows = self.rows("vblora-dense", "vblora", "float", payload="dense")
        self.assertEqual(set(rows["payload_bytes"].tolist()), {self.message(run, trained, "float")})

    def test_embeddings_that_a_batch_reaches(self):
        """A step over all training examples reaches the words that occur there, and the positions up to the longest one's."""
        longest = 20
        data = make_tiny.write_dataset(self.at("short.h5"), counts=(40, 6, 6), longest=longest, seed=5)
        words = len(set(read(data, "train/tokens").tolist()))
        self.assertLess(words, VOCABULARY)
        numbers = SENT["full"] - (VOCABULARY - words + POSITIONS - longest) * WIDTH
        for reduce in TAIL:
            run, rows = self.rows("full-reached", "full", reduce, task__data=data, train__batch="40")
            self.assertEqual(set(rows["payload_bytes"].tolist()), {self.message(run, numbers, reduce)})

    def test_drawn_paths(self):
        sizes = drawn_sizes()
        self.assertLess(len(sizes), 0.75 * max(sizes), "any size would do")
        for reduce in TAIL:
            run, rows = self.rows("glora-random", "glora", reduce, method__path="random")
            payloads = set(rows["payload_bytes"].tolist())
            self.assertLessEqual(payloads, {self.message(run, size, reduce) for size in sizes})
            self.assertGreater(len(payloads), STEPS // 2, "the path hardly changes")


class ThreeWays(ClusterCase):
    """Messages above 1 MB."""
    FEW, MANY = 3, 9

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.wide = make_tiny.write_model(cls.at("wide"), width=256, layers=2, heads=4, ffn=1024, seed=2)
        cls.short = make_tiny.write_dataset(cls.at("short.h5"), counts=(24, 6, 6), longest=24, seed=3)

    def count(self, name, ranks, steps, changed):
        """Payload of rank 0; and by all ranks together: TCP_INFO, monitoring, interfaces."""
        profile = self.at(f"{name}-{steps}")
        watch = {"pml": "ob1,monitoring", "pml_monitoring_enable": "2", "pml_monitoring_enable_output": "3", "pml_monitoring_filename": profile}
        before = self.hosts.counters()
        run = self.train(ranks, *self.settings(f"{name}-{steps}", model__path=self.wide, task__data=self.short, output__theta="false", train__batch="8", shards="4",
                                               train__steps=str(steps), train__lr="1e-4", train__evaluate_every="1000", **changed),
                         flags=[word for key, value in watch.items() for word in ("--mca", key, value)])
        links = [values - before[host] for host, values in self.hosts.counters().items()]
        lines = [line.split("\t") for path in glob.glob(profile + ".*.prof") for line in open(path, encoding="utf-8")]
        sums = [int(words[3].split()[0]) for words in lines if words[0] in "IE"]  # sent from one rank to another: by MPI's collectives, by the suite's own
        self.assertEqual(attribute(run, "provenance", "wire"), "tcp")
        return (int(read(run, "series/steps")["payload_bytes"].sum()), int(read(run, "series/ranks")["wire_bytes"].sum()), sum(sums),
                sum(link.tx_bytes - FRAME_HEADERS * link.tx_packets - SEGMENT * link.retransmits for link in links))

    def test_they_agree(self):
        large = {"method": "lora", "method__rank": "256", "method__modules": "q,k,v,o"}
        # Where the rate is unshaped a counted packet holds up to 64 kB, at 100 Mbit/s one frame: then there are many headers to leave out.
        for name, ranks, rate, changed in (("full", 2, "unshaped", {"method": "full"}), ("full-3", 3, "unshaped", {"method": "full"}), ("full-frames", 2, "100mbit", {"method": "full"}),
                                           ("full-exact", 3, "unshaped", {"method": "full", "reduce": "exact"}), ("lora", 2, "unshaped", large),
                                           ("lora-exact", 3, "unshaped", {**large, "reduce": "exact"})):
            with self.subTest(case=name):
                self.hosts.set_rate(rate)
                few, many = (self.count(name, ranks, steps, changed) for steps in (self.FEW, self.MANY))
                payload, *ways = ((more - less) / (self.MANY - self.FEW) for less, more in zip(few, many))
                self.assertGreater(payload, 1e6)
                for one, other in itertools.combinations(ways, 2):
                    self.assertLess(abs(one - other), WAYS_APART * min(one, other), f"TCP_INFO, monitoring, interfaces: {ways}")
                # The least that an all-reduce can do with: 2 (n - 1) messages by all ranks together; the most: each to each.
                for way in ways:
                    self.assertGreater(way, 0.99 * 2 * (ranks - 1) * payload)
                    self.assertLess(way, 1.01 * ranks * (ranks - 1) * payload)
                print(f"# {name}: per step {payload:.0f} bytes of payload; on the wire by TCP_INFO, monitoring, interfaces:", *(f"{way:.0f}" for way in ways))


if __name__ == "__main__":
    main()
