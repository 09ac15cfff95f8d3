#!/usr/bin/python3
"""The program as its user meets it: help, JSON, exit codes, counts of known models, origins of configuration values. Run: test_cli.py [-v]"""

import json
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
from harness import ROOT, Case, main, make_tiny, methods, peftscale, succeed, train  # noqa: E402

VERBS = ["train", "evaluate", "predict", "search", "export", "import", "merge", "check", "count", "config", "list", "info"]
COUNT_COLUMNS = ["model", "method", "modules", "trainable", "stored_bytes", "stored_floats", "regenerated_bytes", "sent_floats", "sent_floats_with_head", "head_floats",
                 "base_floats"]

# Numbers of the papers and of Hugging Face's models (without their poolers, which no fine-tuned classifier of these families loads).
PUBLISHED = [
    ("roberta-base", "lora", ["rank=8", "modules=q,v"], 294_912),
    ("roberta-large", "lora", ["rank=8", "modules=q,v"], 786_432),
    ("roberta-base", "lora", ["rank=16", "modules=all"], 12 * 16 * (4 * 2 * 768 + 2 * (768 + 3072))),
    ("bert-base", "lora", ["rank=4", "modules=q"], 12 * 4 * 2 * 768),
    ("roberta-base", "bitfit", [], 102_144),  # 12 (9 + 2) 768 + 768: q, k, v, o, up (4 x 768), down, two norms; the embeddings' norm
    ("roberta-large", "bitfit", [], 271_360),
    ("bert-base", "bitfit", [], 102_144),
    ("roberta-base", "full", [], 124_055_040),
    ("roberta-large", "full", [], 354_310_144),
    ("bert-base", "full", [], 108_891_648),
    ("minilm-l6", "full", [], 22_565_376),
    ("roberta-base", "head", [], 0),
]


class CommandLine(Case):
    def refuse(self, words, message, status=2, hint=None):
        outcome = peftscale(*words)
        self.assertEqual((outcome.status, len(outcome.errors)), (status, 1), str(outcome))
        self.assertIn(message, outcome.errors[0])
        self.assertEqual(outcome.out, "")
        if hint:
            self.assertIn(hint, outcome.err)

    # ---- help ----

    def test_help(self):
        for words in ("--help", "-h", "help"):
            out = succeed(words).out
            for verb in VERBS:
                self.assertRegex(out, rf"(?m)^  {verb} +\w")
            for status in ("0 done", "1 failed", "2 wrong usage", "75 stopped"):
                self.assertIn(status, out)
        outcome = peftscale()
        self.assertEqual((outcome.status, outcome.out), (2, ""))
        self.assertIn("usage:", outcome.err)

    def test_help_of_each_verb(self):
        for verb in VERBS:
            with self.subTest(verb=verb):
                out = succeed(verb, "--help").out
                self.assertEqual(out, succeed(verb, "anything", "-h").out)
                self.assertRegex(out, rf"(?m)^usage: .*peftscale {verb}\b")
                self.assertIn("--json", out)
                self.assertRegex(out, rf"(?m)^example:\n  .*peftscale {verb} ")

    def test_examples_that_need_no_files(self):
        """What a help text shows can be typed."""
        for verb in ("count", "config", "list", "info"):
            example = re.search(r"(?m)^example:\n  peftscale (.*)$", succeed(verb, "--help").out)[1]
            self.assertTrue(succeed(*example.split()).out, example)

    # ---- JSON ----

    def test_json(self):
        for words, keys in ((["count", "--model", "bert-base", "--method", "lora"], COUNT_COLUMNS), (["config", "method=lora"], ["seed", "train", "method"]),
                            (["list"], ["methods", "families", "models", "tasks"]), (["list", "tasks"], ["tasks"]), (["info"], ["version", "compiler", "mpi", "blas"])):
            with self.subTest(words=words):
                found = json.loads(succeed(*words, "--json").out)
                self.assertLessEqual(set(keys), set(found))

    def test_json_of_a_training(self):
        words = self.settings("told", method="lora", train__epochs="1")
        told = json.loads(succeed("train", *words, "--json").out)
        self.assertEqual(told["run"], self.at("runs/told.h5"))
        self.assertEqual([len(told[key]) for key in ("experiment_id", "run_id")], [32, 32])
        self.assertEqual(succeed("train", *words, "--quiet").out.splitlines()[-1], told["run"])
        found = json.loads(succeed("evaluate", told["run"], "--json").out)
        self.assertLessEqual({"split", "count", "metric", "accuracy", "f1", "matthews", "loss"}, set(found))
        rows = [json.loads(line) for line in succeed("predict", told["run"], "--json").out.splitlines()]
        self.assertEqual(len(rows), found["count"])
        self.assertEqual(set(rows[0]), {"example", "label", "prediction", "class", "logits"})

    def test_quiet_and_verbose(self):
        words = ["train", *self.settings("quiet", method="head", train__epochs="1")]
        self.assertEqual(succeed(*words, "--quiet").err, "")
        self.assertIn("validation", succeed(*words).err)

    # ---- counting ----

    def test_count_columns(self):
        head, row = succeed("count", "--model", "roberta-base", "--method", "lora", "rank=8", "modules=q,v", "--tsv").out.splitlines()
        self.assertEqual(head.split("\t"), COUNT_COLUMNS)
        self.assertEqual(row.split("\t"), ["roberta-base", "lora", "q,v", "294912", str(4 * 294912), "294912", "0", "294912", str(294912 + 592130), "592130", "124055040"])

    def test_published_counts(self):
        for model, method, options, trainable in PUBLISHED:
            with self.subTest(model=model, method=method):
                found = json.loads(succeed("count", "--model", model, "--method", method, *options, "--json").out)
                self.assertEqual(found["trainable"], trainable)
                self.assertEqual(found["sent_floats"], trainable)
                self.assertEqual(found["stored_bytes"], 4 * trainable)

    def test_count_of_every_method(self):
        for method in methods():
            with self.subTest(method=method):
                found = json.loads(succeed("count", "--model", "minilm-l6", "--method", method, "--json").out)
                self.assertLessEqual(found["trainable"], 22_565_376)
                self.assertEqual(found["head_floats"], 2 * 384 + 2)

    def test_count_of_a_directory(self):
        """Sizes come from its config.json, no weights are needed; a training then counts the same."""
        found = json.loads(succeed("count", "--model", self.model, "--method", "full", "--classes", "3", "--json").out)
        sizes = [tensor.size for tensor in make_tiny.read_safetensors(os.path.join(self.model, "model.safetensors")).values()]
        self.assertEqual(found["trainable"], sum(sizes))
        self.assertEqual(found["head_floats"], 3 * 32 + 3)

    def test_refused_counts(self):
        self.refuse(["count", "--method", "lora"], "--model NAME")
        self.refuse(["count", "--model", "roberta-bse", "--method", "lora"], "roberta-bse", hint="roberta-base")
        self.refuse(["count", "--model", "roberta-base", "--method", "loar"], "loar", hint="lora")
        self.refuse(["count", "--model", "roberta-base", "--method", "lora", "rnak=8"], "rnak", hint="rank")
        self.refuse(["count", "--model", "roberta-base", "--method", "lora", "rank=0"], "rank")
        self.refuse(["count", "--model", "roberta-base", "--method", "lora", "modules=" + "q," * 100 + "x"], "modules")
        self.refuse(["count", "--model", "roberta-base", "--method", "lora", "--head", "tnah"], "tnah")
        self.refuse(["count", "--model", "roberta-base", "--method", "lora", "--classes", "two"], "two")
        self.refuse(["count", "--model", self.folder.name, "--method", "lora"], "config.json", status=1)

    # ---- configuration ----

    def test_origins(self):
        study = self.at("study.yaml")
        with open(study, "w", encoding="utf-8") as file:
            file.write("train:\n  batch: 16\n  lr: 2e-3\n")
        found = json.loads(succeed("config", study, "model=minilm-l6", "task=cola", "method=lora", "train.lr=5e-4", "--json").out)
        wanted = {("train", "lr"): (5e-4, "command line"), ("train", "batch"): (16, f"{study}:2"), ("train", "beta1"): (0.9, "configs/base.yaml"),
                  ("train", "epochs"): (5, "configs/task/cola.yaml"), ("model", "path"): ("minilm-l6", "configs/model/minilm-l6.yaml"),
                  ("method", "rank"): (8, "configs/method/lora.yaml"), ("model", "layers"): (2, "default")}
        for (section, key), (value, origin) in wanted.items():
            self.assertEqual(found[section][key]["value"], value)
            self.assertIn(origin, found[section][key]["origin"])
        lines = succeed("config", study, "method=lora").out
        self.assertRegex(lines, rf"(?m)^train\.batch +16 +{re.escape(study)}:2$")

    def test_keys(self):
        out = succeed("config", "--keys").out
        for key in ("seed", "train.lr_head", "output.export_dir"):
            self.assertRegex(out, rf"(?m)^{re.escape(key)} ")

    def test_refused_words(self):
        self.refuse(["conifg"], "conifg", hint="did you mean 'config'")
        self.refuse(["config", "--jsn"], "--jsn", hint="did you mean --json")
        self.refuse(["config", "--json=yes"], "--json")
        self.refuse(["config", "--json", "--keys"], "--keys")
        self.refuse(["config", "train.lr"], "train.lr", status=1)  # a word without '=' is a study file
        self.refuse(["config", "train.lrr=1"], "train.lrr", hint="train.lr")
        self.refuse(["config", "task=clo"], "clo", hint="cola")
        self.refuse(["list", "method"], "method", hint="methods")
        self.refuse(["list", "methods", "tasks"], "one word")
        self.refuse(["info", "all"], "no words")
        self.refuse(["count", "--model", "bert-base", "--method", "lora", *["rank=8"] * 300], "arguments")

    def test_configuration_directory(self):
        """configs/ is found beside the program, whatever the directory it is started in."""
        words = ["config", "task=cola"]
        found = succeed(*words, changes={"PEFTSCALE_CONFIGS": os.path.join(ROOT, "configs")}).out
        self.assertIn("cola-wordpiece.h5", found)
        self.refuse_without_configs(words)

    def refuse_without_configs(self, words):
        outcome = peftscale(*words, changes={"PEFTSCALE_CONFIGS": self.folder.name})
        self.assertEqual((outcome.status, len(outcome.errors)), (1, 1), str(outcome))
        self.assertIn("PEFTSCALE_CONFIGS", outcome.errors[0])

    def test_two_runs_of_one_kind(self):
        """The same command line gives the same identity; another seed another one."""
        ids = [json.loads(succeed("train", *self.settings("twin", method="head", train__epochs="1", seed=seed), "--json", "--quiet").out) for seed in ("1", "1", "2")]
        self.assertEqual(ids[0], ids[1])
        self.assertNotEqual(ids[0]["experiment_id"], ids[2]["experiment_id"])

    def test_file_name(self):
        """auto: TASK-METHOD-sSEED-RUNID8; without a task, the name in the data set."""
        run = train(*self.settings("auto", method="head", train__epochs="1", seed="7"))
        self.assertRegex(os.path.basename(run), r"^tiny-head-s7-[0-9a-f]{8}\.h5$")


if __name__ == "__main__":
    main()
