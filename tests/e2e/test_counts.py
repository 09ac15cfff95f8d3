#!/usr/bin/python3
"""Counting without weights: printed figures of papers, models of every size, and what cannot be trained. Run: test_counts.py [-v]"""

import json
import os
import resource
import subprocess
import sys
from fractions import Fraction

sys.path[:0] = [os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), folder) for folder in ("support", "counts")]
from harness import PROGRAM, ROOT, Case, environment, main, methods, peftscale, succeed  # noqa: E402

import compare_counts  # noqa: E402

COMPARE = os.path.join(ROOT, "tests", "counts", "compare_counts.py")
LORA = "2106.09685 T2\troberta-base\tlora\trank=8 modules=q,v\t"


def run_compare(*arguments):
    ended = subprocess.run([sys.executable, COMPARE, "--program", PROGRAM, *arguments], capture_output=True, text=True, timeout=120, env=environment())
    return ended.returncode, ended.stdout + ended.stderr


def processor_s():
    """Of all ended children: does not grow on a busy machine."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def models():
    return json.loads(succeed("list", "models", "--json").out)["models"]


class PrintedFigures(Case):
    def test_all_rows(self):
        status, out = run_compare()
        self.assertEqual(status, 0, out)
        self.assertIn(", 0 FAIL", out)

    def test_what_vb_lora_sends(self):
        """The bank and k numbers per tile travel, instead of all logits (2405.15179: h b + k n against h b + h n floats)."""
        for model, words, trained, sent in (("roberta-base", ("bank=90", "modules=q,v"), 74_880, 24_192), ("llama2-7b", ("bank=2048", "modules=all"), 80_478_208, 602_368)):
            with self.subTest(model=model):
                counted = json.loads(succeed("count", "--model", model, "--method", "vblora", "vector_length=256", *words, "--json").out)
                self.assertEqual((counted["trainable"], counted["sent_floats"]), (trained, sent))

    def compare_rows(self, *rows):
        path = self.at("table.tsv")
        with open(path, "w", encoding="utf-8") as file:
            file.write("\t".join(compare_counts.COLUMNS) + "\n" + "".join(row + "\n" for row in rows))
        return run_compare("--table", path)

    def test_verdicts(self):
        for row, verdict, status in (
                (LORA + "trainable\t0.29M\tmatch\t-", "1 match", 0), (LORA + "trainable\t0.30M\tmatch\t-", "1 FAIL", 1), (LORA + "stored\t294.912K\tmatch\t-", "1 match", 0),
                (LORA + "trainable\t0.2949M\tmatch\t-", "1 match", 0), (LORA + "trainable\t294.91K\tmatch\t-", "1 match", 0), (LORA + "trainable\t0.2M\tmatch\t-", "truncation", 0),
                (LORA + "trainable\t0.5M\tdiffers\ta slip", "known reason: a slip", 0), (LORA + "trainable\t0.3M\tdiffers\ta slip", "said not to", 1),
                (LORA + "trainable\t0.2M\tdiffers\ta slip", "said not to", 1), (LORA + "trainable % of lora rank=64 modules=q,v\t12.5%\tmatch\t-", "1 match", 0),
                (LORA + "trainable % of lora rank=64 modules=q,v\t12.4%\tmatch\t-", "1 FAIL", 1), (LORA + "numbers\t0.3M\tmatch\t-", "no figure 'numbers'", 1),
                ("x\tx\tother\t-\t= 12 * 10**3\t12K\tabsent\tanother method", "1 not in the suite", 0), ("x\tx\tother\t-\t= 12 * 10**3\t13K\tabsent\tanother method", "1 FAIL", 1),
                ("x\tx\tother\t-\t-\t13K\tabsent\tanother method", "1 not in the suite", 0), ("x\tx\tother\t-\t= 13000\t13K\tformula\tno model", "1 formula only", 0),
                ("x\tx\tother\t-\t= print(1)\t13K\tformula\tno model", "1 FAIL", 1), ("x\troberta-base\tother\t-\ttrainable\t13K\tmatch\t-", "there is no method 'other'", 1),
                ("x\tnone\tlora\t-\ttrainable\t13K\tmatch\t-", "1 FAIL", 1), (LORA + "trainable\t0.3Q\tmatch\t-", "1 FAIL", 1)):
            with self.subTest(row=row):
                code, out = self.compare_rows(row)
                self.assertEqual(code, status, out)
                self.assertIn(verdict, out)

    def test_a_row_without_a_reason_is_refused(self):
        for row in (LORA + "trainable\t0.5M\tdiffers\t-", LORA + "trainable\t0.3M\tperhaps\t-", LORA + "trainable"):
            status, out = self.compare_rows(row)
            self.assertEqual(status, 1)
            self.assertIn("no proper row", out)

    def test_rounding(self):
        for value, printed, verdict in ((36864, "36.9K", "match"), (36864, "36.8K", "match by truncation"), (36864, "36.7K", None), (2048, "2K", "match"), (1500, "2K", "match"),
                                        (1499, "1K", "match"), (884832, "884832", "match"), (884833, "884832", None), (Fraction(1, 3), "0.33%", "match")):
            self.assertEqual(compare_counts.compare(Fraction(value), printed), verdict, (value, printed))


class ManyModels(Case):
    def test_every_method_on_every_model(self):
        """Sizes never matter: well under a second each, and lines fit 80 columns."""
        for model in models():
            for method in methods():
                with self.subTest(model=model["name"], method=method):
                    begun = processor_s()
                    out = succeed("count", "--model", model["name"], "--method", method).out
                    self.assertLess(processor_s() - begun, 0.5)
                    self.assertLessEqual(max(map(len, out.splitlines())), 80, out)

    def test_memory(self):
        """A few megabytes more than the program takes for nothing."""
        used = {}
        for words in (("info",), ("count", "--model", "gpt3-175b", "--method", "lora", "modules=all")):
            child = os.fork()
            if not child:
                with open(os.devnull, "w", encoding="ascii") as nothing:
                    os.dup2(nothing.fileno(), 1)
                os.chdir(ROOT)
                os.execve(PROGRAM, [PROGRAM, *words], environment())
            _, status, usage = os.wait4(child, 0)
            self.assertEqual(status, 0)
            used[words[0]] = usage.ru_maxrss
        self.assertLess(used["count"] - used["info"], 16 * 1024)

    def test_numbers_belong_together(self):
        for words in (["--model", "llama2-7b", "--method", "lora", "rank=64", "modules=all"], ["--model", "roberta-base", "--method", "full", "--classes", "5"],
                      ["--model", "vit-b", "--method", "bitfit", "--head", "tanh"]):
            found = json.loads(succeed("count", *words, "--json").out)
            self.assertEqual(found["stored_floats"], found["stored_bytes"] / 4)
            self.assertEqual(found["sent_floats_with_head"], found["sent_floats"] + found["head_floats"])
            self.assertEqual(found["regenerated_bytes"], 0)
            names, values = succeed("count", *words, "--tsv").out.splitlines()
            self.assertEqual(dict(zip(names.split("\t"), values.split("\t"))), {name: str(int(v)) if isinstance(v, float) else str(v) for name, v in found.items()})

    def test_heads(self):
        for head, numbers in (("linear", 768 * 4 + 4), ("tanh", 768 * 768 + 768 + 768 * 4 + 4)):
            found = json.loads(succeed("count", "--model", "vit-b", "--method", "head", "--head", head, "--classes", "4", "--json").out)
            self.assertEqual(found["head_floats"], numbers)

    def test_fused_map(self):
        """qkv is one map [q; k; v], and no part of `all`."""
        counted = {modules: json.loads(succeed("count", "--model", "mistral-7b", "--method", "lora", "rank=1", f"modules={modules}", "--json").out)["trainable"]
                   for modules in ("qkv", "q", "k", "v", "o", "gate,up,down", "all")}
        self.assertEqual(counted["qkv"], 32 * (4096 + 4096 + 1024 + 1024))
        self.assertEqual(counted["all"], sum(counted[modules] for modules in ("q", "k", "v", "o", "gate,up,down")))

    def test_maps_that_a_model_lacks(self):
        outcome = peftscale("count", "--model", "roberta-base", "--method", "lora", "modules=gate")
        self.assertEqual(outcome.status, 2, str(outcome))
        self.assertIn("no linear map", outcome.err)


class CountedOnly(Case):
    def test_marks(self):
        marked = {model["name"] for model in models() if "counted only" in model["about"]}
        self.assertLessEqual({"gpt2", "gpt3-175b", "llama2-7b", "mistral-7b", "gemma-7b", "vit-b", "t5-base"}, marked)
        self.assertFalse({"roberta-base", "bert-base", "minilm-l6"} & marked)

    def test_no_training(self):
        folder = self.at("gpt2")
        os.makedirs(folder)
        with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
            json.dump({"model_type": "gpt2", "n_layer": 12, "n_embd": 768}, file)
        for changed in ({"model__path": folder}, {"model__path": "", "model__init": "random", "model__family": "gpt2"}):
            outcome = peftscale("train", *self.settings("never", method="lora", **changed))
            self.assertNotEqual(outcome.status, 0)
            self.assertEqual(len(outcome.errors), 1, str(outcome))
            self.assertIn("gpt2", outcome.errors[0])


if __name__ == "__main__":
    main()
