#!/usr/bin/python3
# needs: assets
"""Equal loss curves with a real pretrained model: MiniLM with LoRA on 1, 2, 3 ranks and 1, 2 threads, on made-up sentences. Run: test_rank_equality_minilm.py [-v]"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
from harness import Case, losses, main, make_tiny, np, train  # noqa: E402

MODEL = os.path.join(os.environ.get("PEFTSCALE_ASSETS", ""), "minilm-l6")
VOCABULARY = 30522


class MiniLM(Case):
    def test_equal_curves(self):
        data = make_tiny.write_dataset(self.at("sentences.h5"), vocabulary=VOCABULARY, shortest=4, longest=32, counts=(64, 8, 8))
        curves = []
        for ranks, threads in ((1, 1), (1, 2), (2, 1), (3, 2)):
            run = train(*self.settings(f"{ranks}x{threads}", method="lora", model__path=MODEL, task__data=data, threads=str(threads), train__steps="20", train__warmup="0",
                                       train__lr="1e-3", train__lr_head="1e-2"), ranks=ranks)
            curves.append(losses(run))
        self.assertLess(np.mean(curves[0][-3:]), 0.8 * np.mean(curves[0][:3]))
        for curve in curves[1:]:
            self.assertLessEqual(np.max(np.abs(curve - curves[0]) / curves[0]), 1e-5)


if __name__ == "__main__":
    if not os.path.isfile(os.path.join(MODEL, "config.json")):
        print("skipped: PEFTSCALE_ASSETS names no directory with minilm-l6")
        sys.exit(77)
    main()
