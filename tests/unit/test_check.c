/* train/check: a synthetic run file in which everything follows from everything else is valid; each contradiction is found; pairs are judged by the header's
 * rules. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "method/method.h"
#include "store/runfile.h"
#include "support/folder.h"
#include "train/check.h"
#include "train/identity.h"
#include "train/internal.h"

enum { STEPS = 6, EXAMPLES = 4, CLASSES = 2, THETA = 10, HEAD = 4, TAIL = 4 };

/* What a case changes. */
typedef struct fake {
  int exact, ranks, contaminated, other_order;
  const char *word;      /* one more configuration word, or NULL */
  double loss_factor;    /* of step 4; 0: none */
  int64_t flipped_step;  /* whose theta_hash is another; 0: none */
  double metric_shift;   /* of the test metric in /result */
  double score_shift;    /* of all scores of the test predictions */
  int64_t payload_shift; /* of step 2 */
  int repeated;          /* step 3 is written twice, the second time in attempt 2 */
  int64_t second, from;  /* then: number of that attempt in /attempts, and the step it went on from; 0: 2 */
  int other_program;     /* which made it */
  int wrong_experiment;
} fake;

typedef struct step_row {
  int32_t attempt;
  int64_t step;
  double loss, lr, grad_norm, step_s, communication_s;
  int64_t examples, tokens, payload_bytes, theta_hash;
} step_row;
#define WHOLE(type, name) \
  { #name, "1", FIELD_INT64, 1, offsetof(type, name) }
#define REAL(type, name) \
  { #name, "1", FIELD_DOUBLE, 1, offsetof(type, name) }
static const field step_fields[] = {{"attempt", "1", FIELD_INT32, 1, offsetof(step_row, attempt)},
                                    WHOLE(step_row, step),
                                    REAL(step_row, loss),
                                    REAL(step_row, lr),
                                    REAL(step_row, grad_norm),
                                    REAL(step_row, step_s),
                                    REAL(step_row, communication_s),
                                    WHOLE(step_row, examples),
                                    WHOLE(step_row, tokens),
                                    WHOLE(step_row, payload_bytes),
                                    WHOLE(step_row, theta_hash)};
static const field segment_fields[] = {{"name", "text", FIELD_TEXT, 95, offsetof(check_segment, name)},
                                       {"counts_as", "text", FIELD_TEXT, 7, offsetof(check_segment, counts_as)},
                                       WHOLE(check_segment, offset),
                                       WHOLE(check_segment, rows),
                                       WHOLE(check_segment, cols),
                                       REAL(check_segment, lr),
                                       REAL(check_segment, decay)};
static const field attempt_fields[] = {WHOLE(check_attempt, attempt),    WHOLE(check_attempt, ranks),
                                       WHOLE(check_attempt, threads),    WHOLE(check_attempt, nodes),
                                       WHOLE(check_attempt, first_step), {"binary_hash", "text", FIELD_TEXT, 40, offsetof(check_attempt, binary_hash)}};
#define VALUE(name, kind) \
  { name, "1", FIELD_DOUBLE, 1, offsetof(check_evaluation, value) + (kind) * sizeof(double) }
static const field evaluation_fields[] = {WHOLE(check_evaluation, attempt),    WHOLE(check_evaluation, step),
                                          WHOLE(check_evaluation, count),      {"split", "text", FIELD_TEXT, 12, offsetof(check_evaluation, split)},
                                          REAL(check_evaluation, loss),        REAL(check_evaluation, metric),
                                          VALUE("accuracy", METRICS_ACCURACY), VALUE("f1", METRICS_F1),
                                          VALUE("matthews", METRICS_MATTHEWS), VALUE("pearson", METRICS_PEARSON),
                                          VALUE("spearman", METRICS_SPEARMAN)};
typedef struct prediction_row {
  int64_t example;
  float label, prediction, score[CLASSES];
} prediction_row;
static const field prediction_fields[] = {WHOLE(prediction_row, example),
                                          {"label", "1", FIELD_FLOAT, 1, offsetof(prediction_row, label)},
                                          {"prediction", "1", FIELD_FLOAT, 1, offsetof(prediction_row, prediction)},
                                          {"score", "1", FIELD_FLOAT, CLASSES, offsetof(prediction_row, score)}};
#define TABLE(path, type, fields) \
  { path, NULL, sizeof(type), fields, (int)(sizeof fields / sizeof *fields) }
static const table tables[] = {TABLE("series/steps", step_row, step_fields),
                               TABLE("segments", check_segment, segment_fields),
                               TABLE("attempts", check_attempt, attempt_fields),
                               TABLE("evaluation", check_evaluation, evaluation_fields),
                               TABLE("predictions/validation", prediction_row, prediction_fields),
                               TABLE("predictions/test", prediction_row, prediction_fields)};
enum { STEP_TABLE, SEGMENT_TABLE, ATTEMPT_TABLE, EVALUATION_TABLE, VALIDATION_TABLE, TEST_TABLE, TABLES };

static config *make_config(const fake *f) {
  config *c;
  char steps[32], reduce[32];
  snprintf(steps, sizeof steps, "train.steps=%d", STEPS);
  snprintf(reduce, sizeof reduce, "reduce=%s", f->exact ? "exact" : "float");
  const char *words[] = {
      "seed=3", "shards=4", "check_every=3", "method.name=lora", "task.objective=classify", "task.metric=accuracy", "train.lr_head=2e-3", "train.decay_head=0",
      steps,    reduce,     f->word};
  config_request request = {.assignments = words, .assignment_count = 10 + (f->word != NULL), .method_options = method_options};
  must(config_compose(&request, &c));
  return c;
}

/* Two of four are right; logits +-1, so each right one costs log(1 + e^-2), each wrong one 2 more. */
static void make_predictions(prediction_row rows[EXAMPLES], double shift) {
  for (int i = 0; i < EXAMPLES; i++) {
    int predicted = i % 2;
    rows[i] = (prediction_row){.example = 100 + i, .label = (float)(i < 2 ? predicted : 1 - predicted), .prediction = (float)predicted};
    for (int j = 0; j < CLASSES; j++) rows[i].score[j] = (float)((j == predicted ? 1 : -1) + shift);
  }
}

static check_evaluation make_evaluation(int64_t step, const char *split_text) {
  check_evaluation e = {.attempt = 1, .step = step, .count = EXAMPLES, .loss = log(1 + exp(-2)) + 1, .metric = 0.5};
  prediction_row rows[EXAMPLES];
  float label[EXAMPLES], prediction[EXAMPLES];
  metric_values values;
  make_predictions(rows, 0);
  for (int i = 0; i < EXAMPLES; i++) {
    label[i] = rows[i].label;
    prediction[i] = rows[i].prediction;
  }
  must(metrics_classify(EXAMPLES, CLASSES, label, prediction, &values));
  memcpy(e.value, values.value, sizeof e.value);
  snprintf(e.split, sizeof e.split, "%s", split_text);
  return e;
}

static void put_texts(runfile *r, const fake *f, const config *c, const char *schedule_hash) {
  char *canonical, *yaml, experiment_id[HASH_TEXT_BYTES], run_id[HASH_TEXT_BYTES], ranks[16];
  must(config_canonical(c, &canonical));
  must(config_write_yaml(c, &yaml));
  const identity_parts parts = {.canonical = canonical,
                                .weights_hash = "weights",
                                .dataset_hash = "data",
                                .start_hash = "",
                                .backend = "precision=f32;backend=openblas",
                                .ranks = f->ranks,
                                .threads = 1,
                                .nodes = 1,
                                .config = c};
  must(identity_of(&parts, experiment_id, run_id));
  if (f->wrong_experiment) experiment_id[0] = experiment_id[0] == 'a' ? 'b' : 'a';
  must(runfile_put_text(r, "config", yaml));
  must(runfile_put_text(r, "config_canonical", canonical));
  must(runfile_put_attribute_text(r, "", "experiment_id", experiment_id));
  must(runfile_put_attribute_text(r, "", "run_id", run_id));
  snprintf(ranks, sizeof ranks, "%d", f->ranks);
  const char *items[][2] = {{"weights_hash", "weights"},
                            {"dataset_hash", "data"},
                            {"initial_theta_hash", "start"},
                            {"order_hash", f->other_order ? "other" : "order"},
                            {"schedule_hash", schedule_hash},
                            {"binary_hash", "binary"},
                            {"backend", "precision=f32;backend=openblas"},
                            {"blas", "BLAS"},
                            {"blas_core", "core"},
                            {"ranks", ranks},
                            {"nodes", "1"},
                            {"threads", "1"},
                            {"commit", "abc"},
                            {"dirty", "0"}};
  for (size_t i = 0; i < sizeof items / sizeof *items; i++) must(runfile_put_attribute_text(r, "provenance", items[i][0], items[i][1]));
  free(canonical);
  free(yaml);
}

static int64_t message_bytes(const fake *f) { return f->exact ? 8 * (THETA + TAIL - 1) + 2 + 2 : 4 * (THETA + TAIL); }

static void put_accounting(runfile *r, const fake *f) {
  const struct {
    const char *name;
    int64_t value;
  } items[] = {{"trainable", THETA},  {"trainable_head", HEAD}, {"sent_floats", THETA - HEAD},
               {"head_floats", HEAD}, {"tail_floats", TAIL},    {"sent_bytes_per_step", message_bytes(f)}};
  for (size_t i = 0; i < sizeof items / sizeof *items; i++) must(runfile_put_attribute_int(r, "accounting", items[i].name, items[i].value));
}

static void put_steps(runfile *r, int id, const fake *f, const config *c, const float *theta, int64_t *payload) {
  const optim_options options = schedule_options(c);
  for (int i = 0; i < STEPS; i++) {
    step_row row = {.attempt = 1,
                    .step = i + 1,
                    .loss = 1.0 / (i + 1),
                    .lr = optim_share(&options, i) * c->train.lr,
                    .grad_norm = 2.0 / (i + 1),
                    .step_s = 0.5,
                    .communication_s = 0.125,
                    .tokens = 7,
                    .payload_bytes = f->ranks > 1 ? message_bytes(f) : 0};
    if (f->exact || (i + 1) % 3 == 0) row.theta_hash = i + 1 == STEPS ? hash_number(theta, THETA * sizeof *theta) : 1000 + i;
    if (i + 1 == 4 && f->loss_factor != 0) row.loss *= f->loss_factor;
    if (i + 1 == f->flipped_step) row.theta_hash++;
    if (i + 1 == 2) row.payload_bytes += f->payload_shift;
    if (i + 1 == 3 && f->repeated) {
      step_row first = row;
      first.loss = NAN;
      must(runfile_append(r, id, &first, 1));
    }
    if (f->repeated && i >= 2) row.attempt = 2;
    *payload += row.payload_bytes;
    must(runfile_append(r, id, &row, 1));
  }
}

static void note_result(runfile *r, const fake *f, const float *theta, int64_t payload) {
  char digits[HASH_TEXT_BYTES];
  hash_bytes(theta, THETA * sizeof *theta, digits);
  must(runfile_note_text(r, "result", "metric", "accuracy"));
  must(runfile_note_text(r, "result", "theta_hash", digits));
  must(runfile_note_double(r, "result", "validation_metric", 0.5));
  must(runfile_note_double(r, "result", "test_metric", 0.5 + f->metric_shift));
  must(runfile_note_double(r, "result", "step_s", 0.5 * STEPS));
  must(runfile_note_double(r, "result", "communication_s", 0.125 * STEPS));
  must(runfile_note_int(r, "result", "steps", STEPS));
  must(runfile_note_int(r, "result", "tokens", 7 * STEPS));
  must(runfile_note_int(r, "result", "best_step", STEPS));
  must(runfile_note_int(r, "result", "gradient_payload_bytes", payload));
  if (f->contaminated) must(runfile_note_int(r, "result", "contaminated", 1));
}

static const char *make_run(const char *name, fake f) {
  static char path[8][700];
  static int turn;
  char *place = path[turn++ % 8], schedule_hash[HASH_TEXT_BYTES];
  if (!f.ranks) f.ranks = 2;
  float theta[THETA];
  for (int i = 0; i < THETA; i++) theta[i] = (float)i / 3;
  config *c = make_config(&f);
  const check_segment segments[] = {{"head", "head", 0, HEAD, 1, c->train.lr_head, 0}, {"a", "adapter", HEAD, 2, (THETA - HEAD) / 2, c->train.lr, 0}};
  const optim_segment rates[] = {{.rate = segments[0].lr}, {.rate = segments[1].lr}};
  const optim_options options = schedule_options(c);
  must(optim_schedule_hash(&options, rates, 2, schedule_hash));
  runfile *r;
  int id[TABLES], theta_id;
  snprintf(place, sizeof path[0], "%s/%s.h5", folder, name);
  must(runfile_create(place, &r));
  put_texts(r, &f, c, schedule_hash);
  put_accounting(r, &f);
  for (int i = 0; i < TABLES; i++) must(runfile_add_table(r, &tables[i], &id[i]));
  must(runfile_add_floats(r, "theta", THETA, &theta_id));
  must(runfile_start(r));
  const check_attempt attempts[] = {
      {.attempt = 1, .ranks = f.ranks, .threads = 1, .nodes = 1, .binary_hash = "binary"},
      {f.second ? f.second : 2, f.ranks, 1, 1, .first_step = f.from ? f.from : 2, .binary_hash = {f.other_program ? 'x' : 'b', 'i', 'n', 'a', 'r', 'y'}}};
  must(runfile_append(r, id[ATTEMPT_TABLE], attempts, 1 + f.repeated));
  must(runfile_append(r, id[SEGMENT_TABLE], segments, 2));
  int64_t payload = 0;
  put_steps(r, id[STEP_TABLE], &f, c, theta, &payload);
  const check_evaluation evaluations[] = {make_evaluation(STEPS, "validation"), make_evaluation(STEPS, "validation"), make_evaluation(STEPS, "test")};
  must(runfile_append(r, id[EVALUATION_TABLE], evaluations, 3));
  prediction_row rows[EXAMPLES];
  make_predictions(rows, 0);
  must(runfile_append(r, id[VALIDATION_TABLE], rows, EXAMPLES));
  make_predictions(rows, f.score_shift);
  must(runfile_append(r, id[TEST_TABLE], rows, EXAMPLES));
  must(runfile_write_floats(r, theta_id, theta));
  note_result(r, &f, theta, payload);
  must(runfile_finish(r));
  config_destroy(c);
  return place;
}

static int has(const check_lines *lines, const char *part) {
  for (const check_line *line = lines->first; line; line = line->next)
    if (strstr(line->text, part)) return 1;
  return 0;
}

/* ---- one file ---- */

static void expect_reason(const char *path, const char *reason) {
  check_report *r;
  must(check_files(&path, 1, CHECK_TOLERANCE, &r));
  const check_lines *reasons = &r->runs[0].reasons;
  if (!reason && reasons->count) fail_msg("not valid: %s", reasons->first->text);
  if (reason && (reasons->count != 1 || !has(reasons, reason)))
    fail_msg("%d reasons, not '%s': %s", reasons->count, reason, reasons->count ? reasons->first->text : "");
  assert_int_equal(r->invalid, reason != NULL);
  check_destroy(r);
}

static void whole_runs_are_valid(void **state) {
  (void)state;
  expect_reason(make_run("float", (fake){.exact = 0}), NULL);
  expect_reason(make_run("exact", (fake){.exact = 1}), NULL);
  expect_reason(make_run("alone", (fake){.ranks = 1}), NULL);
  expect_reason(make_run("requeued", (fake){.repeated = 1}), NULL);
}

static void contradictions_are_found(void **state) {
  (void)state;
  expect_reason(make_run("id", (fake){.wrong_experiment = 1}), "experiment_id is");
  expect_reason(make_run("metric", (fake){.metric_shift = 0.25}), "test_metric is 0.75, but /evaluation has 0.5");
  expect_reason(make_run("kept", (fake){.flipped_step = STEPS}), "step 6, whose theta is kept");
  expect_reason(make_run("surplus", (fake){.flipped_step = 2}), "step 2 has a theta_hash");
  expect_reason(make_run("payload", (fake){.payload_shift = 4}), "step 2: payload_bytes is 60, by the accounting it is 56");
  expect_reason(make_run("loss", (fake){.loss_factor = INFINITY}), "step 4: the loss is inf");
  expect_reason(make_run("attempts", (fake){.repeated = 1, .second = 3}), "/attempts: row 1 is of attempt 3");
  expect_reason(make_run("early", (fake){.repeated = 1, .from = 4}), "step 3 says that attempt 2 made it, which /attempts and the steps before rule out");
}

static void marks_are_notes(void **state) {
  (void)state;
  const char *paths[] = {make_run("marked", (fake){.contaminated = 1, .ranks = 1})};
  check_report *r;
  must(check_files(paths, 1, CHECK_TOLERANCE, &r));
  assert_int_equal(r->invalid, 0);
  assert_true(has(&r->runs[0].notes, "contaminated") && has(&r->runs[0].notes, "one rank only"));
  assert_false(has(&r->runs[0].notes, "dirty") || has(&r->runs[0].notes, "older version") || has(&r->runs[0].notes, "attempts"));
  check_destroy(r);
  const char *again[] = {make_run("twice", (fake){.repeated = 1}), make_run("by-two", (fake){.repeated = 1, .other_program = 1})};
  must(check_files(again, 2, CHECK_TOLERANCE, &r));
  assert_true(has(&r->runs[0].notes, "made in 2 attempts") && has(&r->runs[1].notes, "not all by one build"));
  assert_false(has(&r->runs[0].notes, "build"));
  check_destroy(r);
}

/* ---- pairs ---- */

static check_report *pair_of(const char *a, const char *b, double tolerance) {
  const char *paths[] = {a, b};
  check_report *r;
  must(check_files(paths, 2, tolerance, &r));
  assert_int_equal(r->invalid, 0);
  assert_int_equal(r->pair_count, 1);
  return r;
}

static void expect_pair(const char *a, const char *b, double tolerance, check_relation relation, int64_t step, const char *difference) {
  check_report *r = pair_of(a, b, tolerance);
  const check_pair *p = &r->pairs[0];
  if (p->relation != relation) fail_msg("%s: %s", check_relation_names[p->relation], p->differences.count ? p->differences.first->text : "no difference");
  assert_int_equal(p->first_step, step);
  if (difference && !has(&p->differences, difference)) fail_msg("'%s' is not among the differences", difference);
  if (!difference) assert_int_equal(p->differences.count, 0);
  check_destroy(r);
}

static void exact_runs_agree_bit_for_bit(void **state) {
  (void)state;
  const char *one = make_run("one", (fake){.exact = 1, .ranks = 1}), *three = make_run("three", (fake){.exact = 1, .ranks = 3});
  expect_pair(one, three, CHECK_TOLERANCE, CHECK_AGREE, 0, NULL);
  expect_pair(one, make_run("flipped", (fake){.exact = 1, .flipped_step = 4}), CHECK_TOLERANCE, CHECK_DIFFER, 4, "step 4: theta_hash is");
  expect_pair(one, make_run("last-bit", (fake){.exact = 1, .loss_factor = 1 + 1e-15}), 1, CHECK_DIFFER, 4, "step 4: the loss is");
  expect_pair(one, make_run("scores", (fake){.exact = 1, .score_shift = 1e-6}), 1, CHECK_DIFFER, 0, "test, example 100: score 0");
  expect_pair(one, make_run("floats", (fake){.loss_factor = 1 + 1e-6}), CHECK_TOLERANCE, CHECK_AGREE, 0, NULL);
}

/* d(a, b) against tolerance (1 + t / 10): for step 4 that is 1.4 tolerance. */
static void float_runs_agree_to_rounding(void **state) {
  (void)state;
  const char *one = make_run("f1", (fake){.ranks = 1});
  expect_pair(one, make_run("f2", (fake){.loss_factor = 1 + 1.39e-5}), 1e-5, CHECK_AGREE, 0, NULL);
  expect_pair(one, make_run("f3", (fake){.loss_factor = 1 + 1.41e-5}), 1e-5, CHECK_DIFFER, 4, "step 4: the loss is");
  expect_pair(one, make_run("f3", (fake){.loss_factor = 1 + 1.41e-5}), 1e-4, CHECK_AGREE, 0, NULL);
  expect_pair(one, make_run("f4", (fake){.score_shift = 1e-3}), 1e-5, CHECK_DIFFER, 0, "test, example 100: score 0");
  expect_pair(one, make_run("f5", (fake){.other_order = 1}), 1e-5, CHECK_DIFFER, 0, "order_hash:");
}

static void experiments_are_comparable_or_not(void **state) {
  (void)state;
  const char *one = make_run("c1", (fake){.exact = 0});
  expect_pair(one, make_run("c2", (fake){.word = "method.rank=4"}), 1e-5, CHECK_COMPARABLE, 0, NULL);
  expect_pair(one, make_run("c3", (fake){.word = "train.lr=7e-3"}), 1e-5, CHECK_COMPARABLE, 0, NULL);
  expect_pair(one, make_run("c4", (fake){.word = "seed=4", .other_order = 1}), 1e-5, CHECK_COMPARABLE, 0, NULL);
  expect_pair(one, make_run("c5", (fake){.word = "method.rank=4", .other_order = 1}), 1e-5, CHECK_NOT_COMPARABLE, 0, "order_hash: order and other");
  expect_pair(one, make_run("c6", (fake){.word = "train.batch=8"}), 1e-5, CHECK_NOT_COMPARABLE, 0, "train.batch: 32 and 8");
  expect_pair(one, make_run("c7", (fake){.word = "train.clip=1"}), 1e-5, CHECK_NOT_COMPARABLE, 0,
              "train.clip: - and 1"); /* at its neutral value a key is left out */
}

static void what_cannot_be_read_is_a_reason(void **state) {
  (void)state;
  const char *paths[] = {"/nowhere/run.h5", make_run("good", (fake){.exact = 0}), "/nowhere/other.h5"};
  check_report *r;
  must(check_files(paths, 3, CHECK_TOLERANCE, &r));
  assert_int_equal(r->invalid, 2);
  assert_int_equal(r->pair_count, 0);
  assert_true(has(&r->runs[0].reasons, "No such file") && !has(&r->runs[0].reasons, "/nowhere") && !r->runs[0].is_read && r->runs[1].is_read);
  check_destroy(r);
  check_destroy(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(whole_runs_are_valid),
      cmocka_unit_test(contradictions_are_found),
      cmocka_unit_test(marks_are_notes),
      cmocka_unit_test(exact_runs_agree_bit_for_bit),
      cmocka_unit_test(float_runs_agree_to_rounding),
      cmocka_unit_test(experiments_are_comparable_or_not),
      cmocka_unit_test(what_cannot_be_read_is_a_reason),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
