/* A method without a model: an adapter on a few linear maps of any shape, with a workspace, so that its formulas can be compared with plain loops.
 *
 * bare_group adds maps that read one input, bare_plan binds a method, bare_ready gives it numbers and room for `rows` rows.
 */
#ifndef PEFTSCALE_TESTS_BARE_H
#define PEFTSCALE_TESTS_BARE_H

#include <stdio.h>

#include "support/tiny_bench.h"

enum { BARE_SITES = 16, BARE_GROUPS = 16, BARE_OPTIONS = 16 };

typedef struct bare {
  chosen_options options;
  adapter_settings settings; /* besides the seed, which bare_plan sets */
  site sites[BARE_SITES];
  site_group groups[BARE_GROUPS];
  int site_count, group_count;
  real *weight[BARE_SITES], *bias[BARE_SITES];
  adapter *adapter;
  real *theta, *grad;
  method_workspace work;
  uint64_t *keys;
  int rows;
} bare;

/* One map more; the first of a group sets `in`. */
static inline void bare_map(bare *b, int layer, const char *module, int out, int in, int joins) {
  site *s = &b->sites[b->site_count];
  if (!joins) b->groups[b->group_count++] = (site_group){.layer = layer, .in = in};
  site_group *g = &b->groups[b->group_count - 1];
  *s = (site){.module = module, .layer = layer, .out = out, .in = in};
  for (int i = 0; i < g->site_count; i++) s->column += b->sites[g->site[i]].out;
  snprintf(s->name, sizeof s->name, "layer.%d.%s", layer, module);
  assert_true(g->in == in && g->site_count < GROUP_MAX_SITES && b->site_count < BARE_SITES);
  g->site[g->site_count++] = b->site_count++;
}

/* words: key, text, key, text ..., NULL. Returns the code of adapter_create. */
static inline int bare_plan(bare *b, const char *method_name, uint64_t seed, const char *const *words) {
  const method *m;
  must(method_find(method_name, &m));
  must(options_default(m, &b->options));
  for (int i = 0; words && words[i]; i += 2) TRY(options_change(&b->options, words[i], words[i + 1]));
  b->settings.seed = seed;
  return adapter_create(m, &b->options.set, &b->settings, b->sites, b->site_count, b->groups, b->group_count, &b->adapter);
}

static inline void bare_draw(uint64_t what, double deviation, int64_t count, real *values) {
  random_fill_normal(random_key_make(21, RANDOM_TEST, what), 0, count, (real)deviation, values);
}

static inline int bare_stride(const bare *b, int group) {
  const site_group *g = &b->groups[group];
  const site *last = &b->sites[g->site[g->site_count - 1]];
  return last->column + last->out;
}

/* Base maps with random numbers, prepared, at the method's start, with memory for calls of `rows` rows. */
static inline void bare_ready(bare *b, int rows) {
  adapter *a = b->adapter;
  rows = (rows + LINALG_ROW_BLOCK - 1) / LINALG_ROW_BLOCK * LINALG_ROW_BLOCK; /* as method.h says */
  b->rows = rows;
  for (int i = 0; i < b->site_count; i++) {
    site *s = &b->sites[i];
    s->weight = b->weight[i] = must_take((size_t)s->out * (size_t)s->in, sizeof(real));
    s->bias = b->bias[i] = must_take((size_t)s->out, sizeof(real));
    bare_draw(100 + (uint64_t)i, 1 / sqrt((double)s->in), (int64_t)s->out * s->in, b->weight[i]);
    bare_draw(200 + (uint64_t)i, 0.5, s->out, b->bias[i]);
  }
  must(adapter_prepare(a));
  b->theta = must_take((size_t)a->theta_count, sizeof(real));
  b->grad = must_take((size_t)a->theta_count, sizeof(real));
  must(a->method->init(a, b->theta));
  b->keys = must_take((size_t)rows * 2, sizeof *b->keys);
  b->work = (method_workspace){.factor_gradient = must_take((size_t)a->factor_count, sizeof(real)),
                               .saved = must_take((size_t)a->group_count, sizeof(real *)),
                               .scratch = must_take((size_t)rows * (size_t)a->scratch_width + (size_t)a->scratch_fixed, sizeof(real)),
                               .element = must_take((size_t)rows, sizeof(uint64_t)),
                               .keys = {b->keys, b->keys + rows},
                               .training = 1};
  for (int g = 0; g < a->group_count; g++) b->work.saved[g] = must_take((size_t)rows * (size_t)a->saved_width[g], sizeof(real));
}

/* theta at random, no segment zero. */
static inline void bare_stir(bare *b, double deviation) { bare_draw(300, deviation, b->adapter->theta_count, b->theta); }

static inline void bare_expand(bare *b) { must(b->adapter->method->expand(b->adapter, b->theta)); }

static inline void bare_columns(const bare *b, int group, real *y, real *columns[GROUP_MAX_SITES]) {
  const site_group *g = &b->groups[group];
  for (int i = 0; i < g->site_count; i++) columns[i] = y + b->sites[g->site[i]].column;
}

/* y [n][bare_stride]: the base maps' outputs of x, by plain loops. */
static inline void bare_base(const bare *b, int group, int n, const real *x, real *y) {
  const site_group *g = &b->groups[group];
  int stride = bare_stride(b, group);
  for (int t = 0; t < n; t++)
    for (int i = 0; i < g->site_count; i++) {
      const site *s = &b->sites[g->site[i]];
      for (int o = 0; o < s->out; o++) {
        double sum = s->bias ? (double)s->bias[o] : 0;
        for (int j = 0; j < s->in; j++) sum += (double)x[t * s->in + j] * (double)s->weight[o * s->in + j];
        y[t * stride + s->column + o] = (real)sum;
      }
    }
}

static inline void bare_forward(bare *b, int group, int n, const real *x, real *y) {
  real *columns[GROUP_MAX_SITES];
  bare_columns(b, group, y, columns);
  must(b->adapter->method->forward(b->adapter, &b->work, group, n, x, columns, bare_stride(b, group)));
}

/* dy is changed; dx (may be NULL) +=. */
static inline void bare_backward(bare *b, int group, int n, const real *x, real *dy, real *dx) {
  real *columns[GROUP_MAX_SITES];
  bare_columns(b, group, dy, columns);
  must(b->adapter->method->backward(b->adapter, &b->work, group, n, x, columns, bare_stride(b, group), dx));
}

/* grad = what was summed since the last gather. */
static inline void bare_gather(bare *b) {
  memset(b->grad, 0, (size_t)b->adapter->theta_count * sizeof *b->grad);
  must(b->adapter->method->gather(b->adapter, &b->work, b->grad));
}

/* The segment of that name; the test fails where there is none. */
static inline const segment *bare_segment(const bare *b, const char *name) {
  for (int i = 0; i < b->adapter->segment_count; i++)
    if (!strcmp(b->adapter->segments[i].name, name)) return &b->adapter->segments[i];
  fail_msg("there is no segment %s", name);
  return NULL;
}

static inline real *bare_numbers(const bare *b, const char *name) { return b->theta + bare_segment(b, name)->offset; }

static inline void bare_destroy(bare *b) {
  for (int i = 0; i < b->site_count; i++) {
    free(b->weight[i]);
    free(b->bias[i]);
  }
  for (int g = 0; b->work.saved && g < b->group_count; g++) free(b->work.saved[g]);
  free(b->work.saved);
  free(b->work.factor_gradient);
  free(b->work.scratch);
  free(b->work.element);
  free(b->keys);
  free(b->theta);
  free(b->grad);
  adapter_destroy(b->adapter);
}

/* Equal to rounding, relative to the larger of 1 and the number wanted. */
static inline void near(const char *what, double found, double wanted) {
  if (!(fabs(found - wanted) <= 2e-5 * fmax(1, fabs(wanted)))) fail_msg("%s: %.9g, not %.9g", what, found, wanted);
}

#endif
