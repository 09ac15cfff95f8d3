"""Copies of prepared data sets with a part left out."""

import os
from pathlib import Path

import h5py


def copy_without(source: Path, target: Path, splits: list[str]) -> None:
    """The same data set whose given splits (of train, validation, test) have no examples."""
    partial = target.with_suffix(f".tmp-{os.getpid()}")
    with h5py.File(source, "r") as whole, h5py.File(partial, "w") as file:
        for name in whole.attrs:
            file.attrs.create(name, whole.attrs[name], dtype=whole.attrs.get_id(name).dtype)
        for name in whole:
            if name not in splits:
                whole.copy(name, file)
        for split in splits:
            empty = file.create_group(split)
            for name, values in whole[split].items():
                empty.create_dataset(name, data=values[:1 if name == "offsets" else 0], track_times=False)
    os.replace(partial, target)
