"""A folder of its own for each test."""

import tempfile
import unittest
from pathlib import Path


class FolderCase(unittest.TestCase):
    """self.place: an empty folder, which goes when the test has ended."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.place = Path(folder.name)
