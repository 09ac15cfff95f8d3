#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "cmd/cmd.h"
#include "cmd/trained.h"
#include "train/export.h"
#include "train/standalone.h"
#include "train/weights.h"

/* An adapter file needs no data set: its task's head is no part of the base model. */
static int fold_into(const adapter_file *f, standalone *s, const char *directory, const char *out) {
  const char *trained_on = adapter_file_note(f, "model.weights_hash");
  int has_head;
  TRY(adapter_file_fit(f, s->model, 0));
  TRY(standalone_load(s, directory));
  if (*trained_on && strcmp(trained_on, s->weights_hash))
    return FAIL(ERROR_INPUT, "give the backbone it was trained on: model.path=DIRECTORY", "%s: it was trained on other base weights (%.8s, not %.8s)",
                adapter_file_path(f), trained_on, s->weights_hash);
  TRY(adapter_file_load(f, s->model, s->theta, &has_head));
  return export_backbone(s->model, s->theta, adapter_file_note(f, "experiment_id"), out);
}

static int fold_file(const adapter_file *f, const arguments *a, const char *out) {
  config *c = NULL;
  char directory[4096];
  model_shape shape;
  standalone *s;
  int classes = adapter_file_classes(f);
  int code = trained_compose(f, a, &c);
  if (!code && !*c->model.path) code = FAIL(ERROR_USAGE, "for example model=minilm-l6, or model.path=DIRECTORY", "no model is chosen");
  if (!code)
    code = run_find_file("model.path", c->model.path, "PEFTSCALE_ASSETS", "give a Hugging Face directory, or set PEFTSCALE_ASSETS to the one that holds it",
                         directory, sizeof directory);
  if (!code) code = weights_read_shape(directory, &shape);
  if (!code) code = export_check(c, out);
  if (code) {
    config_destroy(c);
    return code;
  }
  TRY(standalone_create(c, &shape, classes ? classes : 2, &s)); /* without a head any number of classes will do */
  code = fold_into(f, s, directory, out);
  standalone_destroy(s);
  return code;
}

static int merge_file(const char *path, const arguments *a, const char *out) {
  adapter_file *f;
  TRY(adapter_file_open(path, &f));
  int code = fold_file(f, a, out);
  adapter_file_close(f);
  return code;
}

static int merge_run(comm *c, const arguments *a, const char *out) {
  run *r;
  char *id = NULL;
  TRY(trained_open(c, NULL, a, ANY_SPLIT, &r));
  int code = ERROR_NONE;
  if (comm_rank(c) == 0) code = export_check(r->config, out);
  if (!code && comm_rank(c) == 0) code = runfile_read_attribute_text(a->words[0], "", "experiment_id", &id);
  if (!code && comm_rank(c) == 0) code = export_backbone(r->model, r->chosen, id, out);
  free(id);
  run_destroy(r);
  return code;
}

static int act(comm *c, int argc, char **argv) {
  int json = 0;
  const char *adapter_path = NULL, *out = NULL;
  const flag flags[] = {{"adapter", &adapter_path, NULL}, {"out", &out, NULL}, {"json", NULL, &json}};
  arguments a;
  int code = arguments_parse("merge", argc, argv, flags, 3, &a);
  if (!code) code = trained_check_words("merge", adapter_path, &a);
  if (!code && (!out || !*out)) code = FAIL(ERROR_USAGE, "see: peftscale merge --help", "merge needs --out DIRECTORY");
  TRY(comm_agree(c, code));
  if (!adapter_path) code = merge_run(c, &a, out);
  else if (comm_rank(c) == 0) code = merge_file(adapter_path, &a, out);
  TRY(comm_agree(c, code));
  if (comm_rank(c) == 0) print_written("model", out, json);
  return ERROR_NONE;
}

const verb verb_merge = {"merge", "fold a trained adapter into the base weights",
                         "usage: peftscale merge RUN.h5 --out DIRECTORY [section.key=value ...] [--json]\n"
                         "       peftscale merge --adapter FILE --out DIRECTORY model=NAME | model.path=DIRECTORY [--json]\n"
                         "\n"
                         "Writes DIRECTORY/config.json and model.safetensors under Hugging Face's names: a plain model that needs no adapter, here\n"
                         "(model.path=DIRECTORY) or elsewhere. The task head is not part of it: peftscale export keeps that.\n"
                         "\n"
                         "example:\n"
                         "  peftscale merge results/runs/trec6-lora-s1-0a1b2c3d.h5 --out merged\n",
                         1, act};
