"""The verb `commfit`: prints and writes what outcome.py makes of files of `peftscale comm`."""

import argparse
import hashlib
import json
import platform
import re
import sys
from pathlib import Path

import numpy as np
import scipy

from ..common.fault import writing
from ..common.files import write_bytes, write_file
from ..common.text import wrap
from . import tables
from .fit import Study
from .outcome import Outcome, work_out

SCHEMA_VERSION = 1
MOST_COUNTS_SHOWN = 5


def model_words(model) -> dict:
    pieces = []
    for index, piece in enumerate(model.form.pieces):
        words = {"message_from_bytes": piece.low, "message_to_bytes": None if np.isinf(piece.high) else piece.high}
        for name, unit in (("alpha", "s"), ("beta", "s_per_byte"), ("gamma", "s_per_byte"), ("delta", "s_per_byte")):
            low, high = tables.interval(model, index, name)
            words |= {f"{name}_{unit}": getattr(piece, name), f"{name}_band_{unit}": [low, high]}
        pieces.append(words)
    return {"algorithm": model.algorithm, "formula": model.form.rule.name, "pieces": pieces, "cross_validated_mean_abs_log_error": model.cross_validated,
            "fitted": vars(model.fit_errors), "held_out": vars(model.errors), "held_out_p90_abs_log_error": model.spread}


def as_json(options: argparse.Namespace, outcome: Outcome) -> str:
    """All that a reader needs to judge or repeat the fit. NaN is no JSON: null."""
    content = {
        "kind": "peftscale commfit", "schema_version": SCHEMA_VERSION,
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__},
        "files": [{"name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()} for path in outcome.found.files],
        "hold_out": {"ranks": list(options.hold_out.ranks), "every_size": options.hold_out.every},
        "min_bytes": options.min_bytes, "max_bytes": options.max_bytes, "segment_bytes": options.segment_bytes,
        "draws": options.draws, "seed": options.seed, "band_percentiles": list(tables.BAND),
        "studies": [{"network": vars(study.network), "validated_ranks": study.largest if study.models else 0,
                     "models": [model_words(model) for model in study.models], "left_out": study.left_out} for study in outcome.studies],
        "given_networks": [vars(network) for network in outcome.given], "counts_that_differ_from_formulas": outcome.wrong}
    text = json.dumps(content, indent=2, default=lambda value: value.item() if isinstance(value, np.generic) else str(value))
    return re.sub(r"\bNaN\b|-?\bInfinity\b", "null", text) + "\n"


def missed(studies: list[Study], wanted: tuple[float, float] | None) -> list[str]:
    """Algorithms whose held-out error is above what was required, in percent."""
    if not wanted:
        return []
    return [f"{model.algorithm} on {study.network.title}: median {100 * model.errors.median:.1f} %, p90 {100 * model.errors.p90:.1f} %, "
            f"required {wanted[0]:g} and {wanted[1]:g}" for study in studies for model in study.models
            if 100 * model.errors.median > wanted[0] or 100 * model.errors.p90 > wanted[1]]


def write_pictures(out_dir: Path, outcome: Outcome) -> list[str]:
    from ..plots.figure import save
    from .figures import figures_of

    names = []
    for figure in figures_of(outcome):
        for form, content in save(figure).items():
            names.append(f"{figure.name}.{form}")
            write_bytes(out_dir / names[-1], content)
    return names


def report(options: argparse.Namespace) -> int:
    outcome = work_out(options)
    studies, payloads, form_scale, wrong = outcome.studies, outcome.payloads, outcome.form_scale, outcome.wrong
    shown, written, silent = [], [], []
    for number, study in enumerate(studies, 1):
        if study.models:
            shown.append(tables.errors(study, number, options.hold_out))
            written += [tables.parameters(study, number), shown[-1]]
            silent.append(tables.points(study, number))
    shown += tables.brief(outcome.rows, outcome.knees, payloads)
    written += tables.projections(outcome.rows, form_scale)
    written += tables.knees(outcome.knees, payloads, options.compute_seconds, options.saving / 100, form_scale)
    notes = [*outcome.found.notes, *(f"Left out on {study.network.title}: {reason}" for study in studies for reason in study.left_out)]
    notes += [f"Not projected: {study.network.title}; the model knows one link per rank, so only measurements with one rank per host go further."
              for study in studies if study.models and not study.projectable]
    if not payloads:
        notes.append("No payload to project: the files name no method, and there is no --payloads.")
    notes += [f"Counted bytes or rounds differ from the formula: {line}" for line in wrong[:MOST_COUNTS_SHOWN]]
    if len(wrong) > MOST_COUNTS_SHOWN:
        notes.append(f"  and {len(wrong) - MOST_COUNTS_SHOWN} more")
    print("\n".join(table.text() for table in shown))
    for note in notes:
        print("\n".join(wrap(note)))
    if options.out_dir:
        files = {f"{table.name}.tsv": table.tsv() for table in written + silent}
        files["tables.md"] = "\n".join([table.markdown() for table in written] + [f"- {note.strip()}\n" for note in notes])
        files["fit.json"] = as_json(options, outcome)
        for name, text in files.items():
            write_file(options.out_dir / name, text)
        names = [*files, *write_pictures(options.out_dir, outcome)]
        print(f"Written to {options.out_dir}: {len(names)} files: parameters, every projection and knee in tables.md and *.tsv, fit.json, pictures")
    else:
        print("Parameters, every projection and knee, pictures: --out-dir DIR")
    for line in (above := missed(studies, options.require)):
        print(f"analysis: held-out error too large: {line}", file=sys.stderr)
    return 1 if above or wrong else 0


def run(options: argparse.Namespace) -> int:
    with writing(options.out_dir):
        return report(options)
