/* The model: shapes and their files, weights from a source, the layout of theta, packing, and what backward tells about its progress. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "linalg/linalg.h"
#include "support/tiny.h"

static void must(int code) {
  if (!code) return;
  const error *e = error_last();
  fail_msg("%s:%d: %s", e->source, e->line, e->text);
}

static void says(const char *words) {
  if (!strstr(error_last()->text, words)) fail_msg("'%s' does not say '%s'", error_last()->text, words);
}

static void *must_take(size_t count, size_t size) {
  void *memory = calloc(count ? count : 1, size);
  assert_non_null(memory);
  return memory;
}

static int setup(void **state) {
  (void)state;
  return linalg_setup();
}

/* ---- config.json ---- */

static const char *const good_config =
    "{\"model_type\": \"bert\", \"hidden_act\": \"gelu\", \"num_hidden_layers\": 6, \"hidden_size\": 384, \"num_attention_heads\": 12, \"intermediate_size\": 1536,"
    " \"vocab_size\": 30522, \"max_position_embeddings\": 512, \"type_vocab_size\": 2, \"layer_norm_eps\": 1e-12, \"use_cache\": true}";

static void config_is_read(void **state) {
  (void)state;
  model_shape s;
  must(model_shape_parse(good_config, "config.json", &s));
  assert_string_equal(s.family->name, "bert");
  assert_true(s.layers == 6 && s.width == 384 && s.heads == 12 && s.ffn == 1536 && s.vocabulary == 30522 && s.positions == 512 && s.types == 2);
  assert_true(s.norm_epsilon == 1e-12);
}

/* The good file with one text in it replaced. */
static void refuse_config(const char *old, const char *fresh, const char *reason) {
  char text[2048];
  const char *place = strstr(good_config, old);
  assert_non_null(place);
  snprintf(text, sizeof text, "%.*s%s%s", (int)(place - good_config), good_config, fresh, place + strlen(old));
  model_shape s;
  int code = model_shape_parse(text, "some/config.json", &s);
  if (!code) fail_msg("accepted: %s for %s", fresh, old);
  assert_true(code == ERROR_INPUT || code == ERROR_USAGE);
  says("some/config.json");
  says(reason);
}

static void config_is_refused_with_a_reason(void **state) {
  (void)state;
  model_shape s;
  static const char *const no_json[] = {"", "[]", "{\"model_type\": ", "7"};
  for (size_t i = 0; i < sizeof no_json / sizeof *no_json; i++) {
    assert_int_equal(model_shape_parse(no_json[i], "x", &s), ERROR_INPUT);
    says("not a JSON object");
  }
  refuse_config("\"model_type\": \"bert\",", "", "'model_type' is missing");
  refuse_config("\"bert\"", "7", "'model_type' is missing");
  refuse_config("\"bert\"", "\"llama\"", "model_type 'llama' is not supported");
  refuse_config("\"gelu\"", "\"relu\"", "'hidden_act' is 'relu'");
  refuse_config("\"use_cache\": true", "\"position_embedding_type\": \"relative_key\"", "'position_embedding_type' is 'relative_key'");
  refuse_config("\"hidden_size\": 384,", "", "'hidden_size' is missing");
  refuse_config("\"hidden_size\": 384", "\"hidden_size\": \"384\"", "'hidden_size' is not a whole number");
  refuse_config("\"hidden_size\": 384", "\"hidden_size\": 384.5", "'hidden_size' is not a whole number");
  refuse_config("\"hidden_size\": 384", "\"hidden_size\": 0", "must be from 1");
  refuse_config("\"hidden_size\": 384", "\"hidden_size\": -384", "must be from 1");
  refuse_config("\"hidden_size\": 384", "\"hidden_size\": 385", "no multiple of the number of attention heads");
  refuse_config("\"vocab_size\": 30522", "\"vocab_size\": 1e9", "must be from 1");
  refuse_config("\"layer_norm_eps\": 1e-12", "\"layer_norm_eps\": 0", "'layer_norm_eps'");
  refuse_config("\"layer_norm_eps\": 1e-12", "\"layer_norm_eps\": -1", "'layer_norm_eps'");
}

static void shapes_are_written_as_they_are_read(void **state) {
  (void)state;
  char text[2048], small[64];
  for (int i = 0; known_shapes[i].name; i++) {
    model_shape a, b;
    must(model_shape_known(known_shapes[i].name, &a));
    must(model_shape_write(&a, text, sizeof text));
    must(model_shape_parse(text, "written", &b));
    assert_memory_equal(&a, &b, sizeof a);
    assert_true(model_shape_write(&a, small, sizeof small) != 0);
  }
  model_shape s;
  assert_int_equal(model_shape_known("roberta-bse", &s), ERROR_USAGE);
  assert_non_null(strstr(error_last()->hint, "roberta-base"));
}

/* ---- models without weights ---- */

static const model_options classify = {.pooling = MODEL_POOL_MEAN, .head = MODEL_HEAD_LINEAR, .objective = MODEL_CLASSIFY, .classes = 3, .seed = 9};

static model *plan_model(const model_shape *shape, const model_options *options, const char *method_name, const char *key, const char *text) {
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

/* Numbers that papers print, and those of a known file. */
static void known_models_have_known_counts(void **state) {
  (void)state;
  static const struct {
    const char *shape, *method, *key, *text;
    int64_t count;
  } known[] = {
      {"minilm-l6", "full", NULL, NULL, 22565376},
      {"roberta-base", "bitfit", NULL, NULL, 102144},
      {"roberta-base", "lora", "rank", "8", 294912},
      {"roberta-large", "lora", "rank", "8", 786432},
      {"roberta-base", "full", NULL, NULL, 124055040},
      {"roberta-base", "head", NULL, NULL, 0},
  };
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    model_shape shape;
    method_counts counts;
    must(model_shape_known(known[i].shape, &shape));
    model_options options = classify;
    options.head = MODEL_HEAD_TANH;
    options.classes = 2;
    model *m = plan_model(&shape, &options, known[i].method, known[i].key, known[i].text);
    must(model_counts(m, &counts));
    if (counts.trainable != known[i].count)
      fail_msg("%s %s: %lld, not %lld", known[i].shape, known[i].method, (long long)counts.trainable, (long long)known[i].count);
    if (!strcmp(known[i].shape, "roberta-base")) assert_true(model_role_count(m, SEGMENT_HEAD) == 592130);
    model_destroy(m);
  }
}

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

typedef struct bench {
  model *model;
  real *store, *theta, *grad;
  model_workspace *workspace;
} bench;

static void bench_create(bench *b, const char *family_name, const model_options *options, const char *method_name, int training) {
  model_shape shape = tiny_shape(family_name);
  b->model = plan_model(&shape, options, method_name, NULL, NULL);
  b->store = must_take((size_t)model_store_count(b->model), sizeof(real));
  b->theta = must_take((size_t)model_theta_count(b->model), sizeof(real));
  b->grad = must_take((size_t)model_theta_count(b->model), sizeof(real));
  model_attach(b->model, b->store);
  tiny_fill_store(b->model, 5, b->store);
  must(tiny_fill_theta(b->model, 6, 0.3, 0.3, b->theta));
  must(model_expand(b->model, b->theta));
  must(model_workspace_create(b->model, 64, 8, 32, 1024, training, &b->workspace));
}

static void bench_destroy(bench *b) {
  model_workspace_destroy(b->workspace);
  model_destroy(b->model);
  free(b->store);
  free(b->theta);
  free(b->grad);
}

enum { SEQUENCES = 5 };
static const int numbers[SEQUENCES] = {3, 8, 1, 20, 7}, sizes[SEQUENCES] = {1, 5, 9, 2, 14};

static const char *const families[] = {"bert", "roberta"};
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
  w->broken += ready < w->ready;
  w->broken += memcmp(w->copy, w->grad, (size_t)w->ready * sizeof(real)) != 0;
  w->steps += ready > w->ready;
  w->ready = ready;
  memcpy(w->copy, w->grad, (size_t)ready * sizeof(real));
  w->calls++;
}

/* What backward declares ready grows, is never touched again, and covers all but the adapter's part. */
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
      if (k >= 2) assert_true(w.steps >= 2 * 4); /* at least once per map of each layer: enough to overlap */
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

/* ---- weights from a source ---- */

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
  static const char *const wanted[] = {"embeddings.word_embeddings.weight", "embeddings.token_type_embeddings.weight", "embeddings.LayerNorm.bias",
                                       "encoder.layer.1.attention.self.query.weight", "encoder.layer.0.attention.self.value.bias",
                                       "encoder.layer.0.attention.output.LayerNorm.weight", "encoder.layer.1.intermediate.dense.weight", "encoder.layer.1.output.dense.bias"};
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
  model_randomize(b.model);
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

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(config_is_read),
      cmocka_unit_test(config_is_refused_with_a_reason),
      cmocka_unit_test(shapes_are_written_as_they_are_read),
      cmocka_unit_test(known_models_have_known_counts),
      cmocka_unit_test(models_that_cannot_be_are_refused),
      cmocka_unit_test(packed_is_alone),
      cmocka_unit_test(neighbours_do_not_matter),
      cmocka_unit_test(inputs_matter),
      cmocka_unit_test(workspaces_refuse_what_does_not_fit),
      cmocka_unit_test(theta_lies_in_backward_order),
      cmocka_unit_test(told_progress_is_final),
      cmocka_unit_test(gradients_repeat_to_the_bit),
      cmocka_unit_test(dropout_acts_in_training_alone),
      cmocka_unit_test(weights_are_found_under_all_their_names),
      cmocka_unit_test(part_names_are_those_of_the_files),
      cmocka_unit_test(weights_are_refused_with_file_and_tensor),
      cmocka_unit_test(a_start_from_nothing),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
