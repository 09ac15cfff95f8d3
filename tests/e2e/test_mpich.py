#!/usr/bin/python3
# timeout: 900
# needs: mpich
"""The program built with MPICH beside the one under test: the same bits of theta with exact sums, the same payloads, what is Open MPI's own refused, errors that
end without a hang, and launchers that do not belong to the program. Run: test_mpich.py [-v]"""

import json
import os
import pty
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
from harness import MPIRUN, OPEN_MPI, PROGRAM, ROOT, Case, attribute, call, environment, launcher, losses, main, make_tiny, np, read, run_files  # noqa: E402

BUILD = os.path.join(os.path.abspath(os.environ.get("PEFTSCALE_BUILD") or os.path.join(ROOT, "build")), "mpich")
MPICH = os.path.join(BUILD, "peftscale")
# How sums work, whatever library is below: with two ranks, one for each core, since MPICH's ranks never yield.
PROGRAMS = ("allreduce", "bench", "comm", "exact", "wire")
BUCKET_BYTES, TAIL_FLOATS, EXACT_TAIL, EXACT_MORE_LEVELS = 4 << 20, 4, 3, 2


def setUpModule():
    words = ["make", "-j2", "-C", ROOT, "CC=mpicc.mpich", f"BUILD={BUILD}", MPICH, *(f"{BUILD}/tests/mpi/{name}" for name in PROGRAMS)]
    done = subprocess.run(words, env=environment({"PEFTSCALE_CONFIGS": None}), capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=600)
    if done.returncode:
        raise AssertionError(f"{' '.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    if "warning:" in done.stderr:
        raise AssertionError(done.stderr[-4000:])
    global MPICH_RUN
    MPICH_RUN = launcher.words(MPICH)


class Mpich(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.wide = make_tiny.write_model(cls.at("wide"), width=256, layers=4, heads=4, ffn=1024, seed=2)
        cls.narrow = make_tiny.write_dataset(cls.at("narrow.h5"), counts=(24, 6, 6), longest=24, seed=3)

    def call(self, *words, ranks=2, changes=None):
        return call([*MPICH_RUN, "-np", str(ranks), MPICH, *words], changes)

    def succeed(self, *words, **how):
        outcome = self.call(*words, **how)
        self.assertEqual(outcome.status, 0, str(outcome))
        return outcome

    def words(self, name, method, **changed):
        keys = {"train__epochs": "1", "train__steps": "4", "shards": "12", **changed}
        if method == "full":  # a vector of several buckets, which go by the suite's own ring
            keys.update(model__path=self.wide, task__data=self.narrow, train__lr="1e-4", output__theta="false", train__steps="2")
        return ["train", "--json", "--quiet", *self.settings(name, method=method, **keys)]

    def train(self, name, method, ranks, **changed):
        return json.loads(self.succeed(*self.words(name, method, **changed), ranks=ranks).out)["run"]

    def train_other(self, name, method, ranks, **changed):
        """By the program under test."""
        outcome = call([*MPIRUN, "-np", str(ranks), PROGRAM, *self.words(name, method, **changed)])
        self.assertEqual(outcome.status, 0, str(outcome))
        return json.loads(outcome.out)["run"]

    def agree(self, compared, *runs):
        """`check` says so: every file valid, its payloads what the formula says, and each pair of one experiment alike."""
        outcome = call([PROGRAM, "check", "--json", *runs])
        self.assertEqual(outcome.status, 0, str(outcome))
        pairs = json.loads(outcome.out)["comparisons"]
        self.assertEqual({(pair["relation"], pair["compared"]) for pair in pairs}, {("AGREE", compared)}, str(outcome))
        return pairs

    # ---- trainings ----

    def test_the_run_file_says_which(self):
        run = self.train("which", "lora", 2)
        self.assertRegex(attribute(run, "provenance", "mpi"), r"^MPICH \d+\.\d+[^,\n\t]*, device \S+$")
        self.assertEqual(attribute(run, "provenance", "wire"), "shared memory")
        self.assertEqual(attribute(run, "provenance", "nodes"), "1")
        self.assertEqual(json.loads(call([MPICH, "info", "--json"]).out)["mpi"], attribute(run, "provenance", "mpi"))

    def test_exact_sums_give_the_same_bits(self):
        """Of the other library, and of MPICH with 1, 2 and 3 ranks: theta after every step."""
        for name, method, more in (("lora", "lora", {}), ("vblora", "vblora", {}), ("factors", "lora", {"model__head": "tanh", "head_reduce": "factors"}), ("full", "full", {}),
                                   ("node", "full", {"node_reduce": "on", "payload": "dense"})):
            with self.subTest(case=name):
                other = self.train_other(f"{name}-other", method, 2, reduce="exact", **more)
                runs = [self.train(f"{name}-{ranks}", method, ranks, reduce="exact", **more) for ranks in (1, 2, 3)]
                for run in runs:
                    self.assertEqual(read(run, "series/steps")["theta_hash"].tolist(), read(other, "series/steps")["theta_hash"].tolist())
                    self.assertEqual(attribute(run, "result", "theta_hash"), attribute(other, "result", "theta_hash"))
                    self.assertTrue(np.array_equal(losses(run), losses(other)))
                    self.assertEqual(attribute(run, "", "experiment_id"), attribute(other, "", "experiment_id"))
                self.assertEqual(attribute(runs[1], "", "run_id"), attribute(other, "", "run_id"))
                for column in ("payload_bytes", "sent_floats"):
                    self.assertEqual(read(runs[1], "series/steps")[column].tolist(), read(other, "series/steps")[column].tolist())
                if name == "node":
                    self.assertEqual(attribute(runs[1], "provenance", "node_reduce"), "on")
                if method == "full":
                    self.assertGreater(int(read(runs[1], "series/steps")["payload_bytes"].min()), 2 * BUCKET_BYTES)
                pairs = self.agree("bitwise", other, *runs)
                self.assertEqual(any("MPI libraries" in note for note in pairs[0]["notes"]), OPEN_MPI)

    def test_float_sums_agree_to_rounding(self):
        for method, ranks, more in (("lora", 2, {}), ("red", 3, {}), ("full", 2, {}), ("full", 3, {"node_reduce": "on"})):
            with self.subTest(method=method, ranks=ranks):
                runs = [make(f"float-{method}-{ranks}-{i}", method, ranks, **more) for i, make in enumerate((self.train_other, self.train))]
                self.assertLess(float(np.max(np.abs(losses(runs[0]) / losses(runs[1]) - 1))), 1e-5)
                self.assertEqual(*(read(run, "series/steps")["payload_bytes"].tolist() for run in runs))
                self.agree("rounding", *runs)

    def test_payload_is_the_formula(self):
        for method in ("lora", "unilora"):
            for reduce in ("float", "exact"):
                run = self.train(f"payload-{method}-{reduce}", method, 2, reduce=reduce, train__steps="2")
                numbers = attribute(run, "accounting", "sent_floats") + attribute(run, "accounting", "head_floats")
                segments = len(read(run, "segments"))
                wanted = 4 * (numbers + TAIL_FLOATS) if reduce == "float" else 8 * (numbers + EXACT_TAIL) + segments + EXACT_MORE_LEVELS
                self.assertEqual(read(run, "series/steps")["payload_bytes"].tolist(), [wanted] * 2)

    def test_progress_is_live_on_a_terminal(self):
        """Behind MPICH's mpirun and its proxy as behind Open MPI's: one line that is rewritten."""
        for words in ([*MPICH_RUN, "-np", "2", MPICH], [*MPIRUN, "-np", "2", PROGRAM]):
            ours, theirs = pty.openpty()
            train = [word for word in self.words("live", "lora", train__steps="40") if word != "--quiet"]
            with subprocess.Popen([*words, *train], env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs) as process:
                os.close(theirs)
                shown = b""
                try:
                    while part := os.read(ours, 4096):
                        shown += part
                except OSError:  # the other side is closed
                    pass
            os.close(ours)
            self.assertEqual(process.returncode, 0, shown)
            self.assertIn(b"\r\x1b[K", shown)

    # ---- the sum alone ----

    def test_communication_alone(self):
        words = ["comm", "--models", "minilm-l6", "--methods", "lora", "--sizes", "8,64KiB", "--repetitions", "3", "--seconds", "0"]
        found = json.loads(self.succeed(*words, "--algorithms", "all", "--json").out)
        self.assertEqual({case["algorithm"] for case in found["cases"]}, {"mpi", "doubling", "ring", "rabenseifner"})
        other = json.loads(call([PROGRAM, "comm", *words[1:], "--json"]).out)
        self.assertEqual({case["label"]: case["payload_bytes"] for case in found["cases"]}, {case["label"]: case["payload_bytes"] for case in other["cases"]})
        exact = json.loads(self.succeed(*words, "--reduce", "exact", "--algorithms", "mpi,ring", "--json").out)  # sums and maxima are checked, number by number
        self.assertEqual(exact["reduce"], "exact")

    def test_bytes_over_tcp(self):
        """By the ranks' own sockets, as with Open MPI: what the algorithm sends, and headers. The launcher's connection does not count."""
        for flags in ([], ["-pmi-port"]):
            words = ["comm", "--models", "none", "--sizes", "1200000", "--algorithms", "ring", "--repetitions", "3", "--seconds", "0", "--json"]
            found = {}
            for wire, changes in (("tcp", {"UCX_TLS": "tcp"}), ("shared memory", {})):
                outcome = call([*MPICH_RUN, *flags, "-np", "2", MPICH, *words], changes)
                self.assertEqual(outcome.status, 0, str(outcome))
                found[wire] = json.loads(outcome.out)
                self.assertEqual(found[wire]["wire"], wire)
            self.assertAlmostEqual(found["tcp"]["cases"][0]["wire_bytes_mean"] / 1200000, 1, delta=0.01)

    def test_programs(self):
        for name in PROGRAMS:
            with self.subTest(program=name):
                outcome = call([*MPICH_RUN, "-np", "2", f"{BUILD}/tests/mpi/{name}"])
                self.assertEqual(outcome.status, 0, str(outcome))

    # ---- what fails ----

    def refused(self, outcome, status, *parts):
        self.assertEqual(outcome.status, status, str(outcome))
        self.assertEqual(len(outcome.errors), 1, str(outcome))
        for part in parts:
            self.assertIn(part, outcome.err)

    def test_forced_algorithms_are_open_mpis(self):
        for ranks in (1, 2):
            outcome = self.call("comm", "--models", "none", "--sizes", "4", "--algorithms", "mpi,mpi:ring", "--out", self.at("never.h5"), ranks=ranks)
            self.refused(outcome, 2, "Open MPI's", "MPICH", "leave the mpi: algorithms out")
            self.assertNotIn(self.at("never.h5"), run_files(self.folder.name)[0])

    def test_errors_end_on_all_ranks(self):
        """One message, the exit status, and no hang: a word that is wrong, data that is not there, a training that diverges, ranks that were told otherwise."""
        self.refused(self.call("tran"), 2, "did you mean 'train'")
        self.refused(self.call(*self.words("missing", "lora", task__data=self.at("nowhere.h5")), ranks=3), 1, self.at("nowhere.h5"))
        diverging = {"train__lr": "1000", "train__lr_head": "1000", "train__warmup": "0", "train__steps": "60", "train__clip": "0", "shards": "8"}
        self.refused(self.call("train", "--quiet", *self.settings("diverged", method="full", output__theta="false", **diverging)), 1, "diverged")
        self.assertTrue(os.path.exists(self.at("runs/diverged.h5.partial")))
        first, second = (self.words("torn", "lora", seed=seed) for seed in ("1", "2"))
        self.refused(call([*MPICH_RUN, "-np", "1", MPICH, *first, ":", "-np", "1", MPICH, *second]), 1, "differ")

    def test_a_rank_that_is_killed_ends_the_job(self):
        words = self.words("killed", "lora", train__steps="100000")
        outcome = call([*MPICH_RUN, "-np", "1", MPICH, *words, ":", "-np", "1", "timeout", "-s", "KILL", "2", MPICH, *words])
        self.assertNotEqual(outcome.status, 0, str(outcome))
        self.assertFalse(os.path.exists(self.at("runs/killed.h5")))

    @unittest.skipUnless(OPEN_MPI, "needs a program built with Open MPI beside it")
    def test_launchers_of_the_other_library(self):
        """They start so many jobs of one process each: refused by the first, before anything is written."""
        for run, program, names in ((MPICH_RUN, PROGRAM, ("PMI", "Open MPI v", "mpirun.openmpi")), (MPIRUN, MPICH, ("Open MPI's mpirun", "MPICH", "mpirun.mpich"))):
            outcome = call([*run, "-np", "2", program, *self.words("foreign", "lora")])
            self.refused(outcome, 2, "started 2 processes", *names)
            self.assertFalse([name for name in os.listdir(self.at("runs")) if name.startswith("foreign")] if os.path.exists(self.at("runs")) else [])
            alone = call([*run, "-np", "1", program, *self.words("alone", "lora")])  # one process is one in any case
            self.assertEqual(alone.status, 0, str(alone))


if __name__ == "__main__":
    main()
