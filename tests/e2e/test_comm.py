#!/usr/bin/python3
# timeout: 900
"""Sums of each method's size without weights: payloads against `count` and against real trainings, the file, the table, what is refused, and bytes over TCP.

Run: test_comm.py [-v]
"""

import json
import math
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
from harness import OPEN_MPI, OVER_TCP, Case, attribute, call, command, h5py, main, methods, needs_open_mpi, np, peftscale, read, run_files, succeed, text, train  # noqa: E402

TAIL_FLOATS, EXACT_TAIL, EXACT_MORE_LEVELS = 4, 3, 2
OWN = ("doubling", "ring", "rabenseifner")
FORCED = ("mpi:doubling", "mpi:ring", "mpi:segmented_ring", "mpi:rabenseifner")
CASES = ["case", "ranks", "nodes", "algorithm", "label", "model", "method", "payload_bytes", "rounds", "counted_bytes_mean", "counted_bytes_max"]
REPETITIONS = ["case", "repetition", "seconds", "seconds_mean", "wire_bytes_mean", "wire_bytes_max"]
QUICK = ("--repetitions", "3", "--seconds", "0")


def comm(*words, ranks=1, **how):
    return json.loads(succeed("comm", *words, "--json", ranks=ranks, **how).out)


def count(model, method, *words):
    return json.loads(succeed("count", "--model", model, "--method", method, *words, "--json").out)


def by_method(found):
    return {case["method"]: case for case in found["cases"]}


class Payload(Case):
    def test_is_what_count_says_with_head_and_tail(self):
        """The default head is that of `count`: dense-tanh-linear for RoBERTa."""
        for model, head, words in (("minilm-l6", None, ()), ("roberta-base", None, ()), ("minilm-l6", "tanh", ("--head", "tanh")), ("bert-base", None, ("--classes", "7"))):
            chosen = [name for name in methods() if name != "full"]
            cases = by_method(comm("--models", model, "--methods", ",".join(chosen), *words, *QUICK))
            for method in chosen:
                counted = count(model, method, *words)
                with self.subTest(model=model, method=method, head=head):
                    self.assertEqual(cases[method]["payload_bytes"], 4 * (counted["sent_floats_with_head"] + TAIL_FLOATS))
                    self.assertEqual(cases[method]["payload_bytes_without_head"], 4 * (counted["sent_floats"] + TAIL_FLOATS))
                    self.assertEqual(cases[method]["label"], f"{method} on {model}")

    def test_without_a_head(self):
        case = comm("--models", "minilm-l6", "--methods", "vera", "--head", "none", *QUICK)["cases"][0]
        self.assertEqual(case["payload_bytes"], 4 * (count("minilm-l6", "vera")["sent_floats"] + TAIL_FLOATS))
        self.assertEqual(case["payload_bytes"], case["payload_bytes_without_head"])

    def test_is_what_a_training_sends(self):
        """Of every method, in floats and exactly: the last step's own count, and the run file's account. Of full fine-tuning all of the embeddings; which of
        their rows a batch does not reach is known with data alone."""
        chosen = methods()
        for reduce in ("float", "exact"):
            cases = by_method(comm("--models", self.model, "--methods", "all", "--classes", "3", "--head", "linear", "--reduce", reduce, *QUICK))
            for method in chosen:
                whole = {"payload": "dense"} if method == "full" else {}
                run = train(*self.settings(f"{method}-{reduce}", method=method, reduce=reduce, train__epochs="1", train__steps="2", **whole), ranks=2)
                accounted, sent = attribute(run, "accounting", "sent_bytes_per_step"), read(run, "series/steps")["payload_bytes"]
                with self.subTest(method=method, reduce=reduce):
                    self.assertEqual(cases[method]["payload_bytes"], accounted)
                    self.assertEqual(cases[method]["payload_bytes"], sent[-1])
                    self.assertEqual(cases[method]["label"], f"{method} on model")

    def test_exact_sums_count_segments(self):
        """A bias and a weight of the head; A and B of q and v in 6 layers."""
        counted = count("minilm-l6", "lora")
        case = comm("--models", "minilm-l6", "--methods", "lora", "--reduce", "exact", *QUICK)["cases"][0]
        self.assertEqual(case["payload_bytes"], 8 * (counted["sent_floats_with_head"] + EXACT_TAIL) + 2 + 2 * 2 * 6 + EXACT_MORE_LEVELS)

    def test_keys_of_methods(self):
        """rank=2 is for those that have a rank, METHOD.KEY for one."""
        found = by_method(comm("--models", "minilm-l6", "--methods", "lora,red,vblora", "rank=2", "lora.modules=q", "vblora.bank=7", *QUICK))
        for method, words in (("lora", ("rank=2", "modules=q")), ("red", ()), ("vblora", ("rank=2", "bank=7"))):
            self.assertEqual(found[method]["payload_bytes"], 4 * (count("minilm-l6", method, *words)["sent_floats_with_head"] + TAIL_FLOATS))

    def test_plain_sizes(self):
        found = comm("--models", "none", "--sizes", "4,64KiB,1.2MB,1MiB,20b", *QUICK)
        self.assertEqual([case["payload_bytes"] for case in found["cases"]], [4, 65536, 1200000, 1048576, 20])
        self.assertEqual({(case["label"], case["model"], case["method"]) for case in found["cases"]}, {("size", "", "")})


class File(Case):
    def measure(self, name, *words, ranks=3, **how):
        path = self.at(name)
        return path, comm("--out", path, *words, ranks=ranks, **how)

    def test_layout(self):
        """What readers rely on, name by name and type by type."""
        path, found = self.measure("layout.h5", "--models", "minilm-l6", "--methods", "lora,head", "--sizes", "4", "--ranks", "1,2,3", "--algorithms", "mpi,ring", "--repetitions", "4",
                                   "--network", "two cores", "--rate", "100mbit")
        with h5py.File(path, "r") as file:
            attributes = {name: text(value) for name, value in file.attrs.items()}
            self.assertEqual({name: attributes[name] for name in ("kind", "schema_version", "status", "network", "rate_bits_per_s", "reduce", "ranks", "nodes", "wire")},
                             {"kind": "peftscale comm", "schema_version": 1, "status": "complete", "network": "two cores", "rate_bits_per_s": 1e8, "reduce": "float", "ranks": 3, "nodes": 1,
                              "wire": "shared memory"})
            self.assertRegex(attributes["created"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
            self.assertRegex(text(file["provenance"].attrs["mpi"]), r"^(Open MPI v|MPICH )\d")
            self.assertEqual(file["cases"].dtype.names, tuple(CASES))
            self.assertEqual([file["cases"].dtype[i].str for i in range(len(CASES))],
                             ["<i4", "<i4", "<i4", "|S24", "|S64", "|S64", "|S32", "<i8", "<i4", "<f8", "<i8"])
            self.assertEqual(file["repetitions"].dtype.names, tuple(REPETITIONS))
            self.assertEqual([file["repetitions"].dtype[i].str for i in range(len(REPETITIONS))], ["<i4", "<i4", "<f8", "<f8", "<f8", "<i8"])
            cases, rows = file["cases"][...], file["repetitions"][...]
        self.assertEqual(len(cases), 3 * 2 * 3)
        self.assertEqual(list(cases["case"]), list(range(len(cases))))
        self.assertEqual([(case["case"], case["repetition"]) for case in rows], [(i, k) for i in range(len(cases)) for k in range(4)])
        self.assertEqual(sorted(set(zip(cases["ranks"], cases["algorithm"]))), [(n, a) for n in (1, 2, 3) for a in (b"mpi", b"ring")])
        self.assertTrue(np.all(cases["nodes"] == 1))
        self.assertTrue(np.all(rows["seconds"] > 0) and np.all(rows["seconds_mean"] <= rows["seconds"] * (1 + 1e-9)))
        self.assertTrue(np.all(rows["wire_bytes_mean"] == 0) and np.all(rows["wire_bytes_max"] == 0))
        own = cases["algorithm"] == b"ring"
        self.assertTrue(np.all(cases["rounds"][~own] == -1) and np.all(np.isnan(cases["counted_bytes_mean"][~own])) and np.all(cases["counted_bytes_max"][~own] == -1))
        self.assertEqual(list(cases["rounds"][own]), list(2 * (cases["ranks"][own] - 1)))
        self.assert_summary(found, cases, rows)

    def assert_summary(self, found, cases, rows):
        """What is printed follows from the file."""
        for printed, case in zip(found["cases"], cases, strict=True):
            seconds = np.sort(rows["seconds"][rows["case"] == case["case"]])
            self.assertEqual((printed["label"], printed["algorithm"], printed["ranks"]), (text(case["label"]), text(case["algorithm"]), case["ranks"]))
            self.assertEqual((printed["min_s"], printed["median_s"]), (seconds[0], np.median(seconds)))
            self.assertEqual(printed["p90_s"], seconds[math.ceil(0.9 * len(seconds)) - 1])
            self.assertEqual(printed["payload_bytes"], case["payload_bytes"])

    def test_counted_bytes_are_the_closed_forms(self):
        """Numbers that 3 and 4 ranks share equally."""
        size = 4 * 1200
        path, _ = self.measure("forms.h5", "--models", "none", "--sizes", str(size), "--ranks", "2,3,4", "--algorithms", ",".join(OWN), *QUICK, ranks=4)
        known = {("doubling", 2): (1, size, size), ("doubling", 3): (3, 4 / 3 * size, 2 * size), ("doubling", 4): (2, 2 * size, 2 * size),
                 ("ring", 2): (2, size, size), ("ring", 3): (4, 4 / 3 * size, 4 / 3 * size), ("ring", 4): (6, 1.5 * size, 1.5 * size),
                 ("rabenseifner", 2): (2, size, size), ("rabenseifner", 3): (4, 4 / 3 * size, 2 * size), ("rabenseifner", 4): (4, 1.5 * size, 1.5 * size)}
        for case in read(path, "cases"):
            rounds, mean, most = known[text(case["algorithm"]), case["ranks"]]
            self.assertEqual((case["rounds"], case["counted_bytes_max"]), (rounds, most))
            self.assertAlmostEqual(case["counted_bytes_mean"], mean, places=6)

    def test_an_older_file_is_replaced_whole(self):
        path, _ = self.measure("twice.h5", "--models", "none", "--sizes", "4", *QUICK)
        before = attribute(path, "", "created")
        self.measure("twice.h5", "--models", "none", "--sizes", "4,8", *QUICK)
        self.assertEqual(len(read(path, "cases")), 2)
        self.assertGreaterEqual(attribute(path, "", "created"), before)
        self.assertEqual([name for name in os.listdir(self.folder.name) if "twice" in name], ["twice.h5"])

    def test_is_no_run_file(self):
        path, _ = self.measure("other.h5", "--models", "none", "--sizes", "4", *QUICK)
        outcome = peftscale("evaluate", path)
        self.assertEqual(outcome.status, 1, str(outcome))
        self.assertIn("not a run file", outcome.errors[0])


class Wire(Case):
    def test_forced_algorithms_send_what_they_are_known_to(self):
        """Over TCP, per rank: doubling log2 n S, ring 2 (n - 1) / n S, Rabenseifner as the ring; Open MPI's own folding of 3 ranks sends 1.5 S, one rank 2.5 S."""
        size = 1200000
        found = comm("--models", "none", "--sizes", str(size), "--ranks", "2,3,4", "--algorithms", "all", *QUICK, ranks=4, changes=OVER_TCP)
        self.assertEqual(found["wire"], "tcp")
        known = {"doubling": {2: 1, 3: 4 / 3, 4: 2}, "ring": {2: 1, 3: 4 / 3, 4: 1.5}, "segmented_ring": {2: 1, 3: 4 / 3, 4: 1.5}, "rabenseifner": {2: 1, 3: 1.5, 4: 1.5}}
        most = {"doubling": {2: 1, 3: 2, 4: 2}, "ring": known["ring"], "segmented_ring": known["ring"], "rabenseifner": {2: 1, 3: 2.5, 4: 1.5}}
        for case in found["cases"]:
            name, n = case["algorithm"], case["ranks"]
            with self.subTest(algorithm=name, ranks=n):
                if name in FORCED:
                    self.assertAlmostEqual(case["wire_bytes_mean"] / size, known[name[4:]][n], delta=0.01)
                    self.assertAlmostEqual(case["wire_bytes_max"] / size, most[name[4:]][n], delta=0.02)
                if name in OWN:
                    self.assertAlmostEqual(case["wire_bytes_mean"] / case["counted_bytes_mean"], 1, delta=0.01)
                    self.assertAlmostEqual(case["wire_bytes_max"] / case["counted_bytes_max"], 1, delta=0.01)
        self.assertEqual({case["algorithm"] for case in found["cases"]}, {"mpi", *(FORCED if OPEN_MPI else ()), *OWN})

    def test_a_small_sum_is_not_drowned_by_barriers(self):
        """4 bytes and MPI's header, and nothing of the barriers around them."""
        case = comm("--models", "none", "--sizes", "4", "--algorithms", "doubling", *QUICK, ranks=2, changes=OVER_TCP)["cases"][0]
        self.assertTrue(4 < case["wire_bytes_mean"] < 100, case)


class Printing(Case):
    words = ("comm", "--models", "minilm-l6,roberta-large", "--methods", "vblora,head", "--sizes", "4", "--algorithms", "all", "--ranks", "1,2", *QUICK)

    def test_table(self):
        out = succeed(*self.words, ranks=2).out
        self.assertLessEqual(max(map(len, out.splitlines())), 100, out)
        self.assertIn("vblora on roberta-large", out)
        self.assertIn("without the head", out)
        self.assertIn("share memory", out)
        self.assertEqual(sum("mpi:segmented_ring" in line for line in out.splitlines()), 5 * 2 * OPEN_MPI)

    def test_tsv_says_the_same_as_json(self):
        names, *rows = [line.split("\t") for line in succeed(*self.words, "--tsv", ranks=2).out.splitlines()]
        cases = comm(*self.words[1:], ranks=2)["cases"]
        self.assertEqual(len(rows), len(cases))
        for row, case in zip(rows, cases):
            values = dict(zip(names, row, strict=True))
            self.assertEqual(set(values), set(case))
            for name in ("label", "model", "method", "payload_bytes", "payload_bytes_without_head", "ranks", "nodes", "algorithm", "repetitions"):
                self.assertEqual(values[name], str(case[name]))
            for name in ("rounds", "counted_bytes_max"):
                self.assertEqual(values[name], "" if case[name] is None else str(case[name]))

    def test_time_budget(self):
        """No time: three repetitions. Time enough: all of them."""
        for seconds, repetitions, made in (("0", "50", 3), ("1000", "7", 7), ("0", "2", 2)):
            case = comm("--models", "none", "--sizes", "4", "--seconds", seconds, "--repetitions", repetitions, ranks=2)["cases"][0]
            self.assertEqual(case["repetitions"], made)


class Refusals(Case):
    def refuse(self, words, names, status=2, changes=None):
        """With 1 and with 3 ranks: one message that says what is wrong, and no file."""
        for ranks in (1, 3):
            with self.subTest(words=words, ranks=ranks):
                outcome = peftscale("comm", *words, ranks=ranks, changes=changes)
                self.assertEqual(len(outcome.errors), 1, str(outcome))
                for name in names:
                    self.assertIn(name, outcome.err)
                self.assertEqual(outcome.status, status, str(outcome))
                self.assertEqual(run_files(self.folder.name), ([self.data], []))

    def test_words(self):
        out = ("--out", self.at("never.h5"))
        for words, names in ((("--models", "minilm-l7"), ["minilm-l7", "minilm-l6"]), (("--methods", "lara"), ["lara", "lora"]), (("--algorithms", "mpi,rings"), ["rings", "mpi:ring"]),
                             (("--ranks", "9,1"), ["9"]), (("--ranks", "0"), ["'0'"]), (("--ranks", "two"), ["'two'"]), (("--sizes", "6"), ["6", "4 bytes"]),
                             (("--sizes", "4,1XB"), ["1XB"]), (("--sizes", "0"), ["0"]), (("--sizes", "4,,8"), ["empty"]), (("--sizes", "8,8"), ["twice"]),
                             (("--sizes", "9GiB"), ["2415919104"]), (("--head", "round"), ["round"]), (("--classes", "1"), ["--classes 1"]), (("--reduce", "half"), ["half"]),
                             (("--reduce", "exact", "--sizes", "12"), ["8 bytes"]), (("--repetitions", "0"), ["--repetitions"]), (("--seconds", "-1"), ["--seconds"]),
                             (("--seconds", "nan"), ["--seconds"]), (("--rate", "fast"), ["fast"]), (("--rate", "0mbit"), ["0mbit"]), (("--network", "x" * 64), ["63"]),
                             (("--json", "--tsv"), ["--json"]), (("stray",), ["stray"]), (("--flag",), ["--flag"]), (("--models", "none"), ["nothing"]),
                             (("--methods", "lora", "bank=3"), ["bank=3"]), (("--methods", "lora", "vblora.bank=3"), ["vblora.bank=3"]), (("--methods", "lora", "rank=0"), ["rank"]),
                             (("--methods", "lora", "--models", "roberta-base", "modules=gate"), ["lora on roberta-base"]), (("--methods", "full", "--models", "gpt3-175b"), ["174604"])):
            self.refuse([*words, *out] if "--models" in words or "--methods" in words else ["--models", "minilm-l6", "--methods", "head", *words, *out], names)

    def test_places(self):
        quick = ["--models", "none", "--sizes", "4", "--out"]
        self.refuse([*quick, self.at("nowhere/x.h5")], ["nowhere"], status=1)
        self.refuse([*quick, self.folder.name], ["a directory"], status=1)
        self.refuse([*quick, "/proc/x.h5"], ["/proc"], status=1)
        self.refuse([*quick, ""], ["--out"])

    @needs_open_mpi
    def test_algorithms_that_cannot_be_forced(self):
        words = ["--models", "none", "--sizes", "4", "--algorithms", "mpi:ring", "--out", self.at("never.h5")]
        self.refuse(words, ["coll_tuned_use_dynamic_rules", "unset"], changes={"OMPI_MCA_coll_tuned_use_dynamic_rules": "0"})
        self.refuse(words, ["no variable"], changes={"OMPI_MCA_coll": "^tuned"})
        self.refuse(words, ["coll/han"], changes={"OMPI_MCA_coll_han_priority": "90"})

    def test_models_that_are_no_models(self):
        os.makedirs(self.at("empty"), exist_ok=True)
        self.refuse(["--models", self.at("empty"), "--methods", "head"], ["config.json"], status=1)
        longest = self.at("m" * 70)
        if not os.path.exists(longest):
            os.symlink(self.model, longest)
        self.refuse(["--models", longest, "--methods", "head"], ["too long"])

    def test_ranks_that_were_told_otherwise(self):
        """They would wait for each other for ever."""
        words = ["--models", "none", "--sizes", "4", "--seconds", "0", "--repetitions"]
        first, second = command("comm", *words, "3", ranks=1), command("comm", *words, "4", ranks=1)
        outcome = call([*first, ":", *second[second.index("-np"):]])
        self.assertEqual(len(outcome.errors), 1, str(outcome))
        self.assertIn("different arguments", outcome.errors[0])
        self.assertNotEqual(outcome.status, 0)

    def test_a_killed_measurement_leaves_no_whole_file(self):
        """What was measured until then can be read, under a name that nobody takes for a result."""
        path = self.at("killed.h5")
        sizes = ",".join(str(4 * i) for i in range(1, 200))
        self.assertEqual(call(["timeout", "-s", "KILL", "5", *command("comm", "--models", "none", "--sizes", sizes, "--seconds", "0.2", "--repetitions", "100000", "--out", path)]).status, -9)
        self.assertFalse(os.path.exists(path))
        with h5py.File(path + ".partial", "r", libver="latest", swmr=True) as file:
            self.assertEqual((text(file.attrs["kind"]), text(file.attrs["status"])), ("peftscale comm", "running"))
            cases, rows = file["cases"][...], file["repetitions"][...]
        self.assertTrue(set(rows["case"]) <= set(cases["case"]))
        for name in os.listdir(self.folder.name):
            if name.startswith("killed"):
                os.remove(self.at(name))


if __name__ == "__main__":
    main()
