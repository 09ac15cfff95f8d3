/* GLoRA: W = W0 + W0 o A + B, b = b0 + D o b0 + E + W0 C, each of the five supports A .. E low-rank, a vector, a constant or absent (Chavan et al., arXiv
 * 2306.07967): 4 x 4 x 3 x 3 x 3 = 432 paths per map.
 *
 *   support    A, B [out][in]                    C [in]             D, E [out]
 *   lora       Xd Xu, Xd [out][r], Xu [r][in]    Cd Cu              -
 *   vector     Xd[:, 0], one number per row      Cd[:, 0]           a vector
 *   constant   Xd[0, 0]                          -                  its element 0
 *
 * Weights are entangled: a narrower support is a part of the wider one's numbers. Xd is therefore laid out column by column and cut into nested segments
 * (constant, rest of column 0, other columns, Xu), so that a path is a set of whole segments: what is off the path has no gradient, no moment, no decay, and
 * does not travel. Start: Xd, Cd, D, E = 0; Xu and Cu uniform (Xavier).
 *
 * path: fixed (one path for all maps, options a .. e), listed (one id per map, as a search reports them), or random: the super-network, a path per map drawn
 * anew in each step from the seed; evaluations then use the widest path, or what `follow` was told (peftscale search).
 *
 * Gradients, G = dY, g = colsum(G), z = rowsum(X), Y0 = X W0^T:  B: dXd = G^T (X Xu^T), dXu = (G Xd)^T X; vector sum_t G z.  A: vector colsum(G o Y0); low
 * rank: Q = (G^T X) o W0, dXd = Q Xu^T, dXu = Xd^T Q, in blocks of rows, the one product of dW's size in this suite, cheaper than r products of X.
 * C: p = W0^T g, dCd = p Cu^T, dCu = Cd^T p.  D: b0 o g.  E: g.
 * Cost beyond LoRA's: with a low-rank A three products as large as the map's own per row, 2 in out FLOP each (forward, dX where something below wants it, Q),
 * and per step and rank about 9 r in out FLOP for the rows of W0 o (Xd Xu) there and back and for what Q becomes. W0 is read for each of these, and for C once
 * in expand and once in gather: 16 in out bytes a step and rank from memory, since no cache holds the model. Floor for MiniLM, the widest path at r = 4 on q
 * and v: 4.2 GFLOP for a step of 397 tokens, 27 MB a rank. bench_methods: 1.25 floors, 27 % of the head-only step with whole backward; with a vector for A 4 %.
 */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "linalg/linalg.h"
#include "method/glora_private.h"

static int glora_prepare(adapter *a) {
  glora_state *s = a->state;
  TRY(arena_take(a->memory, (size_t)s->widest_in, sizeof *s->column, &s->column));
  return arena_take(a->memory, (size_t)s->bias_count, sizeof *s->bias, &s->bias);
}

static int glora_init(const adapter *a, real *theta) {
  const glora_state *s = a->state;
  memset(theta, 0, (size_t)a->theta_count * sizeof *theta);
  for (int i = 0; i < s->site_count; i++)
    for (int t = TENSOR_A; t <= TENSOR_C; t++) {
      const tensor *x = &s->sites[i].tensor[t];
      if (x->up < 0) continue;
      int in = t == TENSOR_C ? 1 : a->sites[s->sites[i].site].in;
      real bound = (real)sqrt(6.0 / (in + s->rank));
      random_fill_uniform(random_key_make(a->set.seed, RANDOM_ADAPTER, (uint64_t)(i * TENSORS + t)), 0, (int64_t)s->rank * in, -bound, bound, theta + x->up);
    }
  return ERROR_NONE;
}

/* ---- the bias, once per step ---- */

/* C itself: Cd[:, 0], or the sum of its columns times Cu. */
static void make_column(const glora_state *s, const glora_site *place, const real *theta, int in, real *column) {
  const tensor *c = &place->tensor[TENSOR_C];
  memcpy(column, theta + c->down, (size_t)in * sizeof *column);
  if (place->path[TENSOR_C] != LORA) return;
  for (int j = 0; j < in; j++) column[j] *= theta[c->up];
  for (int k = 1; k < s->rank; k++) linalg_add_scaled(in, theta[c->up + k], theta + c->down + (int64_t)k * in, column);
}

static void add_bias(const glora_state *s, const glora_site *place, const site *map, const real *theta, real *bias) {
  const tensor *d = &place->tensor[TENSOR_D], *e = &place->tensor[TENSOR_E];
  int has_vector = place->path[TENSOR_D] == VECTOR;
  if (map->bias && place->path[TENSOR_D] != NONE)
    for (int i = 0; i < map->out; i++) bias[i] += map->bias[i] * theta[d->down + (has_vector ? i : 0)];
  has_vector = place->path[TENSOR_E] == VECTOR;
  if (place->path[TENSOR_E] != NONE)
    for (int i = 0; i < map->out; i++) bias[i] += theta[e->down + (has_vector ? i : 0)];
  if (place->path[TENSOR_C] == NONE) return;
  make_column(s, place, theta, map->in, s->column);
  linalg_product_nt(1, map->out, map->in, 1, s->column, map->in, map->weight, map->in, 1, bias, map->out);
}

static int glora_expand(adapter *a, const real *theta) {
  glora_state *s = a->state;
  a->theta = theta;
  memset(s->bias, 0, (size_t)s->bias_count * sizeof *s->bias);
  for (int i = 0; i < s->site_count; i++) add_bias(s, &s->sites[i], &a->sites[s->sites[i].site], theta, s->bias + s->sites[i].bias);
  return ERROR_NONE;
}

/* grad += factor o g (factor NULL: 1), one number per output or their sum: a sum over so many that float would lose digits. */
static void add_bias_gradient(int out, support kind, const real *factor, const real *g, real *grad) {
  double sum = 0;
  for (int k = 0; k < out; k++) {
    real part = factor ? factor[k] * g[k] : g[k];
    if (kind == VECTOR) grad[k] += part;
    else sum += (double)part;
  }
  if (kind != VECTOR) *grad += (real)sum;
}

/* Gradients of D, E and C from g = colsum(G), which backward summed behind theta's places. */
static int glora_gather(const adapter *a, method_workspace *w, real *grad) {
  const glora_state *s = a->state;
  for (int i = 0; i < s->site_count; i++) {
    const glora_site *place = &s->sites[i];
    const site *map = &a->sites[place->site];
    const tensor *c = &place->tensor[TENSOR_C], *d = &place->tensor[TENSOR_D], *e = &place->tensor[TENSOR_E];
    const real *g = w->factor_gradient + a->theta_count + place->bias;
    if (map->bias && place->path[TENSOR_D] != NONE) add_bias_gradient(map->out, place->path[TENSOR_D], map->bias, g, grad + d->down);
    if (place->path[TENSOR_E] != NONE) add_bias_gradient(map->out, place->path[TENSOR_E], NULL, g, grad + e->down);
    if (place->path[TENSOR_C] == NONE) continue;
    real *p = w->scratch;
    linalg_product_nn(1, map->in, map->out, 1, g, map->out, map->weight, map->in, 0, p, map->in);
    if (place->path[TENSOR_C] == VECTOR) {
      linalg_add(map->in, p, grad + c->down);
      continue;
    }
    for (int k = 0; k < s->rank; k++) {
      const real *column = a->theta + c->down + (int64_t)k * map->in;
      double dot = 0;
      for (int j = 0; j < map->in; j++) dot += (double)column[j] * (double)p[j];
      grad[c->up + k] += (real)dot;
      linalg_add_scaled(map->in, a->theta[c->up + k], p, grad + c->down + (int64_t)k * map->in);
    }
  }
  linalg_add(a->theta_count, w->factor_gradient, grad);
  memset(w->factor_gradient, 0, (size_t)a->factor_count * sizeof(real));
  return ERROR_NONE;
}

/* ---- forward ---- */

/* Rows first .. first + count of W0 o (Xd Xu). */
static void make_rows(const glora_state *s, const site *map, const tensor *x, const real *theta, int first, int count, real *rows) {
  linalg_product_tn_times(count, map->in, s->rank, theta + x->down + first, map->out, theta + x->up, map->in, map->weight + (int64_t)first * map->in, rows,
                          map->in);
}

/* Where the fixed part of scratch lies: ROW_BLOCK rows of a map and of r numbers, and two rows of an output. */
typedef struct fixed_space {
  real *rows, *narrow, *numbers, *sums;
} fixed_space;

static fixed_space fixed_of(const adapter *a, const method_workspace *w, int n) {
  const glora_state *s = a->state;
  fixed_space f = {.rows = w->scratch + (int64_t)n * a->scratch_width};
  f.narrow = f.rows + (int64_t)ROW_BLOCK * s->widest_in;
  f.numbers = f.narrow + (int64_t)ROW_BLOCK * s->rank;
  f.sums = f.numbers + s->widest_out;
  return f;
}

/* A tensor's number for each output: its vector, or its constant as often, written to `space`. */
static const real *numbers_of(const real *theta, const tensor *x, support kind, int count, real *space) {
  if (kind == VECTOR) return theta + x->down;
  for (int i = 0; i < count; i++) space[i] = theta[x->down];
  return space;
}

/* A site's share of what is kept: the base map's output without its bias [n][out], H = X Xu^T of B [n][r], row sums of X [n]. */
typedef struct kept_rows {
  real *base, *narrow, *sums;
} kept_rows;

static kept_rows kept_of(const glora_site *place, real *saved, int n) {
  kept_rows k = {.base = saved};
  k.narrow = k.base + (int64_t)n * place->base_width;
  k.sums = k.narrow + (int64_t)n * place->narrow_width;
  return k;
}

static int64_t kept_size(const glora_site *place, int n) { return (int64_t)n * (place->base_width + place->narrow_width + 1); }

static real element(const real *theta, const tensor *x, support kind, int i) { return theta[x->down + (kind == VECTOR ? i : 0)]; }

/* y += v o (y - bias), row by row; the difference is kept, where that is wanted. */
static void scale_outputs(int n, int width, const real *v, const real *bias, real *y, int y_stride, real *keep) {
  for (int i = 0; i < n; i++, y += y_stride) {
    if (!keep) {
#pragma omp simd
      for (int j = 0; j < width; j++) y[j] += v[j] * (bias ? y[j] - bias[j] : y[j]);
      continue;
    }
#pragma omp simd
    for (int j = 0; j < width; j++) {
      keep[j] = bias ? y[j] - bias[j] : y[j];
      y[j] += v[j] * keep[j];
    }
    keep += width;
  }
}

static void forward_a(const adapter *a, const glora_site *place, const site *map, const fixed_space *fixed, int n, const real *x, real *keep, real *y,
                      int y_stride) {
  const tensor *t = &place->tensor[TENSOR_A];
  support kind = place->path[TENSOR_A];
  if (kind == NONE) return;
  if (kind == LORA) {
    for (int first = 0; first < map->out; first += ROW_BLOCK) {
      int count = map->out - first < ROW_BLOCK ? map->out - first : ROW_BLOCK;
      make_rows(a->state, map, t, a->theta, first, count, fixed->rows);
      linalg_product_nt(n, count, map->in, 1, x, map->in, fixed->rows, map->in, 1, y + first, y_stride);
    }
    return;
  }
  scale_outputs(n, map->out, numbers_of(a->theta, t, kind, map->out, fixed->numbers), map->bias, y, y_stride, keep);
}

static real sum_of(int count, const real *x) {
  real sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int j = 0; j < count; j++) sum += x[j];
  return sum;
}

static real dot_of(int count, const real *x, const real *y) {
  real sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int j = 0; j < count; j++) sum += x[j] * y[j];
  return sum;
}

static void forward_b(const adapter *a, const glora_site *place, const site *map, const fixed_space *fixed, int n, const real *x, real *narrow, real *sums,
                      real *y, int y_stride) {
  const glora_state *s = a->state;
  const tensor *t = &place->tensor[TENSOR_B];
  support kind = place->path[TENSOR_B];
  if (kind == NONE) return;
  if (kind == LORA) {
    linalg_product_nt(n, s->rank, map->in, 1, x, map->in, a->theta + t->up, map->in, 0, narrow, s->rank);
    linalg_product_nn(n, map->out, s->rank, 1, narrow, s->rank, a->theta + t->down, map->out, 1, y, y_stride);
    return;
  }
  const real *v = numbers_of(a->theta, t, kind, map->out, fixed->numbers);
  for (int i = 0; i < n; i++) {
    sums[i] = sum_of(map->in, x + (int64_t)i * map->in);
    linalg_add_scaled(map->out, sums[i], v, y + (int64_t)i * y_stride);
  }
}

static int glora_forward(const adapter *a, method_workspace *w, int group, int n, const real *x, real *const y[], int y_stride) {
  const glora_state *s = a->state;
  const fixed_space fixed = fixed_of(a, w, n);
  real *saved = w->training ? w->saved[group] : NULL;
  for (int i = s->first[group]; i < s->first[group + 1]; i++) {
    const glora_site *place = &s->sites[i];
    const site *map = &a->sites[place->site];
    kept_rows keep = {.narrow = w->scratch, .sums = w->scratch + (int64_t)n * s->rank};
    if (saved) {
      keep = kept_of(place, saved, n);
      saved += kept_size(place, n);
    }
    forward_a(a, place, map, &fixed, n, x, keep.base, y[place->slot], y_stride);
    forward_b(a, place, map, &fixed, n, x, keep.narrow, keep.sums, y[place->slot], y_stride);
    linalg_add_rows(n, map->out, s->bias + place->bias, y[place->slot], y_stride);
  }
  return ERROR_NONE;
}

/* ---- backward ---- */

static void backward_b(const adapter *a, const glora_site *place, const site *map, const kept_rows *keep, real *narrow, int n, const real *x, const real *dy,
                       int y_stride, real *grad, real *dx) {
  const glora_state *s = a->state;
  const tensor *t = &place->tensor[TENSOR_B];
  support kind = place->path[TENSOR_B];
  if (kind == NONE) return;
  if (kind == LORA) {
    linalg_product_tn(s->rank, map->out, n, 1, keep->narrow, s->rank, dy, y_stride, 1, grad + t->down, map->out);
    linalg_product_nt(n, s->rank, map->out, 1, dy, y_stride, a->theta + t->down, map->out, 0, narrow, s->rank);
    linalg_product_tn(s->rank, map->in, n, 1, narrow, s->rank, x, map->in, 1, grad + t->up, map->in);
    if (dx) linalg_product_nn(n, map->in, s->rank, 1, narrow, s->rank, a->theta + t->up, map->in, 1, dx, map->in);
    return;
  }
  double all = 0; /* of a constant: one sum over rows and outputs, millions of terms in a large model */
  for (int i = 0; i < n; i++) {
    const real *row = dy + (int64_t)i * y_stride;
    real through;
    if (kind == VECTOR) {
      through = dot_of(map->out, row, a->theta + t->down);
      linalg_add_scaled(map->out, keep->sums[i], row, grad + t->down);
    } else {
      real sum = sum_of(map->out, row);
      all += (double)sum * (double)keep->sums[i];
      through = sum * a->theta[t->down];
    }
    real *to = dx ? dx + (int64_t)i * map->in : NULL;
#pragma omp simd
    for (int j = 0; j < (dx ? map->in : 0); j++) to[j] += through;
  }
  if (kind == CONSTANT) grad[t->down] += (real)all;
}

/* Low-rank A: the way back through the rows of W0 o (Xd Xu), then the same block holds (G^T X) o W0. */
static void backward_a_lora(const adapter *a, const glora_site *place, const site *map, const fixed_space *fixed, int n, const real *x, const real *dy,
                            int y_stride, real *grad, real *dx) {
  const glora_state *s = a->state;
  const tensor *t = &place->tensor[TENSOR_A];
  real *rows = fixed->rows, *narrow = fixed->narrow;
  for (int first = 0; first < map->out; first += ROW_BLOCK) {
    int count = map->out - first < ROW_BLOCK ? map->out - first : ROW_BLOCK;
    if (dx) {
      make_rows(s, map, t, a->theta, first, count, rows);
      linalg_product_nn(n, map->in, count, 1, dy + first, y_stride, rows, map->in, 1, dx, map->in);
    }
    linalg_product_tn_times(count, map->in, n, dy + first, y_stride, x, map->in, map->weight + (int64_t)first * map->in, rows, map->in);
    linalg_product_nt(count, s->rank, map->in, 1, rows, map->in, a->theta + t->up, map->in, 0, narrow, s->rank);
    for (int k = 0; k < s->rank; k++)
      for (int i = 0; i < count; i++) grad[t->down + (int64_t)k * map->out + first + i] += narrow[i * s->rank + k];
    linalg_product_nn(s->rank, map->in, count, 1, a->theta + t->down + first, map->out, rows, map->in, 1, grad + t->up, map->in);
  }
}

/* A per row or one number: dA from the base map's output, and dY0 = G o (1 + A) in place. */
static void backward_a_scale(const adapter *a, const glora_site *place, const site *map, const fixed_space *fixed, const real *base, int n, real *dy,
                             int y_stride, real *grad) {
  const tensor *t = &place->tensor[TENSOR_A];
  support kind = place->path[TENSOR_A];
  real *sums = kind == VECTOR ? grad + t->down : fixed->sums;
  for (int j = 0; j < map->out; j++) fixed->numbers[j] = 1 + element(a->theta, t, kind, j);
  if (kind == CONSTANT) memset(sums, 0, (size_t)map->out * sizeof *sums);
  linalg_scale_rows_backward(n, map->out, dy, y_stride, base, map->out, fixed->numbers, dy, y_stride, 0, sums, NULL);
  if (kind == VECTOR) return;
  double all = 0;
  for (int j = 0; j < map->out; j++) all += (double)sums[j];
  grad[t->down] += (real)all;
}

static int glora_backward(const adapter *a, method_workspace *w, int group, int n, const real *x, real *const dy[], int y_stride, real *dx) {
  const glora_state *s = a->state;
  const fixed_space fixed = fixed_of(a, w, n);
  real *saved = w->saved[group], *grad = w->factor_gradient;
  for (int i = s->first[group]; i < s->first[group + 1]; i++) {
    const glora_site *place = &s->sites[i];
    const site *map = &a->sites[place->site];
    kept_rows keep = kept_of(place, saved, n);
    real *d = dy[place->slot];
    saved += kept_size(place, n);
    linalg_column_sum(n, map->out, d, y_stride, grad + a->theta_count + place->bias);
    backward_b(a, place, map, &keep, w->scratch, n, x, d, y_stride, grad, dx);
    if (place->path[TENSOR_A] == LORA) backward_a_lora(a, place, map, &fixed, n, x, d, y_stride, grad, dx);
    else if (place->path[TENSOR_A] != NONE) backward_a_scale(a, place, map, &fixed, keep.base, n, d, y_stride, grad); /* last: it changes dY */
  }
  return ERROR_NONE;
}

/* ---- merging ---- */

static void merge_weight(const adapter *a, const glora_site *place, const site *map, real *weight) {
  const glora_state *s = a->state;
  const tensor *ta = &place->tensor[TENSOR_A], *tb = &place->tensor[TENSOR_B];
  support ka = place->path[TENSOR_A], kb = place->path[TENSOR_B];
  for (int i = 0; i < map->out; i++) {
    const real *w0 = map->weight + (int64_t)i * map->in;
    real *row = weight + (int64_t)i * map->in;
    for (int k = 0; ka == LORA && k < s->rank; k++) {
      real factor = a->theta[ta->down + (int64_t)k * map->out + i];
      const real *up = a->theta + ta->up + (int64_t)k * map->in;
      for (int j = 0; j < map->in; j++) row[j] += w0[j] * factor * up[j];
    }
    if (ka == VECTOR || ka == CONSTANT) linalg_add_scaled(map->in, element(a->theta, ta, ka, i), w0, row);
    for (int k = 0; kb == LORA && k < s->rank; k++)
      linalg_add_scaled(map->in, a->theta[tb->down + (int64_t)k * map->out + i], a->theta + tb->up + (int64_t)k * map->in, row);
    for (int j = 0; (kb == VECTOR || kb == CONSTANT) && j < map->in; j++) row[j] += element(a->theta, tb, kb, i);
  }
}

static int glora_merge(const adapter *a, int site_index, real *weight, real *bias) {
  const glora_state *s = a->state;
  for (int i = 0; i < s->site_count; i++) {
    const glora_site *place = &s->sites[i];
    const site *map = &a->sites[place->site];
    if (place->site != site_index) continue;
    if (weight) merge_weight(a, place, map, weight);
    if (bias) linalg_add(map->out, s->bias + place->bias, bias);
  }
  return ERROR_NONE;
}

const method method_glora = {
    .name = "glora",
    .title = "GLoRA",
    .paper = "Chavan et al. 2023, arXiv 2306.07967",
    .flags = METHOD_IDENTITY_AT_START | METHOD_MERGEABLE | METHOD_READS_WEIGHTS,
    .options = glora_options,
    .option_count = GLORA_OPTIONS,
    .plan = glora_plan,
    .prepare = glora_prepare,
    .init = glora_init,
    .choose = glora_choose,
    .expand = glora_expand,
    .forward = glora_forward,
    .backward = glora_backward,
    .gather = glora_gather,
    .count = glora_count,
    .stored = glora_stored,
    .save = glora_save,
    .load = glora_load,
    .merge = glora_merge,
    .paths = &glora_paths,
};
