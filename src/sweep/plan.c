#include "sweep/plan.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/text.h"
#include "store/provenance.h"
#include "store/runfile.h"
#include "sweep/attempts.h"
#include "sweep/claim.h"
#include "sweep/count.h"
#include "sweep/plan_private.h"
#include "train/identity.h"
#include "train/metrics.h"

const char *const plan_state_names[PLAN_STATES] = {"done", "stale", "running", "stopped", "interrupted", "failed", "waiting", "missing"};

/* ---- naming ---- */

static int keep(plan *p, const char *text, const char **kept) {
  char *copy;
  TRY(arena_copy_text(p->memory->arena, text, &copy));
  *kept = copy;
  return ERROR_NONE;
}

/* What people call it by, and what it takes of a machine. */
static int describe(plan *p, plan_run *entry, const config *c) {
  entry->seed = c->seed;
  entry->threads = c->threads;
  TRY(keep(p, c->task.name, &entry->task));
  TRY(keep(p, c->method.name, &entry->method));
  return keep(p, c->model.name, &entry->model);
}

/* A count reads no weights: the model is its name, which is no part of a training's identity. */
static int identify_count(const config *c, char id[HASH_TEXT_BYTES]) {
  hash *h;
  TRY(hash_create(&h));
  hash_add_text(h, id);
  hash_add_text(h, c->model.name);
  hash_finish(h, id);
  return ERROR_NONE;
}

/* Ranks and threads as the run will have them. Names go into a file's: letters, digits and a few signs remain. */
static int name_run(plan *p, plan_run *entry) {
  config *c;
  char task[64];
  TRY(study_compose(p->study, entry->asked, entry->tuned_value, &c));
  int code = identity_request(c, entry->asked->ranks, entry->id);
  if (!code && p->study->action == STUDY_COUNT) code = identify_count(c, entry->id);
  const char *slash = strrchr(c->task.data, '/'), *data = slash ? slash + 1 : c->task.data;
  snprintf(task, sizeof task, "%.63s", *c->task.name ? c->task.name : *data ? data : "task");
  if (strlen(task) > 3 && !strcmp(task + strlen(task) - 3, ".h5")) task[strlen(task) - 3] = 0;
  for (char *letter = task; *letter; letter++)
    if (!isalnum((unsigned char)*letter) && !strchr("-_.", *letter)) *letter = '-';
  if (!code)
    code = text_format(entry->name, sizeof entry->name, "%s-%.60s%s-s%lld-%.8s", task, c->method.name, entry->asked->role == STUDY_TRIAL ? "-trial" : "",
                       (long long)c->seed, entry->id);
  if (!code) code = describe(p, entry, c);
  config_destroy(c);
  return code;
}

/* Equal configurations are one run. A table from ids to places, open addressing. */
static int place_of(const plan *p, const char *id) {
  uint64_t at = 0;
  for (int i = 0; i < 16; i++) at = at * 31 + (unsigned char)id[i];
  for (at %= (uint64_t)p->memory->slots; p->memory->slot[at] >= 0 && strcmp(p->runs[p->memory->slot[at]].id, id); at = (at + 1) % (uint64_t)p->memory->slots)
    continue;
  return (int)at;
}

int plan_find(const plan *p, const char *id) { return p->memory->slot[place_of(p, id)]; }

static void enter(plan *p, int index) {
  int slot = place_of(p, p->runs[index].id), first = p->memory->slot[slot];
  if (first < 0) p->memory->slot[slot] = index;
  p->runs[index].same_as = first < 0 || first == index ? -1 : first;
}

/* ---- one run ---- */

static void set_reason(plan_run *entry, const char *text) {
  snprintf(entry->reason, sizeof entry->reason, "%.*s", PLAN_REASON_BYTES - 1, text);
  text_clean(entry->reason);
}

static plan_state state_of_finished(const plan_run *entry) { return strcmp(entry->outcome.source_hash, provenance_source_hash()) ? PLAN_STALE : PLAN_DONE; }

/* A finished file that was not read before. */
static void read_outcome(plan_run *entry, const char *path, const struct stat *status) {
  enum { KIND, ID, EXPERIMENT, RUN, SOURCE, METRIC, VALIDATION, TEST, TRAIN_S, RATE, TOKENS, QUESTIONS };
  runfile_question q[QUESTIONS] = {
      [KIND] = {.where = "", .name = "status", .type = FIELD_TEXT},
      [ID] = {.where = "", .name = "request_id", .type = FIELD_TEXT},
      [EXPERIMENT] = {.where = "", .name = "experiment_id", .type = FIELD_TEXT},
      [RUN] = {.where = "", .name = "run_id", .type = FIELD_TEXT},
      [SOURCE] = {.where = "provenance", .name = "source_hash", .type = FIELD_TEXT},
      [METRIC] = {.where = "result", .name = "metric", .type = FIELD_TEXT},
      [VALIDATION] = {.where = "result", .name = "validation_metric", .type = FIELD_DOUBLE},
      [TEST] = {.where = "result", .name = "test_metric", .type = FIELD_DOUBLE},
      [TRAIN_S] = {.where = "result", .name = "train_s", .type = FIELD_DOUBLE},
      [RATE] = {.where = "result", .name = "tokens_per_s", .type = FIELD_DOUBLE},
      [TOKENS] = {.where = "result", .name = "tokens", .type = FIELD_INT64},
  };
  plan_outcome *o = &entry->outcome;
  *o = (plan_outcome){.validation = NAN, .test = NAN, .train_s = NAN, .tokens_per_s = NAN};
  entry->is_known = 0;
  entry->state = PLAN_FAILED;
  if (runfile_read_attributes(path, q, QUESTIONS)) {
    set_reason(entry, error_last()->text);
    return;
  }
  if (!q[KIND].found || strcmp(q[KIND].text, "complete")) {
    set_reason(entry, "its file is not complete");
    return;
  }
  if (!q[ID].found || strcmp(q[ID].text, entry->id)) {
    set_reason(entry, "its file holds another configuration");
    return;
  }
  const struct {
    char *to;
    size_t bytes;
    int from;
  } texts[] = {{o->experiment_id, sizeof o->experiment_id, EXPERIMENT},
               {o->run_id, sizeof o->run_id, RUN},
               {o->source_hash, sizeof o->source_hash, SOURCE},
               {o->metric, sizeof o->metric, METRIC}};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    snprintf(texts[i].to, texts[i].bytes, "%.*s", (int)texts[i].bytes - 1, q[texts[i].from].found ? q[texts[i].from].text : "");
    text_clean(texts[i].to);
  }
  if (q[VALIDATION].found) o->validation = q[VALIDATION].real;
  if (q[TEST].found) o->test = q[TEST].real;
  if (q[TRAIN_S].found) o->train_s = q[TRAIN_S].real;
  if (q[RATE].found) o->tokens_per_s = q[RATE].real;
  o->tokens = q[TOKENS].found ? q[TOKENS].whole : 0;
  o->bytes = (int64_t)status->st_size;
  o->written_ns = plan_written_ns(status);
  entry->is_known = 1;
  entry->state = state_of_finished(entry);
}

int64_t plan_written_ns(const struct stat *status) { return (int64_t)status->st_mtim.tv_sec * 1000000000 + status->st_mtim.tv_nsec; }

/* 1: there is a finished file. */
static int look_at_file(plan_run *entry, const char *path) {
  struct stat status;
  if (stat(path, &status)) return 0;
  entry->archived = 0;
  if (entry->is_known && entry->outcome.bytes == (int64_t)status.st_size && entry->outcome.written_ns == plan_written_ns(&status))
    entry->state = state_of_finished(entry);
  else read_outcome(entry, path, &status);
  return 1;
}

static void look_at_attempts(plan_run *entry, const char *path) {
  attempts tried;
  attempts_read(path, &tried);
  entry->attempts = tried.count;
  entry->state = PLAN_MISSING;
  if (tried.last == ATTEMPT_NONE) return;
  set_reason(entry, tried.reason);
  switch (tried.last) {
    case ATTEMPT_STOPPED: entry->state = PLAN_STOPPED; break;
    case ATTEMPT_KILLED:
      entry->state = tried.killed_in_row < ATTEMPTS_KILLED ? PLAN_KILLED : PLAN_FAILED;
      if (entry->state == PLAN_FAILED) snprintf(entry->reason, sizeof entry->reason, "killed %d times in a row", tried.killed_in_row);
      break;
    default: entry->state = PLAN_FAILED; entry->diverged = tried.last == ATTEMPT_DIVERGED;
  }
}

void plan_look_at(plan *p, plan_run *entry) {
  char path[PLAN_PATH_BYTES];
  claim_view view;
  if (!*entry->id) return;
  entry->reason[0] = 0;
  entry->diverged = 0;
  entry->done = entry->steps = 0;
  if (plan_path(p, entry, path)) {
    entry->state = PLAN_FAILED;
    set_reason(entry, error_last()->text);
    return;
  }
  if (look_at_file(entry, path)) return;
  if (entry->archived) {
    entry->state = state_of_finished(entry);
    return;
  }
  entry->is_known = 0;
  claim_look(path, &view);
  if (view.state == CLAIM_HELD && !view.is_ours) {
    entry->state = PLAN_RUNNING;
    set_reason(entry, view.owner);
    entry->done = view.done;
    entry->steps = view.steps;
    return;
  }
  look_at_attempts(entry, path);
  /* It may have been finished, and given back, between the first look and this one. */
  if (entry->state == PLAN_MISSING || entry->state == PLAN_KILLED) look_at_file(entry, path);
}

/* ---- choosing among trials ---- */

static int is_finished(const plan_run *entry) { return entry->state == PLAN_DONE || entry->state == PLAN_STALE; }

static double number_of(const plan_run *trial) {
  double value = NAN;
  return text_to_double(trial->asked->tuned_value, &value) ? NAN : value;
}

static int is_better(const plan_run *a, const plan_run *b) {
  int kind = METRICS_ACCURACY;
  for (int i = 0; i < METRICS_COUNT; i++)
    if (!strcmp(metric_names[i], a->outcome.metric)) kind = i;
  double x = a->outcome.validation, y = b->outcome.validation;
  if (x == y) return number_of(a) < number_of(b);
  return metrics_better((metric_kind)kind, x, y);
}

/* The best trial of a group; NULL: not known yet, or (*lost) none ended. A trial that diverged has had its say; one that failed otherwise has not. */
static const plan_run *choose(const plan *p, const study_group *group, int *lost, const plan_run **missing) {
  const plan_run *best = NULL;
  *missing = NULL;
  for (int i = 0; i < group->trial_count; i++) {
    const plan_run *trial = &p->runs[group->first_trial + i];
    if (trial->same_as >= 0) trial = &p->runs[trial->same_as];
    if (trial->state == PLAN_FAILED && trial->diverged) continue;
    if (!is_finished(trial)) {
      if (!*missing || trial->state == PLAN_FAILED) *missing = trial;
      continue;
    }
    if (!best || is_better(trial, best)) best = trial;
  }
  *lost = !best && !*missing;
  return *missing ? NULL : best;
}

/* A run proper of a tuned group gets its value and name, or a reason to wait. */
static int settle_tuned(plan *p, plan_run *entry, int index) {
  const plan_run *missing;
  int lost;
  const plan_run *best = choose(p, &p->study->groups[entry->asked->group], &lost, &missing);
  const char *value = best ? best->asked->tuned_value : "";
  if (best && *entry->id && !strcmp(entry->tuned_value, value)) return ERROR_NONE;
  entry->tuned_value = value;
  entry->same_as = -1;
  entry->id[0] = entry->name[0] = 0;
  entry->is_known = entry->archived = 0;
  entry->state = lost ? PLAN_FAILED : PLAN_WAITING;
  entry->reason[0] = 0;
  entry->is_stuck = missing && missing->state == PLAN_FAILED;
  if (lost) set_reason(entry, "all trials of its group diverged");
  if (missing) {
    snprintf(entry->reason, sizeof entry->reason, "for the trial %.120s%s", missing->asked->label, entry->is_stuck ? ", which failed" : "");
    text_clean(entry->reason); /* a letter may be cut */
  }
  if (!best) return ERROR_NONE;
  TRY(name_run(p, entry));
  enter(p, index);
  plan_recall(p, index);
  return ERROR_NONE;
}

static int is_tuned(const study_run *asked) { return asked->role == STUDY_RUN && asked->group >= 0; }

int plan_look(plan *p) {
  if (p->study->action == STUDY_COUNT) count_look(p);
  for (int i = 0; i < p->count && p->study->action == STUDY_TRAIN; i++)
    if (!is_tuned(p->runs[i].asked)) plan_look_at(p, &p->runs[i]);
  for (int i = 0; i < p->count; i++)
    if (is_tuned(p->runs[i].asked)) {
      TRY(settle_tuned(p, &p->runs[i], i));
      plan_look_at(p, &p->runs[i]);
    }
  memset(p->counts, 0, sizeof p->counts);
  p->distinct = 0;
  for (int i = 0; i < p->count; i++) {
    plan_run *entry = &p->runs[i];
    if (entry->same_as >= 0) continue;
    p->counts[entry->state]++;
    p->distinct++;
  }
  return ERROR_NONE;
}

/* ---- the whole ---- */

int plan_is_open(const plan_run *entry) {
  return entry->same_as < 0 && (entry->state == PLAN_MISSING || entry->state == PLAN_STOPPED || entry->state == PLAN_KILLED);
}

int plan_path(const plan *p, const plan_run *entry, char path[PLAN_PATH_BYTES]) {
  return text_format(path, PLAN_PATH_BYTES, "%s/runs/%s.h5", p->results, entry->name);
}

int plan_compose(const plan *p, const plan_run *entry, config **result) {
  char directory[PLAN_PATH_BYTES];
  TRY(text_format(directory, sizeof directory, "%s/runs", p->results));
  TRY(study_compose(p->study, entry->asked, entry->tuned_value, result));
  int code = config_assign(*result, "output.dir", directory, "sweep");
  if (!code) code = config_assign(*result, "output.name", entry->name, "sweep");
  if (code) config_destroy(*result);
  return code;
}

static int name_all(plan *p) {
  for (int i = 0; i < p->count; i++) {
    plan_run *entry = &p->runs[i];
    *entry = (plan_run){.asked = &p->study->runs[i], .tuned_value = "", .model = "", .task = "", .method = "", .same_as = -1, .state = PLAN_WAITING};
    if (is_tuned(entry->asked)) {
      config *c; /* names for the status, while it waits */
      TRY(study_compose(p->study, entry->asked, NULL, &c));
      int code = describe(p, entry, c);
      config_destroy(c);
      TRY(code);
      continue;
    }
    TRY(name_run(p, entry));
    enter(p, i);
  }
  return ERROR_NONE;
}

static int fill(plan *p, const plan_request *request) {
  TRY(study_read(&request->study, &p->study));
  if (request->results) TRY(text_format(p->results, sizeof p->results, "%s", request->results));
  else TRY(text_format(p->results, sizeof p->results, "results/%s", p->study->name));
  p->count = p->study->run_count;
  TRY(arena_take(p->memory->arena, (size_t)p->count, sizeof *p->runs, &p->runs));
  p->memory->slots = 2 * p->count + 1;
  TRY(arena_take(p->memory->arena, (size_t)p->memory->slots, sizeof *p->memory->slot, &p->memory->slot));
  for (int i = 0; i < p->memory->slots; i++) p->memory->slot[i] = -1;
  TRY(plan_load(p));
  TRY(name_all(p));
  for (int i = 0; i < p->count; i++) plan_recall(p, i);
  return plan_look(p);
}

int plan_create(const plan_request *request, plan **result) {
  *result = NULL;
  plan *p = calloc(1, sizeof *p);
  struct plan_memory *memory = calloc(1, sizeof *memory);
  int code = p && memory ? ERROR_NONE : FAIL(ERROR_MEMORY, NULL, "out of memory");
  if (!code) code = arena_create(&memory->arena);
  if (code) {
    free(memory);
    free(p);
    return code;
  }
  p->memory = memory;
  code = fill(p, request);
  if (code) plan_destroy(p);
  else *result = p;
  return code;
}

void plan_destroy(plan *p) {
  if (!p) return;
  study_destroy(p->study);
  arena_destroy(p->memory->arena);
  free(p->memory);
  free(p);
}
