#include "train/start.h"

#include <string.h>

#include "base/log.h"
#include "train/adapter_file.h"

static int wants_constants(const run *r) {
  const adapter *a = model_adapter(r->model);
  for (int i = 0; i < a->constant_count; i++)
    if (a->constants[i].from_file) return 1;
  return 0;
}

int start_open(run *r, int training) {
  const char *name = r->config->train.start;
  char path[4096];
  if (!*name && wants_constants(r))
    return FAIL(ERROR_USAGE, "set train.start to the adapter file that holds them",
                "the frozen numbers of %s are to come from a file, but train.start is empty", r->config->method.name);
  if (!*name || (!training && !wants_constants(r))) return ERROR_NONE; /* a trained run holds the rest itself */
  TRY(run_find_file("train.start", name, "PEFTSCALE_ASSETS", "give an adapter file (peftscale export or import writes one): train.start=FILE", path,
                    sizeof path));
  TRY(adapter_file_open(path, &r->start));
  TRY(adapter_file_fit(r->start, r->model, training));
  return adapter_file_hash(r->start, r->start_hash);
}

int start_load(run *r) {
  int has_head = 0;
  if (!r->start) return ERROR_NONE;
  TRY(adapter_file_load(r->start, r->model, r->theta, &has_head));
  const char *trained_on = adapter_file_note(r->start, "model.weights_hash");
  if (*trained_on && strcmp(trained_on, r->weights_hash))
    log_warning("%s was trained on other base weights (%.8s, not %.8s)", adapter_file_path(r->start), trained_on, r->weights_hash);
  log_detail("starts from %s (%.8s)%s", adapter_file_path(r->start), r->start_hash, has_head ? ", with its task head" : "; the task head starts anew");
  adapter_file_close(r->start);
  r->start = NULL;
  return ERROR_NONE;
}
