#!/usr/bin/python3
# timeout: 300
"""Products with frozen weights by OpenBLAS and oneDNN, in f32 and bf16: exact sums give the same bits in every layout, and the backends agree to rounding.

Run: test_backends.py [-v]. What this machine or build does not have must be refused in one line that says why.
"""

import json
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
from harness import Case, attribute, evaluate, losses, main, np, peftscale, read, succeed, text, train  # noqa: E402

LAYOUTS = [(1, 1), (1, 2), (2, 1), (3, 2), (4, 1)]
STEPS = 12
DROPOUTS = {f"model__dropout_{place}": "0.1" for place in ("embedding", "attention", "hidden", "adapter", "head")}
KINDS = [("openblas", "f32"), ("onednn", "f32"), ("onednn", "bf16")]


class Backends(Case):
    def words(self, name, kind, **changed):
        keys = {"train__steps": str(STEPS), "train__lr": "5e-3", "train__warmup": "0", "linalg": kind[0], "precision": kind[1], **changed}
        return self.settings(f"{name}-{'-'.join(kind)}", **keys)

    def missing(self, kind):
        """Why this machine or build has no such kind; None: it has."""
        outcome = peftscale("train", "--json", "--quiet", *self.words("probe", kind, method="lora", train__steps="1"))
        if outcome.status == 0:
            return None
        self.assertEqual((outcome.status, len(outcome.errors)), (2, 1), str(outcome))
        self.assertRegex(outcome.errors[0], "oneDNN|bfloat16")
        print(f"# {' '.join(kind)}: {outcome.errors[0]}")
        return outcome.errors[0]

    def has(self, *kinds):
        return not any([self.missing(kind) for kind in kinds])

    def hashes(self, run):
        return read(run, "series/steps")["theta_hash"].tolist()

    def same_bits(self, kind):
        if not self.has(kind):
            return
        for method in ("lora", "red", "glora", "bitfit"):
            with self.subTest(method=method):
                runs = []
                for ranks, threads in LAYOUTS:
                    settings = self.words(f"{method}-{ranks}x{threads}", kind, method=method, reduce="exact", threads=str(threads), **DROPOUTS)
                    runs.append(train(*settings, ranks=ranks))
                for run in runs[1:]:
                    self.assertEqual(self.hashes(run), self.hashes(runs[0]))
                    self.assertEqual(attribute(run, "", "experiment_id"), attribute(runs[0], "", "experiment_id"))

    def test_openblas_same_bits(self):
        self.same_bits(("openblas", "f32"))

    def test_onednn_same_bits(self):
        self.same_bits(("onednn", "f32"))

    def test_onednn_bf16_same_bits(self):
        self.same_bits(("onednn", "bf16"))

    def curves(self, kind, method):
        run = train(*self.words(f"{method}-curve", kind, method=method, **DROPOUTS))
        self.assertEqual(attribute(run, "provenance", "backend"), f"precision={kind[1]};backend={kind[0]}")
        return run, losses(run)

    def test_backends_agree(self):
        """To rounding in f32; bf16 differs by what eight bits of mantissa lose, and does differ."""
        if not self.has(*KINDS):
            return
        for method in ("lora", "vera", "red", "glora", "full"):
            with self.subTest(method=method):
                (first, blas), (second, f32), (third, bf16) = (self.curves(kind, method) for kind in KINDS)
                self.assertLess(np.max(np.abs(f32 - blas) / np.abs(blas)), 1e-4)
                self.assertEqual(len({attribute(run, "", "experiment_id") for run in (first, second, third)}), 3)
                if method == "full":  # no weight is frozen
                    self.assertEqual(f32.tolist(), blas.tolist())
                    continue
                self.assertLess(np.max(np.abs(bf16 - blas) / np.abs(blas)), 0.03)
                self.assertGreater(np.max(np.abs(bf16 - blas) / np.abs(blas)), 1e-6)

    def test_auto_takes_what_is_there(self):
        run = train(*self.settings("auto", method="lora", train__steps="1"))
        wanted = "openblas" if self.missing(("onednn", "f32")) else "onednn"
        self.assertEqual(attribute(run, "provenance", "backend"), f"precision=f32;backend={wanted}")
        self.assertIn(f"\nlinalg: {wanted}\n", "\n" + text(read(run, "config")[()]))

    def test_a_stored_run_is_judged_as_it_was_trained(self):
        """Evaluation takes backend and precision from the run file."""
        for kind in KINDS:
            if self.missing(kind):
                continue
            with self.subTest(kind=kind):
                run = train(*self.words("judged", kind, method="lora", train__lr="1e-2"))
                rows = read(run, "evaluation")
                kept = rows[rows["split"] == b"test"][-1]
                self.assertEqual(evaluate(run)["loss"], float(kept["loss"]))

    def test_refusals(self):
        outcome = peftscale("train", "--json", *self.words("refused", ("openblas", "bf16"), method="lora"), ranks=2)
        self.assertEqual((outcome.status, len(outcome.errors)), (2, 1), str(outcome))
        self.assertIn("bfloat16", outcome.errors[0])
        self.assertIn("linalg=onednn", outcome.err)

    def test_a_processor_without_avx512(self):
        """oneDNN told to keep to AVX2: nothing is gained by it, so auto takes OpenBLAS, and who asks for it by name or for bf16 is told why not."""
        if not self.has(("onednn", "f32")):
            return
        older = {"ONEDNN_MAX_CPU_ISA": "AVX2"}
        run = train(*self.settings("older", method="lora", train__steps="1"), changes=older)
        self.assertEqual(attribute(run, "provenance", "backend"), "precision=f32;backend=openblas")
        for words, reason in (({"linalg": "onednn"}, "AVX-512"), ({"precision": "bf16"}, "bfloat16")):
            outcome = peftscale("train", "--json", *self.settings("older-refused", method="lora", **words), ranks=2, changes=older)
            self.assertEqual((outcome.status, len(outcome.errors)), (2, 1), str(outcome))
            self.assertIn(reason, outcome.errors[0])

    def test_info_names_the_library(self):
        self.assertIn("onednn", json.loads(succeed("info", "--json").out))


if __name__ == "__main__":
    main()
