/* The census: equal to what a model plans, for every method and both trainable families; published sizes; the sites of each family. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "model/census.h"
#include "support/tiny_bench.h"

static census *take(const char *name) {
  census *c;
  must(census_of_name(name, &c));
  return c;
}

/* The site of that name; fails without it. */
static const site *find_site(const census *c, const char *name) {
  for (int i = 0; i < c->site_count; i++)
    if (!strcmp(c->sites[i].name, name)) return &c->sites[i];
  fail_msg("there is no site %s", name);
  return NULL;
}

static const site_group *group_of(const census *c, const site *s) {
  for (int g = 0; g < c->group_count; g++)
    for (int i = 0; i < c->groups[g].site_count; i++)
      if (&c->sites[c->groups[g].site[i]] == s) return &c->groups[g];
  fail_msg("%s is in no group", s->name);
  return NULL;
}

/* ---- against the model ---- */

static void same_places(const census *c, const adapter *a) {
  assert_int_equal(c->site_count, a->site_count);
  assert_int_equal(c->group_count, a->group_count);
  for (int i = 0; i < c->site_count; i++) {
    const site *s = &c->sites[i], *t = &a->sites[i];
    assert_string_equal(s->name, t->name);
    assert_string_equal(s->module, t->module);
    assert_true(s->layer == t->layer && s->out == t->out && s->in == t->in && s->column == t->column);
  }
  for (int i = 0; i < c->group_count; i++) {
    const site_group *g = &c->groups[i], *h = &a->groups[i];
    assert_true(g->layer == h->layer && g->in == h->in && g->site_count == h->site_count);
    for (int s = 0; s < g->site_count; s++) assert_int_equal(g->site[s], h->site[s]);
  }
}

static void same_params(const census *c, const model *m) {
  int64_t params[PARAM_KINDS] = {0};
  for (int i = 0; i < model_param_count(m); i++) {
    const param *p = model_param(m, i);
    if (p->role == SEGMENT_BASE) params[p->kind] += (int64_t)p->rows * p->cols;
  }
  assert_memory_equal(params, c->params, sizeof params);
}

static void same_counts(const model_shape *shape, const char *method_name, const char *key, const char *text) {
  census *c;
  method_counts ours, its;
  for (int deep = 0; deep < 2; deep++) {
    model_options options = classify;
    options.head = deep ? MODEL_HEAD_TANH : MODEL_HEAD_LINEAR;
    model *m = plan_model(shape, &options, method_name, key, text);
    must(census_of_shape(shape, &c));
    same_places(c, model_adapter(m));
    same_params(c, m);
    must(model_counts(m, &its));
    must(census_count(c, model_adapter(m)->method, model_adapter(m)->options, &ours));
    if (memcmp(&ours, &its, sizeof ours)) fail_msg("%s %s on %s: the census differs from the model", method_name, key ? text : "", shape->family->name);
    assert_true(census_head_count(c, deep, options.classes) == model_role_count(m, SEGMENT_HEAD));
    assert_true(ours.segments + census_head_segments(deep) == model_segment_count(m));
    census_destroy(c);
    model_destroy(m);
  }
}

static void census_is_what_the_model_plans(void **state) {
  (void)state;
  for (int f = 0; f < 2; f++) {
    model_shape shapes[] = {tiny_shape(families[f]), {0}};
    must(model_shape_known(f ? "roberta-base" : "minilm-l6", &shapes[1]));
    for (int i = 0; i < 2; i++)
      for (int k = 0; method_list[k]; k++) {
        same_counts(&shapes[i], method_list[k]->name, NULL, NULL);
        same_counts(&shapes[i], method_list[k]->name, "modules", "all");
        same_counts(&shapes[i], method_list[k]->name, "modules", "o,down");
        same_counts(&shapes[i], method_list[k]->name, "modules", "qkv");
      }
  }
}

/* ---- published sizes ---- */

static void known_shapes_have_known_sizes(void **state) {
  (void)state;
  static const struct {
    const char *name;
    int64_t count;
  } known[] = {
      {"minilm-l6", 22565376},  {"bert-base", 108891648},   {"bert-large", 334092288},   {"roberta-base", 124055040}, {"roberta-large", 354310144},
      {"gpt2", 124439808},      {"gpt2-medium", 354823168}, {"gpt2-large", 774030080},   {"gpt2-xl", 1557611200},     {"gpt3-175b", 174604259328},
      {"llama-7b", 6738415616}, {"llama2-7b", 6738415616},  {"llama2-13b", 13015864320}, {"mistral-7b", 7241732096},  {"gemma-7b", 8537680896},
      {"vit-b", 85798656},      {"vit-l", 303301632},       {"t5-base", 222903552},
  };
  int shapes = 0;
  for (const census_shape *s = counted_shapes; s->name; s++) shapes++;
  for (const known_shape *k = known_shapes; k->name; k++) shapes++;
  assert_int_equal(shapes, sizeof known / sizeof *known);
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    census *c = take(known[i].name);
    if (census_base_count(c) != known[i].count) fail_msg("%s: %lld, not %lld", known[i].name, (long long)census_base_count(c), (long long)known[i].count);
    assert_true(arena_used_bytes(c->memory) < 1 << 20);
    census_destroy(c);
  }
}

static void unknown_names_are_refused(void **state) {
  (void)state;
  census *c;
  assert_int_equal(census_of_name("mistral-7", &c), ERROR_USAGE);
  assert_non_null(strstr(error_last()->hint, "mistral-7b"));
  assert_int_equal(census_of_name("roberta-bse", &c), ERROR_USAGE);
  assert_non_null(strstr(error_last()->hint, "roberta-base"));
  model_shape shape = tiny_shape("bert");
  shape.heads = 3;
  assert_int_equal(census_of_shape(&shape, &c), ERROR_USAGE);
  assert_null(c);
}

/* ---- places ---- */

static void expect_site(const census *c, const char *name, int layer, int out, int in, int column) {
  const site *s = find_site(c, name);
  if (s->layer != layer || s->out != out || s->in != in || s->column != column)
    fail_msg("%s: layer %d, [%d][%d] at %d", name, s->layer, s->out, s->in, s->column);
  assert_int_equal(group_of(c, s)->in, in);
  assert_int_equal(group_of(c, s)->layer, layer);
}

static void sites_of_each_family(void **state) {
  (void)state;
  census *c = take("mistral-7b"); /* grouped-query attention, a gate */
  expect_site(c, "layer.31.q", 31, 4096, 4096, 0);
  expect_site(c, "layer.31.k", 31, 1024, 4096, 4096);
  expect_site(c, "layer.31.v", 31, 1024, 4096, 5120);
  expect_site(c, "layer.31.qkv", 31, 6144, 4096, 0);
  expect_site(c, "layer.31.gate", 31, 14336, 4096, 0);
  expect_site(c, "layer.31.up", 31, 14336, 4096, 14336);
  expect_site(c, "layer.31.down", 31, 4096, 14336, 0);
  assert_ptr_equal(group_of(c, find_site(c, "layer.3.gate")), group_of(c, find_site(c, "layer.3.up")));
  assert_true(c->params[PARAM_BIAS] == 0 && c->params[PARAM_NORM_SHIFT] == 0 && c->params[PARAM_NORM_GAIN] == (2 * 32 + 1) * 4096);
  census_destroy(c);

  c = take("gemma-7b"); /* attention wider than the model */
  expect_site(c, "layer.0.k", 0, 4096, 3072, 4096);
  expect_site(c, "layer.0.o", 0, 3072, 4096, 0);
  expect_site(c, "layer.0.down", 0, 3072, 24576, 0);
  census_destroy(c);

  c = take("gpt2");
  expect_site(c, "layer.11.qkv", 11, 2304, 768, 0);
  assert_int_equal(c->site_count, 12 * 7);
  census_destroy(c);

  c = take("t5-base"); /* cross-attention: q reads the decoder, k and v the encoder */
  expect_site(c, "layer.13.q", 13, 768, 768, 0);
  expect_site(c, "layer.13.cross.q", 13, 768, 768, 0);
  expect_site(c, "layer.13.cross.v", 13, 768, 768, 768);
  assert_string_equal(find_site(c, "layer.13.cross.o")->module, "o");
  assert_int_equal(group_of(c, find_site(c, "layer.13.cross.q"))->site_count, 1);
  assert_int_equal(group_of(c, find_site(c, "layer.13.cross.k"))->site_count, 2);
  assert_int_equal(c->site_count, 12 * 7 + 12 * 11);
  census_destroy(c);
}

/* Every site is in one group, no name comes twice, and the maps with their biases are base parameters. */
static void places_are_consistent(void **state) {
  (void)state;
  for (const census_shape *s = counted_shapes; s->name; s++) {
    census *c = take(s->name);
    int64_t weights = 0;
    int grouped = 0;
    for (int i = 0; i < c->site_count; i++) {
      for (int j = 0; j < i; j++) assert_string_not_equal(c->sites[i].name, c->sites[j].name);
      if (strcmp(c->sites[i].module, "qkv")) weights += (int64_t)c->sites[i].out * c->sites[i].in;
      assert_int_equal(group_of(c, &c->sites[i])->in, c->sites[i].in);
    }
    for (int g = 0; g < c->group_count; g++) grouped += c->groups[g].site_count;
    assert_int_equal(grouped, c->site_count);
    assert_true(weights <= c->params[PARAM_WEIGHT]);
    census_destroy(c);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(census_is_what_the_model_plans), cmocka_unit_test(known_shapes_have_known_sizes), cmocka_unit_test(unknown_names_are_refused),
      cmocka_unit_test(sites_of_each_family),           cmocka_unit_test(places_are_consistent),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
