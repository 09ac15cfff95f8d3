"""The other side of the exchange of adapters: run by a Python that has torch, transformers and peft.

Answers requests, one a line on standard input as a JSON list, with one line of JSON each: {"answer": ...} or {"error": text}.

  make KIND BASE OUT        a random adapter of KIND ("lora", "vera" ...) on the model in BASE, saved by PEFT itself; for BERT with a head beside it
  base OUT                  a tiny random RoBERTa encoder in OUT
  predict BASE ADAPTER IN   logits (ADAPTER a directory with nothing but head.safetensors: of the plain model)
                             for IN: a JSON file, a list of [tokens, types]
"""

import json
import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"

import torch  # noqa: E402
from peft import LoraConfig, PeftModel, VBLoRAConfig, VeraConfig, get_peft_model  # noqa: E402
from peft.tuners.glora import GloraConfig  # noqa: E402
from peft.tuners.unilora import UniLoraConfig  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from transformers import AutoModel, RobertaConfig, RobertaForSequenceClassification, RobertaModel, logging  # noqa: E402

logging.set_verbosity_error()
CLASSES = 3
QV = ["query", "value"]
KINDS = {
    "lora": lambda: LoraConfig(r=3, lora_alpha=7, target_modules=["query", "key", "value"]),
    "lora-all": lambda: LoraConfig(r=2, lora_alpha=4, target_modules=r".*encoder\.layer\.\d+\..*(query|key|value|dense)"),
    "vera": lambda: VeraConfig(r=8, target_modules=QV),
    "vera-wide": lambda: VeraConfig(r=8, target_modules=r".*encoder\.layer\.\d+\.(attention\.self\.query|intermediate\.dense|output\.dense)"),
    "vblora": lambda: VBLoRAConfig(r=2, num_vectors=9, vector_length=16, topk=3, target_modules=QV),
    "vblora-top-k": lambda: VBLoRAConfig(r=2, num_vectors=9, vector_length=16, topk=3, target_modules=QV, save_only_topk_weights=True),
    "unilora": lambda: UniLoraConfig(r=2, theta_d_length=31, target_modules=QV, save_indices=True),
    "glora": lambda: GloraConfig(r=2, target_modules=QV),
    "glora-vector": lambda: GloraConfig(r=2, target_modules=QV, config_A_B="vector", config_C="vector", config_D_E="vector"),
    "glora-constant": lambda: GloraConfig(r=2, target_modules=QV, config_A_B="constant", config_C="none", config_D_E="none"),
    "classifier": lambda: LoraConfig(r=2, target_modules=QV, task_type="SEQ_CLS"),
    # what cannot be taken over
    "vera-no-pair": lambda: VeraConfig(r=8, target_modules=QV, save_projection=False),
    "unilora-no-index": lambda: UniLoraConfig(r=2, theta_d_length=31, target_modules=QV),
    "rslora": lambda: LoraConfig(r=3, target_modules=QV, use_rslora=True),
    "dora": lambda: LoraConfig(r=3, target_modules=QV, use_dora=True),
    "bias": lambda: LoraConfig(r=3, target_modules=QV, bias="all"),
    "one-layer": lambda: LoraConfig(r=3, target_modules=QV, layers_to_transform=[1]),
    "rank-pattern": lambda: LoraConfig(r=3, target_modules=QV, rank_pattern={"query": 2}),
    "pooler": lambda: LoraConfig(r=3, target_modules=["dense"]),
    "word-embeddings": lambda: LoraConfig(r=3, target_modules=QV, modules_to_save=["word_embeddings"]),
}


def model_of(base, classifier):
    if classifier:
        return RobertaForSequenceClassification.from_pretrained(base, num_labels=CLASSES, attn_implementation="eager").eval()
    return AutoModel.from_pretrained(base, attn_implementation="eager").eval()


def make(kind, base, out):
    torch.manual_seed(3)
    model = get_peft_model(model_of(base, kind == "classifier"), KINDS[kind]())
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.requires_grad and "theta_d" not in name and "vector_bank" not in name:
                value.add_(torch.randn_like(value) * 0.2)
            elif value.requires_grad:
                value.mul_(10)
    model.save_pretrained(out)
    if kind != "classifier":
        width = model.config.hidden_size
        head = {"classifier.out_proj.weight": torch.randn(CLASSES, width), "classifier.out_proj.bias": torch.randn(CLASSES)}
        save_file(head, os.path.join(out, "head.safetensors"), {"task.objective": "classify", "task.classes": str(CLASSES), "model.pooling": "mean", "model.head": "linear"})


def predict(base, adapter, examples):
    classifier, settings = False, os.path.join(adapter, "adapter_config.json")
    if os.path.exists(settings):
        with open(settings, encoding="utf-8") as file:
            classifier = json.load(file)["task_type"] == "SEQ_CLS"
    model = model_of(base, classifier)
    if os.path.exists(settings):
        model = PeftModel.from_pretrained(model, adapter).eval()
    head = None if classifier else load_file(os.path.join(adapter, "head.safetensors"))
    rows = []
    with open(examples, encoding="utf-8") as file, torch.no_grad():
        for tokens, types in json.load(file):
            ids = torch.tensor([tokens])
            if classifier:
                rows.append(model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0].tolist())
                continue
            hidden = model(input_ids=ids, attention_mask=torch.ones_like(ids), token_type_ids=torch.tensor([types])).last_hidden_state[0].mean(0)
            rows.append((head["classifier.out_proj.weight"] @ hidden + head["classifier.out_proj.bias"]).tolist())
    return rows


def base_of(out):
    torch.manual_seed(1)
    config = RobertaConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, vocab_size=65, max_position_embeddings=130, type_vocab_size=1,
                           layer_norm_eps=1e-5)
    RobertaModel(config, add_pooling_layer=False).save_pretrained(out)


if __name__ == "__main__":
    for line in sys.stdin:
        verb, *words = json.loads(line)
        try:
            reply = {"answer": {"make": make, "predict": predict, "base": base_of}[verb](*words)}
        except Exception as error:  # whatever it is, the test reports it
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), flush=True)
