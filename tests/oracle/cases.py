"""What is compared: a method with options, on which maps of which model, against which reference."""

import re
from dataclasses import dataclass, field

import by_formula
import by_peft

ORDER = ("q", "k", "v", "o", "up", "down")
SOME, EVERY = "q,v", ",".join(ORDER)

# In attention a number added to all keys changes nothing: what only does that has a true gradient of zero. Everywhere else a gradient of zero would mean that
# nothing is compared.
NO_GRADIENT = re.compile(r"\.k\.(shift|[CDE]\.\w+)$")


@dataclass
class Case:
    method: str
    title: str
    by: object  # by_peft or by_formula
    options: dict
    modules: str = SOME
    model: str = "tiny"
    ours_only: dict = field(default_factory=dict)  # options that the reference is not told: on purpose wrong, for the negative control
    wrong: bool = False

    @property
    def name(self):
        return f"{self.method} / {self.title} / {self.model}"

    def build(self, encoder):
        words = self.modules.split(",")
        sites = [(layer, module) for layer in range(encoder.config.num_hidden_layers) for module in (*ORDER, "qkv") if module in words]
        return getattr(self.by, self.method)(encoder, sites, self.options)

    def all_options(self):
        return {**self.options, "modules": self.modules, **self.ours_only}


def both_widths(method, title, by, options, ours_only=None):
    """On some maps and on all of them."""
    return [Case(method, f"{title}{modules}", by, options, modules, ours_only=ours_only or {}) for modules in (SOME, EVERY)]


def on_minilm(case, **changed):
    return Case(**{**case.__dict__, "model": "minilm", **changed})


LORA = {"rank": "4", "alpha": "8"}


def make_cases():
    cases = both_widths("lora", "r=4 alpha=8 ", by_peft, LORA)
    cases.append(Case("lora", "negative control: alpha 1 % off", by_peft, LORA, ours_only={"alpha": "8.08"}, wrong=True))
    real = [on_minilm(case) for case in cases]
    return cases + real


CASES = make_cases()
