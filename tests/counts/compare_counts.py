#!/usr/bin/python3
"""Compares what `peftscale count` says with what papers print (printed.tsv beside this file), and prints a table.

usage: compare_counts.py [--table FILE] [--program FILE]

Verdicts: match (rounds to the printed digits); match by truncation; known reason (it differs, and the table says why); not in the suite; formula only (arithmetic
of the table, since no model of the method gives the figure); FAIL. Exit status 1 if any row fails: one that should match and does not, one that is said to differ
and matches, one that cannot be counted.
"""

import argparse
import ast
import json
import math
import operator
import os
import re
import shlex
import subprocess
import sys
from fractions import Fraction

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
COLUMNS = ["source", "model", "method", "words", "figure", "printed", "expect", "reason"]
UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "%": 1}
VERDICTS = ["match", "match by truncation", "known reason", "not in the suite", "formula only", "FAIL"]
OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv, ast.Pow: operator.pow}


class Wrong(Exception):
    """A row that cannot be read or counted."""


def read_table(path):
    with open(path, encoding="utf-8") as file:
        lines = [line.rstrip("\n") for line in file if line.strip() and not line.startswith("#")]
    if not lines or lines[0].split("\t") != COLUMNS:
        raise SystemExit(f"{path}: the columns must be {' '.join(COLUMNS)}")
    rows = [dict(zip(COLUMNS, line.split("\t"))) for line in lines[1:]]
    for row in rows:
        if len(row) != len(COLUMNS) or row["expect"] not in ("match", "differs", "absent", "formula") or (row["reason"] == "-") != (row["expect"] == "match"):
            raise SystemExit(f"{path}: no proper row: {row}")
    return rows


# ---- our figure ----


def calculate(node):
    """Arithmetic on whole numbers, exactly."""
    if isinstance(node, ast.Expression):
        return calculate(node.body)
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return Fraction(node.value)
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](calculate(node.left), calculate(node.right))
    raise Wrong("no arithmetic on whole numbers")


class Counter:
    """Asks the program, once for every question."""

    def __init__(self, program):
        self.program, self.known = program, {}

    def count(self, model, method, words):
        command = [self.program, "count", "--model", model, "--method", method, *words, "--json"]
        key = tuple(command)
        if key not in self.known:
            ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
            if ended.returncode:
                raise Wrong((ended.stderr.strip().splitlines() or ["no output"])[0])
            self.known[key] = json.loads(ended.stdout)
        return self.known[key]

    def figure(self, row):
        """The exact value of a row's figure; None where it has none."""
        figure, words = row["figure"], [] if row["words"] == "-" else shlex.split(row["words"])
        if figure == "-":
            return None
        if figure.startswith("="):
            return calculate(ast.parse(figure[1:].strip(), mode="eval"))
        found = self.count(row["model"], row["method"], words)
        simple = {"trainable": found["trainable"], "stored": Fraction(found["stored_bytes"], 4), "sent": found["sent_floats"],
                  "trainable + regenerated": found["trainable"] + Fraction(found["regenerated_bytes"], 4)}
        if figure in simple:
            return Fraction(simple[figure])
        ratio = re.fullmatch(r"trainable % of (\S+)(.*)", figure)
        if ratio:
            return Fraction(100 * found["trainable"], self.count(row["model"], ratio[1], shlex.split(ratio[2]))["trainable"])
        raise Wrong(f"there is no figure '{figure}'")


# ---- against the printed one ----


def compare(value, printed):
    """match, match by truncation, or None. Only the digits that are printed count."""
    found = re.fullmatch(r"(\d+)(?:\.(\d+))?([KMB%]?)", printed)
    if not found:
        raise Wrong(f"'{printed}' is no figure")
    digits = len(found[2] or "")
    wanted = int(found[1] + (found[2] or ""))
    exact = value / UNITS[found[3]] * 10**digits
    if math.floor(exact + Fraction(1, 2)) == wanted:
        return "match"
    return "match by truncation" if math.floor(exact) == wanted else None


def judge(row, value):
    """(verdict, remark)"""
    agrees = None if value is None else compare(value, row["printed"])
    if row["expect"] == "match":
        return (agrees, "") if agrees else ("FAIL", "does not give the printed figure")
    if row["expect"] == "differs":
        return ("FAIL", f"matches, though it is said not to: {row['reason']}") if agrees else ("known reason", row["reason"])
    if value is not None and not agrees:
        return "FAIL", "the arithmetic does not give the printed figure"
    return "not in the suite" if row["expect"] == "absent" else "formula only", row["reason"]


def show(value):
    if value is None:
        return "-"
    return f"{int(value):,}" if value.denominator == 1 else f"{float(value):,.4g}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", default=os.path.join(HERE, "printed.tsv"), help="the printed figures")
    parser.add_argument("--program", default=os.environ.get("PEFTSCALE") or os.path.join(ROOT, "build", "peftscale"), help="peftscale")
    options = parser.parse_args()
    counter = Counter(os.path.abspath(options.program))
    tally = dict.fromkeys(VERDICTS, 0)
    source = None
    for row in read_table(options.table):
        if row["source"] != source:
            source = row["source"]
            print(f"\narXiv {source}")
        value = None
        try:
            value = counter.figure(row)
            verdict, remark = judge(row, value)
        except (Wrong, SyntaxError, OSError, subprocess.TimeoutExpired) as e:
            verdict, remark = "FAIL", str(e)
        tally[verdict] += 1
        words = "" if row["words"] == "-" else " " + row["words"]
        figure = f" [{row['figure']}]" if row["figure"] not in ("trainable", "-") else ""
        print(f"  {row['model']:13s} {row['printed']:>8s} {show(value):>14s}  {verdict}{': ' if remark else ''}{remark}")
        print(f"      {row['method']}{words}{figure}")
    print("\n" + ", ".join(f"{count} {verdict}" for verdict, count in tally.items()))
    return int(tally["FAIL"] > 0)


if __name__ == "__main__":
    sys.exit(main())
