#!/usr/bin/env python3
"""The peer: what people run. One rank of a fine-tuning by transformers, PEFT, torch's AdamW and DistributedDataParallel over gloo, on batches made by bench_peer.py.

usage: peer_train.py SPEC.json RANK        (in the environment that `make oracle` makes; bench_peer.py starts it)

SPEC says which model, method, batches, precision and settings; every rank writes OUT.RANK.json with the times of its steps. Settings:

  eager       attention written out: the fused one has no kernel for the CPU that drops out, and takes a detour
  fused       AdamW in one fused kernel
  ddp         DDP's gradients as views of its buckets, a static graph, no buffers sent
  bf16        frozen linear maps stored as bf16 instead of being cast in every forward (with precision bf16 and LoRA)
  compile     torch.compile, for any shapes

Batches are padded and turned into tensors before the clock of a step runs; without padding there is no mask.
"""

import time  # first: the start-up is measured, too

import contextlib
import ctypes
import json
import os
import sys
import threading
import warnings

import numpy as np
import torch
import transformers
from safetensors.torch import load_file
from torch import nn

PRECISIONS = {"f32": 0, "bf16": 1}  # as linalg_precision numbers them


def since_start_s():
    """Seconds since the system started this process."""
    with open("/proc/self/stat", encoding="ascii") as file:
        ticks = int(file.read().rsplit(")", 1)[1].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def memory_bytes():
    """The most that this process held, and its proportional share now."""
    found = {}
    for path, name in (("/proc/self/status", "VmHWM"), ("/proc/self/smaps_rollup", "Pss")):
        with open(path, encoding="ascii") as file:
            found[name] = next(1024 * int(line.split()[1]) for line in file if line.startswith(name + ":"))
    return found["VmHWM"], found["Pss"]


# ---- the model ----


class Classifier(nn.Module):
    """An encoder, the mean of its tokens or the first one, and the head: one linear map, or a dense tanh layer before it."""

    def __init__(self, encoder, spec):
        super().__init__()
        self.encoder, self.reads_first = encoder, spec["pooling"] == "first"
        width = encoder.config.hidden_size
        self.dropout = nn.Dropout(spec["dropout"]["head"])
        self.dense = nn.Linear(width, width) if spec["head"] == "tanh" else None
        self.out_proj = nn.Linear(width, spec["classes"])

    def forward(self, ids, mask, share):
        """share [sequences][tokens]: what the mean takes of each token; None without padding."""
        hidden = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        if self.reads_first:
            pooled = hidden[:, 0]
        elif share is None:
            pooled = hidden.mean(1)
        else:
            pooled = torch.bmm(share, hidden).squeeze(1)
        pooled = self.dropout(pooled)
        if self.dense is not None:
            pooled = self.dropout(torch.tanh(self.dense(pooled)))
        return self.out_proj(pooled)


def load_encoder(spec):
    folder = spec["model"]
    variant = None if os.path.exists(os.path.join(folder, "model.safetensors")) else "fp16"  # as the assets have it
    drop = {"hidden_dropout_prob": spec["dropout"]["hidden"], "attention_probs_dropout_prob": spec["dropout"]["attention"]}
    return transformers.AutoModel.from_pretrained(folder, variant=variant, add_pooling_layer=False, dtype=torch.float32, local_files_only=True,
                                                  attn_implementation="eager" if "eager" in spec["settings"] else "sdpa", **drop)


def adapt(encoder, spec):
    """The encoder with its adapter, whatever is not trained frozen."""
    if spec["method"] == "full":
        return encoder
    import peft  # a full fine-tuning does not pay for it

    names = {"q": "query", "k": "key", "v": "value"}
    settings = peft.LoraConfig(r=spec["rank"], lora_alpha=spec["alpha"], lora_dropout=spec["dropout"]["adapter"], target_modules=[names[m] for m in spec["modules"]])
    return peft.get_peft_model(encoder, settings)


def tensor_of(model, name):
    """The parameter that holds a segment of ours: "layer.3.q.lora_A", "classifier.out_proj.weight"."""
    parts = name.split(".")
    if parts[0] == "classifier":
        return model.get_parameter(".".join(parts[1:]))
    names = {"q": "query", "k": "key", "v": "value"}
    return model.get_parameter(f"encoder.base_model.model.encoder.layer.{parts[1]}.attention.self.{names[parts[2]]}.{parts[3]}.default.weight")


def set_start(model, path):
    """Head and adapter as ours begin."""
    with torch.no_grad():
        for name, values in load_file(path).items():
            place = tensor_of(model, name)
            place.copy_(values.reshape(place.shape))


def freeze_in_bf16(model):
    for module in model.modules():
        if isinstance(module, nn.Linear) and not module.weight.requires_grad:
            module.to(torch.bfloat16)


def groups_of(model, spec):
    """What is trained, in the optimiser's groups: of the head and of the rest, decayed (matrices) or not."""
    groups = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        is_head, decays = name.startswith(("out_proj", "dense")), parameter.dim() > 1
        groups.setdefault((is_head, decays), []).append(parameter)
    return [{"params": params, "lr": spec["lr_head" if is_head else "lr"], "weight_decay": spec["decay_head" if is_head else "decay"] if decays else 0.0}
            for (is_head, decays), params in groups.items()]


# ---- batches ----


def batches_of(spec, rank, pad):
    """This rank's part of every step's batch, padded to its longest sentence: the examples' ids, then token ids, mask and share (None where nothing is padded),
    labels, and the number of real tokens."""
    with np.load(spec["batches"]) as file:
        tokens, offsets, labels, ids, steps = (file[name] for name in ("tokens", "offsets", "labels", "ids", "steps"))
    batches = []
    for first, last in zip(steps[:-1], steps[1:]):
        mine = range(first + rank, last, spec["ranks"])
        length = torch.from_numpy(np.diff(offsets)[list(mine)])
        longest = int(length.max())
        words = torch.full((len(length), longest), pad, dtype=torch.long)
        for row, i in enumerate(mine):
            words[row, : length[row]] = torch.from_numpy(tokens[offsets[i] : offsets[i + 1]].astype(np.int64))
        mask = (torch.arange(longest) < length[:, None]).long()
        share = (mask / length[:, None]).unsqueeze(1)
        if int(length.min()) == longest:
            mask = share = None
        batches.append(([int(i) for i in ids[list(mine)]], words, mask, share, torch.from_numpy(labels[list(mine)].astype(np.int64)), int(length.sum())))
    return batches


# ---- the peak of the cores, in this very process ----


def probe(spec, wait):
    """FLOP/s of this rank's threads together, by the same code that ours uses."""
    library = ctypes.CDLL(spec["peak_library"])
    library.linalg_peak.restype, library.linalg_peak.argtypes = ctypes.c_double, [ctypes.c_int, ctypes.c_double]
    rates = [0.0] * spec["threads"]

    def work(index):
        rates[index] = library.linalg_peak(PRECISIONS[spec["precision"]], spec["peak_s"])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(spec["threads"])]
    wait()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait()
    return sum(rates)


# ---- training ----


def assemble(spec, rank):
    """Model, what of it is called, optimiser and batches."""
    settings = spec["settings"]
    encoder = load_encoder(spec)
    pad = encoder.config.pad_token_id
    model = Classifier(adapt(encoder, spec), spec)
    if spec["start"]:
        set_start(model, spec["start"])
    if "bf16" in settings:
        freeze_in_bf16(model)
    model.train()
    optimizer = torch.optim.AdamW(groups_of(model, spec), betas=tuple(spec["betas"]), eps=spec["epsilon"], fused=True if "fused" in settings else None)
    called = model
    if spec["ranks"] > 1:
        options = {"gradient_as_bucket_view": True, "static_graph": True, "broadcast_buffers": False} if "ddp" in settings else {}
        called = nn.parallel.DistributedDataParallel(model, **options)
    if "compile" in settings:
        called = torch.compile(called, dynamic=True)
    return model, called, optimizer, batches_of(spec, rank, pad)


def train(spec, called, optimizer, batches, wait):
    """Every step's numbers, and the peaks around those from number `warm` on."""
    cast = (lambda: torch.autocast("cpu", torch.bfloat16)) if spec["precision"] == "bf16" else contextlib.nullcontext
    out = {"steps": [], "peak_before": 0.0, "peak_after": 0.0}
    losses = []
    for step, (ids, words, mask, share, labels, tokens) in enumerate(batches):
        if step == spec["warm"]:
            out["peak_before"] = probe(spec, wait)
        wall, cpu = time.perf_counter(), time.process_time()
        optimizer.zero_grad()
        with cast():
            loss = nn.functional.cross_entropy(called(words, mask, share), labels)
        loss.backward()
        optimizer.step()
        row = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
        losses.append(loss.detach())
        if step == 0:
            out["first_step_s"], out["at_s"] = since_start_s(), time.clock_gettime(time.CLOCK_MONOTONIC)
        out["steps"].append(row | {"ids": ids, "tokens": tokens, "places": words.numel()})
    out["peak_bytes"], out["proportional_bytes"] = memory_bytes()
    if spec["warm"] < len(batches):
        out["peak_after"] = probe(spec, wait)
    for row, loss in zip(out["steps"], losses):
        row["loss"] = float(loss)
    return out


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        spec = json.load(file)
    rank = int(sys.argv[2])
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    torch.manual_seed(1 + rank)
    torch.set_num_threads(spec["threads"])
    wait = lambda: None  # noqa: E731
    if spec["ranks"] > 1:
        torch.distributed.init_process_group("gloo", init_method=f"file://{spec['rendezvous']}", rank=rank, world_size=spec["ranks"])
        wait = torch.distributed.barrier
    model, called, optimizer, batches = assemble(spec, rank)
    ready_s = since_start_s()
    out = train(spec, called, optimizer, batches, wait)
    out |= {"ready_s": ready_s, "trained": sum(p.numel() for p in model.parameters() if p.requires_grad), "torch": torch.__version__,
            "transformers": transformers.__version__}
    with open(f"{spec['out']}.{rank}.json", "w", encoding="utf-8") as file:
        json.dump(out, file)
    if spec["ranks"] > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
