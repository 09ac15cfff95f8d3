"""What both programs of the comparison read: sentences of a prepared data set in a file of ours, whose order of steps is asked of our program and written down for
the peer; and a backbone of RoBERTa-base's shape.

Two modes. `padded`: sentences as they come. `equal`: all sentences of a batch have one length, so that the peer pads nothing; lengths are as frequent as in the data.
"""

import json
import os

import h5py
import numpy as np

import make_tiny

BATCH = 32
MODES = ("padded", "equal")


class DataError(Exception):
    pass


def read_train(path):
    """Attributes, class names, and for each training sentence its tokens, label and id."""
    try:
        with h5py.File(path, "r") as file:
            attributes = {name: (file.attrs[name], file.attrs.get_id(name).dtype) for name in file.attrs}
            group = file["train"]
            tokens, offsets = group["tokens"][:], group["offsets"][:]
            rows = [tokens[a:b] for a, b in zip(offsets[:-1], offsets[1:])]
            if np.any(group["segment_start"][:] < np.diff(offsets)):
                raise DataError(f"{path}: its examples are pairs of texts, which the peer of this comparison does not read")
            return attributes, file["class_names"][:], rows, group["label"][:], group["example_id"][:]
    except (OSError, KeyError) as e:
        raise DataError(f"{path}: no prepared data set ({e}); see experiments/prepare/README.md") from None


def choose(lengths, mode, steps, seed):
    """Groups of BATCH sentences, one for each step."""
    random = np.random.default_rng(seed)
    lengths = np.asarray(lengths)
    if mode == "padded":
        groups = [group for group in np.array_split(random.permutation(len(lengths)), max(1, len(lengths) // BATCH)) if len(group) >= BATCH]
    else:
        groups = []
        for length in np.unique(lengths):
            same = random.permutation(np.flatnonzero(lengths == length))
            groups += np.split(same[: len(same) // BATCH * BATCH], len(same) // BATCH) if len(same) >= BATCH else []
    if len(groups) < steps:
        raise DataError(f"the data has {len(groups)} batches of {BATCH} sentences ({mode}), and {steps} are asked for")
    return [groups[i][:BATCH] for i in random.permutation(len(groups))[:steps]]


def write_dataset(path, source, rows):
    """A data set of these training sentences, in this order; validation and test are empty."""
    attributes, classes, tokens, labels, ids = source
    lengths = np.array([len(tokens[i]) for i in rows], np.int64)
    with h5py.File(path, "w") as file:
        for name, (value, dtype) in attributes.items():
            file.attrs.create(name, value, dtype=dtype)
        file["class_names"] = classes
        for split, chosen in (("train", list(rows)), ("validation", []), ("test", [])):
            length = lengths if chosen else lengths[:0]
            group = file.create_group(split)
            group["tokens"] = np.concatenate([*(tokens[i] for i in chosen), np.zeros(0, np.int32)]).astype(np.int32)
            group["offsets"] = np.concatenate([[0], np.cumsum(length)]).astype(np.int64)
            group["segment_start"] = group["target_start"] = length.astype(np.int32)
            group["label"] = labels[chosen].astype(np.float32)
            group["example_id"] = ids[chosen].astype(np.int64)


def place(groups, plan):
    """Sentences in such an order that the step whose rows are plan[step] gets groups[step]. The plan follows from the number of rows alone."""
    order = np.zeros(sum(map(len, plan)), np.int64)
    for group, rows in zip(groups, plan):
        order[rows] = group
    return order


def write_batches(path, source, order, plan):
    """For the peer: the sentences step by step, as our plan has them."""
    _, _, tokens, labels, ids = source
    rows = [order[row] for step in plan for row in step]
    np.savez(path, tokens=np.concatenate([tokens[i] for i in rows]), offsets=np.concatenate([[0], np.cumsum([len(tokens[i]) for i in rows])]), labels=labels[rows],
             ids=ids[rows], steps=np.concatenate([[0], np.cumsum([len(step) for step in plan])]))


def cut_batches(path, target, steps):
    """The first steps alone."""
    with np.load(path) as file:
        values = dict(file)
    last = values["steps"][steps]
    values.update(tokens=values["tokens"][: values["offsets"][last]], offsets=values["offsets"][: last + 1], labels=values["labels"][:last], ids=values["ids"][:last],
                  steps=values["steps"][: steps + 1])
    np.savez(target, **values)


class Material:
    """A data set file for us and a file of batches for the peer. `ask_plan(path)` has our program tell the rows and ids of each step."""

    def __init__(self, folder, source, mode, steps, ask_plan, seed=1):
        self.mode, self.steps = mode, steps
        self.data, self.batches, self.first = (os.path.join(folder, f"{mode}-{steps}{end}") for end in (".h5", ".npz", "-first.npz"))
        groups = choose([len(row) for row in source[2]], mode, steps, seed)
        write_dataset(self.data, source, np.concatenate(groups))
        order = place(groups, [step["rows"] for step in ask_plan(self.data)])
        write_dataset(self.data, source, order)
        plan = ask_plan(self.data)
        self.ids = [step["ids"] for step in plan]
        self.lengths = [[len(source[2][order[row]]) for row in step["rows"]] for step in plan]
        if mode == "equal" and any(len(set(lengths)) > 1 for lengths in self.lengths):
            raise DataError("our program's order of steps depends on what the sentences are: no batches of one length can be made")
        write_batches(self.batches, source, order, [step["rows"] for step in plan])
        cut_batches(self.batches, self.first, 1)


def write_roberta_base(folder):
    """A Hugging Face folder of RoBERTa-base's shape with random weights, half a gigabyte; left alone where it is."""
    path = os.path.join(folder, "config.json")
    if os.path.exists(path):
        return folder
    os.makedirs(folder, exist_ok=True)
    shape = {"model_type": "roberta", "hidden_act": "gelu", "hidden_size": 768, "intermediate_size": 3072, "layer_norm_eps": 1e-5, "max_position_embeddings": 514,
             "num_attention_heads": 12, "num_hidden_layers": 12, "type_vocab_size": 1, "vocab_size": 50265, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    tensors = make_tiny.draw_tensors(768, 12, 3072, 50265, 514, seed=1)
    tensors["embeddings.token_type_embeddings.weight"] = tensors["embeddings.token_type_embeddings.weight"][:1]
    make_tiny.write_safetensors(os.path.join(folder, "model.safetensors"), tensors)
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(shape, file)
    os.replace(path + ".new", path)  # last: a folder with it is whole
    return folder
