#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>

#include "base/error.h"
#include "cmd/cmd.h"
#include "cmd/trained.h"

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
    if (json) add_json_number(o, metric_names[i], e->metrics.value[i]);
    else printf("  %-9s %.6f%s\n", metric_names[i], e->metrics.value[i], (int)r->metric == i ? "  (the task's metric)" : "");
  }
  if (!json) return;
  print_json_object(o);
}

static int act(comm *c, int argc, char **argv) {
  int json = 0;
  const char *split_text = "test", *adapter_path = NULL;
  const flag flags[] = {{"split", &split_text, NULL}, {"adapter", &adapter_path, NULL}, {"json", NULL, &json}};
  arguments a;
  split_name which = SPLIT_TEST;
  evaluation e;
  run *r = NULL;
  int code = arguments_parse("evaluate", argc, argv, flags, 3, &a);
  if (!code) code = trained_check_words("evaluate", adapter_path, &a);
  if (!code) code = trained_split(split_text, &which);
  TRY(comm_agree(c, code));
  TRY(trained_open(c, adapter_path, &a, which, &r));
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
                            "  --adapter FILE   evaluate an adapter file instead, on the model and the task that the words name; method and options\n"
                            "                   are the file's: peftscale evaluate --adapter FILE model=NAME task=NAME\n"
                            "\n"
                            "example:\n"
                            "  mpirun -np 2 peftscale evaluate results/runs/trec6-lora-s1-0a1b2c3d.h5 --split test\n",
                            1, act};
