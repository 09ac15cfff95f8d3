"""From files of `peftscale comm` to the fitted model, its error on held-out points, projections and knees."""

import argparse
from dataclasses import dataclass

from ..common.fault import Fault
from . import project
from .fit import HoldOut, Study, check_counts, fit_all
from .networks import GivenNetwork, find_networks
from .read import Measurements, Payload, collect, read_payloads


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


def select(found: Measurements, options: argparse.Namespace) -> None:
    """Keeps the payloads that were asked for. Raises Fault."""
    for network, points in found.points.items():
        found.points[network] = [point for point in points if options.min_bytes <= point.payload <= options.max_bytes]
    found.points = {network: points for network, points in found.points.items() if points}
    if not found.points:
        raise Fault(f"no measured payload between {options.min_bytes} and {options.max_bytes} bytes")


def work_out(options: argparse.Namespace) -> Outcome:
    """From files to the model, projections and knees. options: of `commfit`. Raises Fault."""
    given = find_networks(options.network)
    options.hold_out = HoldOut(*options.hold_out)
    found = collect(options.files)
    for path in options.payloads:
        found.payloads |= read_payloads(path)
    select(found, options)
    studies = fit_all(found, options.hold_out, options.segment_bytes, options.draws, options.seed)
    if not any(study.models for study in studies):
        raise Fault("too little to fit: " + "; ".join(f"{study.network.title}: {reason}" for study in studies for reason in study.left_out))
    form_scale = max((study.largest for study in studies if study.models and study.projectable), default=0)
    wrong = check_counts([point for study in studies for point in study.points], options.segment_bytes)
    payloads = sorted(found.payloads)
    targets = project.targets_of(studies, given)
    return Outcome(found, studies, given, form_scale, wrong, payloads, project.project(targets, options.nodes, payloads),
                   project.find_knees(targets, options.nodes, payloads, options.compute_seconds, options.saving / 100))
