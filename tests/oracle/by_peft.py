"""Adapters made by PEFT itself, and where the numbers of our segments are in them.

Each function puts an adapter into `encoder` and returns the adapted encoder, `bound` (reference.py) and the method's constants: what PEFT drew and does not
train, for our side to read. Sites are (layer, module) in our order: layer by layer, q k v o up down.
"""

import warnings

import numpy as np
import peft
from reference import IN_FILES, Bound, path_of

VERSION = f"peft {peft.__version__}"


def inject(encoder, sites, kind, **settings):
    """The adapted encoder, and its wrapped linear map of each site."""
    modules = "|".join(sorted({IN_FILES[module].replace(".", r"\.") for _, module in sites}))
    config = getattr(peft, kind)(target_modules=rf"encoder\.layer\.\d+\.({modules})", **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = peft.get_peft_model(encoder, config).double()
    return adapted, {site: adapted.get_submodule(f"base_model.model.{path_of(*site)}") for site in sites}


def lora(encoder, sites, options):
    adapted, wrapped = inject(encoder, sites, "LoraConfig", r=int(options["rank"]), lora_alpha=float(options["alpha"]))
    bound = {}
    for (layer, module), at in wrapped.items():
        bound[f"layer.{layer}.{module}.lora_A"] = Bound(at.lora_A["default"].weight)
        bound[f"layer.{layer}.{module}.lora_B"] = Bound(at.lora_B["default"].weight)
    return adapted, bound, {}


def vera(encoder, sites, options):
    adapted, wrapped = inject(encoder, sites, "VeraConfig", r=int(options["rank"]), d_initial=float(options["d_initial"]))
    bound = {}
    for (layer, module), at in wrapped.items():
        bound[f"layer.{layer}.{module}.d"] = Bound(at.vera_lambda_d["default"])
        bound[f"layer.{layer}.{module}.b"] = Bound(at.vera_lambda_b["default"])
    shared = adapted.base_model
    return adapted, bound, {"shared.A": shared.vera_A["default"].float().numpy(), "shared.B": shared.vera_B["default"].float().numpy()}


def vblora(encoder, sites, options):
    adapted, wrapped = inject(encoder, sites, "VBLoRAConfig", r=int(options["rank"]), num_vectors=int(options["bank"]), topk=int(options["top_k"]),
                              vector_length=int(options["vector_length"]))
    bound = {"bank": Bound(adapted.base_model.vblora_vector_bank["default"])}
    rows = lambda tensor: tensor.view(-1, tensor.shape[-1])  # noqa: E731  a row per tile
    for (layer, module), at in wrapped.items():
        bound[f"layer.{layer}.{module}.logits_A"] = Bound(at.vblora_logits_A["default"], rows)
        bound[f"layer.{layer}.{module}.logits_B"] = Bound(at.vblora_logits_B["default"], rows)
    return adapted, bound, {}


def unilora(encoder, sites, options):
    adapted, wrapped = inject(encoder, sites, "UniLoraConfig", r=int(options["rank"]), theta_d_length=int(options["d"]))
    # PEFT numbers the places in the order in which it meets the modules, we in ours.
    indices = [part["default"].numpy().ravel() for at in wrapped.values() for part in (at.unilora_indices_A, at.unilora_indices_B)]
    return adapted, {"theta_d": Bound(adapted.base_model.unilora_theta_d["default"])}, {"indices": np.concatenate(indices)}


# Where the numbers of a path's segments are: GLoRA's supports are nested, a vector being the first column of the tall factor and a constant its first number.
# C, which is never constant, has its column in one piece.
FACTORS = {"lora_d": ("Xd", lambda x: x[:, 1:].T), "lora_u": ("Xu", lambda x: x)}
NESTED = {
    "lora": {"constant": ("Xd", lambda x: x[0, 0]), "vector": ("Xd", lambda x: x[1:, 0]), **FACTORS},
    "vector": {"constant": ("X", lambda x: x.view(-1)[0]), "vector": ("X", lambda x: x.view(-1)[1:])},
    "constant": {"constant": ("X", lambda x: x[0])},
    "none": {},
}
COLUMN = {
    "lora": {"vector": ("Xd", lambda x: x[:, 0]), **FACTORS},
    "vector": {"vector": ("X", lambda x: x[:, 0])},
    "none": {},
}


def glora(encoder, sites, options):
    if options["a"] != options["b"] or options["d"] != options["e"]:
        raise ValueError("PEFT has one choice for A and B, and one for D and E")
    adapted, wrapped = inject(encoder, sites, "GloraConfig", r=int(options["rank"]), config_A_B=options["a"], config_C=options["c"], config_D_E=options["d"])
    bound = {}
    for (layer, module), at in wrapped.items():
        for letter in "ABCDE":
            stored = (COLUMN if letter == "C" else NESTED)[options[letter.lower()]]
            for part, (name, view) in stored.items():
                bound[f"layer.{layer}.{module}.{letter}.{part}"] = Bound(getattr(getattr(at, f"glora_{letter}")["default"], name), view)
    return adapted, bound, {}
