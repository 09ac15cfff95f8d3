"""Tables of the all-reduce model, as text, Markdown and TSV. What was measured and what is projected never share a table."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..common.text import WIDTH, lay_out, markdown_line, wrap
from ..common.units import human_bytes, human_time
from .fit import BAND, Errors, HoldOut, Model, Study
from .project import Knee, Projection, Target
from .read import Payload

PROJECTION = "PROJECTION, not measured"
LONGEST_LABEL = 18  # of a payload, in the head of a column


@dataclass
class Table:
    """heads: pairs, one above the other. cells for reading, values for programs."""
    name: str
    title: str
    heads: Sequence[tuple[str, str]]
    cells: list[list[str]] = field(default_factory=list)
    columns: Sequence[str] = ()
    values: list[list[object]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def text(self) -> str:
        lines = [*wrap(self.title), "", *lay_out(self.cells, WIDTH, self.heads)]
        return "\n".join(lines + [line for note in self.notes for line in wrap(note)]) + "\n"

    def markdown(self) -> str:
        lines = [f"**{self.title}**", "", markdown_line([" ".join(filter(None, pair)) for pair in self.heads]),
                 markdown_line(["---"] + ["---:"] * (len(self.heads) - 1)), *map(markdown_line, self.cells)]
        return "\n".join(lines + ["", *self.notes] if self.notes else lines) + "\n"

    def tsv(self) -> str:
        return "".join("\t".join(map(plain, row)) + "\n" for row in [self.columns, *self.values])


def plain(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(value)
    return " ".join(str(value).split())


def percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f} %"


def size(value: float) -> str:
    return "-" if not math.isfinite(value) else human_bytes(round(value))


def rate(beta: float) -> str:
    """Bits per second of a time per byte."""
    if beta <= 0:
        return "-"
    bits = 8 / beta
    scale, unit = next(((scale, unit) for scale, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")) if bits >= scale), (1, ""))
    return f"{bits / scale:.3g} {unit}bit/s"


def between(low: str, high: str) -> str:
    """A unit that both have is said once."""
    number, _, unit = low.partition(" ")
    return f"{number if unit and unit == high.partition(' ')[2] else low}..{high}"


def rate_between(low: float, high: float) -> str:
    """Of times per byte; a lowest one of nothing leaves the rate open upwards."""
    if high <= 0:
        return "-"
    return between(rate(high), rate(low)) if low > 0 else f"> {rate(high)}"


def interval(model: Model, index: int, name: str) -> tuple[float, float]:
    values = [getattr(draw.pieces[index], name) for draw in model.draws] or [getattr(model.form.pieces[index], name)]
    low, high = np.percentile(values, BAND)
    return float(low), float(high)


def parameters(study: Study, number: int) -> Table:
    """Columns for the terms that are there."""
    extra = [("gamma", "adding", "adding: time per byte received to be added up."),
             ("delta", "both ways", "both ways: more time per byte that goes to a rank while as much comes from it.")]
    extra = [each for each in extra if any(getattr(piece, each[0]) for model in study.models for piece in model.form.pieces)]
    table = Table(f"fit-{number}", f"Fitted on {study.network.title}",
                  [("algorithm", ""), ("formula", ""), ("messages", "from"), ("latency", "per round"), ("", f"{BAND[0]} to {BAND[1]} %"), ("rate", ""),
                   ("", f"{BAND[0]} to {BAND[1]} %"), *((head, "per MB") for _, head, _ in extra)],
                  columns=("algorithm", "formula", "message_from_bytes", "message_to_bytes", "alpha_s", "alpha_low_s", "alpha_high_s", "beta_s_per_byte",
                           "beta_low_s_per_byte", "beta_high_s_per_byte", "gamma_s_per_byte", "delta_s_per_byte"),
                  notes=[" ".join(["latency: seconds per round; rate: of the largest message of each round.", *(note for *_, note in extra),
                                   "A dash: nothing of it to be seen in this range of message sizes. Bands: bootstrap over points and repetitions."])])
    for model in study.models:
        for index, piece in enumerate(model.form.pieces):
            alpha, beta = interval(model, index, "alpha"), interval(model, index, "beta")
            table.cells.append(["" if index else model.algorithm, "" if index else model.form.rule.name, size(piece.low),
                                human_time(piece.alpha) if piece.alpha else "-", between(human_time(alpha[0]), human_time(alpha[1])) if alpha[1] else "-",
                                rate(piece.beta), rate_between(*beta)]
                               + [human_time(1e6 * getattr(piece, name)) if getattr(piece, name) else "-" for name, *_ in extra])
            table.values.append([model.algorithm, model.form.rule.name, piece.low, piece.high, piece.alpha, *alpha, piece.beta, *beta, piece.gamma,
                                 piece.delta])
    return table


def errors(study: Study, number: int, hold_out: HoldOut) -> Table:
    """Held-out points: together, those of a rank count that the fit never saw, and those of a size that it never saw."""
    table = Table(f"errors-{number}", f"Predicted against measured on {study.network.title}: relative error",
                  (("algorithm", ""), ("points", "fitted"), ("median", ""), ("points", "held out"), ("median", ""), ("p90", ""), ("worst", ""),
                   ("ranks", "not seen"), ("sizes", "not seen")),
                  columns=("algorithm", "fitted_points", "fitted_median", "held_out_points", "held_out_median", "held_out_p90", "held_out_worst",
                           "new_ranks_points", "new_ranks_median", "new_sizes_points", "new_sizes_median"))
    words = [f"all of n={', '.join(map(str, hold_out.ranks))}"] if hold_out.ranks else []
    words += [f"every size number {hold_out.every}, {2 * hold_out.every}, ..."] if hold_out.every else []
    table.notes.append(f"Held out, unseen by every choice of the fit: {' and '.join(words)}. Last columns: median of the points that are new in ranks, "
                       "in sizes.")
    for model in study.models:
        ranks = Errors.of(model.form, [point for point in model.held_out if point.ranks in hold_out.ranks])
        sizes = Errors.of(model.form, [point for point in model.held_out if "size" in point.held_out])
        fit, held = model.fit_errors, model.errors
        table.cells.append([model.algorithm, str(fit.points), percent(fit.median), str(held.points), percent(held.median), percent(held.p90),
                            percent(held.worst), percent(ranks.median), percent(sizes.median)])
        table.values.append([model.algorithm, fit.points, fit.median, held.points, held.median, held.p90, held.worst, ranks.points, ranks.median,
                             sizes.points, sizes.median])
    return table


def points(study: Study, number: int) -> Table:
    """For programs: every measured point with what the model says of it."""
    table = Table(f"points-{number}", f"Measured points on {study.network.title}", (("algorithm", ""),),
                  columns=("algorithm", "ranks", "nodes", "payload_bytes", "repetitions", "measured_median_s", "modelled_s", "relative_error", "held_out"))
    for model in study.models:
        for point in sorted(model.fitted + model.held_out, key=lambda point: (point.ranks, point.payload)):
            seconds = model.form.seconds(point.ranks, point.payload)
            table.values.append([model.algorithm, point.ranks, point.nodes, point.payload, len(point.seconds), point.median, seconds,
                                 seconds / point.median - 1, point.held_out])
    return table


def scale(target: Target, form_scale: int) -> str:
    if target.validated:
        return f"Times validated up to {target.validated} hosts of this network."
    elsewhere = f"; the model's form was, up to {form_scale} hosts of a measured one" if form_scale else ", nor was the model's form on any"
    return f"Times on this network were never validated (0 hosts){elsewhere}."


def band_source(target: Target, form_scale: int) -> str:
    if target.measured:
        return "bootstrap, and the held-out error"
    return "the ranges given" + (", and the held-out error of the measured one" if form_scale else "")


def projections(rows: list[Projection], form_scale: int) -> list[Table]:
    tables = []
    for target in dict.fromkeys(row.target for row in rows):
        table = Table(f"projection-{len(tables) + 1}", f"{PROJECTION}: all-reduce on {target.name}, parameters {target.status}",
                      (("payload of", ""), ("bytes", ""), ("hosts", ""), ("projected", "time"), ("band", ""), ("best algorithm", "by the model"),
                       ("parameters", ""), ("validated", "to hosts")),
                      columns=("network", "parameters", "source", "validated_hosts", "form_validated_hosts", "hosts", "label", "payload_bytes", "algorithm",
                               "projected_s", "band_low_s", "band_high_s"),
                      notes=[f"{scale(target, form_scale)} Source of the parameters: {target.source}. Band: {band_source(target, form_scale)}. "
                             "Algorithms that are close change places by noise."])
        for row in (row for row in rows if row.target == target):
            table.cells.append([row.payload.label, human_bytes(row.payload.bytes), f"{row.hosts:,}", human_time(row.seconds),
                                between(human_time(row.low), human_time(row.high)), row.algorithm, target.status, str(target.validated)])
            table.values.append([target.name, target.status, target.source, target.validated, form_scale, row.hosts, row.payload.label, row.payload.bytes,
                                 row.algorithm, row.seconds, row.low, row.high])
        tables.append(table)
    return tables


def knees(rows: list[Knee], payloads: list[Payload], compute: float | None, share: float, form_scale: int) -> list[Table]:
    """One table per network, and one more for what is projected."""
    tables = []
    for target, projected in dict.fromkeys((row.target, row.projected) for row in rows):
        mark = f"{PROJECTION}: knee" if projected else "Knee at measured host counts"
        table = Table(f"knee-{'projection' if projected else 'measured'}-{len(tables) + 1}", f"{mark} on {target.name}, parameters {target.status}",
                      (("hosts", ""), ("knee: latency", "= bandwidth"), ("band", ""), ("best algorithm", "there"), ("payloads", "below"),
                       ("halving saves", f"< {100 * share:g} % up to")),
                      columns=("network", "parameters", "projected", "validated_hosts", "hosts", "knee_bytes", "knee_low_bytes", "knee_high_bytes", "algorithm",
                               "compute_s", "share", "saving_knee_bytes", "below"),
                      notes=["Below the knee latency is the larger part of an all-reduce: fewer parameters hardly save time. " + scale(target, form_scale)])
        if payloads:
            table.notes.append("Payloads, smallest first: " + ", ".join(f"{each.label} ({human_bytes(each.bytes)})" for each in payloads) + ".")
        if compute is None:
            table.notes.append("Last column: needs --compute-seconds.")
        else:
            table.notes.append(f"Last column: largest payload up to which a halving saves less than {100 * share:g} % of a step of {human_time(compute)} of "
                               "computing, the same at any host count, and one all-reduce.")
        for row in (row for row in rows if (row.target, row.projected) == (target, projected)):
            table.cells.append([f"{row.hosts:,}", size(row.balance), between(size(row.low), size(row.high)), row.algorithm or "-",
                                f"{len(row.below)} of {len(payloads)}", size(row.saving)])
            table.values.append([target.name, target.status, "yes" if projected else "no", target.validated, row.hosts, row.balance, row.low, row.high,
                                 row.algorithm, math.nan if compute is None else compute, share, row.saving, ", ".join(row.below)])
        tables.append(table)
    return tables


def short(label: str) -> str:
    return label if len(label) <= LONGEST_LABEL else label[:LONGEST_LABEL - 3] + "..."


def brief(rows: list[Projection], found: list[Knee], payloads: list[Payload]) -> list[Table]:
    """What a terminal shows of all projections: each network at the fewest and the most hosts, with its knee and the two ends of the payloads."""
    knees_of: dict[Target, list[Knee]] = {}
    for knee in found:
        if knee.projected:
            knees_of.setdefault(knee.target, []).append(knee)
    ends = list(dict.fromkeys([payloads[0], payloads[-1]])) if payloads else []
    seconds = {(row.target, row.hosts, row.payload): row.seconds for row in rows}
    table = Table("brief", f"{PROJECTION}: knees{' and times of an all-reduce' if ends else ''}",
                  (("network", ""), ("parameters", ""), ("validated", "to hosts"), ("hosts", ""), ("knee: latency", "= bandwidth"),
                   *((short(each.label), human_bytes(each.bytes)) for each in ends)),
                  notes=["Below the knee fewer parameters hardly save time."])
    for target, knees in knees_of.items():
        for knee in dict.fromkeys([knees[0], knees[-1]]):
            table.cells.append([target.name, target.status, str(target.validated), f"{knee.hosts:,}", size(knee.balance),
                                *(human_time(seconds[target, knee.hosts, each]) for each in ends)])
    return [table] if table.cells else []
