"""Figures as parts of the page: an SVG file becomes an element that shares no name with another one and needs no style of its own."""

import re
import xml.etree.ElementTree as xml
from html import escape

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
# What figures are drawn with. Whatever else a file holds (scripts, links to elsewhere, metadata, style sheets that would reach the whole page) is left out.
ELEMENTS = {"svg", "g", "defs", "path", "rect", "circle", "ellipse", "line", "polyline", "polygon", "text", "tspan", "use", "clipPath", "linearGradient",
            "radialGradient", "stop", "pattern", "mask", "symbol", "marker"}
PROPERTIES = {"fill", "fill-opacity", "fill-rule", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "stroke-dashoffset", "stroke-linecap",
              "stroke-linejoin", "stroke-miterlimit", "opacity", "font-family", "font-size", "font-style", "font-weight", "text-anchor", "clip-path",
              "clip-rule", "stop-color", "stop-opacity", "dominant-baseline", "visibility", "display", "mask", "marker-start", "marker-mid", "marker-end"}
PLAIN = {"id", "d", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "rx", "ry", "dx", "dy", "width", "height", "points", "transform", "viewBox", "offset",
         "clipPathUnits", "gradientUnits", "gradientTransform", "patternUnits", "patternTransform", "preserveAspectRatio", "rotate", "textLength", "refX",
         "refY", "markerWidth", "markerHeight", "markerUnits", "orient", "maskUnits", "xml:space"}
FONT = re.compile(r"(?:(?P<style>italic|oblique)\s+)?(?:(?P<weight>bold|\d00)\s+)?(?P<size>[\d.]+(?:px|pt)?)(?:/\S+)?\s+(?P<family>.+)")
INNER = re.compile(r"url\(\s*[\"']?#([^)\"']+)[\"']?\s*\)")


class BadPicture(Exception):
    """Why it cannot be shown."""


def local(name: str) -> str:
    """Without its name space."""
    return name.rpartition("}")[2]


def declarations(style: str) -> dict[str, str]:
    """A style attribute as attributes of their own, which need no permission of the page. `font` is taken apart, as it has no attribute."""
    found: dict[str, str] = {}
    for part in style.split(";"):
        name, _, value = part.partition(":")
        name, value = name.strip(), value.strip()
        if name == "font" and (font := FONT.fullmatch(value)):
            found |= {f"font-{key}": text for key, text in font.groupdict().items() if text}
        elif name in PROPERTIES:
            found[name] = value
    return found


def attributes(element: xml.Element, prefix: str) -> dict[str, str]:
    kept: dict[str, str] = {}
    for name, value in element.attrib.items():
        plain = local(name)
        if plain == "href" and value.startswith("#"):
            kept["href"] = f"#{prefix}{value[1:]}"
        elif plain == "style":
            kept |= declarations(value)
        elif plain in PROPERTIES or plain in PLAIN:
            kept[plain] = f"{prefix}{value}" if plain == "id" else value
    for name, value in kept.items():
        if "url(" in value:
            kept[name] = INNER.sub(lambda found: f"url(#{prefix}{found[1]})", value) if INNER.fullmatch(value) else "none"
    return kept


def used_names(root: xml.Element) -> set[str]:
    """What something in the picture points at; all other names only take room."""
    values = [value for element in root.iter() for value in element.attrib.values()]
    return {value[1:] for value in values if value.startswith("#")} | {found[1] for value in values for found in INNER.finditer(value)}


def write(element: xml.Element, prefix: str, used: set[str], inner: str = "", more: str = "") -> str:
    tag = local(element.tag) if isinstance(element.tag, str) else ""  # comments have no name
    if tag not in ELEMENTS:
        return ""
    kept = attributes(element, prefix)
    if kept.get("id", "")[len(prefix):] not in used:
        kept.pop("id", None)
    content = inner + ("" if tag not in ("text", "tspan") else escape(element.text or "", quote=False))
    for child in element:
        content += write(child, prefix, used)
        if tag in ("text", "tspan"):
            content += escape(child.tail or "", quote=False)
    if tag == "defs" and not content:
        return ""
    head = "".join(f' {name}="{escape(value)}"' for name, value in kept.items())
    return f"<{tag}{more}{head}>{content}</{tag}>" if content else f"<{tag}{more}{head}/>"


def inline(content: bytes, anchor: str, title: str, description: str) -> str:
    """The element <svg> of a picture, as wide as its place, with its title and description for those who do not see it. Raises BadPicture."""
    try:
        root = xml.fromstring(content)
    except xml.ParseError as error:
        raise BadPicture(f"not a whole SVG: {error}") from None
    if local(root.tag) != "svg" or not re.fullmatch(r"[-\d.e\s,]+", root.get("viewBox", "")):
        raise BadPicture("not an SVG with a viewBox")
    for name in ("width", "height", "id"):
        root.attrib.pop(name, None)
    told = f'<title id="{anchor}-title">{escape(title)}</title><desc id="{anchor}-desc">{escape(description)}</desc>'
    return write(root, f"{anchor}-", used_names(root), told, f' role="img" aria-labelledby="{anchor}-title" aria-describedby="{anchor}-desc"')
