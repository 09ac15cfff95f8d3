"""What is compared: a method with options, on which maps of which model, against which reference."""

import re
from dataclasses import dataclass, field, replace

import by_formula
import by_peft

ORDER = ("q", "k", "v", "o", "up", "down")
SOME, EVERY = "q,v", ",".join(ORDER)


@dataclass
class Case:
    method: str
    title: str
    by: object  # by_peft or by_formula
    options: dict
    modules: str = SOME
    model: str = "tiny"
    ours_only: dict = field(default_factory=dict)  # options that the reference knows nothing of, or, for a negative control, otherwise
    wrong: bool = False  # a negative control

    @property
    def name(self):
        return f"{self.method} / {self.title} / {self.model}"

    def build(self, encoder):
        words = self.modules.split(",")
        sites = [(layer, module) for layer in range(encoder.config.num_hidden_layers) for module in (*ORDER, "qkv") if module in words]
        return getattr(self.by, self.method)(encoder, sites, self.options)

    def is_inert(self, segment):
        """Whether a segment's true gradient is zero. Anywhere else that would mean that nothing is compared.

        The same number added to the keys of all tokens changes no attention; the same number added to all outputs of a map that goes into a normalisation is
        taken out again.
        """
        if re.search(r"\.k\.(shift|[CDE]\.\w+)$", segment):
            return True
        found = re.search(r"\.(?:o|down)\.([BE])\.constant$", segment)
        return bool(found) and self.options[found[1].lower()] == "constant"

    def all_options(self):
        return {**self.options, "modules": self.modules, **self.ours_only}


def both_widths(method, title, by, options, ours_only=None):
    """On some maps and on all of them."""
    return [Case(method, f"{title}{modules}", by, options, modules, ours_only=ours_only or {}) for modules in (SOME, EVERY)]


def on_minilm(case):
    return replace(case, model="minilm")


def make_lora():
    options = {"rank": "4", "alpha": "8"}
    cases = both_widths("lora", "r=4 alpha=8 ", by_peft, options)
    cases.append(Case("lora", "negative control: alpha 1 % off", by_peft, options, ours_only={"alpha": "8.08"}, wrong=True))
    return cases + [on_minilm(case) for case in cases]


FROM_FILE = {"projection": "file"}  # what PEFT drew


def make_vera():
    cases = both_widths("vera", "r=16 ", by_peft, {"rank": "16", "d_initial": "0.1"}, FROM_FILE)
    return cases + [on_minilm(case) for case in cases]


def make_tied():
    """Two ways of tying, with and without vectors per site."""
    def case(title, variant, tie, modules, model="tiny"):
        return Case("tied", title, by_formula, {"rank": "4", "variant": variant, "tie": tie}, modules, model)

    return [
        *(case(f"{variant} {tie} {modules}", variant, tie, modules) for variant in ("tl5", "tl6")
          for tie, modules in (("type", SOME), ("type", EVERY), ("type", "qkv"), ("square", SOME), ("square", "q,k,v,o"))),
        case("tl6 type q,v", "tl6", "type", SOME, "minilm"), case("tl6 type q,k,v,o,up,down", "tl6", "type", EVERY, "minilm"),
    ]


def make_vblora():
    options = {"rank": "4", "bank": "12", "vector_length": "32", "top_k": "2"}
    cases = both_widths("vblora", "r=4 h=12 b=32 k=2 ", by_peft, options)
    cases.append(Case("vblora", "r=4 h=12 b=48 k=3 q,v", by_peft, {**options, "vector_length": "48", "top_k": "3"}))
    real = both_widths("vblora", "r=4 h=24 b=128 k=2 ", by_peft, {**options, "bank": "24", "vector_length": "128"})
    return cases + [on_minilm(case) for case in real]


def make_unilora():
    cases = both_widths("unilora", "r=4 d=200 ", by_peft, {"rank": "4", "d": "200"}, FROM_FILE)
    real = both_widths("unilora", "r=4 d=2000 ", by_peft, {"rank": "4", "d": "2000"}, FROM_FILE)
    return cases + [on_minilm(case) for case in real]


def make_red():
    cases = [Case("red", title, by_formula, {}, modules) for title, modules in (("down", "down"), ("RED++ q,k,v,o,down", "q,k,v,o,down"))]
    return cases + [on_minilm(case) for case in cases]


# What A, B, C, D and E may be, but for being absent; a path names one for each.
SUPPORTS = (("lora", "vector", "constant"), ("lora", "vector", "constant"), ("lora", "vector"), ("vector", "constant"), ("vector", "constant"))


def make_glora():
    def case(path, by, modules, model="tiny"):
        return Case("glora", f"{path} {modules}", by, {"rank": "3", **dict(zip("abcde", path.split()))}, modules, model, {"path": "fixed"})

    # PEFT has one choice for A and B, and one for D and E.
    paired = ("lora lora lora vector vector", "vector vector vector constant constant", "constant constant none vector vector",
              "none none lora constant constant", "lora lora none none none")
    mixed = ("vector lora none constant vector", "constant vector lora none constant", "lora constant vector vector none")
    single = [" ".join(support if i == place else "none" for i in range(5)) for place, supports in enumerate(SUPPORTS) for support in supports]
    return [
        *(case(path, by_peft, modules) for path in paired for modules in (SOME, EVERY)),
        *(case(path, by_formula, modules) for path in mixed for modules in (SOME, EVERY)),
        *(case(path, by_formula, EVERY) for path in single),
        case(paired[0], by_peft, SOME, "minilm"), case(paired[0], by_peft, EVERY, "minilm"), case(mixed[0], by_formula, EVERY, "minilm"),
    ]


CASES = [*make_lora(), *make_vera(), *make_tied(), *make_vblora(), *make_unilora(), *make_red(), *make_glora()]
