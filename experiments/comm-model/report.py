#!/usr/bin/python3
"""The table of bytes: what the sum of each method's step makes a rank send, for each number of hosts. usage: report.py BYTES.h5 RESULTS

Prints Markdown; writes bytes.tsv and payloads.tsv (what `analysis commfit --payloads` reads) into RESULTS.
"""

import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import h5py  # noqa: E402
import numpy as np  # noqa: E402

from analysis.load.hdf5 import as_text  # noqa: E402


PLAIN = "{} of numbers"


def size(value: float) -> str:
    for unit, name in ((1e6, "MB"), (1e3, "kB")):
        if value >= unit:
            return f"{value / unit:.3g} {name}"
    return f"{value:.0f} B"


def read(path: Path) -> tuple[str, dict[str, int], dict[tuple[str, int], tuple[float, int]]]:
    """How bytes were measured, payload per method, and (mean, largest) bytes on the wire per method and number of ranks."""
    with h5py.File(path, "r") as file:
        if as_text(file.attrs.get("kind", "")) != "peftscale comm" or as_text(file.attrs["status"]) != "complete":
            raise SystemExit(f"{path}: no finished file of `peftscale comm`")
        cases, repetitions = file["cases"][:], file["repetitions"][:]
        wire = as_text(file.attrs["wire"])
    payloads, sent = {}, {}
    for case in cases:
        name = as_text(case["method"]) or PLAIN.format(size(int(case["payload_bytes"])))
        rows = repetitions[repetitions["case"] == case["case"]]
        payloads[name] = int(case["payload_bytes"])
        sent[name, int(case["ranks"])] = float(np.median(rows["wire_bytes_mean"])), int(np.max(rows["wire_bytes_max"]))
    return wire, payloads, sent


def main(arguments: list[str]) -> int:
    source, results = Path(arguments[0]), Path(arguments[1])
    wire, payloads, sent = read(source)
    if wire != "tcp":
        raise SystemExit(f"{source}: bytes on the wire were not measured over TCP ({wire})")
    ranks = sorted({count for _, count in sent})
    names = sorted(payloads, key=payloads.get)
    tsv = ["method\tpayload_bytes\tranks\twire_bytes_mean\twire_bytes_max"]
    print("Bytes that a rank sends for the sum of one step, mean over ranks, as multiples of the payload; in brackets, where they differ, those of the rank that sends most.\n")
    print("| method | payload | " + " | ".join(f"n = {count}" for count in ranks) + " |")
    print("| --- | ---: |" + " ---: |" * len(ranks))
    for name in names:
        cells = []
        for count in ranks:
            mean, most = sent[name, count]
            tsv.append(f"{name}\t{payloads[name]}\t{count}\t{mean:.0f}\t{most}")
            text = f"{mean / payloads[name]:.2f}"
            cells.append(text + (f" ({most / payloads[name]:.2f})" if most > 1.01 * mean else ""))
        print(f"| {name} | {size(payloads[name])} | " + " | ".join(cells) + " |")
    (results / "bytes.tsv").write_text("\n".join(tsv) + "\n")
    (results / "payloads.tsv").write_text("label\tpayload_bytes\n" + "".join(f"{name}\t{payloads[name]}\n" for name in names if not name.endswith(PLAIN.format(""))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
