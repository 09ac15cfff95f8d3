"""A table as LaTeX, for a paper: with booktabs and nothing else, whatever texts come from outside."""

import re
import unicodedata
from collections.abc import Iterator, Sequence

from ..common.text import AND, printable
from .model import ARROWS, BETTER, Block, Cell, Heading, Table
from .text import narrow, texts_of

WIDTH = 345.0  # points between the margins of LaTeX's own article
LETTER, BOLD, GAP = 4.25, 1.15, 8.0  # points of a digit in \footnotesize, which is wider than most letters; bold by so much more; between two columns
ACCENTS = {"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u", "\u0307": ".", "\u0308": '"', "\u030a": "r", "\u030b": "H",
           "\u030c": "v", "\u0327": "c", "\u0328": "k"}
SIGNS = {"\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%", "^": r"\textasciicircum{}",
         "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''", "`": r"\`{}",
         "[": "{[}", "*": "{*}",  # behind \\ they would be its options
         "±": r"$\pm$", "µ": r"$\mu$", "μ": r"$\mu$", "×": r"$\times$", "·": r"$\cdot$", "−": r"$-$", "–": "--", "—": "---", "…": r"\dots{}",
         "ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "ø": r"\o{}", "Ø": r"\O{}", "ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}",
         "↑": r"$\uparrow$", "↓": r"$\downarrow$"}
HEAD = r"""% Made by `python3 -m analysis table --format latex`. It needs \usepackage{booktabs}; bring it into a document by \input.
% Above each row stand the ids of the runs that it is made of.
"""


def escape_sign(sign: str) -> str:
    """One character, so that any LaTeX sets it in its oldest fonts; what it could not set becomes its number."""
    if sign in SIGNS:
        return SIGNS[sign]
    if " " <= sign <= "~":
        return sign
    base, *marks = unicodedata.normalize("NFD", sign)
    if base.isascii() and base.isalpha() and len(marks) == 1 and marks[0] in ACCENTS:
        return rf"\{ACCENTS[marks[0]]}{{{base}}}"
    return f"(U+{ord(sign):04X})"


def escape(text: str) -> str:
    return "".join(map(escape_sign, printable(text)))


def number(text: str) -> str:
    """Escaped, with minus signs for hyphens before numbers."""
    return re.sub(r"(?<![\w.)])-(?=\d)", "$-$", escape(text))


def sentence(text: str) -> str:
    """Likewise; what stands between grave accents is code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return number(text)
    return "".join(rf"\texttt{{{escape(part)}}}" if place % 2 else number(part) for place, part in enumerate(parts))


def comment(text: str) -> str:
    """Behind a %: one line in ASCII."""
    return "% " + printable(text).encode("ascii", "backslashreplace").decode("ascii")


def bold(text: str, is_bold: bool) -> str:
    return rf"\textbf{{{text}}}" if is_bold and text else text


def is_double(cells: Sequence[Cell]) -> bool:
    """Whether a column is set as two, so that values and half widths stand below one another."""
    return any(AND in cell.text for cell in cells)


def show(heading: Heading, cell: Cell, double: bool) -> str:
    value, sign, half = cell.text.partition(AND) if double else (cell.text, "", "")
    parts = [bold(number(value), cell.mark == BETTER)]
    if double and not sign and not value[-1:].isdigit():
        return rf"\multicolumn{{2}}{{r}}{{{parts[0]}}}"
    if double:
        parts.append(bold(rf"\,$\pm$\,{number(half)}", cell.mark == BETTER) if sign else "")
    if heading.marked and cell.mark:
        parts[-1] += f" {SIGNS[ARROWS[cell.mark]]}"
    return " & ".join(parts)


def heads(headings: Sequence[Heading], doubles: Sequence[bool]) -> Iterator[str]:
    """As many lines as the highest heading has."""
    shown = [[line for line in heading.lines if line] for heading in headings]
    depth = max(map(len, shown))
    for level in range(depth):
        parts = ([""] * (depth - len(lines)) + lines for lines in shown)
        yield " & ".join(rf"\multicolumn{{2}}{{r}}{{{escape(lines[level])}}}" if double else escape(lines[level])
                         for lines, double in zip(parts, doubles)) + r" \\"


def paragraph(notes: Sequence[str]) -> list[str]:
    """Lines below a table, indented ones as a list."""
    lines: list[str] = []
    inside = False
    for note in notes:
        item = note.startswith("  ")
        if item != inside:
            lines.append(r"\begin{itemize}" if item else r"\end{itemize}")
            inside = item
        lines.append((r"  \item " if item else "") + sentence(note.strip()) + ("" if item else r"\par"))
    return [*lines, r"\end{itemize}"] if inside else lines


def measure(heading: Heading, cells: Sequence[Cell]) -> float:
    """A column's width in gaps."""
    letters = max(map(len, [*heading.lines, *texts_of(heading, cells)]))
    return letters * LETTER * (BOLD if any(cell.mark == BETTER for cell in cells) else 1.0) / GAP


def fit(block: Block, asked: bool) -> Block:
    """To a page."""
    first, cells = next(block.columns())
    return narrow(block, WIDTH / GAP - measure(first, cells), measure, asked)


def label_of(block: Block) -> str:
    return "tab:" + (re.sub(r"[^a-z0-9]+", "-", block.key.lower()).strip("-") or "table")


def as_block(block: Block, about: Sequence[str]) -> list[str]:
    doubles = [place > 0 and is_double(cells) for place, (_, cells) in enumerate(block.columns())]
    kinds = "l" + "".join("r@{}l" if double else "r" for double in doubles[1:])
    lines = [r"\begin{table}[tbp]", r"  \centering\footnotesize\setlength{\tabcolsep}{4pt}", rf"  \caption{{{number(block.title)}}}",
             rf"  \label{{{label_of(block)}}}", rf"  \begin{{tabular}}{{@{{}}{kinds}@{{}}}}", r"    \toprule",
             *(f"    {line}" for line in heads(block.headings, doubles)), r"    \midrule"]
    for row in block.rows:
        runs = dict.fromkeys(run.run_id for cell in row[:1] for run in cell.runs)
        lines.append("    " + comment(f"{row[0].text}: {' '.join(runs) or 'no run'}"))
        lines.append("    " + " & ".join(map(show, block.headings, row, doubles)) + r" \\")
    lines += [r"    \bottomrule", r"  \end{tabular}"]
    if about:
        lines += [r"  \par\medskip", r"  \begin{minipage}{\linewidth}\scriptsize\raggedright"]
        lines += [*(f"    {line}" for line in paragraph(about)), r"  \end{minipage}"]
    return [*lines, r"\end{table}"]


def as_latex(table: Table, trace: str = "", asked: bool = False) -> str:
    """trace: as of Markdown. asked: the columns were asked for one by one, and stay even if they do not fit a page."""
    lines = HEAD.splitlines()
    fitted = [fit(block, asked) for block in table.blocks]
    about = [*table.about_of(fitted), *([f"Exact values, formulas and runs of every cell: {trace}."] if trace else [])]
    used: set[str] = set()
    for number, (block, kept) in enumerate(zip(table.blocks, fitted), 1):
        below = [*filter(None, [table.counted]), *table.notes] if number == len(fitted) else []  # of all of them
        lost = [heading.title for heading in block.headings if heading not in kept.headings]
        while label_of(kept) in used:
            kept.key += "-b"
        used.add(label_of(kept))
        lost_ones = [comment(f"A page has no room for: {', '.join(lost)}. --columns takes what is asked for.")] if lost else []
        lines += ["", *lost_ones, *as_block(kept, [*about, *below])]
    return "\n".join(lines) + "\n"
