#include "cmd/trained.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"

int trained_split(const char *name, split_name *which) {
  for (int s = 0; s < SPLIT_COUNT; s++)
    if (!strcmp(name, split_names[s])) {
      *which = (split_name)s;
      return ERROR_NONE;
    }
  return FAIL(ERROR_USAGE, "one of: train, validation, test", "there is no split '%s'", name);
}

int trained_check_words(const char *verb_name, const char *adapter_path, const arguments *a) {
  char hint[64];
  snprintf(hint, sizeof hint, "see: peftscale %s --help", verb_name);
  if (adapter_path || a->word_count == 1) return ERROR_NONE; /* beside an adapter, words are study files */
  return FAIL(ERROR_USAGE, hint, "%s takes one run file, not %d", verb_name, a->word_count);
}

static int check_split(const run *r, int which) {
  if (which == ANY_SPLIT || r->data->splits[which].count > 0) return ERROR_NONE;
  return FAIL(ERROR_INPUT, NULL, "%s: split %s has no examples", r->data->path, split_names[which]);
}

/* ---- of a run file ---- */

/* A partial file holds a theta, too, but not one to trust. */
static int check_complete(const char *path) {
  char *status;
  TRY(runfile_read_attribute_text(path, "", "status", &status));
  int code = strcmp(status, "complete") ? FAIL(ERROR_INPUT, NULL, "%s: its training has not been completed (%s)", path, status) : ERROR_NONE;
  free(status);
  return code;
}

/* What a run file holds of the trained model. */
typedef struct kept_numbers {
  float *theta;
  int64_t count;
  char *weights, *start; /* hashes; start NULL: it began with nothing */
} kept_numbers;

static void free_numbers(kept_numbers *k) {
  free(k->theta);
  free(k->weights);
  free(k->start);
}

static int read_run(const char *path, const arguments *a, config **conf, kept_numbers *k) {
  TRY(check_complete(path));
  for (int i = 0; i < a->assignment_count; i++)
    if (!strncmp(a->assignments[i], "seed=", 5)) return FAIL(ERROR_USAGE, NULL, "%s: the seed belongs to the run and cannot be changed", a->assignments[i]);
  TRY(restore_arguments(path, a, conf));
  if (!runfile_has(path, "theta")) return FAIL(ERROR_INPUT, "train with output.theta=true", "%s: it holds no trained numbers (theta)", path);
  TRY(runfile_read_floats(path, "theta", &k->theta, &k->count));
  TRY(runfile_read_attribute_text(path, "provenance", "weights_hash", &k->weights));
  error kept = *error_last(); /* a question, not a failure: most runs start from nothing */
  if (runfile_read_attribute_text(path, "provenance", "start_hash", &k->start)) error_restore(&kept);
  return ERROR_NONE;
}

static int take_run(const char *path, run *r, const kept_numbers *k, int which) {
  if (k->count != r->theta_count)
    return FAIL(ERROR_INPUT, NULL, "%s: theta has %lld numbers, this model and method need %lld", path, (long long)k->count, (long long)r->theta_count);
  if (strcmp(k->weights, r->weights_hash))
    return FAIL(ERROR_INPUT, "give the backbone it was trained on: model.path=DIRECTORY", "%s: it was trained on other base weights (%.8s, not %.8s)", path,
                k->weights, r->weights_hash);
  if (*r->start_hash && k->start && strcmp(k->start, r->start_hash))
    return FAIL(ERROR_INPUT, "give the file it started from: train.start=FILE", "%s: its frozen numbers came from another file (%.8s, not %.8s)", path,
                k->start, r->start_hash);
  for (int64_t i = 0; i < k->count; i++)
    if (!isfinite(k->theta[i])) return FAIL(ERROR_INPUT, NULL, "%s: theta holds a number that is not finite", path);
  TRY(check_split(r, which));
  memcpy(r->chosen, k->theta, (size_t)k->count * sizeof *k->theta);
  return ERROR_NONE;
}

static int open_run(comm *c, const char *path, const arguments *a, int which, run **result) {
  config *conf = NULL;
  kept_numbers k = {0};
  int code = comm_agree(c, read_run(path, a, &conf, &k));
  if (code) config_destroy(conf);
  else code = run_create(c, conf, 0, result);
  if (!code) code = comm_agree(c, take_run(path, *result, &k, which));
  free_numbers(&k);
  return code;
}

/* ---- of an adapter file ---- */

/* Another method's keys would only be found strange, not wrong. */
static int check_method(const adapter_file *f, const arguments *a) {
  static const char *const keys[] = {"method=", "method.name="};
  const char *own = adapter_file_note(f, "method");
  for (int i = 0; i < a->assignment_count; i++)
    for (int k = 0; k < 2; k++)
      if (!strncmp(a->assignments[i], keys[k], strlen(keys[k])) && strcmp(a->assignments[i] + strlen(keys[k]), own))
        return FAIL(ERROR_USAGE, "leave it out: the file names its method", "%s: it holds an adapter of method %s, not %.60s", adapter_file_path(f), own,
                    a->assignments[i] + strlen(keys[k]));
  return ERROR_NONE;
}

int trained_compose(const adapter_file *f, const arguments *a, config **result) {
  const char *words[ADAPTER_WORDS_MAX];
  char start[4200];
  arguments all = *a;
  arena *memory;
  int own = 0;
  TRY(check_method(f, a));
  TRY(arena_create(&memory));
  int code = adapter_file_words(f, memory, words, &own);
  if (!code) code = text_format(start, sizeof start, "train.start=%s", adapter_file_path(f));
  if (!code && own + 1 + a->assignment_count > ARGUMENTS_MAX) code = FAIL(ERROR_USAGE, NULL, "too many arguments");
  if (!code) { /* the file's words first: what contradicts them is found, and named, when the model is compared with the file */
    all.assignment_count = 0;
    for (int i = 0; i < own; i++) all.assignments[all.assignment_count++] = words[i];
    all.assignments[all.assignment_count++] = start;
    for (int i = 0; i < a->assignment_count; i++) all.assignments[all.assignment_count++] = a->assignments[i];
    code = compose_arguments(&all, result);
  }
  arena_destroy(memory);
  return code;
}

static int take_adapter(const adapter_file *f, run *r, int which) {
  int has_head = 0;
  const char *trained_on = adapter_file_note(f, "model.weights_hash");
  TRY(adapter_file_fit(f, r->model, 0));
  if (*trained_on && strcmp(trained_on, r->weights_hash))
    return FAIL(ERROR_INPUT, "give the backbone it was trained on: model.path=DIRECTORY", "%s: it was trained on other base weights (%.8s, not %.8s)",
                adapter_file_path(f), trained_on, r->weights_hash);
  memcpy(r->chosen, r->theta, (size_t)r->theta_count * sizeof *r->theta);
  TRY(adapter_file_load(f, r->model, r->chosen, &has_head));
  if (which != ANY_SPLIT && !has_head)
    return FAIL(ERROR_INPUT, "train one: train.start=FILE", "%s: it holds no task head for this data set, pooling and head", adapter_file_path(f));
  return check_split(r, which);
}

static int open_adapter(comm *c, const char *path, const arguments *a, int which, run **result) {
  adapter_file *f = NULL;
  config *conf = NULL;
  int code = adapter_file_open(path, &f);
  if (!code) code = trained_compose(f, a, &conf);
  code = comm_agree(c, code);
  if (code) config_destroy(conf);
  else code = run_create(c, conf, 0, result);
  if (!code) code = comm_agree(c, take_adapter(f, *result, which));
  adapter_file_close(f);
  return code;
}

/* Each rank has read its own copy of the file, which may be on its node alone. */
static int check_same_numbers(comm *c, const run *r, const char *path) {
  char digits[HASH_TEXT_BYTES];
  int same;
  hash_bytes(r->chosen, (size_t)r->theta_count * sizeof *r->chosen, digits);
  TRY(comm_same_text(c, digits, &same));
  return same ? ERROR_NONE : FAIL(ERROR_INPUT, "give all ranks equal copies of it", "%s: the ranks read different trained numbers", path);
}

int trained_open(comm *c, const char *adapter_path, const arguments *a, int which, run **result) {
  *result = NULL;
  int code = adapter_path ? open_adapter(c, adapter_path, a, which, result) : open_run(c, a->words[0], a, which, result);
  if (!code) code = check_same_numbers(c, *result, adapter_path ? adapter_path : a->words[0]);
  if (code && *result) {
    run_destroy(*result);
    *result = NULL;
  }
  return code;
}
