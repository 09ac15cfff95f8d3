"""Figures from run files, for a printed column and for a page in a browser: make_figures() draws them, save() gives their bytes."""

import importlib
import logging
from typing import Any

# Where nobody may write to its usual folder, matplotlib sets MPLCONFIGDIR to a temporary one, which goes with the process. It says so while it is imported.
logging.getLogger("matplotlib").addFilter(lambda record: "MPLCONFIGDIR" not in str(record.msg))

WHERE = {"Figure": ".figure", "Figures": ".figure", "save": ".figure", "make_figures": ".make"}


def __getattr__(name: str) -> Any:
    """Looked up when used: the options of the command line need no matplotlib."""
    if name not in WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(WHERE[name], __name__), name)
