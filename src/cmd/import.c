#include "base/error.h"
#include "cmd/cmd.h"
#include "train/peft.h"

static int act(comm *none, int argc, char **argv) {
  int json = 0;
  const char *out = NULL, *model_directory = NULL;
  const flag flags[] = {{"out", &out, NULL}, {"model", &model_directory, NULL}, {"json", NULL, &json}};
  arguments a;
  (void)none;
  TRY(arguments_parse("import", argc, argv, flags, 3, &a));
  if (a.word_count != 1 || a.assignment_count)
    return FAIL(ERROR_USAGE, "see: peftscale import --help", "import takes one directory (or its file of tensors) and no key=value words");
  if (!out || !*out) return FAIL(ERROR_USAGE, "see: peftscale import --help", "import needs --out FILE");
  TRY(peft_import(a.words[0], model_directory, out));
  print_written("adapter", out, json);
  return ERROR_NONE;
}

const verb verb_import = {"import", "make an adapter file of what Hugging Face's PEFT wrote",
                          "usage: peftscale import DIRECTORY|FILE --out ADAPTER.safetensors [--model DIRECTORY] [--json]\n"
                          "\n"
                          "Reads adapter_config.json and adapter_model.safetensors of LoRA, VeRA (save_projection), VB-LoRA, Uni-LoRA (save_indices)\n"
                          "and GLoRA, with the classifier of a RoBERTa model, or the head.safetensors that `export --format peft` wrote. Settings that\n"
                          "this program does not have are refused by name. Use the result with `evaluate --adapter`, or start from it: train.start=FILE.\n"
                          "\n"
                          "  --model DIRECTORY   holds config.json of the base model, where the adapter does not name one that is found here\n"
                          "\n"
                          "example:\n"
                          "  peftscale import my-peft-adapter --model minilm-l6 --out adapter.safetensors\n",
                          0, act};
