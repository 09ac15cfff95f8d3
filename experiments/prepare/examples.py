"""Examples, and how they are divided into train, validation and test."""

import hashlib
from dataclasses import dataclass, field

from .inputs import InputError

SPLITS = ("train", "validation", "test")
METRICS = {"classify": ("accuracy", "f1", "matthews"), "regress": ("spearman", "pearson"), "mlm": ("loss",)}


@dataclass(slots=True)
class Example:
    text: str
    pair: str | None
    label: float
    own_id: str | None = None  # the file's own id of it
    where: str = ""  # FILE:LINE, for messages

    def content(self) -> str:
        return self.text if self.pair is None else self.text + "\x1f" + self.pair


@dataclass
class Subject:
    """A data set before tokenising. A split that the source does not have is absent from `splits` until divide() carves it from train."""

    name: str
    objective: str
    metric: str
    class_names: list[str]
    splits: dict[str, list[Example]]
    source: str
    licence: str
    inputs: dict[str, str] = field(default_factory=dict)  # file name -> sha256 of its (decompressed) bytes
    duplicates_removed: int = 0


def digest(*parts: str) -> int:
    """64 bits of the SHA-256 of the parts."""
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:8], "big")


def carve_key(example: Example) -> str:
    """Texts that differ in case or spacing only share a key, so that they never end up on both sides of a split."""
    return " ".join(example.content().casefold().split())


def remove_duplicates(examples: list[Example]) -> list[Example]:
    """The first example of each text."""
    seen: set[str] = set()
    kept = []
    for example in examples:
        content = example.content()
        if content not in seen:
            seen.add(content)
            kept.append(example)
    return kept


def divide(subject: Subject, validation_share: float, test_share: float) -> None:
    """Carves the missing splits from train. Where an example goes depends on its text and the data set's name alone, so rows that are added or
    reordered later move no other row. Exact duplicates are removed only where no split was given: published splits are left as they are."""
    train = subject.splits["train"]
    if "validation" not in subject.splits and "test" not in subject.splits:
        kept = remove_duplicates(train)
        subject.duplicates_removed = len(train) - len(kept)
        train = kept
    low = 0.0 if "test" in subject.splits else test_share
    high = low + (0.0 if "validation" in subject.splits else validation_share)
    carved: dict[str, list[Example]] = {split: [] for split in SPLITS}
    for example in train:
        place = digest("split", subject.name, carve_key(example)) / 2.0**64
        carved["test" if place < low else "validation" if place < high else "train"].append(example)
    subject.splits = {split: subject.splits[split] if split in subject.splits and split != "train" else carved[split] for split in SPLITS}
    for split in SPLITS:
        if not subject.splits[split]:
            raise InputError(
                f"{subject.name}: the {split} split has no examples ({len(train)} were there to divide); "
                "give more examples, a larger share or a file for it"
            )


def assign_ids(subject: Subject) -> dict[str, list[int]]:
    """63-bit example ids: the file's own whole number if it has one, otherwise a hash of the own id or of the text. Repeated texts are told apart by
    their occurrence; repeated own ids are refused."""
    occurrences: dict[str, int] = {}
    owners: dict[int, str] = {}
    ids: dict[str, list[int]] = {}
    for split in SPLITS:
        ids[split] = []
        for example in subject.splits[split]:
            if example.own_id is not None:
                own = example.own_id
                is_number = own.isascii() and own.isdigit() and len(own) < 20 and int(own) < 2**63
                number = int(own) if is_number else digest("id", subject.name, own) >> 1
                if number in owners:
                    raise InputError(f"{example.where}: the id {own!r} was used before, at {owners[number]}")
                owners[number] = example.where
            else:
                content = example.content()
                seen = occurrences[content] = occurrences.get(content, 0) + 1
                number = digest("example", subject.name, content, str(seen)) >> 1
            ids[split].append(number)
    return ids


def count_shared(subject: Subject) -> int:
    """Test examples whose text is in train too (published splits have some; carved ones none)."""
    train = {carve_key(example) for example in subject.splits["train"]}
    return sum(carve_key(example) in train for example in subject.splits["test"])
