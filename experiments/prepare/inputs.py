"""Input files: found plain or gzipped, read line by line, with errors that name the file and the line."""

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator


class InputError(Exception):
    """One sentence for the user: file, line, reason."""


def find_file(path: str) -> str:
    """The path itself or the same with .gz behind it, whichever exists."""
    for candidate in (path, path + ".gz"):
        if os.path.isfile(candidate):
            return candidate
    raise InputError(f"{path}: there is no such file, plain or .gz")


def read_bytes(path: str) -> bytes:
    try:
        with (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
            return file.read()
    except (EOFError, zlib.error, gzip.BadGzipFile) as e:
        raise InputError(f"{path}: the gzip data are damaged or cut off ({e})") from None
    except OSError as e:
        raise InputError(f"{path}: cannot be read: {e.strerror or e}") from None


class TextFile:
    """A whole text file. Lines end with LF or CRLF only (Unicode's other line ends occur inside texts); a byte order mark is dropped."""

    def __init__(self, path: str, encoding: str = "utf-8"):
        self.path = find_file(path)
        self.encoding = encoding
        self.content = read_bytes(self.path)
        if not self.content.strip():
            raise InputError(f"{self.path}: the file is empty")

    def name(self) -> str:
        """Base name without .gz: the same for both forms of a file."""
        return os.path.basename(self.path).removesuffix(".gz")

    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def lines(self) -> Iterator[tuple[int, str]]:
        """(number from 1, text without its line end) of every line."""
        content = self.content.removeprefix(b"\xef\xbb\xbf") if self.encoding == "utf-8" else self.content
        number = 0
        for number, line in enumerate(content.split(b"\n"), 1):
            try:
                text = line.removesuffix(b"\r").decode(self.encoding)
            except UnicodeDecodeError as e:
                raise InputError(f"{self.path}:{number}: byte {e.start + 1} of the line (0x{line[e.start]:02x}) is not {self.encoding}") from None
            yield number, text

    def rows(self) -> Iterator[tuple[int, str]]:
        """As lines(), without blank ones."""
        return ((number, text) for number, text in self.lines() if text.strip())

    def fail(self, number: int, reason: str) -> InputError:
        return InputError(f"{self.path}:{number}: {reason}")


def read_tsv(file: TextFile, header: bool) -> Iterator[tuple[int, list[str]]]:
    """Rows split on TAB only, without quoting, all as wide as the first; the first is the header if there is one."""
    width = None
    for number, text in file.rows():
        fields = text.split("\t")
        if width is None:
            width = len(fields)
        elif len(fields) != width:
            raise file.fail(number, f"{len(fields)} columns where the {'header' if header else 'first row'} has {width}")
        yield number, fields
