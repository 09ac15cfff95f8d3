#!/usr/bin/python3
"""The study of all methods, with a tiny model: same number of trials for all, choice on validation alone, test once, failures told, nothing done twice. Run:
test_methods_study.py [-v]"""

import csv
import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
from harness import PROGRAM, ROOT, Case, attribute, call, evaluations, main, make_tiny, run_files  # noqa: E402

STUDY = os.path.join(ROOT, "experiments/minilm-methods/study.py")
sys.path[:0] = [ROOT, os.path.dirname(STUDY)]
import report  # noqa: E402
from plan import Plan  # noqa: E402


class MethodsStudy(Case):
    def study(self, *words, **environment):
        changes = {"PEFTSCALE": PROGRAM, "PEFTSCALE_DATA": self.at("data"), "STUDY_RESULTS": self.at("results"), "TASKS": "trec6", "METHODS": "lora head",
                   "SEEDS": "1 2", "PEFTSCALE_CONFIGS": os.path.join(ROOT, "configs"), **environment}
        return call([sys.executable, STUDY, f"model.path={self.at('model')}", *words], changes)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        os.mkdir(cls.at("data"))
        make_tiny.write_dataset(cls.at("data/trec6-wordpiece.h5"), longest=20)

    def setUp(self):
        shutil.rmtree(self.at("results"), ignore_errors=True)

    def rows(self):
        with open(self.at("results/table.csv"), encoding="utf-8") as file:
            return {row["method"]: row for row in csv.DictReader(file)}

    def finished(self, kind):
        return run_files(self.at(f"results/{kind}"))[0]

    def test_protocol(self):
        done = self.study()
        self.assertEqual(done.status, 0, str(done))
        trials, runs = self.finished("trials"), self.finished("runs")
        self.assertEqual((len(trials), len(runs)), (6, 4))
        for path in trials:
            self.assertEqual(len(evaluations(path, "test")), 0, path)
        for path in runs:
            self.assertEqual(len(evaluations(path, "test")), 1, path)
        for row in self.rows().values():
            scores = dict(zip((float(word) for word in row["trial_rates"].split()), (float(word) for word in row["trial_validations"].split())))
            self.assertEqual(float(row["rate"]), min(scores, key=lambda rate: (-scores[rate], rate)))
            low, middle, high = scores
            self.assertAlmostEqual(middle / low, 3, delta=0.02)
            self.assertAlmostEqual(high / middle, 3, delta=0.02)
            own = [attribute(path, "result", "test_metric") for path in runs if f"-{row['method']}-" in path]
            self.assertAlmostEqual(float(row["test_mean"]), sum(own) / 2, places=9)
        before = {path: os.stat(path).st_mtime_ns for path in trials + runs}
        self.assertEqual(self.study().status, 0)
        self.assertEqual(before, {path: os.stat(path).st_mtime_ns for path in self.finished("trials") + self.finished("runs")})

    def test_failure_is_told_and_the_rest_goes_on(self):
        with open(self.at("program"), "w", encoding="utf-8") as file:
            file.write(f'#!/bin/sh\ncase "$*" in "train "*method=lora*seed=2*) echo no luck >&2; exit 1;; esac\nexec {PROGRAM} "$@"\n')
        os.chmod(self.at("program"), 0o755)
        done = self.study(PEFTSCALE=self.at("program"))
        self.assertEqual(done.status, 1)
        self.assertIn("no luck", done.out)
        self.assertEqual({name: (row["seeds"], row["verdict"]) for name, row in self.rows().items() if name == "head"}, {"head": ("1 2", "baseline")})
        self.assertEqual(self.rows()["lora"]["seeds"], "1")
        self.assertIn("[1 of 2 seeds]", done.out)

    def test_verdict(self):
        class Cell(report.Cell):
            def __init__(self, score, count=2):
                super().__init__([], 1e-3, [None] * count, 2)
                self.score = score

            def mean(self, what):
                return self.score

        plan = Plan([])
        plan.tasks = ["trec6", "cola"]
        for trec6, cola, count, expected in ((82, 10, 2, "yes"), (81.9, 11.9, 2, "missing"), (50, 12, 2, "yes"), (81.9, 11.9, 1, "not finished")):
            cells = {("trec6", "head"): Cell(80), ("cola", "head"): Cell(10), ("trec6", "lora"): Cell(trec6), ("cola", "lora"): Cell(cola, count)}
            self.assertEqual(report.verdict(cells, plan, "lora"), expected)


if __name__ == "__main__":
    main()
