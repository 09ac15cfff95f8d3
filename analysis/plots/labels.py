"""Puts names beside points and at the ends of lines, where they cover neither each other nor, if it can be helped, what is drawn. No chance is in it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import blended_transform_factory

from .style import INK, SMALL, Look

DIRECTIONS = [(math.cos(angle), math.sin(angle)) for angle in np.radians([0, 180, 90, 270, 45, 315, 135, 225, 22, 338, 158, 202, 68, 292, 112, 248])]
DISTANCES = (4.5, 7, 10, 14, 19, 25, 32, 40, 50, 62, 76, 92)  # points, from a marker to the nearest side of its name
LEADER_FROM = 8.0  # points: nearer names need no line
GAP = 1.0  # points that stay free around a name
MARKER = 3.5  # points: half of one
SWEEPS = 12
# What lies under a name, in points of distance that avoiding it is worth.
COST_OF_MARKER, COST_OF_LENGTH, COST_OF_CROSSING, COST_OF_OVERLAP = 60.0, 0.7, 12.0, 1e6


def overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Areas that boxes [n, 4] have in common with others [m, 4]: [n, m]. A box is left, bottom, right, top."""
    boxes, others = boxes[:, None, :], others[None, :, :]
    width = np.minimum(boxes[..., 2], others[..., 2]) - np.maximum(boxes[..., 0], others[..., 0])
    height = np.minimum(boxes[..., 3], others[..., 3]) - np.maximum(boxes[..., 1], others[..., 1])
    return np.clip(width, 0, None) * np.clip(height, 0, None)


def inside(boxes: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """Lengths of segments [m, 2 ends, 2] in boxes [n, 4]: [n, m] (Liang and Barsky's clipping)."""
    start, along = segments[None, :, 0], (segments[:, 1] - segments[:, 0])[None]
    first, last = np.zeros((len(boxes), len(segments))), np.ones((len(boxes), len(segments)))
    for axis in (0, 1):
        low, high = boxes[:, axis, None] - start[..., axis], boxes[:, axis + 2, None] - start[..., axis]
        still = np.abs(along[..., axis]) < 1e-12
        step = np.where(still, 1.0, along[..., axis])
        ends = np.where(still, np.where((low <= 0) & (high >= 0), 0.0, np.inf), low / step), np.where(still, np.inf, high / step)
        first, last = np.maximum(first, np.minimum(*ends)), np.minimum(last, np.maximum(*ends))
    return np.clip(last - first, 0, None) * np.hypot(along[..., 0], along[..., 1])


def leaders(boxes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """From the nearest place of each box [n, 4] to its point [n, 2] or to one point [2]: [n, 2 ends, 2]."""
    points = np.broadcast_to(points, (len(boxes), 2))
    return np.stack([np.clip(points, boxes[:, :2], boxes[:, 2:]), points], axis=1)


def candidates(point: np.ndarray, size: tuple[float, float], frame: Sequence[float], scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [n, 4] around a point that lie in the frame, and their costs, which are distances in points. scale: pixels a point."""
    directions, distances = np.array(DIRECTIONS), np.array(DISTANCES)
    # Where a box is straight above or beside the point, its middle is there; else a corner is nearest.
    shift = np.sign(np.round(directions, 6)) * np.minimum(1.0, 1.4 * np.abs(directions)) * np.array(size) / 2
    centres = (point + scale * distances[:, None, None] * directions + shift).reshape(-1, 2)
    boxes = np.hstack([centres - np.array(size) / 2, centres + np.array(size) / 2])
    costs = (distances[:, None] + 0.02 * np.arange(len(directions))).ravel()
    fits = (boxes[:, :2] >= frame[:2]).all(axis=1) & (boxes[:, 2:] <= frame[2:]).all(axis=1)
    return boxes[fits], costs[fits]


def place(points: np.ndarray, sizes: Sequence[tuple[float, float]], segments: np.ndarray, crowd: np.ndarray, frame: Sequence[float],
          scale: float = 1.0) -> np.ndarray | None:
    """A box [4] for each point's name, none over another one; None if there is no room. All in pixels; points, crowd (more of them, without a name) [n, 2],
    sizes (width, height), segments [n, 2 ends, 2], frame a box."""
    frame = np.asarray(frame, float)
    marks = np.concatenate([points, crowd])
    markers = np.hstack([marks - MARKER * scale, marks + MARKER * scale])
    choices = []
    for index, point in enumerate(points):
        boxes, costs = candidates(point, sizes[index], frame, scale)
        if not len(boxes):
            return None
        others = np.delete(markers, index, axis=0)
        crossed = (inside(others, leaders(boxes, point)) > 0).sum(axis=0)
        costs = costs + COST_OF_MARKER * (overlap(boxes, markers) > 0).sum(axis=1) + COST_OF_LENGTH / scale * inside(boxes, segments).sum(axis=1)
        choices.append((boxes, costs + COST_OF_CROSSING * crossed))
    middle = points.mean(axis=0)
    order = sorted(range(len(points)), key=lambda index: (-float(np.hypot(*(points[index] - middle))), index))  # who stands apart finds room at once
    chosen = np.full((len(points), 4), np.nan)

    def best(index: int) -> np.ndarray:
        boxes, costs = choices[index]
        placed = ~np.isnan(chosen[:, 0])
        placed[index] = False
        others = chosen[placed]
        costs = costs + COST_OF_OVERLAP * overlap(boxes, others).sum(axis=1)
        costs += COST_OF_CROSSING * (inside(boxes, leaders(others, points[placed])) > 0).sum(axis=1)
        costs += COST_OF_CROSSING * (inside(others, leaders(boxes, points[index])) > 0).sum(axis=0)
        return boxes[int(np.argmin(costs))]

    for _ in range(SWEEPS):
        before = chosen.copy()
        for index in order:
            chosen[index] = best(index)
        if np.array_equal(chosen, before):
            break
    shared = overlap(chosen, chosen)
    np.fill_diagonal(shared, 0)
    return None if (shared > 0).any() else chosen


def measure(axes: Axes, text: str) -> tuple[float, float]:
    """Width and height in pixels."""
    renderer = axes.figure.canvas.get_renderer()
    artist = Text(0, 0, text, fontsize=SMALL, figure=axes.figure)
    box = artist.get_window_extent(renderer)
    return box.width, box.height


def name_points(axes: Axes, points: Sequence[tuple[float, float]], names: Sequence[str], colours: Sequence[str],
                segments: Sequence[Sequence[tuple[float, float]]] = (), crowd: Sequence[tuple[float, float]] = ()) -> bool:
    """Writes a name beside each point (in data units), with a thin line in its colour to those that stand farther off; False, and nothing, if there is no
    room. The layout must be final. segments, crowd: lines and other points, which names had better not cover."""
    scale = axes.figure.dpi / 72
    gap = GAP * scale
    box = axes.bbox
    pixels = axes.transData.transform(np.asarray(points, float))
    lines = np.array([axes.transData.transform(np.asarray(each, float)) for each in segments]).reshape(-1, 2, 2)
    others = axes.transData.transform(np.asarray(crowd, float).reshape(-1, 2))
    sizes = [(width + 2 * gap, height + 2 * gap) for width, height in (measure(axes, name) for name in names)]
    boxes = place(pixels, sizes, lines, others, (box.x0 + gap, box.y0 + gap, box.x1, box.y1), scale)
    if boxes is None:
        return False
    inverse = axes.transAxes.inverted()
    for name, colour, pixel, (left, bottom, right, top) in zip(names, colours, pixels, boxes):
        near = min(max(pixel[0], left + gap), right - gap), min(max(pixel[1], bottom + gap), top - gap)
        if math.hypot(near[0] - pixel[0], near[1] - pixel[1]) > LEADER_FROM * scale:
            (x0, y0), (x1, y1) = inverse.transform([near, pixel])
            axes.add_line(Line2D([x0, x1], [y0, y1], transform=axes.transAxes, color=colour, linewidth=0.5, zorder=2.5))
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
