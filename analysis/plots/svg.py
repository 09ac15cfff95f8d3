"""Makes matplotlib's SVG fit to stand beside others in one HTML page: ids of its own, no rules for the page, no fixed fonts, a name and a description."""

import re
from xml.etree import ElementTree

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
ElementTree.register_namespace("", SVG)
ElementTree.register_namespace("xlink", XLINK)
HREF = f"{{{XLINK}}}href"
FONTS = "'DejaVu Sans', Verdana, 'Bitstream Vera Sans', sans-serif"  # of much the same width
REFERENCE = re.compile(r"url\(#([^)]+)\)")
FONT = re.compile(r"font: (?P<kind>(?:[a-z0-9]+ )*)(?P<size>[\d.]+)px [^;]*")
NUMBER = re.compile(r"-?\d+\.\d{3,}")


def tag(name: str) -> str:
    return f"{{{SVG}}}{name}"


def shorten(text: str) -> str:
    """A hundredth of a point is fine enough."""
    return NUMBER.sub(lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), text)


def plain_font(style: str) -> str:
    """`font: bold 7px 'DejaVu Sans', ...` without the family, which then comes from the root element, or from the page's style sheet."""
    def change(found: re.Match) -> str:
        weight = [f"font-weight: {word}" for word in found["kind"].split() if word in ("bold", "600", "700")]
        return "; ".join([f"font-size: {found['size']}px", *weight])
    return FONT.sub(change, style)


def finish(content: bytes, name: str, title: str, description: str) -> bytes:
    """name: must be unique in a page; every id begins with it."""
    name = f"svg-{name}"
    root = ElementTree.fromstring(content)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (tag("metadata"), tag("style")) or child.tag == tag("defs") and all(each.tag == tag("style") for each in child):
                parent.remove(child)
    used = {found for element in root.iter() for value in element.attrib.values() for found in REFERENCE.findall(value)}
    used |= {element.attrib[HREF].removeprefix("#") for element in root.iter() if HREF in element.attrib}
    for element in root.iter():
        for key, value in list(element.attrib.items()):
            if key == "id":
                if value in used:
                    element.set("id", f"{name}-{value}")
                else:
                    del element.attrib["id"]
            elif key == HREF:
                element.set(key, f"#{name}-{value.removeprefix('#')}")
            elif key in ("d", "x", "y"):
                element.set(key, shorten(value))
            else:
                element.set(key, plain_font(REFERENCE.sub(rf"url(#{name}-\1)", value)))
    for key, value in {"role": "img", "aria-labelledby": f"{name}-title {name}-desc", "font-family": FONTS, "stroke-linejoin": "round",
                       "stroke-linecap": "butt"}.items():
        root.set(key, value)
    for position, (kind, text) in enumerate((("title", title), ("desc", description))):
        element = ElementTree.Element(tag(kind), {"id": f"{name}-{kind}"})
        element.text = text
        root.insert(position, element)
    return ElementTree.tostring(root, encoding="utf-8") + b"\n"
