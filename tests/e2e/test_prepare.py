#!/usr/bin/env python3
"""Preparing data sets, from the command line to the numbers in the file. Run: python3 tests/e2e/test_prepare.py [-v]

WordPiece is tested where the `tokenizers` library is (in build/venv or in this interpreter) and PEFTSCALE_ASSETS names the data; what is skipped says why.
"""

import glob
import gzip
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
sys.path[:0] = [ROOT, os.path.join(ROOT, "tests/support")]

try:
    import h5py
    import numpy
except ImportError as e:
    print(f"skipped: no {e.name} (Debian's python3-h5py)")
    sys.exit(77)

import tap  # noqa: E402
from experiments.prepare.examples import SPLITS, Example, Subject, divide  # noqa: E402
from experiments.prepare.sources import WORDNET_DIRECTORY, load_wordnet  # noqa: E402
from experiments.prepare.tokenizing import Words, cut_longest_first, split_words  # noqa: E402

VENV = os.path.join(ROOT, "build", "venv", "bin", "python3")
PYTHON = sys.executable if importlib.util.find_spec("tokenizers") or not os.path.exists(VENV) else VENV
HAS_TOKENIZERS = not subprocess.run([PYTHON, "-c", "import tokenizers, h5py"], capture_output=True).returncode
ASSETS = os.environ.get("PEFTSCALE_ASSETS", "")
NO_WORDNET = None if os.path.isfile(f"{WORDNET_DIRECTORY}/data.verb") else f"no {WORDNET_DIRECTORY} (Debian's wordnet-base)"
NO_WORDPIECE = ("no tokenizers library in " + PYTHON if not HAS_TOKENIZERS else
                None if os.path.isfile(f"{ASSETS}/minilm-l6/tokenizer.json") else "PEFTSCALE_ASSETS names no directory with minilm-l6/tokenizer.json")
NO_ASSETS = NO_WORDPIECE or (None if os.path.isdir(f"{ASSETS}/data/glue") else "PEFTSCALE_ASSETS names no directory with data/glue")
ANIMALS = ["cat", "dog", "owl", "bat", "fox"]


def prepare(*arguments, environment=None):
    return subprocess.run([PYTHON, "-m", "experiments.prepare", *arguments], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **(environment or {})})


def content(path):
    with open(path, "rb") as file:
        return file.read()


def read(path):
    """Attributes, and per split the rows as dictionaries with their own tokens."""
    with h5py.File(path) as file:
        attributes = {name: value.decode() if isinstance(value, bytes) else value for name, value in file.attrs.items()}
        attributes["class_names"] = [name.decode() for name in file["class_names"]]
        splits = {}
        for split in SPLITS:
            values = {name: file[split][name][()] for name in file[split]}
            offsets = values["offsets"]
            assert offsets[0] == 0 and offsets[-1] == len(values["tokens"])
            splits[split] = [{"tokens": values["tokens"][offsets[i]:offsets[i + 1]].tolist(),
                              **{name: values[name][i] for name in ("segment_start", "target_start", "label", "example_id")}}
                             for i in range(len(offsets) - 1)]
    return attributes, splits


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="peftscale-prepare-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.out = self.at("out.h5")

    def at(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, content):
        content = content if isinstance(content, bytes) else content.encode()
        with (gzip.open if name.endswith(".gz") else open)(self.at(name), "wb") as file:
            file.write(content)
        return self.at(name)

    def prepared(self, *arguments, **more):
        done = prepare(*arguments, "--out", self.out, **more)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.table = done.stdout
        return read(self.out)

    def refused(self, reason, *arguments, **more):
        """Exit 2, one sentence with the reason, and nothing written."""
        before = sorted(os.listdir(self.folder))
        done = prepare(*arguments, "--out", self.out, **more)
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
        self.assertIn(reason, done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        self.assertEqual(sorted(os.listdir(self.folder)), before)

    def sentences(self, count):
        return [f"the {ANIMALS[i % 5]} number {i} sat" for i in range(count)]

    def toy(self, name="toy.tsv", count=200, extra=""):
        rows = [f"{text}\t{'ab'[i % 2]}" for i, text in enumerate(self.sentences(count))]
        return self.write(name, "text\tlabel\n" + "\n".join(rows) + "\n" + extra)


class WordLevel(unittest.TestCase):
    def test_words_and_marks(self):
        self.assertEqual(split_words("Don't  STOP, Zoë!"), ["don", "'", "t", "stop", ",", "zoë", "!"])
        self.assertEqual(split_words("Zoe\u0308"), split_words("Zo\u00eb"))

    def test_vocabulary_is_by_frequency_then_alphabet(self):
        words = Words.build(["b a c", "c b d", "c"], 8)
        self.assertEqual(words.words, ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "c", "b", "a"])
        encoded, pair = words.encode([("a d", None), ("c", "b B")], 16)
        self.assertEqual((encoded.tokens, encoded.segment_start, encoded.cut), ([2, 7, 1, 3], 4, False))
        self.assertEqual((pair.tokens, pair.segment_start, pair.cut), ([2, 5, 3, 6, 6, 3], 3, False))

    def test_cutting_takes_from_the_longer(self):
        a, b = [1, 2, 3, 4, 5, 6], [7, 8, 9]
        self.assertTrue(cut_longest_first(a, b, 5))
        self.assertEqual((len(a), len(b)), (2, 3))
        self.assertFalse(cut_longest_first(a, b, 5))


class Dividing(unittest.TestCase):
    def subject(self, texts):
        return Subject("toy", "classify", "accuracy", ["a", "b"], {"train": [Example(text, None, 0.0) for text in texts]}, "", "")

    def divided(self, texts, validation=0.1, test=0.2):
        subject = self.subject(texts)
        divide(subject, validation, test)
        return {split: [example.text for example in subject.splits[split]] for split in SPLITS}, subject.duplicates_removed

    def test_shares_and_no_text_twice(self):
        texts = [f"text {i % 3000}" for i in range(5000)]
        splits, removed = self.divided(texts)
        self.assertEqual(removed, 2000)
        self.assertEqual(sorted(sum(splits.values(), [])), sorted(set(texts)))
        self.assertAlmostEqual(len(splits["test"]) / 3000, 0.2, delta=0.03)
        self.assertAlmostEqual(len(splits["validation"]) / 3000, 0.1, delta=0.03)

    def test_spellings_of_one_text_stay_together(self):
        splits, _ = self.divided([form for i in range(300) for form in (f"a text {i}", f"A  Text {i} ")])
        for split in SPLITS:
            self.assertEqual(len(splits[split]), 2 * len({" ".join(text.lower().split()) for text in splits[split]}))

    def test_a_row_more_or_less_moves_no_other(self):
        texts = [f"text {i}" for i in range(400)]
        before, after = self.divided(texts)[0], self.divided(list(reversed(texts[7:])) + ["new"])[0]
        for split in SPLITS:
            self.assertEqual(set(after[split]) - {"new"}, set(before[split]) - set(texts[:7]))

    def test_published_splits_are_left_alone(self):
        subject = self.subject(["same"] * 5 + [f"text {i}" for i in range(200)])
        subject.splits["test"] = [Example("same", None, 0.0)]
        divide(subject, 0.1, 0.1)
        self.assertEqual(len(subject.splits["train"]) + len(subject.splits["validation"]), 205)
        self.assertEqual(len(subject.splits["test"]), 1)
        self.assertEqual(subject.duplicates_removed, 0)


class Table(Case):
    def test_tsv(self):
        attributes, splits = self.prepared("table", "--train", self.toy(), "--text", "text", "--label", "label")
        expected = {"kind": "peftscale dataset", "schema_version": 1, "name": "toy", "objective": "classify", "metric": "accuracy", "class_count": 2,
                    "class_names": ["a", "b"], "first_word": 5, "mask_token": 4, "tokenizer": "words"}
        for name, value in expected.items():
            self.assertEqual(attributes[name], value, name)
        with open(self.at("out.vocabulary.json"), encoding="utf-8") as file:
            words = json.load(file)["words"]
        self.assertEqual(attributes["vocabulary_size"], len(words))
        labels = {text: float(i % 2) for i, text in enumerate(self.sentences(200))}
        ids = set()
        for split in SPLITS:
            for row in splits[split]:
                self.assertEqual((row["tokens"][0], row["tokens"][-1]), (2, 3))
                self.assertEqual(row["segment_start"], len(row["tokens"]))
                self.assertEqual(row["target_start"], len(row["tokens"]))
                self.assertGreaterEqual(row["example_id"], 0)
                ids.add(int(row["example_id"]))
        self.assertEqual(len(ids), 200)
        for row in splits["train"]:  # every word of a training text is in the vocabulary
            self.assertEqual(float(row["label"]), labels.pop(" ".join(words[token] for token in row["tokens"][1:-1])))
        self.assertEqual(len(labels), len(splits["validation"]) + len(splits["test"]))

    def test_same_input_gives_same_bytes(self):
        plain, zipped = self.toy(), self.at("sub")
        os.mkdir(zipped)
        zipped = self.write("sub/toy.tsv.gz", content(plain))
        contents = []
        for source in (plain, plain, zipped):
            self.prepared("table", "--train", source, "--text", "text", "--label", "label")
            contents.append(content(self.out))
            time.sleep(1.1)  # a stored time would show
        self.assertEqual(contents[0], contents[1])
        self.assertEqual(contents[0], contents[2])

    def test_csv_with_quotes_pairs_and_scores(self):
        rows = "".join(f'{i},"a, ""quoted"" text\nof two lines {i}",second {i},{i / 4}\n' for i in range(90))
        path = self.write("toy.csv", "number,first,other,score\n" + rows)
        attributes, splits = self.prepared("table", "--train", path, "--text", "first", "--text-pair", "other", "--label", "score", "--id", "number",
                                           "--objective", "regress", "--name", "pairs")
        self.assertEqual((attributes["name"], attributes["objective"], attributes["metric"], attributes["class_count"]), ("pairs", "regress", "spearman", 1))
        rows = {int(row["example_id"]): row for split in SPLITS for row in splits[split]}
        self.assertEqual(sorted(rows), list(range(90)))
        for number, row in rows.items():
            self.assertEqual(float(row["label"]), number / 4)
            self.assertEqual(row["tokens"][row["segment_start"] - 1], 3)
            self.assertEqual(len(row["tokens"]) - row["segment_start"], 3)  # second, number, [SEP]

    def test_jsonl_with_a_split_key(self):
        rows = [{"t": text, "y": i % 3, "part": ["train", "train", "dev", "test"][i % 4]} for i, text in enumerate(self.sentences(40))]
        path = self.write("toy.jsonl", "\n".join(map(json.dumps, rows)))
        attributes, splits = self.prepared("table", "--train", path, "--text", "t", "--label", "y", "--split-column", "part")
        self.assertEqual([len(splits[split]) for split in SPLITS], [20, 10, 10])
        self.assertEqual(attributes["class_names"], ["0", "1", "2"])
        self.assertEqual([int(row["label"]) for row in splits["validation"]], [i % 3 for i in range(2, 40, 4)])

    def test_files_for_all_splits_without_header(self):
        paths = [self.write(f"{split}.tsv", "".join(f"{split} text {i}\t{i % 2}\n" for i in range(4))) for split in SPLITS]
        attributes, splits = self.prepared("table", "--train", paths[0], "--validation", paths[1], "--test", paths[2], "--no-header", "--text", "1",
                                           "--label", "2", "--classes", "1,0")
        self.assertEqual([len(splits[split]) for split in SPLITS], [4, 4, 4])
        self.assertEqual([row["label"] for row in splits["test"]], [1, 0, 1, 0])
        self.assertEqual(attributes["class_names"], ["1", "0"])

    def test_texts_without_labels(self):
        attributes, splits = self.prepared("table", "--train", self.toy(), "--text", "text", "--objective", "mlm")
        self.assertEqual((attributes["objective"], attributes["metric"], attributes["class_count"]), ("mlm", "loss", 1))

    def test_long_texts_are_cut_and_counted(self):
        path = self.write("toy.tsv", "text\tlabel\n" + "".join(f"{'word ' * (i + 1)}\t{i % 2}\n" for i in range(60)))
        _, splits = self.prepared("table", "--train", path, "--text", "text", "--label", "label", "--max-tokens", "20")
        self.assertEqual(max(len(row["tokens"]) for split in SPLITS for row in splits[split]), 20)
        self.assertIn("cut to 20 tokens: 42", self.table)  # those of 19 to 60 words

    def test_vocabulary_is_reused(self):
        self.prepared("table", "--train", self.toy(), "--text", "text", "--label", "label", "--vocabulary-size", "12", "--save-vocabulary",
                      self.at("words.json"))
        first = read(self.out)[0]
        self.assertEqual(first["vocabulary_size"], 12)
        other = self.write("other.tsv", "text\tlabel\n" + "".join(f"owl unheard {i}\t{i % 2}\n" for i in range(60)))
        second, splits = self.prepared("table", "--train", other, "--text", "text", "--label", "label", "--vocabulary", self.at("words.json"))
        self.assertEqual(second["tokenizer_hash"], first["tokenizer_hash"])
        self.assertTrue(all(row["tokens"][2] == 1 for row in splits["train"]))


class Refusals(Case):
    def table(self, reason, path, *more, label="label"):
        self.refused(reason, "table", "--train", path, "--text", "text", "--label", label, *more)

    def test_files(self):
        self.table("nowhere.tsv: there is no such file", self.at("nowhere.tsv"))
        self.table("empty.tsv: the file is empty", self.write("empty.tsv", ""))
        self.table("head.tsv: the file has no rows", self.write("head.tsv", "text\tlabel\n"))
        self.table("toy.tsv:203: byte 3 of the line (0xff) is not utf-8", self.write("toy.tsv", content(self.toy("a.tsv")) + b"x\ta\nab\xff\tb\n"))
        whole = gzip.compress(content(self.toy("a.tsv")))
        with open(self.at("cut.tsv.gz"), "wb") as file:
            file.write(whole[: len(whole) // 2])
        self.table("cut.tsv.gz: the gzip data are damaged or cut off", self.at("cut.tsv.gz"))
        self.table("toy.xlsx: the format is not known", self.toy("toy.xlsx"))

    def test_columns(self):
        self.table("there is no column 'labl'; the columns are text, label", self.toy(), label="labl")
        self.table("there is no column '3'", self.toy(), label="3")
        self.table("toy.tsv:202: 3 columns where the header has 2", self.toy(extra="a text\tb\tc\n"))
        self.table("toy.tsv:202: the text is empty", self.toy(extra=" \tb\n"))
        self.table("toy.tsv:202: the label is empty", self.toy(extra="a text\t\n"))
        self.refused("--label COLUMN is needed", "table", "--train", self.toy(), "--text", "text")

    def test_labels(self):
        held_out = self.write("test.tsv", "text\tlabel\na text\ta\nanother\tc\n")
        self.table("test.tsv:3: the label 'c' is not among the training split's classes (a, b)", self.toy(), "--test", held_out)
        self.table("toy.tsv:3: the label 'b' is not among --classes classes (a, x)", self.toy(), "--classes", "a,x")
        self.table("toy.tsv:2: the label 'a' is not a finite number", self.toy(), "--objective", "regress")
        self.table("--metric spearman does not fit --objective classify", self.toy(), "--metric", "spearman")
        self.table("classifying needs two classes", self.write("one.tsv", "text\tlabel\n" + "".join(f"t {i}\ta\n" for i in range(99))))

    def test_ids_and_splits(self):
        self.table("toy.tsv:4: the id 'a' was used before", self.toy(), "--id", "label", "--validation", self.toy("v.tsv"), "--test", self.toy("t.tsv"))
        self.table("toy.tsv:2: the split 'a' is none of train", self.toy(), "--split-column", "label")
        self.table("the validation split has no examples", self.write("few.tsv", "text\tlabel\nx\ta\ny\tb\n"))

    def test_formats(self):
        self.table("toy.jsonl:1: not JSON", self.write("toy.jsonl", "{text: 1}\n"))
        self.table("toy.jsonl:2: the object has no text or number under 'label'", self.write("toy.jsonl", '{"text": "a", "label": 1}\n{"text": "b"}\n'))
        self.table("toy.jsonl:1: 'text' holds half a surrogate pair", self.write("toy.jsonl", '{"text": "\\ud800", "label": 1}\n'))
        self.table("toy.csv:3: not CSV", self.write("toy.csv", 'text,label\na,b\n"c,d\n'))

    def test_tokenizers_and_assets(self):
        self.table("no such tokenizer", self.toy(), "--tokenizer", self.at("nowhere"))
        self.table("words.json: not a vocabulary", self.toy(), "--vocabulary", self.write("words.json", '{"words": ["a"]}'))
        self.refused("give --assets DIR or set PEFTSCALE_ASSETS", "cola", environment={"PEFTSCALE_ASSETS": ""})
        self.refused("CoLA/train.tsv: there is no such file", "cola", "--assets", self.folder)
        self.refused("install Debian's wordnet-base", "wordnet", "--part", "verb", "--wordnet", self.at("nowhere"))
        self.refused("must be above 0 and below 0.5", "mr", "--test-share", "0.7")

    def test_bad_rows_of_named_sets(self):
        os.makedirs(self.at("data/glue/CoLA"))
        self.write("data/glue/CoLA/train.tsv", "x\t1\t\tFine.\nx\t2\t\tNot fine.\n")
        self.refused("train.tsv:2: the label '2' is none of 0, 1", "cola", "--assets", self.folder)
        self.write("data.verb", "  1 licence\n00001740 29 v 01 breathe 0 000 | draw air\n00001741 03 v 01 x 0 000 | wrong file\n")
        self.refused("data.verb:3: lexicographer file 03 is none of the verbs'", "wordnet", "--part", "verb", "--wordnet", self.folder)

    def test_an_old_file_survives_a_failed_run(self):
        self.write("out.h5", "old")
        self.table("the text is empty", self.toy(extra=" \tb\n"))
        with open(self.out) as file:
            self.assertEqual(file.read(), "old")

    def test_missing_library_says_what_to_do(self):
        self.write("vocab.txt", "[PAD]\n")
        self.write("tokenizers.py", "raise ImportError\n")  # stands before an installed one
        self.refused("pip install tokenizers", "table", "--train", self.toy(), "--text", "text", "--label", "label", "--tokenizer", self.folder,
                     environment={"PYTHONPATH": self.folder})


@unittest.skipIf(NO_WORDNET, NO_WORDNET)
class WordNet(Case):
    def test_rows_classes_and_splits(self):
        for part, rows, classes in (("noun", 82115, 26), ("verb", 13767, 15)):
            subject = load_wordnet(WORDNET_DIRECTORY, part)
            self.assertEqual((len(subject.splits["train"]), len(subject.class_names)), (rows, classes))
            self.assertFalse([example.text for example in subject.splits["train"] if '; "' in example.text or "|" in example.text])
            divide(subject, 0.1, 0.1)
            texts = {split: [example.text for example in subject.splits[split]] for split in SPLITS}
            everything = sum(texts.values(), [])
            self.assertEqual(len(everything), len(set(everything)))
            self.assertEqual(len(everything) + subject.duplicates_removed, rows)
            self.assertGreater(subject.duplicates_removed, 0)
            for split in ("validation", "test"):
                self.assertAlmostEqual(len(texts[split]) / len(everything), 0.1, delta=0.01)
                self.assertEqual({example.label for example in subject.splits[split]}, set(map(float, range(classes))))

    def test_a_known_gloss(self):
        subject = load_wordnet(WORDNET_DIRECTORY, "verb")
        first = subject.splits["train"][0]
        self.assertEqual(first.text, "draw air into, and expel out of, the lungs")
        self.assertEqual(subject.class_names[int(first.label)], "verb.body")

    def test_nouns_and_verbs_share_a_vocabulary(self):
        hashes = []
        for part in ("noun", "verb"):
            attributes, splits = self.prepared("wordnet", "--part", part, "--vocabulary-from", "wordnet-noun", "wordnet-verb")
            hashes.append(attributes["tokenizer_hash"])
            self.assertEqual((attributes["vocabulary_size"], attributes["first_word"], attributes["mask_token"]), (8192, 5, 4))
            ids = [int(row["example_id"]) for split in SPLITS for row in splits[split]]
            self.assertEqual(len(ids), len(set(ids)))
        self.assertEqual(hashes[0], hashes[1])
        unknown = numpy.mean([token == 1 for row in splits["test"] for token in row["tokens"]])
        self.assertLess(unknown, 0.1)


@unittest.skipIf(NO_WORDPIECE, NO_WORDPIECE)
class WordPiece(Case):
    tokenizer = f"{ASSETS}/minilm-l6"

    def encoded(self, rows, *more, pair=False, tokenizer=None):
        lines = "".join("\t".join(row) + "\t" + str(i % 2) + "\n" for i, row in enumerate(rows))
        header = "text\tpair\tlabel\n" if pair else "text\tlabel\n"
        path = self.write("toy.tsv", header + lines)
        return self.prepared("table", "--train", path, "--validation", path, "--test", path, "--text", "text", "--label", "label", "--tokenizer",
                             tokenizer or self.tokenizer, *(["--text-pair", "pair"] if pair else []), *more)

    def test_known_sentences(self):
        attributes, splits = self.encoded([["hello world"], ["Hello, W\u00f6rld!"], ["unaffable"]])
        tokens = [row["tokens"] for row in splits["train"]]
        self.assertEqual(tokens[0], [101, 7592, 2088, 102])
        self.assertEqual(tokens[1], [101, 7592, 1010, 2088, 999, 102])
        self.assertEqual(tokens[2][0], 101)
        self.assertEqual((attributes["vocabulary_size"], attributes["first_word"], attributes["mask_token"], attributes["tokenizer"]),
                         (30522, 999, 103, "minilm-l6"))

    def test_pairs(self):
        _, splits = self.encoded([["hello world", "hello"], ["hello", "world hello"]], pair=True)
        row = splits["train"][0]
        self.assertEqual((row["tokens"], row["segment_start"]), ([101, 7592, 2088, 102, 7592, 102], 4))
        self.assertEqual(splits["train"][1]["segment_start"], 3)

    def test_cutting(self):
        _, splits = self.encoded([["hello " * 30, "world " * 3], ["hello", "world"]], "--max-tokens", "12", pair=True)
        row = splits["train"][0]
        self.assertEqual(row["tokens"], [101] + [7592] * 6 + [102] + [2088] * 3 + [102])
        self.assertIn("cut to 12 tokens: 3", self.table)

    def test_vocab_txt_alone_gives_the_same(self):
        os.mkdir(self.at("bare"))
        self.write("bare/vocab.txt", content(f"{self.tokenizer}/vocab.txt"))
        rows = [["Hello, W\u00f6rld! unaffable \u4f60\u597d"], ["It's 3.5 km"]]
        a, whole = self.encoded(rows)
        b, bare = self.encoded(rows, tokenizer=self.at("bare"))
        self.assertEqual([row["tokens"] for row in whole["train"]], [row["tokens"] for row in bare["train"]])
        self.assertEqual(a["first_word"], b["first_word"])

    def test_a_relative_directory_is_found_below_the_assets(self):
        self.encoded([["hello"], ["world"]], tokenizer="minilm-l6")

    def test_a_broken_tokenizer_is_refused(self):
        os.mkdir(self.at("broken"))
        self.write("broken/tokenizer.json", "{}")
        self.refused("tokenizer.json: not a tokenizer", "table", "--train", self.toy(), "--text", "text", "--label", "label", "--tokenizer",
                     self.at("broken"))


@unittest.skipIf(NO_ASSETS, NO_ASSETS)
class KnownSets(Case):
    def counted(self, train, test, *arguments, validation=None):
        """Published row counts: what is carved off comes from train."""
        attributes, splits = self.prepared(*arguments, "--tokenizer", "minilm-l6")
        counts = {split: len(splits[split]) for split in SPLITS}
        if validation is None:
            self.assertAlmostEqual(counts["validation"] / train, 0.1, delta=0.03)
            counts["train"] += counts.pop("validation")
        self.assertEqual(counts["train"], train)
        self.assertEqual(counts["test"], test)
        return attributes, splits

    def test_cola(self):
        attributes, splits = self.counted(8551, 1043, "cola")
        self.assertEqual(attributes["metric"], "matthews")
        self.assertEqual(sum(row["label"] == 1 for row in splits["test"]), 721)
        self.assertAlmostEqual(numpy.mean([len(row["tokens"]) for row in splits["train"]]), 11.2, delta=0.4)

    def test_sst2(self):
        self.counted(67349, 872, "sst2")

    def test_wnli(self):
        self.counted(635, 71, "wnli")

    def test_mrpc(self):
        attributes, splits = self.counted(3668, 408, "mrpc")
        self.assertEqual(attributes["metric"], "f1")
        self.assertTrue(all(row["tokens"][row["segment_start"] - 1] == 102 for row in splits["train"]))
        _, splits = self.counted(3668, 1725, "mrpc", "--test-file", "labelled", validation=408)
        self.assertEqual(len(splits["validation"]), 408)
        self.assertEqual(sum(row["label"] == 1 for row in splits["test"]), 1147)

    def test_stsb(self):
        attributes, splits = self.counted(5749, 1500, "stsb")
        self.assertEqual((attributes["objective"], attributes["metric"]), ("regress", "spearman"))
        labels = [row["label"] for row in splits["train"]]
        self.assertEqual((min(labels), max(labels)), (0, 5))
        self.assertEqual(splits["test"][0]["label"], 5)
        self.assertEqual(splits["test"][1]["label"], 4.75)

    def test_trec6(self):
        attributes, splits = self.counted(5452, 500, "trec6")
        self.assertEqual(attributes["class_names"], ["ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"])
        self.assertEqual([int(row["label"]) for row in splits["test"][:3]], [5, 4, 3])

    def test_mr(self):
        _, splits = self.prepared("mr", "--tokenizer", "minilm-l6")
        rows = [row for split in SPLITS for row in splits[split]]
        self.assertEqual(len(rows), 10662)
        self.assertEqual(sum(row["label"] == 1 for row in rows), 5331)
        self.assertEqual(len({int(row["example_id"]) for row in rows}), 10662)


class House(unittest.TestCase):
    def test_help_and_usage(self):
        done = prepare("--help")
        self.assertEqual(done.returncode, 0)
        self.assertIn("examples", done.stdout)
        self.assertEqual(prepare().returncode, 2)
        self.assertEqual(prepare("imdb", "--out", "x.h5").returncode, 2)

    def test_layout_is_documented(self):
        with open(f"{ROOT}/experiments/prepare/README.md", encoding="utf-8") as file:
            text = file.read()
        for word in ("schema_version", "first_word", "mask_token", "tokenizer_hash", "segment_start", "target_start", "example_id", "offsets"):
            self.assertIn(f"`{word}`", text)

    def test_files_stay_small(self):
        for path in glob.glob(f"{ROOT}/experiments/prepare/*.py"):
            with open(path, encoding="utf-8") as file:
                self.assertLess(len(file.readlines()), 400, path)


if __name__ == "__main__":
    tap.main()
