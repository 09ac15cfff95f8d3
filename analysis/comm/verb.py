"""The verb `commfit`: from files of `peftscale comm` to the fitted model, its error on held-out points, projections and the knee."""

import argparse
import hashlib
import json
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy

from ..common.files import write_bytes, write_file
from ..common.text import wrap
from ..load.hdf5 import Unusable
from . import project, tables
from .fit import HoldOut, Study, check_counts, fit_all
from .networks import BadNetwork, GivenNetwork, find_networks
from .read import Measurements, Payload, collect, read_payloads

SCHEMA_VERSION = 1
MOST_COUNTS_SHOWN = 5


class Failed(Exception):
    """One message, exit status 1."""


@dataclass
class Outcome:
    found: Measurements
    studies: list[Study]
    given: list[GivenNetwork]
    form_scale: int  # the most hosts at which the model's form was tried
    wrong: list[str]  # counts that differ from the formulas
    payloads: list[Payload]
    rows: list[project.Projection]
    knees: list[project.Knee]


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


def select(found: Measurements, options: argparse.Namespace) -> None:
    """Keeps the payloads that were asked for."""
    for network, points in found.points.items():
        found.points[network] = [point for point in points if options.min_bytes <= point.payload <= options.max_bytes]
    found.points = {network: points for network, points in found.points.items() if points}
    if not found.points:
        raise Failed(f"no measured payload between {options.min_bytes} and {options.max_bytes} bytes")


def missed(studies: list[Study], wanted: tuple[float, float] | None) -> list[str]:
    """Algorithms whose held-out error is above what was required, in percent."""
    if not wanted:
        return []
    return [f"{model.algorithm} on {study.network.title}: median {100 * model.errors.median:.1f} %, p90 {100 * model.errors.p90:.1f} %, "
            f"required {wanted[0]:g} and {wanted[1]:g}" for study in studies for model in study.models
            if 100 * model.errors.median > wanted[0] or 100 * model.errors.p90 > wanted[1]]


def work_out(options: argparse.Namespace) -> Outcome:
    """From files to the model, projections and knees. Raises Unusable, BadNetwork, Failed."""
    given = find_networks(options.network)
    options.hold_out = HoldOut(*options.hold_out)
    found = collect(options.files)
    for path in options.payloads:
        found.payloads |= read_payloads(path)
    select(found, options)
    studies = fit_all(found, options.hold_out, options.segment_bytes, options.draws, options.seed)
    if not any(study.models for study in studies):
        raise Failed("too little to fit: " + "; ".join(f"{study.network.title}: {reason}" for study in studies for reason in study.left_out))
    form_scale = max((study.largest for study in studies if study.models and study.projectable), default=0)
    wrong = check_counts([point for study in studies for point in study.points], options.segment_bytes)
    payloads = sorted(found.payloads)
    targets = project.targets_of(studies, given)
    return Outcome(found, studies, given, form_scale, wrong, payloads, project.project(targets, options.nodes, payloads),
                   project.find_knees(targets, options.nodes, payloads, options.compute_seconds, options.saving / 100))


def write_pictures(out_dir: Path, outcome: Outcome) -> list[str]:
    from ..plots.figure import save
    from .plots import draw_all

    names = []
    for figure in draw_all(outcome.studies, outcome.rows, outcome.knees, outcome.payloads, outcome.form_scale):
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
    try:
        return report(options)
    except (Unusable, BadNetwork, Failed) as reason:
        print(f"analysis: {reason}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        raise  # the reader of our text has gone: no failure of ours
    except OSError as error:
        print(f"analysis: {error.filename or options.out_dir} cannot be written: {error.strerror}", file=sys.stderr)
        return 1
