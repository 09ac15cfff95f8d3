#!/usr/bin/env python3
"""Published numbers: their files, what is refused, that they stand beside ours, never among them. Run: python3 tests/analysis/test_published.py [-v]"""

import csv
import io
import sys
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/support"))

try:
    import h5py  # noqa: F401
    import pandas  # noqa: F401
except ImportError as e:
    print(f"skipped: no {e.name} (Debian's python3-{e.name})")
    sys.exit(77)

import tap  # noqa: E402
from folders import FolderCase  # noqa: E402
from made_runs import analyse, write_run  # noqa: E402

from analysis.published.read import COUNTS, OWN, SCORES, count_of, read_published, shift  # noqa: E402

SCORE = dict(zip(SCORES, ("Mine", "9901.00001 T1", "minilm-l6", "lora", "modules=q,v", "trec6", "accuracy", "94.20", "0.5", "100", "0.3M", "mean of 3 seeds",
                          "LoRA", "TREC", "acc.", "-")))
COUNT = dict(zip(COUNTS, ("Mine", "9901.00001 T2", "minilm-l6", "lora", "rank=8 modules=q,v", "trainable", "73.7K", "-")))


def text_of(*rows, header=None):
    return "".join("\t".join(line) + "\n" for line in [header or list(rows[0]), *(list(row.values()) for row in rows)])


class Case(FolderCase):
    def setUp(self):
        super().setUp()
        self.file = self.place / "mine.tsv"

    def add(self, method="lora", seed=1, task="trec6", options=None, **made):
        name = f"{task}-{method}-{seed}-{'-'.join(map(str, (options or {}).values()))}-{made.get('model', '')}"
        return write_run(self.place / f"runs/{name}.h5", seed=seed, method=method, task=task, run_id=f"{name:0>32}",
                         options={"modules": "q,v"} | (options or {}), **made)

    def table(self, *words, code=0):
        done = analyse("table", self.place / "runs", *words)
        self.assertEqual(done.status, code, done.out + done.err)
        return done

    def mine(self, *rows):
        self.file.write_text(text_of(*rows), encoding="utf-8")
        return self.table("--published-file", self.file, "--published-source", "Mine", "--columns", "test", "--format", "markdown").out

    def rows(self, text):
        return [[part.strip() for part in line.strip("| ").split(" | ")] for line in text.splitlines() if line.startswith("| ") and "---" not in line]


class Files(Case):
    def test_own_files(self):
        published = read_published()
        names = {path.stem for path in (ROOT / "configs/method").glob("*.yaml")}
        models = {path.stem for path in (ROOT / "configs/model").glob("*.yaml")}
        self.assertGreater(len(published.scores), 200)
        for score in published.scores:
            self.assertIn(score.method, names)
            self.assertIn(score.origin.model, models)
            self.assertTrue(0 < score.value < 1, score)
        self.assertLessEqual({"cola", "sst2", "mrpc", "stsb"}, {score.task for score in published.scores})
        self.assertEqual({count.method for count in published.counts} - names, set())
        keys = [(score.origin, score.names, score.metric) for score in published.scores]
        self.assertEqual(len(keys), len(set(keys)))  # nothing is there twice

    def test_counts_are_those_that_are_checked(self):
        """tests/counts computes each of them anew."""
        lines = [line for line in (ROOT / "tests/counts/printed.tsv").read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
        checked = {(row["source"], row["model"], row["method"], row["words"], row["figure"], row["printed"])
                   for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)}
        counts = [row for row in csv.DictReader(OWN[1].read_text(encoding="utf-8").splitlines()[1:], delimiter="\t", quoting=csv.QUOTE_NONE)]
        self.assertGreater(len(counts), 50)
        for row in counts:
            self.assertIn((row["source"], row["model"], row["method"], row["options"], row["figure"], row["printed"]), checked)

    def test_known_numbers(self):
        """Some that everybody can look up."""
        found = {(s.origin.source, s.origin.model, s.names[0], s.task): (s.printed, s.spread, s.parameters) for s in read_published().scores}
        for key, value in {("2106.09685 T2", "roberta-base", "LoRA", "cola"): ("63.4", "1.2", "0.3M"),
                           ("2405.15179 T1", "roberta-base", "VeRA qv", "stsb"): ("90.7", "0.2", "0.043M"),
                           ("2106.09685 T2", "roberta-large", "LoRA", "sst2"): ("96.2", "0.5", "0.8M")}.items():
            self.assertEqual(found[key], value)

    def test_units(self):
        self.assertEqual([shift(*each) for each in (("63.6", 100, 1), ("0.636", 1, 100), ("93.0", 100, 100), ("0.2", 100, 1), ("-5", 100, 1))],
                         ["0.636", "63.6", "93.0", "0.002", "-0.05"])
        self.assertEqual([count_of(each) for each in ("0.295M", "9437.1K", "125M", "294912", "1,024")], [295e3, 9437100, 125e6, 294912, 1024])

    def test_wrong_files(self):
        self.add()
        cases = {
            "": "has no line; the header of such a file is: paper source",
            "a\tb\n": "line 1: lacks the column paper; the header of such a file is: paper source model method options task",
            "paper\tfigure\n": "line 1: lacks the column source; the header of such a file is: paper source model method options figure printed note",
            text_of(SCORE | {"score": "94,2"}): "line 2: score '94,2' is no number; write it as printed",
            text_of(SCORE, SCORE | {"score": "nan"}): "line 3: score 'nan' is no number",
            text_of(SCORE | {"spread": "little"}): "line 2: spread 'little' is no number; write it as printed, or -",
            text_of(SCORE | {"score": "194.2"}): "line 2: score '194.2' is above its scale, 100",
            text_of(SCORE | {"scale": "1"}): "line 2: score '94.20' is above its scale, 1",
            text_of(SCORE | {"scale": "10"}): "line 2: scale '10' is neither 1 nor 100",
            text_of(SCORE | {"metric": "acc."}): "line 2: metric 'acc.' is none of accuracy, f1",
            text_of(SCORE | {"task": "TREC 6"}): "line 2: task 'TREC 6' is no name; spell it as configs/task does",
            text_of(SCORE | {"method": "../x"}): "line 2: method '../x' is no name",
            text_of(SCORE | {"options": "q,v"}): "line 2: options 'q,v': 'q,v' is not KEY=VALUE",
            text_of(SCORE | {"parameters": "few"}): "line 2: parameters 'few' is no count",
            text_of(SCORE | {"note": ""}): "line 2: note is empty; write -",
            text_of(SCORE | {"note": "\x1b[2J"}): "line 2: note is too long or not text",
            text_of(SCORE | {"protocol": "x" * 301}): "line 2: protocol is too long",
            text_of(SCORE).replace("\n", "\tx\n").replace("note\tx", "note\tnote"): "line 1: a column is there twice",
            text_of(SCORE) + "one\ttwo\n": "line 3: 2 columns, the header has 16",
            text_of(COUNT | {"figure": "sent"}): "line 2: figure 'sent' is none of trainable, stored",
            text_of(COUNT | {"printed": "1.2.3M"}): "line 2: printed '1.2.3M' is no count",
        }
        for content, reason in cases.items():
            with self.subTest(reason=reason):
                self.file.write_text(content, encoding="utf-8")
                for done in (self.table("--published-file", self.file, code=1), analyse("published", "--file", self.file)):
                    self.assertEqual((done.status, done.out, done.err.count("\n")), (1, "", 1), done.err)
                    self.assertTrue(done.err.startswith(f"analysis: {self.file}: "), done.err)
                    self.assertIn(reason, done.err)
        self.file.write_bytes(b"paper\xff\n")
        self.assertIn("not UTF-8", self.table("--published-file", self.file, code=1).err)
        self.assertIn("cannot be read: No such file", self.table("--published-file", self.place / "gone.tsv", code=1).err)
        self.assertIn("cannot be read: Is a directory", self.table("--published-file", self.place, code=1).err)

    def test_more_columns_in_another_order(self):
        self.add()
        self.assertIn("94.20 (0.5)", self.mine(dict(reversed((SCORE | {"page": "7"}).items()))))


class Beside(Case):
    def test_a_column_with_its_source(self):
        self.add(test=0.5)
        text = self.mine(SCORE)
        self.assertEqual(self.rows(text), [["method", "test", "published Mine 9901.00001 T1 minilm-l6", "published Mine 9901.00001 T1 minilm-l6 parameters"],
                                           ["lora q,v", "50.00", "94.20 (0.5)", "0.3M"]])
        self.assertIn("Mine, arXiv 9901.00001 T1, minilm-l6: the same model; mean of 3 seeds.", text)
        self.assertIn("They are in no mean, interval, comparison or group.", text)
        lines = self.table("--published-file", self.file, "--published-source", "Mine", "--columns", "test").out.splitlines()
        rule = next(number for number, line in enumerate(lines) if line.startswith("---"))
        place = lines[rule + 1].index("94.20")  # its heading stands above it, line for line
        self.assertEqual([line[place - 2:place + 11].split()[0] for line in lines[rule - 5:rule]], ["published", "Mine", "9901.00001", "T1", "minilm-l6"])

    def test_another_model(self):
        self.add(test=0.5)
        text = self.mine(SCORE | {"model": "roberta-base"})
        self.assertIn("| published Mine 9901.00001 T1 roberta-base |", text)
        self.assertIn("roberta-base: other model, not comparable; mean of 3 seeds.", text)

    def test_unit_is_ours(self):
        self.add(test=0.5, metric="matthews")
        self.assertEqual(self.rows(self.mine(SCORE | {"metric": "matthews", "score": "63.6", "spread": "1.2"}))[1][1:3], ["0.500", "0.636 (0.012)"])
        self.add("lora", 1, "mr", test=0.5)
        self.assertEqual(self.rows(self.mine(SCORE | {"task": "mr", "score": "0.945", "spread": "-", "scale": "1"}))[1][1:3], ["50.00", "94.5"])

    def test_what_does_not_match(self):
        self.add(test=0.5, options={"rank": "8"})
        for changed in ({"method": "vera"}, {"task": "cola"}, {"metric": "f1"}, {"metric": "-"}, {"options": "modules=all"}, {"options": "rank=4 modules=q,v"}):
            with self.subTest(changed=changed):
                text = self.mine(SCORE | changed)
                self.assertNotIn("94.20", text)
                self.assertIn("No published number was found for: trec6.", text)
        self.assertIn("Not shown: 1 published scores of trec6 in a metric that is not clear, ours are accuracy.", self.mine(SCORE | {"metric": "-"}))

    def test_options(self):
        """Of another model only the maps count: ranks change with the width."""
        self.add(test=0.5, options={"rank": "8"})
        self.add(test=0.6, options={"rank": "4"})
        other = {"options": "modules=v,q rank=8"}
        self.assertEqual([row[2] for row in self.rows(self.mine(SCORE | other))[1:]], ["-", "94.20 (0.5)"])
        self.assertEqual([row[2] for row in self.rows(self.mine(SCORE | other | {"model": "roberta-base"}))[1:]], ["94.20 (0.5)"] * 2)

    def test_counts_need_the_same_model(self):
        self.add(options={"rank": "8"})
        self.assertEqual(self.rows(self.mine(COUNT))[0][2:], ["published Mine 9901.00001 T2 minilm-l6 parameters"])
        self.assertNotIn("73.7K", self.mine(COUNT | {"model": "roberta-base"}))

    def test_never_among_ours(self):
        """Means, intervals, comparisons and groups are the same with and without; and so are the rows."""
        for method, shift_ in (("lora", 0.0), ("vera", 0.1)):
            for seed in (1, 2, 3):
                self.add(method, seed, "cola", metric="matthews", test=0.5 + shift_ + seed / 100 + shift_ * (seed == 1) / 50)

        def sheets(*words):
            return list(csv.DictReader(io.StringIO(self.table("--format", "csv", *words).out)))
        plain, beside = sheets(), sheets("--published")
        extra = [name for name in beside[0] if name not in plain[0]]
        self.assertTrue(extra and all(name.startswith("published ") for name in extra), extra)
        self.assertEqual([{name: row[name] for name in plain[0]} for row in beside], plain)
        self.assertEqual({row["method"]: row["published VB-LoRA 2405.15179 T1 roberta-base"] for row in beside}, {"lora": "0.634", "vera": "0.656"})
        path = self.place / "cells.tsv"
        self.table("--published", "--columns", "test", "--trace", path)
        lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if "\tpublished " in line]
        self.assertTrue(lines and all(line[6] == line[7] == "" for line in lines))  # of no run
        self.assertTrue(any("VB-LoRA 2405.15179 T1, roberta-base: LoRA qv, CoLA, Matthews" in line[5] for line in lines), lines)

    def test_few_sources_or_those_that_are_wanted(self):
        for method in ("lora", "vera", "red", "bitfit"):
            self.add(method, 1, "cola", metric="matthews", options={"modules": "down"} if method == "red" else None)
        heads = self.rows(self.table("--published", "--columns", "test", "--format", "markdown").out)[0]
        self.assertEqual([head.removeprefix("published ") for head in heads if head.endswith("base")],
                         ["RED 2402.15179 tables roberta-base", "VB-LoRA 2405.15179 T1 roberta-base"])
        heads = self.rows(self.table("--published-source", "large,VeRA", "--columns", "test", "--format", "markdown").out)[0]
        self.assertEqual({head.split(" ")[1] for head in heads[2:]}, {"LoRA", "VB-LoRA", "RED", "VeRA"})
        self.assertIn("published VeRA 2310.11454 T2 roberta-base", heads)

    def test_text_and_latex_keep_ours(self):
        """Where there is no room, papers' columns go before what was asked for."""
        for method in ("lora", "vera", "red", "bitfit", "unilora"):
            self.add(method, 1, "cola", metric="matthews", options={"modules": "down"} if method == "red" else None)
        asked = "test,validation,trainable,head,stored,sent,sent_with_head,step"
        text = self.table("--published", "--columns", asked, "--format", "latex").out
        for heading in ("test", "valid.", "stored", "of head"):
            self.assertIn(heading, text.split("midrule")[0])
        self.assertIn("% A page has no room for:", text)
        lines = self.table("--published", "--width", "80").out.splitlines()
        self.assertLessEqual(max(map(len, lines)), 80)

    def test_usage(self):
        self.add()
        self.assertIn("stand in the long layout alone", self.table("--published", "--layout", "wide", code=2).err)


class Listing(Case):
    def test_listing(self):
        done = analyse("published", "--task", "cola", "--method", "lora,vera", "--model", "roberta-base")
        self.assertEqual(done.status, 0, done.err)
        for words in ("VB-LoRA, arXiv 2405.15179 T1, roberta-base", "63.4 (1.2)", "65.6 (0.8)", "vera (VeRA qv)", "matthews", "median of 5 seeds"):
            self.assertIn(words, done.out)
        self.assertNotIn("roberta-large", done.out)
        self.assertNotIn("Counts", done.out)
        counts = analyse("published", "--method", "unilora").out
        self.assertIn("Counts", counts)
        self.assertIn("0.52M", counts)

    def test_width(self):
        self.assertLessEqual(max(map(len, analyse("published").out.splitlines())), 100)

    def test_tsv(self):
        lines = [line.split("\t") for line in analyse("published", "--format", "tsv").out.splitlines()]
        self.assertEqual({len(line) for line in lines}, {14})
        published = read_published()
        self.assertEqual(len(lines), 1 + len(published.scores) + len(published.counts))

    def test_nothing_fits(self):
        done = analyse("published", "--task", "nothing")
        self.assertEqual((done.status, done.out), (1, ""))
        self.assertIn("no published number fits; there are tasks cola", done.err)

    def test_own_file(self):
        self.file.write_text(text_of(SCORE), encoding="utf-8")
        text = analyse("published", "--file", self.file).out
        self.assertIn("Mine, arXiv 9901.00001 T1, minilm-l6", text)
        self.assertNotIn("VB-LoRA", text)


if __name__ == "__main__":
    tap.main()
