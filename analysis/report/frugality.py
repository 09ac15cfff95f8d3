"""What each method sends and stores in relation to full fine-tuning: a chapter, and the sentences of the summary."""

from collections.abc import Sequence

from ..common.units import human_bytes
from ..common.words import enumerate_words
from ..load.summary import Row
from ..tables.build import Group
from .blocks import Cell, Chapter, Head, Paragraph, Table
from .places import Places

FULL = "full"


def share(part: float, whole: float) -> str:
    if not part:
        return "0"
    ratio = whole / part
    return "1" if part == whole else f"1/{ratio:,.0f}" if ratio >= 9.5 else f"1/{ratio:.1f}" if ratio >= 1 else f"{1 / ratio:.1f}"


def rows_of(group: Group) -> tuple[list[Row], Row | None]:
    """And the one that the others are compared with: None where there is none, or none that sends."""
    rows = [entry.row for entry in group.entries]
    full = [row for row in rows if row.first.method == FULL and row.first.sent_bytes and row.first.stored_bytes]
    return rows, full[0] if len(full) == 1 else None


def make_table(groups: Sequence[Group], places: Places) -> Table | None:
    heads = [Head("method"), Head("task"), Head("numbers trained", True)]
    for name, meaning in (("sent per step", "bytes of the method that a rank gives to the sum of a step"), ("with head", "bytes of the whole message"),
                          ("stored", "bytes of the method's result, the head apart")):
        heads += [Head(name, True, meaning), Head("of full's", True, "in relation to full fine-tuning")]
    lines = []
    for group in groups:
        rows, full = rows_of(group)
        for row in rows if full else []:
            run = row.first
            cells = [Cell(row.label), Cell(row.section.task), Cell(f"{run.trainable:,}", run.trainable)]
            sizes = [(row.mean[name], full.mean[name]) for name in ("sent_bytes", "sent_bytes_with_head")] + [(run.stored_bytes, full.first.stored_bytes)]
            for own, whole in sizes:
                cells += [Cell(human_bytes(round(own)), own), Cell(share(own, whole), own / whole)]
            lines.append(cells)
    return Table(places.new("frugality table"), "Bytes in relation to full fine-tuning", heads, lines) if lines else None


def make_chapter(groups: Sequence[Group], places: Places) -> Chapter | None:
    """None: there is no full fine-tuning to compare with."""
    if not (table := make_table(groups, places)):
        return None
    return Chapter("What is sent and stored", places.new("frugality"), [
        Paragraph("Payload, not bytes on a wire: what one rank gives to the sum over ranks in a step, the method's own numbers, and with the task head and the "
                  "few numbers behind them, mean over steps and seeds; one rank sends nothing, and this is what it would send. Stored are the bytes of the "
                  "method's result, without the head. Of full fine-tuning's embeddings only the rows that a batch reaches are sent, unless the payload is "
                  "dense."), table])


def describe_frugality(groups: Sequence[Group]) -> list[str]:
    """Of the methods between the head alone, which sends nothing of its own, and full fine-tuning."""
    sentences: dict[str, list[str]] = {}
    for group in groups:
        rows, full = rows_of(group)
        others = sorted((row for row in rows if row.first.method != FULL and row.first.sent_bytes), key=lambda row: row.mean["sent_bytes"])
        if full is None or not others:
            continue
        sent, all_stored = full.mean["sent_bytes"], full.first.stored_bytes
        told = [f"{human_bytes(round(row.mean['sent_bytes']))} ({share(row.mean['sent_bytes'], sent)} of it, {row.label})" for row in (others[0], others[-1])]
        stored = sorted(row.first.stored_bytes for row in others)
        kept = [f"{human_bytes(count)} ({share(count, all_stored)})" for count in (stored[0], stored[-1])]
        apart = " but the head alone" * any(not row.first.sent_bytes for row in rows)
        sends = "would send" if full.first.ranks == 1 else "sends"  # one rank sends nothing
        text = (f"per step and rank full fine-tuning {sends} {human_bytes(round(sent))} of its own, the other methods{apart} "
                f"{' to '.join(dict.fromkeys(told))}; it stores {human_bytes(all_stored)}, they {' to '.join(dict.fromkeys(kept))}.")
        sentences.setdefault(text, []).append(group.section.task)
    if len(sentences) == 1:
        return [text[0].upper() + text[1:] for text in sentences]
    return [f"{enumerate_words(tasks)}: {text}" for text, tasks in sentences.items()]
