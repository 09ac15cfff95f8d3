#include "sweep/cost.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/text.h"
#include "data/dataset.h"
#include "store/runfile.h"
#include "train/run.h"

enum { MAX_INPUTS = 256 };

/* A data set or model that some run names. */
typedef struct input {
  const char *name;
  int is_model, is_there;
  int64_t examples, tokens; /* of a data set's training split */
} input;

typedef struct run_cost {
  int64_t tokens;
  int set, model; /* places among the inputs; -1: needs none */
  int like;       /* the first run of its kind: model, method, ranks, threads */
  double rate;    /* tokens a second; NaN: not known */
} run_cost;

struct cost {
  const plan *plan;
  arena *memory;
  run_cost *of; /* [plan->count] */
  input input[MAX_INPUTS];
  int inputs;
};

static void measure(input *s) {
  char path[4096];
  dataset *d;
  if (run_find_file(s->is_model ? "model.path" : "task.data", s->name, s->is_model ? "PEFTSCALE_ASSETS" : "PEFTSCALE_DATA", NULL, path, sizeof path)) return;
  s->is_there = 1;
  if (s->is_model || dataset_open(path, &d)) return; /* one that is damaged is refused by the run, with its reason */
  const split *train = &d->splits[SPLIT_TRAIN];
  s->examples = train->count;
  s->tokens = train->offset[train->count];
  dataset_destroy(d);
}

static int find_input(cost *c, int is_model, const char *name, int *index) {
  char *copy;
  for (*index = 0; *index < c->inputs; ++*index)
    if (c->input[*index].is_model == is_model && !strcmp(c->input[*index].name, name)) return ERROR_NONE;
  if (c->inputs == MAX_INPUTS) return FAIL(ERROR_USAGE, NULL, "a study with more than %d data sets and models", MAX_INPUTS);
  TRY(arena_copy_text(c->memory, name, &copy));
  c->input[c->inputs] = (input){.name = copy, .is_model = is_model};
  measure(&c->input[c->inputs++]);
  return ERROR_NONE;
}

static int count_tokens(cost *c, int index) {
  const plan_run *entry = &c->plan->runs[index];
  run_cost *to = &c->of[index];
  config *conf;
  to->tokens = -1;
  to->set = to->model = -1;
  if (c->plan->study->action != STUDY_TRAIN) return ERROR_NONE;
  TRY(study_compose(c->plan->study, entry->asked, entry->tuned_value, &conf));
  int code = find_input(c, 0, conf->task.data, &to->set);
  if (!code && conf->model.init == INIT_PRETRAINED && *conf->model.path) code = find_input(c, 1, conf->model.path, &to->model);
  const input *s = code ? NULL : &c->input[to->set];
  if (s && s->examples > 0) {
    double mean = (double)s->tokens / (double)s->examples;
    int64_t examples = conf->task.limit > 0 && conf->task.limit < s->examples ? conf->task.limit : s->examples;
    to->tokens = llround(mean * (double)(conf->train.steps > 0 ? conf->train.steps * conf->train.batch : conf->train.epochs * examples));
  }
  config_destroy(conf);
  return code;
}

static int is_alike(const plan_run *a, const plan_run *b) {
  return a->asked->ranks == b->asked->ranks && a->threads == b->threads && !strcmp(a->method, b->method) && !strcmp(a->model, b->model);
}

/* Kinds are few, runs may be a hundred thousand. */
static int find_kinds(cost *c) {
  const plan_run *runs = c->plan->runs;
  int *first, kinds = 0;
  TRY(arena_take(c->memory, (size_t)c->plan->count + 1, sizeof *first, &first));
  for (int i = 0; i < c->plan->count; i++) {
    int k = 0;
    while (k < kinds && !is_alike(&runs[first[k]], &runs[i])) k++;
    if (k == kinds) first[kinds++] = i;
    c->of[i].like = first[k];
  }
  return ERROR_NONE;
}

int cost_create(const plan *p, cost **result) {
  *result = NULL;
  cost *c = calloc(1, sizeof *c);
  if (!c) return FAIL(ERROR_MEMORY, NULL, "out of memory");
  c->plan = p;
  int code = arena_create(&c->memory);
  if (!code) code = arena_take(c->memory, (size_t)p->count + 1, sizeof *c->of, &c->of);
  if (!code) code = find_kinds(c);
  for (int i = 0; !code && i < p->count; i++) code = count_tokens(c, i);
  if (code) {
    cost_destroy(c);
    return code;
  }
  cost_measure(c);
  *result = c;
  return ERROR_NONE;
}

void cost_destroy(cost *c) {
  if (!c) return;
  if (c->memory) arena_destroy(c->memory);
  free(c);
}

static int is_finished(const plan_run *entry) {
  return (entry->state == PLAN_DONE || entry->state == PLAN_STALE) && entry->outcome.train_s > 0 && entry->outcome.tokens > 0;
}

int cost_probe_path(const cost *c, int index, char path[PLAN_PATH_BYTES]) {
  const plan_run *entry = &c->plan->runs[index];
  char kind[160];
  snprintf(kind, sizeof kind, "%.60s-%.60s-%dx%lld", *entry->model ? entry->model : "model", entry->method, entry->asked->ranks, (long long)entry->threads);
  for (char *letter = kind; *letter; letter++)
    if (!isalnum((unsigned char)*letter) && !strchr("-_.", *letter)) *letter = '-';
  return text_format(path, PLAN_PATH_BYTES, "%s/rates/%s.h5", c->plan->results, kind);
}

/* NaN: no steps of its kind were made. */
static double probed_rate(const cost *c, int index) {
  char path[PLAN_PATH_BYTES];
  runfile_question q[] = {{.where = "result", .name = "tokens", .type = FIELD_INT64}, {.where = "result", .name = "step_s", .type = FIELD_DOUBLE}};
  if (cost_probe_path(c, index, path) || access(path, F_OK) || runfile_read_attributes(path, q, 2)) return NAN;
  return q[0].found && q[1].found && q[1].real > 0 ? (double)q[0].whole / q[1].real : NAN;
}

/* Tokens a second of finished runs: of its kind, or of its model where no steps of its kind were made. */
static double rate_of(const cost *c, int index) {
  const plan_run *like = &c->plan->runs[index];
  double tokens[2] = {0, 0}, seconds[2] = {0, 0}; /* of its kind, of its model */
  for (int i = 0; i < c->plan->count; i++) {
    const plan_run *entry = &c->plan->runs[i];
    if (!is_finished(entry) || strcmp(entry->model, like->model) || entry->asked->ranks != like->asked->ranks || entry->threads != like->threads) continue;
    for (int k = strcmp(entry->method, like->method) ? 1 : 0; k < 2; k++) {
      tokens[k] += (double)entry->outcome.tokens;
      seconds[k] += entry->outcome.train_s;
    }
  }
  if (seconds[0] > 0) return tokens[0] / seconds[0];
  double probed = probed_rate(c, index);
  return isfinite(probed) || seconds[1] == 0 ? probed : tokens[1] / seconds[1];
}

int cost_rate_is_known(const cost *c, int index) {
  if (c->of[index].tokens < 0) return 1;
  for (int i = 0; i < c->plan->count; i++)
    if (c->of[i].like == c->of[index].like && is_finished(&c->plan->runs[i])) return 1;
  return isfinite(probed_rate(c, index));
}

void cost_measure(cost *c) {
  for (int i = 0; i < c->plan->count; i++) c->of[i].rate = c->of[i].like < i ? c->of[c->of[i].like].rate : rate_of(c, i);
}

int64_t cost_tokens(const cost *c, int entry) { return c->of[entry].tokens; }
double cost_seconds(const cost *c, int entry) { return c->of[entry].tokens < 0 ? NAN : (double)c->of[entry].tokens / c->of[entry].rate; }

const char *cost_missing_input(const cost *c) {
  for (int i = 0; i < c->plan->count; i++) {
    const plan_run *entry = &c->plan->runs[i];
    const int needs[2] = {c->of[i].model, c->of[i].set};
    for (int k = 0; k < 2 && entry->state != PLAN_DONE && entry->state != PLAN_STALE; k++)
      if (needs[k] >= 0 && !c->input[needs[k]].is_there) return c->input[needs[k]].name;
  }
  return NULL;
}
