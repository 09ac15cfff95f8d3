#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "cmd/cmd.h"
#include "cmd/trained.h"
#include "train/peft.h"

static const char *const formats[] = {"adapter", "theta", "peft"};
enum { FORMATS = sizeof formats / sizeof *formats };

static int find_format(const char *word, int *format) {
  for (*format = 0; *format < FORMATS; (*format)++)
    if (!strcmp(word, formats[*format])) return ERROR_NONE;
  return FAIL(ERROR_USAGE, "one of: adapter, theta, peft", "there is no format '%s'", word);
}

static int write(run *r, const char *run_path, const char *out, const char *format, int only_top_k) {
  char *id = NULL;
  TRY(runfile_read_attribute_text(run_path, "", "experiment_id", &id));
  const adapter_facts facts = {.weights_hash = r->weights_hash, .experiment_id = id, .has_head = 1};
  int code;
  if (!strcmp(format, "peft")) code = peft_export(out, r->model, r->chosen, only_top_k);
  else code = adapter_file_write(out, r->model, r->chosen, strcmp(format, "theta") ? ADAPTER_RESULT : ADAPTER_THETA, &facts);
  free(id);
  return code;
}

static int act(comm *c, int argc, char **argv) {
  int json = 0, only_top_k = 0, format = 0;
  const char *out = NULL, *word = "adapter";
  const flag flags[] = {{"out", &out, NULL}, {"format", &word, NULL}, {"only-top-k", NULL, &only_top_k}, {"json", NULL, &json}};
  arguments a;
  run *r;
  int code = arguments_parse("export", argc, argv, flags, 4, &a);
  if (!code) code = trained_check_words("export", NULL, &a);
  if (!code) code = find_format(word, &format);
  if (!code && only_top_k && strcmp(word, "peft")) code = FAIL(ERROR_USAGE, "use --format peft", "--only-top-k has no meaning for format %s", word);
  if (!code && (!out || !*out)) code = FAIL(ERROR_USAGE, "see: peftscale export --help", "export needs --out PATH");
  TRY(comm_agree(c, code));
  TRY(trained_open(c, NULL, &a, ANY_SPLIT, &r));
  if (comm_rank(c) == 0) code = write(r, a.words[0], out, word, only_top_k);
  code = comm_agree(c, code);
  run_destroy(r);
  if (!code && comm_rank(c) == 0) print_written(word, out, json);
  return code;
}

const verb verb_export = {"export", "write what a run trained as an adapter file",
                          "usage: peftscale export RUN.h5 --out PATH [--format adapter|theta|peft] [--only-top-k] [section.key=value ...] [--json]\n"
                          "\n"
                          "  adapter  one safetensors file with what must be stored to use the adapter (what `count` counts), and the task head\n"
                          "  theta    one with all trained numbers, from which training can go on (train.start=FILE)\n"
                          "  peft     a directory that Hugging Face's PEFT loads: lora, vera, vblora, unilora, and glora where A and B, D and E agree\n"
                          "\n"
                          "  --only-top-k   peft and vblora: the chosen logits alone, as PEFT's save_only_topk_weights\n"
                          "\n"
                          "example:\n"
                          "  peftscale export results/runs/trec6-lora-s1-0a1b2c3d.h5 --out trec6-lora.safetensors\n",
                          1, act};
