"""Writes a document as one HTML file that needs no other: its style and its script stand in it, and its policy forbids whatever else."""

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .blocks import Document

TEMPLATES = Path(__file__).parent / "templates"


def digest(text: str) -> str:
    """As a policy names a script or style that may take effect."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def read_part(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8").strip()


def clean(value: object) -> object:
    """Of a text from outside what a page may hold: no signs that control a terminal or turn the direction of what follows."""
    if isinstance(value, Markup) or not isinstance(value, str) or value.isprintable():
        return value
    return "".join(sign if sign.isprintable() or sign in "\n\u00a0" else " " if sign.isspace() else "\ufffd" for sign in value)


def write_page(document: Document) -> str:
    style, script = read_part("style.css"), read_part("script.js")
    policy = f"default-src 'none'; style-src {digest(style)}; script-src {digest(script)}; base-uri 'none'; form-action 'none'"
    # Not by the file's name: these templates are HTML whatever they are called.
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
                              keep_trailing_newline=True, finalize=clean)
    environment.filters["parts"] = lambda text: [text] if isinstance(text, str) else text
    # An element's content must not hold what ends it; neither file does, and a report that would be cut off is not written.
    for part, end in ((style, "</style"), (script, "</script")):
        assert end not in part.lower()
    return environment.get_template("report.html").render(document=document, style=Markup(style), script=Markup(script), policy=policy)
