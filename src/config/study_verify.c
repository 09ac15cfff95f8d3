#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "config/study_private.h"

/* What has been composed already, as hashes. */
typedef struct seen {
  int64_t *slot; /* 0: free */
  size_t room, count;
} seen;

/* 1 in *is_new if it was not there. */
static int remember(seen *s, int64_t mark, int *is_new) {
  if (2 * s->count >= s->room) {
    seen grown = {.room = s->room ? 2 * s->room : 1024};
    int ignored;
    if (!(grown.slot = calloc(grown.room, sizeof *grown.slot))) return FAIL(ERROR_MEMORY, NULL, "out of memory for checking a study");
    for (size_t i = 0; i < s->room; i++)
      if (s->slot[i]) remember(&grown, s->slot[i], &ignored);
    free(s->slot);
    *s = grown;
  }
  size_t place = (size_t)mark % s->room;
  while (s->slot[place] && s->slot[place] != mark) place = (place + 1) % s->room;
  *is_new = !s->slot[place];
  s->slot[place] = mark;
  s->count += (size_t)*is_new;
  return ERROR_NONE;
}

/* The value that a run gives a key; "" where it gives none. */
static const char *value_of(const study_run *run, const char *key) {
  size_t length = strlen(key);
  for (int i = run->assignment_count - 1; i >= 0; i--)
    if (!strncmp(run->assignments[i], key, length) && run->assignments[i][length] == '=') return run->assignments[i] + length + 1;
  return "";
}

/* What can go wrong in a composition depends on the files it reads, and on the method for the method's own keys; all other values were checked where they are
 * written. So a run is composed if its choice of files, or its method with one of its own keys' values, is new. */
static int is_news(seen *s, const study_run *run, int *is_new) {
  static const char *const names[] = {"method.name", "model.name", "task.name", "preset"};
  char text[4 * CONFIG_VALUE_BYTES];
  size_t used = 0, method_bytes = 0;
  for (int i = 0; i < 4; i++) {
    used += (size_t)snprintf(text + used, sizeof text - used, "%s", value_of(run, names[i])) + 1; /* with its end mark */
    if (!i) method_bytes = used;
  }
  TRY(remember(s, hash_number(text, used), is_new));
  for (int i = 0; i < run->assignment_count; i++) {
    int one_new;
    if (strncmp(run->assignments[i], "method.", 7)) continue;
    used = method_bytes + (size_t)snprintf(text + method_bytes, sizeof text - method_bytes, "%s", run->assignments[i]);
    TRY(remember(s, hash_number(text, used), &one_new));
    *is_new |= one_new;
  }
  return ERROR_NONE;
}

/* What the run cannot do without. */
static int check_run(const struct study_reader *r, const study_run *run, const config *c) {
  const char *missing = !*c->method.name ? "method" : r->out->action == STUDY_COUNT ? (*c->model.name ? NULL : "model") : !*c->task.data ? "task" : NULL;
  if (!missing) return ERROR_NONE;
  return FAIL(ERROR_USAGE, "name it below 'base:' or as an axis below 'grid:'", "%s: the run '%.300s' has no %s", r->yaml.source, run->label, missing);
}

static int verify(struct study_reader *r, seen *s) {
  for (int i = 0; i < r->out->run_count; i++) {
    const study_run *run = &r->out->runs[i];
    config *c;
    int is_new;
    TRY(is_news(s, run, &is_new));
    if (!is_new) continue;
    TRY(study_compose(r->out, run, NULL, &c));
    int code = check_run(r, run, c);
    config_destroy(c);
    TRY(code);
  }
  return ERROR_NONE;
}

int study_verify(struct study_reader *r) {
  seen s = {0};
  int code = verify(r, &s);
  free(s.slot);
  return code;
}
