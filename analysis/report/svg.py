"""Figures as parts of the page: what analysis.plots saves as SVG, without style attributes, which the page's policy forbids."""

import re
import xml.etree.ElementTree as xml

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
FONT = re.compile(r"(?:(?P<style>italic|oblique)\s+)?(?:(?P<weight>bold|\d00)\s+)?(?P<size>[\d.]+(?:px|pt)?)(?:/\S+)?\s+(?P<family>.+)")
PIXELS_PER_POINT = 96 / 72
BROAD_FROM = 400  # pixels: wider ones are for two printed columns


class BadPicture(Exception):
    """Why it cannot be shown."""


def declarations(style: str) -> dict[str, str]:
    """A style attribute as attributes of their own. `font` is taken apart, as it has no attribute."""
    found: dict[str, str] = {}
    for part in style.split(";"):
        name, _, value = (word.strip() for word in part.partition(":"))
        if name == "font" and (font := FONT.fullmatch(value)):
            found |= {f"font-{key}": text for key, text in font.groupdict().items() if text}
        elif name and value:
            found[name] = value
    return found


def inline(content: bytes) -> tuple[str, bool]:
    """The element <svg>, and whether it is a broad one. Raises BadPicture."""
    xml.register_namespace("", SVG)
    xml.register_namespace("xlink", XLINK)
    try:
        root = xml.fromstring(content)
        width, height = (float(root.get(name, "").removesuffix("pt")) * PIXELS_PER_POINT for name in ("width", "height"))
    except (xml.ParseError, ValueError) as error:
        raise BadPicture(f"not an SVG in points: {error}") from None
    for element in root.iter():
        for name, value in declarations(element.attrib.pop("style", "")).items():
            element.set(name, value)
    root.set("width", f"{width:.0f}")
    root.set("height", f"{height:.0f}")
    return xml.tostring(root, encoding="unicode").strip(), width >= BROAD_FROM
