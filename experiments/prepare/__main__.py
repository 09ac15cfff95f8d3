"""Command line: load, divide, tokenise, write, and say what was done."""

import argparse
import os
import sys

from . import VERSION
from .examples import METRICS, SPLITS, Subject, assign_ids, count_shared, divide
from .inputs import InputError
from .sources import GLUE, LEXICOGRAPHER, WORDNET_DIRECTORY, loaders
from .table import Columns, load_table
from .tokenizing import SPECIALS, HuggingFace, Words

EXAMPLES = """examples (from the project's root):
  python3 -m experiments.prepare wordnet --part verb --vocabulary-from wordnet-noun wordnet-verb --out wordnet-verbs-words.h5
  python3 -m experiments.prepare wordnet --part verb --tokenizer minilm-l6 --out wordnet-verbs-wordpiece.h5
  python3 -m experiments.prepare cola --assets ASSETS --tokenizer ASSETS/minilm-l6 --out cola-wordpiece.h5
  python3 -m experiments.prepare mrpc --test-file labelled --tokenizer minilm-l6 --out mrpc-labelled.h5
  python3 -m experiments.prepare table --train mine.csv --text review --label stars --objective regress --out mine.h5
  python3 -m experiments.prepare table --train a.jsonl --test b.jsonl --text premise --text-pair claim --label verdict --out nli.h5
"""


def share(text: str) -> float:
    value = float(text)
    if not 0 < value < 0.5:
        raise argparse.ArgumentTypeError("must be above 0 and below 0.5")
    return value


def whole(low: int, high: int):
    def convert(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be from {low} to {high}")
        return value
    convert.__name__ = "whole number"
    return convert


def parse(arguments: list[str] | None) -> argparse.Namespace:
    names = list(loaders(None, WORDNET_DIRECTORY, False))
    common = argparse.ArgumentParser(add_help=False)
    group = common.add_argument_group("for every data set")
    group.add_argument("--out", required=True, metavar="FILE.h5", help="the file to write (replaced only when the new one is complete)")
    group.add_argument("--tokenizer", default="words", metavar="words|DIR", help="'words', or a Hugging Face model directory with tokenizer.json or "
                       "vocab.txt; relative ones are also looked for below the assets directory (default: words)")
    group.add_argument("--max-tokens", type=whole(8, 1 << 20), default=128, metavar="N", help="longer sequences are cut, of a pair the longer text "
                       "first (default: 128)")
    group.add_argument("--assets", metavar="DIR", help="where data/glue, data/trec6 and data/mr are (default: $PEFTSCALE_ASSETS)")
    group.add_argument("--wordnet", default=WORDNET_DIRECTORY, metavar="DIR", help="where data.noun and data.verb are (default: %(default)s)")
    group.add_argument("--validation-share", type=share, default=0.1, metavar="X", help="share carved from train where there is no validation "
                       "(default: 0.1)")
    group.add_argument("--test-share", type=share, default=0.1, metavar="X", help="the same for test (default: 0.1)")
    group = common.add_argument_group("with --tokenizer words")
    group.add_argument("--vocabulary-size", type=whole(len(SPECIALS) + 1, 1 << 24), default=8192, metavar="N", help="most frequent words, the "
                       f"{len(SPECIALS)} special tokens included (default: 8192)")
    group.add_argument("--vocabulary-from", nargs="+", choices=names, metavar="NAME", help="count the words of these data sets' training splits "
                       f"instead of this one's: {', '.join(names)}")
    group.add_argument("--vocabulary", metavar="FILE.json", help="use a vocabulary that was saved before")
    group.add_argument("--save-vocabulary", metavar="FILE.json", help="where to save the vocabulary (default: beside --out, as NAME.vocabulary.json)")

    parser = argparse.ArgumentParser(prog="python3 -m experiments.prepare", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     description="Turns a text data set into the HDF5 file that the trainer reads: train, validation and test, tokenised.")
    parser.add_argument("--version", action="version", version=VERSION)
    subjects = parser.add_subparsers(dest="subject", required=True, metavar="DATASET")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return subjects.add_parser(name, parents=[common], help=text, description=text, epilog=EXAMPLES,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)

    add("wordnet", "WordNet glosses and their lexicographer files (Debian package wordnet-base)").add_argument(
        "--part", required=True, choices=list(LEXICOGRAPHER), help="26 classes of nouns or 15 of verbs")
    for name in GLUE:
        sub = add(name, f"GLUE {GLUE[name][0]}: public dev is the test split, validation is carved from train")
        if name == "mrpc":
            sub.add_argument("--test-file", choices=["dev", "labelled"], default="dev", help="labelled: test_labelled.tsv is the test split and dev "
                             "the validation split (default: dev)")
    add("trec6", "TREC questions, 6 classes: TREC.test is the test split")
    add("mr", "MR movie review sentences: validation and test are carved")
    table = add("table", "your own TSV (split on TAB only), CSV or JSONL, plain or .gz")
    table.add_argument("--train", required=True, metavar="FILE")
    table.add_argument("--validation", metavar="FILE")
    table.add_argument("--test", metavar="FILE")
    table.add_argument("--name", help="of the data set (default: the training file's)")
    table.add_argument("--text", required=True, metavar="COLUMN", help="a name in the header, a number from 1, or a JSON key")
    table.add_argument("--text-pair", metavar="COLUMN", help="second text")
    table.add_argument("--label", metavar="COLUMN")
    table.add_argument("--id", metavar="COLUMN", help="example id; whole numbers are kept, other ids hashed (default: a hash of the text)")
    table.add_argument("--split-column", metavar="COLUMN", help="says train, validation or test in each row")
    table.add_argument("--objective", choices=list(METRICS), default="classify", help="mlm: no labels, masked words are predicted (default: classify)")
    table.add_argument("--metric", choices=[metric for metrics in METRICS.values() for metric in metrics], help="default: the objective's first")
    table.add_argument("--classes", type=lambda text: text.split(","), metavar="A,B,...", help="class labels in order (default: those of train, sorted)")
    table.add_argument("--format", choices=["tsv", "csv", "jsonl"], help="default: by the file's name")
    table.add_argument("--no-header", action="store_true", help="the first row is data; columns are numbers")
    table.add_argument("--licence", default="not stated", help="noted in the file")
    return parser.parse_args(arguments)


def load(options: argparse.Namespace) -> Subject:
    if options.subject != "table":
        key = f"wordnet-{options.part}" if options.subject == "wordnet" else options.subject
        return loaders(options.assets, options.wordnet, getattr(options, "test_file", "dev") == "labelled")[key]()
    paths = {split: path for split, path in zip(SPLITS, (options.train, options.validation, options.test)) if path}
    if options.classes and len(set(options.classes)) != len(options.classes):
        raise InputError("--classes names a class twice")
    name = options.name or os.path.basename(options.train).removesuffix(".gz").rsplit(".", 1)[0]
    columns = Columns(options.text, options.text_pair, options.label, options.id, options.split_column)
    return load_table(name, paths, columns, options.objective, options.metric, options.classes, options.format, not options.no_header,
                      options.licence)


def find_tokenizer(options: argparse.Namespace) -> str:
    assets = options.assets or os.environ.get("PEFTSCALE_ASSETS")
    for directory in [options.tokenizer] + ([os.path.join(assets, options.tokenizer)] if assets else []):
        if os.path.isdir(directory):
            return directory
    raise InputError(f"{options.tokenizer}: no such tokenizer: neither 'words' nor a directory" + (f", nor one below {assets}" if assets else ""))


def make_tokenizer(options: argparse.Namespace, subject: Subject):
    if options.tokenizer != "words":
        for name in ("vocabulary", "vocabulary_from", "save_vocabulary"):
            if getattr(options, name):
                raise InputError(f"--{name.replace('_', '-')} belongs to --tokenizer words; {options.tokenizer} brings its own vocabulary")
        return HuggingFace(find_tokenizer(options))
    if options.vocabulary:
        if options.vocabulary_from:
            raise InputError("give --vocabulary or --vocabulary-from, not both")
        return Words.load(options.vocabulary)
    counted = [subject]
    if options.vocabulary_from:
        known = loaders(options.assets, options.wordnet, False)
        counted = [subject if name == subject.name else known[name]() for name in sorted(set(options.vocabulary_from))]
        for other in counted:
            if other is not subject:
                divide(other, options.validation_share, options.test_share)
    texts = (text for other in counted for example in other.splits["train"] for text in (example.text, example.pair) if text)
    return Words.build(texts, options.vocabulary_size)


def encode(subject: Subject, tokenizer, limit: int) -> dict:
    import numpy

    from .writer import Split
    ids = assign_ids(subject)
    splits = {}
    for split in SPLITS:
        examples = subject.splits[split]
        encoded = tokenizer.encode([(example.text, example.pair) for example in examples], limit)
        lengths = numpy.array([len(one.tokens) for one in encoded], dtype=numpy.int64)
        if not lengths.all():
            raise InputError(f"{examples[int(lengths.argmin())].where}: the tokenizer makes no token of this text")
        splits[split] = Split(
            tokens=numpy.array([token for one in encoded for token in one.tokens], dtype=numpy.int32),
            offsets=numpy.concatenate([[0], numpy.cumsum(lengths)]).astype(numpy.int64),
            segment_start=numpy.array([one.segment_start for one in encoded], dtype=numpy.int32),
            target_start=lengths.astype(numpy.int32),
            label=numpy.array([example.label for example in examples], dtype=numpy.float32),
            example_id=numpy.array(ids[split], dtype=numpy.int64),
            cut=sum(one.cut for one in encoded))
    return splits


def report(subject: Subject, splits: dict, tokenizer, options: argparse.Namespace) -> None:
    import numpy
    print(f"{subject.name}: {subject.source}")
    print(f"tokenizer {tokenizer.name}, {tokenizer.vocabulary_size} tokens; objective {subject.objective}, metric {subject.metric}")
    print(f"{'split':<11}{'rows':>8}{'tokens':>11}{'mean':>8}{'p95':>6}{'longest':>9}{'cut':>6}{'classes':>9}{'majority':>10}")
    for split in SPLITS:
        lengths, labels = splits[split].lengths(), splits[split].label
        classes, majority = "-", "-"
        if subject.objective == "classify":
            counts = numpy.bincount(labels.astype(int), minlength=len(subject.class_names))
            classes, majority = f"{(counts > 0).sum()}/{len(counts)}", f"{100 * counts.max() / counts.sum():.1f} %"
        print(f"{split:<11}{len(lengths):>8}{lengths.sum():>11}{lengths.mean():>8.1f}{numpy.percentile(lengths, 95):>6.0f}{lengths.max():>9}"
              f"{splits[split].cut:>6}{classes:>9}{majority:>10}")
    notes = [f"duplicates removed: {subject.duplicates_removed}", f"test texts that are in train too: {count_shared(subject)}"]
    cut = sum(split.cut for split in splits.values())
    if cut:
        notes.append(f"cut to {options.max_tokens} tokens: {cut}")
    print("; ".join(notes))
    print(f"written: {options.out}")


def run(options: argparse.Namespace) -> None:
    try:
        from .writer import write_bytes, write_dataset
    except ImportError as e:
        raise InputError(f"the Python library {e.name!r} is missing; install Debian's python3-h5py and python3-numpy (and use their python3, or a "
                         "virtual environment made from it with --system-site-packages)") from None
    subject = load(options)
    divide(subject, options.validation_share, options.test_share)
    tokenizer = make_tokenizer(options, subject)
    splits = encode(subject, tokenizer, options.max_tokens)
    preparation = {"inputs": subject.inputs, "max_tokens": options.max_tokens, "duplicates_removed": subject.duplicates_removed,
                   "validation_share": options.validation_share, "test_share": options.test_share,
                   "cut": {split: splits[split].cut for split in SPLITS}}
    if options.tokenizer == "words" and not options.vocabulary:
        write_bytes(options.save_vocabulary or options.out.removesuffix(".h5") + ".vocabulary.json", tokenizer.as_json())
    write_dataset(options.out, subject, splits, tokenizer, preparation)
    report(subject, splits, tokenizer, options)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    try:
        run(options)
    except InputError as e:
        print(f"prepare: error: {e}", file=sys.stderr)
        return 2
    except OSError as e:
        print(f"prepare: error: {e.filename or options.out}: {e.strerror or e}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
