#include "method/scaled.h"

#include "base/error.h"
#include "linalg/linalg.h"
#include "method/lowrank.h"

int scaled_plan(adapter *a, int rank, scaled *s) {
  TRY(adapter_check_modules(a));
  TRY(arena_take(a->memory, (size_t)a->group_count, sizeof *s->groups, &s->groups));
  s->rank = rank;
  for (int i = 0; i < a->group_count; i++) {
    const site_group *from = &a->groups[i];
    scaled_group *g = &s->groups[i];
    g->in = g->a_stride = from->in;
    for (int slot = 0; slot < from->site_count; slot++) {
      const site *place = &a->sites[from->site[slot]];
      if (!adapter_targets(a, place)) continue;
      g->site[g->count++] = (scaled_site){.site = from->site[slot], .slot = slot, .out = place->out, .a = -1, .b = -1, .inner = -1, .outer = -1};
    }
    if (g->count) a->touched[i] = a->adds_input[i] = 1;
  }
  return ERROR_NONE;
}

static int h_width(const scaled_group *g, int rank) { return (g->shares_a ? 1 : g->count) * rank; }

static int widest(const scaled_group *g) {
  int most = 0;
  for (int i = 0; i < g->count; i++)
    if (g->site[i].out > most) most = g->site[i].out;
  return most;
}

/* Kept: H, and Z of each site whose outer vector is trained. Scratch: H (or its gradient), a site's [n][rank] and [n][out], the dropped-out input. */
void scaled_plan_widths(adapter *a, const scaled *s) {
  for (int i = 0; i < a->group_count; i++) {
    const scaled_group *g = &s->groups[i];
    if (!g->count) continue;
    int kept = h_width(g, s->rank), scratch = h_width(g, s->rank) + s->rank + widest(g) + (a->dropout > 0 ? g->in : 0);
    for (int k = 0; k < g->count; k++) {
      if (g->site[k].outer >= 0) kept += g->site[k].out;
      if (g->site[k].a >= 0) a->keeps_input[i] = 1; /* dA alone wants x again */
    }
    a->saved_width[i] = kept;
    if (scratch > a->scratch_width) a->scratch_width = scratch;
  }
  a->factor_count = a->theta_count;
}

/* y = x o v, a vector per row; v NULL: a copy. */
static void scale_columns(int n, int width, const real *x, int x_stride, const real *v, real *y, int y_stride) {
  for (int i = 0; i < n; i++) {
    const real *from = x + (int64_t)i * x_stride;
    real *to = y + (int64_t)i * y_stride;
#pragma omp simd
    for (int j = 0; j < width; j++) to[j] = v ? from[j] * v[j] : from[j];
  }
}

/* sum += colsum(x o y). */
static void column_dots(int n, int width, const real *x, int x_stride, const real *y, int y_stride, real *sum) {
  for (int i = 0; i < n; i++) {
    const real *a = x + (int64_t)i * x_stride, *b = y + (int64_t)i * y_stride;
#pragma omp simd
    for (int j = 0; j < width; j++) sum[j] += a[j] * b[j];
  }
}

/* Where a call's scratch lies. */
typedef struct spaces {
  real *h, *narrow, *wide, *input;
} spaces;

static spaces spaces_of(const scaled_group *g, int rank, method_workspace *w, int n) {
  spaces s = {.h = w->scratch};
  s.narrow = s.h + (int64_t)n * h_width(g, rank);
  s.wide = s.narrow + (int64_t)n * rank;
  s.input = s.wide + (int64_t)n * widest(g);
  return s;
}

int scaled_method_forward(const adapter *a, method_workspace *w, int group, int n, const real *x, real *const y[], int y_stride) {
  const scaled *all = a->state;
  const scaled_group *g = &all->groups[group];
  int rank = all->rank, width = h_width(g, rank);
  spaces space = spaces_of(g, rank, w, n);
  real *h = w->training ? w->saved[group] : space.h, *kept = w->training ? w->saved[group] + (int64_t)n * width : NULL;
  const real *input = lowrank_input(a, w, group, n, x, space.input);
  for (int i = 0; i < (g->shares_a ? 1 : g->count); i++)
    linalg_product_nt(n, rank, g->in, 1, input, g->in, g->site[i].a_value, g->a_stride, 0, h + i * rank, width);
  for (int i = 0; i < g->count; i++) {
    const scaled_site *s = &g->site[i];
    const real *own = h + (g->shares_a ? 0 : i * rank);
    int stride = width;
    if (s->inner_value) {
      scale_columns(n, rank, own, width, s->inner_value, space.narrow, rank);
      own = space.narrow;
      stride = rank;
    }
    if (!s->outer_value) {
      linalg_product_nt(n, s->out, rank, 1, own, stride, s->b_value, rank, 1, y[s->slot], y_stride);
      continue;
    }
    real *z = kept && s->outer >= 0 ? kept : space.wide;
    if (z == kept) kept += (int64_t)n * s->out;
    linalg_product_nt(n, s->out, rank, 1, own, stride, s->b_value, rank, 0, z, s->out);
    for (int t = 0; t < n; t++) {
      const real *from = z + (int64_t)t * s->out;
      real *to = y[s->slot] + (int64_t)t * y_stride;
#pragma omp simd
      for (int j = 0; j < s->out; j++) to[j] += from[j] * s->outer_value[j];
    }
  }
  return ERROR_NONE;
}

int scaled_method_backward(const adapter *a, method_workspace *w, int group, int n, const real *x, real *const dy[], int y_stride, real *dx) {
  const scaled *all = a->state;
  const scaled_group *g = &all->groups[group];
  int rank = all->rank, width = h_width(g, rank);
  spaces space = spaces_of(g, rank, w, n);
  const real *h = w->saved[group], *kept = h + (int64_t)n * width;
  real *grad = w->factor_gradient, *dh = space.h;
  if (g->shares_a) linalg_set_rows(n, width, NULL, dh, width);
  for (int i = 0; i < g->count; i++) {
    const scaled_site *s = &g->site[i];
    const real *own = h + (g->shares_a ? 0 : i * rank), *d = dy[s->slot];
    int stride = y_stride;
    if (s->outer >= 0) {
      column_dots(n, s->out, d, y_stride, kept, s->out, grad + s->outer);
      kept += (int64_t)n * s->out;
    }
    if (s->outer_value) {
      scale_columns(n, s->out, d, y_stride, s->outer_value, space.wide, s->out);
      d = space.wide;
      stride = s->out;
    }
    if (s->b >= 0) {
      scale_columns(n, rank, own, width, s->inner_value, space.narrow, rank);
      linalg_product_tn(s->out, rank, n, 1, d, stride, space.narrow, rank, 1, grad + s->b, rank);
    }
    linalg_product_nn(n, rank, s->out, 1, d, stride, s->b_value, rank, 0, space.narrow, rank);
    if (s->inner >= 0) column_dots(n, rank, space.narrow, rank, own, width, grad + s->inner);
    if (!g->shares_a) {
      scale_columns(n, rank, space.narrow, rank, s->inner_value, dh + i * rank, width);
      continue;
    }
    if (s->inner_value) scale_columns(n, rank, space.narrow, rank, s->inner_value, space.narrow, rank);
    linalg_add((int64_t)n * rank, space.narrow, dh);
  }
  int maps = g->shares_a ? 1 : g->count, dropped = a->dropout > 0; /* only training comes here */
  const real *input = a->keeps_input[group] ? lowrank_input(a, w, group, n, x, space.input) : NULL;
  for (int i = 0; i < maps; i++)
    if (g->site[i].a >= 0) linalg_product_tn(rank, g->in, n, 1, dh + i * rank, width, input, g->in, 1, grad + g->site[i].a, g->in);
  if (!dx) return ERROR_NONE;
  for (int i = 0; i < maps; i++) {
    real *to = dropped ? space.input : dx; /* the dropped-out input has done its work */
    linalg_product_nn(n, g->in, rank, 1, dh + i * rank, width, g->site[i].a_value, g->a_stride, dropped && i == 0 ? 0 : 1, to, g->in);
  }
  if (dropped) lowrank_input_backward(a, w, group, n, space.input, dx);
  return ERROR_NONE;
}

static void merge_site(const scaled_group *g, const scaled_site *s, int rank, real *weight) {
  for (int i = 0; i < s->out; i++) /* rare and off the step: plain loops, no temporary matrix */
    for (int k = 0; k < rank; k++) {
      real factor = s->b_value[(int64_t)i * rank + k];
      if (s->inner_value) factor *= s->inner_value[k];
      if (s->outer_value) factor *= s->outer_value[i];
      linalg_add_scaled(g->in, factor, s->a_value + (int64_t)k * g->a_stride, weight + (int64_t)i * g->in);
    }
}

int scaled_method_merge(const adapter *a, int place, real *weight, real *bias) {
  const scaled *all = a->state;
  (void)bias;
  for (int i = 0; weight && i < a->group_count; i++)
    for (int k = 0; k < all->groups[i].count; k++)
      if (all->groups[i].site[k].site == place) merge_site(&all->groups[i], &all->groups[i].site[k], all->rank, weight);
  return ERROR_NONE;
}
