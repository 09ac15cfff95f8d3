#!/usr/bin/python3
# timeout: 900
"""Adapter files and PEFT directories that cannot be trusted: one message that names file, place and reason, no hang, nothing written. Run: test_adapter_bad_input.py [-v]"""

import json
import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
import tensors  # noqa: E402
from harness import MPIRUN, PROGRAM, Case, call, main, make_tiny, np, peftscale, succeed, train  # noqa: E402

FAILED, USAGE = 1, 2


class BadInput(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.other = make_tiny.write_model(cls.at("other"), width=48, ffn=64)
        cls.same_shape = make_tiny.write_model(cls.at("same-shape"), seed=9)
        cls.runs, cls.good, cls.peft = {}, {}, {}
        for method, more in (("lora", []), ("vera", ["method.rank=24"]), ("vblora", ["method.bank=20"]), ("unilora", []), ("bitfit", [])):
            cls.runs[method] = train(*cls.settings(method, method=method, train__steps="1", output__dir=cls.at("good")), *more)
            cls.good[method] = cls.at(f"{method}.safetensors")
            succeed("export", cls.runs[method], "--out", cls.good[method])
            if method != "bitfit":
                cls.peft[method] = cls.at(f"peft-{method}")
                succeed("export", cls.runs[method], "--format", "peft", "--out", cls.peft[method])

    def refuse(self, words, *parts, status=FAILED, ranks=(1, 2), hint=None):
        for count in ranks:
            with self.subTest(words=words[0], ranks=count):
                outcome = peftscale(*words, ranks=count)
                self.assertEqual((outcome.status, len(outcome.errors)), (status, 1), str(outcome))
                for part in parts:
                    self.assertIn(part, outcome.errors[0])
                if hint:
                    self.assertRegex(outcome.err, rf"(?m)^  hint: .*{hint}")
                self.assertEqual(outcome.out, "")

    def evaluate_words(self, path):
        return ["evaluate", "--adapter", path, f"model.path={self.model}", f"task.data={self.data}"]

    def train_words(self, path, method, **more):
        return ["train", *self.settings("bad", method=method, train__start=path, train__steps="1", **more)]

    def test_ranks_with_other_copies(self):
        """Every rank reads its own copy of a file; they differ in one number."""
        def nudge(t, n):
            t["adapter.layer.0.q.lora_B"][0, 0] += np.float32(1)
        other = self.spoilt("lora", nudge)
        words = [[PROGRAM, *self.evaluate_words(path)] for path in (self.good["lora"], other)]
        outcome = call([*MPIRUN, "-np", "1", *words[0], ":", "-np", "1", *words[1]])
        self.assertEqual((outcome.status, len(outcome.errors), outcome.out), (FAILED, 1, ""), str(outcome))
        self.assertIn("different trained numbers", outcome.errors[0])

    # ---- places to write ----

    def test_the_base_model_is_not_overwritten(self):
        def content():
            with open(os.path.join(self.model, "model.safetensors"), "rb") as file:
                return file.read()
        before = content()
        for words in ([self.runs["lora"]], ["--adapter", self.good["lora"], f"model.path={self.model}"]):
            self.refuse(["merge", *words, "--out", os.path.join(self.model, ".")], "overwritten", status=USAGE, hint="another directory")
        self.refuse(["export", self.runs["lora"], "--out", self.model], self.model, "is a directory")
        self.assertEqual(content(), before)

    # ---- adapter files ----

    def spoilt(self, method, change):
        return tensors.edit(self.good[method], self.at("spoilt.safetensors"), change)

    def refuse_file(self, method, change, *parts, ranks=(1,)):
        path = self.spoilt(method, change)
        self.refuse(self.evaluate_words(path), path, *parts, ranks=ranks)
        self.refuse(["merge", "--adapter", path, f"model.path={self.model}", "--out", self.at("none")], path, *parts, ranks=(1,))
        self.assertFalse(os.path.exists(self.at("none")))

    def test_no_such_file(self):
        self.refuse(self.evaluate_words(self.at("missing")), self.at("missing"))
        self.refuse(self.train_words(self.at("missing"), "lora"), self.at("missing"), "train.start")

    def test_truncated(self):
        for size in (0, 5, 100, -40):
            with open(self.good["lora"], "rb") as file:
                content = file.read()
            path = self.at("cut.safetensors")
            with open(path, "wb") as file:
                file.write(content[:size])
            self.refuse(self.evaluate_words(path), path, ranks=(2,))
            self.refuse(self.train_words(path, "lora"), path, ranks=(1, 2))

    def test_another_kind_of_file(self):
        weights = os.path.join(self.model, "model.safetensors")
        self.refuse(self.evaluate_words(weights), weights, "no adapter file")
        self.refuse(self.evaluate_words(self.runs["lora"]), self.runs["lora"])
        path = os.path.join(self.peft["lora"], "adapter_model.safetensors")
        self.refuse(self.evaluate_words(path), path, "no adapter file", hint="peftscale import")

    def test_metadata(self):
        def note(key, value):
            return lambda t, notes: notes.update({key: value})
        for key, value, part in (("version", "2", "version '2'"), ("version", "x", "version"), ("form", "whole", "form"), ("method", "lroa", "lroa"),
                                 ("method.rank", "0", "method.rank"), ("method.rank", "1e99", "method.rank"), ("method.rank", "8" * 2000, "method.rank"),
                                 ("method.rnak", "8", "rnak"), ("model.layers", "3", "model.layers=3"), ("model.layers", "two", "model.layers"),
                                 ("model.family", "gpt", "gpt"), ("task.classes", "1000000000000", "task.classes"), ("task.classes", "-3", "task.classes"),
                                 ("task.objective", "guess", "task.objective"), ("model.pooling", "max", "model.pooling")):
            self.refuse_file("lora", note(key, value), part)
        self.refuse_file("lora", lambda t, notes: notes.pop("method.alpha"), "method.alpha", "missing")
        self.refuse_file("lora", lambda t, notes: notes.update({"method.rank": "4"}), "wrong shape")

    def test_tensors(self):
        name = "adapter.layer.0.q.lora_A"
        self.refuse_file("lora", lambda t, n: t.pop(name), name, "missing", ranks=(1, 2))
        self.refuse_file("lora", lambda t, n: t.update({name: t[name].T.copy()}), name, "[8, 32]")
        self.refuse_file("lora", lambda t, n: t.update({name: t[name].reshape(-1)}), name, "[8, 32]")
        self.refuse_file("lora", lambda t, n: t.update({name: t[name].astype(np.int32)}), name, "I32")
        self.refuse_file("lora", lambda t, n: t.update({name + ".more": t[name]}), "tensors")
        self.refuse_file("lora", lambda t, n: t.update({"stray": t[name]}), "stray")
        self.refuse_file("bitfit", lambda t, n: t.pop("base.layer.1.qkv.bias"), "base.layer.1.qkv.bias", "missing")
        for bad in (np.nan, np.inf):
            def change(t, n):
                t[name][3, 4] = bad
            self.refuse_file("lora", change, name, "element 100", ranks=(1, 2))

    def test_head(self):
        name = "head.classifier.out_proj.weight"
        self.refuse_file("lora", lambda t, n: t.update({name: t[name][:2].copy()}), name, "[3, 32]")
        path = self.spoilt("lora", lambda t, n: (n.pop("task.objective"), t.pop(name)))
        self.refuse(self.evaluate_words(path), path, "no task head", hint="train.start")

    def test_indices(self):
        name = "adapter.layer.1.v.logits_B.chosen"

        def outside(t, n):
            t[name][2, 0] = 20

        def twice(t, n):
            t[name][2, 1] = t[name][2, 0]
        for change in (outside, twice):
            self.refuse_file("vblora", change, "layer.1.v.logits_B", "tile 2")
        self.refuse_file("vblora", lambda t, n: t.update({name: t[name].astype(np.int64) + 300}), name, "outside")
        self.refuse_file("vblora", lambda t, n: t.update({name: t[name].astype(np.float32)}), name, "F32")

        def heavy(t, n):
            t["adapter.layer.0.q.logits_A.weights"][1, 0] = 1.5
        self.refuse_file("vblora", heavy, "weights", "tile 1")

    def test_header(self):
        """Counts that no memory holds, and a name that is there twice."""
        with open(self.good["lora"], "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            text, data = file.read(size), file.read()
        name = b'"adapter.layer.0.q.lora_A"'
        for old, new in ((b'"shape":[8,32]', b'"shape":[1099511627776,1099511627776]'), (b'"adapter.layer.0.v.lora_A"', name), (b'"format":"peftscale adapter"', b'"format":7')):
            spoilt = text.rstrip().replace(old, new, 1)
            self.assertNotEqual(spoilt, text.rstrip())
            path = self.at("header.safetensors")
            with open(path, "wb") as file:
                file.write(len(spoilt).to_bytes(8, "little") + spoilt + data)
            self.refuse(self.evaluate_words(path), path, ranks=(2,))

    def test_another_model(self):
        path = self.good["lora"]
        self.refuse(["evaluate", "--adapter", path, f"model.path={self.other}", f"task.data={self.data}"], path, "model.width=32", "48")
        self.refuse(["evaluate", "--adapter", path, f"model.path={self.same_shape}", f"task.data={self.data}"], path, "other base weights")
        self.refuse(["merge", "--adapter", path, f"model.path={self.same_shape}", "--out", self.at("none")], path, "other base weights")
        self.refuse(["merge", "--adapter", path, "--out", self.at("none")], "no model", status=USAGE)
        succeed(*self.train_words(path, "lora", model__path=self.same_shape))  # a start on other weights is a wish, not a mistake

    def test_starts_that_do_not_fit(self):
        self.refuse(self.train_words(self.good["lora"], "vera"), self.good["lora"], "lora, not vera")
        self.refuse(self.train_words(self.good["lora"], "lora", method__rank="4"), "method.rank=8, not 4")
        self.refuse(self.train_words(self.good["lora"], "lora", method__modules="q"), "method.modules=q,v, not q")
        self.refuse(self.train_words(self.good["vera"], "vera", method__rank="24", seed="2"), "method.projection_seed=1, not 2")
        self.refuse(self.train_words(self.good["vblora"], "vblora", method__bank="20"), "cannot be trained on", hint="--format theta")
        self.refuse(["train", *self.settings("bad", method="vera", method__projection="file")], "train.start", status=USAGE)
        self.refuse(["train", *self.settings("bad", method="unilora", method__projection="file", train__start=self.good["unilora"])], "method.projection=seed, not file")

    def test_overridden_options(self):
        self.refuse([*self.evaluate_words(self.good["lora"]), "method.alpha=9"], "method.alpha=8, not 9")
        self.refuse([*self.evaluate_words(self.good["lora"]), "method=head"], self.good["lora"], "lora, not head", status=USAGE)

    def test_usage(self):
        self.refuse(["evaluate", "--adapter"], "--adapter", status=USAGE)
        self.refuse(["export", self.runs["lora"]], "--out", status=USAGE)
        self.refuse(["export", self.runs["lora"], "--out", self.at("x"), "--format", "pfet"], "pfet", status=USAGE)
        self.refuse(["export", self.runs["lora"], "--out", self.at("x"), "--only-top-k"], "--only-top-k", status=USAGE)
        self.refuse(["export", "--out", self.at("x")], "one run file", status=USAGE)
        self.refuse(["export", self.runs["lora"], "--out", self.at("no/such/folder/x")], "no/such/folder")
        self.refuse(["export", self.data, "--out", self.at("x")], self.data)
        self.refuse(["merge", self.runs["lora"]], "--out", status=USAGE)
        self.refuse(["import", self.peft["lora"]], "--out", status=USAGE, ranks=(0,))

    # ---- what PEFT does not have ----

    def test_refused_exports(self):
        for words, part in ((["method=tied"], "tied"), (["method=red"], "red"), (["method=head"], "head"), (["method=bitfit"], "bitfit"), (["method=full"], "full"),
                            (["method=lora", "method.modules=qkv"], "qkv"), (["method=glora", "method.b=vector"], "A lora, B vector"),
                            (["method=glora", "method.path=random"], "super-network"), (["method=glora", "method.path=listed", "method.paths=16,16,16,0"], "one path")):
            run = train(*self.settings("refused", train__steps="1", output__dir=self.at("good")), *words)
            self.refuse(["export", run, "--format", "peft", "--out", self.at("never")], part, status=USAGE, ranks=(2,), hint="merge")
            self.assertFalse(os.path.exists(self.at("never")))

    # ---- PEFT directories ----

    def spoilt_peft(self, method, settings=None, change=None, raw=None):
        directory = self.at("spoilt-peft")
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(self.peft[method], directory)
        config = os.path.join(directory, "adapter_config.json")
        if settings:
            with open(config, encoding="utf-8") as file:
                content = json.load(file)
            content.update(settings)
            with open(config, "w", encoding="utf-8") as file:
                json.dump({key: value for key, value in content.items() if value != "absent"}, file)
        if raw is not None:
            with open(config, "wb") as file:
                file.write(raw)
        if change:
            path = os.path.join(directory, "adapter_model.safetensors")
            tensors.edit(path, path, change)
        return directory

    def refuse_peft(self, method, *parts, hint=None, **spoilt):
        directory = self.spoilt_peft(method, **spoilt)
        self.refuse(["import", directory, "--model", self.model, "--out", self.at("never.safetensors")], directory, *parts, ranks=(0,), hint=hint)
        self.assertFalse(os.path.exists(self.at("never.safetensors")))

    def test_peft_settings(self):
        for settings, part in (({"r": 0}, "'r'"), ({"r": "8"}, "'r'"), ({"r": 2.5}, "'r'"), ({"r": 1e18}, "'r'"), ({"r": "absent"}, "'r'"), ({"r": 4}, "wrong shape"),
                               ({"lora_alpha": None}, "lora_alpha"), ({"lora_alpha": -1}, "lora_alpha"), ({"peft_type": "IA3"}, "IA3"), ({"peft_type": 3}, "peft_type"),
                               ({"peft_type": "VERA"}, "save_projection"), ({"target_modules": 7}, "target_modules"), ({"target_modules": ["query", 7]}, "target_modules"),
                               ({"target_modules": ["query", "key"]}, "'key'"), ({"modules_to_save": ["pooler"]}, "pooler"), ({"modules_to_save": "classifier"}, "modules_to_save"),
                               ({"use_rslora": True}, "use_rslora"), ({"use_dora": True}, "use_dora"), ({"bias": "all"}, "bias"), ({"layers_to_transform": [0]}, "layers_to_transform"),
                               ({"rank_pattern": {"q": 1}}, "rank_pattern"), ({"alpha_pattern": {"q": 1}}, "alpha_pattern"), ({"fan_in_fan_out": True}, "fan_in_fan_out"),
                               ({"new_idea": 1}, "new_idea"), ({"init_lora_weights": "pissa"}, "pissa"), ({"task_type": "CAUSAL_LM"}, "CAUSAL_LM")):
            self.refuse_peft("lora", part, settings=settings)
        for raw in (b"", b"[]", b"{", b"{} {}", b'{"peft_type": "LORA"', b"\xff\xfe\x00", b'{"r": 8, "r": 9}', b"[" * 100000):
            self.refuse_peft("lora", raw=raw)
        self.refuse_peft("vera", "save_projection", settings={"save_projection": False}, hint="save_projection=True")
        self.refuse_peft("unilora", "save_indices", settings={"save_indices": False}, hint="save_indices=True")
        self.refuse_peft("unilora", "theta_d_length", settings={"theta_d_length": 1 << 40})
        self.refuse_peft("unilora", "unilora_theta_d", settings={"theta_d_length": 7})
        self.refuse_peft("vblora", "topk", settings={"topk": 99})
        self.refuse_peft("vblora", "vector_bank", settings={"num_vectors": 21})
        self.refuse_peft("vblora", "topk_indices", settings={"save_only_topk_weights": True})

    def test_peft_tensors(self):
        name = "base_model.model.encoder.layer.1.attention.self.query.lora_A.weight"
        self.refuse_peft("lora", name, "missing", change=lambda t, n: t.pop(name))
        self.refuse_peft("lora", name, "[8, 32]", change=lambda t, n: t.update({name: t[name].T.copy()}))
        self.refuse_peft("lora", name, "I32", change=lambda t, n: t.update({name: t[name].astype(np.int32)}))
        self.refuse_peft("lora", "stray", change=lambda t, n: t.update({"stray": t[name]}))
        for stray in ("layer.7.attention.self.query.lora_A.weight", "layer.1.attention.self.qurey.lora_A.weight", "layer.99999999999999999999.output.dense.lora_A.weight",
                      "layer.-1.attention.self.query.lora_A.weight"):
            self.refuse_peft("lora", stray, change=lambda t, n: t.update({"base_model.model.encoder." + stray: t[name]}))
        self.refuse_peft("lora", "pooler", change=lambda t, n: t.update({"base_model.model.pooler.dense.lora_A.weight": t[name]}), hint="pooler")
        self.refuse_peft("lora", "prefix", change=lambda t, n: t.update({name.replace("model.encoder", "model.bert.encoder"): t.pop(name)}))
        self.refuse_peft("lora", "1 of 2 layers", change=lambda t, n: [t.pop(key) for key in list(t) if "layer.1.attention.self.value" in key])
        self.refuse_peft("lora", "no linear map", change=lambda t, n: t.clear())

        def nan(t, n):
            t[name][0, 5] = np.nan
        self.refuse_peft("lora", name, "element 5", change=nan)

        index = "base_model.model.encoder.layer.0.attention.self.value.unilora_indices_B"
        for value in (-1, 1 << 40):
            def outside(t, n):
                t[index][1, 1] = value
            self.refuse_peft("unilora", index, "element 5", change=outside)

        def scaled(t, n):
            t[index.replace("indices", "scales")][0, 0] *= 2
        self.refuse_peft("unilora", "unilora_scales_B", "element 0", change=scaled)
        self.refuse_peft("vera", "vera_A", "missing", change=lambda t, n: t.pop("base_model.vera_A"))
        self.refuse_peft("vera", "vera_B", "[32, 24]", change=lambda t, n: t.update({"base_model.vera_B": t["base_model.vera_B"][:16].copy()}))

    def test_peft_model_and_head(self):
        directory = self.spoilt_peft("lora")
        words = ["--out", self.at("never.safetensors")]
        self.refuse(["import", directory, *words], "base model", ranks=(0,), hint="--model")
        self.refuse(["import", directory, "--model", self.at("nowhere"), *words], self.at("nowhere"), ranks=(0,))
        self.refuse(["import", directory, "--model", self.other, *words], "wrong shape", ranks=(0,))
        self.refuse(["import", self.at("nowhere"), "--model", self.model, *words], self.at("nowhere") + ": cannot open", ranks=(0,))
        head = os.path.join(directory, "head.safetensors")
        for change in (lambda t, n: n.pop("task.objective"), lambda t, n: n.update({"task.classes": "9" * 30}), lambda t, n: t.pop("classifier.out_proj.bias"),
                       lambda t, n: n.update({"model.head": "tanh"}), lambda t, n: t.update({"more": t["classifier.out_proj.bias"]}),
                       lambda t, n: t.update({"classifier.out_proj.weight": t["classifier.out_proj.weight"] * np.float32(np.nan)})):
            directory = self.spoilt_peft("lora")
            tensors.edit(head, head, change)
            self.refuse(["import", directory, "--model", self.model, *words], head, ranks=(0,))
        os.remove(head)
        directory = self.spoilt_peft("lora", change=lambda t, n: t.update({"base_model.model.classifier.weight": np.zeros((3, 32), np.float32)}))
        os.remove(head)
        self.refuse(["import", directory, "--model", self.model, *words], "classifier", ranks=(0,))
        self.assertFalse(os.path.exists(words[1]))


if __name__ == "__main__":
    main()
