#!/usr/bin/python3
# needs: oracle assets
# timeout: 900
"""The same as test_oracle.py on a real pretrained model, MiniLM."""

import sys

sys.dont_write_bytecode = True

from test_oracle import run  # noqa: E402

if __name__ == "__main__":
    run("minilm")
