#!/usr/bin/python3
# timeout: 900
"""Adapter files of every method: what they hold, that they give back the run's own predictions, that training goes on from them, and merging.

Run: test_adapter.py [-v]
"""

import json
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
from harness import Case, attribute, evaluate, h5py, losses, main, make_tiny, methods, np, peftscale, read, succeed, train  # noqa: E402

WIDTH = {"F32": 4, "U8": 1, "U16": 2, "I32": 4, "I64": 8}
SIZES = {"vera": {"method__rank": "24"}, "vblora": {"method__bank": "20"}}  # small, but with every part


def header(path):
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        return json.loads(file.read(size))


def stored_bytes(path):
    """Of everything but the head."""
    return sum(WIDTH[e["dtype"]] * int(np.prod(e["shape"])) for name, e in header(path).items() if name != "__metadata__" and not name.startswith("head."))


def logits(*words, ranks=1, out):
    succeed("predict", *words, "--out", out, ranks=ranks)
    with open(out, encoding="utf-8") as file:
        return np.array([line.split("\t")[4:] for line in file.read().splitlines()[1:]], np.float32)


class Adapter(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.runs = {m: train(*cls.settings(m, method=m, train__steps="3", seed="5", **SIZES.get(m, {})), ranks=2) for m in methods()}

    def export(self, method, form="adapter", ranks=1):
        path = self.at(f"{method}-{form}.safetensors")
        self.assertEqual(succeed("export", self.runs[method], "--format", form, "--out", path, ranks=ranks).out, path + "\n")
        return path

    def base(self):
        return [f"model.path={self.model}", f"task.data={self.data}"]

    def test_bytes_are_those_counted(self):
        for method, run in self.runs.items():
            with self.subTest(method=method):
                path = self.export(method)
                words = [f"{key[8:]}={value}" for key, value in SIZES.get(method, {}).items()]
                counted = json.loads(succeed("count", "--model", self.model, "--method", method, *words, "--classes", "3", "--json").out)["stored_bytes"]
                self.assertEqual(stored_bytes(path), counted)
                self.assertEqual(counted, attribute(run, "accounting", "stored_bytes"))

    def test_metadata(self):
        notes = header(self.export("vera"))["__metadata__"]
        self.assertLessEqual({"format": "peftscale adapter", "version": "1", "form": "result", "method": "vera", "method.rank": "24", "method.projection_seed": "5",
                              "method.modules": "q,v", "model.family": "bert", "model.layers": "2", "model.width": "32", "task.classes": "3",
                              "task.objective": "classify", "model.pooling": "mean", "model.head": "linear",
                              "model.weights_hash": attribute(self.runs["vera"], "provenance", "weights_hash"),
                              "experiment_id": attribute(self.runs["vera"], "", "experiment_id")}.items(), notes.items())

    def test_predictions(self):
        """Of the file as of the run: the same bits, but for VB-LoRA, whose last weight is what the others leave."""
        for method, run in self.runs.items():
            wanted = read(run, "predictions/test")["score"]
            for form in ("adapter", "theta"):
                with self.subTest(method=method, form=form):
                    found = logits("--adapter", self.export(method, form, ranks=2), *self.base(), ranks=2, out=self.at("p.tsv"))
                    if (method, form) == ("vblora", "adapter"):
                        self.assertLess(np.max(np.abs(found - wanted)), 1e-5 * np.max(np.abs(wanted)))
                    else:
                        np.testing.assert_array_equal(found, wanted)

    def test_evaluate(self):
        for method in ("lora", "vblora", "unilora"):
            found = json.loads(succeed("evaluate", "--adapter", self.export(method), *self.base(), "--json").out)
            self.assertAlmostEqual(found["loss"], evaluate(self.runs[method])["loss"], places=5)

    def test_merge(self):
        """The merged base under the run's head predicts what the run predicts; from a run file and from an adapter file."""
        for method, run in self.runs.items():
            for way in ("run", "file"):
                with self.subTest(method=method, way=way):
                    directory = self.at(f"merged-{method}-{way}")
                    if way == "run":
                        succeed("merge", run, "--out", directory, ranks=2)
                    else:
                        succeed("merge", "--adapter", self.export(method), f"model.path={self.model}", "--out", directory)
                    alone = train(*self.settings("alone", method="head", model__path=directory, train__steps="1", train__lr_head="0"))
                    with h5py.File(alone, "r+") as file:
                        file["theta"][...] = read(run, "theta")[:len(file["theta"])]
                    found, wanted = logits(alone, out=self.at("p.tsv")), read(run, "predictions/test")["score"]
                    self.assertLess(np.max(np.abs(found - wanted)), 1e-4 * np.max(np.abs(wanted)))

    def test_start(self):
        """A training that starts from a theta file has in its first step, over all training examples, the loss that the trained model has on them."""
        for method, trained in self.runs.items():
            with self.subTest(method=method):
                how = {"method": method, "seed": "5", "train__batch": "64", "train__steps": "1", "train__lr": "0", "train__lr_head": "0", **SIZES.get(method, {})}
                wanted = evaluate(trained, "--split", "train")["loss"]
                fresh = train(*self.settings("fresh", **how))
                self.assertGreater(abs(losses(fresh)[0] - wanted), 1e-4)
                for ranks in (1, 2):
                    started = train(*self.settings("started", train__start=self.export(method, "theta"), **how), ranks=ranks)
                    self.assertAlmostEqual(losses(started)[0], wanted, places=5)
                    np.testing.assert_array_equal(read(started, "theta"), read(trained, "theta"))
                if method != "vblora":  # whose stored result is less than what it trains
                    np.testing.assert_array_equal(read(train(*self.settings("started", train__start=self.export(method), **how)), "theta"), read(trained, "theta"))

    def test_peft_and_back(self):
        """Through PEFT's format and back: the same bits."""
        for method in ("lora", "vera", "vblora", "unilora", "glora"):
            with self.subTest(method=method):
                directory, path = self.at(f"peft-{method}"), self.at(f"back-{method}.safetensors")
                succeed("export", self.runs[method], "--format", "peft", "--out", directory)
                self.assertEqual(json.loads(succeed("import", directory, "--model", self.model, "--out", path, "--json").out), {"adapter": path})
                wanted = read(self.runs[method], "predictions/test")["score"]
                np.testing.assert_array_equal(logits("--adapter", path, *self.base(), out=self.at("p.tsv")), wanted)
                again = self.at(f"again-{method}.safetensors")  # the file of tensors instead of its directory
                succeed("import", os.path.join(directory, "adapter_model.safetensors"), "--model", self.model, "--out", again)
                with open(path, "rb") as one, open(again, "rb") as other:
                    self.assertEqual(one.read(), other.read())

    def test_frozen_numbers_of_a_file(self):
        """A run whose frozen numbers came from a file: trained, evaluated, exported with them, and what it stores counted with them."""
        for method in ("vera", "unilora"):
            with self.subTest(method=method):
                directory, start = self.at(f"frozen-{method}"), self.at(f"frozen-{method}.safetensors")
                succeed("export", self.runs[method], "--format", "peft", "--out", directory)
                succeed("import", directory, "--model", self.model, "--out", start)
                how = {"method": method, "method__projection": "file", "train__start": start, "train__steps": "2", **SIZES.get(method, {})}
                if method == "unilora":
                    how["method__d"] = str(len(read(self.runs[method], "theta")) - 99)
                run = train(*self.settings("frozen", **how), ranks=2)
                wanted = read(run, "predictions/test")["score"]
                np.testing.assert_array_equal(logits(run, out=self.at("p.tsv"), ranks=2), wanted)
                path = self.at("exported.safetensors")
                succeed("export", run, "--out", path)
                self.assertEqual(stored_bytes(path), attribute(run, "accounting", "stored_bytes"))
                np.testing.assert_array_equal(logits("--adapter", path, *self.base(), out=self.at("p.tsv")), wanted)
                moved = self.at("moved.safetensors")
                os.rename(start, moved)
                outcome = peftscale("evaluate", run, ranks=2)
                self.assertEqual((outcome.status, len(outcome.errors)), (1, 1), str(outcome))
                self.assertIn("train.start", outcome.errors[0])
                evaluate(run, f"train.start={moved}")
                outcome = peftscale("evaluate", run, f"train.start={path}", ranks=2)
                self.assertEqual((outcome.status, len(outcome.errors)), (1, 1), str(outcome))
                self.assertIn("another file", outcome.errors[0])

    def test_identity_of_a_start(self):
        """The file's content is part of what a run is, its name is not."""
        paths = [self.export("lora", "theta"), self.at("other-name.safetensors")]
        with open(paths[0], "rb") as source, open(paths[1], "wb") as target:
            target.write(source.read())
        how = {"method": "lora", "train__steps": "1", "seed": "5"}
        ids, hashes = [], []
        for start in ("", *paths):
            run = train(*self.settings("id", train__start=start, **how))
            ids.append(attribute(run, "", "experiment_id"))
            with h5py.File(run, "r") as file:
                hashes.append(file["provenance"].attrs.get("start_hash"))
        self.assertNotEqual(ids[0], ids[1])
        self.assertEqual(ids[1], ids[2])
        self.assertIsNone(hashes[0])
        self.assertEqual(hashes[1], hashes[2])

    def test_start_below_the_assets(self):
        self.export("lora", "theta")
        words = self.settings("assets", method="lora", train__steps="1", train__start="lora-theta.safetensors")
        train(*words, changes={"PEFTSCALE_ASSETS": self.folder.name})
        outcome = peftscale("train", *words, ranks=1)
        self.assertEqual((outcome.status, len(outcome.errors)), (1, 1), str(outcome))
        self.assertIn("train.start", outcome.errors[0])

    def test_another_head(self):
        """A head that does not fit the new task starts anew; the adapter is taken."""
        two = make_tiny.write_dataset(self.at("two.h5"), classes=2)
        run = train(*self.settings("two", method="lora", task__data=two, train__start=self.export("lora"), train__steps="1", train__lr="0"))
        count = sum(int(row["rows"] * row["cols"]) for row in read(run, "segments") if row["counts_as"] == b"head")
        old = sum(int(row["rows"] * row["cols"]) for row in read(self.runs["lora"], "segments") if row["counts_as"] == b"head")
        np.testing.assert_array_equal(read(run, "theta")[count:], read(self.runs["lora"], "theta")[old:])
        outcome = peftscale("evaluate", "--adapter", self.export("lora"), f"model.path={self.model}", f"task.data={two}")
        self.assertEqual((outcome.status, len(outcome.errors)), (1, 1), str(outcome))
        self.assertIn("no task head", outcome.errors[0])

    def test_one_head_only(self):
        """A RoBERTa head goes into PEFT's adapter: not beside a head.safetensors of an earlier export, which an import would have to choose between."""
        own = ["model.init=random", "model.family=roberta", "model.layers=1", "model.width=16", "model.heads=2", "model.ffn=16", "model.positions=140", "model.pooling=first"]
        directory = self.at("two-heads")
        runs = [train(*self.settings(f"head-{head}", method="lora", train__steps="1"), *own, f"model.head={head}") for head in ("linear", "tanh")]
        for _ in range(2):
            succeed("export", runs[0], "--format", "peft", "--out", directory)
        outcome = peftscale("export", runs[1], "--format", "peft", "--out", directory)
        self.assertEqual((outcome.status, len(outcome.errors)), (1, 1), str(outcome))
        self.assertIn("head.safetensors", outcome.errors[0])
        succeed("export", runs[1], "--format", "peft", "--out", self.at("one-head"))

    def test_listed_paths(self):
        """GLoRA's paths travel along; training can go on from the stored result."""
        run = train(*self.settings("listed", method="glora", method__path="listed", method__paths="0,1,2,431", train__steps="2"))
        path = self.at("listed.safetensors")
        succeed("export", run, "--out", path)
        np.testing.assert_array_equal(logits("--adapter", path, *self.base(), out=self.at("p.tsv")), read(run, "predictions/test")["score"])
        self.assertEqual(stored_bytes(path), attribute(run, "accounting", "stored_bytes"))
        started = train(*self.settings("listed-on", method="glora", method__path="listed", method__paths="0,1,2,431", train__steps="1", train__lr="0", train__lr_head="0",
                                       train__start=path))
        np.testing.assert_array_equal(read(started, "theta"), read(run, "theta"))


if __name__ == "__main__":
    main()
