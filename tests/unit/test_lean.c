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

static bench make_for(int kind, int lean, const char *method_name, const uint8_t *words) {
  bench b;
  model_options options = classify;
  model_shape shape = tiny_shape("bert");
  options.backend = kinds[kind].backend;
  options.precision = kinds[kind].precision;
  options.lean = lean;
  options.words = words;
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

static bench make(int kind, int lean, const char *method_name) { return make_for(kind, lean, method_name, NULL); }

static void fill(packed_batch *packed, const model *m) { batch_fill(packed, m, MODEL_CLASSIFY, 3, 3, (const int[]){0, 1, 2}, (const int[]){5, 17, 8}); }

static double gradient(bench *b) {
  static packed_batch packed;
  model_sums sums = {0};
  fill(&packed, b->model);
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

/* ---- the words that may come ---- */

enum { WORDS = 40 }; /* the tiny model has */

/* Those of the batch, and one more. Returns how many. */
static int mark_words(const model *m, uint8_t words[WORDS]) {
  static packed_batch packed;
  int count = 0;
  assert_int_equal(model_shape_of(m)->vocabulary, WORDS);
  fill(&packed, m);
  memset(words, 0, WORDS);
  words[WORDS - 1] = 1;
  for (int i = 0; i < packed.view.tokens; i++) words[packed.view.token[i]] = 1;
  for (int i = 0; i < WORDS; i++) count += words[i];
  return count;
}

/* A file whose numbers tell their places. */
typedef struct numbered_file {
  const model *model;
  int64_t most; /* numbers asked for at once */
} numbered_file;

static int numbered_find(void *handle, const char *name) {
  (void)handle;
  return !strcmp(name, "embeddings.word_embeddings.weight") ? 0 : 1;
}

static int numbered_read(void *handle, int index, int64_t first, int64_t count, real *values) {
  numbered_file *f = handle;
  for (int64_t i = 0; i < count; i++) values[i] = index ? 0 : (real)(first + i);
  if (!index && count > f->most) f->most = count;
  return ERROR_NONE;
}

static void numbered_describe(void *handle, int index, int *dims, int64_t shape[8]) {
  const numbered_file *f = handle;
  (void)index;
  *dims = 2;
  shape[0] = WORDS;
  shape[1] = model_shape_of(f->model)->width;
}

static void only_the_words_that_come_are_kept(void **state) {
  uint8_t words[WORDS];
  (void)state;
  for (int kind = 0; kind < KINDS; kind++) {
    if (!is_there(kind)) continue;
    bench all = make(kind, 1, "lora");
    int count = mark_words(all.model, words), width = model_shape_of(all.model)->width;
    assert_in_range(count, 2, WORDS - 2);
    bench few = make_for(kind, 1, "lora", words), plain = make_for(kind, 0, "lora", words), trained = make_for(kind, 1, "full", words);
    assert_int_equal(model_store_count(all.model) - model_store_count(few.model), (WORDS * width + 15) / 16 * 16 - (count * width + 15) / 16 * 16);
    assert_true(gradient(&all) == gradient(&few));
    assert_memory_equal(all.grad, few.grad, (size_t)model_theta_count(few.model) * sizeof(real));
    assert_true(isfinite(gradient(&plain)) && isfinite(gradient(&trained)));
    assert_true(!keeps_plain(&few, "embeddings.word_embeddings.weight"));
    assert_true(keeps_plain(&plain, "embeddings.word_embeddings.weight") && keeps_plain(&trained, "embeddings.word_embeddings.weight"));
    bench *const benches[] = {&all, &few, &plain, &trained};
    for (size_t i = 0; i < sizeof benches / sizeof *benches; i++) bench_destroy(benches[i]);
  }
}

static void another_word_is_refused(void **state) {
  uint8_t words[WORDS];
  static packed_batch packed;
  model_sums sums = {0};
  (void)state;
  bench all = make(0, 1, "lora");
  mark_words(all.model, words);
  bench few = make_for(0, 1, "lora", words);
  fill(&packed, few.model);
  must(model_expand(few.model, few.theta));
  int other = 0;
  while (words[other]) other++;
  packed.token[7] = other;
  assert_int_equal(model_gradient(few.model, few.workspace, &packed.view, few.grad, &sums, NULL), ERROR_INTERNAL);
  says("was not kept");
  assert_int_equal(model_predict(few.model, few.workspace, &packed.view, NULL, &sums), ERROR_INTERNAL);
  bench_destroy(&all);
  bench_destroy(&few);
}

/* Rows of a file come to the right words, and no others are read. */
static void kept_words_are_read_from_a_file(void **state) {
  uint8_t words[WORDS] = {[3] = 1, [4] = 1, [5] = 1, [20] = 1, [WORDS - 1] = 1};
  (void)state;
  bench b = make_for(0, 1, "lora", words);
  numbered_file file = {.model = b.model};
  const param *p = model_param(b.model, 0);
  assert_string_equal(p->name, "embeddings.word_embeddings.weight");
  tensor_source source = {.handle = &file, .find = numbered_find, .describe = numbered_describe, .read = numbered_read, .path = "numbered"};
  assert_int_equal(model_load(b.model, &source), ERROR_INPUT); /* the other tensors have other shapes; this one comes first */
  int64_t width = p->cols, row = 0;
  for (int word = 0; word < WORDS; word++) {
    for (int64_t j = 0; words[word] && j < width; j++) assert_true(b.store[p->store_offset + row * width + j] == (real)(word * width + j));
    row += words[word];
  }
  assert_int_equal(file.most, 3 * width);
  bench_destroy(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(only_the_words_that_come_are_kept), cmocka_unit_test(another_word_is_refused),
                                     cmocka_unit_test(kept_words_are_read_from_a_file), cmocka_unit_test(lean_and_whole_agree),
                                     cmocka_unit_test(lean_models_are_not_merged)};
  return cmocka_run_group_tests(tests, setup, NULL);
}
