"""Adapters written down from the papers' formulas, for what PEFT does not have; gradients are PyTorch's.

Functions and results as in by_peft.py. Here a tensor is a segment as it is: the same numbers in the same order.
"""

import torch
from reference import Bound, path_of
from torch.nn import functional

VERSION = "autograd"


class Adapted(torch.nn.Module):
    """A linear map whose output is rule(base map, input)."""

    def __init__(self, base, rule):
        super().__init__()
        self.base, self.rule = base, rule

    def forward(self, x):
        return self.rule(self.base, x)


def adapt(encoder, layer, module, rule):
    path = path_of(layer, module)
    encoder.set_submodule(path, Adapted(encoder.get_submodule(path), rule))


def shape_of(encoder, layer, module):
    base = encoder.get_submodule(path_of(layer, module))
    return base.out_features, base.in_features


class Tensors(dict):
    """Trained tensors by the name of their segment, made where they are first asked for."""

    def take(self, name, *shape):
        if name not in self:
            self[name] = torch.zeros(*shape, dtype=torch.float64, requires_grad=True)
        return self[name]

    def bound(self):
        return {name: Bound(tensor) for name, tensor in self.items()}


def tied(encoder, sites, options):
    """y += (((x A^T) o u) B^T) o v; A and B tied, u and v per site (tl6) or 1 (tl5)."""
    tensors, rank = Tensors(), int(options["rank"])

    def parts(layer, module):
        """The maps in the model that a site stands for: the fused qkv is three."""
        return [(layer, part) for part in ("q", "k", "v")] if module == "qkv" else [(layer, module)]

    for layer, module in sites:
        shapes = [shape_of(encoder, *part) for part in parts(layer, module)]
        out = sum(rows for rows, _ in shapes)
        stem = "square" if options["tie"] == "square" else module
        a, b = tensors.take(f"tied.{stem}.A", rank, shapes[0][1]), tensors.take(f"tied.{stem}.B", out, rank)
        u = v = None
        if options["variant"] == "tl6":
            u, v = tensors.take(f"layer.{layer}.{module}.u", 1, rank), tensors.take(f"layer.{layer}.{module}.v", 1, out)
        first = 0
        for part, (rows, _) in zip(parts(layer, module), shapes):
            def rule(base, x, a=a, b=b, u=u, v=v, mine=slice(first, first + rows)):
                h = functional.linear(x, a)
                y = functional.linear(h if u is None else h * u[0], b[mine])
                return base(x) + (y if v is None else y * v[0, mine])

            adapt(encoder, *part, rule)
            first += rows
    return encoder, tensors.bound(), {}


def red(encoder, sites, options):
    """y becomes scale o y + shift, the map's bias included."""
    del options
    tensors = Tensors()
    for layer, module in sites:
        out, _ = shape_of(encoder, layer, module)
        scale, shift = (tensors.take(f"layer.{layer}.{module}.{name}", 1, out) for name in ("scale", "shift"))
        adapt(encoder, layer, module, lambda base, x, scale=scale, shift=shift: base(x) * scale[0] + shift[0])
    return encoder, tensors.bound(), {}


def glora(encoder, sites, options):
    """W = W0 + W0 o A + B and b = b0 + D o b0 + E + W0 C, each of A ... E as a low-rank product, a vector (one number per row), a constant, or absent."""
    tensors, rank = Tensors(), int(options["rank"])

    def support(stem, rows, cols):
        """Function giving A ... E [rows][cols], or what broadcasts to it. Nested: a vector is the first column of the tall factor, a constant its first number
        (C, which is never constant, has its column in one piece)."""
        letter = stem[-1]
        kind = options[letter.lower()]
        if kind == "none":
            return lambda: torch.zeros(rows, 1, dtype=torch.float64)
        pieces = [] if letter == "C" else [tensors.take(f"{stem}.constant", 1, 1)]
        if kind != "constant":
            pieces.append(tensors.take(f"{stem}.vector", rows - len(pieces), 1))
        if kind != "lora":
            return lambda: torch.cat(pieces)
        others, wide = tensors.take(f"{stem}.lora_d", rank - 1, rows), tensors.take(f"{stem}.lora_u", rank, cols)
        return lambda: torch.cat([torch.cat(pieces), others.T], dim=1) @ wide

    for layer, module in sites:
        out, width = shape_of(encoder, layer, module)
        a, b, c, d, e = (support(f"layer.{layer}.{module}.{letter}", width if letter == "C" else out, width if letter in "AB" else 1) for letter in "ABCDE")

        def rule(base, x, a=a, b=b, c=c, d=d, e=e):
            weight, bias = base.weight, base.bias
            return functional.linear(x, weight + weight * a() + b(), bias + bias * d()[:, 0] + e()[:, 0] + (weight @ c())[:, 0])

        adapt(encoder, layer, module, rule)
    return encoder, tensors.bound(), {}
