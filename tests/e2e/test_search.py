#!/usr/bin/python3
# timeout: 600
"""The search over a super-network's paths: the same for any ranks and threads, within its cap, repeatable by other verbs, and what it refuses. Run: test_search.py [-v]"""

import json
import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
from harness import MPIRUN, PROGRAM, Case, call, evaluate, losses, main, make_tiny, np, peftscale, read, succeed, train  # noqa: E402

SMALL = ("--population", "10", "--generations", "3", "--parents", "4")


def content(path):
    with open(path, "rb") as file:
        return file.read()


def table(path):
    head, *lines = [line.split("\t") for line in content(path).decode().splitlines()]
    return [dict(zip(head, line)) for line in lines]


class Search(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.data = make_tiny.write_dataset(cls.at("search.h5"), longest=40, counts=(128, 60, 40), seed=4)
        cls.words = ["method.rank=2", "method.modules=q,v,up", "seed=3"]
        cls.supernet = train(*cls.settings("super", method="glora", train__steps="40", train__lr="2e-2", train__lr_head="2e-2", train__keep="last"), "method.path=random", *cls.words, ranks=2)

    def search(self, *arguments, ranks=1, run=None):
        return json.loads(succeed("search", run or self.supernet, "--json", "--quiet", *SMALL, *arguments, ranks=ranks).out)

    def refuse(self, status, names, *arguments, run=None, hint=None):
        for ranks in (1, 3):
            with self.subTest(ranks=ranks):
                outcome = peftscale("search", run or self.supernet, *arguments, ranks=ranks)
                self.assertEqual((outcome.status, len(outcome.errors)), (status, 1), str(outcome))
                self.assertEqual(outcome.out, "")
                for name in names:
                    self.assertIn(name, outcome.errors[0])
                if hint:
                    self.assertRegex(outcome.err, rf"(?m)^  hint: .*{hint}")

    # ---- results ----

    def test_ranks_and_threads(self):
        """Bitwise the same files and texts for 1, 2 and 3 ranks, and for 3 threads."""
        seen = []
        for number, (ranks, words) in enumerate(((1, ()), (2, ()), (3, ()), (1, ("threads=3",)))):
            tsv, directory = self.at(f"ranks{number}.tsv"), self.at(f"ranks{number}")
            outcome = succeed("search", self.supernet, *SMALL, "--random", "15", "--out", tsv, "--export", directory, *words, ranks=ranks)
            exported = make_tiny.read_safetensors(os.path.join(directory, "model.safetensors"))
            seen.append((content(tsv), outcome.out, {name: value.tobytes() for name, value in exported.items()}))
        for other in seen[1:]:
            self.assertEqual(seen[0][0], other[0])
            self.assertEqual(seen[0][1], other[1])
            self.assertEqual(seen[0][2], other[2])
        self.assertLessEqual(max(map(len, seen[0][1].splitlines()[1:])), 100)

    def test_ranks_with_different_arguments(self):
        """They would wait for each other for ever."""
        words = [[PROGRAM, "search", self.supernet, "--generations", "1", "--population", size] for size in ("4", "6")]
        outcome = call([*MPIRUN, "-np", "1", *words[0], ":", "-np", "1", *words[1]])
        self.assertEqual((outcome.status, len(outcome.errors)), (2, 1), str(outcome))
        self.assertIn("different arguments", outcome.errors[0])

    def test_candidates(self):
        found = self.search("--out", self.at("all.tsv"), "--random", "15")
        rows = table(self.at("all.tsv"))
        self.assertEqual(found["limit"], found["mean_parameters"])
        self.assertEqual(len(rows), found["evaluated"])
        self.assertEqual(len({row["paths"] for row in rows}), len(rows))
        self.assertTrue(all(int(row["parameters"]) <= found["limit"] for row in rows))
        self.assertEqual([row["origin"] for row in rows[:10]], ["random"] * 10)
        self.assertEqual(sum(g["evaluated"] for g in found["generations"]), sum(row["origin"] != "baseline" for row in rows))
        self.assertEqual({row["origin"] for row in rows}, {"random", "mutation", "crossover", "baseline"})
        evolved = [row for row in rows if row["origin"] != "baseline"]
        best = max(evolved, key=lambda row: (float(row["accuracy"]), -float(row["loss"]), -int(row["parameters"])))
        self.assertEqual(found["found"]["scores"]["search"], float(best["accuracy"]))
        self.assertEqual(found["words"], "method.path=listed method.paths=" + best["paths"])
        self.assertEqual([m["path"] for m in found["found"]["maps"]], [int(p) for p in best["paths"].split(",")])
        self.assertEqual(sum(m["parameters"] for m in found["found"]["maps"]), int(best["parameters"]))
        drawn = [float(row["accuracy"]) for row in rows[:10]] + [float(row["accuracy"]) for row in rows if row["origin"] == "baseline"]
        self.assertEqual(found["random"]["count"], 15)
        self.assertAlmostEqual(found["random"]["search"]["mean"], np.mean(drawn), places=12)
        self.assertAlmostEqual(found["random"]["search"]["deviation"], np.std(drawn, ddof=1), places=12)
        self.assertEqual(found["random"]["search"]["best"], max(drawn))

    def test_halves(self):
        """The widest path's score on the two halves adds up to what evaluate says of the whole split; test is the same number."""
        found, both = self.search(), evaluate(self.supernet, "--split", "validation")
        halves = found["examples"]["search"], found["examples"]["unseen"]
        self.assertEqual(sum(halves), 60)
        self.assertGreater(min(halves), 10)
        scores = found["widest"]["scores"]
        self.assertAlmostEqual(sum(n * scores[part] for n, part in zip(halves, ("search", "unseen"))), 60 * both["accuracy"], places=9)
        self.assertEqual(scores["test"], evaluate(self.supernet, "--split", "test")["accuracy"])
        fewer = self.search("--examples", "9")
        self.assertEqual((fewer["examples"]["search"], fewer["examples"]["unseen"]), (9, halves[1]))
        self.assertEqual(fewer["widest"]["scores"]["unseen"], scores["unseen"])

    def test_seed(self):
        paths = [self.search("--seed", seed, "--generations", "0")["words"] for seed in ("3", "4")]
        self.assertNotEqual(*paths)
        self.assertEqual(paths[0], self.search("--generations", "0")["words"])  # the run's own

    def test_training_on_the_found_path(self):
        found = self.search("--limit-params", "200")
        self.assertLessEqual(found["found"]["parameters"], 200)
        run = train(*self.settings("listed", method="glora", train__steps="10"), *found["words"].split(), *self.words)
        self.assertTrue(np.all(np.isfinite(losses(run))))
        head = 3 * 32 + 3
        self.assertEqual(len(read(run, "theta")) - head, found["found"]["parameters"])

    def test_export(self):
        """The exported backbone under the run's head has the found path's score on test."""
        import h5py
        directory = self.at("found")
        found = self.search("--export", directory)
        alone = train(*self.settings("alone", method="head", model__path=directory, train__steps="1", train__lr_head="0"))
        count = len(read(alone, "theta"))
        with h5py.File(alone, "r+") as file:
            file["theta"][...] = read(self.supernet, "theta")[:count]
        self.assertEqual(evaluate(alone)["accuracy"], found["found"]["scores"]["test"])

    def test_other_metrics(self):
        """Regression by Spearman's correlation, and a lower loss is better."""
        data = make_tiny.write_dataset(self.at("score.h5"), objective="regress", metric="spearman", longest=12, counts=(64, 60, 20))
        run = train(*self.settings("score", method="glora", task__data=data, train__steps="20", train__keep="last"), "method.path=random")
        found = self.search(run=run)
        self.assertEqual(found["metric"], "spearman")
        self.assertGreaterEqual(found["found"]["scores"]["search"], found["random"]["search"]["best"])
        found = self.search("task.metric=loss", "--out", self.at("loss.tsv"), run=run)
        self.assertEqual(found["found"]["scores"]["search"], min(float(row["loss"]) for row in table(self.at("loss.tsv"))))
        self.assertLessEqual(found["random"]["search"]["best"], found["random"]["search"]["mean"])

    def test_by_loss(self):
        """The lowest loss on the search half is found, while scores stay those of the metric."""
        found, rows = self.search("--by", "loss", "--out", self.at("by.tsv")), table(self.at("by.tsv"))
        best = min(rows, key=lambda row: float(row["loss"]))
        self.assertEqual(found["words"].split("=")[-1], best["paths"])
        self.assertEqual(found["found"]["scores"]["search"], float(best["accuracy"]))
        self.assertEqual(found["found"]["losses"]["search"], float(best["loss"]))

    def test_no_test_split(self):
        data = make_tiny.write_dataset(self.at("untested.h5"), longest=20, counts=(32, 30, 0))
        run = train(*self.settings("untested", method="glora", task__data=data, train__steps="4", train__keep="last"), "method.path=random")
        self.assertIsNone(self.search(run=run, ranks=3)["found"]["scores"]["test"])

    # ---- refusals ----

    def test_not_a_super_network(self):
        plain = train(*self.settings("lora", method="lora", train__steps="2"))
        self.refuse(2, ["lora", "no super-network"], run=plain, hint="method.path=random")
        fixed = train(*self.settings("fixed", method="glora", train__steps="2"))
        self.refuse(2, ["no super-network"], run=fixed, hint="method.path=random")

    def test_unfinished(self):
        import h5py
        partial = self.at("unfinished.h5")
        shutil.copy(self.supernet, partial)
        with h5py.File(partial, "r+") as file:
            file.attrs["status"] = np.bytes_(b"running")
        self.refuse(1, [partial, "not been completed"], run=partial)
        self.refuse(1, ["nowhere.h5"], run=self.at("nowhere.h5"))

    def test_arguments(self):
        self.refuse(2, ["--limit-params", "-1"], "--limit-params", "-1")
        self.refuse(2, ["--populations"], "--populations", "5", hint="--population")
        self.refuse(2, ["--population", "0"], "--population", "0")
        self.refuse(2, ["--mutate-share", "2"], "--mutate-share", "2")
        self.refuse(2, ["--by", "luck"], "--by", "luck")
        self.refuse(2, ["30 mutations", "50"], "--mutations", "30")
        self.refuse(2, ["--generations", "many"], "--generations", "many")
        self.refuse(2, ["one run file"], self.supernet)

    def test_places_to_write(self):
        """Found out before the search."""
        self.refuse(1, ["nowhere"], "--out", self.at("nowhere/paths.tsv"))
        occupied = self.at("occupied")
        with open(occupied, "w", encoding="utf-8"):
            pass
        self.refuse(1, ["occupied"], "--export", occupied)
        self.refuse(1, ["is a directory"], "--out", self.model)
        before = content(os.path.join(self.model, "model.safetensors"))
        self.refuse(2, ["overwritten"], "--export", self.model)
        self.assertEqual(content(os.path.join(self.model, "model.safetensors")), before)

    def test_halves_without_examples(self):
        data = make_tiny.write_dataset(self.at("one.h5"), longest=20, counts=(32, 1, 4))
        run = train(*self.settings("one", method="glora", task__data=data, train__steps="2", train__keep="last"), "method.path=random")
        self.refuse(1, ["two halves"], run=run)


if __name__ == "__main__":
    main()
