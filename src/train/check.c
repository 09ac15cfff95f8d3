#include "train/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "train/check_private.h"

const char *const check_split_names[CHECK_SPLITS] = {"validation", "test"};
const char *const check_relation_names[CHECK_RELATIONS] = {"AGREE", "DIFFER", "COMPARABLE", "NOT COMPARABLE"};

int check_add(arena *memory, check_lines *lines, const char *format, ...) {
  char text[1024];
  char *copy;
  check_line *line;
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof text, format, list);
  va_end(list);
  text_clean(text); /* it may quote a damaged file */
  TRY(arena_copy_text(memory, text, &copy));
  TRY(arena_take(memory, 1, sizeof *line, &line));
  line->text = copy;
  if (lines->last) lines->last->next = line;
  else lines->first = line;
  lines->last = line;
  lines->count++;
  return ERROR_NONE;
}

int check_is_exact(const check_run *r) { return r->config && r->config->reduce == REDUCE_EXACT; }

/* How the attempts at a run that went on differ. */
static int note_attempts(check_run *r) {
  int programs = 1;
  if (r->attempt_count <= 1) return ERROR_NONE;
  for (int64_t i = 1; i < r->attempt_count; i++) programs += strcmp(r->attempts[i].binary_hash, r->attempts[i - 1].binary_hash) != 0;
  return CHECK_NOTE(r, "made in %lld attempts%s", (long long)r->attempt_count, programs > 1 ? ", not all by one build of the program" : "");
}

/* Marks that leave a run as valid as it was. */
static int add_notes(check_run *r) {
  const check_provenance *p = &r->provenance;
  if (!strcmp(p->dirty, "1")) TRY(CHECK_NOTE(r, "dirty build: the sources had uncommitted changes"));
  if (!*p->commit || !strcmp(p->commit, "unknown")) TRY(CHECK_NOTE(r, "unknown commit"));
  if (r->result.contaminated > 0) TRY(CHECK_NOTE(r, "contaminated: other work disturbed its times"));
  TRY(note_attempts(r));
  if (p->ranks == 1) TRY(CHECK_NOTE(r, "one rank only: nothing travelled"));
  if (!*p->order_hash || !*p->schedule_hash || !*p->binary_hash || !*p->backend)
    TRY(CHECK_NOTE(r, "written by an older version: no hash of sample order, schedule or program"));
  if (r->steps && !r->has_hashes) TRY(CHECK_NOTE(r, "written by an older version: no hash of theta in the steps"));
  if (r->is_complete && !r->theta) TRY(CHECK_NOTE(r, "theta is not stored"));
  return ERROR_NONE;
}

static int judge(check_run *r) {
  TRY(check_read(r));
  if (!r->is_read) return ERROR_NONE;
  TRY(check_identity(r));
  TRY(check_series(r));
  TRY(check_scores(r));
  return add_notes(r);
}

static int same(const char *a, const char *b) { return *a && !strcmp(a, b); }

/* The first readable run before `b` of the same experiment, or -1. */
static int earlier_of_experiment(const check_report *r, int b) {
  for (int a = 0; a < b; a++)
    if (r->runs[a].is_read && same(r->runs[a].experiment_id, r->runs[b].experiment_id)) return a;
  return -1;
}

static const check_run *earlier_of_seed(const check_report *r, int b) {
  const check_run *run = &r->runs[b];
  for (int a = 0; run->config && a < b; a++)
    if (r->runs[a].is_read && r->runs[a].config && r->runs[a].config->seed == run->config->seed) return &r->runs[a];
  return NULL;
}

static int first_readable(const check_report *r) {
  int a = 0;
  while (a < r->run_count && !r->runs[a].is_read) a++;
  return a;
}

static int compare(check_report *r) {
  for (int b = first_readable(r) + 1; b < r->run_count; b++) {
    if (!r->runs[b].is_read) continue;
    check_pair *p = &r->pairs[r->pair_count++];
    int a = earlier_of_experiment(r, b);
    p->a = a < 0 ? first_readable(r) : a;
    p->b = b;
    if (a < 0) TRY(check_comparable(&r->runs[p->a], &r->runs[b], earlier_of_seed(r, b), r->memory, p));
    else TRY(check_same_experiment(&r->runs[a], &r->runs[b], r->tolerance, r->memory, p));
    r->differ += p->relation == CHECK_DIFFER;
    r->not_comparable += p->relation == CHECK_NOT_COMPARABLE;
  }
  return ERROR_NONE;
}

static int fill(check_report *r, const char *const *paths) {
  TRY(arena_take(r->memory, (size_t)r->run_count, sizeof *r->runs, &r->runs));
  TRY(arena_take(r->memory, (size_t)r->run_count, sizeof *r->pairs, &r->pairs));
  for (int i = 0; i < r->run_count; i++) {
    check_run *run = &r->runs[i];
    run->memory = r->memory;
    run->path = paths[i];
    TRY(judge(run));
    r->invalid += run->reasons.count > 0;
  }
  return compare(r);
}

int check_files(const char *const *paths, int count, double tolerance, check_report **result) {
  arena *memory;
  check_report *r;
  *result = NULL;
  TRY(arena_create(&memory));
  int code = arena_take(memory, 1, sizeof *r, &r);
  if (code) {
    arena_destroy(memory);
    return code;
  }
  r->memory = memory;
  r->tolerance = tolerance;
  r->run_count = count;
  code = fill(r, paths);
  if (code) check_destroy(r);
  else *result = r;
  return code;
}

void check_destroy(check_report *r) {
  if (!r) return;
  for (int i = 0; r->runs && i < r->run_count; i++) config_destroy(r->runs[i].config);
  arena_destroy(r->memory);
}
