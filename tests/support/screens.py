"""A program in a terminal of its own, and what a screen shows of the pictures that it sends."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
HOME, OTHER_SCREEN, FIRST_SCREEN, CURSOR_ON = "\x1b[H", "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25h"


class Terminal:
    """words in a terminal of that size, as its foreground process. Ended with the block."""

    def __init__(self, words, columns, lines, environment, directory):
        self.output = b""
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            try:
                os.chdir(directory)
                os.environ.clear()
                os.environ.update(environment)
                signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell that runs the tests in its background has it ignored
                self.set_size(0, columns, lines)
                os.execvp(words[0], words)
            finally:
                os._exit(127)
        self.settings = termios.tcgetattr(self.master)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        os.close(self.master)

    @staticmethod
    def set_size(descriptor, columns, lines):
        fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def resize(self, columns, lines):
        """What comes from now on is another picture."""
        self.read()
        self.output = b""
        self.set_size(self.master, columns, lines)

    def read(self, seconds=0.0):
        until = time.monotonic() + seconds
        while select.select([self.master], [], [], max(0.0, until - time.monotonic()))[0]:
            try:
                content = os.read(self.master, 65536)
            except OSError:  # the other end is gone
                return
            if not content:
                return
            self.output += content

    def press(self, keys):
        os.write(self.master, keys)

    def pictures(self):
        """The lines of each picture that was sent, without colours; the last may be cut."""
        text = self.output.decode("utf-8", "replace")
        return [[CONTROL.sub("", line).strip("\r") for line in picture.partition(FIRST_SCREEN)[0].split("\n")] for picture in text.split(HOME)[1:]]

    def wait_for(self, found, seconds=60):
        """Until a picture of which found(lines) is true has come."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.read(0.1)
            for picture in self.pictures():
                if found(picture):
                    return picture
        raise AssertionError("never seen; the last pictures:\n" + "\n\n".join("\n".join(picture) for picture in self.pictures()[-2:]))

    def end(self, seconds=20):
        """Its exit status, or minus the signal that ended it."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.read(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.read()
                return os.waitstatus_to_exitcode(status)
        raise AssertionError("it does not end")
