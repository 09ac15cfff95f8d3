#!/usr/bin/env python3
# timeout: 600
"""Runs that contradict themselves, as the analysis sees them, beside what `peftscale check` says. Run: python3 tests/analysis/test_load_check.py [-v]

Real tiny runs; edits are made with h5py on copies. Whatever the analysis refuses, the program refuses, too.
"""

import json
import shutil
import sys
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/e2e"), str(ROOT / "tests/support")]

import harness  # noqa: E402
import numpy as np  # noqa: E402
import scipy.special  # noqa: E402
import scipy.stats  # noqa: E402
from harness import h5py  # noqa: E402
from test_check import NONE, attrs, cell, rows, texts  # noqa: E402

from analysis.load import metrics  # noqa: E402
from analysis.load.hdf5 import Unusable  # noqa: E402
from analysis.load.runs import read_run  # noqa: E402
from analysis.load.xxh3 import hash_bytes  # noqa: E402


class Check(harness.Case):
    @classmethod
    def run_of(cls, name, ranks=2, **changed):
        return harness.train(*cls.settings(name, **{"method": "lora", "train__evaluate_every": "4", **changed}), ranks=ranks)

    def judge(self, paths):
        """Per file what the analysis says ("": nothing), and whether the program calls it valid."""
        report = json.loads(harness.peftscale("check", *paths, "--json").out)
        found = []
        for path, run in zip(paths, report["runs"], strict=True):
            try:
                reason = read_run(Path(path)).invalid
            except Unusable as error:
                reason = str(error)
            found.append((reason, not run["reasons"]))
        return found

    def test_whole_runs_are_valid(self):
        """Of every kind of message, objective and method family, on one rank and several."""
        regress = harness.make_tiny.write_dataset(self.at("regress.h5"), objective="regress")
        two = harness.make_tiny.write_dataset(self.at("two.h5"), classes=2)
        mlm = harness.make_tiny.write_dataset(self.at("mlm.h5"), objective="mlm", longest=40)
        cases = {"alone": {}, "glora": {"method": "glora", "method__path": "random", "train__steps": "20"}, "vblora": {"method": "vblora", "payload": "dense"},
                 "full": {"method": "full", "train__lr": "1e-3"}, "mlm": {"method": "full", "task__data": mlm, "train__lr": "1e-3"},
                 "regress": {"method": "red", "task__data": regress}, "matthews": {"task__data": two, "task__metric": "matthews"},
                 "f1": {"task__metric": "f1"}, "loss": {"task__metric": "loss", "train__keep": "last"},
                 "spearman": {"task__data": regress, "task__metric": "spearman"}, "quiet": {"output__predictions": "false"}, "blind": {"output__test": "false"},
                 "factors": {"head_reduce": "factors", "train__batch": "24"}, "deep": {"head_reduce": "factors", "model__head": "tanh", "task__data": regress},
                 "node": {"node_reduce": "on"}, "best": {"train__keep": "best", "train__evaluate_every": "1", "train__lr": "3e-2"}}
        paths = []
        for name, changed in cases.items():
            for reduce in ("float", "exact"):
                paths.append(self.run_of(f"{name}-{reduce}", 1 if name == "alone" else 2, reduce=reduce, **changed))
        self.assertEqual(dict(zip(paths, self.judge(paths))), dict.fromkeys(paths, ("", True)))
        for path in paths:
            run = read_run(Path(path))
            self.assertEqual(run.validations[-1].step, run.steps, path)

    def better_test_score(self, file):
        """Consistently, in the result and in its row; the predictions still tell."""
        attrs("result", test_metric=0.99)(file)
        for column in ("metric", "accuracy"):
            cell(column, -1, 0.99, "evaluation")(file)

    def test_edits_are_found(self):
        edits = {
            "loss": (cell("loss", 4, np.inf), "step 5: the loss is inf"),
            "norm": (cell("grad_norm", 1, np.nan), "step 2: the gradient's norm is nan"),
            "payload": (cell("payload_bytes", 3, lambda bytes: bytes - 4), "gradient_payload_bytes of /result is"),
            "all payloads": (lambda file: (rows(lambda table: table.__setitem__("payload_bytes", 8))(file), attrs("result", gradient_payload_bytes=64)(file)),
                             "step 1: payload_bytes is 8, by the numbers that were sent"),
            "tokens": (cell("tokens", 0, lambda tokens: tokens + 1), "tokens of /result is"),
            "time": (cell("step_s", 0, lambda s: s / 2), "step_s of /result is"),
            "communication": (cell("communication_s", 0, lambda s: s + 1), "communication_s of /result is"),
            "step removed": (rows(lambda table: np.delete(table, 3)), "step 4 is missing"),
            "first step removed": (rows(lambda table: np.delete(table, 0)), "step 1 is missing"),
            "steps cut off": (rows(lambda table: table[:5]), "5 steps were made, of 8 (train.steps)"),
            "no steps": (rows(lambda table: table[:0]), "steps of /result is 8, but 0 are in /series/steps"),
            "test metric": (attrs("result", test_metric=0.99), "test_metric of /result is 0.99, but"),
            "validation metric": (attrs("result", validation_metric=0.99), "validation_metric of /result is 0.99, but"),
            "impossible metric": (attrs("result", test_metric=1.01), "the test score is 1.01, which no accuracy is"),
            "result and evaluation": (self.better_test_score, "test_metric of /result is 0.99, but the predictions give"),
            "loss of the evaluation": (cell("loss", -1, lambda loss: 0.9 * loss, "evaluation"), "test loss of /evaluation is"),
            "prediction": (cell("prediction", 3, lambda label: (label + 1) % 3, "predictions/test"), "a prediction is not the class of its largest score"),
            "label": (cell("label", 5, lambda label: (label + 1) % 3, "predictions/test"), "the predictions give"),
            "label out of range": (cell("label", 5, 1e9, "predictions/test"), "a label is no class"),
            "score": (cell("score", 2, lambda score: 2 * score, "predictions/validation"), "but the predictions give"),
            "score that is none": (cell("score", 2, np.nan, "predictions/test"), "a score or a label is not finite"),
            "prediction removed": (rows(lambda table: table[1:], "predictions/test"), "23 predictions for test, of 24 examples"),
            "canonical form": (texts("config_canonical", "train.batch=16", "train.batch=32"), "experiment_id is"),
            "experiment": (attrs("/", experiment_id="0" * 32), "experiment_id is 00000000, but the settings"),
            "weights": (attrs("provenance", weights_hash="0" * 32), "experiment_id is"),
            "backend": (attrs("provenance", backend="precision=bf16;backend=openblas"), "experiment_id is"),
            "accounting": (attrs("accounting", sent_bytes_per_step=8), "sent_bytes_per_step is 8, but the numbers that are sent make"),
            "payload in all": (attrs("result", gradient_payload_bytes=1), "gradient_payload_bytes of /result is 1"),
            "status": (attrs("/", status="failed: diverged"), "not finished (failed: diverged)"),
            "column": (rows(lambda table: table[[name for name in table.dtype.names if name != "step_s"]].copy()),
                       "broken: /series/steps lacks the column step_s"),
            "no result": (lambda file: file.__delitem__("result"), "broken: lacks metric of /result"),
            "kind": (attrs("/", kind=NONE), "not a run file"),
        }
        for reduce in ("exact", "float"):
            run, paths = self.run_of(f"edited-{reduce}", reduce=reduce), []
            for name, (edit, _) in edits.items():
                paths.append(shutil.copy(run, self.at(f"{reduce}-{name}.h5")))
                with h5py.File(paths[-1], "r+") as file:
                    edit(file)
            for path, (name, (_, words)), (reason, is_valid) in zip(paths, edits.items(), self.judge(paths), strict=True):
                with self.subTest(edit=name, reduce=reduce):
                    self.assertIn(words, reason)
                    self.assertFalse(is_valid)

    def test_edits_of_the_head_as_factors(self):
        run, paths = self.run_of("rows", head_reduce="factors", model__head="tanh"), []
        edits = ((lambda file: (cell("own_examples", 2, lambda own: own - 1)(file)), "step 3: payload_bytes is"),
                 (attrs("accounting", head_bytes_factors=100), "and the head's rows 100"))
        for number, (edit, _) in enumerate(edits):
            paths.append(shutil.copy(run, self.at(f"rows-{number}.h5")))
            with h5py.File(paths[-1], "r+") as file:
                edit(file)
        for (_, words), (reason, is_valid) in zip(edits, self.judge(paths), strict=True):
            self.assertIn(words, reason)
            self.assertFalse(is_valid)

    def test_runs_that_went_on(self):
        """Rows of an earlier attempt may say what they like."""
        run = shutil.copy(self.run_of("on"), self.at("on-again.h5"))
        with h5py.File(run, "r+") as file:
            table = file["series/steps"][...]
            again = table[4:].copy()
            again["attempt"] = 2
            table["loss"][6] = np.nan
            rows(lambda _: np.concatenate([table[:7], again]))(file)
            first = file["attempts"][...]
            second = first.copy()
            second["attempt"], second["first_step"] = 2, 4
            rows(lambda _: np.concatenate([first, second]), "attempts")(file)
        self.assertEqual(self.judge([run]), [("", True)])

    # ---- the parts ----

    def test_metrics(self):
        dice = np.random.default_rng(3)
        for classes in (2, 3, 7):
            for count in (1, 5, 400):
                label, told = dice.integers(0, classes, count), dice.integers(0, classes, count)
                found = metrics.classify(label.astype("f4"), told.astype("f4"), classes)
                self.assertEqual(found["accuracy"], np.mean(label == told))
                hits = [2 * np.sum((label == each) & (told == each)) / max(1, np.sum(label == each) + np.sum(told == each)) for each in range(classes)]
                self.assertAlmostEqual(found["f1"], hits[1] if classes == 2 else np.mean(hits))
                one, other = (np.eye(classes)[each] - np.eye(classes)[each].mean(0) for each in (label, told))
                spread = np.sum(one * one) * np.sum(other * other)
                self.assertAlmostEqual(found["matthews"], np.sum(one * other) / np.sqrt(spread) if spread > 1e-9 else 0.0)
        label, told = dice.integers(0, 6, 300) / 2, np.round(dice.normal(size=300), 1)
        found = metrics.regress(label, told)
        self.assertAlmostEqual(found["pearson"], scipy.stats.pearsonr(label, told)[0])
        self.assertAlmostEqual(found["spearman"], scipy.stats.spearmanr(label, told)[0])
        self.assertTrue(np.isnan(metrics.regress(np.ones(5), told[:5])["pearson"]))
        self.assertEqual((metrics.regress(label[:1], told[:1]), metrics.classify(label[:0], label[:0], 3)), ({}, {}))
        score = dice.normal(size=(50, 4)).astype("f4")
        label = dice.integers(0, 4, 50)
        self.assertAlmostEqual(metrics.cross_entropy(score, label), -np.mean(np.log(scipy.special.softmax(score.astype(float), 1)[np.arange(50), label])))

    def test_hash(self):
        """Known answers, and the program's own hash of a file of theta."""
        self.assertEqual(hash_bytes(b"a" * 240), "")
        for count, digits in HASHES.items():
            self.assertEqual(hash_bytes(bytes((7 * number + count) & 255 for number in range(count))), digits)
        run = self.run_of("hashed")
        theta = harness.read(run, "theta").tobytes()
        self.assertGreater(len(theta), 2048)
        self.assertEqual(hash_bytes(theta), harness.attribute(run, "result", "theta_hash"))


# Of inputs around the ends of stripes and blocks, as the algorithm's own program gives them.
HASHES = {
    241: "83e91254d35bcf72bd7d29b6ba966d6a", 256: "2f433606b2ebce2dff5a1cefade75bb9", 257: "3491f6ac974f534478ebbc62dbd8326d",
    320: "f15799a9268979b81a53d8c9504de446", 1023: "364814c83c416e220805f138405a64a4", 1024: "8bbb9f7af37f2f52dc5acf0b043c445b",
    1025: "f66a602aa3eda73bc856c953bbdbc807", 1088: "8cdc4660086a91991abb96b061cd5757", 1089: "62ddaa4bcffba26b2a7e4e549f5cd12c",
    2048: "c476f3dcec088ea1848d24cc268f7498", 2049: "c5bb05b0e31fbadc036bbe6219dfccda", 5000: "cad9d92cd2479a93308f149a673a1625",
}

if __name__ == "__main__":
    harness.main()
