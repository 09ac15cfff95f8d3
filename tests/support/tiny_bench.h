/* For cmocka programs: failing with the error's own words, and a tiny model with everything it needs to work.
 */
#ifndef PEFTSCALE_TESTS_TINY_BENCH_H
#define PEFTSCALE_TESTS_TINY_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "support/tiny.h"

static inline void must(int code) {
  if (!code) return;
  const error *e = error_last();
  fail_msg("%s:%d: %s", e->source, e->line, e->text);
}

static inline void says(const char *words) {
  if (!strstr(error_last()->text, words)) fail_msg("'%s' does not say '%s'", error_last()->text, words);
}

static inline void *must_take(size_t count, size_t size) {
  void *memory = calloc(count ? count : 1, size);
  assert_non_null(memory);
  return memory;
}

static const model_options classify = {.pooling = MODEL_POOL_MEAN, .head = MODEL_HEAD_LINEAR, .objective = MODEL_CLASSIFY, .classes = 3, .seed = 9};

static inline model *plan_model(const model_shape *shape, const model_options *options, const char *method_name, const char *key, const char *text) {
  static chosen_options chosen[64]; /* options outlive the model */
  static int turn;
  const method *m;
  model *result;
  chosen_options *o = &chosen[turn++ % 64];
  must(method_find(method_name, &m));
  must(options_default(m, o));
  if (key) must(options_change(o, key, text));
  must(model_create(shape, options, m, &o->set, &result));
  return result;
}

typedef struct bench {
  model *model;
  real *store, *theta, *grad;
  model_workspace *workspace;
} bench;

static inline void bench_create(bench *b, const char *family_name, const model_options *options, const char *method_name, int training) {
  model_shape shape = tiny_shape(family_name);
  b->model = plan_model(&shape, options, method_name, NULL, NULL);
  b->store = must_take((size_t)model_store_count(b->model), sizeof(real));
  b->theta = must_take((size_t)model_theta_count(b->model), sizeof(real));
  b->grad = must_take((size_t)model_theta_count(b->model), sizeof(real));
  must(model_attach(b->model, b->store));
  tiny_fill_store(b->model, 5, b->store);
  must(tiny_fill_theta(b->model, 6, 0.3, 0.3, b->theta));
  must(model_expand(b->model, b->theta));
  must(model_workspace_create(b->model, 64, 8, 32, 1024, training, &b->workspace));
}

static inline void bench_destroy(bench *b) {
  model_workspace_destroy(b->workspace);
  model_destroy(b->model);
  free(b->store);
  free(b->theta);
  free(b->grad);
}

static const char *const families[] = {"bert", "roberta"};

#endif
