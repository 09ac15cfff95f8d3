"""Plain lines, where the output is no terminal: the whole picture once, or a line per change."""

import time

from ..common.text import WIDTH, lay_out, wrap
from . import words
from .follow import Progress
from .snapshot import ENDED, FAILED, INTERRUPTED, RUNNING, STOPPED, Entry, Snapshot

MOST = 10  # runs that are named of a state
CURVE = 16
HEADERS = (("run", ""), ("step", ""), ("loss", ""), ("", ""), ("validation", ""), ("tokens/s", ""), ("left", ""), ("on", ""))
AND_MORE = "  ... and {} more"


def running_line(entry: Entry, unicode: bool) -> list[str]:
    progress = entry.progress or Progress()
    return [" ".join(filter(None, [entry.label, words.attempt_text(entry)])), words.step_text(entry), words.loss_text(progress.loss),
            words.sparkline(progress.curve, CURVE, unicode), words.validation_text(entry, True), words.speed_text(entry), words.left_text(entry), entry.host]


def running_lines(entries: list[Entry], unicode: bool) -> list[str]:
    if not entries:
        return []
    table = [running_line(entry, unicode) for entry in entries[:MOST]]
    shown = [number for number in range(len(HEADERS)) if number == 0 or any(row[number] for row in table)]
    head, _, *rest = lay_out([[row[number] for number in shown] for row in table], WIDTH - 2, [HEADERS[number] for number in shown])
    lines = ["", "running", *(f"  {line}" for line in (head, *rest))]
    for entry in entries[:MOST]:
        if entry.fault:
            lines += wrap(f"  {entry.label}: its file cannot be read now: {entry.fault}")
    return lines + ([AND_MORE.format(len(entries) - MOST)] if len(entries) > MOST else [])


def pending_text(entry: Entry) -> str:
    return ", ".join(filter(None, [entry.reason, f"step {words.step_text(entry)}" if entry.done else "", words.attempt_text(entry)]))


def named(title: str, entries: list[Entry], text) -> list[str]:
    if not entries:
        return []
    lines = ["", title, *(line for entry in entries[:MOST] for line in wrap(f"  {entry.label}: {text(entry)}", WIDTH))]
    return lines + ([AND_MORE.format(len(entries) - MOST)] if len(entries) > MOST else [])


def whole_picture(snapshot: Snapshot, unicode: bool = True) -> list[str]:
    lines = [f"{snapshot.name}, {snapshot.place}", *wrap(words.counts_line(snapshot)), *(part for note in snapshot.notes for part in wrap(f"note: {note}"))]
    lines += running_lines(snapshot.of(RUNNING), unicode)
    for state, title in ((STOPPED, "stopped at a checkpoint, to be continued"), (INTERRUPTED, "interrupted, to be tried again")):
        lines += named(title, snapshot.of(state), pending_text)
    lines += named("failed", words.failed(snapshot), words.ended_text)
    return lines + named("finished last", [entry for entry in words.recently_ended(snapshot) if entry.state != FAILED], words.ended_text)


def changes(before: Snapshot | None, after: Snapshot) -> list[str]:
    """A line for each run that begins, ends, or has a new validation score, and for each new note; at first the counts and who is at work."""
    stamp = time.strftime("%H:%M:%S", time.localtime(after.at_s))
    known = {entry.key: entry for entry in before.entries} if before else {}
    found = [] if before else [words.counts_line(after)]
    found += [f"note: {note}" for note in after.notes if before is None or note not in before.notes]
    ended = len(after.of(*ENDED))
    for entry in after.entries:
        former = known.get(entry.key)
        if former is None and before is None and entry.state != RUNNING:
            continue
        if former is None or former.state != entry.state or (entry.state == RUNNING and former.attempts < entry.attempts):
            found.append(tell_state(entry, ended, len(after.entries)))
        elif entry.progress and former.progress and entry.progress.score_step > former.progress.score_step and entry.state == RUNNING:
            found.append(f"running      {entry.label}: validation {words.validation_text(entry, True)} after step {words.step_text(entry)}")
    if before and before.entries and not after.entries:
        found.append("there are no runs any more")
    return [f"{stamp}  {line}" for line in found]


def tell_state(entry: Entry, ended: int, total: int) -> str:
    if entry.state == RUNNING:
        text = ", ".join(filter(None, [entry.reason, f"step {words.step_text(entry)}" if entry.done else "", words.attempt_text(entry)]))
    elif entry.state in ENDED:
        text = f"{words.ended_text(entry)}  [{ended}/{total}]"
    else:
        text = entry.reason
    return f"{entry.state:<11}  {entry.label}{': ' if text else ''}{text}"


def last_line(snapshot: Snapshot) -> str:
    return f"{snapshot.name}: {words.counts_line(snapshot)}"
