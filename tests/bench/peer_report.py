"""What the comparison found: figures of each run, ratios of pairs, tables, and the HDF5 file.

A run is a dictionary: case, pair, side ("ours" or a peer's name), ranks, threads, warm, steps (each with tokens, examples, flop, loss, wall_s of rank 0 and cpu_s
of all ranks), peak (FLOP/s of all its threads, mean of before and behind its timed steps), peak_bytes and proportional_bytes (of its largest rank), trained.
A case is one as well: name, model, method, mode, precision. A start: case, side, process_s (from the start of rank 0's process to the end of its first step)
and launch_s (from the start of the launcher).
"""

import statistics

import h5py
import numpy as np

KIND, SCHEMA_VERSION = "peftscale peer bench", 1


def timed(run):
    return run["steps"][run["warm"]:]


def total(run, name):
    return sum(step[name] for step in timed(run))


def figures(run):
    """Of the timed steps. share: useful FLOP (tests/support/useful_flop.h) per second over the peak."""
    seconds, tokens = total(run, "wall_s"), total(run, "tokens")
    return {"tokens_per_s": tokens / seconds, "cpu_s_per_token": total(run, "cpu_s") / tokens, "share": total(run, "flop") / seconds / run["peak"],
            "step_s": seconds / len(timed(run))}


def pairs(runs, case, side):
    """(ours, the peer's) of each pair, in their order."""
    own = {run["pair"]: run for run in runs if run["case"] == case and run["side"] == "ours" and run["against"] == side}
    return [(own[run["pair"]], run) for run in runs if run["case"] == case and run["side"] == side and run["pair"] in own]


def ratios(runs, case, side):
    """How many times as many real tokens a second ours does, pair by pair; the same for CPU time per token."""
    both = [(figures(a), figures(b)) for a, b in pairs(runs, case, side)]
    return [a["tokens_per_s"] / b["tokens_per_s"] for a, b in both], [b["cpu_s_per_token"] / a["cpu_s_per_token"] for a, b in both]


def check_equal_work(case, ours, peer):
    """Both did the same: the same examples and tokens in every step, and as many trained numbers. Raises ValueError."""
    if len(ours["steps"]) != len(peer["steps"]):
        raise ValueError(f"{case}: {len(ours['steps'])} steps of ours, {len(peer['steps'])} of the peer's")
    for number, (a, b) in enumerate(zip(ours["steps"], peer["steps"]), 1):
        if sorted(a["ids"]) != sorted(b["ids"]) or a["tokens"] != b["tokens"]:
            raise ValueError(f"{case}: step {number} is not the same work: {len(a['ids'])} examples of {a['tokens']} tokens, {len(b['ids'])} of {b['tokens']}")
    if ours["trained"] != peer["trained"]:
        raise ValueError(f"{case}: ours trains {ours['trained']} numbers, the peer {peer['trained']}")


def check_losses(case, ours, peer, first, later):
    """The same start and the same steps, without dropout: relative differences of the first loss, and of those behind it. Raises ValueError."""
    for number, (a, b) in enumerate(zip(ours, peer), 1):
        allowed = first if number == 1 else later
        if not abs(a - b) <= allowed * abs(b):
            raise ValueError(f"{case}: the loss of step {number} without dropout is {a:.6f}, the peer's {b:.6f}: the two do not train the same model")


# ---- tables ----

HEADINGS = ("program", "ranks", "tokens/s", "CPU us/token", "share of peak", "ms/step", "first step", "launched", "peak memory", "shared out")


def middle(values, form, unit=""):
    """Median, and the range where there are several."""
    if not values:
        return "-"
    text = form.format(statistics.median(values))
    if len(values) > 1:
        text += f" ({form.format(min(values))} to {form.format(max(values))})"
    return text + unit


def row(name, runs, starts):
    found = [figures(run) for run in runs]
    times = {key: [start[key] for start in starts] for key in ("process_s", "launch_s")}
    return (name, f"{runs[0]['ranks']} x {runs[0]['threads']}", middle([f["tokens_per_s"] for f in found], "{:.0f}"),
            middle([1e6 * f["cpu_s_per_token"] for f in found], "{:.1f}"), middle([100 * f["share"] for f in found], "{:.1f}", " %"),
            middle([1e3 * f["step_s"] for f in found], "{:.1f}"), middle(times["process_s"], "{:.2f}", " s"), middle(times["launch_s"], "{:.2f}", " s"),
            f"{max(run['peak_bytes'] for run in runs) / 1e6:.0f} MB", f"{max(run['proportional_bytes'] for run in runs) / 1e6:.0f} MB")


def sides_of(runs, case):
    return list(dict.fromkeys(run["side"] for run in runs if run["case"] == case and run["side"] != "ours"))


def table_of(case, runs, starts):
    """Heading lines, rows of the programs, rows of the ratios."""
    name, mine = case["name"], [run for run in runs if run["case"] == case["name"]]
    steps = timed(mine[0])
    tokens = sum(step["tokens"] for step in steps)
    about = [f"{case['model']}, {case['method']}, {case['precision']}, {case['mode']}",
             f"{len(steps)} timed steps of {steps[0]['examples']} sentences, {tokens / sum(step['examples'] for step in steps):.1f} tokens each; peak "
             f"{middle([run['peak'] / 1e9 for run in mine], '{:.0f}')} GFLOP/s"]
    rows = []
    for side in ["ours", *sides_of(runs, name)]:
        rows.append(row(side, [run for run in mine if run["side"] == side], [s for s in starts if s["case"] == name and s["side"] == side]))
    compared = []
    for side in sides_of(runs, name):
        speed, cpu = ratios(runs, name, side)
        padding = [total(b, "places") / total(b, "tokens") for _, b in pairs(runs, name, side)]
        compared.append((side, middle(speed, "{:.2f}"), middle(cpu, "{:.2f}"), str(len(speed)), f"{statistics.median(padding):.2f}"))
    return about, rows, compared


RATIO_HEADINGS = ("ours over", "real tokens/s", "CPU per token", "pairs", "places the peer computes per real token")


def aligned(headings, rows):
    width = [max(len(str(r[i])) for r in (headings, *rows)) for i in range(len(headings))]
    return ["  ".join(str(cell).ljust(w) for cell, w in zip(r, width)).rstrip() for r in (headings, *rows)]


def markdown_rows(headings, rows):
    lines = [headings, ["---"] * len(headings), *rows]
    return ["| " + " | ".join(map(str, line)) + " |" for line in lines]


def text_table(cases, runs, starts):
    lines = []
    for case in cases:
        about, rows, compared = table_of(case, runs, starts)
        lines += ["", *about, "", *aligned(HEADINGS, rows), "", *aligned(RATIO_HEADINGS, compared)]
    return "\n".join(lines[1:])


def markdown(cases, runs, starts, facts):
    lines = ["# Against transformers + PEFT + DistributedDataParallel", "", *(f"- {name}: {value}" for name, value in facts.items()), "",
             "Median, and range over the pairs. Real tokens only; share: useful FLOP per second (tests/support/useful_flop.h) over the FMA peak probed in the same",
             "processes right before and behind the timed steps. First step: from the start of the process to the end of its first step; launched: from the start of",
             "mpirun, or of the first of the peer's processes. Shared out: proportional set size behind the last step."]
    for case in cases:
        about, rows, compared = table_of(case, runs, starts)
        lines += ["", f"## {about[0]}", "", about[1], "", *markdown_rows(HEADINGS, rows), "", *markdown_rows(RATIO_HEADINGS, compared)]
    return "\n".join(lines) + "\n"


# ---- the file ----

TEXT, WHOLE, REAL = "S96", np.int64, np.float64
TABLES = {
    "cases": (("name", TEXT), ("model", TEXT), ("method", TEXT), ("mode", TEXT), ("precision", TEXT)),
    "runs": (("case", TEXT), ("pair", WHOLE), ("side", TEXT), ("against", TEXT), ("ranks", WHOLE), ("threads", WHOLE), ("warm", WHOLE), ("trained", WHOLE),
             ("peak", REAL), ("peak_bytes", WHOLE), ("proportional_bytes", WHOLE), ("tokens_per_s", REAL), ("cpu_s_per_token", REAL), ("share", REAL)),
    "steps": (("run", WHOLE), ("step", WHOLE), ("examples", WHOLE), ("tokens", WHOLE), ("places", WHOLE), ("flop", REAL), ("wall_s", REAL), ("cpu_s", REAL),
              ("loss", REAL)),
    "starts": (("case", TEXT), ("side", TEXT), ("process_s", REAL), ("launch_s", REAL)),
    "pairs": (("case", TEXT), ("side", TEXT), ("pair", WHOLE), ("tokens_per_s_ratio", REAL), ("cpu_ratio", REAL)),
}


def rows_of(cases, runs, starts):
    """Of each table of the file, its rows as dictionaries."""
    rows = {"cases": cases, "starts": starts, "runs": [run | figures(run) for run in runs], "steps": [], "pairs": []}
    for number, run in enumerate(runs):
        rows["steps"] += [{"run": number, "step": i, "places": step["tokens"]} | step for i, step in enumerate(run["steps"], 1)]
    for case in cases:
        for side in sides_of(runs, case["name"]):
            for (ours, _), speed, cpu in zip(pairs(runs, case["name"], side), *ratios(runs, case["name"], side)):
                rows["pairs"].append({"case": case["name"], "side": side, "pair": ours["pair"], "tokens_per_s_ratio": speed, "cpu_ratio": cpu})
    return rows


def write(path, cases, runs, starts, facts):
    """Tables cases, runs, steps (run: the row of runs; warm-up included), starts and pairs; root attributes: kind, schema_version and the facts."""
    with h5py.File(path, "w") as file:
        file.attrs["kind"], file.attrs["schema_version"] = np.bytes_(KIND), np.int64(SCHEMA_VERSION)
        for name, value in facts.items():
            file.attrs[name] = np.bytes_(str(value).encode())
        for name, rows in rows_of(cases, runs, starts).items():
            columns = TABLES[name]
            values = np.zeros(len(rows), dtype=[(column, kind) for column, kind in columns])
            for i, values_of in enumerate(rows):
                for column, kind in columns:
                    values[i][column] = str(values_of[column]).encode() if kind is TEXT else values_of[column]
            file[name] = values
