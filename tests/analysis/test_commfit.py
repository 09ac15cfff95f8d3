#!/usr/bin/env python3
"""The model of all-reduce times: parameters against those that made-up files were written with, files of no use, projections and knees. Its formulas:
test_schedules.py. Run: python3 tests/analysis/test_commfit.py [-v]"""

import contextlib
import csv
import io
import json
import math
import os
import subprocess
import sys
import types
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path[:0] = [str(ROOT / "tests/support"), str(ROOT)]

try:
    import h5py
    import matplotlib  # noqa: F401
    import numpy as np
    import pandas  # noqa: F401
    import scipy  # noqa: F401
    import yaml  # noqa: F401
except ImportError as e:
    print(f"skipped: no {e.name} (Debian's python3-{e.name})")
    sys.exit(77)

import tap  # noqa: E402
from folders import FolderCase  # noqa: E402
from figure_checks import label_problems, svg_ids, svg_problems, svg_texts, text_problems  # noqa: E402

from analysis.comm import fit as commfit, options as comm_options, project, schedules  # noqa: E402
from analysis.__main__ import main  # noqa: E402
from analysis.comm.plots import draw_all  # noqa: E402
from analysis.comm.read import Network, Payload, Point, collect  # noqa: E402
from analysis.comm.networks import find_networks  # noqa: E402
from analysis.comm.outcome import work_out  # noqa: E402
from analysis.plots import save  # noqa: E402

CASE = np.dtype([("case", "<i4"), ("ranks", "<i4"), ("nodes", "<i4"), ("algorithm", "S24"), ("label", "S64"), ("model", "S64"), ("method", "S64"),
                 ("payload_bytes", "<i8"), ("rounds", "<i4"), ("counted_bytes_mean", "<f8"), ("counted_bytes_max", "<i8")])
REPETITION = np.dtype([("case", "<i4"), ("repetition", "<i4"), ("seconds", "<f8"), ("seconds_mean", "<f8"), ("wire_bytes_mean", "<f8"),
                       ("wire_bytes_max", "<i8")])
ALPHA, BETA = 50e-6, 8 / 100e6  # s per round; s per byte at 100 Mbit/s
OWN = {"doubling": schedules.doubling, "ring": schedules.ring, "rabenseifner": schedules.rabenseifner}
SIZES = [16 * 3 ** step for step in range(13)]  # 16 B to 8.5 MB
METHODS = [("unilora", 23_040), ("vera", 92_000), ("lora", 294_912), ("full", 90_261_504)]


# ---- made-up measurements ----

def write_file(path, ranks=(2, 3, 4, 5, 6, 7, 8), algorithms=OWN, sizes=SIZES, alpha=ALPHA, beta=BETA, noise=0.05, repetitions=9, methods=METHODS, seconds=None,
               nodes=None, counted=True, kind="peftscale comm", version=1, network="veth 100 Mbit/s", seed=1):
    """A file of `peftscale comm`, with T = alpha rounds + beta path and log-normal noise, or seconds(algorithm, ranks, payload)."""
    random = np.random.default_rng(seed)
    cases, rows = [], []
    for name, formula in algorithms.items():
        for count in ranks:
            for method, payload in [("", size) for size in sizes] + list(methods):
                cost = formula(count, payload)
                time = seconds(name, count, payload) if seconds else alpha * cost.rounds + beta * cost.path
                number = len(cases)
                cases.append((number, count, nodes or count, name, method or f"{payload} B", "minilm-l6" if method else "", method, payload,
                              cost.rounds if counted else -1, cost.sent_max if counted else math.nan, cost.sent_max if counted else -1))
                rows += [(number, repetition, time * math.exp(noise * random.standard_normal()), time, math.nan, -1) for repetition in range(repetitions)]
    with h5py.File(path, "w") as file:
        file.attrs.update({"kind": np.bytes_(kind), "schema_version": np.int32(version), "network": np.bytes_(network), "rate_bits_per_s": 1e8,
                           "ranks": np.int32(max(ranks, default=0)), "nodes": np.int32(max(ranks, default=0)), "wire": np.bytes_("tcp")})
        file["cases"], file["repetitions"] = np.array(cases, CASE), np.array(rows, REPETITION)
    return path


def points_of(seconds, ranks=(2, 3, 4, 5, 6, 7, 8), sizes=SIZES, algorithm="doubling"):
    points = [Point(algorithm, count, count, size, np.array(seconds(count, size))) for count in ranks for size in sizes]
    commfit.HoldOut().mark(points)
    return points


def noisy(formula, alpha=ALPHA, beta=BETA, gamma=0.0, noise=0.05, repetitions=9, seed=1):
    random = np.random.default_rng(seed)

    def seconds(ranks, payload):
        cost = formula(ranks, payload)
        return (alpha * cost.rounds + beta * cost.path + gamma * cost.reduced) * np.exp(noise * random.standard_normal(repetitions))
    return seconds


class Fits(unittest.TestCase):
    def test_parameters_come_back(self):
        for name, formula in OWN.items():
            model = commfit.fit_algorithm(name, points_of(noisy(formula), algorithm=name), draws=60)
            self.assertEqual(len(model.form.pieces), 1, name)
            piece = model.form.pieces[0]
            self.assertAlmostEqual(piece.alpha / ALPHA, 1, delta=0.05)
            self.assertAlmostEqual(piece.beta / BETA, 1, delta=0.05)
            self.assertLess(model.errors.median, 0.04)  # noise of a median of 9 with 5 %: about 2 %
            self.assertGreater(model.errors.points, 30)

    def test_bands_hold_the_truth(self):
        inside = 0
        for seed in range(20):
            model = commfit.fit_algorithm("ring", points_of(noisy(schedules.ring, noise=0.1, seed=seed), algorithm="ring"), draws=60, seed=seed)
            values = [draw.pieces[0].beta for draw in model.draws]
            low, high = np.percentile(values, commfit.BAND)
            inside += low <= BETA <= high
            self.assertLess(high / low, 1.3)
        self.assertGreaterEqual(inside, 14)  # 18 expected of a 90 % band

    def test_a_wrong_algorithm_is_seen(self):
        points = points_of(noisy(schedules.doubling))
        right = commfit.fit_algorithm("doubling", points, draws=20)
        wrong = commfit.fit_algorithm("doubling", points, draws=20, rules=[schedules.RING])
        self.assertGreater(wrong.errors.median, 3 * right.errors.median)
        self.assertGreater(wrong.errors.p90, 0.2)

    def test_two_protocols(self):
        """Latency and rate change at messages of 20 kB, as with eager and rendezvous messages."""
        def seconds(ranks, payload):
            cost = schedules.doubling(ranks, payload)
            large = cost.path / cost.rounds >= 20_000
            return [(3e-3 if large else 50e-6) * cost.rounds + (2e-8 if large else 8e-8) * cost.path] * 3
        model = commfit.fit_algorithm("doubling", points_of(seconds), draws=20)
        self.assertEqual(len(model.form.pieces), 2)
        small, large = model.form.pieces
        self.assertTrue(11_664 < small.high <= 34_992, small.high)
        for piece, alpha, beta in ((small, 50e-6, 8e-8), (large, 3e-3, 2e-8)):
            self.assertAlmostEqual(piece.alpha / alpha, 1, delta=0.02)
            self.assertAlmostEqual(piece.beta / beta, 1, delta=0.02)
        self.assertLess(model.errors.worst, 0.02)

    def test_adding_up_is_seen_only_where_it_is(self):
        with_gamma = commfit.fit_algorithm("ring", points_of(noisy(schedules.ring, gamma=2 * BETA, noise=0), algorithm="ring"), draws=20)
        self.assertLess(with_gamma.errors.worst, 0.01)
        # In a ring additions are half the path: a share of beta. Folded leftovers of recursive doubling tell them apart.
        model = commfit.fit_algorithm("doubling", points_of(noisy(schedules.doubling, gamma=3 * BETA, noise=0.005)), draws=20)
        self.assertAlmostEqual(model.form.pieces[0].gamma / (3 * BETA), 1, delta=0.2)
        plain = commfit.fit_algorithm("doubling", points_of(noisy(schedules.doubling)), draws=20)
        self.assertEqual(plain.form.pieces[0].gamma, 0)

    def test_both_ways_is_seen(self):
        """An exchange takes twice as long as a message, as with TCP where one connection carries both."""
        def seconds(ranks, payload):
            cost = schedules.ring(ranks, payload)
            return (ALPHA * cost.rounds + BETA * (cost.path + cost.both_ways)) * np.exp(0.02 * random.standard_normal(9))
        random = np.random.default_rng(1)
        model = commfit.fit_algorithm("ring", points_of(seconds, algorithm="ring"), draws=20)
        self.assertAlmostEqual(model.form.pieces[0].delta / BETA, 1, delta=0.1)
        self.assertAlmostEqual(model.form.pieces[0].beta / BETA, 1, delta=0.1)
        self.assertEqual(model.form.pieces[0].gamma, 0)

    def test_outliers_do_little(self):
        points = points_of(noisy(schedules.ring), algorithm="ring")
        for point in [point for point in points if not point.held_out][::9]:
            point.seconds = point.seconds * 8
        piece = commfit.fit_algorithm("ring", points, draws=20).form.pieces[0]
        self.assertAlmostEqual(piece.beta / BETA, 1, delta=0.15)

    def test_choice_of_the_library_is_recognised(self):
        for formula, name in ((schedules.openmpi_choice, "Open MPI 4.1's choice"), (schedules.doubling, "doubling")):
            model = commfit.fit_algorithm("mpi", points_of(noisy(formula), algorithm="mpi"), draws=20)
            self.assertEqual(model.form.rule.name, name)
            self.assertLess(model.errors.median, 0.04)

    def test_held_out_points_change_nothing(self):
        points = points_of(noisy(schedules.ring), algorithm="ring")
        before = commfit.fit_algorithm("ring", points, draws=20)
        for point in points:
            if point.held_out:
                point.seconds = point.seconds * 3
        after = commfit.fit_algorithm("ring", points, draws=20)
        self.assertEqual((before.form, before.draws), (after.form, after.draws))
        self.assertGreater(after.errors.median, 0.6)

    def test_what_is_held_out(self):
        points = points_of(noisy(schedules.ring))
        out = {(point.ranks, point.payload) for point in points if point.held_out}
        self.assertEqual(out, {(ranks, size) for ranks in range(2, 9) for index, size in enumerate(SIZES) if ranks == 6 or index % 3 == 2})


class Knees(unittest.TestCase):
    NETWORK = Network("made up", "tcp", 0, "one rank per host")

    def study(self, algorithms, alpha=ALPHA):
        points = [point for name, formula in algorithms.items() for point in points_of(noisy(formula, alpha, noise=0), algorithm=name)]
        return commfit.fit_study(self.NETWORK, points, commfit.HoldOut(), draws=20)

    def test_knee_is_the_analytic_one(self):
        alpha = 0.02  # knees so far up that blocks of whole numbers make no difference
        for name, formula in OWN.items():
            target = project.target_of(self.study({name: formula}, alpha))
            for hosts in (8, 64, 100, 1024, 4096):
                big = 1 << 34
                per_byte = formula(hosts, big).path / big
                rounds = formula(hosts, big).rounds
                self.assertAlmostEqual(project.balance_of(target, hosts) / (alpha * rounds / (BETA * per_byte)), 1, delta=0.02, msg=f"{name}, {hosts}")

    def test_saving_knee_is_the_analytic_one(self):
        target = project.target_of(self.study({"doubling": schedules.doubling}))
        compute, share, hosts = 0.1, 0.1, 64
        # T(S) - T(S/2) = beta L S / 2 = x (C + alpha L + beta L S), L = 6
        wanted = share * (compute + 6 * ALPHA) / (BETA * 6 * (0.5 - share))
        self.assertAlmostEqual(project.saving_of(target, hosts, compute, share) / wanted, 1, delta=0.01)
        self.assertGreater(project.saving_of(target, hosts, 10 * compute, share), 5 * wanted)

    def test_best_of_several(self):
        target = project.target_of(self.study(OWN))
        self.assertEqual(target.best(64, 300).name, "doubling")
        self.assertIn(target.best(64, 1 << 28).name, ("ring", "rabenseifner"))
        self.assertEqual(target.best(1024, 1 << 20).name, "rabenseifner")

    def test_what_lies_below(self):
        target = project.target_of(self.study({"doubling": schedules.doubling}))
        knee = project.find_knees([target], [64], [Payload(4, "a"), Payload(1 << 30, "b")], None, 0.1)[-1]
        self.assertEqual((knee.hosts, knee.projected, knee.below), (64, True, ("a",)))
        self.assertTrue(math.isnan(knee.saving))

    def test_shipped_networks(self):
        networks = find_networks([])
        self.assertEqual({network.name for network in networks}, {"1 GbE", "10 GbE", "100 Gbit InfiniBand"})
        for network in networks:
            self.assertEqual(network.status, "assumed")
            self.assertIn("assumed", network.source)
        target = project.given_target(networks[0], lambda rule: 0.1)
        (row,) = project.project([target], [2], [Payload(1 << 20, "x")])
        self.assertAlmostEqual(row.seconds, networks[0].latency_s + 8 * (1 << 20) / networks[0].bits_per_s)
        self.assertTrue(row.low < row.seconds < row.high)
        self.assertEqual(target.validated, 0)


class Program(FolderCase):
    def setUp(self):
        super().setUp()
        self.out = self.place / "out"

    def analyse(self, *words, code=0, apart=False):
        """apart: in a process of its own, as users start it. Here: in this one, which spares a start."""
        words = ["commfit", *map(str, words)]
        if apart:
            environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"}
            outcome = subprocess.run([sys.executable, "-m", "analysis", *words], cwd=ROOT, capture_output=True, text=True, env=environment)
            status, out, err = outcome.returncode, outcome.stdout, outcome.stderr
        else:
            with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.redirect_stderr(io.StringIO()) as complained:
                try:
                    status = main(words)
                except SystemExit as end:
                    status = end.code
            out, err = printed.getvalue(), complained.getvalue()
        self.assertEqual(status or 0, code, out + err)
        return types.SimpleNamespace(stdout=out, stderr=err)

    def refused(self, words, *path, options=()):
        errors = self.analyse(*path, "--network", "none", *options, code=1).stderr.splitlines()
        self.assertEqual(len(errors), 1, errors)
        for word in words:
            self.assertIn(word, errors[0])

    def rows(self, name):
        with open(self.out / name, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file, delimiter="\t"))

    def test_whole_way(self):
        path = write_file(self.place / "comm.h5")
        text = self.analyse(path, "--out-dir", self.out, "--compute-seconds", 0.2, "--draws", 40, "--nodes", "4,64,1000", "--require", "15,40",
                            apart=True).stdout
        self.assertLessEqual(max(map(len, text.split("Written to")[0].splitlines())), 100)
        self.assertLess(len(text.splitlines()), 45, "the terminal's part is a summary")
        fit = json.loads((self.out / "fit.json").read_text(encoding="utf-8"))
        (study,) = fit["studies"]
        self.assertEqual((study["validated_ranks"], fit["hold_out"], fit["files"][0]["name"]), (8, {"ranks": [6], "every_size": 3}, "comm.h5"))
        for model in study["models"]:
            self.assertAlmostEqual(model["pieces"][-1]["beta_s_per_byte"] / BETA, 1, delta=0.1)
        self.assertTrue(all(row["held_out"] for row in self.rows("points-1.tsv") if row["ranks"] == "6"))
        # Projections: apart, labelled, with band, scale and algorithm in each row.
        before, after = text.split("PROJECTION, not measured: ")
        self.assertIn("held out", before)
        self.assertNotIn("held out", after)
        for name in ("1 GbE", "10 GbE", "100 Gbit InfiniBand"):
            for hosts in ("4", "1,000"):
                self.assertRegex(after, rf"(?m)^{name} +assumed +0 +{hosts} ")
        self.assertRegex(after, r"measured +8 +64 +[\d.]+ k?B +[\d.]+ .?s +[\d.]+ m?s\n")
        whole = (self.out / "tables.md").read_text(encoding="utf-8")
        for part in whole.split("\n**"):
            self.assertFalse("held out" in part and "PROJECTION" in part)
        names = sorted(file.name for file in self.out.iterdir())
        self.assertEqual([name for name in names if name.startswith("projection") and name.endswith(".tsv")], [f"projection-{n}.tsv" for n in range(1, 5)])
        for number in range(1, 5):
            for row in self.rows(f"projection-{number}.tsv"):
                self.assertLessEqual(float(row["band_low_s"]), float(row["projected_s"]))
                self.assertGreaterEqual(float(row["band_high_s"]), float(row["projected_s"]))
                self.assertEqual((row["parameters"], row["validated_hosts"]), ("measured", "8") if number == 1 else ("assumed", "0"))
                self.assertTrue(row["algorithm"] and row["source"])
        self.assertEqual({row["hosts"] for row in self.rows("projection-1.tsv")}, {"64", "1000"})  # 4 hosts were measured
        self.assertEqual({row["label"] for row in self.rows("projection-1.tsv")}, {name for name, _ in METHODS})
        self.assertEqual({row["projected"] for row in self.rows("knee-measured-1.tsv")}, {"no"})
        self.assertEqual({row["hosts"] for row in self.rows("knee-measured-1.tsv")}, {str(n) for n in range(2, 9)})
        self.assertEqual({row["projected"] for row in self.rows("knee-projection-2.tsv")}, {"yes"})
        self.assertEqual(sum(line.startswith("**PROJECTION, not measured") for line in whole.splitlines()), 8)
        for name in names:
            if name.endswith(".svg"):
                picture = (self.out / name).read_text(encoding="utf-8")
                self.assertEqual("PROJECTION, not measured" in picture, "projection" in name, name)
                self.assertEqual("measured, held out" in picture, name.startswith("fit-"), name)
            if name.endswith(".png"):
                self.assertTrue((self.out / name).read_bytes().startswith(b"\x89PNG"))
        self.assertEqual(sum(name.endswith(".png") for name in names), 1 + 4 + 5)

    def test_pictures(self):
        """Every text can be read, no two meet, and a projection says in the picture that it is one."""
        path = write_file(self.place / "comm.h5")
        options = comm_options.defaults([path])
        options.draws = 20
        outcome = work_out(options)
        figures = draw_all(outcome.studies, outcome.rows, outcome.knees, outcome.payloads, outcome.form_scale)
        self.assertEqual([figure.kind for figure in figures], ["fit"] + 4 * ["projection"] + 5 * ["knee"])
        ids = set()
        for figure in figures:
            self.assertEqual(text_problems(figure.figure) + label_problems(figure.figure), [], figure.name)
            content = save(figure, ["svg"])["svg"]
            self.assertEqual(svg_problems(content, figure.figure.get_size_inches()[0]), [], figure.name)
            self.assertEqual("PROJECTION, not measured" in svg_texts(content), "projection" in figure.name, figure.name)
            self.assertFalse(ids & svg_ids(content))
            ids |= svg_ids(content)
        (model,) = [model for model in outcome.studies[0].models if model.algorithm == "ring"]
        (axes,) = [axes for axes in figures[0].figure.axes if axes.get_title("left") == "ring"]
        drawn = {tuple(point) for line in axes.lines if line.get_linestyle() == "None" for point in line.get_xydata()}
        self.assertEqual(drawn, {(point.payload, point.median) for point in model.fitted + model.held_out})

    def test_same_input_same_files(self):
        path = write_file(self.place / "comm.h5", ranks=(2, 4, 6), algorithms={"ring": schedules.ring})
        for folder in ("a", "b"):
            self.analyse(path, "--out-dir", self.place / folder, "--draws", 20, "--network", "10gbe", "--nodes", "64", apart=True)
        for file in sorted((self.place / "a").iterdir()):
            self.assertEqual(file.read_bytes(), (self.place / "b" / file.name).read_bytes(), file.name)

    def test_several_files(self):
        for ranks in (2, 4, 6, 8):
            write_file(self.place / f"{ranks}.h5", ranks=(ranks,), seed=ranks)
        together = collect([self.place / f"{ranks}.h5" for ranks in (2, 4, 6, 8)])
        ((_, points),) = together.points.items()
        self.assertEqual({point.ranks for point in points}, {2, 4, 6, 8})
        write_file(self.place / "again.h5", ranks=(2,), seed=9)
        ((_, points),) = collect([self.place / "2.h5", self.place / "again.h5", self.place / "2.h5"]).points.items()
        self.assertEqual({len(point.seconds) for point in points}, {18})
        write_file(self.place / "other.h5", ranks=(2,), network="another")
        self.assertEqual(len(collect([self.place / "2.h5", self.place / "other.h5"]).points), 2)

    def test_ranks_of_one_host_are_not_projected(self):
        path = write_file(self.place / "comm.h5", nodes=1, ranks=(2, 4, 6))
        text = self.analyse(path, "--network", "none").stdout
        self.assertNotIn("PROJECTION", text)
        self.assertIn("Not projected", text)
        self.assertIn("--out-dir DIR", text)

    def test_payloads_from_a_table(self):
        path = write_file(self.place / "comm.h5", ranks=(2, 4, 6), methods=[])
        self.assertIn("No payload to project", self.analyse(path, "--network", "none").stdout)
        table = self.place / "counts.tsv"
        table.write_text("model\tmethod\tmodules\tsent_floats\tsent_floats_with_head\nllama2-7b\tlora\tall\t1\t1000\n")
        self.analyse(path, "--network", "10gbe", "--payloads", table, "--nodes", 64, "--out-dir", self.out)
        self.assertEqual([(row["label"], row["payload_bytes"]) for row in self.rows("projection-2.tsv")], [("llama2-7b lora all", "4000")])
        for content, word in (("a\tb\n1\t2\n", "payload_bytes"), ("label\tpayload_bytes\nx\t-4\n", "'-4'"), ("", "no row"), ("payload_bytes\n", "no row")):
            table.write_text(content)
            self.refused([word], path, options=("--payloads", table))

    def test_files_of_no_use(self):
        good = write_file(self.place / "good.h5", ranks=(2, 4, 6))
        whole = good.read_bytes()
        bad = self.place / "bad.h5"
        for content in (b"", b"not HDF5\n", whole[:len(whole) // 2]):
            bad.write_bytes(content)
            self.refused(["bad.h5", "broken"], bad)
            self.refused(["bad.h5", "broken"], good, bad)
        self.refused(["nowhere.h5: cannot be opened: No such file or directory"], self.place / "nowhere.h5")
        self.refused(["but a peftscale run"], write_file(bad, kind="peftscale run"))
        self.refused(["no measurement"], write_file(bad, kind="something"))
        self.refused(["schema 2"], write_file(bad, version=2))
        self.refused(["no time of two or more ranks"], write_file(bad, ranks=(1,), algorithms={"mpi": lambda ranks, size: schedules.Cost(0, 0, 0, 0, 0)},
                                                                  seconds=lambda *_: 1e-6))
        self.refused(["no time of two or more ranks"], write_file(bad, ranks=()))

        def change(action, *words):
            bad.write_bytes(whole)
            with h5py.File(bad, "r+") as file:
                action(file)
            self.refused(["bad.h5", *words], bad)

        def put(place, column, value):
            def action(file):
                rows = file[place][()]
                rows[column][3] = value
                file[place][...] = rows
            return action
        change(lambda file: file.attrs.__setitem__("reduce", np.bytes_("exact")), "exact sums")
        change(lambda file: file.__delitem__("cases"), "lacks /cases")
        change(lambda file: file.__delitem__("repetitions"), "lacks /repetitions")
        change(lambda file: file.attrs.__delitem__("network"), "lacks network")
        change(lambda file: (file.__delitem__("cases"), file.__setitem__("cases", np.zeros(4))), "/cases lacks case")
        change(put("repetitions", "seconds", -1.0), "no positive number")
        change(put("repetitions", "seconds", math.nan), "no positive number")
        change(put("repetitions", "case", 9999), "case 9999")
        change(put("cases", "case", 0), "twice")
        change(lambda file: file.attrs.__setitem__("status", "failed: no memory"), "not finished (failed: no memory)")
        change(put("cases", "payload_bytes", -5), "-5 bytes")
        change(put("cases", "nodes", 77), "77 nodes")
        self.refused(["good.h5.partial", "not finished"], good.rename(self.place / "good.h5.partial"))

    def test_too_few_points(self):
        self.refused(["too little to fit", "points to fit"], write_file(self.place / "a.h5", ranks=(2,), sizes=[1000, 2000], methods=[]))
        self.refused(["too little to fit", "held out"], write_file(self.place / "b.h5", ranks=(2,)), options=("--hold-out", "ranks=6"))
        self.refused(["no measured payload between"], write_file(self.place / "c.h5", ranks=(2, 4)), options=("--min-bytes", 1 << 40))
        path = write_file(self.place / "d.h5", ranks=(2, 4, 6), algorithms={"ring": schedules.ring, "telepathy": schedules.ring}, counted=False)
        self.assertIn("telepathy: no formula", self.analyse(path, "--network", "none").stdout)

    def test_counts_unlike_the_formula(self):
        path = write_file(self.place / "comm.h5", ranks=(2, 3, 6), algorithms={"ring": schedules.rabenseifner})
        self.assertIn("differ from the formula", self.analyse(path, "--network", "none", code=1).stdout)

    def test_required_error(self):
        path = write_file(self.place / "comm.h5", ranks=(2, 4, 6), noise=0.6)
        outcome = self.analyse(path, "--network", "none", "--require", "1,2", code=1)
        self.assertIn("held-out error too large: ring", outcome.stderr)

    def test_networks_of_the_user(self):
        path = write_file(self.place / "comm.h5", ranks=(2, 4, 6))
        mine = self.place / "mine.yaml"
        good = {"name": "mine", "status": "measured", "latency_s": "1e-5", "bits_per_s": 1e9, "source": "ping-pong of last week"}
        mine.write_text(yaml.safe_dump(good))
        text = self.analyse(path, "--network", mine, "--nodes", 64, "--out-dir", self.out).stdout
        self.assertRegex(text, r"(?m)^mine +given +0 +64 ")
        tables = (self.out / "tables.md").read_text(encoding="utf-8")
        self.assertIn("ping-pong of last week", tables)
        self.assertIn("parameters given", tables)
        for changed, word in (({"latency_s": -1}, "latency_s"), ({"bits_per_s": "fast"}, "bits_per_s"), ({"status": "sure"}, "status"), ({"speed": 1}, "speed"),
                              ({"source": ""}, "source"), ({"latency_s_range": [1, 2]}, "latency_s_range"), ({"bits_per_s_range": 5}, "bits_per_s_range")):
            mine.write_text(yaml.safe_dump(good | changed))
            errors = self.analyse(path, "--network", mine, code=1).stderr.splitlines()
            self.assertTrue(len(errors) == 1 and word in errors[0] and "mine.yaml" in errors[0], errors)
        for content in ("a: [", "- 1\n", ""):
            mine.write_text(content)
            self.assertEqual(len(self.analyse(path, "--network", mine, code=1).stderr.splitlines()), 1)
        self.assertIn("neither a file nor one of", self.analyse(path, "--network", "carrier-pigeon", code=1).stderr)

    def test_usage(self):
        path = write_file(self.place / "comm.h5", ranks=(2, 4, 6))
        for words in (("--nodes", "1"), ("--nodes", "x"), ("--hold-out", "days=2"), ("--hold-out", "sizes=0"), ("--saving", "60"), ("--require", "5"),
                      ("--compute-seconds", "nan"), ("--draws", "1")):
            self.assertIn("commfit: error", self.analyse(path, *words, code=2).stderr)
        self.analyse(code=2)
        self.assertIn("examples", self.analyse("--help").stdout)
        self.assertEqual(self.analyse(self.place / "nowhere.h5", code=1, apart=True).stderr.count("\n"), 1)
        (self.place / "file").write_text("")
        self.assertIn("cannot be written", self.analyse(path, "--network", "none", "--out-dir", self.place / "file", code=1).stderr)


if __name__ == "__main__":
    tap.main()
