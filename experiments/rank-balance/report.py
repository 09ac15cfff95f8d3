#!/usr/bin/python3
"""The table of rank-balance. usage: report.py FOLDER-OF-RUN-FILES"""

import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import h5py  # noqa: E402
import numpy as np  # noqa: E402

from analysis.load.content import check_run  # noqa: E402
from analysis.load.hdf5 import Unusable, as_text, need, newest  # noqa: E402
from analysis.load.runs import split_settings  # noqa: E402

WARM_STEPS = 5


def describe(path: Path) -> str:
    with h5py.File(path, "r") as file:
        check_run(file)
        rows = newest(need(file, "series/steps"), "step")[WARM_STEPS:]
        settings = split_settings(as_text(need(file, "config_canonical")))
        ranks = int(need(file, "attempts")[-1]["ranks"])
        disturbed = int(need(file, "result", "contaminated"))
    rows = rows[np.isfinite(rows["work_max_s"])]
    if not len(rows):
        raise Unusable("no step was sampled: one rank, too few steps, or sample_every=0")
    excess = rows["work_max_s"] / rows["work_mean_s"] - 1
    share = float((rows["work_max_s"] - rows["work_mean_s"]).sum() / rows["step_s"].sum())
    return (f"| `{settings['method.name']}` | {ranks} | {settings['shards']} | {len(rows)} | {rows['tokens'].mean():.0f} | {100 * np.median(excess):.2f} % | "
            f"{100 * np.quantile(excess, 0.9):.2f} % | {100 * share:.2f} % | {100 * np.median(rows['wait_s'] / rows['step_s']):.2f} % | {'yes' if disturbed else 'no'} |")


def main(arguments: list[str]) -> int:
    print("| method | ranks | shards | steps | tokens a step | excess, median | excess, p90 | wait for it, of all steps | measured wait, median | disturbed |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |")
    for path in sorted(Path(arguments[0]).glob("*.h5")):
        try:
            print(describe(path))
        except Unusable as reason:
            raise SystemExit(f"{path}: {reason}") from None
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
