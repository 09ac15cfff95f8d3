"""Figures from run files, for a printed column and for a page in a browser: make_figures() draws them, save() gives their bytes."""

import importlib
from typing import Any

WHERE = {"Figure": ".figure", "Figures": ".figure", "save": ".figure", "make_figures": ".make"}


def __getattr__(name: str) -> Any:
    """Looked up when used: the options of the command line need no matplotlib."""
    if name not in WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(WHERE[name], __name__), name)
