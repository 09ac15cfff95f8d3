#!/usr/bin/env python3
# timeout: 600
"""Figures: what is drawn is what the runs say, every text can be read, colours are safe, files are the same each time. Run: python3 tests/analysis/test_plots.py
[-v]"""

import itertools
import math
import os
import subprocess
import sys
import warnings
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "tests/support"))

try:
    import h5py  # noqa: F401
    import matplotlib  # noqa: F401
    import numpy as np
    import pandas  # noqa: F401
    import scipy  # noqa: F401
except ImportError as e:
    print(f"skipped: no {e.name} (Debian's python3-{e.name})")
    sys.exit(77)

import tap  # noqa: E402
from folders import FolderCase  # noqa: E402
from figure_checks import label_problems, svg_ids, svg_problems, svg_texts, text_problems  # noqa: E402
from made_runs import analyse, series, write_index, write_run  # noqa: E402
from scipy.stats import t as student  # noqa: E402

from analysis.common.fault import Misuse  # noqa: E402
from analysis.load.allowed import ALLOWED  # noqa: E402
from analysis.load.collect import collect  # noqa: E402
from analysis.load.study import read_study  # noqa: E402
from analysis.load.summary import summarise  # noqa: E402
from analysis.plots import make_figures, save  # noqa: E402
from analysis.plots import ranks, scaling, score, style  # noqa: E402
from analysis.plots.options import KINDS, OF_MODEL  # noqa: E402
from analysis.stats import compare  # noqa: E402

METHODS = ("full", "lora", "vera", "tied", "vblora", "unilora", "red", "glora", "bitfit", "head")
SIZES = dict(zip(METHODS, (22_565_376, 73_728, 7_680, 16_992, 34_560, 5_760, 4_608, 101_424, 25_728, 0)))
MEANS = dict(zip(METHODS, (0.95, 0.951, 0.9547, 0.9545, 0.956, 0.9567, 0.957, 0.9548, 0.952, 0.898)))
PARTS = {"expand": 0.001, "forward": 0.05, "backward": 0.03, "gather": 0.002, "optimizer": 0.004}  # seconds; communication 0.01, of a step of 0.1


class Runs(FolderCase):
    """Made-up runs, drawn. A warning is an error."""

    def setUp(self):
        super().setUp()
        self.count = 0
        caught = warnings.catch_warnings()
        caught.__enter__()
        self.addCleanup(caught.__exit__, None, None, None)
        warnings.simplefilter("error")

    def add(self, method="lora", seed=1, test=None, steps=40, **made):
        self.count += 1
        size = made.pop("trainable", SIZES.get(method, 5000))
        random = np.random.default_rng(100 * seed + len(method))
        test = MEANS.get(method, 0.9) + 0.004 * random.standard_normal() if test is None else test
        course = 2 * np.exp(-np.arange(steps) / 9) + 0.1 * random.random(steps)
        loss = made.pop("loss", course)
        scores = made.pop("scores", [0.5, 0.8, 0.9])
        parts = PARTS | ({"adapter": made.pop("adapter")} if "adapter" in made else {})
        return write_run(self.place / f"r{self.count}.h5", method=method, seed=seed, test=test, trainable=size, run_id=f"{self.count:032x}",
                         **{"stored": 4 * size, "sent": size, "message": 4 * size + 9256, "validations": [
                             (10 * (number + 1), 1, value, 1.0, 0.2) for number, value in enumerate(scores)],
                            "steps": series([made.pop("step_s", 0.1)] * steps, loss=loss, payload_bytes=4 * size + 9256, wait_s=0.004,
                                            wire_bytes=made.pop("wire", -1), **{f"{name}_s": value for name, value in parts.items()}), **made})

    def collect(self):
        """Nothing is refused: figures must bear whatever they are given."""
        return collect([self.place], frozenset(ALLOWED), use_cache=False)

    def rows(self, **options):
        return summarise(self.collect().runs, **options)

    def draw(self, only=(), control="lora", targets=None, source=None, rows=None):
        source = source or self.collect()
        rows = summarise(source.runs) if rows is None else rows
        sections = {}
        for row in rows:
            sections.setdefault((row.section, row.first.ranks), []).append(row)
        return make_figures(source, rows, [compare(members, control) for members in sections.values()], targets, only)

    def check(self, figures):
        """What holds of every figure."""
        seen = set()
        for figure in figures:
            self.assertEqual(text_problems(figure.figure), [], figure.name)
            self.assertEqual(label_problems(figure.figure), [], figure.name)
            width = figure.figure.get_size_inches()[0]
            self.assertIn(width, (style.COLUMN, style.PAGE))
            content = save(figure, ["svg"])["svg"]
            self.assertEqual(svg_problems(content, width), [], figure.name)
            self.assertEqual(seen & svg_ids(content), set(), figure.name)
            seen |= svg_ids(content)
            self.assertTrue(figure.title and figure.caption.endswith(".") and "  " not in figure.caption and "\n" not in figure.caption, figure.caption)
            self.assertNotIn("nan", (figure.title + figure.caption + " ".join(filter(None, svg_texts(content)))).lower())
            self.assertTrue(figure.run_ids)
        names = [figure.name for figure in figures]
        self.assertEqual(len(names), len(set(names)))
        return figures

    def ten_methods(self, seeds=(1, 2, 3), **made):
        for method, seed in itertools.product(METHODS, seeds):
            self.add(method, seed, **made)

    def one(self, kind, **options):
        (figure,) = self.check(self.draw([kind], **options))
        return figure


def points_of(axes):
    """Of all lines that are nothing but a marker: (x, y) in drawing order."""
    return [tuple(map(float, line.get_xydata()[0])) for line in axes.lines if line.get_linestyle() == "None" and len(line.get_xydata()) == 1]


def near(one, other):
    return np.allclose(np.sort(np.asarray(one, float), axis=0), np.sort(np.asarray(other, float), axis=0), rtol=1e-9, atol=1e-12)


class Figures(Runs):
    def test_ten_methods(self):
        """All kinds; nothing overlaps, nothing is cut off."""
        self.ten_methods()
        figures = self.check(self.draw())
        self.assertEqual([figure.kind for figure in figures], [kind for kind in KINDS if kind not in (*OF_MODEL, "rates", "scaling", "wire")])
        self.assertEqual(figures.left_out, ["rates: no study, so no trials", "scaling: no row has times on two or more numbers of ranks",
                                            "wire: no row has bytes on the wire on two or more numbers of ranks above one"])
        for figure in figures:
            self.assertEqual(set(figure.run_ids), {f"{number:032x}" for number in range(1, 31)})
            texts = " ".join(filter(None, svg_texts(save(figure, ["svg"])["svg"]))).split()
            for method in METHODS:
                if not (figure.kind == "differences" and method == "lora"):
                    self.assertIn(method, texts, figure.name)
            if figure.kind.startswith("score"):
                self.assertFalse(figure.figure.legends, "ten names fit beside their points")

    def test_scores(self):
        self.ten_methods()
        rows = self.rows()
        figure = self.one("score-sent")
        (axes,) = figure.figure.axes
        wanted = [(4.0 * row.first.trainable, 100 * row.mean["test"]) for row in rows]
        self.assertTrue(near(points_of(axes), wanted))
        whiskers = [line.get_xydata() for line in axes.lines if len(line.get_xydata()) == 2 and np.ptp(line.get_xydata()[:, 0]) == 0]
        half = [student.ppf(0.975, 2) * 100 * np.std([run.test for run in row.runs], ddof=1) / math.sqrt(3) for row in rows]
        self.assertTrue(near([ends[:, 1] for ends in whiskers], [(score - width, score + width) for (_, score), width in zip(wanted, half)]))
        (front,) = [line for line in axes.lines if line.get_label() == "front"]
        best = [wanted[index] for index in score.front_of(wanted)]
        self.assertEqual(front.get_drawstyle(), "steps-post")
        self.assertTrue(near(front.get_xydata()[:-1], best))
        self.assertEqual(front.get_ydata()[-1], best[-1][1])
        for words in ("95 % t intervals over seeds", "intervals overlap may change places", "means over 3 seeds", "linear below 10 kB"):
            self.assertIn(words, figure.caption)

    def test_one_method(self):
        for seed in (1, 2, 3):
            self.add(seed=seed)
        figures = self.check(self.draw())
        self.assertEqual([figure.kind for figure in figures], ["score-trainable", "score-stored", "score-sent", "score-message", "loss", "validation",
                                                               "score-time", "score-bytes", "target", "phases"])
        self.assertIn("differences: nothing to compare with the control", figures.left_out)
        self.assertNotIn("Pareto", figures[0].caption)

    def test_one_seed(self):
        self.ten_methods(seeds=(1,))
        figures = {figure.kind: figure for figure in self.check(self.draw())}
        self.assertNotIn("whisker", figures["score-sent"].caption.lower())
        self.assertIn("No interval: ", figures["score-sent"].caption)
        self.assertIn("One seed.", figures["loss"].caption)
        self.assertFalse(figures["loss"].figure.axes[0].collections)
        self.assertIn("too few seeds", " ".join(svg_texts(save(figures["differences"], ["svg"])["svg"])))
        self.assertNotIn("interval", figures["differences"].caption)

    def test_two_seeds(self):
        """Intervals of two seeds may be wider than all scores: the axis ends where scores do."""
        for method in METHODS:
            self.add(method, 1, test=0.7)
            self.add(method, 2, test=0.8)
        figure = self.one("score-sent")
        low, high = figure.figure.axes[0].get_ylim()
        self.assertTrue(-10 <= low and high <= 110)
        self.assertIn("go on where they meet the frame", figure.caption)

    def test_scores_that_are_not_known(self):
        self.ten_methods(seeds=(1, 2))
        self.add("red", 3, test=math.nan)
        self.add("vera", 3, test=math.inf)
        figure = self.one("score-stored")
        self.assertEqual(len(points_of(figure.figure.axes[0])), 8)
        self.assertIn("Without a test score: vera, red.", figure.caption)
        for path in self.place.glob("*.h5"):
            path.unlink()
        self.add("lora", 1, test=math.nan, scores=[math.nan, math.nan], loss=math.nan)
        self.add("red", 1, test=math.nan, scores=[0.4], loss=math.nan)
        figures = self.check(self.draw())
        self.assertEqual([figure.kind for figure in figures], ["phases"])
        for line in ("score-trainable: no test score", "differences: nothing to compare with the control", "loss: no finite loss",
                     "validation: no row has two validations", "target: no target: no row of the control with validations"):
            self.assertTrue(any(each.startswith(line.partition(":")[0]) for each in figures.left_out), figures.left_out)

    def test_identical_places(self):
        """Ten methods at one and the same point, and at one size."""
        for method in METHODS:
            for seed in (1, 2):
                self.add(method, seed, test=0.8, trainable=5000)
        figures = self.check(self.draw())
        self.assertEqual(len(points_of(figures[0].figure.axes[0])), 10)

    def test_many_rows(self):
        """More than can be named beside their points: numbers there, and a legend below."""
        for rank in range(1, 21):
            for seed in (1, 2):
                self.add("lora", seed, trainable=1000 * rank, options={"rank": rank, "modules": "q,k,v,o,up,down"})
        figures = self.check(self.draw(control="lora r=8 q,k,v,o,up,down"))
        self.assertEqual(len(figures[0].figure.legends[0].get_texts()), 20)
        texts = svg_texts(save(figures[0], ["svg"])["svg"])
        self.assertTrue({"14  lora r=7", "14", "1", "20"} <= set(texts), texts)

    def test_unknown_methods_and_long_names(self):
        for number, method in enumerate(("a-method-of-tomorrow", "<b>&\"quoted\"</b>", "zz", "lora")):
            for rank in (8, 16):
                for rate in ("0.00033333", "0.001"):
                    self.add(method, test=0.5 + 0.01 * number + rank / 1000, options={"rank": rank, "modules": "q,k,v"}, settings={"train.lr": rate})
        figures = self.check(self.draw(control="zz r=8 q,k,v lr=0.001"))
        texts = " ".join(svg_texts(save(figures[0], ["svg"])["svg"]))
        self.assertIn("<b>&\"quoted\"</b>", texts)
        self.assertNotIn("q,k,v", texts, "what all rows of a method share is not said")

    def test_extreme_numbers(self):
        self.add("lora", test=0.5, trainable=1, scores=[0.0, 1e-300])
        self.add("red", test=0.5 + 1e-13, trainable=2 ** 60, scores=[1e300, -1e300], metric="accuracy")
        self.add("vera", test=-1e6, trainable=10, loss=1e300, step_s=1e-12)
        self.add("tied", test=0.1, trainable=10, loss=np.where(np.arange(40) < 20, 1.0, np.inf), step_s=1e9)
        self.check(self.draw())

    def test_lower_is_better(self):
        for method, test in (("lora", 2.0), ("full", 1.0), ("red", 3.0), ("bitfit", 2.5)):
            for seed in (1, 2, 3):
                self.add(method, seed, test=test + 0.01 * seed, metric="loss")
        figure = self.one("score-trainable")
        (front,) = [line for line in figure.figure.axes[0].lines if line.get_label() == "front"]
        self.assertEqual(front.get_ydata()[:-1].round(6).tolist(), [3.02, 2.52, 1.02][:1] + [2.52, 2.02, 1.02])
        self.assertIn("a lower mean", figure.caption)

    def test_differences(self):
        for method, shift in (("lora", 0.0), ("red", 0.05), ("vera", -0.05), ("tied", 0.001)):
            for seed, wobble in ((1, 0.0), (2, 0.002), (3, -0.002)):
                self.add(method, seed, test=0.8 + shift + wobble * (1 if method == "lora" else -1), examples=1000)
        figure = self.one("differences")
        (axes,) = figure.figure.axes
        comparison = compare(self.rows(), "lora")
        wanted = [each.difference for each in comparison.rows if each.difference]
        self.assertTrue(near([x for x, _ in points_of(axes)], [100 * each.interval.mean for each in wanted]))
        thick = [line.get_xdata() for line in axes.lines if line.get_linewidth() > 2 and len(line.get_xdata()) == 2]
        self.assertTrue(near(thick, [(100 * each.interval.low, 100 * each.interval.high) for each in wanted]))
        shapes = {line.get_marker() for line in axes.lines if line.get_linestyle() == "None"}
        self.assertEqual(shapes, {"^", "v", "o"})
        self.assertEqual({each.verdict for each in wanted}, {"better", "worse", "not separated"})
        self.assertTrue(any(np.all(np.asarray(line.get_xdata()) == 0) for line in axes.lines), "a line at zero")
        self.assertIn("percentage points", axes.get_xlabel())
        self.assertIn("no row of the control", self.draw(["differences"], control="nobody").left_out[0])

    def test_loss(self):
        losses = {seed: 2.0 / np.arange(1, 41) + seed for seed in (1, 2, 3)}
        for seed, loss in losses.items():
            self.add(seed=seed, loss=loss)
        figure = self.one("loss")
        (axes,) = figure.figure.axes
        self.assertTrue(np.array_equal(axes.lines[0].get_xdata(), np.arange(1, 41)))
        self.assertTrue(np.allclose(axes.lines[0].get_ydata(), losses[2]))
        band = axes.collections[0].get_paths()[0].vertices
        self.assertEqual((band[:, 1].min(), band[:, 1].max()), (losses[1].min(), losses[3].max()))
        self.assertIn("bands: lowest and highest seed", figure.caption)
        self.assertNotIn("Running mean", figure.caption)

    def test_long_courses_are_smoothed(self):
        loss = np.random.default_rng(1).random(1000)
        self.add(steps=1000, loss=loss)
        figure = self.one("loss")
        window = 25
        self.assertIn(f"Running mean over {window} steps.", figure.caption)
        x, y = figure.figure.axes[0].lines[0].get_data()
        self.assertLess(len(x), 200)
        self.assertEqual((x[0], x[-1]), (1, 1000))
        for place in (200, 500):
            index = int(np.argmin(abs(x - place)))
            step = int(x[index])
            self.assertAlmostEqual(y[index], loss[step - 1 - window // 2:step + window // 2].mean())
        self.assertAlmostEqual(y[0], loss[:window // 2 + 1].mean())

    def test_a_loss_that_explodes(self):
        self.ten_methods(seeds=(1,))
        self.add("red", seed=2, loss=np.geomspace(1, 1e12, 40))
        figure = self.one("loss")
        self.assertLess(figure.figure.axes[0].get_ylim()[1], 100)
        self.assertIn("go on where they leave the frame", figure.caption)

    def test_validation_and_progress(self):
        for seed, shift in ((1, 0.0), (2, 0.02)):
            self.add("lora", seed, scores=[0.4 + shift, 0.5 + shift, 0.6 + shift])
            self.add("red", seed, scores=[0.3, 0.4, 0.45 + shift])
        figures = {figure.kind: figure for figure in self.check(self.draw(["validation", "score-time", "score-bytes", "target"]))}
        rows = {row.first.method: row for row in self.rows()}

        def mean(method, value):
            return np.mean([[value(each) for each in run.validations] for run in rows[method].runs], axis=0)

        lines = {line.get_color(): line for line in figures["validation"].figure.axes[0].lines}
        line = lines[style.LOOKS["lora"].colour]
        self.assertEqual(line.get_xdata().tolist(), [10, 20, 30])
        self.assertTrue(np.allclose(line.get_ydata(), [41, 51, 61]))
        for kind, value in (("score-time", lambda each: each.seconds), ("score-bytes", lambda each: each.sent_bytes)):
            found = {line.get_color(): line for line in figures[kind].figure.axes[0].lines}
            for method in ("lora", "red"):
                line = found[style.LOOKS[method].colour]
                self.assertTrue(np.allclose(line.get_xdata(), mean(method, value)), (kind, method))
                self.assertTrue(np.allclose(line.get_ydata(), 100 * mean(method, lambda each: each.score)))
        # What every seed of the control reached: 0.6.
        self.assertIn("60.00 %, which every seed of lora", figures["target"].caption)
        left, right = figures["target"].figure.axes
        times = [run.validations[2].seconds for run in rows["lora"].runs[:1]] + [run.validations[2].seconds for run in rows["lora"].runs[1:]]
        self.assertTrue(near(np.concatenate([line.get_xdata() for line in left.lines if line.get_linestyle() == "None"]), times))
        self.assertIn("red (not reached)", svg_texts(save(figures["target"], ["svg"])["svg"]))
        (given,) = self.check(self.draw(["target"], targets={"": 0.46}))
        self.assertIn("red (1 of 2 seeds)", svg_texts(save(given, ["svg"])["svg"]))
        with self.assertRaisesRegex(Misuse, "is no accuracy"):
            self.draw(["target"], targets={"": 46.0})

    def test_phases(self):
        self.add("lora")
        self.add("red", contaminated=1)
        figure = self.one("phases")
        (axes,) = figure.figure.axes
        bars = [(bar.get_y() + bar.get_height() / 2, bar.get_x(), bar.get_width()) for bar in axes.patches]
        wanted = {"expand": 1, "forward": 50, "backward": 30, "gather": 2, "communication": 6, "wait": 4, "optimizer": 4, "rest": 3}  # ms
        left = 0.0
        for bar, width in zip([bar for bar in bars if round(bar[0]) == 0], wanted.values()):
            self.assertAlmostEqual(bar[1], left)
            self.assertAlmostEqual(bar[2], width)
            left += width
        self.assertAlmostEqual(left, 100.0)
        self.assertEqual({text.get_text() for text in figure.figure.legends[0].get_texts()}, {*wanted, "waiting"} - {"wait"})
        self.assertIn("Contaminated by other work: red.", figure.caption)
        self.assertNotIn("behind bars", figure.caption)

    def test_what_a_method_adds_stands_behind_its_bar(self):
        self.add("lora", adapter=0.02)
        self.add("head", adapter=0.0, trainable=0)
        self.add("full")  # a file that does not tell
        figure = self.one("phases")
        self.assertEqual([text.get_text() for text in figure.figure.axes[0].texts], ["+38.3 %", "+3.8 %"])  # 1 + 20 + 2 of 80 - 20 ms; 1 + 2 of 80
        self.assertIn("+ %: method adds", [text.get_text() for text in figure.figure.legends[0].get_texts()])
        self.assertIn("Numbers behind bars: the method's own work", figure.caption)

    def test_scaling(self):
        times = {1: 0.8, 2: 0.5, 4: 0.4}
        for count, time in times.items():
            for method in METHODS:
                self.add(method, ranks=count, step_s=time, settings={"train.batch": 64, "shards": 8})
                if count > 1 or method == "lora":
                    self.add(method, ranks=count, step_s=time, settings={"train.batch": 16 * count, "shards": count})
        figures = self.check(self.draw(["scaling", "wire"]))
        self.assertEqual([figure.name for figure in figures], ["scaling-strong", "scaling-weak"])
        strong, weak = (figure.figure.axes for figure in figures)

        def line(axes, method):
            return next(each for each in axes.lines if each.get_color() == style.LOOKS[method].colour and len(each.get_xdata()) > 2)

        self.assertEqual(line(strong[0], "red").get_xdata().tolist(), [1, 2, 4])
        self.assertTrue(np.allclose(line(strong[0], "red").get_ydata(), [1, 1.6, 2]))
        self.assertTrue(np.allclose(line(strong[1], "red").get_ydata(), [100, 80, 50]))
        (ideal,) = [each for each in strong[0].lines if each.get_label() == "ideal"]
        self.assertEqual(list(ideal.get_xdata()), list(ideal.get_ydata()))
        self.assertTrue(np.allclose(line(weak[0], "lora").get_ydata(), [800, 500, 400]))
        self.assertTrue(np.allclose(line(weak[1], "lora").get_ydata(), [100, 160, 200]))
        self.assertIn("64 examples a step on any number of ranks", figures[0].caption)
        self.assertIn("16 examples a step and rank", figures[1].caption)
        self.assertEqual([(family.kind, len(family.series)) for family in ranks.find_families(self.rows(ranks_in_column=True), scaling.has_times, style.Looks(METHODS))], [("strong", 10), ("weak", 10)])

    def test_wire(self):
        for count in (1, 2, 3, 4, 8):
            for method in ("full", "lora", "red"):
                payload = 4 * SIZES[method] + 9256
                self.add(method, ranks=count, wire=0 if count == 1 else round(2 * (count - 1) / count * payload) + 100,
                         settings={"train.batch": 64, "shards": 8})
        figure = self.one("wire")
        left, right = figure.figure.axes
        for method in ("full", "lora", "red"):
            own = [line for line in left.lines if line.get_color() == style.LOOKS[method].colour]
            payload = 4 * SIZES[method] + 9256
            self.assertEqual(own[0].get_xdata().tolist() if hasattr(own[0].get_xdata(), "tolist") else own[0].get_xdata(), [2, 3, 4, 8])
            self.assertTrue(np.allclose(own[0].get_ydata(), [round(2 * (n - 1) / n * payload) + 100 for n in (2, 3, 4, 8)]))
            self.assertTrue(np.allclose(own[1].get_ydata(), payload))
        self.assertTrue(any(line.get_label() == "ring" for line in right.lines))

    def test_times_that_do_not_count(self):
        """Of runs that other work disturbed; their bytes do."""
        for count in (2, 4):
            self.add(ranks=count, wire=1000, contaminated=1, settings={"train.batch": 64, "shards": 8})
        figures = self.check(self.draw(["score-time", "target", "scaling", "wire", "phases"], source=collect([self.place], use_cache=False)))
        self.assertEqual([figure.name for figure in figures], ["target-2-ranks", "target-4-ranks", "wire-strong"])
        self.assertEqual(figures.left_out, ["score-time: no row has two validations whose times are known", "phases: no time of a step's parts",
                                            "scaling: no row has times on two or more numbers of ranks"])
        self.assertEqual((len(figures[0].figure.axes), "Times of contaminated runs are not known." in figures[0].caption), (1, True))


class Trials(Runs):
    def study(self, lines):
        write_index(self.place, [{"request_id": f"{number:032x}", "run_id": "", "stage": "1", "task": "trec6", "ranks": 1, "seed": 1, "metric": "accuracy",
                                  "attempts": 1, **line} for number, line in enumerate(lines)])
        return read_study(self.place)

    def trial(self, method, rate, score="", state="done", **cells):
        return {"role": "trial", "state": state, "method": method, "tuned": f"train.lr={rate}", "validation": score,
                "file": "runs/none.h5" if state == "done" else "", **cells}

    def test_rates(self):
        lines = [{"role": "run", "state": "waiting", "method": method, "tuned": "train.lr=3e-3"} for method in METHODS]
        for method in METHODS:
            lines += [self.trial(method, rate, 0.8 + number / 20) for number, rate in enumerate(("1e-3", "3e-3"))]
            lines.append(self.trial(method, "1e-2", state="failed", reason="diverged at step 3: loss nan"))
        lines.append(self.trial("lora", "1e-1", state="missing"))
        lines.append(self.trial("lora", "auto", 0.7))  # no number: it has no place on the axis
        (figure,) = self.check_study(self.study(lines))
        panels = [axes for axes in figure.figure.axes if axes.get_visible()]
        self.assertEqual(len(panels), 10)
        axes = next(axes for axes in panels if axes.get_title("left") == "lora")
        (course,) = [line for line in axes.lines if line.get_label() == "mean"]
        self.assertTrue(near(course.get_xydata(), [(1e-3, 80.0), (3e-3, 85.0)]))
        rings = [line for line in axes.lines if line.get_markersize() == 9]
        self.assertTrue(near([tuple(ring.get_xydata()[0]) for ring in rings], [(3e-3, 85.0)]))
        self.assertEqual([float(line.get_xdata()[0]) for line in axes.lines if line.get_marker() == "x"], [1e-2])
        self.assertEqual([float(line.get_xdata()[0]) for line in axes.lines if line.get_marker() == "|"], [1e-1])
        self.assertEqual(axes.get_xscale(), "log")
        self.assertIn("10 diverged", figure.caption)
        self.assertIn("1 without a score", figure.caption)

    def check_study(self, study):
        figures = make_figures(study, [], [], only=["rates"])
        for figure in figures:
            self.assertEqual(text_problems(figure.figure) + label_problems(figure.figure), [], figure.name)
        return figures

    def test_two_tasks_one_method(self):
        lines = [self.trial("lora", rate, 0.5, task=task) for task in ("trec6", "cola") for rate in ("1e-4", "1e-4", "1")]
        figures = self.check_study(self.study(lines))
        self.assertEqual([figure.name for figure in figures], ["rates-trec6", "rates-cola"])

    def test_without_scores(self):
        figures = self.check_study(self.study([self.trial("lora", "1e-3", state="failed", reason="no luck")]))
        self.assertEqual((figures, figures.left_out), ([], ["rates: no trial has a score"]))
        self.assertEqual(self.check_study(self.study([{"role": "run", "state": "missing", "method": "lora"}])).left_out, ["rates: no trials"])


class Program(Runs):
    def plot(self, *words, code=0):
        done = analyse("plot", *words)
        self.assertEqual(done.status, code, done.out + done.err)
        return done

    def test_files(self):
        self.ten_methods(seeds=(1, 2))
        out = self.place / "out"
        done = self.plot(self.place, "--only", "score,phases", "--out-dir", out)
        names = [f"{kind}.{form}" for kind in KINDS if kind == "phases" or kind.startswith("score-") for form in ("pdf", "png", "svg")]
        self.assertEqual(sorted(path.name for path in out.iterdir()), sorted([*names, "captions.md"]))
        self.assertIn("Written to", done.out)
        for path in out.glob("*.pdf"):
            content = path.read_bytes()
            self.assertTrue(content.startswith(b"%PDF") and b"/FontFile2" in content and b"/Type3" not in content, path.name)
            self.assertNotIn(b"CreationDate", content)
        for path in out.glob("*.png"):
            content = path.read_bytes()
            self.assertEqual(int.from_bytes(content[16:20], "big"), round(300 * style.COLUMN))
        words = (out / "captions.md").read_text(encoding="utf-8")
        self.assertIn("## Test score against stored bytes: ", words)
        self.assertIn("Runs: ", words)
        self.plot(self.place, "--only", "phases", "--format", "svg", "--out-dir", self.place / "less")
        self.assertEqual(sorted(path.name for path in (self.place / "less").iterdir()), ["captions.md", "phases.svg"])

    def test_a_narrow_terminal(self):
        self.ten_methods(seeds=(1, 2))
        words = (self.place, "--only", "score-sent,rates,wire", "--format", "svg", "--out-dir", self.place / "out")
        with mock.patch.dict(os.environ, {"COLUMNS": "60"}):
            done = self.plot(*words)
            figures = self.plot("--help").out.partition("figures:\n")[2].partition("examples")[0]
        self.assertLessEqual(max(len(line) for line in done.out.splitlines() if str(self.place) not in line), 60)
        self.assertLessEqual(max(map(len, figures.splitlines())), 60)
        self.assertEqual(done.out.split(), self.plot(*words, "--width", "1000").out.split())
        self.assertIn("Not drawn: wire: no row has bytes on the wire on two or more\nnumbers of ranks above one\n", done.out)

    def test_a_home_where_nobody_may_write(self):
        """matplotlib's own words about it are none of the user's."""
        self.add()
        environment = {name: value for name, value in os.environ.items() if name not in ("MPLCONFIGDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")}
        environment |= {"HOME": "/proc/nowhere", "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(self.place / "tmp")}
        (self.place / "tmp").mkdir()
        for verb, words in (("plot", ("--only", "score-sent", "--format", "svg", "--out-dir", self.place / "out")), ("report", ("--out", self.place / "r.html"))):
            done = subprocess.run([sys.executable, "-m", "analysis", verb, self.place / "r1.h5", *words], cwd=ROOT, capture_output=True, text=True,
                                  env=environment, check=True)
            self.assertNotIn("config", done.stderr)
            self.assertEqual([line for line in done.stderr.splitlines() if "font cache" not in line], [])  # which it makes anew then; that may take long
        self.assertEqual(list((self.place / "tmp").iterdir()), [])

    def test_same_input_same_files(self):
        self.ten_methods(seeds=(1, 2))
        for folder in ("a", "b"):
            environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": str(len(folder) + ord(folder))}
            subprocess.run([sys.executable, "-W", "error", "-m", "analysis", "plot", *sorted(self.place.glob("r*.h5")), "--out-dir", self.place / folder],
                           cwd=ROOT, check=True, capture_output=True, env=environment)
        files = sorted((self.place / "a").iterdir())
        self.assertGreater(len(files), 30)
        for file in files:
            self.assertEqual(file.read_bytes(), (self.place / "b" / file.name).read_bytes(), file.name)

    def test_a_user_s_own_style_stays_out(self):
        self.add()
        before = save(self.draw(["score-sent"])[0], ["svg"])["svg"]
        with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "svg.fonttype": "path"}):
            self.assertEqual(save(self.draw(["score-sent"])[0], ["svg"])["svg"], before)
            self.assertEqual(matplotlib.rcParams["font.size"], 20)

    def test_several_tables(self):
        for task, count in (("trec6", 1), ("cola", 1), ("trec6", 2)):
            for method in ("lora", "red"):
                self.add(method, task=task, ranks=count, test=math.nan if task == "cola" else 0.5, metric="accuracy")
        figures = self.check(self.draw(["score-sent"]))
        self.assertEqual([figure.name for figure in figures], ["score-sent-trec6-1-ranks", "score-sent-trec6-2-ranks"])
        self.assertEqual(figures.left_out, ["score-sent of cola-1-ranks: no test score"])
        rows = self.rows(ranks_in_column=True)
        figures = self.check(self.draw(["score-sent"], rows=rows))
        self.assertEqual([figure.name for figure in figures], ["score-sent-trec6-1-ranks", "score-sent-trec6-2-ranks"])
        self.assertEqual({figure.section for figure in figures}, {row.section for row in rows if row.section.task == "trec6"})

    def test_usage(self):
        self.add()
        for words, reason in ((["--only", "scoer"], "did you mean 'score"), (["--format", "gif"], "'gif' is none of"), (["--stage", "1"], "need"),
                              (["--target", "x"], "is no score"), (["--target", "7"], "is no accuracy"), (["--study", self.place], "takes the place")):
            self.assertIn(reason, self.plot(self.place, "--out-dir", self.place / "o", *words, code=2).err)
        self.plot("--out-dir", self.place / "o", code=2)
        self.plot(self.place, code=2)
        for words in ([self.place / "nowhere"], ["--study", self.place / "nowhere"]):
            done = self.plot(*words, "--out-dir", self.place / "o", code=2)
            self.assertEqual(done.err.count("\n"), 1)
        self.assertIn("nothing to draw", self.plot(self.place, "--only", "scaling", "--out-dir", self.place / "o", code=1).err)
        (self.place / "file").write_text("")
        self.assertIn("cannot be written", self.plot(self.place, "--only", "phases", "--out-dir", self.place / "file", code=1).err)
        self.assertIn("r1.h5", self.plot("--comm", self.place / "r1.h5", "--out-dir", self.place / "o", code=1).err)
        self.assertIn("has neither", self.plot("--study", self.place, "--out-dir", self.place / "o", code=1).err)


if __name__ == "__main__":
    tap.main()
