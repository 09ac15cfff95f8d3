/* index.tsv and archive.tsv: one line per run, for other programs and for the next look. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/text.h"
#include "store/file.h"
#include "sweep/plan_private.h"

enum { FILE_BYTES = 1 << 28 };

static const char mark[] = "# peftscale sweep index 1";
static const char *const columns[] = {"request_id", "stage",       "role",       "state",  "file",   "task",    "method",       "seed",
                                      "ranks",      "tuned",       "validation", "test",   "metric", "train_s", "tokens_per_s", "experiment_id",
                                      "run_id",     "source_hash", "attempts",   "reason", "tokens", "bytes",   "written_ns",   "group"};
enum { COLUMNS = sizeof columns / sizeof *columns };
/* Those that are read back. */
enum { ID = 0, STATE = 3, VALIDATION = 10, TEST, METRIC, TRAIN_S, RATE, EXPERIMENT, RUN, SOURCE, TOKENS = 20, BYTES, WRITTEN };

/* ---- reading ---- */

static double read_number(const char *text) {
  double value;
  return *text && !text_to_double(text, &value) ? value : NAN;
}

static int64_t read_whole(const char *text) {
  int64_t value;
  return *text && !text_to_int(text, &value) ? value : 0;
}

static void copy_word(char *to, size_t bytes, const char *from) {
  snprintf(to, bytes, "%s", from);
  text_clean(to);
}

/* place [COLUMNS]: which word of a line is the column; -1: the file lacks it. */
static int read_header(char *line, int place[COLUMNS]) {
  int word = 0, found = 0;
  for (int i = 0; i < COLUMNS; i++) place[i] = -1;
  for (char *at = line; at; word++) {
    char *tab = strchr(at, '\t');
    if (tab) *tab = 0;
    for (int i = 0; i < COLUMNS; i++)
      if (place[i] < 0 && !strcmp(at, columns[i])) {
        place[i] = word;
        found++;
        break;
      }
    at = tab ? tab + 1 : NULL;
  }
  return found && place[ID] >= 0 && place[STATE] >= 0;
}

/* 1: the line tells of a finished run. */
static int read_row(char *line, const int place[COLUMNS], int is_archived, remembered *r) {
  const char *value[COLUMNS];
  int word = 0;
  for (int i = 0; i < COLUMNS; i++) value[i] = "";
  for (char *at = line; at; word++) {
    char *tab = strchr(at, '\t');
    if (tab) *tab = 0;
    for (int i = 0; i < COLUMNS; i++)
      if (place[i] == word) value[i] = at;
    at = tab ? tab + 1 : NULL;
  }
  if (strcmp(value[STATE], plan_state_names[PLAN_DONE]) && strcmp(value[STATE], plan_state_names[PLAN_STALE])) return 0;
  if (strlen(value[ID]) != HASH_TEXT_BYTES - 1) return 0;
  *r = (remembered){.is_archived = is_archived};
  plan_outcome *o = &r->outcome;
  copy_word(r->id, sizeof r->id, value[ID]);
  copy_word(o->metric, sizeof o->metric, value[METRIC]);
  copy_word(o->experiment_id, sizeof o->experiment_id, value[EXPERIMENT]);
  copy_word(o->run_id, sizeof o->run_id, value[RUN]);
  copy_word(o->source_hash, sizeof o->source_hash, value[SOURCE]);
  o->validation = read_number(value[VALIDATION]);
  o->test = read_number(value[TEST]);
  o->train_s = read_number(value[TRAIN_S]);
  o->tokens_per_s = read_number(value[RATE]);
  o->tokens = read_whole(value[TOKENS]);
  o->bytes = read_whole(value[BYTES]);
  o->written_ns = read_whole(value[WRITTEN]);
  return 1;
}

static int refuse(const char *path, const char *reason) {
  return FAIL(ERROR_INPUT, "get the file anew, with the archive.h5 that belongs to it, or move both away", "%s: %s", path, reason);
}

static int parse(plan *p, const char *path, char *bytes, int is_archived) {
  int place[COLUMNS];
  char *line = bytes, *next = strchr(line, '\n');
  if (!next || strncmp(line, mark, (size_t)(next - line)) || (size_t)(next - line) != sizeof mark - 1) return refuse(path, "is no index of a sweep");
  do { /* remarks for other readers */
    line = next + 1;
    next = strchr(line, '\n');
    if (!next) return refuse(path, "ends before its columns");
  } while (*line == '#');
  *next = 0;
  if (!read_header(line, place)) return refuse(path, "lacks the columns request_id and state");
  size_t lines = 0;
  for (const char *at = next + 1; *at; at++) lines += *at == '\n';
  remembered *grown;
  TRY(arena_take(p->memory->arena, (size_t)p->memory->entries + lines + 1, sizeof *grown, &grown));
  if (p->memory->entries) memcpy(grown, p->memory->entry, (size_t)p->memory->entries * sizeof *grown);
  p->memory->entry = grown;
  for (line = next + 1; *line; line = next) {
    next = strchr(line, '\n');
    if (!next) break; /* cut: a line is whole or not there */
    *next++ = 0;
    p->memory->entries += read_row(line, place, is_archived, &grown[p->memory->entries]);
  }
  return ERROR_NONE;
}

static int read_index(plan *p, const char *name, int is_archived) {
  char path[PLAN_PATH_BYTES], *bytes;
  size_t count;
  TRY(text_format(path, sizeof path, "%s/%s", p->results, name));
  if (access(path, F_OK)) return ERROR_NONE;
  TRY(file_read(path, FILE_BYTES, &bytes, &count));
  int code = strlen(bytes) == count ? parse(p, path, bytes, is_archived) : refuse(path, "holds a zero byte");
  free(bytes);
  return code;
}

static int compare(const void *a, const void *b) {
  const remembered *x = a, *y = b;
  int order = strcmp(x->id, y->id);
  return order ? order : y->is_archived - x->is_archived; /* the index, which knows when a file was read, has the last word */
}

int plan_load(plan *p) {
  int code = read_index(p, "index.tsv", 0);
  if (code && code != ERROR_INPUT) return code;
  if (code) p->memory->entries = 0;
  TRY(read_index(p, "archive.tsv", 1));
  if (p->memory->entries) qsort(p->memory->entry, (size_t)p->memory->entries, sizeof *p->memory->entry, compare);
  return ERROR_NONE;
}

void plan_recall(plan *p, int index) {
  plan_run *entry = &p->runs[index];
  int low = 0, high = p->memory->entries;
  if (!*entry->id) return;
  while (low < high) {
    int middle = (low + high) / 2;
    if (strcmp(p->memory->entry[middle].id, entry->id) < 0) low = middle + 1;
    else high = middle;
  }
  if (low == p->memory->entries || strcmp(p->memory->entry[low].id, entry->id)) return;
  for (; low < p->memory->entries && !strcmp(p->memory->entry[low].id, entry->id); low++) {
    entry->outcome = p->memory->entry[low].outcome;
    entry->archived |= p->memory->entry[low].is_archived;
  }
  entry->is_known = 1;
}

/* ---- writing ---- */

/* A number as it was read: nothing for one that is not known. */
static const char *write_number(double value, char text[32]) {
  if (isnan(value)) return "";
  snprintf(text, 32, "%.17g", value);
  return text;
}

static int add_run(file_writer *w, const plan_run *entry) {
  char number[4][32];
  const study_run *asked = entry->asked;
  const plan_outcome *o = &entry->outcome;
  int has = entry->state == PLAN_DONE || entry->state == PLAN_STALE;
  const char *tuned = asked->role == STUDY_TRIAL ? asked->tuned_value : entry->tuned_value;
  TRY(file_writer_print(w, "%s\t%s\t%s\t%s\t%s%s%s\t%s\t%s\t%lld\t%d\t%s%s%s\t", entry->id, asked->stage, asked->role == STUDY_TRIAL ? "trial" : "run",
                        plan_state_names[entry->state],
                        !*entry->name     ? ""
                        : entry->archived ? "archive.h5:"
                                          : "runs/",
                        entry->name, !*entry->name || entry->archived ? "" : ".h5", entry->task, entry->method, (long long)entry->seed, asked->ranks,
                        *tuned ? asked->tuned_key : "", *tuned ? "=" : "", tuned));
  if (!has) return file_writer_print(w, "\t\t\t\t\t\t\t\t%d\t%s\t\t\t\t%d\n", entry->attempts, entry->reason, asked->group);
  return file_writer_print(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%lld\t%lld\t%lld\t%d\n", write_number(o->validation, number[0]),
                           write_number(o->test, number[1]), o->metric, write_number(o->train_s, number[2]), write_number(o->tokens_per_s, number[3]),
                           o->experiment_id, o->run_id, o->source_hash, entry->attempts, entry->reason, (long long)o->tokens, (long long)o->bytes,
                           (long long)o->written_ns, asked->group);
}

/* A line `# NAME: TEXT` of a text that may have several lines; nothing for an empty one. */
static int add_remark(file_writer *w, const char *name, const char *text) {
  if (!*text) return ERROR_NONE;
  TRY(file_writer_print(w, "# %s:", name));
  for (size_t length; text += strspn(text, " \t\r\n"), (length = strcspn(text, " \t\r\n")); text += length)
    TRY(file_writer_print(w, " %.*s", (int)length, text));
  return file_writer_print(w, "\n");
}

static int write_all(const plan *p, file_writer *w) {
  TRY(file_writer_print(w, "%s\n", mark));
  TRY(add_remark(w, "title", p->study->title));
  TRY(add_remark(w, "question", p->study->question));
  for (int i = 0; i < p->study->column_count; i++)
    TRY(file_writer_print(w, "%s%s%s", i ? " " : "# columns: ", p->study->columns[i], i + 1 < p->study->column_count ? "" : "\n"));
  for (int i = 0; i < COLUMNS; i++) TRY(file_writer_print(w, "%s%s", columns[i], i + 1 < COLUMNS ? "\t" : "\n"));
  for (int i = 0; i < p->count; i++)
    if (p->runs[i].same_as < 0) TRY(add_run(w, &p->runs[i]));
  return ERROR_NONE;
}

int plan_save(const plan *p) {
  char path[PLAN_PATH_BYTES];
  file_writer *w;
  if (p->study->action == STUDY_COUNT) return ERROR_NONE;
  TRY(text_format(path, sizeof path, "%s/index.tsv", p->results));
  TRY(file_make_directory(p->results));
  TRY(file_writer_create(path, &w));
  int code = write_all(p, w);
  if (!code) return file_writer_commit(w);
  file_writer_discard(w);
  return code;
}
