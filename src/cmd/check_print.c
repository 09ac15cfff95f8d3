#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cmd/check.h"
#include "cmd/cmd.h"
#include "config/config.h"

enum { WIDTH = 100, INDENT = 4 };

/* ---- text ---- */

/* Bytes of the next piece of a line with room for `room`: up to a space, or what fits of a word that is too long. */
static size_t piece(const char *text, size_t room) {
  if (strlen(text) <= room) return strlen(text);
  for (size_t i = room; i > room / 2; i--)
    if (text[i] == ' ') return i;
  return room;
}

/* `mark` stands before the first line, its width of spaces before the others. */
static void print_wrapped(const char *mark, const char *text) {
  size_t lead = INDENT + strlen(mark);
  printf("%*s%s", INDENT, "", mark);
  for (;;) {
    size_t length = piece(text, WIDTH - lead);
    printf("%.*s\n", (int)length, text);
    text += length + strspn(text + length, " ");
    if (!*text) return;
    printf("%*s", (int)lead, "");
  }
}

static void print_lines(const char *mark, const check_lines *lines) {
  for (const check_line *line = lines->first; line; line = line->next) print_wrapped(mark, line->text);
}

/* Short sentences behind each other; what has no room is counted. */
static void print_joined(const char *mark, const check_lines *lines) {
  char text[1024] = "";
  size_t used = 0;
  int left = lines->count;
  for (const check_line *line = lines->first; line && used + strlen(line->text) + 32 < sizeof text; line = line->next, left--)
    used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", used ? "; " : "", line->text);
  if (left) snprintf(text + used, sizeof text - used, "; and %d more", left);
  if (lines->count) print_wrapped(mark, text);
}

/* The end of a long path tells runs apart. */
static void print_path(const check_run *r, int used) {
  int length = (int)strlen(r->path), room = WIDTH - used;
  if (length <= room) printf("%s\n", r->path);
  else printf("...%s\n", r->path + length - room + 3);
}

static void print_facts(const check_run *r) {
  char text[512], scores[160] = "";
  const config *c = r->config;
  if (c && r->is_complete)
    snprintf(scores, sizeof scores, "; %s: validation %.6g, test %.6g", r->result.metric, r->result.validation_metric, r->result.test_metric);
  if (c)
    snprintf(text, sizeof text, "%.60s, seed %lld, %lld rank%s x %lld thread%s, %s sums, %lld of %lld steps%s", c->method.name, (long long)c->seed,
             (long long)r->provenance.ranks, r->provenance.ranks == 1 ? "" : "s", (long long)r->provenance.threads, r->provenance.threads == 1 ? "" : "s",
             c->reduce == REDUCE_EXACT ? "exact" : "float", (long long)r->step_count, (long long)c->train.steps, scores);
  if (c) print_wrapped("", text);
  snprintf(text, sizeof text, "experiment %.8s, run %.8s, weights %.8s, data %.8s, order %.8s, schedule %.8s, theta %.8s", r->experiment_id, r->run_id,
           r->provenance.weights_hash, r->provenance.dataset_hash, *r->provenance.order_hash ? r->provenance.order_hash : "-",
           *r->provenance.schedule_hash ? r->provenance.schedule_hash : "-", *r->result.theta_hash ? r->result.theta_hash : "-");
  print_wrapped("", text);
}

static const char *verdict(const check_run *r) { return r->reasons.count ? "INVALID" : "VALID"; }

static void print_run(int number, const check_run *r) {
  int used = printf("%2d  %-7s  ", number, verdict(r));
  print_path(r, used);
  if (r->is_read) print_facts(r);
  print_lines("- ", &r->reasons);
  print_lines("note: ", &r->notes);
}

static void print_pair(const check_pair *p) {
  char text[256];
  int is_one = p->relation == CHECK_AGREE || p->relation == CHECK_DIFFER;
  printf("%2d and %d  %s", p->a + 1, p->b + 1, check_relation_names[p->relation]);
  if (is_one) printf(": one experiment, %lld steps compared %s", (long long)p->steps, p->is_bitwise ? "bit for bit" : "to rounding");
  putchar('\n');
  if (is_one && !p->is_bitwise) {
    snprintf(text, sizeof text, "largest distances: loss %.1e, gradient's norm %.1e, scores %.1e", p->loss, p->norm, p->scores);
    print_wrapped("", text);
  }
  print_lines("- ", &p->differences);
  print_joined("may differ: ", &p->listed);
  print_lines("note: ", &p->notes);
}

void check_print_text(const check_report *r) {
  for (int i = 0; i < r->run_count; i++) print_run(i + 1, &r->runs[i]);
  if (r->pair_count) putchar('\n');
  for (int i = 0; i < r->pair_count; i++) print_pair(&r->pairs[i]);
}

/* ---- JSON ---- */

static void add_lines(cJSON *o, const char *name, const check_lines *lines) {
  cJSON *list = cJSON_AddArrayToObject(o, name);
  for (const check_line *line = lines->first; line; line = line->next) cJSON_AddItemToArray(list, cJSON_CreateString(line->text));
}

static void add_text(cJSON *o, const char *name, const char *text) {
  if (text && *text) cJSON_AddStringToObject(o, name, text);
  else cJSON_AddNullToObject(o, name);
}

static void add_count(cJSON *o, const char *name, int64_t value, int known) {
  char text[24];
  snprintf(text, sizeof text, "%lld", (long long)value);
  cJSON_AddRawToObject(o, name, known ? text : "null");
}

static void add_hashes(cJSON *o, const check_run *r) {
  const check_provenance *p = &r->provenance;
  const struct {
    const char *name, *value;
  } texts[] = {{"weights_hash", p->weights_hash},
               {"dataset_hash", p->dataset_hash},
               {"initial_theta_hash", p->initial_theta_hash},
               {"start_hash", p->start_hash},
               {"order_hash", p->order_hash},
               {"schedule_hash", p->schedule_hash},
               {"binary_hash", p->binary_hash},
               {"theta_hash", r->result.theta_hash},
               {"backend", p->backend},
               {"blas_core", p->blas_core},
               {"blas", p->blas},
               {"mpi", p->mpi},
               {"commit", p->commit},
               {"dirty", p->dirty}};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) add_text(o, texts[i].name, texts[i].value);
}

static void add_run(cJSON *list, const check_run *r) {
  cJSON *o = cJSON_CreateObject();
  const config *c = r->config;
  cJSON_AddItemToArray(list, o);
  cJSON_AddStringToObject(o, "path", r->path);
  cJSON_AddBoolToObject(o, "valid", r->reasons.count == 0);
  add_lines(o, "reasons", &r->reasons);
  add_lines(o, "notes", &r->notes);
  if (!r->is_read) return;
  add_text(o, "status", r->status);
  add_text(o, "experiment_id", r->experiment_id);
  add_text(o, "run_id", r->run_id);
  add_hashes(o, r);
  cJSON_AddBoolToObject(o, "theta_stored", r->theta != NULL);
  add_text(o, "method", c ? c->method.name : NULL);
  add_count(o, "seed", c ? c->seed : 0, c != NULL);
  add_text(o, "reduce", c ? (c->reduce == REDUCE_EXACT ? "exact" : "float") : NULL);
  add_count(o, "ranks", r->provenance.ranks, r->provenance.ranks > 0);
  add_count(o, "threads", r->provenance.threads, r->provenance.threads > 0);
  add_count(o, "nodes", r->provenance.nodes, r->provenance.nodes > 0);
  add_count(o, "steps", r->step_count, 1);
  add_count(o, "best_step", r->result.best_step, r->result.best_step != CHECK_ABSENT);
  add_text(o, "metric", r->result.metric);
  add_json_number(o, "validation_metric", r->result.validation_metric);
  add_json_number(o, "test_metric", r->result.test_metric);
}

static void add_pair(cJSON *list, const check_report *r, const check_pair *p) {
  cJSON *o = cJSON_CreateObject();
  int is_one = p->relation == CHECK_AGREE || p->relation == CHECK_DIFFER;
  cJSON_AddItemToArray(list, o);
  cJSON_AddStringToObject(o, "first", r->runs[p->a].path);
  cJSON_AddStringToObject(o, "second", r->runs[p->b].path);
  cJSON_AddStringToObject(o, "relation", check_relation_names[p->relation]);
  add_text(o, "compared", !is_one ? NULL : p->is_bitwise ? "bitwise" : "rounding");
  add_count(o, "steps", p->steps, is_one);
  add_count(o, "first_different_step", p->first_step, p->first_step > 0);
  add_json_number(o, "largest_loss_distance", p->loss);
  add_json_number(o, "largest_norm_distance", p->norm);
  add_json_number(o, "largest_score_distance", p->scores);
  add_lines(o, "differences", &p->differences);
  add_lines(o, "may_differ", &p->listed);
  add_lines(o, "notes", &p->notes);
}

void check_print_json(const check_report *r) {
  cJSON *o = cJSON_CreateObject(), *runs, *pairs;
  add_json_number(o, "tolerance", r->tolerance);
  cJSON_AddBoolToObject(o, "valid", r->invalid == 0);
  cJSON_AddBoolToObject(o, "agree", r->differ == 0);
  cJSON_AddBoolToObject(o, "comparable", r->not_comparable == 0);
  runs = cJSON_AddArrayToObject(o, "runs");
  for (int i = 0; i < r->run_count; i++) add_run(runs, &r->runs[i]);
  pairs = cJSON_AddArrayToObject(o, "comparisons");
  for (int i = 0; i < r->pair_count; i++) add_pair(pairs, r, &r->pairs[i]);
  print_json_object(o);
}
