"""Where each cell comes from: what is shown, the exact values, the formula in words, the runs and their files."""

from collections.abc import Sequence

from ..common.text import printable
from ..load.runs import Run
from .model import Cell, Table

NAME = "table.cells.tsv"
COLUMNS = ("section", "row", "column", "shown", "exact", "formula", "run_ids", "files")


def exact(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return " ".join(map(exact, value))
    return repr(float(value)) if isinstance(value, float) else str(value)


def file_of(run: Run) -> str:
    return f"{run.path}:{run.member}" if run.member else str(run.path)


def runs_of(cell: Cell) -> list[Run]:
    return list({id(run): run for run in cell.runs}.values())


def as_trace(tables: Sequence[Table]) -> str:
    """TSV: a line per cell. Several values, ids or files of one are parted by "; "."""
    lines = [COLUMNS]
    for table in tables:
        for block in table.blocks:
            for row in block.rows:
                for heading, cell in zip(block.headings, row):
                    values = "; ".join(f"{name} {exact(value)}" for name, value in cell.values)
                    runs = runs_of(cell)
                    lines.append((block.title, row[0].text, heading.name, cell.text, values, heading.formula + (f" ({cell.source})" if cell.source else ""),
                                  "; ".join(run.run_id for run in runs), "; ".join(map(file_of, runs))))
    return "".join("\t".join(map(printable, line)) + "\n" for line in lines)
