/* The model at work: packing, the layout of theta, what backward tells about its progress, dropout, and the same bits again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "linalg/linalg.h"
#include "support/tiny_bench.h"

static int setup(void **state) {
  (void)state;
  return linalg_setup();
}

/* ---- models without weights ---- */

static void models_that_cannot_be_are_refused(void **state) {
  (void)state;
  const method *m;
  chosen_options o;
  model *result;
  model_shape shape = tiny_shape("bert");
  model_options options = classify;
  must(method_find("head", &m));
  must(options_default(m, &o));
  options.classes = 1;
  assert_int_equal(model_create(&shape, &options, m, &o.set, &result), ERROR_USAGE);
  assert_null(result);
  options = classify;
  options.objective = MODEL_REGRESS;
  assert_true(model_create(&shape, &options, m, &o.set, &result) != 0);
  shape.heads = 3;
  assert_int_equal(model_create(&shape, &classify, m, &o.set, &result), ERROR_USAGE);
  shape = tiny_shape("roberta");
  shape.positions = 2;
  assert_int_equal(model_create(&shape, &classify, m, &o.set, &result), ERROR_USAGE);
  says("positions");
  assert_int_equal(method_find("lorra", &m), ERROR_USAGE);
  assert_non_null(strstr(error_last()->hint, "lora"));
}

/* ---- a tiny model at work ---- */

enum { SEQUENCES = 5 };
static const int numbers[SEQUENCES] = {3, 8, 1, 20, 7}, sizes[SEQUENCES] = {1, 5, 9, 2, 14};

static const char *const method_names[] = {"head", "lora", "full", "bitfit"};

/* A sequence gives the same outputs and hidden states packed with others as alone. */
static void packed_is_alone(void **state) {
  (void)state;
  for (int f = 0; f < 2; f++)
    for (int k = 0; k < 4; k++)
      for (int training = 0; training < 2; training++) { /* a workspace that keeps activations predicts the same */
        bench b;
        packed_batch all, alone;
        model_sums sums = {0}, sum = {0};
        real together[SEQUENCES * 3], single[3], *hidden = must_take(64 * 16, sizeof *hidden);
        bench_create(&b, families[f], &classify, method_names[k], training);
        batch_fill(&all, b.model, MODEL_CLASSIFY, 3, SEQUENCES, numbers, sizes);
        must(model_predict(b.model, b.workspace, &all.view, together, &sums));
        memcpy(hidden, model_hidden(b.workspace), sizeof *hidden * (size_t)all.view.tokens * 16);
        assert_true(sums.count == SEQUENCES && sums.tokens == 31);
        for (int s = 0; s < SEQUENCES; s++) {
          batch_fill(&alone, b.model, MODEL_CLASSIFY, 3, 1, &numbers[s], &sizes[s]);
          must(model_predict(b.model, b.workspace, &alone.view, single, &sum));
          for (int i = 0; i < 3; i++) assert_true(fabs(single[i] - together[s * 3 + i]) <= 1e-5);
          const real *own = model_hidden(b.workspace), *packed = hidden + all.first[s] * 16;
          for (int i = 0; i < sizes[s] * 16; i++) assert_true(fabs(own[i] - packed[i]) <= 1e-5);
        }
        assert_true(fabs(sum.loss - sums.loss) <= 1e-5 * (1 + fabs(sums.loss)) && sum.count == sums.count && sum.tokens == sums.tokens);
        free(hidden);
        bench_destroy(&b);
      }
}

/* Other words in the neighbours, same lengths: not one bit of a sequence's result changes. Other words in the sequence itself do change it. */
static void neighbours_do_not_matter(void **state) {
  (void)state;
  for (int f = 0; f < 2; f++) {
    bench b;
    packed_batch one, other;
    model_sums sums = {0};
    real x[SEQUENCES * 3], y[SEQUENCES * 3];
    int changed[SEQUENCES];
    const int kept = 2;
    bench_create(&b, families[f], &classify, "lora", 0);
    for (int s = 0; s < SEQUENCES; s++) changed[s] = s == kept ? numbers[s] : numbers[s] + 100;
    batch_fill(&one, b.model, MODEL_CLASSIFY, 3, SEQUENCES, numbers, sizes);
    batch_fill(&other, b.model, MODEL_CLASSIFY, 3, SEQUENCES, changed, sizes);
    must(model_predict(b.model, b.workspace, &one.view, x, &sums));
    must(model_predict(b.model, b.workspace, &other.view, y, &sums));
    for (int s = 0; s < SEQUENCES; s++) {
      if (s == kept) assert_memory_equal(x + s * 3, y + s * 3, sizeof(real) * 3);
      else assert_true(memcmp(x + s * 3, y + s * 3, sizeof(real) * 3) != 0);
    }
    bench_destroy(&b);
  }
}

/* Positions, words and segment types all count; a model that dropped one of them would pass many other tests. */
static void inputs_matter(void **state) {
  (void)state;
  bench b;
  packed_batch batch_;
  model_sums sums = {0};
  const int number = 3, length = 6;
  real before[3], after[3];
  bench_create(&b, "bert", &classify, "head", 0);
  for (int what = 0; what < 3; what++) {
    batch_fill(&batch_, b.model, MODEL_CLASSIFY, 3, 1, &number, &length);
    must(model_predict(b.model, b.workspace, &batch_.view, before, &sums));
    if (what == 0) batch_.token[4] = (batch_.token[4] + 1) % 40;
    if (what == 1) batch_.type[1] = !batch_.type[1];
    if (what == 2) batch_.position[2] = 11;
    must(model_predict(b.model, b.workspace, &batch_.view, after, &sums));
    double apart = 0;
    for (int i = 0; i < 3; i++) apart = fmax(apart, fabs(before[i] - after[i]));
    assert_true(apart > 1e-3);
  }
  bench_destroy(&b);
}

static void workspaces_refuse_what_does_not_fit(void **state) {
  (void)state;
  bench b;
  packed_batch all;
  model_workspace *small;
  model_sums sums = {0};
  real outputs[SEQUENCES * 3];
  bench_create(&b, "bert", &classify, "lora", 0);
  batch_fill(&all, b.model, MODEL_CLASSIFY, 3, SEQUENCES, numbers, sizes);
  const int64_t limits[3][3] = {{30, 5, 307}, {31, 4, 307}, {31, 5, 306}}; /* tokens, sequences, squares: one too small each */
  for (int i = 0; i < 3; i++) {
    must(model_workspace_create(b.model, limits[i][0], limits[i][1], 0, limits[i][2], 0, &small));
    assert_int_equal(model_predict(b.model, small, &all.view, outputs, &sums), ERROR_INTERNAL);
    model_workspace_destroy(small);
  }
  must(model_workspace_create(b.model, 31, 5, 0, 307, 0, &small)); /* exactly as large as needed */
  must(model_predict(b.model, small, &all.view, outputs, &sums));
  assert_true(model_workspace_bytes(small) > 0);
  assert_int_equal(model_gradient(b.model, small, &all.view, b.grad, &sums, NULL), ERROR_INTERNAL); /* made for predictions */
  model_workspace_destroy(small);
  bench_destroy(&b);
}

/* ---- theta and backward ---- */

/* Where a parameter's name says it stands in backward order: the head first, then the last layer down to the embeddings. */
static int place_of(const segment *s) {
  int layer;
  if (s->role == SEGMENT_HEAD) return 0;
  if (s->role == SEGMENT_ADAPTER) return 1000;
  if (!strncmp(s->name, "embeddings.", 11)) return 900;
  const char *at = strstr(s->name, "layer.");
  assert_non_null(at);
  assert_int_equal(sscanf(at, "layer.%d.", &layer), 1);
  return 100 - layer;
}

static void theta_lies_in_backward_order(void **state) {
  (void)state;
  for (int k = 0; k < 4; k++) {
    bench b;
    bench_create(&b, "bert", &classify, method_names[k], 0);
    int64_t at = 0;
    int before = 0;
    for (int i = 0; i < model_segment_count(b.model); i++) {
      const segment *s = model_segment(b.model, i);
      assert_true(s->offset == at);
      at += (int64_t)s->rows * s->cols;
      assert_true(place_of(s) >= before);
      before = place_of(s);
      if (s->role == SEGMENT_HEAD) assert_string_equal(s->rate, "head");
      if (s->role == SEGMENT_BASE) assert_string_equal(s->rate, "base");
      size_t length = strlen(s->name);
      if (s->role == SEGMENT_BASE && length > 5 && !strcmp(s->name + length - 5, ".bias")) assert_int_equal(s->decays, 0);
      if (strstr(s->name, "LayerNorm")) assert_int_equal(s->decays, 0);
    }
    assert_true(at == model_theta_count(b.model));
    assert_true(before == (k == 0 ? 0 : k == 1 ? 1000 : 900));
    /* What is trained has its place in theta, what is frozen has none. */
    for (int i = 0; i < model_param_count(b.model); i++) {
      const param *p = model_param(b.model, i);
      int trained = p->role == SEGMENT_HEAD || k == 2 || (k == 3 && (p->kind == PARAM_BIAS || p->kind == PARAM_NORM_SHIFT));
      assert_int_equal(p->theta_offset >= 0, trained);
      assert_true(model_value(b.model, i) == (trained ? b.theta + p->theta_offset : b.store + p->store_offset));
    }
    bench_destroy(&b);
  }
}

typedef struct watcher {
  const real *grad;
  real *copy; /* what was declared final */
  int64_t ready, calls, broken, steps;
} watcher;

static void watch(void *context, int64_t ready) {
  watcher *w = context;
  w->broken += memcmp(w->copy, w->grad, (size_t)w->ready * sizeof(real)) != 0;
  w->calls++;
  if (ready <= w->ready) return; /* nothing new: only time to drive messages */
  w->steps++;
  w->ready = ready;
  memcpy(w->copy, w->grad, (size_t)ready * sizeof(real));
}

/* What backward declares ready is never touched again, and covers in the end all but the adapter's part. */
static void told_progress_is_final(void **state) {
  (void)state;
  for (int k = 0; k < 4; k++)
    for (int objective = 0; objective < 2; objective++) {
      bench b;
      packed_batch all;
      model_sums sums = {0};
      model_options options = classify;
      options.objective = objective ? MODEL_MLM : MODEL_CLASSIFY; /* there the word embeddings serve twice: first in the head, last in the embeddings */
      bench_create(&b, "bert", &options, method_names[k], 1);
      int64_t count = model_theta_count(b.model), adapter_count = model_role_count(b.model, SEGMENT_ADAPTER);
      watcher w = {.grad = b.grad, .copy = must_take((size_t)count, sizeof(real))};
      model_progress progress = {watch, &w};
      batch_fill(&all, b.model, options.objective, 3, SEQUENCES, numbers, sizes);
      must(model_gradient(b.model, b.workspace, &all.view, b.grad, &sums, &progress));
      assert_int_equal(w.broken, 0);
      assert_true(w.ready == count - adapter_count);
      assert_memory_equal(w.copy, b.grad, (size_t)w.ready * sizeof(real));
      assert_true(w.calls >= 1);
      if (k >= 2) assert_true(w.steps >= 2 * 4);                             /* at least once per map of each layer: enough to overlap */
      for (int64_t i = w.ready; i < count; i++) assert_true(b.grad[i] == 0); /* the adapter's part comes with gather */
      must(model_gather(b.model, b.workspace, b.grad));
      assert_memory_equal(w.copy, b.grad, (size_t)w.ready * sizeof(real));
      for (int i = 0; i < model_segment_count(b.model); i++) { /* and every trained segment got something */
        const segment *s = model_segment(b.model, i);
        double size = linalg_square_sum((int64_t)s->rows * s->cols, b.grad + s->offset);
        if (!(size > 0)) fail_msg("%s: %s has no gradient", method_names[k], s->name);
      }
      /* An empty shard is finished at once, and adds nothing. */
      batch empty = {0};
      model_sums none = {0};
      memcpy(w.copy, b.grad, (size_t)count * sizeof(real));
      w.ready = 0;
      must(model_gradient(b.model, b.workspace, &empty, b.grad, &none, &progress));
      assert_true(w.ready == count - adapter_count && none.count == 0 && none.loss == 0);
      free(w.copy);
      bench_destroy(&b);
    }
}

/* The frozen store is read-only to training, and a gradient is a pure function: the same bits from two threads and from a used workspace. */
static void gradients_repeat_to_the_bit(void **state) {
  (void)state;
  for (int k = 0; k < 4; k++) {
    bench b;
    packed_batch all;
    model_options options = classify;
    options.dropout_embedding = options.dropout_attention = options.dropout_hidden = options.dropout_adapter = options.dropout_head = 0.2;
    bench_create(&b, "bert", &options, method_names[k], 1);
    int64_t count = model_theta_count(b.model), stored = model_store_count(b.model);
    batch_fill(&all, b.model, MODEL_CLASSIFY, 3, SEQUENCES, numbers, sizes);
    real *store = must_take((size_t)stored, sizeof *store), *theta = must_take((size_t)count, sizeof *theta);
    memcpy(store, b.store, (size_t)stored * sizeof *store);
    memcpy(theta, b.theta, (size_t)count * sizeof *theta);
    model_sums sums = {0};
    must(model_gradient(b.model, b.workspace, &all.view, b.grad, &sums, NULL));
    must(model_gather(b.model, b.workspace, b.grad));
    int wrong = 0;
#pragma omp parallel num_threads(2) reduction(+ : wrong)
    {
      model_workspace *w = NULL;
      real *grad = calloc((size_t)count, sizeof *grad);
      wrong += !grad || model_workspace_create(b.model, 64, 8, 0, 1024, 1, &w) != 0;
      for (int i = 0; i < 20 && !wrong; i++) {
        model_sums own = {0};
        memset(grad, 0, (size_t)count * sizeof *grad);
        wrong += model_gradient(b.model, w, &all.view, grad, &own, NULL) || model_gather(b.model, w, grad);
        wrong += own.loss != sums.loss || memcmp(grad, b.grad, (size_t)count * sizeof *grad) != 0;
      }
      model_workspace_destroy(w);
      free(grad);
    }
    assert_int_equal(wrong, 0);
    assert_memory_equal(store, b.store, (size_t)stored * sizeof *store);
    assert_memory_equal(theta, b.theta, (size_t)count * sizeof *theta);
    free(store);
    free(theta);
    bench_destroy(&b);
  }
}

/* The head's gradient from its rows, by whoever has them, is the one that the model would have added, to the bit; the rest of theta's is the same either way.
 */
static void rows_make_the_heads_gradient(void **state) {
  (void)state;
  for (int k = 0; k < 4; k++)
    for (int deep = 0; deep < 2; deep++)
      for (int regress = 0; regress < 2; regress++) {
        bench b;
        packed_batch all;
        model_sums sums = {0}, same = {0};
        model_options options = classify;
        options.head = deep ? MODEL_HEAD_TANH : MODEL_HEAD_LINEAR;
        options.dropout_head = 0.3;
        if (regress) options.objective = MODEL_REGRESS, options.classes = 1;
        bench_create(&b, "bert", &options, method_names[k], 1);
        batch_fill(&all, b.model, options.objective, options.classes, SEQUENCES, numbers, sizes);
        size_t count = (size_t)model_theta_count(b.model), head = (size_t)model_role_count(b.model, SEGMENT_HEAD), row = (size_t)model_head_row(b.model);
        assert_true(row == (size_t)options.classes + (deep ? 3 : 1) * 16);
        real *apart = must_take((int64_t)count, sizeof *apart), *rows = must_take((int64_t)(SEQUENCES * row + 1), sizeof *rows);
        memset(b.grad, 0, count * sizeof *b.grad);
        must(model_gradient(b.model, b.workspace, &all.view, b.grad, &sums, NULL));
        must(model_gather(b.model, b.workspace, b.grad));
        memset(apart, 0, count * sizeof *apart);
        rows[SEQUENCES * row] = 77;
        must(model_gradient_apart(b.model, b.workspace, &all.view, rows, apart, &same, NULL));
        must(model_gather(b.model, b.workspace, apart));
        for (size_t i = 0; i < head; i++) assert_true(apart[i] == 0);
        assert_true(rows[SEQUENCES * row] == 77 && memcmp(&sums, &same, sizeof sums) == 0);
        model_head_gradient(b.model, 0, rows, apart);
        model_head_gradient(b.model, SEQUENCES, rows, apart);
        assert_memory_equal(apart, b.grad, count * sizeof *apart);
        assert_true(memcmp(b.grad, b.grad + 1, (head - 1) * sizeof *apart) != 0);
        free(rows);
        free(apart);
        bench_destroy(&b);
      }
  bench b;
  packed_batch all;
  model_sums sums = {0};
  real row[1];
  model_options options = classify;
  options.objective = MODEL_MLM;
  bench_create(&b, "bert", &options, "lora", 1);
  batch_fill(&all, b.model, MODEL_MLM, 0, SEQUENCES, numbers, sizes);
  assert_true(model_head_row(b.model) == 0);
  assert_int_equal(model_gradient_apart(b.model, b.workspace, &all.view, row, b.grad, &sums, NULL), ERROR_INTERNAL);
  bench_destroy(&b);
}

/* Dropout acts in training alone, changes with step and sequence, and leaves the mean loss where it is. */
static void dropout_acts_in_training_alone(void **state) {
  (void)state;
  bench b, plain;
  packed_batch all;
  model_options options = classify;
  bench_create(&plain, "bert", &options, "lora", 1);
  options.dropout_hidden = options.dropout_attention = options.dropout_adapter = options.dropout_embedding = options.dropout_head = 0.1;
  bench_create(&b, "bert", &options, "lora", 1);
  batch_fill(&all, b.model, MODEL_CLASSIFY, 3, SEQUENCES, numbers, sizes);
  model_sums still = {0}, same = {0}, first = {0}, second = {0};
  must(model_predict(plain.model, plain.workspace, &all.view, NULL, &still));
  must(model_predict(b.model, b.workspace, &all.view, NULL, &same));
  assert_true(still.loss == same.loss);
  must(model_gradient(b.model, b.workspace, &all.view, b.grad, &first, NULL));
  assert_true(first.loss != still.loss);
  for (int i = 0; i < all.view.tokens; i++) all.stream[i] += UINT64_C(1) << 32; /* the next step */
  must(model_gradient(b.model, b.workspace, &all.view, b.grad, &second, NULL));
  assert_true(first.loss != second.loss);
  bench_destroy(&b);
  bench_destroy(&plain);
}

/* The inputs of o, up and down outlive their layer only where something there is trained: else all layers share one buffer of each, and only one is taken. */
static void what_nobody_wants_later_is_taken_once(void **state) {
  (void)state;
  bench all, biases;
  const int64_t tokens = 64, width = 16, ffn = 32, layers = 2; /* of tiny_shape and bench_create */
  bench_create(&all, "bert", &classify, "full", 1);
  bench_create(&biases, "bert", &classify, "bitfit", 1);
  int64_t more = model_workspace_bytes(all.workspace) - model_workspace_bytes(biases.workspace);
  assert_true(more == (layers - 1) * tokens * (2 * width + ffn) * (int64_t)sizeof(real));
  bench_destroy(&all);
  bench_destroy(&biases);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(models_that_cannot_be_are_refused),
      cmocka_unit_test(packed_is_alone),
      cmocka_unit_test(neighbours_do_not_matter),
      cmocka_unit_test(inputs_matter),
      cmocka_unit_test(workspaces_refuse_what_does_not_fit),
      cmocka_unit_test(theta_lies_in_backward_order),
      cmocka_unit_test(told_progress_is_final),
      cmocka_unit_test(gradients_repeat_to_the_bit),
      cmocka_unit_test(rows_make_the_heads_gradient),
      cmocka_unit_test(dropout_acts_in_training_alone),
      cmocka_unit_test(what_nobody_wants_later_is_taken_once),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
