#!/usr/bin/python3
"""The comparison with what people use, as far as it needs no PyTorch: the sentences of both, what is refused as unequal work, figures, tables and the file.
Run: test_bench_peer.py [-v]"""

import os
import subprocess
import sys

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(TESTS, "support"), os.path.join(TESTS, "bench")]
from harness import Case, environment, h5py, main, make_tiny, np, text  # noqa: E402

import peer_data  # noqa: E402
import peer_report  # noqa: E402
import peer_sides  # noqa: E402


def single_sentences(file):
    for split in make_tiny.SPLITS:
        file[split]["segment_start"][...] = file[split]["target_start"][...]


def write_sentences(path, count=600, shortest=4, longest=8):
    return make_tiny.write_dataset(path, classes=2, counts=(count, 0, 0), shortest=shortest, longest=longest, change=single_sentences)


class Sentences(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.source = peer_data.read_train(write_sentences(cls.at("sentences.h5")))
        cls.length = np.array([len(row) for row in cls.source[2]])

    def test_batches_of_each_mode(self):
        for mode in peer_data.MODES:
            groups = peer_data.choose(self.length, mode, 10, 1)
            chosen = np.concatenate(groups)
            self.assertEqual((len(groups), {len(g) for g in groups}, len(set(chosen))), (10, {peer_data.BATCH}, len(chosen)))
            lengths = [len(set(self.length[group])) for group in groups]
            self.assertEqual(max(lengths) == 1, mode == "equal")
            self.assertTrue(all(np.array_equal(a, b) for a, b in zip(groups, peer_data.choose(self.length, mode, 10, 1))))

    def test_too_few_sentences(self):
        with self.assertRaisesRegex(peer_data.DataError, "18 batches of 32 sentences .padded., and 19"):
            peer_data.choose(self.length, "padded", 19, 1)
        with self.assertRaisesRegex(peer_data.DataError, "0 batches"):
            peer_data.choose(self.length[:20], "equal", 1, 1)

    def test_other_data(self):
        with self.assertRaisesRegex(peer_data.DataError, "pairs of texts"):
            peer_data.read_train(self.data)
        for name in ("nothing.h5", os.path.basename(__file__)):
            with self.assertRaisesRegex(peer_data.DataError, "no prepared data set"):
                peer_data.read_train(os.path.join(os.path.dirname(os.path.abspath(__file__)), name))

    def test_both_programs_get_the_same_batches(self):
        """The order of our steps is our program's own."""
        words = [f"model.path={self.model}", "method=lora", f"train.batch={peer_data.BATCH}", "train.keep=last"]
        ours = peer_sides.Ours(self.folder.name, peer_sides.Layout("2x1"), words)
        tokens_of = {int(i): list(row) for i, row in zip(self.source[4], self.source[2])}
        label_of = {int(i): label for i, label in zip(self.source[4], self.source[3])}
        for mode in peer_data.MODES:
            with self.subTest(mode=mode):
                material = peer_data.Material(self.folder.name, self.source, mode, 4, lambda path: ours.plan(path, 4))
                run = ours.train(material, 1, 3)
                self.assertEqual([step["ids"] for step in run["steps"]], material.ids)
                self.assertEqual([step["tokens"] for step in run["steps"]], [sum(lengths) for lengths in material.lengths])
                if mode == "equal":
                    self.assertEqual([len(set(lengths)) for lengths in material.lengths], [1] * 4)
                with np.load(material.batches) as file:
                    for step, (first, last) in enumerate(zip(file["steps"][:-1], file["steps"][1:])):
                        self.assertEqual(file["ids"][first:last].tolist(), material.ids[step])
                        for i in range(first, last):
                            self.assertEqual(file["tokens"][file["offsets"][i]:file["offsets"][i + 1]].tolist(), tokens_of[int(file["ids"][i])])
                            self.assertEqual(file["labels"][i], label_of[int(file["ids"][i])])
                with np.load(material.batches) as file, np.load(material.first) as one:
                    self.assertEqual((len(one["steps"]), len(one["labels"]), len(one["tokens"])), (2, peer_data.BATCH, sum(material.lengths[0])))
                    self.assertEqual(one["offsets"].tolist(), file["offsets"][: peer_data.BATCH + 1].tolist())

    def test_an_order_that_depends_on_the_sentences(self):
        asked = []

        def plan(path):
            asked.append(path)
            rows = np.arange(4 * peer_data.BATCH).reshape(4, -1)
            return [{"rows": row.tolist(), "ids": []} for row in (rows if len(asked) == 1 else rows.T.reshape(4, -1))]

        with self.assertRaisesRegex(peer_data.DataError, "depends on what the sentences are"):
            peer_data.Material(self.folder.name, self.source, "equal", 4, plan)

    def test_the_peer_gets_our_settings(self):
        words = [f"model.path={self.model}", "model.dropout_hidden=0.1", "model.dropout_embedding=0.1", "model.head=tanh", "model.pooling=first", "train.schedule=constant",
                 "train.warmup=0", "method=full", "precision=bf16"]
        peer = peer_sides.Peer(self.folder.name, peer_sides.Layout("2x1"), "tuned", self.model, peer_sides.settle(words))
        self.assertEqual({name: peer.spec[name] for name in ("method", "pooling", "head", "lr", "lr_head", "decay", "decay_head", "precision", "ranks", "threads")},
                         {"method": "full", "pooling": "first", "head": "tanh", "lr": 5e-5, "lr_head": 5e-4, "decay": 0.01, "decay_head": 0.01, "precision": "bf16",
                          "ranks": 2, "threads": 1})
        self.assertNotIn("bf16", peer.spec["settings"])  # there are no frozen maps
        lora = peer_sides.Peer(self.folder.name, peer_sides.Layout("1x2"), "tuned", self.model, peer_sides.settle([*words, "method=lora", "method.modules=k"]))
        self.assertIn("bf16", lora.spec["settings"])
        self.assertEqual((lora.side, lora.spec["modules"], lora.spec["rank"]), ("tuned 1x2", ["k"], 8))
        for more in ("train.clip=1", "train.schedule=linear", "model.dropout_hidden=0.2"):
            with self.assertRaises(peer_sides.SideError):
                peer_sides.Peer(self.folder.name, peer_sides.Layout("2x1"), "tuned", self.model, peer_sides.settle([*words, more]))
        for layout in ("2", "0x1", "2x", "axb"):
            with self.assertRaises(peer_sides.SideError):
                peer_sides.Layout(layout)

    def test_without_the_peers_environment(self):
        ended = subprocess.run([sys.executable, "-B", os.path.join(TESTS, "bench", "bench_peer.py"), "--data", self.at("sentences.h5"), "--model", self.model, "--out",
                                self.at("out")], capture_output=True, text=True, timeout=60, env=environment({"PEFTSCALE_ORACLE": self.at("no-environment")}))
        self.assertEqual(ended.returncode, 1, ended.stderr)
        self.assertRegex(ended.stderr.strip(), r"^bench_peer: error: the peer is torch, .*no-environment.*: make oracle brings them$")


# ---- figures of runs that never were ----


def made_run(side, pair, seconds, against="ours", case="a", cpu=2.0, peak=1e11, warm=1, ids=((1, 2), (3, 4), (5, 6))):
    """Three steps, the first not timed; the timed ones have 30 tokens and 6 GFLOP together."""
    steps = [{"ids": list(step), "examples": 2, "tokens": 10 * (i + 1), "places": 30 * (i + 1), "flop": 1e9 * (i + 1), "wall_s": seconds, "cpu_s": cpu * seconds,
              "loss": 0.5} for i, step in enumerate(ids)]
    steps[0]["wall_s"] = 100 * seconds
    return {"case": case, "pair": pair, "side": side, "against": against, "ranks": 2, "threads": 1, "warm": warm, "trained": 7, "steps": steps, "peak": peak,
            "peak_bytes": 200_000_000 + pair, "proportional_bytes": 100_000_000}


CASE = {"name": "a", "model": "tiny", "method": "lora", "mode": "padded", "precision": "f32"}


def made_runs():
    runs = []
    for pair, (ours, theirs) in enumerate(((0.1, 0.4), (0.1, 0.2), (0.2, 0.6)), 1):
        runs += [made_run("ours", pair, ours, against="tuned 2x1"), made_run("tuned 2x1", pair, theirs, cpu=1.0)]
        runs += [made_run("ours", pair, ours, against="default 1x2"), made_run("default 1x2", pair, 10 * theirs)]
    return runs


class Figures(Case):
    def test_of_a_run(self):
        found = peer_report.figures(made_run("ours", 1, 0.1))
        self.assertAlmostEqual(found["tokens_per_s"], 50 / 0.2)
        self.assertAlmostEqual(found["cpu_s_per_token"], 0.4 / 50)
        self.assertAlmostEqual(found["share"], 5e9 / 0.2 / 1e11)
        self.assertAlmostEqual(found["step_s"], 0.1)

    def test_ratios_are_of_pairs(self):
        runs = made_runs()
        speed, cpu = peer_report.ratios(runs, "a", "tuned 2x1")
        np.testing.assert_allclose(speed, [4, 2, 3])
        np.testing.assert_allclose(cpu, [2, 1, 1.5])
        np.testing.assert_allclose(peer_report.ratios(runs, "a", "default 1x2")[0], [40, 20, 30])
        self.assertEqual(peer_report.ratios(runs[:-1], "a", "default 1x2")[0], peer_report.ratios(runs, "a", "default 1x2")[0][:2])  # one without its partner is none

    def test_tables(self):
        starts = [{"case": "a", "side": side, "process_s": s, "launch_s": s + 1} for side, s in (("ours", 0.3), ("ours", 0.5), ("ours", 0.4), ("tuned 2x1", 4.0))]
        plain = peer_report.text_table([CASE], made_runs(), starts)
        self.assertRegex(plain, r"(?m)^ours +2 x 1 +250 \(125 to 250\) .* 25\.0 \(12\.5 to 25\.0\) % .*0\.40 \(0\.30 to 0\.50\) s +1\.40 ")
        self.assertRegex(plain, r"(?m)^tuned 2x1 +3\.00 \(2\.00 to 4\.00\) +1\.50 \(1\.00 to 2\.00\) +3 +3\.00$")
        self.assertRegex(plain, r"(?m)^default 1x2 +2 x 1 .* - +- +200 MB +100 MB$")
        pages = peer_report.markdown([CASE], made_runs(), starts, {"torch": "2"})
        self.assertIn("- torch: 2\n", pages)
        self.assertIn("| tuned 2x1 | 3.00 (2.00 to 4.00) | 1.50 (1.00 to 2.00) | 3 | 3.00 |", pages)

    def test_the_file(self):
        path, runs = self.at("bench.h5"), made_runs()
        peer_report.write(path, [CASE], runs, [{"case": "a", "side": "ours", "process_s": 0.3, "launch_s": 0.5}], {"torch": "2.13.0", "processor": "some"})
        with h5py.File(path, "r") as file:
            self.assertEqual({name: text(file.attrs[name]) for name in ("kind", "torch", "processor")},
                             {"kind": "peftscale peer bench", "torch": "2.13.0", "processor": "some"})
            self.assertEqual((file.attrs["schema_version"], len(file["runs"]), len(file["steps"]), len(file["starts"])), (1, 12, 36, 1))
            self.assertEqual(file["runs"]["side"][1], b"tuned 2x1")
            self.assertAlmostEqual(file["runs"]["share"][0], 0.25)
            np.testing.assert_allclose(file["pairs"]["tokens_per_s_ratio"][:], [4, 2, 3, 40, 20, 30])
            rows = file["steps"][:]
            own = rows[(rows["run"] == 3) & (rows["step"] > file["runs"]["warm"][3])]  # the figures follow from the rows
            self.assertAlmostEqual(own["tokens"].sum() / own["wall_s"].sum(), file["runs"]["tokens_per_s"][3])

    def test_unequal_work_is_refused(self):
        ours = made_run("ours", 1, 0.1)
        peer_report.check_equal_work("a", ours, made_run("tuned", 1, 0.2, ids=((2, 1), (3, 4), (6, 5))))
        for changed, words in ((made_run("tuned", 1, 0.2, ids=((1, 2), (3, 5), (4, 6))), "step 2 is not the same work"),
                               (made_run("tuned", 1, 0.2, ids=((1, 2), (3, 4))), "3 steps of ours, 2"), (made_run("tuned", 1, 0.2) | {"trained": 8}, "trains 7 numbers, the peer 8")):
            with self.assertRaisesRegex(ValueError, words):
                peer_report.check_equal_work("a", ours, changed)
        longer = made_run("tuned", 1, 0.2)
        longer["steps"][2]["tokens"] += 1
        with self.assertRaisesRegex(ValueError, "step 3 is not the same work: 2 examples of 30 tokens, 2 of 31"):
            peer_report.check_equal_work("a", ours, longer)

    def test_other_losses_are_refused(self):
        peer_report.check_losses("a", [0.7, 0.6], [0.7005, 0.603], 1e-3, 1e-2)
        for own, theirs, number in (([0.7, 0.6], [0.702, 0.6], 1), ([0.7, 0.6], [0.7, 0.61], 2), ([float("nan")], [0.7], 1)):
            with self.assertRaisesRegex(ValueError, f"step {number} "):
                peer_report.check_losses("a", own, theirs, 1e-3, 1e-2)


if __name__ == "__main__":
    main()
