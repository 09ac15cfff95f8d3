#!/usr/bin/python3
# needs: oracle
# timeout: 900
"""Adapters go to Hugging Face's PEFT and come back: each side predicts what the other does, and what cannot be taken over is refused by name.

PEFTSCALE_ORACLE: a folder with bin/python3 that has torch, transformers and peft. Run: test_peft_exchange.py [-v]
"""

import json
import os
import subprocess
import sys

ORACLE = os.path.join(os.environ.get("PEFTSCALE_ORACLE") or "/nonexistent", "bin", "python3")
if not os.access(ORACLE, os.X_OK):
    print("needs oracle: PEFTSCALE_ORACLE names no folder with bin/python3")
    sys.exit(77)

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
import tensors  # noqa: E402
from harness import ROOT, Case, environment, main, make_tiny, methods, np, peftscale, read, succeed, train  # noqa: E402

TOLERANCE = 2e-5  # of the largest logit


class Oracle:
    """One process for all requests: it takes long to start."""

    def __init__(self):
        self.process = subprocess.Popen([ORACLE, os.path.join(ROOT, "tests", "support", "peft_reference.py")], env=environment(), stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def __call__(self, *words):
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        reply = json.loads(self.process.stdout.readline() or '{"error": "it ended"}')
        if "error" in reply:
            raise AssertionError(f"{' '.join(words)}: {reply['error']}")
        return reply["answer"]

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(60)


def one_segment(file):
    for split in ("train", "validation", "test"):
        file[split]["segment_start"][...] = file[split]["target_start"][...]


class Exchange(Case):
    OUT = {
        "lora": ["method=lora", "method.rank=3", "method.alpha=6"],
        "lora-all": ["method=lora", "method.modules=all", "method.rank=2"],
        "lora-down": ["method=lora", "method.modules=down,k", "method.rank=2"],
        "vera": ["method=vera", "method.rank=24", "method.modules=q,v,up"],
        "vblora": ["method=vblora", "method.bank=20"],
        "vblora-300": ["method=vblora", "method.bank=300", "method.top_k=3", "method.modules=q,o"],
        "unilora": ["method=unilora", "method.modules=k,v,down"],
        "glora": ["method=glora"],
        "glora-vector": ["method=glora", "method.a=vector", "method.b=vector", "method.c=vector", "method.d=constant", "method.e=constant"],
        "glora-none": ["method=glora", "method.a=constant", "method.b=constant", "method.c=none", "method.d=none", "method.e=none"],
        "glora-listed": ["method=glora", "method.path=listed", "method.paths=16,16,16,16"],
    }

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.data = make_tiny.write_dataset(cls.at("data.h5"), counts=(48, 12, 12), longest=40)
        cls.plain = make_tiny.write_dataset(cls.at("plain.h5"), counts=(48, 12, 12), longest=40, change=one_segment)
        cls.roberta = cls.at("roberta")
        cls.oracle = Oracle()
        cls.addClassCleanup(cls.oracle.close)
        cls.oracle("base", cls.roberta)

    def examples(self, data):
        tokens, offsets, seconds = (read(data, f"test/{name}") for name in ("tokens", "offsets", "segment_start"))
        rows = []
        for i, second in enumerate(seconds):
            row = tokens[offsets[i]:offsets[i + 1]]
            rows.append([row.tolist(), [int(j >= second) for j in range(len(row))]])
        path = self.at("examples.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(rows, file)
        return path

    def close(self, found, wanted):
        self.assertEqual(np.shape(found), wanted.shape)
        self.assertLess(np.max(np.abs(found - wanted)), TOLERANCE * np.max(np.abs(wanted)))

    def check_out(self, name, words, base, data, *more):
        """run -> PEFT: PEFT's logits; and back again: our own, bit for bit (from whole logits)."""
        run = train(*self.settings(name, model__path=base, task__data=data, train__steps="3", train__lr="2e-2"), *words)
        directory, back = self.at(f"peft-{name}"), self.at(f"back-{name}.safetensors")
        succeed("export", run, "--format", "peft", "--out", directory, *more)
        wanted = read(run, "predictions/test")["score"]
        self.close(self.oracle("predict", base, directory, self.examples(data)), wanted)
        succeed("import", directory, "--model", base, "--out", back)
        found = self.logits(back, base, data)
        if more:
            self.close(found, wanted)
        else:
            np.testing.assert_array_equal(found, wanted)

    def logits(self, path, base, data):
        out = self.at("p.tsv")
        succeed("predict", "--adapter", path, f"model.path={base}", f"task.data={data}", "--out", out)
        with open(out, encoding="utf-8") as file:
            return np.array([line.split("\t")[4:] for line in file.read().splitlines()[1:]], np.float32)

    def test_out_and_back(self):
        for name, words in self.OUT.items():
            with self.subTest(adapter=name):
                self.check_out(name, words, self.model, self.data)

    def test_top_k_alone(self):
        for name in ("vblora", "vblora-300"):
            with self.subTest(adapter=name):
                self.check_out(f"{name}-top-k", self.OUT[name], self.model, self.data, "--only-top-k")

    def test_classifier(self):
        """RoBERTa with its own head becomes an adapter of RobertaForSequenceClassification."""
        for name in ("lora", "vera", "unilora"):
            with self.subTest(adapter=name):
                self.check_out(f"roberta-{name}", [*self.OUT[name], "model.head=tanh", "model.pooling=first"], self.roberta, self.plain)
        self.check_out("roberta-mean", self.OUT["lora"], self.roberta, self.plain)

    def test_merged(self):
        """A merged model, loaded by transformers, under the run's head: what methods without a form in PEFT can do."""
        for method in methods():
            with self.subTest(method=method):
                run = train(*self.settings(f"merged-{method}", method=method, task__data=self.data, train__steps="3", train__lr="1e-2"))
                directory, beside = self.at(f"merged-{method}"), self.at("only-head")
                succeed("merge", run, "--out", directory)
                self.write_head(run, beside)
                self.close(self.oracle("predict", directory, beside, self.examples(self.data)), read(run, "predictions/test")["score"])

    def write_head(self, run, directory):
        os.makedirs(directory, exist_ok=True)
        theta, parts = read(run, "theta"), {}
        for row in read(run, "segments"):
            if row["counts_as"] == b"head":
                part = theta[row["offset"]:row["offset"] + row["rows"] * row["cols"]].reshape(row["rows"], row["cols"])
                parts[row["name"].decode()] = part if row["name"].endswith(b"weight") else part[0]
        tensors.write(os.path.join(directory, "head.safetensors"), parts, {})

    def test_in(self):
        """What PEFT itself made and saved."""
        for kind in ("lora", "lora-all", "vera", "vera-wide", "vblora", "vblora-top-k", "unilora", "glora", "glora-vector", "glora-constant", "classifier"):
            with self.subTest(kind=kind):
                base, data = (self.roberta, self.plain) if kind == "classifier" else (self.model, self.data)
                directory, path = self.at(f"made-{kind}"), self.at(f"made-{kind}.safetensors")
                self.oracle("make", kind, base, directory)
                succeed("import", directory, "--model", base, "--out", path)
                wanted = np.array(self.oracle("predict", base, directory, self.examples(data)), np.float32)
                self.close(self.logits(path, base, data), wanted)
                self.check_start(kind, path, base, data)

    def check_start(self, kind, path, base, data):
        """Training goes on from it, with the frozen numbers that it brought; the run then evaluates to what it wrote down."""
        notes = tensors.read(path)[1]
        words = [f"{key}={value}" for key, value in notes.items() if key.startswith("method.") or key in ("model.pooling", "model.head")]
        settings = [*self.settings(f"start-{kind}", model__path=base, task__data=data, train__steps="2", train__start=path), f"method={notes['method']}", *words]
        if notes["form"] == "result" and notes["method"] == "vblora":
            outcome = peftscale("train", *settings, ranks=1)
            self.assertEqual((outcome.status, len(outcome.errors)), (1, 1), str(outcome))
            self.assertIn("cannot be trained on", outcome.errors[0])
            return
        run = train(*settings)
        out = self.at("s.tsv")
        succeed("predict", run, "--out", out)
        with open(out, encoding="utf-8") as file:
            found = np.array([line.split("\t")[4:] for line in file.read().splitlines()[1:]], np.float32)
        np.testing.assert_array_equal(found, read(run, "predictions/test")["score"])

    def test_refused_from_peft(self):
        for kind, part in (("vera-no-pair", "save_projection"), ("unilora-no-index", "save_indices"), ("rslora", "use_rslora"), ("dora", "use_dora"), ("bias", "bias"),
                           ("one-layer", "layers_to_transform"), ("rank-pattern", "rank_pattern"), ("pooler", "pooler"), ("word-embeddings", "word_embeddings")):
            with self.subTest(kind=kind):
                directory = self.at(f"refused-{kind}")
                self.oracle("make", kind, self.model, directory)
                outcome = peftscale("import", directory, "--model", self.model, "--out", self.at("none.safetensors"))
                self.assertEqual((outcome.status, len(outcome.errors)), (1, 1), str(outcome))
                self.assertIn(part, outcome.errors[0])
                self.assertFalse(os.path.exists(self.at("none.safetensors")))


if __name__ == "__main__":
    main()
