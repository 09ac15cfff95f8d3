/* Frozen weights as a backend lays them out: gradients agree with the plain ones, and a lean model, which keeps nothing else of them, gives the same bits in
 * less memory. */
#include <stdio.h>

#include "support/tiny_bench.h"

static const struct {
  linalg_backend backend;
  linalg_precision precision;
  double tolerance; /* against OpenBLAS in floats, of the largest gradient */
} kinds[] = {{LINALG_OPENBLAS, LINALG_F32, 0}, {LINALG_ONEDNN, LINALG_F32, 1e-5}, {LINALG_ONEDNN, LINALG_BF16, 0.05}};
enum { KINDS = sizeof kinds / sizeof *kinds };

static int is_there(int kind) { return linalg_backend_check(kinds[kind].backend, kinds[kind].precision) == ERROR_NONE; }

static int setup(void **state) {
  (void)state;
  for (int kind = 0; kind < KINDS; kind++)
    if (!is_there(kind)) printf("# %s\n", error_last()->text);
  return linalg_setup();
}

static bench make(int kind, int lean, const char *method_name) {
  bench b;
  model_options options = classify;
  model_shape shape = tiny_shape("bert");
  options.backend = kinds[kind].backend;
  options.precision = kinds[kind].precision;
  options.lean = lean;
  options.dropout_hidden = options.dropout_attention = options.dropout_adapter = 0.1;
  b.model = plan_model(&shape, &options, method_name, NULL, NULL);
  size_t bytes = (size_t)model_store_count(b.model) * sizeof(real);
  b.store = aligned_alloc(64, (bytes + 63) / 64 * 64);
  assert_non_null(b.store);
  memset(b.store, 0xff, bytes); /* NaN, wherever nothing is written */
  b.theta = must_take((size_t)model_theta_count(b.model), sizeof(real));
  b.grad = must_take((size_t)model_theta_count(b.model), sizeof(real));
  must(model_attach(b.model, b.store));
  must(model_randomize(b.model));
  must(tiny_fill_theta(b.model, 3, 0.5, 0.1, b.theta));
  must(model_workspace_create(b.model, 40, 4, 0, 600, 1, &b.workspace));
  return b;
}

static double gradient(bench *b) {
  static packed_batch packed;
  model_sums sums = {0};
  batch_fill(&packed, b->model, MODEL_CLASSIFY, 3, 3, (const int[]){0, 1, 2}, (const int[]){5, 17, 8});
  must(model_expand(b->model, b->theta));
  must(model_gradient(b->model, b->workspace, &packed.view, b->grad, &sums, NULL));
  must(model_gather(b->model, b->workspace, b->grad));
  return sums.loss;
}

static double farthest(const bench *a, const bench *b) {
  double most = 0, largest = 0;
  for (int64_t i = 0; i < model_theta_count(a->model); i++) {
    most = fmax(most, fabs((double)a->grad[i] - (double)b->grad[i])); /* NaN would be lost here: largest shows it */
    largest = fmax(largest, fabs((double)a->grad[i]));
    assert_true(isfinite(b->grad[i]));
  }
  return most / largest;
}

static int keeps_plain(const bench *b, const char *name) {
  for (int i = 0; i < model_param_count(b->model); i++)
    if (!strcmp(model_param(b->model, i)->name, name)) return model_value(b->model, i) != NULL;
  fail_msg("no parameter is called %s", name);
  return 0;
}

static void lean_and_whole_agree(void **state) {
  static const char *const methods[] = {"lora", "vera", "red", "glora", "bitfit", "full", "head"};
  (void)state;
  for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
    bench plain = make(0, 0, methods[i]);
    double loss = gradient(&plain);
    for (int kind = 0; kind < KINDS; kind++) {
      if (!is_there(kind)) continue;
      bench whole = make(kind, 0, methods[i]), lean = make(kind, 1, methods[i]);
      int trains_all = !strcmp(methods[i], "full"), reads = !strcmp(methods[i], "glora"), drops = kinds[kind].backend == LINALG_ONEDNN && !trains_all && !reads;
      assert_true(gradient(&whole) == gradient(&lean));
      assert_memory_equal(whole.grad, lean.grad, (size_t)model_theta_count(lean.model) * sizeof(real));
      assert_true(fabs(gradient(&whole) / loss - 1) <= kinds[kind].tolerance);
      memset(whole.grad, 0, (size_t)model_theta_count(whole.model) * sizeof(real));
      gradient(&whole);
      if (!(farthest(&plain, &whole) <= kinds[kind].tolerance)) fail_msg("%s, kind %d: %g", methods[i], kind, farthest(&plain, &whole));
      assert_int_equal(keeps_plain(&lean, "layer.0.qkv.weight"), !drops);
      assert_int_equal(model_store_count(lean.model) < model_store_count(whole.model), drops);
      assert_true(keeps_plain(&lean, "embeddings.word_embeddings.weight") && keeps_plain(&lean, "layer.0.qkv.bias"));
      bench_destroy(&whole);
      bench_destroy(&lean);
    }
    bench_destroy(&plain);
  }
}

/* There is nothing to fold an adapter into. */
static void lean_models_are_not_merged(void **state) {
  real value[48 * 16];
  (void)state;
  if (!is_there(1)) return;
  bench b = make(1, 1, "lora");
  must(model_expand(b.model, b.theta));
  for (int i = 0; i < model_param_count(b.model); i++)
    if (!strcmp(model_param(b.model, i)->name, "layer.0.qkv.weight")) assert_int_equal(model_merged_value(b.model, i, value), ERROR_INTERNAL);
  bench_destroy(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(lean_and_whole_agree), cmocka_unit_test(lean_models_are_not_merged)};
  return cmocka_run_group_tests(tests, setup, NULL);
}
