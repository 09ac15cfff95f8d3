"""Puts names beside points and at the ends of lines, where they cover neither each other nor, if it can be helped, what is drawn. No chance is in it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import blended_transform_factory

from .style import FAINT, INK, SMALL, Look

DIRECTIONS = [(math.cos(angle), math.sin(angle)) for angle in np.radians([0, 180, 90, 270, 45, 315, 135, 225, 22, 338, 158, 202, 68, 292, 112, 248])]
DISTANCES = (4.5, 7, 10, 14, 19, 25, 32, 40, 50, 62, 76, 92)  # points, from a marker to the nearest side of its name
LEADER_FROM = 8.0  # points: nearer names need no line
GAP = 1.0  # points that stay free around a name
MARKER = 3.5  # points: half of one
SWEEPS = 12
# What lies under a name, in points of distance that avoiding it is worth.
COST_OF_MARKER, COST_OF_LENGTH, COST_OF_CROSSING, COST_OF_OVERLAP = 60.0, 0.7, 12.0, 1e6

Box = tuple[float, float, float, float]  # left, bottom, right, top, in pixels


def overlap(boxes: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Areas that each of boxes [n, 4] has in common with box [4]."""
    width = np.minimum(boxes[..., 2], box[2]) - np.maximum(boxes[..., 0], box[0])
    height = np.minimum(boxes[..., 3], box[3]) - np.maximum(boxes[..., 1], box[1])
    return np.clip(width, 0, None) * np.clip(height, 0, None)


def length_inside(box: Sequence[float], segments: np.ndarray) -> float:
    """Of segments [n, 2 ends, 2], what lies in the box (Liang and Barsky's clipping)."""
    if not len(segments):
        return 0.0
    start, along = segments[:, 0], segments[:, 1] - segments[:, 0]
    first, last = np.zeros(len(segments)), np.ones(len(segments))
    outside = np.zeros(len(segments), bool)
    for axis, low, high in ((0, box[0], box[2]), (1, box[1], box[3])):
        still = np.abs(along[:, axis]) < 1e-12
        outside |= still & ((start[:, axis] < low) | (start[:, axis] > high))
        step = np.where(still, 1.0, along[:, axis])
        one, other = (low - start[:, axis]) / step, (high - start[:, axis]) / step
        first = np.where(still, first, np.maximum(first, np.minimum(one, other)))
        last = np.where(still, last, np.minimum(last, np.maximum(one, other)))
    share = np.where(outside, 0.0, np.clip(last - first, 0, None))
    return float((share * np.hypot(along[:, 0], along[:, 1])).sum())


def nearest_in(box: Sequence[float], point: Sequence[float]) -> tuple[float, float]:
    return min(max(point[0], box[0]), box[2]), min(max(point[1], box[1]), box[3])


def candidates(point: np.ndarray, size: tuple[float, float], frame: Box, scale: float) -> list[tuple[float, Box]]:
    """Boxes around a point that lie in the frame, with their distance in points. scale: pixels a point."""
    width, height = size
    found = []
    for rank, distance in enumerate(DISTANCES):
        for preference, (x, y) in enumerate(DIRECTIONS):
            reach = distance * scale
            centre_x = point[0] + x * reach + (width / 2) * np.sign(round(x, 6)) * min(1.0, 1.4 * abs(x))
            centre_y = point[1] + y * reach + (height / 2) * np.sign(round(y, 6)) * min(1.0, 1.4 * abs(y))
            box = (centre_x - width / 2, centre_y - height / 2, centre_x + width / 2, centre_y + height / 2)
            if box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3]:
                found.append((distance + 0.02 * preference + 0.001 * rank, box))
    return found


def place(points: np.ndarray, sizes: Sequence[tuple[float, float]], segments: np.ndarray, frame: Box, scale: float = 1.0) -> list[Box] | None:
    """A box for each point's name, none over another one; None if there is no room. All in pixels; points [n, 2], sizes (width, height)."""
    marker = MARKER * scale
    markers = np.column_stack([points - marker, points + marker])
    choices: list[list[tuple[float, Box]]] = []
    for index, point in enumerate(points):
        own = []
        for distance, box in candidates(point, sizes[index], frame, scale):
            covered = overlap(markers, np.array(box))
            cost = distance + COST_OF_MARKER * float((covered > 0).sum()) + COST_OF_LENGTH * length_inside(box, segments) / scale
            leader = np.array([[nearest_in(box, point), point]])
            crossed = sum(length_inside(other, leader) > 0 for number, other in enumerate(markers) if number != index)
            own.append((cost + COST_OF_CROSSING * crossed, box))
        if not own:
            return None
        choices.append(sorted(own))
    middle = points.mean(axis=0)
    order = sorted(range(len(points)), key=lambda index: (-float(np.hypot(*(points[index] - middle))), index))  # who stands apart finds room at once
    chosen: dict[int, Box] = {}

    def best(index: int) -> Box:
        others = np.array([box for number, box in chosen.items() if number != index])
        leaders = [np.array([[nearest_in(box, points[number]), points[number]]]) for number, box in chosen.items() if number != index]

        def total(choice: tuple[float, Box]) -> float:
            cost, box = choice
            if len(others):
                cost += COST_OF_OVERLAP * float(overlap(others, np.array(box)).sum())
                mine = np.array([[nearest_in(box, points[index]), points[index]]])
                cost += COST_OF_CROSSING * sum(length_inside(box, leader) > 0 for leader in leaders)
                cost += COST_OF_CROSSING * sum(length_inside(other, mine) > 0 for other in others)
            return cost
        return min(choices[index], key=total)[1]

    for index in order:
        chosen[index] = best(index)
    for _ in range(SWEEPS):
        before = dict(chosen)
        for index in order:
            chosen[index] = best(index)
        if chosen == before:
            break
    boxes = [chosen[index] for index in range(len(points))]
    for index, box in enumerate(boxes[1:], 1):
        if overlap(np.array(boxes[:index]), np.array(box)).sum() > 0:
            return None
    return boxes


def measure(axes: Axes, text: str) -> tuple[float, float]:
    """Width and height in pixels."""
    renderer = axes.figure.canvas.get_renderer()
    artist = Text(0, 0, text, fontsize=SMALL, figure=axes.figure)
    box = artist.get_window_extent(renderer)
    return box.width, box.height


def name_points(axes: Axes, points: Sequence[tuple[float, float]], names: Sequence[str], segments: Sequence[Sequence[tuple[float, float]]] = ()) -> bool:
    """Writes a name beside each point (in data units), with a thin line to those that stand farther off; False, and nothing, if there is no room. The layout
    must be final. segments: what names had better not cover."""
    scale = axes.figure.dpi / 72
    gap = GAP * scale
    box = axes.bbox
    pixels = axes.transData.transform(np.asarray(points, float))
    lines = np.array([axes.transData.transform(np.asarray(each, float)) for each in segments]).reshape(-1, 2, 2)
    sizes = [(width + 2 * gap, height + 2 * gap) for width, height in (measure(axes, name) for name in names)]
    boxes = place(pixels, sizes, lines, (box.x0 + gap, box.y0 + gap, box.x1, box.y1), scale)
    if boxes is None:
        return False
    inverse = axes.transAxes.inverted()
    for name, pixel, (left, bottom, right, top) in zip(names, pixels, boxes):
        near = nearest_in((left + gap, bottom + gap, right - gap, top - gap), pixel)
        if math.hypot(near[0] - pixel[0], near[1] - pixel[1]) > LEADER_FROM * scale:
            (x0, y0), (x1, y1) = inverse.transform([near, pixel])
            axes.add_line(Line2D([x0, x1], [y0, y1], transform=axes.transAxes, color=FAINT, linewidth=0.5, zorder=2.5))
        x, y = inverse.transform(((left + right) / 2, (bottom + top) / 2))
        axes.text(x, y, name, transform=axes.transAxes, fontsize=SMALL, ha="center", va="center", color=INK, zorder=6,
                  bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.4})
    return True


# ---- at the ends of lines ----

def spread(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Moved apart to at least this gap, each as little as can be (least squares), between low and high as far as these have room; the order stays."""
    order = sorted(range(len(positions)), key=lambda index: (positions[index], index))
    blocks: list[list[float]] = []  # [sum of wanted first positions, count]
    for number, index in enumerate(order):
        blocks.append([positions[index] - number * gap, 1.0])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1] = [blocks[-1][0] + total, blocks[-1][1] + count]
    firsts = [total / count for total, count in blocks for _ in range(int(count))]
    top = high - (len(order) - 1) * gap
    placed = [0.0] * len(order)
    for number, (index, first) in enumerate(zip(order, firsts)):
        placed[index] = max(low, min(first, top)) + number * gap
    return placed


class EndNames:
    """Names to the right of the axes, at the height of the lines' ends. Made before the layout, which leaves room for them, and put in place after it."""

    OFFSET, LEAST, TOUCH = 13.0, 9.0, 1.5  # points from the axes: of a name, of where the slanting part of its line ends, from a name to its line

    def __init__(self, axes: Axes, ends: Sequence[tuple[float, float]], names: Sequence[str], looks: Sequence[Look]):
        self.axes, self.ends, self.looks = axes, ends, looks
        right = blended_transform_factory(axes.transAxes, axes.transData)
        self.texts = [axes.annotate(name, (1.0, y), xycoords=right, xytext=(self.OFFSET, 0), textcoords="offset points", fontsize=SMALL, ha="left", va="center",
                                    color=INK, annotation_clip=False) for (_, y), name in zip(ends, names)]

    def settle(self) -> None:
        """Needs the final layout."""
        axes, figure = self.axes, self.axes.figure
        scale = figure.dpi / 72
        height = max((text.get_window_extent(figure.canvas.get_renderer()).height for text in self.texts), default=0.0) + GAP * scale
        pixels = [axes.transData.transform(end) for end in self.ends]
        places = spread([pixel[1] for pixel in pixels], height, axes.bbox.y0 + height / 2, axes.bbox.y1 - height / 2)
        inverse = figure.transFigure.inverted()
        for text, pixel, y, look in zip(self.texts, pixels, places, self.looks):
            text.set_position((self.OFFSET, (y - pixel[1]) / scale))
            right = axes.bbox.x1
            xs, ys = inverse.transform([pixel, (right + self.LEAST * scale, y), (right + (self.OFFSET - self.TOUCH) * scale, y)]).T
            figure.add_artist(Line2D(xs, ys, transform=figure.transFigure, linewidth=0.5, color=look.colour, zorder=1))
