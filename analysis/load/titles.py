"""What a section is called, and rows by section."""

from collections.abc import Sequence

from ..common.units import PERCENT
from ..common.words import count
from .summary import Row, Section


def setting_of(section: Section) -> list[str]:
    """What the tasks of one study have in common."""
    ranks = count(section.ranks, "rank") if section.ranks else ""
    threads = f"{section.threads} threads" if section.threads > 1 else ""
    return [section.model or "a model without a name", *filter(None, [" x ".join(filter(None, [ranks, threads]))])]


def place_of(section: Section) -> str:
    """trec6 (data x), minilm-l6, 2 ranks x 4 threads"""
    data = "" if section.dataset in ("", section.task) else f" (data {section.dataset})"
    return ", ".join(filter(None, [f"{section.task}{data}", *setting_of(section)]))


def title(section: Section) -> str:
    return f"{place_of(section)}: {section.metric}{' in %' if section.metric in PERCENT else ''}"


def by_section(rows: Sequence[Row]) -> dict[Section, list[Row]]:
    sections: dict[Section, list[Row]] = {}
    for row in rows:
        sections.setdefault(row.section, []).append(row)
    return sections
