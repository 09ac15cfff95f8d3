#!/usr/bin/python3
# needs: oracle
# timeout: 900
"""Every method against PEFT, or against its formula in PyTorch, on a small random BERT: each case of tests/oracle/parity.py counts."""

import os
import sys

PARITY = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "oracle", "parity.py")


def run(model):
    """In the Python that has PyTorch and PEFT; prints a line per case for the test runner. Does not return."""
    folder = os.environ.get("PEFTSCALE_ORACLE")
    if not folder:
        print("skipped: PEFTSCALE_ORACLE names no Python environment (make oracle)")
        sys.exit(77)
    python = os.path.join(folder, "bin", "python3")
    os.execv(python, [python, "-B", PARITY, "--model", model, *sys.argv[1:]])


if __name__ == "__main__":
    run("tiny")
