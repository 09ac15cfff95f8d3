"""Files that are whole or not there."""

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STREAMS = ("/dev/std", "/dev/fd/", "/proc/")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path`, which takes its name when the block has ended well, and goes when it has not. What the system says of it, it says of
    `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{path.name}."
    try:
        with temporary_file(path, prefix) as temporary:
            yield temporary
    except OSError as error:
        if error.filename is None or os.path.basename(error.filename).startswith(prefix):
            error.filename, error.filename2 = str(path), None
        raise


@contextmanager
def temporary_file(path: Path, prefix: str) -> Iterator[Path]:
    """What replacing() does, in the system's words."""
    handle, temporary = tempfile.mkstemp(prefix=prefix, dir=path.parent)
    os.close(handle)
    try:
        yield Path(temporary)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        handle = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def is_stream(path: Path) -> bool:
    """A device, a pipe or a process's own output, which is written to: a file in its place would be the end of it."""
    if str(path).startswith(STREAMS):
        return True
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def write_bytes(path: Path, content: bytes) -> None:
    """A file is whole or not there; a link stays one, and its file is written anew."""
    if is_stream(path):
        path.write_bytes(content)
        return
    with replacing(Path(os.path.realpath(path))) as temporary:
        temporary.write_bytes(content)


def write_file(path: Path, text: str) -> None:
    """In UTF-8. A file's name may hold bytes that are no text: they are shown as such."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))
