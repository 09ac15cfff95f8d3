#!/usr/bin/python3
# timeout: 900
"""Bad input of every kind, with 1 and with 3 ranks: one message that names what is wrong, a non-zero exit code, no hang, no run file to be mistaken for a good one.

Run: test_bad_input.py [-v]
"""

import glob
import json
import os
import shutil
import struct
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
from harness import MPIRUN, PROGRAM, Case, attribute, call, command, h5py, main, make_tiny, needs_open_mpi, np, peftscale, run_files, text, train  # noqa: E402

FAILED, USAGE = 1, 2
RANKS = (1, 3)


def spoil(path, target, edit):
    """A copy of a file with its bytes edited."""
    with open(path, "rb") as file:
        content = edit(bytearray(file.read()))
    with open(target, "wb") as file:
        file.write(content)
    return target


class BadInput(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.short = make_tiny.write_dataset(cls.at("short.h5"), longest=8, counts=(24, 6, 6))
        cls.run_file = train(*cls.settings("good", method="lora", output__dir=cls.at("good"), train__epochs="1"))

    def refuse(self, words, names, status=FAILED, ranks=RANKS, changes=None, left=0, hint=None):
        """names: texts that the one message holds. left: how many partial run files may stay behind."""
        for count in ranks:
            with self.subTest(ranks=count):
                shutil.rmtree(self.at("runs"), ignore_errors=True)
                self.judge(peftscale(*words, ranks=count, changes=changes), names, status, left, hint)

    def judge(self, outcome, names, status, left=0, hint=None, where=None):
        self.assertEqual(len(outcome.errors), 1, f"not exactly one message: {outcome}")
        for name in names:
            self.assertIn(name, outcome.errors[0])
        if hint:
            self.assertRegex(outcome.err, rf"(?m)^  hint: .*{hint}")
        self.assertEqual(outcome.status, status, str(outcome))
        whole, partial = run_files(where or self.at("runs"))
        self.assertEqual(whole, [])
        partial = [name for name in partial if name.endswith(".partial")]
        self.assertEqual(len(partial), left, str(partial))
        for name in partial:
            self.check_untrusted(name)

    def check_untrusted(self, partial):
        """A file of a failed run says so and is not taken for a trained model."""
        with h5py.File(partial, "r", libver="latest", swmr=True) as file:
            self.assertNotEqual(text(file.attrs["status"]), "complete")
        outcome = peftscale("evaluate", partial, ranks=1)
        self.assertEqual(outcome.status, FAILED, str(outcome))
        self.assertEqual(len(outcome.errors), 1, str(outcome))
        self.assertIn(partial, outcome.errors[0])

    def train_words(self, *more, **changed):
        return ["train", *self.settings("bad", **{"method": "lora", **changed}), *more]

    def refuse_training(self, names, *more, status=FAILED, ranks=RANKS, changes=None, left=0, hint=None, **changed):
        self.refuse(self.train_words(*more, **changed), names, status, ranks, changes, left, hint)

    # ---- weights ----

    def model_with(self, name, change=None, edit=None):
        directory = make_tiny.write_model(self.at(name), change=change)
        path = os.path.join(directory, "model.safetensors")
        if edit:
            spoil(path, path, edit)
        return directory, path

    def test_truncated_weights_header(self):
        directory, path = self.model_with("cut-header", edit=lambda b: b[:200])
        self.refuse_training([path], model__path=directory)

    def test_truncated_weights_data(self):
        directory, path = self.model_with("cut-data", edit=lambda b: b[:-1000])
        self.refuse_training([path], model__path=directory)

    def test_empty_weights(self):
        directory, path = self.model_with("empty", edit=lambda b: b"")
        self.refuse_training([path], model__path=directory)

    def lying(self, change_entry):
        def edit(content):
            (size,) = struct.unpack_from("<Q", content)
            header = json.loads(content[8:8 + size])
            change_entry(header["embeddings.word_embeddings.weight"])
            written = json.dumps(header).encode()
            return struct.pack("<Q", len(written)) + written + content[8 + size:]
        return edit

    def test_lying_offsets(self):
        """Data said to lie behind the end of the file."""
        def far(entry):
            entry["data_offsets"] = [offset + 10 ** 9 for offset in entry["data_offsets"]]
        directory, path = self.model_with("far", edit=self.lying(far))
        self.refuse_training([path, "embeddings.word_embeddings.weight"], model__path=directory)

    def test_lying_shape(self):
        def large(entry):
            entry["shape"] = [1 << 40, 1 << 40]
        directory, path = self.model_with("large", edit=self.lying(large))
        self.refuse_training([path, "embeddings.word_embeddings.weight"], model__path=directory)

    def test_lying_header_length(self):
        directory, path = self.model_with("length", edit=lambda b: struct.pack("<Q", 1 << 62) + b[8:])
        self.refuse_training([path], model__path=directory)

    def test_missing_tensor(self):
        name = "encoder.layer.1.attention.self.key.bias"
        directory, path = self.model_with("lacking", change=lambda t: t.pop(name))
        self.refuse_training([path, name, "missing"], model__path=directory)

    def test_wrong_shape(self):
        name = "encoder.layer.0.output.dense.weight"
        directory, path = self.model_with("shape", change=lambda t: t.update({name: t[name].T}))
        self.refuse_training([path, name, "[64, 32]", "[32, 64]"], model__path=directory)

    def test_weights_not_finite(self):
        for value in (np.nan, np.inf):
            def change(tensors):
                tensors["encoder.layer.1.output.dense.weight"][3, 5] = value
            directory, path = self.model_with("nan", change=change)
            self.refuse_training([path, "encoder.layer.1.output.dense.weight"], model__path=directory)

    def test_model_directory(self):
        missing = self.at("no-such-model")
        self.refuse_training([missing], model__path=missing)
        self.refuse_training([self.data], model__path=self.data)  # a file where a directory belongs
        directory, _ = self.model_with("no-config")
        config = os.path.join(directory, "config.json")
        os.remove(config)
        self.refuse_training([config], model__path=directory)
        os.mkdir(config)
        self.refuse_training([config], model__path=directory)
        os.rmdir(config)
        for content in ("", "[]", '{"model_type": "bert"', '{"model_type": "gpt2"}'):
            with open(config, "w", encoding="utf-8") as file:
                file.write(content)
            self.refuse_training([config], model__path=directory, ranks=(3,))

    # ---- data ----

    def data_with(self, change=None, **how):
        return make_tiny.write_dataset(self.at("spoilt.h5"), change=change, **how)

    def test_empty_dataset(self):
        path = self.data_with(counts=(0, 0, 0))
        self.refuse_training([path, "train", "no training examples"], task__data=path)

    def test_empty_validation(self):
        """There is no best model without it; the last one may still be wanted."""
        path = self.data_with(counts=(24, 0, 0))
        self.refuse_training([path, "validation"], task__data=path, status=USAGE, hint="train.keep=last")
        run = train(*self.settings("last", method="lora", task__data=path, train__keep="last", output__dir=self.at("kept")), ranks=2)
        self.assertEqual(attribute(run, "", "status"), "complete")
        self.refuse(["evaluate", run], [path, "test", "no examples"])

    def test_label_out_of_range(self):
        for label in (3, -1, 0.5, np.nan):
            def change(file):
                file["test"]["label"][4] = label
            path = self.data_with(change)
            self.refuse_training([path, "split test", "row 4", "label"], task__data=path, ranks=(3,))

    def test_token_out_of_range(self):
        def change(file):
            file["train"]["tokens"][7] = 65
        path = self.data_with(change)
        self.refuse_training([path, "split train", "token"], task__data=path)

    def test_vocabulary_larger_than_the_models(self):
        path = self.data_with(vocabulary=70)
        self.refuse_training([path, "70", "65"], task__data=path, hint="tokenizer")

    def test_sequence_longer_than_the_positions(self):
        path = self.data_with(longest=129)
        self.refuse_training([path, "129", "128"], task__data=path, hint="max-tokens")

    def test_data_file(self):
        self.refuse_training([self.at("none.h5")], task__data=self.at("none.h5"))
        self.refuse_training([self.folder.name], task__data=self.folder.name)  # a directory where a file belongs
        for name, edit in (("empty.h5", lambda b: b""), ("cut.h5", lambda b: b[:len(b) // 2]), ("text.h5", lambda b: b"label\ttext\n" * 99)):
            path = spoil(self.data, self.at(name), edit)
            self.refuse_training([path], task__data=path)
        self.refuse_training([self.run_file], task__data=self.run_file)  # HDF5, but another kind
        self.refuse_training(["no data set"], task__data="", status=USAGE)

    def test_objective_that_does_not_fit(self):
        path = make_tiny.write_dataset(self.at("scores.h5"), objective="regress")
        self.refuse_training([path, "task.objective"], "task.objective=classify", task__data=path, status=USAGE)
        self.refuse_training(["task.metric=pearson"], "task.metric=pearson", status=USAGE)
        path = self.data_with(lambda file: file.attrs.modify("mask_token", np.int64(-1)))
        self.refuse_training([path, "mask token"], "task.objective=mlm", task__data=path, status=USAGE)

    # ---- configuration ----

    def test_unknown_key_in_a_file(self):
        path = self.at("study.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write("seed: 3\ntrain:\n  epochs: 1\n  batsch: 4\n")
        self.refuse_training([f"{path}:4:3", "train.batsch"], path, status=USAGE, hint="batch")

    def test_bad_values(self):
        for word, names, hint in (("train.learning_rate=1", ["train.learning_rate"], None), ("train.bacth=8", ["train.bacth"], "batch"), ("train.batch=-1", ["train.batch", "1048576"], None),
                                  ("train.batch=many", ["train.batch", "many"], None), ("train.schedule=linaer", ["train.schedule", "linaer"], None),
                                  ("train.lr=1e30", ["train.lr", "1000"], None), ("method.rnak=4", ["method.rnak"], "rank"), ("method=lroa", ["lroa"], "lora"),
                                  ("method.modules=q,w", ["method.modules", "w"], None), ("model=minilm-l7", ["minilm-l7"], "minilm-l6")):
            with self.subTest(word=word):
                self.refuse_training(names, word, status=USAGE, ranks=(3,), hint=hint)

    def test_no_method(self):
        self.refuse_training(["no method"], method="", status=USAGE)

    def test_missing_study_file(self):
        self.refuse_training([self.at("none.yaml")], self.at("none.yaml"))
        self.refuse_training([self.folder.name], self.folder.name)

    def test_missing_configs(self):
        self.refuse_training([self.folder.name, "base.yaml"], changes={"PEFTSCALE_CONFIGS": self.folder.name})

    def test_wrong_words(self):
        self.refuse(["trian"], ["trian"], USAGE, hint="train")
        self.refuse(["train", "--jsn"], ["--jsn"], USAGE, hint="--json")
        self.refuse(["evaluate", self.run_file, "--split", "tset"], ["tset"], USAGE, hint="test")
        self.refuse(["evaluate", self.run_file, "--split"], ["--split"], USAGE)
        self.refuse(["evaluate"], ["one run file"], USAGE)
        self.refuse(["predict", self.run_file, "-o"], ["-o"], USAGE, hint="predict --help")

    # ---- ranks ----

    def test_more_ranks_than_shards(self):
        self.refuse_training(["3 ranks", "2 shards"], shards="2", status=USAGE, ranks=(3,), hint="shards=3")

    def test_ranks_with_other_words(self):
        """Two ranks that were not told the same train nothing."""
        for one, other in (({}, {"seed": "2"}), ({}, {"method": "full"}), ({}, {"task__data": self.data_with(seed=9)}), ({"reduce": "exact"}, {}), ({"check_every": "1"}, {}),
                           ({"payload": "dense"}, {"payload": "compact"}), ({"node_reduce": "on"}, {}), ({"head_reduce": "dense"}, {"head_reduce": "factors"})):
            first = [PROGRAM, *self.train_words(**one)]
            second = [PROGRAM, *self.train_words(**other)]
            shutil.rmtree(self.at("runs"), ignore_errors=True)
            self.judge(call([*MPIRUN, "-np", "1", *first, ":", "-np", "1", *second]), ["ranks", "differ"], FAILED)

    def test_only_one_rank_fails(self):
        """The reason of the rank that fails, wherever it is."""
        good = [PROGRAM, *self.train_words()]
        bad = [PROGRAM, *self.train_words(task__data=self.at("none.h5"))]
        for jobs in ((good, bad, good), (bad, good, good)):
            shutil.rmtree(self.at("runs"), ignore_errors=True)
            words = [word for job in jobs for word in (":", "-np", "1", *job)][1:]
            self.judge(call([*MPIRUN, *words]), [self.at("none.h5")], FAILED)

    def test_serial_blas(self):
        """Its products are wrong when two threads call it."""
        found = glob.glob("/usr/lib/*/openblas-serial/libopenblas.so.0")
        if not found:
            self.skipTest("no single-threaded OpenBLAS (Debian's libopenblas0-serial)")
        preload = {"LD_PRELOAD": found[0], "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}
        self.refuse_training(["OpenBLAS", "single-threaded"], changes=preload)
        self.refuse(["evaluate", self.run_file], ["OpenBLAS", "single-threaded"], changes=preload)

    # ---- training ----

    def test_divergence(self):
        """A decay that overflows: what was written so far stays, marked as failed."""
        for extra in ({}, {"train__evaluate_every": "1"}):
            self.refuse_training(["diverged"], method="full", train__lr="1000", train__lr_head="1000", train__decay="100", train__steps="40", train__warmup="0", left=1, hint="train.lr",
                                 **extra)
            partial = [name for name in run_files(self.at("runs"))[1] if name.endswith(".partial")]
            with h5py.File(partial[0], "r") as file:
                self.assertTrue(text(file.attrs["status"]).startswith("failed: diverged"), text(file.attrs["status"]))
                self.assertGreater(len(file["series/steps"]), 0)

    def test_divergence_in_the_last_step(self):
        """Finite gradients, and an update that leaves nothing finite: seen by the validation, not handed out as a model."""
        self.refuse_training(["diverged"], method="full", train__lr="1000", train__lr_head="1000", train__decay="100", train__steps="8", train__warmup="0", train__schedule="constant",
                             train__keep="last", left=1)

    # ---- output ----

    def test_unwritable_results(self):
        """Permissions do not stop root: a directory below a file, and the kernel's own file system."""
        below = os.path.join(self.data, "runs")
        self.refuse_training([below], output__dir=below)
        self.refuse_training(["/proc"], output__dir="/proc/peftscale")
        self.refuse_training([below], output__export_dir=below)
        self.refuse_training(["overwritten"], output__export_dir=self.model, status=USAGE)
        self.refuse_training(["longer"], output__name="x" * 5000, status=USAGE)

    def test_name_taken_by_a_directory(self):
        for count in RANKS:
            shutil.rmtree(self.at("runs"), ignore_errors=True)
            os.makedirs(self.at("runs/bad.h5/inside"))
            outcome = peftscale(*self.train_words(), ranks=count)
            self.assertEqual((outcome.status, len(outcome.errors)), (FAILED, 1), str(outcome))
            self.assertIn(self.at("runs/bad.h5"), outcome.errors[0])
            self.assertEqual(os.listdir(self.at("runs/bad.h5")), ["inside"])

    @needs_open_mpi  # others fail at the start: their shared memory is files, too
    def test_file_size_limit(self):
        """The run file cannot grow: when theta's place is made, and in the middle of the training."""
        for limit_kib, changed, left in ((1000, {"method.rank": "4096"}, 0), (200, {"output__theta": "false", "train__steps": "3000", "train__batch": "1"}, 1)):
            for count in RANKS:
                with self.subTest(ranks=count, limit_kib=limit_kib):
                    shutil.rmtree(self.at("runs"), ignore_errors=True)
                    words = self.train_words(train__evaluate_every="1000", task__data=self.short, **changed)
                    limited = ["bash", "-c", f'ulimit -f {limit_kib}; exec "$0" "$@"', *command(*words)]
                    others = [":", "-np", str(count - 1), *command(*words)] if count > 1 else []
                    # Messages through sockets: the files of shared memory would break the limit first.
                    self.judge(call([*MPIRUN, "--mca", "btl", "self,tcp", "--mca", "btl_tcp_if_include", "lo", "-np", "1", *limited, *others]), [self.at("runs/bad.h5"), "File too large"], FAILED, left)

    def test_full_disk(self):
        """The same on a file system of its own; at last without room for the closing copy, so that the rows of a whole training are kept, but not as a result."""
        outside = self.at("kept-of-the-full-disk")
        script = 'mount -t tmpfs -o size="$1"k none "$2" || exit 99; "${@:4}"; status=$?; cp -r "$2" "$3"; exit $status'
        os.makedirs(self.at("disk"), exist_ok=True)
        for size_kib, changed, left in ((12, {}, 0), (300, {"output__theta": "false", "train__steps": "3000", "train__batch": "1"}, 1), (1500, {"method.rank": "1024"}, 1)):
            for count in RANKS:
                with self.subTest(ranks=count, size_kib=size_kib):
                    shutil.rmtree(outside, ignore_errors=True)
                    words = self.train_words(output__dir=self.at("disk"), train__evaluate_every="1000", task__data=self.short, **changed)
                    outcome = call(["unshare", "-rm", "bash", "-c", script, "bash", str(size_kib), self.at("disk"), outside, *command(*words, ranks=count)])
                    if outcome.status == 99 or "unshare:" in outcome.err:
                        self.skipTest("a file system of its own cannot be mounted here")
                    self.judge(outcome, [self.at("disk/bad.h5"), "No space left"], FAILED, left, where=outside)

    def test_predictions_that_cannot_be_written(self):
        below = os.path.join(self.data, "out.tsv")
        self.refuse(["predict", self.run_file, "--out", below], [below])
        self.refuse(["predict", self.run_file, "--out", self.folder.name], [self.folder.name])

    def test_full_standard_output(self):
        for words in (["evaluate", self.run_file], ["predict", self.run_file], ["list"], ["config", "--keys"]):
            outcome = call(["bash", "-c", '"$0" "$@" > /dev/full', *command(*words)])
            self.assertEqual((outcome.status, len(outcome.errors)), (FAILED, 1), str(outcome))
            self.assertIn("standard output", outcome.errors[0])

    # ---- run files ----

    def spoilt_run(self, name, edit):
        """A copy of the good run file, edited with h5py."""
        path = shutil.copy(self.run_file, self.at(name))
        with h5py.File(path, "r+") as file:
            edit(file)
        return path

    def refuse_run(self, path, names, *more):
        for verb in ("evaluate", "predict"):
            self.refuse([verb, path, *more], names)

    def test_damaged_run_files(self):
        self.refuse_run(self.at("none.h5"), [self.at("none.h5")])
        self.refuse_run(self.folder.name, [self.folder.name])
        self.refuse_run(self.data, [self.data, "run"])
        for name, edit in (("empty-run.h5", lambda b: b""), ("cut-run.h5", lambda b: b[:len(b) // 2]), ("text-run.h5", lambda b: b"no run\n" * 99)):
            path = spoil(self.run_file, self.at(name), edit)
            self.refuse_run(path, [path])

    def test_run_without_theta(self):
        path = train(*self.settings("bare", method="lora", output__theta="false", output__dir=self.at("good")))
        self.refuse_run(path, [path, "theta"])
        path = self.spoilt_run("cut-theta.h5", lambda file: (file.pop("theta"), file.create_dataset("theta", data=np.zeros(7, np.float32))))
        self.refuse_run(path, [path, "theta", "7"])

        def change(file):
            file["theta"][3] = np.nan
        path = self.spoilt_run("nan-theta.h5", change)
        self.refuse_run(path, [path, "theta", "finite"])

    def test_unfinished_run(self):
        path = self.spoilt_run("running.h5", lambda file: file.attrs.modify("status", np.bytes_(b"running")))
        self.refuse_run(path, [path, "running"])
        path = self.spoilt_run("newer.h5", lambda file: file.attrs.modify("schema_version", np.int64(99)))
        self.refuse_run(path, [path, "99"])

    def test_run_with_spoilt_configuration(self):
        def change(file):
            del file["config"]
            file["config"] = np.bytes_(b"train:\n  batsch: 3\n")
        path = self.spoilt_run("config.h5", change)
        for verb in ("evaluate", "predict"):
            self.refuse([verb, path], [path, "batsch"], USAGE)

    def test_run_of_other_weights(self):
        other = make_tiny.write_model(self.at("other"), seed=5)
        self.refuse_run(self.run_file, [self.run_file, "other base weights"], f"model.path={other}")
        gone = make_tiny.write_model(self.at("gone"), seed=5)
        path = train(*self.settings("gone", method="lora", model__path=gone, output__dir=self.at("good")))
        shutil.rmtree(gone)
        self.refuse_run(path, [gone])

    def test_run_whose_data_is_gone(self):
        data = shutil.copy(self.data, self.at("gone.h5"))
        path = train(*self.settings("data", method="lora", task__data=data, output__dir=self.at("good")))
        os.remove(data)
        self.refuse_run(path, [data])


if __name__ == "__main__":
    main()
