#!/usr/bin/env python3
"""What figures are made of: colours that everybody tells apart, places for names, ticks; and that the checks of figures see what they look for.
Run: python3 tests/analysis/test_plot_parts.py [-v]"""

import io
import itertools
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path[:0] = [str(ROOT / "tests/support"), str(ROOT)]

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
from figure_checks import contrast, distance, label_problems, lightness, svg_problems, text_problems  # noqa: E402

from analysis.plots import labels, score, style  # noqa: E402
from analysis.plots.axes import log_axis, new_figure, round_ticks  # noqa: E402


METHODS = {"full", "lora", "vera", "tied", "vblora", "unilora", "red", "glora", "bitfit", "head"}


class Colours(unittest.TestCase):
    def test_methods(self):
        """Any two: another marker, a colour that is told apart in all kinds of vision, and dashes or a lightness of their own."""
        self.assertEqual(METHODS, set(style.LOOKS))
        for (one, first), (other, second) in itertools.combinations(style.LOOKS.items(), 2):
            self.assertNotEqual(first.marker, second.marker, (one, other))
            self.assertGreater(distance(first.colour, second.colour), 15, (one, other))
            if first.dash == second.dash:
                self.assertGreater(abs(lightness(first.colour) - lightness(second.colour)), 10, (one, other))
        for method, look in style.LOOKS.items():
            self.assertGreater(contrast(look.colour), 2.2, method)

    def test_methods_that_are_not_known(self):
        names = [f"m{number}" for number in range(5)]
        looks = style.Looks([*style.LOOKS, *names]).methods
        self.assertEqual(len({look.marker for look in looks.values()}), 15)
        self.assertEqual({name: style.Looks(["m1", "lora"]).methods[name] for name in style.LOOKS}, style.LOOKS, "known ones look the same always")

    def test_parts_of_a_step(self):
        for (one, first), (other, second) in itertools.combinations(style.PARTS.items(), 2):
            self.assertGreater(distance(first.colour, second.colour), 15, (one, other))
        names = list(style.PARTS)
        for stack in (names, [name for name in names if name != "wait"]):
            for one, other in itertools.pairwise(stack):
                self.assertGreater(abs(lightness(style.PARTS[one].colour) - lightness(style.PARTS[other].colour)), 8, (one, other))

    def test_the_measure(self):
        """Red and green of equal lightness are one colour to most colour-blind readers; the check would see it."""
        self.assertLess(distance("#a06020", "#787820"), 15)
        self.assertAlmostEqual(lightness("#ffffff"), 100, places=3)
        self.assertAlmostEqual(contrast("#000000"), 21, places=2)


class Labels(unittest.TestCase):
    def test_front(self):
        random = np.random.default_rng(1)
        for lower in (False, True):
            for _ in range(200):
                points = [tuple(map(float, point)) for point in random.integers(0, 6, (random.integers(1, 9), 2))]
                sign = 1 if lower else -1
                best = {point for point in points if not any(other[0] <= point[0] and sign * other[1] <= sign * point[1] and other != point for other in points)}
                self.assertEqual({points[index] for index in score.front_of(points, lower)}, best)

    def test_lengths_in_boxes(self):
        random = np.random.default_rng(2)
        boxes = np.sort(random.random((6, 2, 2)), axis=1).reshape(6, 4)
        segments = random.random((9, 2, 2)) * 1.4 - 0.2
        segments[0, 1, 0], segments[1, 1, 1] = segments[0, 0, 0], segments[1, 0, 1]  # upright, level
        segments[2, 1] = segments[2, 0]  # a point
        found = labels.inside(boxes, segments)
        along = np.linspace(0, 1, 20001)
        for row, box in enumerate(boxes):
            for column, (start, end) in enumerate(segments):
                places = start + along[:, None] * (end - start)
                share = ((places >= box[:2]) & (places <= box[2:])).all(axis=1).mean()
                self.assertAlmostEqual(found[row, column], share * np.hypot(*(end - start)), delta=2e-4)

    def test_places(self):
        """Whatever the points: no two names meet, each lies in the frame, and the same input gives the same places."""
        random = np.random.default_rng(3)
        for count in (1, 2, 5, 10, 14):
            for _ in range(5):
                points = random.random((count, 2)) * [500, 300] + 20
                sizes = [(20 + 60 * random.random(), 14) for _ in range(count)]
                lines = np.stack([points - [0, 30], points + [0, 30]], axis=1)
                boxes = labels.place(points, sizes, lines, np.empty((0, 2)), (0, 0, 540, 340))
                self.assertIsNotNone(boxes)
                shared = labels.overlap(boxes, boxes)
                np.fill_diagonal(shared, 0)
                self.assertEqual(shared.max(), 0)
                self.assertTrue((boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= [540, 340]).all())
                self.assertTrue(np.array_equal(boxes, labels.place(points, sizes, lines, np.empty((0, 2)), (0, 0, 540, 340))))
        crowded = np.full((30, 2), 20.0)
        self.assertIsNone(labels.place(crowded, [(38, 14)] * 30, np.empty((0, 2, 2)), np.empty((0, 2)), (0, 0, 40, 40)))

    def test_spread(self):
        random = np.random.default_rng(4)
        for _ in range(100):
            wanted = random.random(random.integers(1, 8)) * 10
            placed = labels.spread(wanted, 1.0, 0.0, 10.0)
            order = np.argsort(wanted, kind="stable")
            self.assertTrue((np.diff(np.array(placed)[order]) >= 1 - 1e-9).all())
            self.assertTrue(min(placed) >= 0 and max(placed) <= 10)
            cost = np.square(placed - wanted).sum()
            for _ in range(50):  # no other feasible place is nearer
                other = np.array(placed) + 0.1 * random.standard_normal(len(placed))
                ordered = other[order]
                if (np.diff(ordered) >= 1).all() and other.min() >= 0 and other.max() <= 10:
                    self.assertGreaterEqual(np.square(other - wanted).sum(), cost - 1e-9)

    def test_ticks(self):
        for low, high in ((1, 1e9), (3, 7), (950, 1050), (1, 10), (1e-7, 1e-2), (4, 4.4), (0.999, 1.001)):
            ticks = round_ticks(low, high)
            self.assertTrue(all(low <= tick <= high * (1 + 1e-9) for tick in ticks), (low, high, ticks))
            self.assertLessEqual(len(ticks), 6)
            self.assertTrue(len(ticks) >= 2 or high / low < 1.2, (low, high, ticks))
        with style.applied():
            _, ((axes,),) = new_figure(3, 2)
            self.assertEqual(log_axis(axes, "x", [0, 70, 3000], str), 10.0)
            self.assertEqual(axes.get_xscale(), "symlog")
            self.assertEqual(log_axis(axes, "y", [5, 5], str), 0.0)


class Checks(unittest.TestCase):
    """The checks above see what they look for."""

    def test_texts(self):
        with style.applied():
            figure, ((axes,),) = new_figure(3.4, 2)
            axes.set_xlabel("x")
            axes.set_ylabel("y")
            self.assertEqual(text_problems(figure) + label_problems(figure), [])
            axes.text(0.5, 0.5, "one")
            axes.text(0.52, 0.5, "other", fontsize=6)
            axes.text(0.9, 0.9, "far out of the figure", in_layout=False)
            axes.set_ylabel("")
            self.assertEqual(sorted(text_problems(figure)), ["'far out of the figure' leaves the figure", "'one' meets 'other'", "'other' has 6 points"])
            self.assertEqual(label_problems(figure), ["y axis without a label"])

    def test_svg(self):
        with style.applied():
            figure, _ = new_figure(3.4, 2)
            out = io.BytesIO()
            figure.savefig(out, format="svg")
        problems = " ".join(svg_problems(out.getvalue(), 3))
        for words in ("declaration", "no role", "not labelled", "wide", "style", "metadata"):
            self.assertIn(words, problems)
        twice = b'<svg xmlns="http://www.w3.org/2000/svg" width="216pt"><g id="a"/><g id="a"/><path fill="url(#b)"/></svg>'
        problems = " ".join(svg_problems(twice, 3))
        self.assertTrue("an id twice" in problems and "refers to {'b'}" in problems, problems)


if __name__ == "__main__":
    tap.main()
