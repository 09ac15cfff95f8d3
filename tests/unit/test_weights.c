/* Where a model's numbers come from and go to: files under all names they come with, files to refuse, a start from nothing, merging. */
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

typedef struct fake_source {
  const model *model;
  const char *prefix;
  int old_names;        /* gamma and beta              */
  const char *missing;  /* a tensor that is not there  */
  const char *reshaped; /* one with another shape      */
  const char *broken;   /* one that cannot be read     */
} fake_source;

static void fake_name(const fake_source *f, const char *name, char text[256]) {
  snprintf(text, 256, "%s%s", f->prefix, name);
  char *norm = strstr(text, "LayerNorm.");
  if (!f->old_names || !norm) return;
  norm += strlen("LayerNorm.");
  strcpy(norm, !strcmp(norm, "weight") ? "gamma" : "beta");
}

static int fake_find(void *handle, const char *name) {
  const fake_source *f = handle;
  for (int i = 0; i < model_param_count(f->model); i++) {
    if (model_param(f->model, i)->role != SEGMENT_BASE) continue;
    for (int part = 0; part < model_param_parts(f->model, i); part++) {
      char own[METHOD_NAME_BYTES], text[256];
      int first_row, rows;
      model_param_part(f->model, i, part, own, &first_row, &rows);
      if (f->missing && !strcmp(own, f->missing)) continue;
      fake_name(f, own, text);
      if (!strcmp(text, name)) return i * 3 + part;
    }
  }
  return -1;
}

static void fake_describe(void *handle, int index, int *dims, int64_t shape[8]) {
  const fake_source *f = handle;
  const param *p = model_param(f->model, index / 3);
  char own[METHOD_NAME_BYTES];
  int first_row, rows, parts = model_param_parts(f->model, index / 3);
  model_param_part(f->model, index / 3, index % 3, own, &first_row, &rows);
  if (p->kind == PARAM_WEIGHT || p->kind == PARAM_EMBEDDING) { /* also a table of one row has two dimensions */
    *dims = 2;
    shape[0] = p->rows / parts;
    shape[1] = p->cols;
  } else {
    *dims = 1;
    shape[0] = p->cols / parts;
  }
  if (f->reshaped && !strcmp(own, f->reshaped)) shape[*dims - 1]++;
}

static real fake_value(int index, int64_t element) { return (real)(index * 10000 + element % 9973); }

static int fake_read(void *handle, int index, int64_t first, int64_t count, real *values) {
  const fake_source *f = handle;
  char own[METHOD_NAME_BYTES];
  int first_row, rows;
  model_param_part(f->model, index / 3, index % 3, own, &first_row, &rows);
  if (f->broken && !strcmp(own, f->broken)) return FAIL(ERROR_INPUT, NULL, "tensor '%s' is not finite", own);
  for (int64_t i = 0; i < count; i++) values[i] = fake_value(index, first + i);
  return ERROR_NONE;
}

static tensor_source fake_source_of(fake_source *f) {
  return (tensor_source){.handle = f, .find = fake_find, .describe = fake_describe, .read = fake_read, .path = "some/model.safetensors"};
}

static void weights_are_found_under_all_their_names(void **state) {
  (void)state;
  static const char *const prefixes[2][2] = {{"", "bert."}, {"", "roberta."}};
  for (int family_index = 0; family_index < 2; family_index++)
    for (int prefixed = 0; prefixed < 2; prefixed++)
      for (int old = 0; old < 2; old++) {
        bench b;
        bench_create(&b, families[family_index], &classify, "head", 0);
        fake_source f = {.model = b.model, .prefix = prefixes[family_index][prefixed], .old_names = old};
        tensor_source source = fake_source_of(&f);
        memset(b.store, 0xff, sizeof(real) * (size_t)model_store_count(b.model));
        must(model_load(b.model, &source));
        for (int i = 0; i < model_param_count(b.model); i++) {
          const param *p = model_param(b.model, i);
          if (p->role != SEGMENT_BASE) continue;
          int parts = model_param_parts(b.model, i);
          int64_t each = (int64_t)p->rows * p->cols / parts;
          for (int64_t k = 0; k < each * parts; k++) /* q, k and v below one another */
            assert_true(b.store[p->store_offset + k] == fake_value(i * 3 + (int)(k / each), k % each));
        }
        bench_destroy(&b);
      }
}

static void part_names_are_those_of_the_files(void **state) {
  (void)state;
  bench b;
  bench_create(&b, "bert", &classify, "head", 0);
  static const char *const wanted[] = {
      "embeddings.word_embeddings.weight",           "embeddings.token_type_embeddings.weight",   "embeddings.LayerNorm.bias",
      "encoder.layer.1.attention.self.query.weight", "encoder.layer.0.attention.self.value.bias", "encoder.layer.0.attention.output.LayerNorm.weight",
      "encoder.layer.1.intermediate.dense.weight",   "encoder.layer.1.output.dense.bias"};
  fake_source f = {.model = b.model, .prefix = ""};
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
    if (fake_find(&f, wanted[i]) < 0) fail_msg("no part is called '%s'", wanted[i]);
  bench_destroy(&b);
}

static void weights_are_refused_with_file_and_tensor(void **state) {
  (void)state;
  static const struct {
    const char *missing, *reshaped, *broken, *reason;
  } bad[] = {
      {"encoder.layer.1.attention.self.key.weight", NULL, NULL, "tensor 'encoder.layer.1.attention.self.key.weight' is missing"},
      {"encoder.layer.1.attention.self.value.bias", NULL, NULL, "is missing"},
      {"embeddings.LayerNorm.weight", NULL, NULL, "tensor 'embeddings.LayerNorm.weight' is missing"},
      {NULL, "encoder.layer.0.intermediate.dense.weight", NULL, "has shape [32, 17], expected [32, 16]"},
      {NULL, "encoder.layer.0.attention.self.query.weight", NULL, "has shape [16, 17], expected [16, 16]"},
      {NULL, "encoder.layer.0.attention.self.key.bias", NULL, "has shape [17], expected [16]"},
      {NULL, "embeddings.word_embeddings.weight", NULL, "has shape [40, 17], expected [40, 16]"},
      {NULL, "encoder.layer.1.output.LayerNorm.bias", NULL, "has shape [17], expected [16]"},
      {NULL, NULL, "encoder.layer.1.output.dense.weight", "is not finite"},
  };
  bench b;
  bench_create(&b, "bert", &classify, "head", 0);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    fake_source f = {.model = b.model, .prefix = "", .missing = bad[i].missing, .reshaped = bad[i].reshaped, .broken = bad[i].broken};
    tensor_source source = fake_source_of(&f);
    assert_int_equal(model_load(b.model, &source), ERROR_INPUT);
    says(bad[i].reason);
    if (!bad[i].broken) says("some/model.safetensors");
  }
  bench_destroy(&b);
}

static void a_start_from_nothing(void **state) {
  (void)state;
  bench b;
  bench_create(&b, "bert", &classify, "full", 0);
  must(model_randomize(b.model));
  for (int i = 0; i < model_param_count(b.model); i++) {
    const param *p = model_param(b.model, i);
    if (p->role != SEGMENT_BASE) continue;
    int64_t count = (int64_t)p->rows * p->cols;
    const real *value = b.store + p->store_offset;
    if (p->kind == PARAM_WEIGHT || p->kind == PARAM_EMBEDDING) {
      double deviation = sqrt(linalg_square_sum(count, value) / (double)count);
      assert_true(fabs(deviation - 0.02) < 0.02 * 5 / sqrt(2.0 * (double)count));
    } else {
      for (int64_t k = 0; k < count; k++) assert_true(value[k] == (p->kind == PARAM_NORM_GAIN));
    }
  }
  must(model_init_theta(b.model, b.theta));
  for (int i = 0; i < model_param_count(b.model); i++) { /* full fine-tuning starts at the base values */
    const param *p = model_param(b.model, i);
    if (p->role == SEGMENT_BASE) assert_memory_equal(b.theta + p->theta_offset, b.store + p->store_offset, sizeof(real) * (size_t)p->rows * (size_t)p->cols);
  }
  bench_destroy(&b);
}

/* A method that promises nothing: its model must not be written out as if the base weights were the result. */
static void what_cannot_be_merged_is_refused(void **state) {
  (void)state;
  static const method unmergeable = {.name = "unmergeable", .title = "Unmergeable", .paper = "a test"};
  const option_set none = {NULL, 0};
  model_shape shape = tiny_shape("bert");
  model *m;
  must(model_create(&shape, &classify, &unmergeable, &none, &m));
  real *store = must_take((size_t)model_store_count(m), sizeof *store), *theta = must_take((size_t)model_theta_count(m), sizeof *theta);
  real *value = must_take(64 * 64, sizeof *value);
  must(model_attach(m, store));
  must(model_init_theta(m, theta));
  must(model_expand(m, theta));
  for (int i = 0; i < model_param_count(m); i++) {
    if (model_param(m, i)->role != SEGMENT_BASE) continue;
    assert_int_equal(model_merged_value(m, i, value), ERROR_USAGE);
    says("Unmergeable cannot be folded");
  }
  free(store);
  free(theta);
  free(value);
  model_destroy(m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(weights_are_found_under_all_their_names),  cmocka_unit_test(part_names_are_those_of_the_files),
      cmocka_unit_test(weights_are_refused_with_file_and_tensor), cmocka_unit_test(a_start_from_nothing),
      cmocka_unit_test(what_cannot_be_merged_is_refused),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
