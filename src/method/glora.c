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
 * Cost beyond LoRA's: with a low-rank A three products as large as the map's own per row (forward, dX, Q); none otherwise.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "linalg/linalg.h"
#include "method/method.h"

enum { TENSOR_A, TENSOR_B, TENSOR_C, TENSOR_D, TENSOR_E, TENSORS };
typedef enum support { LORA, VECTOR, CONSTANT, NONE, SUPPORTS } support;
enum { PATHS = 4 * 4 * 3 * 3 * 3, ROW_BLOCK = 64, PIECES_MAX = 4 };

static const char *const support_names[] = {"lora", "vector", "constant", "none"};
static const char *const tensor_names[] = {"A", "B", "C", "D", "E"};

/* What each tensor may be, in the order of a path id's digits. */
static const support allowed[TENSORS][SUPPORTS] = {
    {LORA, VECTOR, CONSTANT, NONE}, {LORA, VECTOR, CONSTANT, NONE}, {LORA, VECTOR, NONE}, {VECTOR, CONSTANT, NONE}, {VECTOR, CONSTANT, NONE}};
static const int digits[TENSORS] = {4, 4, 3, 3, 3};

static const char *const path_kinds[] = {"fixed", "random", "listed", NULL};
static const char *const wide_words[] = {"lora", "vector", "constant", "none", NULL};
static const char *const column_words[] = {"lora", "vector", "none", NULL};
static const char *const bias_words[] = {"vector", "constant", "none", NULL};
static const option glora_options[] = {
    {.name = "rank", .type = OPTION_INT, .preset = "4", .low = 1, .high = 65536, .help = "rank r of low-rank supports"},
    {.name = "modules", .type = OPTION_LIST, .preset = "q,v", .choices = adapter_modules, .help = "adapted linear maps"},
    {.name = "path", .type = OPTION_CHOICE, .preset = "fixed", .choices = path_kinds, .help = "one path, a new one per map and step, or one per map"},
    {.name = "a", .type = OPTION_CHOICE, .preset = "lora", .choices = wide_words, .help = "support of A (W0 o A) of a fixed path"},
    {.name = "b", .type = OPTION_CHOICE, .preset = "lora", .choices = wide_words, .help = "support of B"},
    {.name = "c", .type = OPTION_CHOICE, .preset = "lora", .choices = column_words, .help = "support of C (bias W0 C)"},
    {.name = "d", .type = OPTION_CHOICE, .preset = "vector", .choices = bias_words, .help = "support of D (bias D o b0)"},
    {.name = "e", .type = OPTION_CHOICE, .preset = "vector", .choices = bias_words, .help = "support of E (bias)"},
    {.name = "paths", .type = OPTION_LIST, .preset = "none", .help = "path listed: ids 0 .. 431 of the adapted maps, in their order"},
};

/* One tensor's place in theta: Xd (or the vector) at `down`, column by column, Xu at `up`. -1: not planned. */
typedef struct tensor {
  int64_t down, up;
  int first_segment;
  int segments[SUPPORTS]; /* how many of its segments a support uses */
} tensor;

typedef struct glora_site {
  int site, group, slot;
  tensor tensor[TENSORS];
  support path[TENSORS]; /* of the chosen step                          */
  int64_t bias;          /* of this map in state.bias; behind theta_count in a gradient of factors */
} glora_site;

typedef struct glora_state {
  int rank, is_random, site_count;
  glora_site *sites;
  int *first;       /* [group_count + 1] sites of a group */
  int32_t *follow;  /* [site_count] paths of evaluations of a super-network; -1: widest */
  int64_t bias_count;
  int widest_in; /* of all sites */
  real *bias;    /* [bias_count] D o b0 + E + W0 C of the last expand */
  real *column;  /* [widest_in] C of the site at hand */
} glora_state;

/* ---- paths ---- */

static void read_path(int id, support path[TENSORS]) {
  for (int t = 0; t < TENSORS; t++) {
    path[t] = allowed[t][id % digits[t]];
    id /= digits[t];
  }
}

static int path_id(const support path[TENSORS]) {
  int id = 0;
  for (int t = TENSORS - 1; t >= 0; t--) {
    int digit = 0;
    while (allowed[t][digit] != path[t]) digit++;
    id = id * digits[t] + digit;
  }
  return id;
}

static support support_of(const char *word) {
  for (int s = 0; s < SUPPORTS; s++)
    if (!strcmp(word, support_names[s])) return (support)s;
  return NONE;
}

static int fixed_path(const adapter *a, support path[TENSORS]) {
  static const char *const keys[] = {"a", "b", "c", "d", "e"};
  for (int t = 0; t < TENSORS; t++) path[t] = support_of(option_text(a->options, keys[t]));
  return path_id(path);
}

/* Ids of option `paths`, one per site. */
static int listed_paths(const adapter *a, const glora_state *s) {
  const char *place = option_text(a->options, "paths");
  int count = 0;
  for (char word[24]; *place; count++) {
    size_t length = strcspn(place, ",");
    int64_t id = -1;
    snprintf(word, sizeof word, "%.*s", (int)(length < sizeof word ? length : sizeof word - 1), place);
    if (text_to_int(word, &id) || id < 0 || id >= PATHS)
      return FAIL(ERROR_USAGE, "ids are what peftscale search prints", "method.paths: '%s' is no path id (0 .. %d)", word, PATHS - 1);
    if (count < s->site_count) read_path((int)id, s->sites[count].path);
    place += length + (place[length] == ',');
  }
  if (count == s->site_count) return ERROR_NONE;
  return FAIL(ERROR_USAGE, "name one path id per adapted map", "method.paths names %d paths for %d adapted maps", count, s->site_count);
}

/* ---- plan ---- */

static int add_piece(adapter *a, const glora_site *s, int t, const char *piece, int rows, int cols, int64_t *offset) {
  char name[METHOD_NAME_BYTES + 16];
  if (rows == 0 || cols == 0) { /* rank 1 has no other columns, a map with one output no rest */
    if (offset && *offset < 0) *offset = a->theta_count;
    return ERROR_NONE;
  }
  snprintf(name, sizeof name, "%s.%s.%s", a->sites[s->site].name, tensor_names[t], piece);
  int64_t at;
  TRY(adapter_add_segment(a, name, "adapter", 1, rows, cols, &at));
  if (offset && *offset < 0) *offset = at;
  return ERROR_NONE;
}

/* The segments of a tensor that its widest planned support needs. */
static int add_tensor(adapter *a, glora_site *s, int t, int rank, support widest) {
  tensor *x = &s->tensor[t];
  int length = t == TENSOR_C ? a->sites[s->site].in : a->sites[s->site].out, in = t == TENSOR_C ? 1 : a->sites[s->site].in;
  *x = (tensor){.down = -1, .up = -1, .first_segment = a->segment_count};
  if (widest == NONE) return ERROR_NONE;
  if (t == TENSOR_C) {
    TRY(add_piece(a, s, t, "vector", 1, length, &x->down));
  } else {
    TRY(add_piece(a, s, t, "constant", 1, 1, &x->down));
    x->segments[CONSTANT] = a->segment_count - x->first_segment;
    if (widest <= VECTOR) TRY(add_piece(a, s, t, "vector", 1, length - 1, NULL));
  }
  x->segments[VECTOR] = a->segment_count - x->first_segment;
  if (widest > LORA) return ERROR_NONE;
  TRY(add_piece(a, s, t, "lora_d", rank - 1, length, NULL));
  TRY(add_piece(a, s, t, "lora_u", rank, in, &x->up));
  x->segments[LORA] = a->segment_count - x->first_segment;
  return ERROR_NONE;
}

static int find_sites(adapter *a, glora_state *s) {
  TRY(adapter_check_modules(a));
  TRY(arena_take(a->memory, (size_t)a->site_count, sizeof *s->sites, &s->sites));
  TRY(arena_take(a->memory, (size_t)a->group_count + 1, sizeof *s->first, &s->first));
  for (int i = 0; i < a->group_count; i++) {
    for (int slot = 0; slot < a->groups[i].site_count; slot++) {
      int place = a->groups[i].site[slot];
      if (!adapter_targets(a, &a->sites[place])) continue;
      s->sites[s->site_count++] = (glora_site){.site = place, .group = i, .slot = slot, .bias = s->bias_count};
      s->bias_count += a->sites[place].out;
      a->touched[i] = a->keeps_input[i] = 1;
      a->saved_width[i] += a->sites[place].out + s->rank + 1;
      if (a->groups[i].in > s->widest_in) s->widest_in = a->groups[i].in;
    }
    s->first[i + 1] = s->site_count;
  }
  a->scratch_width = s->rank + 1;
  a->scratch_fixed = (int64_t)ROW_BLOCK * s->widest_in;
  return arena_take(a->memory, (size_t)s->site_count, sizeof *s->follow, &s->follow);
}

static int glora_choose(adapter *a, int64_t step);

static int glora_plan(adapter *a) {
  glora_state *s;
  const char *kind = option_text(a->options, "path");
  TRY(arena_take(a->memory, 1, sizeof *s, &s));
  a->state = s;
  s->rank = (int)option_int(a->options, "rank");
  s->is_random = !strcmp(kind, "random");
  TRY(find_sites(a, s));
  support widest[TENSORS];
  if (s->is_random) read_path(0, widest);
  else fixed_path(a, widest);
  for (int i = 0; i < s->site_count; i++) {
    memcpy(s->sites[i].path, widest, sizeof widest);
    s->follow[i] = -1;
  }
  if (!strcmp(kind, "listed")) TRY(listed_paths(a, s));
  for (int i = 0; i < s->site_count; i++)
    for (int t = 0; t < TENSORS; t++) TRY(add_tensor(a, &s->sites[i], t, s->rank, s->sites[i].path[t]));
  if (a->theta_count == 0) return FAIL(ERROR_USAGE, "use method=head", "the path none in all five supports trains nothing");
  a->factor_count = a->theta_count + s->bias_count;
  if (!s->is_random) return ERROR_NONE;
  TRY(arena_take(a->memory, (size_t)a->segment_count, sizeof *a->active, &a->active));
  return glora_choose(a, METHOD_EVALUATION);
}

static int glora_choose(adapter *a, int64_t step) {
  glora_state *s = a->state;
  if (!s->is_random) return ERROR_NONE;
  memset(a->active, 0, (size_t)a->segment_count);
  for (int i = 0; i < s->site_count; i++) {
    glora_site *place = &s->sites[i];
    int id = s->follow[i] < 0 ? 0 : s->follow[i]; /* 0: the widest */
    if (step != METHOD_EVALUATION)
      id = (int)(((uint64_t)random_bits(random_key_make(a->seed, RANDOM_PATH, (uint64_t)i), 0, (uint64_t)step) * PATHS) >> 32);
    read_path(id, place->path);
    for (int t = 0; t < TENSORS; t++)
      if (place->path[t] != NONE) memset(a->active + place->tensor[t].first_segment, 1, (size_t)place->tensor[t].segments[place->path[t]]);
  }
  return ERROR_NONE;
}

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
      random_fill_uniform(random_key_make(a->seed, RANDOM_ADAPTER, (uint64_t)(i * TENSORS + t)), 0, (int64_t)s->rank * in, -bound, bound, theta + x->up);
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

/* Gradients of D, E and C from g = colsum(G), which backward summed behind theta's places. */
static int glora_gather(const adapter *a, method_workspace *w, real *grad) {
  const glora_state *s = a->state;
  for (int i = 0; i < s->site_count; i++) {
    const glora_site *place = &s->sites[i];
    const site *map = &a->sites[place->site];
    const tensor *c = &place->tensor[TENSOR_C], *d = &place->tensor[TENSOR_D], *e = &place->tensor[TENSOR_E];
    const real *g = w->factor_gradient + a->theta_count + place->bias;
    for (int k = 0; map->bias && place->path[TENSOR_D] != NONE && k < map->out; k++)
      grad[d->down + (place->path[TENSOR_D] == VECTOR ? k : 0)] += map->bias[k] * g[k];
    for (int k = 0; place->path[TENSOR_E] != NONE && k < map->out; k++) grad[e->down + (place->path[TENSOR_E] == VECTOR ? k : 0)] += g[k];
    if (place->path[TENSOR_C] == NONE) continue;
    real *p = w->scratch;
    linalg_product_nn(1, map->in, map->out, 1, g, map->out, map->weight, map->in, 0, p, map->in);
    if (place->path[TENSOR_C] == VECTOR) {
      linalg_add(map->in, p, grad + c->down);
      continue;
    }
    for (int k = 0; k < s->rank; k++) {
      const real *column = a->theta + c->down + (int64_t)k * map->in;
      real dot = 0;
      for (int j = 0; j < map->in; j++) dot += column[j] * p[j];
      grad[c->up + k] += dot;
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
  linalg_product_tn(count, map->in, s->rank, 1, theta + x->down + first, map->out, theta + x->up, map->in, 0, rows, map->in);
  linalg_multiply((int64_t)count * map->in, map->weight + (int64_t)first * map->in, rows);
}

/* A site's share of what is kept: the base map's output [n][out], H = X Xu^T of B [n][r], row sums of X [n]. */
typedef struct kept_rows {
  real *base, *narrow, *sums;
} kept_rows;

static kept_rows kept_of(const glora_state *s, const site *map, real *saved, int n) {
  kept_rows k = {.base = saved};
  k.narrow = k.base + (int64_t)n * map->out;
  k.sums = k.narrow + (int64_t)n * s->rank;
  return k;
}

static int64_t kept_size(const glora_state *s, const site *map, int n) { return (int64_t)n * (map->out + s->rank + 1); }

static real element(const real *theta, const tensor *x, support kind, int i) { return theta[x->down + (kind == VECTOR ? i : 0)]; }

static void forward_a(const adapter *a, const glora_site *place, const site *map, int n, const real *x, real *keep, real *rows, real *y, int y_stride) {
  const tensor *t = &place->tensor[TENSOR_A];
  support kind = place->path[TENSOR_A];
  if (kind == NONE) return;
  if (kind == LORA) {
    for (int first = 0; first < map->out; first += ROW_BLOCK) {
      int count = map->out - first < ROW_BLOCK ? map->out - first : ROW_BLOCK;
      make_rows(a->state, map, t, a->theta, first, count, rows);
      linalg_product_nt(n, count, map->in, 1, x, map->in, rows, map->in, 1, y + first, y_stride);
    }
    return;
  }
  for (int i = 0; i < n; i++) {
    real *row = y + (int64_t)i * y_stride;
    if (keep) memcpy(keep + (int64_t)i * map->out, row, (size_t)map->out * sizeof *row);
    for (int j = 0; j < map->out; j++) row[j] += element(a->theta, t, kind, j) * (map->bias ? row[j] - map->bias[j] : row[j]);
  }
}

static void forward_b(const adapter *a, const glora_site *place, const site *map, int n, const real *x, real *narrow, real *sums, real *y, int y_stride) {
  const glora_state *s = a->state;
  const tensor *t = &place->tensor[TENSOR_B];
  support kind = place->path[TENSOR_B];
  if (kind == NONE) return;
  if (kind == LORA) {
    linalg_product_nt(n, s->rank, map->in, 1, x, map->in, a->theta + t->up, map->in, 0, narrow, s->rank);
    linalg_product_nn(n, map->out, s->rank, 1, narrow, s->rank, a->theta + t->down, map->out, 1, y, y_stride);
    return;
  }
  for (int i = 0; i < n; i++) {
    const real *from = x + (int64_t)i * map->in;
    real *row = y + (int64_t)i * y_stride, sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int j = 0; j < map->in; j++) sum += from[j];
    sums[i] = sum;
    for (int j = 0; j < map->out; j++) row[j] += sum * element(a->theta, t, kind, j);
  }
}

static int glora_forward(const adapter *a, method_workspace *w, int group, int n, const real *x, real *const y[], int y_stride) {
  const glora_state *s = a->state;
  real *saved = w->training ? w->saved[group] : NULL, *fixed = w->scratch + (int64_t)n * a->scratch_width;
  for (int i = s->first[group]; i < s->first[group + 1]; i++) {
    const glora_site *place = &s->sites[i];
    const site *map = &a->sites[place->site];
    kept_rows keep = {.narrow = w->scratch, .sums = w->scratch + (int64_t)n * s->rank};
    if (saved) {
      keep = kept_of(s, map, saved, n);
      saved += kept_size(s, map, n);
    }
    forward_a(a, place, map, n, x, keep.base, fixed, y[place->slot], y_stride);
    forward_b(a, place, map, n, x, keep.narrow, keep.sums, y[place->slot], y_stride);
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
  for (int i = 0; i < n; i++) {
    const real *row = dy + (int64_t)i * y_stride;
    real through = 0;
    for (int j = 0; j < map->out; j++) {
      through += row[j] * element(a->theta, t, kind, j);
      grad[t->down + (kind == VECTOR ? j : 0)] += row[j] * keep->sums[i];
    }
    for (int j = 0; dx && j < map->in; j++) dx[(int64_t)i * map->in + j] += through;
  }
}

/* Low-rank A: the way back through the rows of W0 o (Xd Xu), then the same block holds (G^T X) o W0. */
static void backward_a_lora(const adapter *a, const glora_site *place, const site *map, real *rows, int n, const real *x, const real *dy, int y_stride,
                            real *grad, real *dx) {
  const glora_state *s = a->state;
  const tensor *t = &place->tensor[TENSOR_A];
  for (int first = 0; first < map->out; first += ROW_BLOCK) {
    int count = map->out - first < ROW_BLOCK ? map->out - first : ROW_BLOCK;
    if (dx) {
      make_rows(s, map, t, a->theta, first, count, rows);
      linalg_product_nn(n, map->in, count, 1, dy + first, y_stride, rows, map->in, 1, dx, map->in);
    }
    linalg_product_tn(count, map->in, n, 1, dy + first, y_stride, x, map->in, 0, rows, map->in);
    linalg_multiply((int64_t)count * map->in, map->weight + (int64_t)first * map->in, rows);
    linalg_product_nt(s->rank, count, map->in, 1, a->theta + t->up, map->in, rows, map->in, 1, grad + t->down + first, map->out);
    linalg_product_nn(s->rank, map->in, count, 1, a->theta + t->down + first, map->out, rows, map->in, 1, grad + t->up, map->in);
  }
}

/* A per row or one number: dA from the base map's output, and dY0 = G o (1 + A) in place. */
static void backward_a_scale(const adapter *a, const glora_site *place, const site *map, const real *base, int n, real *dy, int y_stride, real *grad) {
  const tensor *t = &place->tensor[TENSOR_A];
  support kind = place->path[TENSOR_A];
  for (int i = 0; i < n; i++) {
    real *row = dy + (int64_t)i * y_stride;
    const real *y0 = base + (int64_t)i * map->out;
    for (int j = 0; j < map->out; j++) {
      grad[t->down + (kind == VECTOR ? j : 0)] += row[j] * (map->bias ? y0[j] - map->bias[j] : y0[j]);
      row[j] *= 1 + element(a->theta, t, kind, j);
    }
  }
}

static int glora_backward(const adapter *a, method_workspace *w, int group, int n, const real *x, real *const dy[], int y_stride, real *dx) {
  const glora_state *s = a->state;
  real *saved = w->saved[group], *fixed = w->scratch + (int64_t)n * a->scratch_width, *grad = w->factor_gradient;
  for (int i = s->first[group]; i < s->first[group + 1]; i++) {
    const glora_site *place = &s->sites[i];
    const site *map = &a->sites[place->site];
    kept_rows keep = kept_of(s, map, saved, n);
    real *d = dy[place->slot];
    saved += kept_size(s, map, n);
    linalg_column_sum(n, map->out, d, y_stride, grad + a->theta_count + place->bias);
    backward_b(a, place, map, &keep, w->scratch, n, x, d, y_stride, grad, dx);
    if (place->path[TENSOR_A] == LORA) backward_a_lora(a, place, map, fixed, n, x, d, y_stride, grad, dx);
    else if (place->path[TENSOR_A] != NONE) backward_a_scale(a, place, map, keep.base, n, d, y_stride, grad); /* last: it changes dY */
  }
  return ERROR_NONE;
}

/* ---- merging, counting, searching ---- */

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

static int64_t tensor_size(int t, support kind, int64_t out, int64_t in, int64_t rank) {
  int64_t length = t == TENSOR_C ? in : out;
  if (kind == LORA) return rank * (length + (t == TENSOR_C ? 1 : in));
  return kind == VECTOR ? length : kind == CONSTANT;
}

static int path_places(const adapter *a) { return ((const glora_state *)a->state)->site_count; }

static const char *path_place_name(const adapter *a, int place) {
  const glora_state *s = a->state;
  return a->sites[s->sites[place].site].name;
}

static int64_t path_size(const adapter *a, int place, int path) {
  const glora_state *s = a->state;
  const site *map = &a->sites[s->sites[place].site];
  support kind[TENSORS];
  int64_t size = 0;
  read_path(path, kind);
  for (int t = 0; t < TENSORS; t++) size += tensor_size(t, kind[t], map->out, map->in, s->rank);
  return size;
}

static int path_follow(adapter *a, const int32_t *path) {
  glora_state *s = a->state;
  if (!s->is_random) return FAIL(ERROR_USAGE, "train it with method.path=random", "there is no super-network to choose from: method.path is not random");
  for (int i = 0; i < s->site_count; i++) s->follow[i] = path ? path[i] : -1;
  return ERROR_NONE;
}

static void path_describe(int path, char text[METHOD_PATH_BYTES]) {
  support kind[TENSORS];
  read_path(path, kind);
  text[0] = 0;
  for (int t = 0; t < TENSORS; t++) {
    size_t used = strlen(text);
    snprintf(text + used, METHOD_PATH_BYTES - used, "%s%s:%s", t ? " " : "", tensor_names[t], support_names[kind[t]]);
  }
}

static const method_paths glora_paths = {.genes = TENSORS,
                                         .choices = digits,
                                         .places = path_places,
                                         .place_name = path_place_name,
                                         .size = path_size,
                                         .follow = path_follow,
                                         .describe = path_describe,
                                         .words = "method.path=listed method.paths="};

/* A super-network sends a path drawn anew in each step: counted in the mean over all paths. */
static int64_t mean_path(const adapter *a, const glora_state *s) {
  double sum = 0;
  for (int i = 0; i < s->site_count; i++) {
    const site *map = &a->sites[s->sites[i].site];
    for (int t = 0; t < TENSORS; t++)
      for (int k = 0; k < digits[t]; k++) sum += (double)tensor_size(t, allowed[t][k], map->out, map->in, s->rank) / digits[t];
  }
  return (int64_t)(sum + 0.5);
}

static int glora_count(const adapter *a, method_counts *counts) {
  const glora_state *s = a->state;
  int is_listed = !strcmp(option_text(a->options, "path"), "listed");
  *counts = (method_counts){.trainable = a->theta_count,
                            .stored_bytes = 4 * a->theta_count + (is_listed ? (9 * s->site_count + 7) / 8 : 0), /* a path id takes 9 bits */
                            .sent_floats = s->is_random ? mean_path(a, s) : a->theta_count};
  return ERROR_NONE;
}

const method method_glora = {
    .name = "glora",
    .title = "GLoRA",
    .paper = "Chavan et al. 2023, arXiv 2306.07967",
    .flags = METHOD_IDENTITY_AT_START | METHOD_MERGEABLE,
    .options = glora_options,
    .option_count = sizeof glora_options / sizeof *glora_options,
    .plan = glora_plan,
    .prepare = glora_prepare,
    .init = glora_init,
    .choose = glora_choose,
    .expand = glora_expand,
    .forward = glora_forward,
    .backward = glora_backward,
    .gather = glora_gather,
    .count = glora_count,
    .merge = glora_merge,
    .paths = &glora_paths,
};
