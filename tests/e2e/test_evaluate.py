#!/usr/bin/python3
# timeout: 600
"""What a run file says about a model is what the model does: evaluate, predict, the kept model, metrics computed anew, exported weights. Run: test_evaluate.py [-v]"""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
from harness import Case, attribute, evaluate, evaluations, losses, main, make_tiny, methods, np, peftscale, read, succeed, train  # noqa: E402

METRICS = ("accuracy", "f1", "matthews", "pearson", "spearman")


def f1(labels, predictions, of):
    hits = np.sum((labels == of) & (predictions == of))
    wrong = np.sum((labels == of) != (predictions == of))
    return 2 * hits / (2 * hits + wrong) if hits + wrong else 0.0


def matthews(labels, predictions):
    """The correlation of the two indicator matrices: Gorodkin's R_K by its definition."""
    classes = np.union1d(labels, predictions)
    a, b = ((x[:, None] == classes).astype(float) for x in (labels, predictions))
    a, b = a - a.mean(0), b - b.mean(0)
    spread = np.sum(a * a) * np.sum(b * b)
    return np.sum(a * b) / np.sqrt(spread) if spread > 0 else 0.0


def ranks(x):
    return np.array([np.mean(np.flatnonzero(np.sort(x) == value)) for value in x])


def scores(labels, predictions, classes):
    if classes == 1:
        return {"pearson": np.corrcoef(labels, predictions)[0, 1], "spearman": np.corrcoef(ranks(labels), ranks(predictions))[0, 1]}
    return {"accuracy": np.mean(labels == predictions), "matthews": matthews(labels, predictions),
            "f1": f1(labels, predictions, 1) if classes == 2 else np.mean([f1(labels, predictions, c) for c in range(classes)])}


def loss(rows):
    if rows["score"].ndim == 1:
        return np.mean((rows["score"].astype(float) - rows["label"]) ** 2)
    logits = rows["score"].astype(float)
    logits -= logits.max(1, keepdims=True)
    return np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(len(rows)), rows["label"].astype(int)])


class Evaluate(Case):
    TASKS = {"three": {"classes": 3}, "two": {"classes": 2, "metric": "f1"}, "score": {"objective": "regress", "metric": "spearman", "vocabulary": 25, "longest": 12, "counts": (192, 40, 40)}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.tasks = {name: make_tiny.write_dataset(cls.at(f"{name}.h5"), **{"longest": 40, "counts": (96, 40, 40), "seed": 4, **how}) for name, how in cls.TASKS.items()}
        cls.runs = {name: train(*cls.settings(f"task-{name}", method="lora", task__data=data, train__epochs="10", train__lr="2e-2", train__lr_head="3e-2"), ranks=2)
                    for name, data in cls.tasks.items()}

    def test_metrics_of_the_predictions(self):
        """From the outputs in the file to every number in it."""
        for name, run in self.runs.items():
            with self.subTest(task=name):
                for split in ("validation", "test"):
                    rows, row = read(run, f"predictions/{split}"), evaluations(run, split)[-1]
                    classes = self.TASKS[name].get("classes", 1)
                    if classes > 1:
                        np.testing.assert_array_equal(rows["prediction"], np.argmax(rows["score"], 1))
                    else:
                        np.testing.assert_array_equal(rows["prediction"], rows["score"])
                    wanted = scores(rows["label"], rows["prediction"], classes)
                    self.assertEqual(row["count"], len(rows))
                    self.assertAlmostEqual(row["loss"], loss(rows), places=6)
                    for metric in METRICS:
                        if metric in wanted:
                            self.assertAlmostEqual(row[metric], wanted[metric], places=6 if classes == 1 else 12, msg=metric)
                        else:
                            self.assertTrue(np.isnan(row[metric]), metric)
                    self.assertEqual(row["metric"], row[attribute(run, "result", "metric")])
                    self.assertEqual(row["metric"], attribute(run, "result", f"{split}_metric"))

    def test_predictions_are_of_the_data(self):
        for name, run in self.runs.items():
            for split in ("validation", "test"):
                rows = read(run, f"predictions/{split}")
                np.testing.assert_array_equal(rows["example"], read(self.tasks[name], f"{split}/example_id"))
                np.testing.assert_array_equal(rows["label"], read(self.tasks[name], f"{split}/label"))

    def test_evaluate_repeats_the_run_file(self):
        for name, run in self.runs.items():
            for split in ("validation", "test"):
                with self.subTest(task=name, split=split):
                    found, row = evaluate(run, "--split", split, ranks=3), evaluations(run, split)[-1]
                    self.assertEqual((found["split"], found["count"], found["metric"]), (split, row["count"], attribute(run, "result", "metric")))
                    self.assertEqual(found["loss"], row["loss"])
                    for metric in METRICS:
                        self.assertEqual(found.get(metric), None if np.isnan(row[metric]) else row[metric], metric)

    def test_predict_repeats_the_run_file(self):
        for name, run in self.runs.items():
            with self.subTest(task=name):
                rows, out = read(run, "predictions/test"), self.at("out.tsv")
                succeed("predict", run, "--split", "test", "--out", out, ranks=2)
                with open(out, encoding="utf-8") as file:
                    head, *lines = [line.rstrip("\n").split("\t") for line in file]
                table = {column: [line[i] for line in lines] for i, column in enumerate(head)}
                np.testing.assert_array_equal(np.array(table["example"], np.int64), rows["example"])
                np.testing.assert_array_equal(np.array(table["label"], np.float32), rows["label"])
                np.testing.assert_array_equal(np.array(table["prediction"], np.float32), rows["prediction"])
                if "class" in table:
                    self.assertEqual(table["class"], [f"class {int(p)}" for p in rows["prediction"]])
                    logits = np.array([table[f"logit_{i}"] for i in range(rows["score"].shape[1])], np.float32).T
                    np.testing.assert_array_equal(logits, rows["score"])

    def test_learning(self):
        """The tasks can be learnt: the tests above compare something."""
        self.assertGreater(attribute(self.runs["three"], "result", "test_metric"), 0.6)
        self.assertGreater(attribute(self.runs["two"], "result", "test_metric"), 0.7)
        self.assertGreater(attribute(self.runs["score"], "result", "test_metric"), 0.5)

    def test_keep(self):
        """best: the first of the best validations; last: the last. The kept model's numbers are those of its validation."""
        for keep in ("best", "last"):
            for metric in ("accuracy", "loss"):
                with self.subTest(keep=keep, metric=metric):
                    # A learning rate that makes validation go up and down, so that best and last differ.
                    run = train(*self.settings(f"keep-{keep}-{metric}", method="full", task__data=self.tasks["three"], train__epochs="6", train__lr="3e-2", train__lr_head="3e-2",
                                               train__schedule="constant", train__keep=keep), f"task.metric={metric}", ranks=2)
                    rows = evaluations(run, "validation")
                    during, kept = rows[:-1], rows[-1]
                    values = during["metric"] if metric == "accuracy" else -during["metric"]
                    self.assertEqual(len(during), 6)
                    self.assertNotEqual(np.argmax(values), 5, f"validation only rises, nothing is tested: {values}")
                    wanted = during[np.argmax(values) if keep == "best" else 5]
                    self.assertEqual(attribute(run, "result", "best_step"), wanted["step"])
                    self.assertEqual((kept["step"], kept["epoch"]), (wanted["step"], wanted["epoch"]))
                    self.assertEqual((kept["metric"], kept["loss"]), (wanted["metric"], wanted["loss"]))
                    self.assertEqual(evaluate(run, "--split", "validation")["loss"], wanted["loss"])

    def test_evaluate_every(self):
        run = train(*self.settings("often", method="head", train__steps="7", train__evaluate_every="3"))
        self.assertEqual(evaluations(run, "validation")["step"][:-1].tolist(), [3, 6, 7])
        self.assertEqual(read(run, "series/steps")["step"].tolist(), list(range(1, 8)))
        self.assertTrue(np.all(read(run, "series/steps")["attempt"] == 1))

    def test_constant_prediction(self):
        """A correlation with a constant is undefined; the run still ends with the model of its first validation, not with an empty one."""
        run = train(*self.settings("constant", method="head", task__data=self.tasks["score"], train__lr_head="0", train__lr="0"), "model.pooling=first")
        theta = read(run, "theta")
        self.assertTrue(np.any(theta != 0))
        self.assertEqual(attribute(run, "result", "best_step"), evaluations(run, "validation")["step"][0])

    def test_other_data(self):
        """task.data on the command line: the same model on other examples."""
        other = make_tiny.write_dataset(self.at("other.h5"), classes=3, longest=40, counts=(9, 9, 17), seed=8)
        found = evaluate(self.runs["three"], f"task.data={other}")
        self.assertEqual(found["count"], 17)
        outcome = peftscale("evaluate", self.runs["three"], f"task.data={self.tasks['two']}")
        self.assertEqual((outcome.status, len(outcome.errors)), (1, 1), str(outcome))
        self.assertIn("theta", outcome.errors[0])

    # ---- exported weights ----

    def test_export(self):
        """The exported backbone, with the adapter folded in, under the head of the run, predicts what the run predicts."""
        for method in methods():
            with self.subTest(method=method):
                directory = self.at(f"export-{method}")
                settings = self.settings(f"export-{method}", method=method, task__data=self.tasks["three"], train__lr="1e-2")
                run = train(*settings, f"output.export_dir={directory}", ranks=2)
                before, after = (make_tiny.read_safetensors(os.path.join(path, "model.safetensors")) for path in (self.model, directory))
                self.assertEqual({"bert." + name: value.shape for name, value in before.items()}, {name: value.shape for name, value in after.items()})
                moved = any(np.any(value != after["bert." + name]) for name, value in before.items())
                self.assertEqual(moved, method != "head")
                self.check_exported(run, directory)

    def check_exported(self, run, directory):
        """A head-only training of one step with a rate of zero on the exported backbone, given the run's own head, which lies first in theta."""
        import h5py
        alone = train(*self.settings("alone", method="head", model__path=directory, task__data=self.tasks["three"], train__steps="1", train__lr_head="0"))
        count = len(read(alone, "theta"))
        with h5py.File(alone, "r+") as file:
            file["theta"][...] = read(run, "theta")[:count]
        out = self.at("exported.tsv")
        succeed("predict", alone, "--out", out)
        with open(out, encoding="utf-8") as file:
            found = np.array([line.split("\t")[4:] for line in file.read().splitlines()[1:]], np.float64)
        wanted = read(run, "predictions/test")["score"]
        self.assertLess(np.max(np.abs(found - wanted)), 1e-5 * np.max(np.abs(wanted)))

    def test_exported_configuration(self):
        directory = self.at("shape")
        train(*self.settings("shape", method="lora", train__steps="1"), f"output.export_dir={directory}")
        configs = []
        for path in (self.model, directory):
            with open(os.path.join(path, "config.json"), encoding="utf-8") as file:
                configs.append(json.load(file))
        self.assertLessEqual(configs[0].items(), configs[1].items())

    # ---- masked language modelling ----

    def test_masked_language_model(self):
        """From random weights to a backbone that has learnt which word follows which, written with a head and read again."""
        data = make_tiny.write_dataset(self.at("mlm.h5"), objective="mlm", counts=(192, 16, 16), shortest=8, longest=24)
        directory = self.at("pretrained")
        run = train(*self.settings("mlm", method="full", task__data=data, train__lr="5e-3", train__lr_head="5e-3", train__epochs="20", train__clip="1"), "model.init=random",
                    "model.layers=1", "model.width=32", "model.ffn=64", "model.positions=32", f"output.export_dir={directory}", ranks=2)
        curve = losses(run)
        self.assertAlmostEqual(curve[0], np.log(65), delta=0.3)
        self.assertLess(np.mean(curve[-5:]), 0.8 * curve[0])
        self.assertEqual(attribute(run, "result", "metric"), "loss")
        self.assertLess(attribute(run, "result", "test_metric"), 0.85 * curve[0])
        self.assertEqual(evaluate(run, ranks=3)["loss"], attribute(run, "result", "test_metric"))
        tensors = make_tiny.read_safetensors(os.path.join(directory, "model.safetensors"))
        self.assertIn("bert.embeddings.word_embeddings.weight", tensors)
        self.assertIn("cls.predictions.transform.dense.weight", tensors)
        self.assertEqual(tensors["cls.predictions.bias"].shape, (65,))
        task = make_tiny.write_dataset(self.at("task.h5"), longest=24)
        self.assertTrue(np.isfinite(losses(train(*self.settings("tuned", method="lora", model__path=directory, task__data=task))).all()))
        outcome = peftscale("predict", run)
        self.assertEqual((outcome.status, len(outcome.errors)), (2, 1), str(outcome))


if __name__ == "__main__":
    main()
