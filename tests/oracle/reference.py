"""The other side: a BERT of the transformers library in float64, mean pooling and a linear head on it, PyTorch's autograd and AdamW.

Which adapter sits inside is not known here. It comes as `bound`: for each segment of our theta, the tensor that holds its numbers there and the view of that
tensor in our layout. Views write through, so one rule serves to set values and to read gradients.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import torch
from safetensors.torch import load_file
from torch.nn import functional
from transformers import BertConfig, BertModel
from transformers.utils import logging

torch.set_num_threads(1)
logging.disable_progress_bar()

HEAD = {"weight": "classifier.out_proj.weight", "bias": "classifier.out_proj.bias"}
IN_FILES = {"q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value", "o": "attention.output.dense", "up": "intermediate.dense",
            "down": "output.dense"}


def path_of(layer, module):
    """Where a linear map is in BertModel."""
    return f"encoder.layer.{layer}.{IN_FILES[module]}"


@dataclass
class Bound:
    tensor: torch.Tensor
    view: Callable = lambda tensor: tensor


def write_random_bert(folder):
    """A small BERT whose every part matters, which one fresh from its constructor is not (biases zero, norms at their start)."""
    torch.manual_seed(20)
    config = BertConfig(hidden_size=96, num_hidden_layers=3, num_attention_heads=4, intermediate_size=192, vocab_size=200, max_position_embeddings=40)
    bert = BertModel(config, add_pooling_layer=False)
    with torch.no_grad():
        for name, parameter in bert.named_parameters():
            if "embeddings" in name and parameter.dim() == 2:
                parameter.normal_(0, 0.5)
            elif parameter.dim() == 2:
                parameter.normal_(0, parameter.shape[1] ** -0.5)
            else:
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
    bert.save_pretrained(folder)
    return folder


def load_bert(folder):
    """BertModel in float64, frozen, without dropout."""
    config = BertConfig(**json.loads((Path(folder) / "config.json").read_text(encoding="utf-8")), attn_implementation="eager")
    bert = BertModel(config, add_pooling_layer=False)
    (weights,) = Path(folder).glob("*.safetensors")
    odd = bert.load_state_dict(load_file(weights), strict=False)
    surplus = [name for name in odd.unexpected_keys if not name.startswith("pooler.") and not name.endswith("position_ids")]
    if odd.missing_keys or surplus:
        raise RuntimeError(f"{weights}: missing {odd.missing_keys}, unknown {surplus}")
    return bert.double().eval().requires_grad_(False)


class Reference:
    """An encoder with an adapter (see above), and the head."""

    def __init__(self, encoder, bound, classes):
        self.encoder = encoder.double().eval()
        width = encoder.config.hidden_size
        self.head = torch.nn.Linear(width, classes).double()
        self.bound = dict(bound)
        self.bound[HEAD["weight"]] = Bound(self.head.weight)
        self.bound[HEAD["bias"]] = Bound(self.head.bias)
        # One tensor may hold several segments.
        self.trained = list({id(b.tensor): b.tensor for b in self.bound.values()}.values())

    def set(self, state):
        if set(state) != set(self.bound):
            raise RuntimeError(f"the two sides train different tensors: {sorted(set(state) ^ set(self.bound))}")
        for name, values in state.items():
            place = self.bound[name].view(self.bound[name].tensor.data)
            place.copy_(torch.from_numpy(values).double().reshape(place.shape))

    def read(self, pick):
        """{segment: array} of pick(tensor), which has the tensor's own layout."""
        return {name: b.view(pick(b.tensor)).detach().clone().numpy() for name, b in self.bound.items()}

    def logits(self, ids, mask):
        hidden = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        weight = mask.unsqueeze(-1).double()
        return self.head((hidden * weight).sum(1) / weight.sum(1))

    def measure(self, state, batch, training):
        """As Program.measure."""
        self.set(state)
        longest = max(len(ids) for _, ids in batch)
        ids = torch.tensor([ids + [0] * (longest - len(ids)) for _, ids in batch])
        mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for _, ids in batch])
        labels = torch.tensor([label for label, _ in batch])
        adamw = torch.optim.AdamW(self.trained, lr=training["lr"], betas=(0.9, 0.999), eps=training["epsilon"], weight_decay=training["decay"])
        found = {"losses": []}
        for step in range(training["steps"]):
            adamw.zero_grad()
            logits = self.logits(ids, mask)
            loss = functional.cross_entropy(logits, labels, reduction="sum")
            (loss / len(batch)).backward()
            found["losses"].append(loss.item())
            if step == 0:
                found["logits"], found["loss"] = logits.detach().numpy(), loss.item()
                found["gradient"] = self.read(lambda tensor: tensor.grad * len(batch))
            adamw.step()
        found["after"] = self.read(lambda tensor: tensor.data)
        return found
