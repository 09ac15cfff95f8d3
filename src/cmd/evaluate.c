#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "cmd/cmd.h"
#include "cmd/trained.h"

/* A partial file holds a theta, too, but not one to trust. */
static int check_complete(const char *path) {
  char *status;
  TRY(runfile_read_attribute_text(path, "", "status", &status));
  int code = strcmp(status, "complete") ? FAIL(ERROR_INPUT, NULL, "%s: its training has not been completed (%s)", path, status) : ERROR_NONE;
  free(status);
  return code;
}

int trained_open(comm *c, const char *path, const arguments *a, split_name which, run **result) {
  config *conf = NULL;
  float *theta = NULL;
  int64_t count = 0;
  char *weights = NULL;
  *result = NULL;
  int code = check_complete(path);
  for (int i = 0; i < a->assignment_count && !code; i++)
    if (!strncmp(a->assignments[i], "seed=", 5)) code = FAIL(ERROR_USAGE, NULL, "%s: the seed belongs to the run and cannot be changed", a->assignments[i]);
  if (!code) code = restore_arguments(path, a, &conf);
  if (!code && !runfile_has(path, "theta")) code = FAIL(ERROR_INPUT, "train with output.theta=true", "%s: it holds no trained numbers (theta)", path);
  if (!code) code = runfile_read_floats(path, "theta", &theta, &count);
  if (!code) code = runfile_read_attribute_text(path, "provenance", "weights_hash", &weights);
  code = comm_agree(c, code);
  if (code) config_destroy(conf);
  else code = run_create(c, conf, 0, result);
  run *r = *result;
  if (!code && count != r->theta_count)
    code = FAIL(ERROR_INPUT, NULL, "%s: theta has %lld numbers, this model and method need %lld", path, (long long)count, (long long)r->theta_count);
  if (!code && strcmp(weights, r->weights_hash))
    code = FAIL(ERROR_INPUT, "give the backbone it was trained on: model.path=DIRECTORY", "%s: it was trained on other base weights (%.8s, not %.8s)", path,
                weights, r->weights_hash);
  for (int64_t i = 0; !code && i < count; i++)
    if (!isfinite(theta[i])) code = FAIL(ERROR_INPUT, NULL, "%s: theta holds a number that is not finite", path);
  if (!code && r->data->splits[which].count == 0) code = FAIL(ERROR_INPUT, NULL, "%s: split %s has no examples", r->data->path, split_names[which]);
  if (!code) memcpy(r->chosen, theta, (size_t)count * sizeof *theta);
  free(theta);
  free(weights);
  if (!r) return code;
  code = comm_agree(c, code);
  if (code) {
    run_destroy(r);
    *result = NULL;
  }
  return code;
}

int trained_split(const char *name, split_name *which) {
  for (int s = 0; s < SPLIT_COUNT; s++)
    if (!strcmp(name, split_names[s])) {
      *which = (split_name)s;
      return ERROR_NONE;
    }
  return FAIL(ERROR_USAGE, "one of: train, validation, test", "there is no split '%s'", name);
}

/* With all its digits: cJSON's own number drops the last ones. */
static void add_number(cJSON *o, const char *name, double value) {
  char text[32];
  snprintf(text, sizeof text, "%.17g", value);
  cJSON_AddRawToObject(o, name, isfinite(value) ? text : "null");
}

static void print_values(const run *r, split_name which, const evaluation *e, int json) {
  cJSON *o = json ? cJSON_CreateObject() : NULL;
  if (json) {
    cJSON_AddStringToObject(o, "split", split_names[which]);
    cJSON_AddNumberToObject(o, "count", (double)e->count);
    cJSON_AddStringToObject(o, "metric", metric_names[r->metric]);
  } else {
    printf("%s: %lld examples\n", split_names[which], (long long)e->count);
  }
  for (int i = 0; i < METRICS_COUNT; i++) {
    if (isnan(e->metrics.value[i])) continue;
    if (json) add_number(o, metric_names[i], e->metrics.value[i]);
    else printf("  %-9s %.6f%s\n", metric_names[i], e->metrics.value[i], (int)r->metric == i ? "  (the task's metric)" : "");
  }
  if (!json) return;
  print_json_object(o);
}

static int act(comm *c, int argc, char **argv) {
  int json = 0;
  const char *split_text = "test";
  const flag flags[] = {{"split", &split_text, NULL}, {"json", NULL, &json}};
  arguments a;
  split_name which = SPLIT_TEST;
  evaluation e;
  run *r = NULL;
  int code = arguments_parse("evaluate", argc, argv, flags, 2, &a);
  if (!code && a.word_count != 1) code = FAIL(ERROR_USAGE, "see: peftscale evaluate --help", "evaluate takes one run file, not %d", a.word_count);
  if (!code) code = trained_split(split_text, &which);
  TRY(comm_agree(c, code));
  TRY(trained_open(c, a.words[0], &a, which, &r));
  code = run_evaluate(r, r->chosen, which, &e, NULL);
  if (!code && comm_rank(c) == 0) print_values(r, which, &e, json);
  run_destroy(r);
  return code;
}

const verb verb_evaluate = {"evaluate", "evaluate a run's trained numbers on a split",
                            "usage: [mpirun -np N] peftscale evaluate RUN.h5 [--split train|validation|test] [section.key=value ...] [--json]\n"
                            "\n"
                            "Rebuilds the model of a run file (its configuration, base weights and theta) and evaluates a split of its data set, or\n"
                            "of another one (task.data=FILE.h5). Prints every metric that fits the task.\n"
                            "\n"
                            "example:\n"
                            "  mpirun -np 2 peftscale evaluate results/runs/trec6-lora-s1-0a1b2c3d.h5 --split test\n",
                            1, act};
