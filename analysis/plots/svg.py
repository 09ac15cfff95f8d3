"""Makes matplotlib's SVG fit to stand beside others in one HTML page: ids of its own, no rules for the page, no
style attributes, no fixed fonts, a name and a description."""

import re
from xml.etree import ElementTree

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
ElementTree.register_namespace("", SVG)
ElementTree.register_namespace("xlink", XLINK)
HREF = f"{{{XLINK}}}href"
FONTS = "'DejaVu Sans', Verdana, 'Bitstream Vera Sans', sans-serif"  # of much the same width
REFERENCE = re.compile(r"url\(#([^)]+)\)")
FONT = re.compile(r"(?P<kind>(?:[a-z0-9]+ )*)(?P<size>[\d.]+)px .*")
NUMBER = re.compile(r"-?\d+\.\d{3,}")


def tag(name: str) -> str:
    return f"{{{SVG}}}{name}"


def shorten(text: str) -> str:
    """A hundredth of a point is fine enough."""
    return NUMBER.sub(lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), text)


def attributes_of(style: str) -> dict[str, str]:
    """Of a style attribute, which a page's policy may forbid. The family of a font is left to the root element, or to the page's style sheet."""
    found = {}
    for part in style.split(";"):
        key, _, value = (word.strip() for word in part.partition(":"))
        if key == "font" and (font := FONT.fullmatch(value)):
            found["font-size"] = f"{font['size']}px"
            if any(word in ("bold", "600", "700") for word in font["kind"].split()):
                found["font-weight"] = "bold"
        elif value:
            found[key] = value
    return found


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
        for key, value in attributes_of(element.attrib.pop("style", "")).items():
            element.set(key, value)
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
                element.set(key, REFERENCE.sub(rf"url(#{name}-\1)", value))
    for key, value in {"role": "img", "aria-labelledby": f"{name}-title {name}-desc", "font-family": FONTS, "stroke-linejoin": "round",
                       "stroke-linecap": "butt"}.items():
        root.set(key, value)
    for position, (kind, text) in enumerate((("title", title), ("desc", description))):
        element = ElementTree.Element(tag(kind), {"id": f"{name}-{kind}"})
        element.text = text
        root.insert(position, element)
    return ElementTree.tostring(root, encoding="utf-8") + b"\n"
