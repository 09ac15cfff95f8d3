"""What the scores of several seeds say, and what they do not: README.md tells the methods, their proof and their limits.

The functions and types named here are loaded when they are first asked for: the command line's --help needs no library.
"""

import importlib

# Name: the module that has it.
PUBLIC = {
    "Interval": "intervals", "t_interval": "intervals",
    "Paired": "pairs", "paired": "pairs",
    "holm": "multiple",
    "separated_pairs": "groups", "letters": "groups",
    "power": "design", "smallest_difference": "design", "seeds_needed": "design", "spread_range": "design",
    "pseudo_values": "metrics",
    "crossed_parts": "crossed", "crossed_interval": "crossed",
    "Comparison": "comparison", "RowStatistics": "comparison", "Difference": "judge", "compare": "comparison",
    "Average": "averages", "AverageRow": "averages", "average_over": "averages", "compare_averages": "averages",
}
__all__ = list(PUBLIC)


def __getattr__(name: str) -> object:
    if name not in PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{PUBLIC[name]}", __name__), name)
