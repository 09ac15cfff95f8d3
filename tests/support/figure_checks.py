"""What holds of every figure of the analysis: texts that can be read and do not meet, labelled axes, SVG that can stand in a page beside others. And colours as
colour-blind readers see them."""

import re
from itertools import combinations
from unittest import mock
from xml.etree import ElementTree

import numpy as np
from matplotlib.text import Text

SLACK = 1.0  # pixels (of 200 in an inch) that boxes of texts may share: they have some air around the letters
LEAST_POINTS = 7.0
SVG = "{http://www.w3.org/2000/svg}"

# Machado, Oliveira and Fernandes 2009, A physiologically-based model for simulation of color vision deficiency, full severity, on linear RGB.
VISIONS = {
    "normal": np.eye(3),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
    "tritanopia": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]])}
XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])


def linear(colour):
    """sRGB #rrggbb as linear light."""
    channels = np.array([int(colour[place:place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def lab(colour, vision="normal"):
    """CIE L*a*b* as such a reader sees it."""
    relative = XYZ @ np.clip(VISIONS[vision] @ linear(colour), 0, 1) / (XYZ @ np.ones(3))
    cubic = np.where(relative > 216 / 24389, np.cbrt(relative), (24389 / 27 * relative + 16) / 116)
    return np.array([116 * cubic[1] - 16, 500 * (cubic[0] - cubic[1]), 200 * (cubic[1] - cubic[2])])


def distance(one, other):
    """CIE 1976, the least of all kinds of vision; 2.3 is just noticeable."""
    return min(float(np.linalg.norm(lab(one, vision) - lab(other, vision))) for vision in VISIONS)


def lightness(colour):
    """What a grey print shows of it: 0 to 100."""
    return float(lab(colour)[0])


def contrast(colour):
    """To white paper (WCAG)."""
    return 1.05 / (float((XYZ @ linear(colour))[1]) + 0.05)


# ---- figures ----

def drawn_texts(canvas):
    """(text, box, points) of all that is really drawn."""
    found = []
    draw = Text.draw

    def note(artist, renderer):
        if artist.get_visible() and artist.get_text().strip():
            found.append((artist.get_text(), artist.get_window_extent(renderer), artist.get_fontsize()))
        draw(artist, renderer)

    with mock.patch.object(Text, "draw", note):
        canvas.canvas.draw()
    return found


def share(one, other):
    """Whether two boxes meet by more than the slack, in both directions."""
    return (min(one.x1, other.x1) - max(one.x0, other.x0) > SLACK and min(one.y1, other.y1) - max(one.y0, other.y0) > SLACK)


def text_problems(canvas):
    texts = drawn_texts(canvas)
    frame = canvas.bbox
    problems = [f"'{text}' leaves the figure" for text, box, _ in texts
                if box.x0 < frame.x0 - SLACK or box.y0 < frame.y0 - SLACK or box.x1 > frame.x1 + SLACK or box.y1 > frame.y1 + SLACK]
    problems += [f"'{text}' has {points:g} points" for text, _, points in texts if points < LEAST_POINTS]
    problems += [f"'{one[0]}' meets '{other[0]}'" for one, other in combinations(texts, 2) if share(one[1], other[1])]
    return problems


def is_names(axis):
    """Ticks that are names, not numbers, need no label."""
    ticks = [label.get_text() for label in axis.get_majorticklabels()]
    return bool(ticks) and not any(text[:1].isdigit() or text[:1] in "-−." for text in ticks)


def label_problems(canvas):
    texts = {text for text, _, _ in drawn_texts(canvas)}
    common = {which: canvas_text.get_text() for which, canvas_text in (("x", canvas._supxlabel), ("y", canvas._supylabel)) if canvas_text is not None}
    problems = []
    for axes in canvas.axes:
        if axes.get_visible():
            for which, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
                sharing = [other for other in canvas.axes if other is axes or getattr(axes, f"get_shared_{which}_axes")().joined(axes, other)]
                labels = [common.get(which, ""), *(getattr(other, f"{which}axis").get_label_text() for other in sharing)]
                if not any(label in texts for label in labels) and not any(is_names(getattr(other, f"{which}axis")) for other in sharing):
                    problems.append(f"{which} axis without a label")
    return problems


def svg_problems(content, width):
    """content: bytes; width: inches."""
    root = ElementTree.fromstring(content)
    problems = []
    if b"<?xml" in content or b"<!DOCTYPE" in content:
        problems.append("has a declaration, which HTML has no place for")
    if root.get("role") != "img" or [child.tag for child in root][:2] != [f"{SVG}title", f"{SVG}desc"]:
        problems.append("has no role, title and description in front")
    if set(root.get("aria-labelledby", "").split()) != {child.get("id") for child in list(root)[:2]}:
        problems.append("is not labelled by its title and description")
    if abs(float(root.get("width").removesuffix("pt")) - 72 * width) > 0.01:
        problems.append(f"is {root.get('width')} wide")
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    if len(ids) != len(set(ids)):
        problems.append("has an id twice")
    used = set(re.findall(rb"url\(#([^)]+)\)", content)) | set(re.findall(rb'href="#([^"]+)"', content))
    if missing := {name.decode() for name in used} - set(ids):
        problems.append(f"refers to {missing}")
    for element in root.iter():
        if element.tag in (f"{SVG}style", f"{SVG}script", f"{SVG}metadata", f"{SVG}image") or element.get("style"):
            problems.append(f"has {element.tag} {element.get('style')}")
        if element.tag == f"{SVG}text" and float(element.get("font-size", "0").removesuffix("px")) < LEAST_POINTS:
            problems.append(f"'{element.text}' is too small")
        if "family" in " ".join(element.attrib) and element is not root:
            problems.append("names a font inside")
    return problems


def svg_texts(content):
    return [element.text for element in ElementTree.fromstring(content).iter(f"{SVG}text")]


def svg_ids(content):
    return {element.get("id") for element in ElementTree.fromstring(content).iter() if element.get("id")}
