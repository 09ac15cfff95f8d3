"""Numbers and names in sentences."""

from collections.abc import Sequence


def count(number: int, what: str) -> str:
    """1 run, 2 runs"""
    return f"{number} {what}{'' if number == 1 else 's'}"


def some(names: Sequence[object], most: int) -> str:
    """a, b and 3 more"""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


def enumerate_words(words: Sequence[str]) -> str:
    """a, b and c"""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
