#!/usr/bin/python3
# timeout: 600
# needs: root
"""The study of slow links with a tiny model: all that it measures is made, read back and computed as said, and nothing is done twice. Run:
test_cluster_demo.py [-v]"""

import csv
import os
import sys
from pathlib import Path

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
from harness import PROGRAM, ROOT, Case, call, evaluations, h5py, main, make_tiny, np, read, run_files  # noqa: E402
import cluster  # noqa: E402

STUDY = os.path.join(ROOT, "experiments/cluster-demo/study.py")
sys.path[:0] = [ROOT, os.path.dirname(STUDY)]
import plan  # noqa: E402
import report  # noqa: E402

METHODS, LINKS, WARM = ("full", "lora", "red", "head"), ("unshaped", "10mbit"), plan.WARM_STEPS


class Arithmetic(Case):
    """What needs no measurement."""

    def test_verdicts(self):
        ideal, latency = 8 * 100_000 / 1e7, 0.001
        for factor, verdict in ((0.5, report.FAST), (0.84, report.FAST), (0.86, report.RIGHT), (1.0, report.RIGHT), (1.15, report.RIGHT), (1.17, report.SLOW), (2, report.SLOW)):
            self.assertEqual(report.judge(factor * ideal, 100_000, "10mbit", latency), verdict, factor)
        self.assertEqual(report.judge(1, 100_000, "unshaped", latency), report.NO_RATE)
        sums = {"10mbit": [report.Sum(size, 1, 1, size, verdict) for size, verdict in ((4, report.SLOW), (10_000, report.FAST), (1_000_000, report.RIGHT))]}
        for size, verdict in ((10_000, report.FAST), (999_999, report.FAST), (1_000_000, report.RIGHT), (90_000_000, report.RIGHT)):
            self.assertEqual(report.verdict_of(sums, size, "10mbit"), verdict)
        self.assertEqual(report.verdict_of(sums, 10_000, "100mbit"), "not calibrated")

    def test_plan(self):
        """Few steps where a step takes long, and none so small that nothing is left without the warm ones."""
        self.assertEqual(plan.steps_of_run(90_000_000, "10mbit"), plan.FEWEST_STEPS)
        self.assertEqual(plan.steps_of_run(20_000, "10mbit"), plan.MOST_STEPS)
        sizes = {"full": 90_000_000, "lora": 300_000}
        self.assertNotIn(90_000_000, plan.calibration_sizes(sizes, "10mbit"))
        self.assertIn(300_000, plan.calibration_sizes(sizes, "10mbit"))
        self.assertIn(90_000_000, plan.calibration_sizes(sizes, "unshaped"))
        timings = plan.timings(sizes, list(LINKS))
        self.assertEqual(len({timing.name for timing in timings}), len(timings))
        self.assertEqual([timing.round for timing in timings], sorted(timing.round for timing in timings))

    def test_score(self):
        def final(method, *scores):
            return report.Final(method, 1000, 10, "accuracy", list(enumerate(scores, 1)))
        finals = {"full": final("full", 0.3, 0.7, 0.9), "lora": final("lora", 0.71, 0.69), "head": final("head", 0.5, 0.5)}
        self.assertAlmostEqual(report.choose_score(finals), 0.70)
        self.assertEqual([finals[method].steps_to(0.7) for method in ("full", "lora", "head")], [2, 1, None])


class ClusterDemo(Case):
    def study(self, *words, **environment):
        changes = {"PEFTSCALE": PROGRAM, "PEFTSCALE_DATA": self.at("prepared"), "CLUSTER_STUDY": "experiments/wordnet-verbs", "CLUSTER_DATA": "tiny",
                   "CLUSTER_RESULTS": self.at("results"), "CLUSTER_METHODS": " ".join(METHODS), "CLUSTER_LINKS": " ".join(LINKS), "CLUSTER_STEPS": "24", "CLUSTER_EVALUATIONS": "4",
                   "CLUSTER_SECONDS": "2", "CLUSTER_ROUNDS": "2", **environment}
        hosts = [sys.executable, os.path.join(ROOT, "tests/cluster/hosts.py"), "with", "2", "--"]
        return call([*hosts, sys.executable, STUDY, *words], changes, timeout_s=400)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        os.mkdir(cls.at("prepared"))
        make_tiny.write_dataset(cls.at("prepared/tiny.h5"), longest=20)

    def table(self, name):
        with open(self.at(f"results/{name}.tsv"), encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file, delimiter="\t"))

    def check_steps(self, link):
        rows = {row["method"]: row for row in self.table(f"steps-{link}")}
        self.assertEqual(tuple(rows)[:2], ("full", "lora"))
        self.assertEqual(set(rows), set(METHODS))
        for method, row in rows.items():
            series = [read(path, "series/steps") for path in run_files(self.at("results/timed"))[0] if os.path.basename(path).startswith(f"{method}-{link}-")]
            self.assertEqual(len(series), 2)
            timed = np.concatenate([steps[WARM:] for steps in series])
            timed = timed[np.isnan(timed["wait_s"])]
            self.assertEqual(int(row["steps"]), len(timed))
            self.assertAlmostEqual(float(row["exposed_median_s"]), float(np.median(timed["communication_s"])), places=12)
            self.assertAlmostEqual(float(row["exposed_share"]), float(timed["communication_s"].sum() / timed["step_s"].sum()), places=12)
            payload = int(row["payload_bytes"])
            # The head may travel as factors: then a rank's part depends on its share of the batch, and the account holds the mean.
            self.assertLess(abs(float(timed["payload_bytes"].mean()) - payload), 100)
            self.assertGreater(float(row["sent_bytes"]), payload - 100)
            self.assertLess(float(row["sent_bytes"]), payload + 2000)
            if link == "10mbit":
                self.assertAlmostEqual(float(row["ideal_s"]), 8 * float(row["sent_bytes"]) / 1e7, places=6)
        return rows

    def test_from_the_first_run_to_the_tables(self):
        done = self.study(f"model.path={self.model}")
        self.assertEqual(done.status, 0, str(done))
        steps = {link: self.check_steps(link) for link in LINKS}
        full = steps["10mbit"]["full"]
        self.assertGreater(float(full["exposed_median_s"]), 0.9 * float(full["ideal_s"]), "full fine-tuning is faster than its link")
        sums = self.table("calibration")
        self.assertEqual({row["link"] for row in sums}, set(LINKS))
        for row in sums:
            if row["link"] == "10mbit" and int(row["payload_bytes"]) >= 200_000:
                self.assertNotEqual(row["verdict"], report.FAST, row)
        for row in self.table("score"):
            curve = evaluations(self.at(f"results/final/{row['method']}.h5"), "validation")
            reached = curve["step"][curve["metric"] >= float(row["score"])]
            self.assertEqual(row["steps"], str(reached[0]) if len(reached) else "")
            if len(reached):
                self.assertAlmostEqual(float(row["computed_s_10mbit"]), int(reached[0]) * float(steps["10mbit"][row["method"]]["step_median_s"]), places=9)
                self.assertEqual(int(row["payload_bytes"]), int(reached[0]) * int(steps["10mbit"][row["method"]]["payload_bytes"]))
        text = Path(self.at("results/tables.md")).read_text(encoding="utf-8")
        for word in ("LoRA alone saves", "saves beyond LoRA", "times are computed"):
            self.assertIn(word, text)
        self.assertNotIn("MIXTURE", text)
        files = {path: os.stat(path).st_mtime_ns for path in run_files(self.at("results"))[0]}
        self.assertEqual(len(files), len(METHODS) * (1 + 2 * len(LINKS)) + len(LINKS) + 1)
        again = self.study(f"model.path={self.model}")
        self.assertEqual(again.status, 0, str(again))
        self.assertEqual(files, {path: os.stat(path).st_mtime_ns for path in run_files(self.at("results"))[0]})
        self.check_a_mixture()

    def check_a_mixture(self):
        """A file of another program is told."""
        with h5py.File(self.at("results/final/head.h5"), "r+") as file:
            file["provenance"].attrs["commit"] = np.bytes_("another")
        self.assertIn("MIXTURE of commit", report.write(Path(self.at("results"))))

    def test_files_that_are_of_no_use(self):
        """One line that names the file."""
        os.makedirs(self.at("damaged/timed"))
        broken, foreign = self.at("damaged/timed/lora-10mbit-1.h5"), self.at("damaged/timed/other.h5")
        Path(broken).write_bytes(b"not HDF5")
        for path in (broken, foreign):
            done = call([sys.executable, STUDY, "--report"], {"CLUSTER_RESULTS": self.at("damaged")})
            self.assertEqual(done.status, 1, str(done))
            self.assertEqual(len(done.err.splitlines()), 1, str(done))
            self.assertIn(path, done.err)
            os.unlink(path)
            with h5py.File(foreign, "w") as file:
                file["series"] = 1

    def test_a_training_that_fails(self):
        done = self.study("model.path=/nonexistent", CLUSTER_RESULTS=self.at("failed"))
        self.assertEqual(done.status, 1, str(done))
        self.assertIn("model.path", done.err)
        self.assertFalse(os.path.exists(self.at("failed/tables.md")))


if __name__ == "__main__":
    lack = cluster.find_lack()
    if lack:
        print(f"skipped: {lack}")
        sys.exit(77)
    main()
