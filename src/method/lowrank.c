#include "method/lowrank.h"

#include <string.h>

#include "base/error.h"
#include "linalg/linalg.h"

void lowrank_forward(const lowrank_group *g, const real *factors, int n, const real *x, real *h, real *const y[], int y_stride) {
  int width = g->count * g->rank;
  linalg_product_nt(n, width, g->in, 1, x, g->in, factors + g->a, g->in, 0, h, width);
  for (int s = 0; s < g->count; s++)
    linalg_product_nt(n, g->out[s], g->rank, g->scale, h + s * g->rank, width, factors + g->b[s], g->rank, 1, y[g->slot[s]], y_stride);
}

void lowrank_backward(const lowrank_group *g, const real *factors, real *gradient, int n, const real *x, const real *h, real *dh, real *const dy[],
                      int y_stride, real *dx) {
  int width = g->count * g->rank;
  for (int s = 0; s < g->count; s++) {
    const real *d = dy[g->slot[s]];
    linalg_product_tn(g->out[s], g->rank, n, g->scale, d, y_stride, h + s * g->rank, width, 1, gradient + g->b[s], g->rank);
    linalg_product_nn(n, g->rank, g->out[s], g->scale, d, y_stride, factors + g->b[s], g->rank, 0, dh + s * g->rank, width);
  }
  linalg_product_tn(width, g->in, n, 1, dh, width, x, g->in, 1, gradient + g->a, g->in);
  if (dx) linalg_product_nn(n, g->in, width, 1, dh, width, factors + g->a, g->in, 1, dx, g->in);
}

void lowrank_merge(const lowrank_group *g, int index, const real *factors, real *weight) {
  linalg_product_nn(g->out[index], g->in, g->rank, g->scale, factors + g->b[index], g->rank, factors + g->a + (int64_t)index * g->rank * g->in, g->in, 1,
                    weight, g->in);
}

/* ---- a method whose whole effect is that product ---- */

static void plan_group(adapter *a, int group, double scale, lowrank *l) {
  const site_group *from = &a->groups[group];
  lowrank_group *g = &l->groups[group];
  *g = (lowrank_group){.rank = l->rank, .in = from->in, .scale = (real)scale, .a = a->factor_count};
  for (int s = 0; s < from->site_count; s++) {
    const site *place = &a->sites[from->site[s]];
    if (!adapter_targets(a, place)) continue;
    g->slot[g->count] = s;
    g->out[g->count++] = place->out;
  }
  if (!g->count) return;
  /* All A factors of the group first: stacked, they are one matrix. */
  a->factor_count += (int64_t)g->count * l->rank * g->in;
  for (int s = 0; s < g->count; s++) {
    g->b[s] = a->factor_count;
    a->factor_count += (int64_t)g->out[s] * l->rank;
    l->pairs[l->pair_count++] = (lowrank_pair){
        .site = from->site[g->slot[s]], .group = group, .index = s, .in = g->in, .out = g->out[s], .a = g->a + (int64_t)s * l->rank * g->in, .b = g->b[s]};
  }
  a->touched[group] = a->keeps_input[group] = a->adds_input[group] = 1;
  a->saved_width[group] = g->count * l->rank;
  int scratch = g->count * l->rank + (a->set.dropout > 0 ? g->in : 0);
  if (scratch > a->scratch_width) a->scratch_width = scratch;
}

int lowrank_plan(adapter *a, int rank, double scale, lowrank *l) {
  TRY(adapter_check_modules(a));
  TRY(arena_take(a->memory, (size_t)a->group_count, sizeof *l->groups, &l->groups));
  TRY(arena_take(a->memory, (size_t)a->site_count, sizeof *l->pairs, &l->pairs));
  l->rank = rank;
  for (int i = 0; i < a->group_count; i++) plan_group(a, i, scale, l);
  return ERROR_NONE;
}

int lowrank_prepare(adapter *a) {
  lowrank *l = a->state;
  return arena_take(a->memory, (size_t)a->factor_count, sizeof *l->made, &l->made);
}

/* The part of a group that has an input of its own: all of it, or its site number `part`. */
static lowrank_group part_of(const lowrank_group *g, int part, int parts) {
  if (parts == 1) return *g;
  return (lowrank_group){.rank = g->rank,
                         .count = 1,
                         .in = g->in,
                         .out = {g->out[part]},
                         .slot = {g->slot[part]},
                         .a = g->a + (int64_t)part * g->rank * g->in,
                         .b = {g->b[part]},
                         .scale = g->scale};
}

/* Whose mask a part has. */
static int masked_site(const adapter *a, int group, const lowrank_group *own, int parts) { return parts == 1 ? -1 : a->groups[group].site[own->slot[0]]; }

/* What is kept: H of one part behind that of the other. Scratch: the gradient of H (or H, where nothing is kept), then the dropped-out input. */
int lowrank_method_forward(const adapter *a, method_workspace *w, int group, int n, const real *x, real *const y[], int y_stride) {
  const lowrank *l = a->state;
  const lowrank_group *g = &l->groups[group];
  const int parts = w->training ? lowrank_inputs(a, g->count) : 1;
  real *h = w->training ? w->saved[group] : w->scratch, *space = w->scratch + (int64_t)n * g->count * g->rank;
  for (int part = 0; part < parts; part++) {
    const lowrank_group own = part_of(g, part, parts);
    const real *input = lowrank_input(a, w, group, masked_site(a, group, &own, parts), n, x, space);
    lowrank_forward(&own, l->factors, n, input, h, y, y_stride);
    h += (int64_t)n * own.count * own.rank;
  }
  return ERROR_NONE;
}

int lowrank_method_backward(const adapter *a, method_workspace *w, int group, int n, const real *x, real *const dy[], int y_stride, real *dx) {
  const lowrank *l = a->state;
  const lowrank_group *g = &l->groups[group];
  const int parts = lowrank_inputs(a, g->count); /* only training comes here */
  const real *h = w->saved[group];
  real *dh = w->scratch, *space = w->scratch + (int64_t)n * g->count * g->rank;
  for (int part = 0; part < parts; part++) {
    const lowrank_group own = part_of(g, part, parts);
    const int width = own.count * own.rank, place = masked_site(a, group, &own, parts);
    const real *input = lowrank_input(a, w, group, place, n, x, space);
    const int dropped = input != x;
    lowrank_backward(&own, l->factors, w->factor_gradient, n, input, h, dh, dy, y_stride, dropped ? NULL : dx);
    h += (int64_t)n * width;
    if (!dropped || !dx) continue;
    linalg_product_nn(n, g->in, width, 1, dh, width, l->factors + own.a, g->in, 0, space, g->in);
    lowrank_input_backward(a, w, group, place, n, space, dx);
  }
  return ERROR_NONE;
}

int lowrank_method_merge(const adapter *a, int place, real *weight, real *bias) {
  const lowrank *l = a->state;
  (void)bias;
  for (int i = 0; weight && i < l->pair_count; i++)
    if (l->pairs[i].site == place) lowrank_merge(&l->groups[l->pairs[i].group], l->pairs[i].index, l->factors, weight);
  return ERROR_NONE;
}

int lowrank_gather_plain(const adapter *a, method_workspace *w, real *grad) {
  linalg_add(a->theta_count, w->factor_gradient, grad);
  memset(w->factor_gradient, 0, (size_t)a->factor_count * sizeof(real));
  return ERROR_NONE;
}

/* ---- dropout ---- */

int lowrank_inputs(const adapter *a, int sites) { return a->set.dropout > 0 && a->set.drops_per_site ? sites : 1; }

static void drop(const adapter *a, method_workspace *w, int group, int place, int n, const real *x, real *y, int add) {
  int in = a->groups[group].in;
  uint64_t whose = place < 0 ? (uint64_t)group : UINT64_C(1) << 32 | (uint64_t)place; /* no site's mask is a group's */
  for (int i = 0; i < n; i++) w->element[i] = w->keys.position[i] * (uint64_t)in;
  const linalg_mask mask = {a->set.dropout, random_key_make(a->set.seed, RANDOM_DROP_ADAPTER, whose), w->keys.stream, w->element};
  linalg_dropout(n, in, &mask, x, in, y, in, add);
}

const real *lowrank_input(const adapter *a, method_workspace *w, int group, int place, int n, const real *x, real *space) {
  if (!w->training || a->set.dropout <= 0) return x;
  drop(a, w, group, place, n, x, space, 0);
  return space;
}

void lowrank_input_backward(const adapter *a, method_workspace *w, int group, int place, int n, const real *through, real *dx) {
  drop(a, w, group, place, n, through, dx, 1);
}
