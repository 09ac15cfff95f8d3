"""Text to token ids: a word-level tokenizer of our own, or a Hugging Face model's through the `tokenizers` library."""

import hashlib
import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from .inputs import InputError

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PAD, UNKNOWN, CLS, SEP, MASK = range(5)
WORD = re.compile(r"\w+|[^\w\s]")
MISSING = ("the Python library 'tokenizers' is missing (only --tokenizer words does without); make it available with: python3 -m venv "
           "--system-site-packages build/venv && build/venv/bin/pip install tokenizers, then run build/venv/bin/python3 -m experiments.prepare ...")


@dataclass(slots=True)
class Encoded:
    tokens: list[int]
    segment_start: int  # where the second text begins; the length if there is none
    cut: bool


def split_words(text: str) -> list[str]:
    return WORD.findall(unicodedata.normalize("NFC", text).lower())


def cut_longest_first(a: list[int], b: list[int], room: int) -> bool:
    """Shortens the longer of two texts from its end until both fit."""
    cut = len(a) + len(b) > room
    while len(a) + len(b) > room:
        (a if len(a) >= len(b) else b).pop()
    return cut


class Words:
    """Word level: lower-cased Unicode words and punctuation marks, [CLS] a [SEP] or [CLS] a [SEP] b [SEP]."""

    name = "words"
    first_word = len(SPECIALS)
    mask_token = MASK

    def __init__(self, words: list[str]):
        self.words = words
        self.ids = {word: number for number, word in enumerate(words)}
        self.vocabulary_size = len(words)
        self.hash = hashlib.sha256(self.as_json()).hexdigest()

    @classmethod
    def build(cls, texts: Iterable[str], size: int) -> "Words":
        """The most frequent words; equally frequent ones in alphabetical order."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(split_words(text))
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        return cls(SPECIALS + ranked[: size - len(SPECIALS)])

    @classmethod
    def load(cls, path: str) -> "Words":
        try:
            with open(path, encoding="utf-8") as file:
                content = json.load(file)
        except OSError as e:
            raise InputError(f"{path}: cannot be read: {e.strerror}") from None
        except ValueError as e:  # UnicodeDecodeError and JSONDecodeError are both
            raise InputError(f"{path}: not a JSON file ({e})") from None
        words = content.get("words") if isinstance(content, dict) else None
        if not isinstance(words, list) or words[: len(SPECIALS)] != SPECIALS or not all(isinstance(word, str) for word in words):
            raise InputError(f"{path}: not a vocabulary ('words' must be a list of words that begins with {' '.join(SPECIALS)})")
        if len(set(words)) != len(words):
            raise InputError(f"{path}: a word is listed twice")
        return cls(words)

    def as_json(self) -> bytes:
        return (json.dumps({"kind": "peftscale vocabulary", "words": self.words}, ensure_ascii=False, indent=0) + "\n").encode()

    def encode(self, texts: list[tuple[str, str | None]], limit: int) -> list[Encoded]:
        encoded = []
        for text, pair in texts:
            a = [self.ids.get(word, UNKNOWN) for word in split_words(text)]
            b = [self.ids.get(word, UNKNOWN) for word in split_words(pair)] if pair is not None else []
            cut = cut_longest_first(a, b, limit - (2 if pair is None else 3))
            tokens = [CLS, *a, SEP]
            start = len(tokens)
            if pair is not None:
                tokens += [*b, SEP]
            encoded.append(Encoded(tokens, start, cut))
        return encoded


class HuggingFace:
    """A model directory's tokenizer.json or, failing that, its vocab.txt read as BERT's WordPiece."""

    def __init__(self, directory: str):
        try:
            import tokenizers
        except ImportError:
            raise InputError(MISSING) from None
        files = [os.path.join(directory, name) for name in ("tokenizer.json", "vocab.txt")]
        self.path = next((path for path in files if os.path.isfile(path)), None)
        if not self.path:
            raise InputError(f"{directory}: has neither tokenizer.json nor vocab.txt")
        try:
            self.tokenizer = tokenizers.Tokenizer.from_file(self.path) if self.path == files[0] else self.from_vocabulary(tokenizers, directory)
        except Exception as e:  # the library raises bare Exception
            raise InputError(f"{self.path}: not a tokenizer that the library can read ({e})") from None
        self.tokenizer.no_padding()
        self.name = os.path.basename(os.path.abspath(directory))
        self.vocabulary_size = self.tokenizer.get_vocab_size(with_added_tokens=True)
        with open(self.path, "rb") as file:
            self.hash = hashlib.sha256(file.read()).hexdigest()
        masks = (self.tokenizer.token_to_id(token) for token in ("[MASK]", "<mask>"))
        self.mask_token = next((token for token in masks if token is not None), -1)
        self.first_word = self.find_first_word()

    def from_vocabulary(self, tokenizers, directory: str):
        lower = True
        settings = os.path.join(directory, "tokenizer_config.json")
        if os.path.isfile(settings):
            with open(settings, encoding="utf-8") as file:
                lower = bool(json.load(file).get("do_lower_case", True))
        return tokenizers.BertWordPieceTokenizer(os.path.join(directory, "vocab.txt"), lowercase=lower)._tokenizer

    def find_first_word(self) -> int:
        """The end of the run of special and unused tokens that starts at id 0 (BERT: 999). Some tokenizers put a few more behind the words
        (RoBERTa's <mask>); those cannot be told by a bound and are left."""
        special = {number for number, token in self.tokenizer.get_added_tokens_decoder().items() if token.special}
        number = 0
        while number in special or re.fullmatch(r"\[(unused\d+|PAD|UNK|CLS|SEP|MASK)\]|<unused\d+>", self.tokenizer.id_to_token(number) or ""):
            number += 1
        return number

    def encode(self, texts: list[tuple[str, str | None]], limit: int) -> list[Encoded]:
        self.tokenizer.enable_truncation(limit, strategy="longest_first")
        encoded = []
        for encoding in self.tokenizer.encode_batch([text if pair is None else (text, pair) for text, pair in texts]):
            tokens = encoding.ids
            start = next((i for i, owner in enumerate(encoding.sequence_ids) if owner == 1), len(tokens))
            encoded.append(Encoded(tokens, start, bool(encoding.overflowing)))
        return encoded
