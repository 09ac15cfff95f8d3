#!/usr/bin/python3
# needs: oracle
# timeout: 900
"""The comparison with transformers + PEFT + DDP from end to end, on a tiny random encoder: the same losses without dropout, the same work, a file and a table."""

import os
import subprocess
import sys

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(TESTS, "support"), os.path.join(TESTS, "bench")]
from harness import Case, environment, h5py, main, np  # noqa: E402

import bench_peer  # noqa: E402
import peer_data  # noqa: E402
from test_bench_peer import write_sentences  # noqa: E402

PROGRAM = os.path.join(TESTS, "bench", "bench_peer.py")


class Comparison(Case):
    def compare(self, name, *words):
        return subprocess.run([sys.executable, "-B", PROGRAM, "--model", self.model, "--data", write_sentences(self.at("sentences.h5")), "--pairs", "1", "--steps", "3",
                               "--warm", "1", "--starts", "1", "--out", self.at("out"), "--name", name, *words], capture_output=True, text=True, timeout=800,
                              env=environment({"PEFTSCALE_CONFIGS": None}))

    def test_from_end_to_end(self):
        ended = self.compare("all", "--modes", "padded,equal", "--precision", "f32", "--methods", "lora,full", "--peers", "tuned")
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertEqual(ended.stdout.count("losses without dropout"), 4)
        with h5py.File(os.path.join(self.at("out"), "all.h5"), "r") as file:
            self.assertEqual([len(file[name]) for name in ("cases", "runs", "steps", "starts", "pairs")], [4, 8, 32, 8, 4])
            self.assertTrue(np.all(file["pairs"]["tokens_per_s_ratio"][:] > 0))
            self.assertTrue(np.all((file["runs"]["share"][:] > 0) & (file["runs"]["share"][:] < 1)))
            runs, steps = file["runs"][:], file["steps"][:]
            for number in range(len(runs)):
                mine = steps[steps["run"] == number]
                is_padded = b"padded" in runs["case"][number] and runs["side"][number] != b"ours"
                self.assertEqual(mine["places"].sum() > mine["tokens"].sum(), is_padded)
        with open(os.path.join(self.at("out"), "all.md"), encoding="utf-8") as file:
            self.assertEqual(file.read().count("| ours over |"), 4)

    def test_another_model_is_found_out(self):
        """A negative control: the peer's branch is scaled by half as much again, which no step can show before the second."""
        options = bench_peer.parse(["--model", self.model, "--data", write_sentences(self.at("sentences.h5")), "--steps", "5", "--warm", "1", "--peers", "default:1x2",
                                    "--set", "train.lr=0.02"])
        source = peer_data.read_train(options.data)
        case = bench_peer.Case(options, self.folder.name, bench_peer.find_model(self.model, self.folder.name), source, "lora", "padded", "f32")
        case.check()
        case.peers[0].spec["alpha"] *= 1.5
        with self.assertRaisesRegex(ValueError, "the loss of step [234] without dropout .* the two do not train the same model"):
            case.check()


if __name__ == "__main__":
    main()
