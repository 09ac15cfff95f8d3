"""The picture of a sweep that fits a terminal of any size."""

import textwrap
import time

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

from . import words
from .follow import Progress
from .snapshot import DONE, FAILED, INTERRUPTED, MISSING, RUNNING, STALE, STOPPED, WAITING, Entry, Snapshot

STYLES = {DONE: "green", STALE: "green", RUNNING: "cyan", STOPPED: "yellow", INTERRUPTED: "yellow", FAILED: "red", WAITING: "", MISSING: ""}
LEAST_ENDED = 4  # lines that recently ended runs get where many are running
LONGEST = 3  # lines of a reason
CURVE, HOST = "curve", "host"
COLUMNS = ("step", "loss", CURVE, "validation", "tokens/s", "left", HOST)  # of a running one, from left to right
WANTED = ("step", "left", "loss", CURVE, "validation", "tokens/s", HOST)  # where there is no room for all
CURVE_LEAST, CURVE_MOST, NAME_LEAST = 8, 24, 12
WIDE = 100  # a terminal that has room for the one host on which all runs are
GAP = 2


def one_line(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


class Picture:
    """Of a snapshot, for the size that the terminal has when it is drawn."""

    def __init__(self, snapshot: Snapshot, interval_s: float):
        self.snapshot = snapshot
        self.interval_s = interval_s

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, height = options.max_width, options.height or console.height
        unicode = is_unicode(console)
        head = [*self.head(width, unicode), *(one_line(f"note: {note}", "yellow") for note in self.snapshot.notes[:3])]
        foot = [one_line(f"every {self.interval_s:g} s, Ctrl-C ends the view, not the sweep", "dim")]
        room = max(0, height - len(head) - len(foot))
        running, others = self.snapshot.of(RUNNING), self.others()
        parts = list(head)
        wanted = len(running) + 2 if running else 0
        for_running = min(wanted, max(room - min(LEAST_ENDED + 1, len(others) + 2 if others else 0), 3 if running else 0))
        if for_running >= 3:
            parts += [Text(""), running_table(running, width, for_running - 2, unicode)]
            room -= for_running
        if others and room >= 3:
            parts += [Text(""), ended_table(others, room - 1, self.snapshot.at_s, width)]
        yield Group(*parts, *foot)

    def head(self, width: int, unicode: bool) -> list[Text]:
        snapshot = self.snapshot
        counts = snapshot.counts
        clock = time.strftime("%H:%M:%S", time.localtime(snapshot.at_s))
        title = one_line(f"{snapshot.name}  ", "bold")
        title.append(snapshot.place, "dim")
        title.truncate(max(1, width - len(clock) - 1), overflow="ellipsis", pad=True)
        title.append(f" {clock}" if width > 20 else "", "dim")
        total = len(snapshot.entries)
        done, lost = counts.get(DONE, 0) + counts.get(STALE, 0), counts.get(FAILED, 0)
        progress = Text(no_wrap=True)
        for part, style in zip(words.bar(done, lost, total, max(1, width), unicode), ("green", "red", "dim")):
            progress.append(part, style)
        return [title, progress if total else one_line("no runs yet"), one_line(words.counts_line(snapshot))]

    def others(self) -> list[Entry]:
        """What stands below the running ones: all that need somebody's attention, and what ended last."""
        pending = self.snapshot.of(STOPPED, INTERRUPTED)
        return pending + words.recently_ended(self.snapshot)


def is_unicode(console: Console) -> bool:
    return console.encoding.lower().replace("-", "").startswith("utf")


def choose_columns(cells: list[dict[str, str]], longest: int, width: int) -> dict[str, int]:
    """Columns and their widths: as many of the most wanted as there is room for beside a name."""
    left, chosen = width - min(longest, NAME_LEAST), {}
    for name in WANTED:
        size = max(len(name) if name != CURVE else CURVE_LEAST, *(cell_len(row[name]) for row in cells if name != CURVE), 1)
        if name == HOST and len({row[HOST] for row in cells}) < 2 and width < WIDE:
            continue
        if left < size + GAP:
            break
        left -= size + GAP
        chosen[name] = size
    if CURVE in chosen:
        chosen[CURVE] += min(CURVE_MOST - CURVE_LEAST, max(0, left - max(0, longest - NAME_LEAST)))
    return {name: chosen[name] for name in COLUMNS if name in chosen}


def running_table(entries: list[Entry], width: int, rows: int, unicode: bool) -> Table:
    shown = entries if len(entries) <= rows else entries[:max(0, rows - 1)]
    names, cells = [name_cell(entry) for entry in shown], [running_cells(entry) for entry in shown]
    longest = max((name.cell_len for name in names), default=NAME_LEAST)
    columns = choose_columns(cells, longest, width) if cells else {}
    table = Table(box=None, padding=0, pad_edge=False, show_header=True, header_style="bold")
    add_column(table, RUNNING, min(longest, width - sum(size + GAP for size in columns.values())) if cells else width, "left")
    for name, size in columns.items():
        add_column(table, "", GAP, "left")
        add_column(table, "" if name == CURVE else name, size, "left" if name in (CURVE, HOST) else "right")
    for entry, name, row in zip(shown, names, cells):
        row[CURVE] = words.sparkline(entry.progress.curve if entry.progress else (), columns.get(CURVE, 0), unicode)
        style = {CURVE: "cyan"} | ({"left": "yellow"} if words.is_quiet(entry) or entry.fault else {})
        table.add_row(name, *(part for column in columns for part in ("", one_line(row[column], style.get(column, "")))))
    if len(shown) < len(entries):
        table.add_row(one_line(f"and {len(entries) - len(shown)} more", "dim"))
    return table


def add_column(table: Table, name: str, size: int, justify: str) -> None:
    table.add_column(one_line(name), width=max(1, size), no_wrap=True, overflow="ellipsis", justify=justify)


def name_cell(entry: Entry) -> Text:
    name = one_line(entry.label)
    if words.attempt_text(entry):
        name.append(f" {words.attempt_text(entry)}", "yellow")
    return name


def running_cells(entry: Entry) -> dict[str, str]:
    progress = entry.progress or Progress()
    return {"step": words.step_text(entry), "loss": words.loss_text(progress.loss), CURVE: "", "validation": words.validation_text(entry),
            "tokens/s": words.speed_text(entry), "left": "unreadable" if entry.fault else words.left_text(entry), HOST: entry.host}


def ended_table(entries: list[Entry], lines: int, now_s: float, width: int) -> Table:
    """Reasons take a second line where there is room."""
    state = max(len(entry.state) for entry in entries)
    ago = 11 if width >= 60 else 0
    name = min(max(cell_len(entry.label) for entry in entries[:lines]), max(NAME_LEAST, (width - state - ago) * 2 // 5))
    rest = max(1, width - state - name - 2 * GAP - (ago + GAP if ago else 0))
    table = Table(box=None, padding=0, pad_edge=False, show_header=False)
    for size, justify in ((state, "left"), (GAP, "left"), (name, "left"), (GAP, "left"), (rest, "left"), *(((GAP, "left"), (ago, "right")) if ago else ())):
        add_column(table, "", size, justify)
    shown = entries if len(entries) <= lines else entries[:max(0, lines - 1)]
    spare = lines - len(entries)
    for entry in shown:
        text = words.ended_text(entry) or words.step_text(entry)
        parts = textwrap.wrap(text, rest)[:1 + max(0, min(spare, LONGEST - 1))] if entry.state == FAILED and spare > 0 else [text]
        spare -= len(parts) - 1
        since = f"{words.duration(now_s - entry.changed_s)} ago" if now_s >= entry.changed_s else ""
        cells = ["", one_line(entry.label), "", "\n".join(parts), "", one_line(since, "dim")]
        table.add_row(one_line(entry.state, STYLES[entry.state]), *cells[:len(table.columns) - 1])
    if len(shown) < len(entries):
        table.add_row(one_line("...", "dim"), "", one_line(f"and {len(entries) - len(shown)} more", "dim"))
    return table
