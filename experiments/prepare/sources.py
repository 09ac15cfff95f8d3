"""The data sets that are known by name: where their files lie, what their columns mean."""

import os
import re
from collections.abc import Callable

from .examples import Example, Subject
from .inputs import InputError, TextFile, read_tsv

WORDNET_DIRECTORY = "/usr/share/wordnet"  # where Debian's wordnet-base puts it

# Lexicographer files in the order of their numbers (lexnames(5WN)).
LEXICOGRAPHER = {
    "noun": (3, "Tops act animal artifact attribute body cognition communication event feeling food group location motive object person phenomenon "
                "plant possession process quantity relation shape state substance time"),
    "verb": (29, "body change cognition communication competition consumption contact creation emotion motion perception possession social stative "
                 "weather"),
}


def load_wordnet(directory: str, part: str) -> Subject:
    """Gloss -> lexicographer file. The gloss ends before its first example sentence."""
    first, names = LEXICOGRAPHER[part]
    class_names = [f"{part}.{name}" for name in names.split()]
    if not os.path.isdir(directory):
        raise InputError(f"{directory}: WordNet is not there; install Debian's wordnet-base or give --wordnet DIR")
    file = TextFile(os.path.join(directory, f"data.{part}"))
    examples = []
    for number, line in file.rows():
        if line.startswith("  "):  # the licence at the top of the file
            continue
        data, bar, gloss = line.partition("|")
        fields = data.split()
        if not bar or len(fields) < 2 or not re.fullmatch("[0-9]{2}", fields[1]):
            raise file.fail(number, "not a line of a WordNet data file (offset, lexicographer file, ..., | gloss)")
        label = int(fields[1]) - first
        if not 0 <= label < len(class_names):
            raise file.fail(number, f"lexicographer file {fields[1]} is none of the {part}s' ({first} to {first + len(class_names) - 1})")
        text = gloss.split('; "', 1)[0].strip()
        if not text:
            raise file.fail(number, "the gloss is empty")
        examples.append(Example(text, None, float(label), None, f"{file.path}:{number}"))
    return Subject(f"wordnet-{part}", "classify", "accuracy", class_names, {"train": examples},
                   f"WordNet 3.0, data.{part}: glosses labelled with their lexicographer file",
                   "WordNet 3.0 licence (free use with notice; Princeton University)", {file.name(): file.sha256()})


def read_class(file: TextFile, number: int, written: str, classes: list[str]) -> float:
    if written not in classes:
        raise file.fail(number, f"the label {written!r} is none of {', '.join(classes)}")
    return float(classes.index(written))


def read_score(file: TextFile, number: int, written: str, low: float, high: float) -> float:
    try:
        score = float(written)
    except ValueError:
        score = float("nan")
    if not low <= score <= high:
        raise file.fail(number, f"the score {written!r} is not a number from {low:g} to {high:g}")
    return score


# GLUE: folder, header or not, columns (text, pair, label), labels as written, class names, objective, metric.
GLUE = {
    "cola": ("CoLA", False, (3, None, 1), ["0", "1"], ["unacceptable", "acceptable"], "classify", "matthews", "none stated in the GLUE copy"),
    "sst2": ("SST-2", True, ("sentence", None, "label"), ["0", "1"], ["negative", "positive"], "classify", "accuracy", "none stated"),
    "mrpc": ("MRPC", True, ("#1 String", "#2 String", "Quality"), ["0", "1"], ["different", "equivalent"], "classify", "f1",
             "Microsoft Research terms"),
    "stsb": ("STS-B", True, ("sentence1", "sentence2", "score"), None, ["score"], "regress", "spearman",
             "scores CC BY-SA 4.0; the texts' licences are mixed, see LICENSE.txt of STS-B"),
    "wnli": ("WNLI", True, ("sentence1", "sentence2", "label"), ["0", "1"], ["not_entailment", "entailment"], "classify", "accuracy", "none stated"),
}


def load_glue(key: str, assets: str, labelled_test: bool) -> Subject:
    """Public dev is our test and validation is carved from train; with MRPC's labelled test file, that is our test and dev our validation."""
    folder, header, columns, written, class_names, objective, metric, licence = GLUE[key]
    files = {"train": "train.tsv", "test": "dev.tsv"}
    if labelled_test:
        files = {"train": "train.tsv", "validation": "dev.tsv", "test": "test_labelled.tsv"}
    subject = Subject(key, objective, metric, class_names, {}, f"GLUE {folder}: {', '.join(files.values())}", licence)
    for split, name in files.items():
        file = TextFile(os.path.join(assets, "data", "glue", folder, name))
        subject.inputs[file.name()] = file.sha256()
        examples = subject.splits[split] = []
        place = columns
        for index, (number, fields) in enumerate(read_tsv(file, header)):
            if header and index == 0:
                missing = [column for column in columns if column is not None and column not in fields]
                if missing:
                    raise file.fail(number, f"the header has no column {missing[0]!r}")
                place = tuple(None if column is None else fields.index(column) for column in columns)
                continue
            if not header and len(fields) <= max(column for column in columns if column is not None):
                raise file.fail(number, f"only {len(fields)} columns")
            text, pair, label = (None if column is None else fields[column].strip() for column in place)
            if not text or pair == "":
                raise file.fail(number, "a text is empty")
            value = read_class(file, number, label, written) if written else read_score(file, number, label, 0.0, 5.0)
            examples.append(Example(text, pair, value, None, f"{file.path}:{number}"))
        if not examples:
            raise InputError(f"{file.path}: the file has no rows")
    return subject


def load_trec6(assets: str) -> Subject:
    class_names = ["ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"]
    subject = Subject("trec6", "classify", "accuracy", class_names, {}, "TREC question classification (Li and Roth 2002), coarse labels: "
                      "TREC.train, TREC.test", "none stated (research set)")
    for split, name in (("train", "TREC.train"), ("test", "TREC.test")):
        file = TextFile(os.path.join(assets, "data", "trec6", name), "latin-1")
        subject.inputs[file.name()] = file.sha256()
        examples = subject.splits[split] = []
        for number, line in file.rows():
            found = re.match(r"([A-Z]+):\S+ (.*\S)", line)
            if not found:
                raise file.fail(number, "not of the form CLASS:subclass question")
            examples.append(Example(found[2], None, read_class(file, number, found[1], class_names), None, f"{file.path}:{number}"))
    return subject


def load_mr(assets: str) -> Subject:
    subject = Subject("mr", "classify", "accuracy", ["negative", "positive"], {"train": []}, "MR sentence polarity (Pang and Lee 2005): "
                      "rt-polarity.neg, rt-polarity.pos", "none stated")
    for label, name in enumerate(("rt-polarity.neg", "rt-polarity.pos")):
        file = TextFile(os.path.join(assets, "data", "mr", name), "latin-1")
        subject.inputs[file.name()] = file.sha256()
        subject.splits["train"] += [Example(line.strip(), None, float(label), None, f"{file.path}:{number}") for number, line in file.rows()]
    return subject


def assets_directory(given: str | None) -> str:
    directory = given or os.environ.get("PEFTSCALE_ASSETS")
    if not directory:
        raise InputError("the directory with the data files is not known; give --assets DIR or set PEFTSCALE_ASSETS")
    if not os.path.isdir(directory):
        raise InputError(f"{directory}: there is no such directory (--assets or PEFTSCALE_ASSETS)")
    return directory


def loaders(assets: str | None, wordnet: str, labelled_test: bool) -> dict[str, Callable[[], Subject]]:
    """Every data set that has a name, and how to load it."""
    known: dict[str, Callable[[], Subject]] = {f"wordnet-{part}": lambda part=part: load_wordnet(wordnet, part) for part in LEXICOGRAPHER}
    for key in GLUE:
        known[key] = lambda key=key: load_glue(key, assets_directory(assets), labelled_test and key == "mrpc")
    known["trec6"] = lambda: load_trec6(assets_directory(assets))
    known["mr"] = lambda: load_mr(assets_directory(assets))
    return known
