#!/usr/bin/python3
# timeout: 600
"""peftscale check: whole runs are valid, every damage and every edit is found with its reason, equal runs agree, methods compare. Run: test_check.py [-v]

Real tiny runs of several ranks, exact and float; edits are made with h5py on copies.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
from harness import Case, attribute, command, environment, h5py, main, make_tiny, np, peftscale, read, text, train  # noqa: E402

NONE = object()


def rows(change, where="series/steps"):
    """An edit of a table: change(rows) alters them in place, or returns others."""
    def edit(file):
        old = file[where][...]
        new = change(old)
        if new is None:
            file[where][...] = old
            return
        kept = dict(file[where].attrs)
        del file[where]
        file[where] = new
        file[where].attrs.update(kept)
    return edit


def cell(column, row, value, where="series/steps"):
    def change(table):
        table[column][row] = value(table[column][row]) if callable(value) else value
    return rows(change, where)


def attrs(group, **values):
    def edit(file):
        for name, value in values.items():
            if value is NONE:
                del file[group].attrs[name]
            else:
                file[group].attrs[name] = np.bytes_(value) if isinstance(value, str) else value
    return edit


def texts(where, old, new):
    def edit(file):
        value = text(file[where][()])
        assert old in value, value
        del file[where]
        file[where] = np.bytes_(value.replace(old, new))
    return edit


def theta(file):
    file["theta"][3] += 1e-6


class Check(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.exact = [cls.run_of(f"exact-{ranks}", ranks, reduce="exact") for ranks in (1, 2, 3)]
        cls.float = [cls.run_of(f"float-{ranks}", ranks) for ranks in (1, 2, 3)]

    @classmethod
    def run_of(cls, name, ranks=2, **changed):
        return train(*cls.settings(name, **{"method": "lora", "check_every": "3", "train__evaluate_every": "4", **changed}), ranks=ranks)

    def check(self, *words, status=0):
        """The report, and per file the reasons in one text."""
        outcome = peftscale("check", *words, "--json")
        self.assertEqual(outcome.status, status, str(outcome))
        self.assertEqual(len(outcome.errors), status, str(outcome))
        report = json.loads(outcome.out)
        self.assertEqual(report["valid"], all(not run["reasons"] for run in report["runs"]))
        return report, ["\n".join(run["reasons"]) for run in report["runs"]]

    def edited(self, run, change, name="edited.h5"):
        path = shutil.copy(run, self.at(name))
        with h5py.File(path, "r+") as file:
            change(file)
        return path

    # ---- what is valid ----

    def test_whole_runs_are_valid_and_agree(self):
        report, _ = self.check(*self.exact, *self.float)
        self.assertEqual([(pair["relation"], pair["compared"]) for pair in report["comparisons"]],
                         [("AGREE", "bitwise")] * 2 + [("AGREE", "rounding")] * 3)
        self.assertEqual({pair["steps"] for pair in report["comparisons"]}, {8})
        first = report["runs"][0]
        self.assertEqual((first["method"], first["reduce"], first["ranks"], first["steps"], first["theta_stored"]), ("lora", "exact", 1, 8, True))
        self.assertTrue(any("one rank only" in note for note in first["notes"]))
        for name in ("order_hash", "schedule_hash", "binary_hash", "weights_hash", "dataset_hash", "initial_theta_hash", "theta_hash"):
            self.assertRegex(first[name], r"^[0-9a-f]{32}$")
        for pair in report["comparisons"][2:]:
            self.assertLess(pair["largest_loss_distance"], 1e-6)
            self.assertLess(pair["largest_norm_distance"], 1e-5)

    def test_what_a_run_file_says_of_itself(self):
        for run in (*self.exact, *self.float):
            self.assertRegex(attribute(run, "provenance", "backend"), "^precision=f32;backend=(openblas|onednn)$")  # as this machine has it
            for name in ("order_hash", "schedule_hash", "binary_hash"):
                self.assertEqual(attribute(run, "provenance", name), attribute(self.exact[0], "provenance", name))

    def test_every_method_and_objective_is_valid(self):
        mlm = make_tiny.write_dataset(self.at("mlm.h5"), objective="mlm", longest=40)
        regress = make_tiny.write_dataset(self.at("regress.h5"), objective="regress")
        cases = {"glora-random": {"method": "glora", "method__path": "random", "train__steps": "20"}, "vblora": {"method": "vblora"},
                 "full": {"method": "full", "output__theta": "auto", "train__lr": "1e-3"}, "dense": {"method": "vblora", "payload": "dense"},
                 "mlm": {"method": "full", "task__data": mlm, "train__lr": "1e-3"}, "regress": {"method": "red", "task__data": regress},
                 "last": {"method": "tied", "train__keep": "last", "output__predictions": "false"}, "unchecked": {"check_every": "0", "train__schedule": "cosine"},
                 "factors": {"head_reduce": "factors", "train__batch": "24"}, "deep factors": {"head_reduce": "factors", "model__head": "tanh", "task__data": regress, "method": "red"},
                 "drawn factors": {"head_reduce": "factors", "method": "glora", "method__path": "random", "train__steps": "20"}}
        for name, changed in cases.items():
            for reduce in ("float", "exact"):
                with self.subTest(case=name, reduce=reduce):
                    report, _ = self.check(self.run_of(f"{name}-{reduce}", reduce=reduce, **changed))
                    self.assertEqual("theta is not stored" in report["runs"][0]["notes"], name == "full")

    def test_text(self):
        outcome = peftscale("check", *self.exact, self.edited(self.float[1], cell("loss", 2, np.nan), "long-" * 30 + ".h5"))
        self.assertEqual(outcome.status, 1)
        self.assertLessEqual(max(map(len, outcome.out.splitlines())), 100)
        for words in ("1  VALID", "4  INVALID", "1 and 2  AGREE: one experiment, 8 steps compared bit for bit", "- step 3: the loss is nan", "1 of 4 files is INVALID"):
            self.assertIn(words, outcome.out + outcome.err)

    # ---- what is not ----

    def test_every_edit_is_found(self):
        """On the run of 2 ranks, exact and float alike."""
        edits = {
            "theta": (theta, "/theta's hash is"),
            "theta cut": (lambda file: (file.__delitem__("theta"), file.__setitem__("theta", np.zeros(5, "f4"))), "/theta has 5 numbers"),
            "theta's hash": (attrs("result", theta_hash="0" * 32), "theta_hash of /result 00000000"),
            "loss": (cell("loss", 4, np.inf), "step 5: the loss is inf"),
            "norm": (cell("grad_norm", 1, np.nan), "step 2: the gradient's norm is nan"),
            "rate": (cell("lr", 5, lambda lr: 1.01 * lr), "step 6: the learning rate is"),
            "payload": (cell("payload_bytes", 3, lambda bytes: bytes - 4), "step 4: payload_bytes is"),
            "all payloads": (lambda file: rows(lambda table: table.__setitem__("payload_bytes", 8))(file), "step 1: payload_bytes is 8"),
            "tokens": (cell("tokens", 0, lambda tokens: tokens + 1), "/result: tokens is"),
            "time": (cell("step_s", 0, lambda s: s / 2), "/result: step_s is"),
            "step removed": (rows(lambda table: np.delete(table, 3)), "step 4 is missing"),
            "steps cut off": (rows(lambda table: table[:5]), "step 6 is missing; and 2 more such steps"),
            "no steps": (rows(lambda table: table[:0]), "step 1 is missing; and 7 more such steps"),
            "step twice": (rows(lambda table: np.insert(table, 3, table[3])), "step 4 is there twice in attempt 1"),
            "steps swapped": (rows(lambda table: table[[0, 1, 3, 2, 4, 5, 6, 7]]), "step 3 of attempt 1 stands behind step 4"),
            "step beyond": (cell("step", 7, 9), "step 9 is none of the 8 steps"),
            "row half written": (cell("attempt", 7, 0), "1 rows were never written whole"),
            "hash of the last step": (cell("theta_hash", 7, 0), "step 8 has no theta_hash"),
            "no steps at all": (lambda file: file.__delitem__("series/steps"), "/series/steps is not there"),
            "column": (rows(lambda table: table[[name for name in table.dtype.names if name != "loss"]].copy()), "/series/steps has no column 'loss'"),
            "column's type": (rows(lambda table: table.astype([(name, "S8" if name == "loss" else table.dtype[name]) for name in table.dtype.names])),
                              "column 'loss' has another type"),
            "test metric": (attrs("result", test_metric=0.99), "/result: test_metric is 0.99, but /evaluation has"),
            "validation metric": (attrs("result", validation_metric=0.99), "/result: validation_metric is 0.99, but /evaluation has"),
            "metric's name": (attrs("result", metric="f1"), "/result: metric is f1, /config says accuracy"),
            "result and evaluation": (self.better_test_score, "test accuracy: /evaluation has"),
            "kept step": (attrs("result", best_step=1), "best_step is 1, but by the validations it is"),
            "evaluation's metric": (cell("metric", 0, 0.999, "evaluation"), "metric is 0.999, but its accuracy"),
            "evaluation's split": (cell("split", 0, b"training", "evaluation"), "'training' is no split"),
            "evaluation's loss": (cell("loss", -1, lambda loss: 0.9 * loss, "evaluation"), "test loss: /evaluation has"),
            "prediction": (cell("prediction", 3, lambda label: (label + 1) % 3, "predictions/test"), "the prediction is not the class of its largest score"),
            "label": (cell("label", 5, lambda label: (label + 1) % 3, "predictions/test"), "the predictions give"),
            "label out of range": (cell("label", 5, 1e9, "predictions/test"), "the label is no class"),
            "score": (cell("score", 2, lambda score: 2 * score, "predictions/validation"), "the scores of the predictions give"),
            "prediction removed": (rows(lambda table: table[1:], "predictions/test"), "/predictions/test has 23 rows, of 24 examples"),
            "predictions removed": (lambda file: file.__delitem__("predictions/test"), "/predictions/test is not there"),
            "configuration": (texts("config", "batch: 16", "batch: 32"), "/config and /config_canonical differ: 'train.batch=32' and 'train.batch=16'"),
            "canonical form": (texts("config_canonical", "train.batch=16", "train.batch=32"), "experiment_id is"),
            "both": (lambda file: (texts("config", "batch: 16", "batch: 32")(file), texts("config_canonical", "train.batch=16", "train.batch=32")(file)), "experiment_id is"),
            "garbled configuration": (texts("config", "train:", "trian:"), "trian"),
            "experiment": (attrs("/", experiment_id="0" * 32), "experiment_id is 00000000"),
            "run": (attrs("/", run_id="0" * 32), "run_id is 00000000"),
            "ranks": (attrs("provenance", ranks="4"), "run_id is"),
            "ranks in words": (attrs("provenance", ranks="two"), "ranks is 'two'"),
            "attempts": (cell("ranks", 0, 5, "attempts"), "/attempts says 5 ranks"),
            "weights": (attrs("provenance", weights_hash="0" * 32), "experiment_id is"),
            "data": (attrs("provenance", dataset_hash=NONE), "'dataset_hash' is not there"),
            "backend": (attrs("provenance", backend="precision=bf16;backend=openblas"), "experiment_id is"),
            "schedule": (attrs("provenance", schedule_hash="0" * 32), "schedule_hash is 00000000"),
            "segment's rate": (cell("lr", 0, lambda lr: 2 * lr, "segments"), "schedule_hash is"),
            "segments": (cell("offset", 1, 7, "segments"), "does not follow on the one before it"),
            "accounting": (attrs("accounting", sent_bytes_per_step=8), "sent_bytes_per_step is 8, but"),
            "accounting's parts": (attrs("accounting", sent_floats=2 ** 62), "impossible number"),
            "accounting's count": (attrs("accounting", trainable=12), "/accounting says 12 numbers are trained"),
            "no result": (lambda file: file.__delitem__("result"), "/result is not there"),
            "payload in all": (attrs("result", gradient_payload_bytes=1), "gradient_payload_bytes is 1"),
            "status": (attrs("/", status="failed: diverged"), "has not been completed (status: failed: diverged)"),
            "no status": (attrs("/", status=NONE), "'status' is not there"),
            "newer schema": (attrs("/", schema_version=2), "has schema version 2; this program reads versions up to 1"),
            "kind": (attrs("/", kind="peftscale dataset"), "not a run file"),
        }
        for run in (self.exact[1], self.float[1]):
            for name, (edit, reason) in edits.items():
                with self.subTest(edit=name, run=os.path.basename(run)):
                    _, (reasons,) = self.check(self.edited(run, edit), status=1)
                    self.assertIn(reason, reasons)

    @staticmethod
    def better_test_score(file):
        """Consistently, in the result and in its row; the predictions still tell."""
        attrs("result", test_metric=0.99)(file)
        for column in ("metric", "accuracy"):
            cell(column, -1, 0.99, "evaluation")(file)

    def test_edits_of_hashes(self):
        """Exact runs have one in every step, float ones where ranks were compared; that of the kept step belongs to /theta."""
        kept = attribute(self.exact[1], "result", "best_step") - 1
        _, (reasons,) = self.check(self.edited(self.exact[1], cell("theta_hash", kept, 12345)), status=1)
        self.assertIn("theta_hash is 0000000000003039, but /theta gives", reasons)
        _, (reasons,) = self.check(self.edited(self.exact[1], cell("theta_hash", 0, 0)), status=1)
        self.assertIn("step 1 has no theta_hash, which reduce=exact takes in every step", reasons)
        _, (reasons,) = self.check(self.edited(self.float[1], cell("theta_hash", 2, 0)), status=1)
        self.assertIn("step 3 has no theta_hash, which check_every asks for", reasons)
        _, (reasons,) = self.check(self.edited(self.float[1], cell("theta_hash", 3, 1)), status=1)
        self.assertIn("step 4 has a theta_hash, which check_every does not ask for", reasons)

    def test_drawn_payloads(self):
        run = self.run_of("drawn", method="glora", method__path="random", train__steps="20")
        self.assertGreater(len(set(read(run, "series/steps")["payload_bytes"].tolist())), 5)

        def widest(table):
            for name in ("payload_bytes", "sent_floats"):
                table[name] = np.max(table[name])

        for edit, reason in ((cell("payload_bytes", 6, 3), "step 7: payload_bytes is 3"), (cell("payload_bytes", 6, lambda bytes: bytes + 4), "step 7: payload_bytes is"),
                             (cell("sent_floats", 6, -1), "step 7: sent_floats is -1"), (cell("sent_floats", 4, 10**9), "step 5: sent_floats is 1000000000"),
                             (rows(widest), "the mean over 20 steps")):
            _, (reasons,) = self.check(self.edited(run, edit), status=1)
            self.assertIn(reason, reasons)

    def test_full_fine_tuning_sends_what_its_batches_reach(self):
        run = self.run_of("reached", method="full")
        sent = read(run, "series/steps")["sent_floats"]
        self.assertGreater(len(set(sent.tolist())), 1)
        self.assertAlmostEqual(float(np.mean(sent)), attribute(run, "accounting", "sent_floats"), delta=0.51)
        self.check(run)

        dense = self.run_of("reached-dense", method="full", payload="dense")
        self.assertEqual(set(read(dense, "series/steps")["sent_floats"].tolist()), {attribute(dense, "accounting", "trainable_method")})
        for edit, reason in ((cell("payload_bytes", 2, lambda bytes: bytes + 4), "step 3: payload_bytes is"),
                             (lambda file: [cell("sent_floats", row, lambda value: value - 400)(file) for row in range(len(sent))], "the mean over")):
            _, (reasons,) = self.check(self.edited(run, edit), status=1)
            self.assertIn(reason, reasons)

    def test_the_head_as_factors(self):
        """Rank 0's rows differ from step to step: whole rows, of no more examples than the step has, and in the mean what the accounting says."""
        run = self.run_of("rows", head_reduce="factors", model__head="tanh")
        for edit, reason in ((cell("payload_bytes", 6, lambda bytes: bytes + 4), "step 7: payload_bytes is"), (cell("payload_bytes", 2, 0), "step 3: payload_bytes is 0"),
                             (cell("own_examples", 2, 99), "step 3: sent_floats is"), (cell("own_examples", 2, lambda own: own - 1), "step 3: payload_bytes is"),
                             (attrs("accounting", head_bytes_factors=100), "head_bytes_factors 100 make it"),
                             (lambda file: (attrs("accounting", head_bytes_factors=100)(file),
                                            attrs("accounting", sent_bytes_per_step=int(file["accounting"].attrs["sent_bytes_per_step"]) - 3168 + 100)(file)),
                              "head_bytes_factors is 100, but the steps' examples make 3168")):
            _, (reasons,) = self.check(self.edited(run, edit), status=1)
            self.assertIn(reason, reasons)
        self.check(self.run_of("rows-alone", 1, head_reduce="factors"))

    def test_one_rank_sends_nothing(self):
        _, (reasons,) = self.check(self.edited(self.float[0], cell("payload_bytes", 0, 100)), status=1)
        self.assertIn("step 1: payload_bytes is 100, by the accounting it is 0", reasons)

    def test_requeued_run(self):
        """The last attempt's row of a step counts, also where the first one's was damaged."""
        def requeue(file):
            table = file["series/steps"][...]
            again = table[4:].copy()
            again["attempt"] = 2
            table["loss"][6] = np.nan
            rows(lambda _: np.concatenate([table[:7], again]))(file)
            first = file["attempts"][...]
            second = first.copy()
            second["attempt"], second["first_step"] = 2, 4
            rows(lambda _: np.concatenate([first, second]), "attempts")(file)
        report, _ = self.check(self.edited(self.exact[1], requeue), self.exact[2])
        self.assertEqual((report["runs"][0]["steps"], report["comparisons"][0]["relation"]), (8, "AGREE"))

    def test_marks(self):
        def mark(file):
            attrs("provenance", dirty="1", commit="unknown")(file)
            attrs("result", contaminated=1)(file)
        report, _ = self.check(self.edited(self.float[1], mark))
        notes = "\n".join(report["runs"][0]["notes"])
        for words in ("dirty build", "unknown commit", "contaminated"):
            self.assertIn(words, notes)

    def test_older_files(self):
        """Without what came later they are valid, and say what they lack; that their samples came in one order is not known."""
        def age(file):
            attrs("provenance", order_hash=NONE, schedule_hash=NONE, binary_hash=NONE, backend=NONE)(file)
            rows(lambda table: table[[name for name in table.dtype.names if name != "theta_hash"]].copy())(file)
        old = self.edited(self.float[1], age)
        report, _ = self.check(old, self.float[2])
        self.assertEqual(report["comparisons"][0]["relation"], "AGREE")
        notes = "\n".join(report["runs"][0]["notes"])
        self.assertIn("no hash of sample order", notes)
        self.assertIn("no hash of theta", notes)
        report, _ = self.check(old, self.run_of("old-other", method="red"))
        self.assertIn("order_hash: not in the first file", report["comparisons"][0]["differences"])

    def test_files_that_are_none(self):
        whole = open(self.float[1], "rb").read()
        for name, content, reason in (("cut.h5", whole[: len(whole) // 2], "truncated"), ("stub.h5", whole[:20], "truncated"), ("empty.h5", b"", "not an HDF5 file"),
                                      ("text.h5", b"no HDF5 at all\n" * 9, "not an HDF5 file")):
            with self.subTest(file=name):
                with open(self.at(name), "wb") as file:
                    file.write(content)
                report, (reasons, fine) = self.check(self.at(name), self.float[0], status=1)
                self.assertIn(reason, reasons)
                self.assertEqual((fine, report["comparisons"]), ("", []))
        for path, reason in ((self.at("absent.h5"), "No such file"), (self.folder.name, "cannot"), (self.data, "not a run file")):
            _, (reasons,) = self.check(path, status=1)
            self.assertIn(reason, reasons)

    def test_flipped_bytes(self):
        """Whatever byte is damaged: an answer, no crash and no hang."""
        whole = bytearray(open(self.exact[1], "rb").read())
        random = np.random.default_rng(0)
        found = 0
        for place in random.integers(0, len(whole), 150):
            damaged = bytearray(whole)
            damaged[place:place + 8] = b"\xff" * len(damaged[place:place + 8])
            with open(self.at("damaged.h5"), "wb") as file:
                file.write(damaged)
            outcome = peftscale("check", self.at("damaged.h5"), "--json")
            self.assertIn(outcome.status, (0, 1), str(outcome))
            found += outcome.status
            json.loads(outcome.out)
        self.assertGreater(found, 30)

    def test_a_partial_file(self):
        """Of a killed run, and of one that is still being written: its rows are judged, and it is not valid."""
        words = command("train", "--quiet", *self.settings("killed", method="lora", train__steps="100000", train__evaluate_every="1000", reduce="exact"), ranks=0)
        process = subprocess.Popen(words, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        partial = os.path.join(self.at("runs"), "killed.h5.partial")
        try:
            end = time.monotonic() + 30
            while time.monotonic() < end and not (os.path.exists(partial) and os.path.getsize(partial) > 40000):
                time.sleep(0.05)
            report, (live,) = self.check(partial, status=1)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        report, (reasons, _) = self.check(partial, self.run_of("killed-twin", 2, reduce="exact", train__steps="20"), status=1)
        for each in (live, reasons):
            self.assertEqual(each, "the training has not been completed (status: running)")
        self.assertGreater(report["runs"][0]["steps"], 0)

    # ---- comparisons of one experiment ----

    def compare(self, a, b, status, *words):
        report, _ = self.check(a, b, *words, status=status)
        (pair,) = report["comparisons"]
        return pair, "\n".join(pair["differences"])

    def test_a_flipped_hash_names_the_step(self):
        kept = attribute(self.exact[1], "result", "best_step")
        step = 3 if kept != 3 else 4
        value = int(read(self.exact[1], "series/steps")["theta_hash"][step - 1])
        other = self.edited(self.exact[1], cell("theta_hash", step - 1, value ^ 1))
        pair, differences = self.compare(self.exact[0], other, 1)
        self.assertEqual((pair["relation"], pair["first_different_step"], pair["compared"]), ("DIFFER", step, "bitwise"))
        self.assertIn(f"step {step}: theta_hash is {value % 2**64:016x} and {(value ^ 1) % 2**64:016x}", differences)
        self.assertEqual(len(pair["differences"]), 1)

    def test_one_bit_of_a_loss(self):
        change = cell("loss", 5, lambda loss: np.nextafter(loss, 9))
        pair, differences = self.compare(self.exact[0], self.edited(self.exact[1], change), 1)
        self.assertEqual(pair["first_different_step"], 6)
        self.assertIn("step 6: the loss is", differences)
        pair, _ = self.compare(self.float[0], self.edited(self.float[1], change), 0)
        self.assertEqual(pair["relation"], "AGREE")

    def test_tolerance(self):
        other = self.edited(self.float[1], cell("loss", 4, lambda loss: loss * (1 + 1e-3)))
        pair, differences = self.compare(self.float[0], other, 1)
        self.assertEqual((pair["relation"], pair["first_different_step"]), ("DIFFER", 5))
        self.assertIn("step 5: the loss is", differences)
        self.compare(self.float[0], other, 0, "--tolerance", "1e-2")
        self.compare(self.float[0], self.float[2], 1, "--tolerance", "0")
        norm, _ = self.compare(self.float[0], self.edited(self.float[1], cell("grad_norm", 1, lambda norm: norm * 1.01)), 1)
        self.assertEqual(norm["first_different_step"], 2)

    def test_scores_and_hashes(self):
        def nudge(size):
            def edit(file):
                def change(table):
                    table["score"][4] += np.float32(size)  # a shift of all classes changes neither loss nor prediction
                rows(change, "predictions/test")(file)
            return edit
        pair, differences = self.compare(self.exact[0], self.edited(self.exact[1], nudge(1e-6)), 1)
        self.assertIn("test, example", differences)
        self.compare(self.float[0], self.edited(self.float[1], nudge(1e-6)), 0)
        _, differences = self.compare(self.float[0], self.edited(self.float[1], nudge(0.5)), 1)
        self.assertIn("score 0 is", differences)
        for name in ("order_hash", "initial_theta_hash"):
            _, differences = self.compare(self.float[0], self.edited(self.float[1], attrs("provenance", **{name: "0" * 32})), 1)
            self.assertIn(f"{name}:", differences)

    def test_other_kernels_are_compared_to_rounding(self):
        uses_onednn = "onednn" in attribute(self.exact[1], "provenance", "backend")
        for changed in ({"blas_core": "Other"}, *([{"onednn": "oneDNN of another kind"}] if uses_onednn else [])):
            with self.subTest(changed=changed):
                pair, _ = self.compare(self.exact[0], self.edited(self.exact[1], attrs("provenance", **changed)), 0)
                self.assertEqual((pair["relation"], pair["compared"]), ("AGREE", "rounding"))
                self.assertIn("the kernels are", "\n".join(pair["notes"]))

    # ---- comparisons of two experiments ----

    def test_methods_are_compared(self):
        red = self.run_of("red", method="red", train__lr="2e-3")
        pair, _ = self.compare(self.float[1], red, 0, "--comparable")
        self.assertEqual((pair["relation"], pair["compared"], pair["first_different_step"]), ("COMPARABLE", None, None))
        self.assertIn("method.name: lora and red", pair["may_differ"])
        self.assertIn("train.lr: 0.005 and 0.002", pair["may_differ"])

    def test_what_makes_runs_unlike(self):
        data = make_tiny.write_dataset(self.at("other.h5"), seed=5)
        model = make_tiny.write_model(self.at("other"), seed=5)
        for changed, words in (({"train__batch": "8"}, ["train.batch: 16 and 8", "order_hash:"]), ({"shards": "4"}, ["shards: 8 and 4", "order_hash:"]),
                               ({"task__data": data}, ["dataset_hash:"]), ({"model__path": model}, ["weights_hash:"]), ({"train__steps": "6"}, ["train.steps: 8 and 6"]),
                               ({"train__schedule": "cosine"}, ["train.schedule: linear and cosine"]), ({"train__clip": "1"}, ["train.clip: - and 1"])):
            with self.subTest(changed=changed):
                other = self.run_of("other-" + "-".join(changed), method="red", **changed)
                pair, differences = self.compare(self.float[1], other, 1, "--comparable")
                self.assertEqual(pair["relation"], "NOT COMPARABLE")
                for word in words:
                    self.assertIn(word, differences)
                self.assertIn("method.name: lora and red", pair["may_differ"])
        self.compare(self.float[1], other, 0)  # without --comparable it is only said

    def test_kernels_and_order(self):
        red = self.run_of("red-kernels", method="red")
        for change, word in ((attrs("provenance", blas_core="Other"), "blas_core:"), (attrs("provenance", order_hash="0" * 32), "order_hash:")):
            pair, differences = self.compare(self.float[1], self.edited(red, change), 1, "--comparable")
            self.assertIn(word, differences)

    def test_seeds_are_repetitions(self):
        """Another seed has another order, which is compared with the run of that seed."""
        runs = [self.run_of(f"seed-{method}-{seed}", method=method, seed=seed) for seed in ("1", "2") for method in ("red", "bitfit")]
        report, _ = self.check(*runs, "--comparable")
        self.assertEqual([pair["relation"] for pair in report["comparisons"]], ["COMPARABLE"] * 3)
        self.assertIn("seed: 1 and 2", report["comparisons"][1]["may_differ"])
        self.assertIn("no run before it has its seed", "\n".join(report["comparisons"][1]["notes"]))
        self.assertIn("sample order compared with", "\n".join(report["comparisons"][2]["notes"]))

    # ---- usage ----

    def test_usage(self):
        for words, message in (([], "takes run files"), (["a=b"], "takes no settings"), (["--tolerance", "-1", "x.h5"], "--tolerance"), (["--tolerance", "nan", "x.h5"], "--tolerance"),
                               (["--strict", "x.h5"], "unknown flag")):
            outcome = peftscale("check", *words)
            self.assertEqual((outcome.status, len(outcome.errors), outcome.out), (2, 1, ""), str(outcome))
            self.assertIn(message, outcome.errors[0])


if __name__ == "__main__":
    main()
