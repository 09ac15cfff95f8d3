#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "cmd/cmd.h"
#include "cmd/trained.h"
#include "store/file.h"

static const char *class_name(const run *r, float prediction) {
  int index = (int)prediction;
  return r->data->class_names && index < r->data->class_count ? r->data->class_names[index] : "";
}

static void print_tsv(FILE *file, const run *r, const split *s, const predictions *p) {
  int classes = r->config->task.objective == OBJECTIVE_CLASSIFY;
  fprintf(file, "example\tlabel\tprediction%s", classes ? "\tclass" : "");
  for (int j = 0; classes && j < p->classes; j++) fprintf(file, "\tlogit_%d", j);
  fputc('\n', file);
  for (int64_t i = 0; i < p->count; i++) {
    fprintf(file, "%lld\t%.9g\t%.9g", (long long)s->example[i], (double)s->label[i], (double)p->prediction[i]);
    if (classes) fprintf(file, "\t%s", class_name(r, p->prediction[i]));
    for (int j = 0; classes && j < p->classes; j++) fprintf(file, "\t%.9g", (double)p->outputs[i * p->classes + j]);
    fputc('\n', file);
  }
}

static void print_json(FILE *file, const run *r, const split *s, const predictions *p) {
  int classes = r->config->task.objective == OBJECTIVE_CLASSIFY;
  for (int64_t i = 0; i < p->count; i++) { /* one object a line: large splits need no memory twice */
    cJSON *o = cJSON_CreateObject();
    char id[24];
    snprintf(id, sizeof id, "%lld", (long long)s->example[i]);
    cJSON_AddRawToObject(o, "example", id);
    cJSON_AddNumberToObject(o, "label", (double)s->label[i]);
    cJSON_AddNumberToObject(o, "prediction", (double)p->prediction[i]);
    if (classes) {
      cJSON *logits = cJSON_AddArrayToObject(o, "logits");
      cJSON_AddStringToObject(o, "class", class_name(r, p->prediction[i]));
      for (int j = 0; j < p->classes; j++) cJSON_AddItemToArray(logits, cJSON_CreateNumber((double)p->outputs[i * p->classes + j]));
    }
    char *text = cJSON_PrintUnformatted(o);
    fprintf(file, "%s\n", text ? text : "{}");
    free(text);
    cJSON_Delete(o);
  }
}

static int print_all(const run *r, split_name which, const predictions *p, const char *out, int json) {
  char *bytes = NULL;
  size_t count = 0;
  FILE *file = *out ? open_memstream(&bytes, &count) : stdout;
  if (!file) return FAIL(ERROR_MEMORY, NULL, "out of memory");
  (json ? print_json : print_tsv)(file, r, &r->data->splits[which], p);
  if (!*out) return fflush(stdout) ? FAIL(ERROR_SYSTEM, NULL, "standard output: %s", strerror(errno)) : ERROR_NONE;
  int code = fclose(file) ? FAIL(ERROR_MEMORY, NULL, "out of memory") : file_write_atomic(out, bytes, count);
  free(bytes);
  return code;
}

static int act(comm *c, int argc, char **argv) {
  int json = 0;
  const char *split_text = "test", *out = "", *adapter_path = NULL;
  const flag flags[] = {{"split", &split_text, NULL}, {"out", &out, NULL}, {"adapter", &adapter_path, NULL}, {"json", NULL, &json}};
  arguments a;
  split_name which = SPLIT_TEST;
  evaluation e;
  predictions p = {0};
  run *r = NULL;
  int code = arguments_parse("predict", argc, argv, flags, 4, &a);
  if (!code) code = trained_check_words("predict", adapter_path, &a);
  if (!code) code = trained_split(split_text, &which);
  TRY(comm_agree(c, code));
  TRY(trained_open(c, adapter_path, &a, which, &r));
  if (model_output_count(r->model) == 0)
    code = FAIL(ERROR_USAGE, NULL, "%s: masked language modelling has no predictions per example", adapter_path ? adapter_path : a.words[0]);
  if (!code) code = run_evaluate(r, r->chosen, which, &e, &p);
  if (!code && comm_rank(c) == 0) code = print_all(r, which, &p, out, json);
  code = comm_agree(c, code);
  predictions_free(&p);
  run_destroy(r);
  return code;
}

const verb verb_predict = {"predict", "write a run's prediction for every example of a split",
                           "usage: [mpirun -np N] peftscale predict RUN.h5 [--split train|validation|test] [--out FILE] [section.key=value ...] [--json]\n"
                           "\n"
                           "One line per example: id, label, prediction, class name and logits (classification) as TSV, or with --json one JSON\n"
                           "object a line. Another data set with the same classes: task.data=FILE.h5.\n"
                           "\n"
                           "  --adapter FILE   of an adapter file instead: peftscale predict --adapter FILE model=NAME task=NAME\n"
                           "\n"
                           "example:\n"
                           "  peftscale predict results/runs/trec6-lora-s1-0a1b2c3d.h5 --split test --out predictions.tsv\n",
                           1, act};
