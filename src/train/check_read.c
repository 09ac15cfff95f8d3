/* A run file as the check sees it. Columns and attributes are found by name; those that the check can do without may be absent. */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "method/method.h"
#include "store/runfile.h"
#include "train/check_private.h"

/* A fault of the file is a reason, not an error; its path stands above the reasons anyway. */
static int fault(check_run *r, int code) {
  if (code != ERROR_INPUT && code != ERROR_USAGE) return code;
  const char *text = error_last()->text;
  size_t length = strlen(r->path);
  if (!strncmp(text, r->path, length) && !strncmp(text + length, ": ", 2)) text += length + 2;
  return CHECK_REASON(r, "%s", text);
}

/* The arena takes a malloc'ed text over. */
static int keep_text(check_run *r, char *text, const char **kept) {
  char *copy;
  int code = arena_copy_text(r->memory, text, &copy);
  free(text);
  TRY(code);
  *kept = copy;
  return ERROR_NONE;
}

/* ---- attributes ---- */

static int take_text(check_run *r, const char *where, const char *name, int is_needed, const char **value) {
  char *text;
  *value = "";
  int code = runfile_read_attribute_text(r->path, where, name, &text);
  if (!code) {
    text_clean(text);
    return keep_text(r, text, value);
  }
  return is_needed || code != ERROR_INPUT ? fault(r, code) : ERROR_NONE;
}

static int take_int(check_run *r, const char *where, const char *name, int is_needed, int64_t *value) {
  *value = CHECK_ABSENT;
  int code = runfile_read_attribute_int(r->path, where, name, value);
  return is_needed || code != ERROR_INPUT ? fault(r, code) : ERROR_NONE;
}

static int take_double(check_run *r, const char *where, const char *name, double *value) {
  *value = NAN;
  return fault(r, runfile_read_attribute_double(r->path, where, name, value));
}

static int take_provenance(check_run *r) {
  check_provenance *p = &r->provenance;
  const struct {
    const char *name, **value;
    int is_needed;
  } texts[] = {{"weights_hash", &p->weights_hash, 1},
               {"dataset_hash", &p->dataset_hash, 1},
               {"initial_theta_hash", &p->initial_theta_hash, 1},
               {"start_hash", &p->start_hash, 0},
               {"order_hash", &p->order_hash, 0},
               {"schedule_hash", &p->schedule_hash, 0},
               {"binary_hash", &p->binary_hash, 0},
               {"backend", &p->backend, 0},
               {"blas", &p->blas, 1},
               {"blas_core", &p->blas_core, 1},
               {"onednn", &p->onednn, 0},
               {"mpi", &p->mpi, 0},
               {"commit", &p->commit, 0},
               {"dirty", &p->dirty, 0}};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) TRY(take_text(r, "provenance", texts[i].name, texts[i].is_needed, texts[i].value));
  const struct {
    const char *name;
    int64_t *value;
  } numbers[] = {{"ranks", &p->ranks}, {"nodes", &p->nodes}, {"threads", &p->threads}};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    const char *text;
    *numbers[i].value = -1;
    TRY(take_text(r, "provenance", numbers[i].name, 1, &text));
    if (*text && (text_to_int(text, numbers[i].value) || *numbers[i].value < 1 || *numbers[i].value > INT32_MAX)) {
      *numbers[i].value = -1;
      TRY(CHECK_REASON(r, "/provenance: %s is '%.40s', not a number of them", numbers[i].name, text));
    }
  }
  return ERROR_NONE;
}

static int take_accounting(check_run *r) {
  check_accounting *a = &r->accounting;
  TRY(take_int(r, "accounting", "trainable", 1, &a->trainable));
  TRY(take_int(r, "accounting", "trainable_head", 1, &a->trainable_head));
  TRY(take_int(r, "accounting", "sent_floats", 1, &a->sent_floats));
  TRY(take_int(r, "accounting", "head_floats", 1, &a->head_floats));
  TRY(take_int(r, "accounting", "tail_floats", 1, &a->tail_floats));
  TRY(take_int(r, "accounting", "head_bytes_factors", 0, &a->head_bytes_factors)); /* younger than the others */
  return take_int(r, "accounting", "sent_bytes_per_step", 1, &a->sent_bytes_per_step);
}

static int take_result(check_run *r) {
  check_result *s = &r->result;
  *s = (check_result){CHECK_ABSENT, CHECK_ABSENT, CHECK_ABSENT, CHECK_ABSENT, CHECK_ABSENT, NAN, NAN, NAN, NAN, "", ""};
  if (!r->is_complete) return ERROR_NONE; /* written at the end */
  TRY(take_int(r, "result", "best_step", 1, &s->best_step));
  TRY(take_int(r, "result", "steps", 1, &s->steps));
  TRY(take_int(r, "result", "tokens", 1, &s->tokens));
  TRY(take_int(r, "result", "gradient_payload_bytes", 1, &s->gradient_payload_bytes));
  TRY(take_int(r, "result", "contaminated", 0, &s->contaminated));
  TRY(take_double(r, "result", "validation_metric", &s->validation_metric));
  TRY(take_double(r, "result", "test_metric", &s->test_metric));
  TRY(take_double(r, "result", "step_s", &s->step_s));
  TRY(take_double(r, "result", "communication_s", &s->communication_s));
  TRY(take_text(r, "result", "metric", 1, &s->metric));
  return take_text(r, "result", "theta_hash", 1, &s->theta_hash);
}

/* ---- tables ---- */

#define COLUMN(structure, name, type, count) \
  { #name, NULL, type, count, offsetof(structure, name) }
#define WHOLE(structure, name) COLUMN(structure, name, FIELD_INT64, 1)
#define REAL(structure, name) COLUMN(structure, name, FIELD_DOUBLE, 1)

static const field step_columns[] = {WHOLE(check_step, attempt),
                                     WHOLE(check_step, step),
                                     REAL(check_step, loss),
                                     REAL(check_step, lr),
                                     REAL(check_step, grad_norm),
                                     REAL(check_step, step_s),
                                     REAL(check_step, communication_s),
                                     WHOLE(check_step, examples),
                                     WHOLE(check_step, tokens),
                                     WHOLE(check_step, payload_bytes),
                                     WHOLE(check_step, theta_hash),
                                     WHOLE(check_step, sent_floats),
                                     WHOLE(check_step, own_examples)};
#define VALUE(name, kind) \
  { name, NULL, FIELD_DOUBLE, 1, offsetof(check_evaluation, value) + (kind) * sizeof(double) }
static const field evaluation_columns[] = {WHOLE(check_evaluation, attempt),    WHOLE(check_evaluation, step),
                                           WHOLE(check_evaluation, count),      COLUMN(check_evaluation, split, FIELD_TEXT, CHECK_SPLIT_BYTES - 1),
                                           REAL(check_evaluation, loss),        REAL(check_evaluation, metric),
                                           VALUE("accuracy", METRICS_ACCURACY), VALUE("f1", METRICS_F1),
                                           VALUE("matthews", METRICS_MATTHEWS), VALUE("pearson", METRICS_PEARSON),
                                           VALUE("spearman", METRICS_SPEARMAN)};
static const field segment_columns[] = {COLUMN(check_segment, name, FIELD_TEXT, 95),
                                        COLUMN(check_segment, counts_as, FIELD_TEXT, 7),
                                        WHOLE(check_segment, offset),
                                        WHOLE(check_segment, rows),
                                        WHOLE(check_segment, cols),
                                        REAL(check_segment, lr),
                                        REAL(check_segment, decay)};
static const field attempt_columns[] = {WHOLE(check_attempt, attempt), WHOLE(check_attempt, ranks),      WHOLE(check_attempt, threads),
                                        WHOLE(check_attempt, nodes),   WHOLE(check_attempt, first_step), COLUMN(check_attempt, binary_hash, FIELD_TEXT, 39)};

#define TABLE(path, type, fields) \
  { path, NULL, sizeof(type), fields, (int)(sizeof fields / sizeof *fields) }
static const table step_table = TABLE("series/steps", check_step, step_columns);
static const table evaluation_table = TABLE("evaluation", check_evaluation, evaluation_columns);
static const table segment_table = TABLE("segments", check_segment, segment_columns);
static const table attempt_table = TABLE("attempts", check_attempt, attempt_columns);

/* *rows is the arena's; of a table that is absent, damaged or lacks a column it is empty, with the reason. */
static int take_table(check_run *r, const table *t, void *rows, int64_t *count) {
  uint8_t present[32];
  void *read;
  char *kept;
  *count = 0;
  *(void **)rows = NULL;
  int code = runfile_read_table(r->path, t, &read, count, present);
  if (code) return fault(r, code);
  for (int i = 0; i < t->field_count; i++) {
    if (!strcmp(t->fields[i].name, "theta_hash")) {
      r->has_hashes = present[i];
    } else if (!strcmp(t->fields[i].name, "sent_floats") || !strcmp(t->fields[i].name, "own_examples")) {
      r->has_counts = present[i];
    } else if (!present[i] && strcmp(t->fields[i].name, "binary_hash")) {
      free(read);
      *count = 0;
      return CHECK_REASON(r, "/%s has no column '%s'", t->path, t->fields[i].name);
    }
  }
  code = arena_take(r->memory, (size_t)*count, t->row_bytes, &kept);
  if (!code) {
    memcpy(kept, read, (size_t)*count * t->row_bytes);
    *(char **)rows = kept;
  }
  free(read);
  return code;
}

typedef struct prediction_head {
  int64_t example;
  float label, prediction;
} prediction_head;

static int split_predictions(check_run *r, check_predictions *p, const char *rows, size_t bytes) {
  size_t n = (size_t)p->count, classes = (size_t)p->classes;
  TRY(arena_take(r->memory, n, sizeof *p->example, &p->example));
  TRY(arena_take(r->memory, n, sizeof *p->label, &p->label));
  TRY(arena_take(r->memory, n, sizeof *p->prediction, &p->prediction));
  TRY(arena_take(r->memory, n * classes, sizeof *p->score, &p->score));
  for (size_t i = 0; i < n; i++) {
    prediction_head head;
    memcpy(&head, rows + i * bytes, sizeof head);
    p->example[i] = head.example;
    p->label[i] = head.label;
    p->prediction[i] = head.prediction;
    memcpy(p->score + i * classes, rows + i * bytes + sizeof head, classes * sizeof *p->score);
  }
  return ERROR_NONE;
}

static int take_predictions(check_run *r, int which) {
  check_predictions *p = &r->predictions[which];
  char path[32];
  uint8_t present[4];
  void *rows = NULL;
  p->count = -1;
  snprintf(path, sizeof path, "predictions/%s", check_split_names[which]);
  if (!runfile_has(r->path, path)) return ERROR_NONE;
  int code = runfile_read_width(r->path, path, "score", &p->classes);
  if (code) return fault(r, code);
  if (!p->classes) return CHECK_REASON(r, "/%s has no column 'score'", path);
  const field columns[] = {{"example", NULL, FIELD_INT64, 1, offsetof(prediction_head, example)},
                           {"label", NULL, FIELD_FLOAT, 1, offsetof(prediction_head, label)},
                           {"prediction", NULL, FIELD_FLOAT, 1, offsetof(prediction_head, prediction)},
                           {"score", NULL, FIELD_FLOAT, p->classes, sizeof(prediction_head)}};
  const table t = {path, NULL, sizeof(prediction_head) + (size_t)p->classes * sizeof(float), columns, 4};
  int64_t count;
  code = runfile_read_table(r->path, &t, &rows, &count, present);
  if (code) return fault(r, code);
  for (int i = 0; i < 4 && !code; i++)
    if (!present[i]) {
      free(rows);
      return CHECK_REASON(r, "/%s has no column '%s'", path, columns[i].name);
    }
  p->count = count;
  code = split_predictions(r, p, rows, t.row_bytes);
  free(rows);
  return code;
}

static int take_theta(check_run *r) {
  float *theta, *kept;
  if (!r->is_complete || !runfile_has(r->path, "theta")) return ERROR_NONE;
  int code = runfile_read_floats(r->path, "theta", &theta, &r->theta_count);
  if (code) return fault(r, code);
  code = arena_take(r->memory, (size_t)r->theta_count, sizeof *kept, &kept);
  if (!code) memcpy(kept, theta, (size_t)r->theta_count * sizeof *kept);
  free(theta);
  r->theta = code ? NULL : kept;
  return code;
}

static int take_config(check_run *r) {
  char *text;
  int code = runfile_read_text(r->path, "config_canonical", &text);
  r->canonical = "";
  TRY(code ? fault(r, code) : keep_text(r, text, &r->canonical));
  code = runfile_read_text(r->path, "config", &text);
  if (code) return fault(r, code);
  code = config_restore(text, "/config", method_options, NULL, 0, &r->config);
  free(text);
  if (code) r->config = NULL;
  return fault(r, code);
}

int check_read(check_run *r) {
  int code = runfile_probe(r->path);
  if (code) return fault(r, code);
  r->is_read = 1;
  TRY(take_text(r, "", "status", 1, &r->status));
  TRY(take_text(r, "", "experiment_id", 1, &r->experiment_id));
  TRY(take_text(r, "", "run_id", 1, &r->run_id));
  r->is_complete = !strcmp(r->status, "complete");
  if (*r->status && !r->is_complete) TRY(CHECK_REASON(r, "the training has not been completed (status: %.200s)", r->status));
  TRY(take_config(r));
  TRY(take_provenance(r));
  TRY(take_accounting(r));
  TRY(take_result(r));
  TRY(take_table(r, &attempt_table, &r->attempts, &r->attempt_count));
  TRY(take_table(r, &segment_table, &r->segments, &r->segment_count));
  TRY(take_table(r, &step_table, &r->steps, &r->step_count));
  TRY(take_table(r, &evaluation_table, &r->evaluations, &r->evaluation_count));
  for (int i = 0; i < CHECK_SPLITS; i++) TRY(take_predictions(r, i));
  return take_theta(r);
}
