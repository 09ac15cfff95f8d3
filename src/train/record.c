/* What a training writes to its run file, table by table (layout: src/store/SCHEMA.md). Rank 0 only. */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "linalg/linalg.h"
#include "store/provenance.h"
#include "train/former_private.h"
#include "train/identity.h"

typedef struct step_row {
  int32_t attempt, epoch;
  int64_t step;
  double loss, lr, grad_norm;
  int64_t examples, tokens;
  double step_s, expand_s, forward_s, backward_s, adapter_s, gather_s, communication_s, optimizer_s;
  int64_t payload_bytes, theta_hash, wire_bytes, sent_floats, own_examples;
  double wait_s, work_mean_s, work_max_s;
} step_row;

static const field step_fields[] = {
    {"attempt", "1", FIELD_INT32, 1, offsetof(step_row, attempt)},
    {"step", "1", FIELD_INT64, 1, offsetof(step_row, step)},
    {"epoch", "1", FIELD_INT32, 1, offsetof(step_row, epoch)},
    {"loss", "1", FIELD_DOUBLE, 1, offsetof(step_row, loss)},
    {"lr", "1", FIELD_DOUBLE, 1, offsetof(step_row, lr)},
    {"grad_norm", "1", FIELD_DOUBLE, 1, offsetof(step_row, grad_norm)},
    {"examples", "1", FIELD_INT64, 1, offsetof(step_row, examples)},
    {"tokens", "1", FIELD_INT64, 1, offsetof(step_row, tokens)},
    {"step_s", "s", FIELD_DOUBLE, 1, offsetof(step_row, step_s)},
    {"expand_s", "s", FIELD_DOUBLE, 1, offsetof(step_row, expand_s)},
    {"forward_s", "s", FIELD_DOUBLE, 1, offsetof(step_row, forward_s)},
    {"backward_s", "s", FIELD_DOUBLE, 1, offsetof(step_row, backward_s)},
    {"adapter_s", "s", FIELD_DOUBLE, 1, offsetof(step_row, adapter_s)},
    {"gather_s", "s", FIELD_DOUBLE, 1, offsetof(step_row, gather_s)},
    {"communication_s", "s", FIELD_DOUBLE, 1, offsetof(step_row, communication_s)},
    {"optimizer_s", "s", FIELD_DOUBLE, 1, offsetof(step_row, optimizer_s)},
    {"payload_bytes", "bytes", FIELD_INT64, 1, offsetof(step_row, payload_bytes)},
    {"theta_hash", "1", FIELD_INT64, 1, offsetof(step_row, theta_hash)},
    {"wire_bytes", "bytes", FIELD_INT64, 1, offsetof(step_row, wire_bytes)},
    {"sent_floats", "1", FIELD_INT64, 1, offsetof(step_row, sent_floats)},
    {"own_examples", "1", FIELD_INT64, 1, offsetof(step_row, own_examples)},
    {"wait_s", "s", FIELD_DOUBLE, 1, offsetof(step_row, wait_s)},
    {"work_mean_s", "s", FIELD_DOUBLE, 1, offsetof(step_row, work_mean_s)},
    {"work_max_s", "s", FIELD_DOUBLE, 1, offsetof(step_row, work_max_s)},
};

static const field rank_fields[] = {
    {"attempt", "1", FIELD_INT32, 1, offsetof(rank_row, attempt)},
    {"step", "1", FIELD_INT64, 1, offsetof(rank_row, step)},
    {"rank", "1", FIELD_INT32, 1, offsetof(rank_row, rank)},
    {"tokens", "1", FIELD_INT64, 1, offsetof(rank_row, tokens)},
    {"seconds", "s", FIELD_DOUBLE, 1, offsetof(rank_row, seconds)},
    {"compute_s", "s", FIELD_DOUBLE, 1, offsetof(rank_row, compute_s)},
    {"communication_s", "s", FIELD_DOUBLE, 1, offsetof(rank_row, communication_s)},
    {"cpu_s", "s", FIELD_DOUBLE, 1, offsetof(rank_row, cpu_s)},
    {"work_cpu_s", "s", FIELD_DOUBLE, 1, offsetof(rank_row, work_cpu_s)},
    {"delay_s", "s", FIELD_DOUBLE, 1, offsetof(rank_row, delay_s)},
    {"sampled", "1", FIELD_INT64, 1, offsetof(rank_row, sampled)},
    {"wait_s", "s", FIELD_DOUBLE, 1, offsetof(rank_row, wait_s)},
    {"transfer_s", "s", FIELD_DOUBLE, 1, offsetof(rank_row, transfer_s)},
    {"payload_bytes", "bytes", FIELD_INT64, 1, offsetof(rank_row, payload_bytes)},
    {"wire_bytes", "bytes", FIELD_INT64, 1, offsetof(rank_row, wire_bytes)},
    {"involuntary_switches", "1", FIELD_INT64, 1, offsetof(rank_row, involuntary_switches)},
    {"load_average", "1", FIELD_DOUBLE, 1, offsetof(rank_row, load_average)},
    {"contaminated", "1", FIELD_INT32, 1, offsetof(rank_row, contaminated)},
    {"host", "text", FIELD_TEXT, 64, offsetof(rank_row, host)},
    {"cores", "text", FIELD_TEXT, 64, offsetof(rank_row, cores)},
    {"peak_bytes", "bytes", FIELD_INT64, 1, offsetof(rank_row, peak_bytes)},
};

typedef struct evaluation_row {
  int32_t attempt, epoch;
  int64_t step;
  char split[12];
  int64_t count;
  double loss, metric, accuracy, f1, matthews, pearson, spearman, seconds;
} evaluation_row;

static const field evaluation_fields[] = {
    {"attempt", "1", FIELD_INT32, 1, offsetof(evaluation_row, attempt)},  {"step", "1", FIELD_INT64, 1, offsetof(evaluation_row, step)},
    {"epoch", "1", FIELD_INT32, 1, offsetof(evaluation_row, epoch)},      {"split", "text", FIELD_TEXT, 12, offsetof(evaluation_row, split)},
    {"count", "1", FIELD_INT64, 1, offsetof(evaluation_row, count)},      {"loss", "1", FIELD_DOUBLE, 1, offsetof(evaluation_row, loss)},
    {"metric", "1", FIELD_DOUBLE, 1, offsetof(evaluation_row, metric)},   {"accuracy", "1", FIELD_DOUBLE, 1, offsetof(evaluation_row, accuracy)},
    {"f1", "1", FIELD_DOUBLE, 1, offsetof(evaluation_row, f1)},           {"matthews", "1", FIELD_DOUBLE, 1, offsetof(evaluation_row, matthews)},
    {"pearson", "1", FIELD_DOUBLE, 1, offsetof(evaluation_row, pearson)}, {"spearman", "1", FIELD_DOUBLE, 1, offsetof(evaluation_row, spearman)},
    {"seconds", "s", FIELD_DOUBLE, 1, offsetof(evaluation_row, seconds)},
};

typedef struct segment_row {
  char name[METHOD_NAME_BYTES], counts_as[8], rate[12];
  int64_t offset, rows, cols;
  double lr, decay;
} segment_row;

static const field segment_fields[] = {
    {"name", "text", FIELD_TEXT, METHOD_NAME_BYTES, offsetof(segment_row, name)},
    {"counts_as", "text", FIELD_TEXT, 8, offsetof(segment_row, counts_as)},
    {"group", "text", FIELD_TEXT, 12, offsetof(segment_row, rate)},
    {"offset", "1", FIELD_INT64, 1, offsetof(segment_row, offset)},
    {"rows", "1", FIELD_INT64, 1, offsetof(segment_row, rows)},
    {"cols", "1", FIELD_INT64, 1, offsetof(segment_row, cols)},
    {"lr", "1", FIELD_DOUBLE, 1, offsetof(segment_row, lr)},
    {"decay", "1", FIELD_DOUBLE, 1, offsetof(segment_row, decay)},
};

static const field attempt_fields[] = {
    {"attempt", "1", FIELD_INT32, 1, offsetof(attempt_row, attempt)},
    {"started", "text", FIELD_TEXT, 24, offsetof(attempt_row, started)},
    {"ranks", "1", FIELD_INT32, 1, offsetof(attempt_row, ranks)},
    {"threads", "1", FIELD_INT32, 1, offsetof(attempt_row, threads)},
    {"nodes", "1", FIELD_INT32, 1, offsetof(attempt_row, nodes)},
    {"first_step", "1", FIELD_INT64, 1, offsetof(attempt_row, first_step)},
    {"last_step", "1", FIELD_INT64, 1, offsetof(attempt_row, last_step)},
    {"ended", "text", FIELD_TEXT, 16, offsetof(attempt_row, ended)},
    {"binary_hash", "text", FIELD_TEXT, 40, offsetof(attempt_row, binary_hash)},
};

#define TABLE(path, help, type, fields) \
  { path, help, sizeof(type), fields, (int)(sizeof fields / sizeof *fields) }
static const table step_table = TABLE("series/steps", "one row per optimiser step; times are of rank 0, per part the slowest thread", step_row, step_fields);
static const table rank_table =
    TABLE("series/ranks", "one row per rank and validation or checkpoint: what the rank did since the row before", rank_row, rank_fields);
static const table evaluation_table = TABLE("evaluation", "one row per evaluated split", evaluation_row, evaluation_fields);
static const table segment_table = TABLE("segments", "the parts of theta", segment_row, segment_fields);
const table attempt_table = TABLE("attempts", "one row per process group that worked on this run", attempt_row, attempt_fields);

struct record {
  run *r;
  runfile *file;
  int32_t attempt; /* counted from 1: a row with 0 was never written whole */
  int segments, attempts, steps, ranks, evaluations, predictions[SPLIT_COUNT], theta;
};

/* A prediction row has as many scores as the task has outputs: its table is laid out at run time. */
typedef struct prediction_head {
  int64_t example;
  float label, prediction;
} prediction_head;

static int add_predictions(record *rec, split_name which) {
  int classes = model_output_count(rec->r->model);
  char path[32];
  snprintf(path, sizeof path, "predictions/%s", split_names[which]);
  const field fields[] = {
      {"example", "1", FIELD_INT64, 1, offsetof(prediction_head, example)},
      {"label", "1", FIELD_FLOAT, 1, offsetof(prediction_head, label)},
      {"prediction", "1", FIELD_FLOAT, 1, offsetof(prediction_head, prediction)},
      {"score", "1", FIELD_FLOAT, classes, sizeof(prediction_head)},
  };
  const table t = {path, "one row per example: the kept model's outputs (logits, or the score)", sizeof(prediction_head) + (size_t)classes * sizeof(float),
                   fields, 4};
  return runfile_add_table(rec->file, &t, &rec->predictions[which]);
}

static int put_segments(record *rec) {
  const run *r = rec->r;
  int count = model_segment_count(r->model);
  for (int i = 0; i < count; i++) {
    const segment *s = model_segment(r->model, i);
    segment_row row = {.offset = s->offset, .rows = s->rows, .cols = s->cols, .lr = segment_rate(r->config, s), .decay = segment_decay(r->config, s)};
    snprintf(row.name, sizeof row.name, "%s", s->name);
    snprintf(row.counts_as, sizeof row.counts_as, "%s", segment_role_names[s->role]);
    snprintf(row.rate, sizeof row.rate, "%s", s->rate);
    TRY(runfile_append(rec->file, rec->segments, &row, 1));
  }
  return ERROR_NONE;
}

static int put_attempts(record *rec, const former *f) {
  const run *r = rec->r;
  attempt_row row = {
      .attempt = rec->attempt, .ranks = comm_size(r->comm), .threads = r->threads, .nodes = comm_nodes(r->comm), .first_step = f->continues ? f->head.step : 0};
  clock_utc(row.started, sizeof row.started);
  snprintf(row.binary_hash, sizeof row.binary_hash, "%s", r->binary_hash);
  TRY(runfile_append(rec->file, rec->attempts, f->attempts, f->count));
  return runfile_append(rec->file, rec->attempts, &row, 1);
}

/* The rows up to the step at which the run goes on; what was done beyond is done again. */
static int carry_over(record *rec, const former *f) {
  const runfile_choice choice = {"step", 1, f->head.step};
  int64_t steps;
  TRY(runfile_carry_over(rec->file, rec->steps, choice, &steps));
  if (steps != f->head.step)
    return FAIL(ERROR_INPUT, "remove the checkpoint to start the run anew", "%s.partial has %lld of the %lld steps that %s.checkpoint goes on from",
                rec->r->path, (long long)steps, (long long)f->head.step, rec->r->path);
  TRY(runfile_carry_over(rec->file, rec->ranks, choice, NULL));
  return runfile_carry_over(rec->file, rec->evaluations, choice, NULL);
}

static int put_accounting(record *rec) {
  const run *r = rec->r;
  method_counts counts;
  int64_t head = model_role_count(r->model, SEGMENT_HEAD), activation = 0;
  TRY(model_counts(r->model, &counts));
  if (r->config->payload == PAYLOAD_DENSE) counts.sent_floats = counts.trainable;
  counts.sent_floats -= r->left_out;
  for (int t = 0; t < r->threads; t++) activation += model_workspace_bytes(r->workspaces[t]);
  const struct {
    const char *name;
    int64_t value;
  } items[] = {
      {"trainable", counts.trainable + head},
      {"trainable_method", counts.trainable},
      {"trainable_adapter", model_role_count(r->model, SEGMENT_ADAPTER)},
      {"trainable_base", model_role_count(r->model, SEGMENT_BASE)},
      {"trainable_head", head},
      {"stored_bytes", counts.stored_bytes},
      {"regenerated_bytes", counts.regenerated_bytes},
      {"sent_floats", counts.sent_floats},
      {"head_floats", head},
      {"head_bytes_dense", r->head.dense_bytes},
      {"head_bytes_factors", r->head.factor_bytes},
      {"head_wire_estimate_dense", r->head.dense_wire_bytes},
      {"head_wire_estimate_factors", r->head.factor_wire_bytes},
      {"sent_bytes_per_step", r->message_bytes},
      {"tail_floats", TAIL_FLOATS},
      {"activation_bytes", activation},
      {"backbone_bytes", model_store_count(r->model) * (int64_t)sizeof(real)},
      {"backbone_copies_on_node", r->store_copies},
      {"shards", r->shards},
  };
  for (size_t i = 0; i < sizeof items / sizeof *items; i++) TRY(runfile_put_attribute_int(rec->file, "accounting", items[i].name, items[i].value));
  return runfile_put_attribute_text(rec->file, "accounting", "head_reduce", r->apart ? "factors" : "dense");
}

static int put_provenance(record *rec) {
  const run *r = rec->r;
  char backend[IDENTITY_BACKEND_BYTES];
  provenance p = {0};
  provenance_collect(&p);
  provenance_add(&p, "mpi", "%s", comm_library());
  provenance_add(&p, "wire", "%s", comm_wire_name(r->comm));
  provenance_add(&p, "blas", "%s", linalg_library());
  provenance_add(&p, "blas_core", "%s", linalg_core());
  provenance_add(&p, "onednn", "%s", linalg_onednn());
  provenance_add(&p, "ranks", "%d", comm_size(r->comm));
  provenance_add(&p, "nodes", "%d", comm_nodes(r->comm));
  provenance_add(&p, "threads", "%d", r->threads);
  provenance_add(&p, "binding", "%s", binding_names[r->binding]);
  provenance_add(&p, "energy_source", "%s", energy_source(r->energy));
  provenance_add(&p, "node_reduce", "%s", r->adds_on_node ? "on" : "off");
  provenance_add(&p, "weights_hash", "%s", r->weights_hash);
  provenance_add(&p, "dataset_hash", "%s", r->data->hash);
  provenance_add(&p, "order_hash", "%s", r->order_hash);
  provenance_add(&p, "schedule_hash", "%s", r->schedule_hash);
  provenance_add(&p, "binary_hash", "%s", r->binary_hash);
  provenance_add(&p, "backend", "%s", identity_backend(r->config, backend));
  if (*r->start_hash) provenance_add(&p, "start_hash", "%s", r->start_hash);
  provenance_add(&p, "initial_theta_hash", "%s", r->theta_hash);
  provenance_add(&p, "dataset", "%s", r->data->name);
  for (int i = 0; i < p.count; i++) TRY(runfile_put_attribute_text(rec->file, "provenance", p.items[i].name, p.items[i].value));
  return ERROR_NONE;
}

static int put_config(record *rec) {
  char *text;
  TRY(config_write_yaml(rec->r->config, &text));
  int code = runfile_put_text(rec->file, "config", text);
  free(text);
  TRY(code);
  TRY(config_canonical(rec->r->config, &text));
  code = runfile_put_text(rec->file, "config_canonical", text);
  free(text);
  return code;
}

static int keeps_theta(const run *r) {
  if (r->config->output.theta >= 0) return (int)r->config->output.theta;
  return r->theta_count < model_store_count(r->model) / 2; /* auto: an adapter is small, a whole model is not */
}

static int fill(record *rec, const former *f) {
  run *r = rec->r;
  TRY(runfile_put_attribute_text(rec->file, "", "experiment_id", r->experiment_id));
  TRY(runfile_put_attribute_text(rec->file, "", "run_id", r->run_id));
  TRY(runfile_put_attribute_text(rec->file, "", "request_id", r->request_id));
  TRY(put_config(rec));
  TRY(put_provenance(rec));
  TRY(put_accounting(rec));
  TRY(runfile_add_table(rec->file, &segment_table, &rec->segments));
  TRY(runfile_add_table(rec->file, &attempt_table, &rec->attempts));
  TRY(runfile_add_table(rec->file, &step_table, &rec->steps));
  TRY(runfile_add_table(rec->file, &rank_table, &rec->ranks));
  TRY(runfile_add_table(rec->file, &evaluation_table, &rec->evaluations));
  if (r->config->output.predictions && model_output_count(r->model) > 0) {
    TRY(add_predictions(rec, SPLIT_VALIDATION));
    if (r->config->output.test) TRY(add_predictions(rec, SPLIT_TEST));
  }
  if (keeps_theta(r)) TRY(runfile_add_floats(rec->file, "theta", r->theta_count, &rec->theta));
  else rec->theta = -1;
  TRY(put_segments(rec));
  TRY(put_attempts(rec, f));
  if (f->continues) TRY(carry_over(rec, f));
  return runfile_start(rec->file); /* objects only before; the file takes the place of the former one with all that this one said */
}

int record_create(run *r, record **result) {
  record *rec = calloc(1, sizeof *rec);
  *result = NULL;
  if (!rec) return FAIL(ERROR_MEMORY, NULL, "out of memory");
  rec->r = r;
  int code = runfile_create(r->path, &rec->file);
  if (code) free(rec);
  else *result = rec;
  return code;
}

int record_start(record *rec, const former *f) {
  rec->attempt = (int32_t)f->attempt;
  return fill(rec, f);
}

int record_sync(record *rec) { return runfile_sync(rec->file); }

int record_step(record *rec, int64_t step, int64_t epoch, double rate, const step_result *s) {
  int trains_base = (model_adapter(rec->r->model)->method->flags & METHOD_TRAINS_BASE) != 0; /* then nothing is the method's own */
  const step_row row = {.attempt = rec->attempt,
                        .epoch = (int32_t)epoch + 1,
                        .step = step + 1,
                        .loss = s->loss,
                        .lr = rate,
                        .grad_norm = s->norm,
                        .examples = s->count,
                        .tokens = s->tokens,
                        .step_s = s->times.step_s,
                        .expand_s = s->times.expand_s,
                        .forward_s = s->times.forward_s,
                        .backward_s = s->times.backward_s,
                        .adapter_s = trains_base ? NAN : s->times.adapter_s,
                        .gather_s = s->times.gather_s,
                        .communication_s = s->times.communication_s,
                        .optimizer_s = s->times.optimizer_s,
                        .payload_bytes = s->payload_bytes,
                        .theta_hash = s->theta_hash,
                        .wire_bytes = s->wire_bytes,
                        .sent_floats = s->sent_floats,
                        .own_examples = s->my_examples,
                        .wait_s = s->sampled ? s->times.wait_s : NAN,
                        .work_mean_s = s->sampled ? s->times.work_mean_s : NAN,
                        .work_max_s = s->sampled ? s->times.work_max_s : NAN};
  TRY(runfile_append(rec->file, rec->steps, &row, 1));
  return runfile_flush(rec->file, rec->steps);
}

int record_evaluation(record *rec, int64_t step, int64_t epoch, split_name which, const evaluation *e, double metric) {
  const double *v = e->metrics.value;
  evaluation_row row = {.attempt = rec->attempt,
                        .epoch = (int32_t)epoch,
                        .step = step,
                        .count = e->count,
                        .loss = e->loss,
                        .metric = metric,
                        .accuracy = v[METRICS_ACCURACY],
                        .f1 = v[METRICS_F1],
                        .matthews = v[METRICS_MATTHEWS],
                        .pearson = v[METRICS_PEARSON],
                        .spearman = v[METRICS_SPEARMAN],
                        .seconds = e->seconds};
  snprintf(row.split, sizeof row.split, "%s", split_names[which]);
  TRY(runfile_append(rec->file, rec->evaluations, &row, 1));
  return runfile_flush(rec->file, rec->evaluations);
}

int record_ranks(record *rec, rank_row *rows, int count) {
  for (int i = 0; i < count; i++) rows[i].attempt = rec->attempt;
  TRY(runfile_append(rec->file, rec->ranks, rows, count));
  return runfile_flush(rec->file, rec->ranks);
}

int record_predictions(record *rec, split_name which, const split *s, const predictions *p) {
  size_t bytes = sizeof(prediction_head) + (size_t)p->classes * sizeof(float);
  char *rows = malloc((size_t)p->count * bytes);
  if (!rows) return FAIL(ERROR_MEMORY, NULL, "out of memory for %lld predictions", (long long)p->count);
  for (int64_t i = 0; i < p->count; i++) {
    prediction_head head = {s->example[i], s->label[i], p->prediction[i]};
    memcpy(rows + (size_t)i * bytes, &head, sizeof head);
    memcpy(rows + (size_t)i * bytes + sizeof head, p->outputs + i * p->classes, (size_t)p->classes * sizeof(float));
  }
  int code = runfile_append(rec->file, rec->predictions[which], rows, p->count);
  free(rows);
  return code ? code : runfile_flush(rec->file, rec->predictions[which]);
}

/* What each purpose took of rank 0: NAME_payload_bytes, NAME_wire_bytes. */
static int note_meters(record *rec, const record_totals *t) {
  for (int p = 0; p < COMM_PURPOSES; p++) {
    char name[64];
    snprintf(name, sizeof name, "%s_payload_bytes", comm_purpose_names[p]);
    TRY(runfile_note_int(rec->file, "result", name, t->payload_bytes[p]));
    snprintf(name, sizeof name, "%s_wire_bytes", comm_purpose_names[p]);
    TRY(runfile_note_int(rec->file, "result", name, t->wire_bytes[p]));
  }
  return ERROR_NONE;
}

int record_finish(record *rec, const real *theta, const record_totals *t) {
  runfile *file = rec->file;
  int code = rec->theta >= 0 ? runfile_write_floats(file, rec->theta, theta) : ERROR_NONE;
  const struct {
    const char *name;
    double value;
  } numbers[] = {{"validation_metric", t->validation},
                 {"test_metric", t->test},
                 {"train_s", t->train_s},
                 {"total_s", t->total_s},
                 {"start_s", t->start_s},
                 {"tokens_per_s", (double)t->tokens / t->train_s},
                 {"energy_j", t->energy_j},
                 {"communication_s", t->communication_s},
                 {"step_s", t->step_s},
                 {"checkpoint_s", t->checkpoint_s},
                 {"communication_share", t->step_s > 0 ? t->communication_s / t->step_s : 0},
                 {"gradient_wire_bytes_mean", t->wire_mean},
                 {"gradient_wire_bytes_max", t->wire_max}};
  const struct {
    const char *name;
    int64_t value;
  } counts[] = {{"steps", t->steps}, {"tokens", t->tokens}, {"best_step", t->best_step}, {"contaminated", t->contaminated}, {"checkpoints", t->checkpoints}};
  char digits[HASH_TEXT_BYTES];
  hash_bytes(theta, (size_t)rec->r->theta_count * sizeof(real), digits);
  if (!code) code = runfile_note_text(file, "result", "metric", metric_names[rec->r->metric]);
  if (!code) code = runfile_note_text(file, "result", "theta_hash", digits);
  for (size_t i = 0; !code && i < sizeof numbers / sizeof *numbers; i++) code = runfile_note_double(file, "result", numbers[i].name, numbers[i].value);
  for (size_t i = 0; !code && i < sizeof counts / sizeof *counts; i++) code = runfile_note_int(file, "result", counts[i].name, counts[i].value);
  if (!code) code = note_meters(rec, t);
  if (code) {
    record_abandon(rec, error_last()->text);
    return code;
  }
  free(rec);
  return runfile_finish(file);
}

static void leave(record *rec, const char *how, const char *reason) {
  char text[1100];
  error kept = *error_last(); /* closing may fail too; the first reason is the one to report */
  snprintf(text, sizeof text, "%s: %s", how, reason);
  runfile_abandon(rec->file, text);
  free(rec);
  error_restore(&kept);
}

void record_abandon(record *rec, const char *reason) { leave(rec, "failed", reason); }
void record_stop(record *rec, const char *how) { leave(rec, "stopped", how); }
