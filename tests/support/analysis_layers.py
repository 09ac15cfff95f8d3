#!/usr/bin/env python3
"""Checks that the packages of analysis are one line of layers, by what their modules import (tests/support/layers.sh runs it).

Usage: python3 tests/support/analysis_layers.py [ROOT]      prints FILE:LINE: what is wrong; exit 1 if anything is
"""

import ast
import sys
from pathlib import Path

# Package: the packages below it that it may import.
MAY = {
    "common": (),
    "load": ("common",),
    "published": ("common", "load"),
    "stats": ("common", "load"),
    "tables": ("common", "load", "stats", "published"),
    "plots": ("common", "load", "stats"),
    "comm": ("common", "load", "plots"),
    "report": ("common", "load", "stats", "published", "tables", "plots"),
    "watch": ("common", "load"),
    "layout": (),  # its scripts are read as examples, and need nothing of ours
}
# Modules of a package that join what verbs need, whatever package it is in. Nobody imports them but the command line, which knows them by name.
VERB = "verb"
# These say what the command line takes: `--help` needs no library.
OPTIONS = "options"
LIBRARIES = {"h5py", "numpy", "scipy", "pandas", "matplotlib", "yaml", "jinja2", "rich"}


def imports(path, package):
    """(line, name with dots) of each import, relative ones in full."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *filter(None, [node.module])])
            yield from ((node.lineno, f"{name}.{alias.name}") for alias in node.names)


def problem(path, package, target):
    """Why a module of this package may not import it; "": it may."""
    first, *rest = target.split(".")
    if first != "analysis" or not rest:
        return ""
    other = rest[0]
    if other not in MAY:
        return "" if path.name == "__main__.py" else f"there is no package analysis.{other} in tests/support/analysis_layers.py"
    if len(package) == 1:  # the command line
        return "" if rest[1:2] in ([OPTIONS], []) or other == "common" else f"imports {target}, where options alone belong"
    if rest[1:2] == [VERB]:
        return f"imports {target}, which only the command line runs"
    own = package[1]
    if other == own or path.stem == VERB or other in MAY[own]:
        return ""
    return f"analysis/{own} may not import analysis/{other} ({target}): it may import {', '.join(MAY[own]) or 'no other package'}"


def library_free(root):
    """The modules that options.py and __main__.py load, as far as analysis goes, and the first library that each of them loads."""
    known = {}

    def visit(path):
        if path in known:
            return
        known[path] = None
        package = ["analysis", *path.relative_to(root / "analysis").parts[:-1]]
        at_import = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, (ast.Import, ast.ImportFrom))]
        lines = {node.lineno for node in at_import}
        for line, name in imports(path, package):
            if line not in lines:
                continue
            first, *rest = name.split(".")
            if first in LIBRARIES:
                known[path] = known[path] or (line, first)
            for end in range(len(rest), 0, -1) if first == "analysis" else ():
                for found in (root.joinpath(first, *rest[:end]).with_suffix(".py"), root.joinpath(first, *rest[:end], "__init__.py")):
                    if found.exists():
                        visit(found)
    for path in [root / "analysis/__main__.py", *sorted((root / "analysis").glob(f"*/{OPTIONS}.py"))]:
        if path.exists():
            visit(path)
    return known


def main(root):
    paths = sorted((root / "analysis").rglob("*.py"))
    found = []
    for path in paths:
        package = ["analysis", *path.relative_to(root / "analysis").parts[:-1]]
        if len(package) > 1 and package[1] not in MAY:
            found.append((path, 1, f"no layer of this name: see the table in {Path(__file__).name}"))
            continue
        wrong = {(line, text): None for line, name in imports(path, package) if (text := problem(path, package, name))}
        found += [(path, line, text) for line, text in wrong]
    found += [(path, reason[0], f"loads {reason[1]}, but the command line's options load this module: `--help` needs no library")
              for path, reason in library_free(root).items() if reason]
    for path, line, text in found:
        print(f"{path.relative_to(root)}:{line}: {text}")
    if found:
        print(f"layers: {len(found)} violation{'' if len(found) == 1 else 's'} in analysis")
        return 1
    print(f"layers: {len(paths)} modules of analysis keep to the line")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else Path(__file__).resolve().parents[2]))
