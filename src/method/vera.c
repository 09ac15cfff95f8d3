/* VeRA: y += (((x A^T) o d) B^T) o b with ONE frozen random pair A, B for the whole model and two trained vectors per site, d [r] and b [out] (Kopiczko et
 * al., arXiv 2310.11454).
 *
 * A is r x (widest input), B (widest output) x r; a narrower site uses the left columns of A and the top rows of B, as PEFT does. Both are uniform with the
 * bound of Kaiming for gain sqrt(2) on the STORED shape: A in +-sqrt(6 / in), B in +-sqrt(6 / r). They are drawn from the seed (projection: seed) and never
 * stored, or come from an adapter file (projection: file). Start: d = d_initial, b = 0, so the first step moves b alone. No alpha. Trainable: sum of out + r
 * over sites; stored: that and the seed.
 *
 * The pair is used in place: per-site factors diag(b) B diag(d), A would be larger than the model at ranks of 1024. Being frozen it is laid out once for its
 * products, as frozen weights are (linalg_map, always in f32), each shape of it twice. Gradients, with G = dY, H = X A^T and Z = (H o d) B^T kept from forward,
 * U = (G o b) B:   db = colsum(G o Z),  dd = colsum(U o H),  dX += (U o d) A. The sites of a group share H and the way back through A.
 *
 * Cost per token and group: 2 r in FLOP forward and (where something below is trained) as many backward; per site 2 r out forward and as many backward. All
 * else is passes over [n][r] and [n][out], made in blocks of rows that stay in the second-level cache. Floor for MiniLM, r = 1024 on q and v: 10.9 GFLOP for a
 * step of 397 tokens. bench_methods: 1.25 floors, 62 % of the head-only step with whole backward.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "linalg/linalg.h"
#include "method/lowrank.h"

enum { RANK_MAX_AUTO = 1024, ROWS = 64 }; /* rows that are worked on at a time: the largest block of a laid-out product */

static const char *const projections[] = {"seed", "file", NULL};
static const option vera_options[] = {
    {.name = "rank", .type = OPTION_INT, .preset = "auto", .low = 1, .high = 65536, .may_be_auto = 1, .help = "rank r; auto: 4 x width, at most 1024"},
    {.name = "d_initial", .type = OPTION_REAL, .preset = "0.1", .low = 1e-12, .high = 100, .help = "start of the vectors d"},
    {.name = "modules", .type = OPTION_LIST, .preset = "q,v", .choices = adapter_modules, .help = "adapted linear maps"},
    {.name = "projection", .type = OPTION_CHOICE, .preset = "seed", .choices = projections, .help = "the frozen pair: drawn, or of the file train.start"},
    {.name = "projection_seed", .type = OPTION_INT, .preset = "auto", .low = 0, .high = 4294967295.0, .may_be_auto = 1, .help = "of a drawn one; auto: seed"},
};

/* A shape of A or B: its first rows and columns, [out][in] as a linear map from `in` to `out`. */
typedef struct vera_matrix {
  int out, in;
  linalg_map *map;
  linalg_weight weight;
  void *forward, *backward; /* its layouts; NULL: the library takes it as it is */
  real *narrowed;           /* A's left columns, where a wider A is stored      */
} vera_matrix;

typedef struct vera_site {
  int site, slot, out, b; /* b: of state.b */
  int64_t inner, outer;
} vera_site;

typedef struct vera_group {
  int count, in, a;
  vera_site site[GROUP_MAX_SITES];
} vera_group;

typedef struct vera_state {
  int rank, in, out;                         /* of the frozen pair                              */
  vera_group *groups;                        /* [adapter.group_count]                           */
  vera_matrix *a, *b;                        /* [a_count], [b_count] every shape that is used   */
  int a_count, b_count, widest, is_laid_out; /* widest: output of a site  */
} vera_state;

enum { CONSTANT_A, CONSTANT_B };

static int rank_of(adapter *a) {
  int64_t width = a->site_count ? a->sites[0].in : 1; /* q's input: the model's width */
  return (int)adapter_settle(a, "rank", 4 * width < RANK_MAX_AUTO ? 4 * width : RANK_MAX_AUTO);
}

static int matrix_of(vera_matrix *list, int *count, int out, int in) {
  int i = 0;
  while (i < *count && (list[i].out != out || list[i].in != in)) i++;
  if (i == *count) list[(*count)++] = (vera_matrix){.out = out, .in = in};
  return i;
}

static int add_site(adapter *a, vera_state *v, vera_site *s) {
  const site *place = &a->sites[s->site];
  char name[METHOD_NAME_BYTES + 8];
  s->b = matrix_of(v->b, &v->b_count, place->out, v->rank);
  if (place->out > v->out) v->out = v->widest = place->out;
  snprintf(name, sizeof name, "%s.d", place->name);
  TRY(adapter_add_segment(a, name, "adapter", 1, 1, v->rank, &s->inner));
  snprintf(name, sizeof name, "%s.b", place->name);
  return adapter_add_segment(a, name, "adapter", 1, 1, place->out, &s->outer);
}

static int vera_plan(adapter *a) {
  vera_state *v;
  int rank = rank_of(a), from_file = !strcmp(option_text(a->options, "projection"), "file");
  TRY(adapter_check_modules(a));
  TRY(arena_take(a->memory, 1, sizeof *v, &v));
  a->state = v;
  v->rank = rank;
  TRY(arena_take(a->memory, (size_t)a->group_count, sizeof *v->groups, &v->groups));
  TRY(arena_take(a->memory, (size_t)a->group_count, sizeof *v->a, &v->a));
  TRY(arena_take(a->memory, (size_t)a->site_count, sizeof *v->b, &v->b));
  for (int i = 0; i < a->group_count; i++) {
    const site_group *from = &a->groups[i];
    vera_group *g = &v->groups[i];
    g->in = from->in;
    for (int slot = 0; slot < from->site_count; slot++) {
      const site *place = &a->sites[from->site[slot]];
      if (!adapter_targets(a, place)) continue;
      vera_site *s = &g->site[g->count++];
      *s = (vera_site){.site = from->site[slot], .slot = slot, .out = place->out};
      TRY(add_site(a, v, s));
      a->saved_width[i] += place->out; /* Z, behind H */
    }
    if (!g->count) continue;
    g->a = matrix_of(v->a, &v->a_count, rank, g->in);
    if (g->in > v->in) v->in = g->in;
    a->touched[i] = a->adds_input[i] = 1;
    a->saved_width[i] += lowrank_inputs(a, g->count) * rank;
    if (a->set.dropout > 0 && g->in > a->scratch_width) a->scratch_width = g->in;
  }
  a->scratch_fixed = (int64_t)ROWS * (2 * rank + v->widest);
  a->factor_count = a->theta_count;
  TRY(adapter_add_constant(a, "shared.A", from_file, rank, v->in, 0));
  return adapter_add_constant(a, "shared.B", from_file, v->out, rank, 0);
}

static int take_layout(adapter *a, int64_t bytes, void **memory) { return bytes ? arena_take(a->memory, (size_t)bytes, 1, memory) : ERROR_NONE; }

static int prepare_matrix(adapter *a, vera_matrix *m, int stored_in) {
  TRY(linalg_map_create(a->set.backend, LINALG_F32, m->out, m->in, &m->map));
  TRY(take_layout(a, linalg_map_forward_bytes(m->map), &m->forward));
  TRY(take_layout(a, linalg_map_backward_bytes(m->map), &m->backward));
  return m->in < stored_in ? arena_take(a->memory, (size_t)m->out * (size_t)m->in, sizeof(real), &m->narrowed) : ERROR_NONE;
}

static int vera_prepare(adapter *a) {
  vera_state *v = a->state;
  const double fan_in[] = {v->in, v->rank};
  for (int i = CONSTANT_A; i <= CONSTANT_B; i++) {
    const method_constant *c = &a->constants[i];
    if (c->from_file) continue;
    real bound = (real)sqrt(6 / fan_in[i]);
    random_fill_uniform(random_key_make(adapter_projection_seed(a), RANDOM_PROJECTION, (uint64_t)i), 0, c->rows * c->cols, -bound, bound, c->value);
  }
  for (int i = 0; i < v->a_count; i++) TRY(prepare_matrix(a, &v->a[i], v->in));
  for (int i = 0; i < v->b_count; i++) TRY(prepare_matrix(a, &v->b[i], v->rank));
  return ERROR_NONE;
}

static void vera_release(adapter *a) {
  const vera_state *v = a->state;
  for (int i = 0; i < v->a_count; i++) linalg_map_destroy(v->a[i].map);
  for (int i = 0; i < v->b_count; i++) linalg_map_destroy(v->b[i].map);
}

static int vera_init(const adapter *a, real *theta) {
  const vera_state *v = a->state;
  memset(theta, 0, (size_t)a->theta_count * sizeof *theta);
  real start = (real)option_real(a->options, "d_initial");
  for (int i = 0; i < a->group_count; i++)
    for (int k = 0; k < v->groups[i].count; k++)
      for (int j = 0; j < v->rank; j++) theta[v->groups[i].site[k].inner + j] = start;
  return ERROR_NONE;
}

/* The matrix out of the stored one, whose rows are `stride` wide. */
static int lay_out(vera_matrix *m, const real *stored, int stride) {
  for (int i = 0; m->narrowed && i < m->out; i++) memcpy(m->narrowed + (int64_t)i * m->in, stored + (int64_t)i * stride, (size_t)m->in * sizeof *stored);
  m->weight = (linalg_weight){.plain = m->narrowed ? m->narrowed : stored, .forward = m->forward, .backward = m->backward};
  return linalg_map_lay_out(m->map, m->weight.plain, m->forward, m->backward);
}

static int vera_expand(adapter *a, const real *theta) {
  vera_state *v = a->state;
  a->theta = theta;
  if (v->is_laid_out) return ERROR_NONE; /* the first time: by now a file's pair is there, and from here on it stays */
  for (int i = 0; i < v->a_count; i++) TRY(lay_out(&v->a[i], a->constants[CONSTANT_A].value, v->in));
  for (int i = 0; i < v->b_count; i++) TRY(lay_out(&v->b[i], a->constants[CONSTANT_B].value, v->rank));
  v->is_laid_out = 1;
  return ERROR_NONE;
}

/* ---- the product ---- */

/* Whole blocks of rows, so that what the products write behind the last row has its place. */
static int64_t padded(int n) { return (n + LINALG_ROW_BLOCK - 1) / LINALG_ROW_BLOCK * LINALG_ROW_BLOCK; }

/* A call's memory: the dropped-out input of all rows; then of a block of rows H or its gradient, [ROWS][r] and [ROWS][widest output]. */
typedef struct spaces {
  real *input, *h, *narrow, *wide;
} spaces;

static spaces spaces_of(const adapter *a, const vera_state *v, const method_workspace *w, int n) {
  spaces s = {.input = w->scratch};
  s.h = s.input + padded(n) * a->scratch_width;
  s.narrow = s.h + (int64_t)ROWS * v->rank;
  s.wide = s.narrow + (int64_t)ROWS * v->rank;
  return s;
}

/* The sites of a group that have one input, and so one H: all of them, or with masks of their own one each. What is kept: H of each part [n][r], then Z of each
 * site [n][out], all with room for whole blocks. */
typedef struct vera_part {
  int begin, end, site; /* site: whose mask it has; -1: the group's */
  real *h, *z;          /* kept; NULL: nothing is                   */
} vera_part;

static vera_part part_of(const vera_state *v, const vera_group *g, int part, int parts, int n, real *saved) {
  vera_part own = {.begin = parts == 1 ? 0 : part, .end = parts == 1 ? g->count : part + 1, .site = parts == 1 ? -1 : g->site[part].site};
  if (!saved) return own;
  own.h = saved + part * padded(n) * v->rank;
  own.z = saved + parts * padded(n) * v->rank;
  for (int k = 0; k < own.begin; k++) own.z += padded(n) * g->site[k].out;
  return own;
}

static int forward_part(const adapter *a, method_workspace *w, int group, const vera_part *part, const spaces *space, int n, const real *input, real *const y[],
                        int y_stride) {
  const vera_state *v = a->state;
  const vera_group *g = &v->groups[group];
  const vera_matrix *to_hidden = &v->a[g->a];
  for (int first = 0, rows; first < n; first += rows) {
    rows = n - first < ROWS ? n - first : ROWS;
    real *h = part->h ? part->h + (int64_t)first * v->rank : space->h, *kept = part->z;
    TRY(linalg_map_forward(to_hidden->map, w->desk, &to_hidden->weight, NULL, rows, input + (int64_t)first * g->in, h));
    for (int k = part->begin; k < part->end; k++) {
      const vera_site *s = &g->site[k];
      const vera_matrix *to_output = &v->b[s->b];
      real *z = kept ? kept + (int64_t)first * s->out : space->wide;
      linalg_scale_rows(rows, v->rank, h, v->rank, a->theta + s->inner, space->narrow, v->rank, 0);
      TRY(linalg_map_forward(to_output->map, w->desk, &to_output->weight, NULL, rows, space->narrow, z));
      linalg_scale_rows(rows, s->out, z, s->out, a->theta + s->outer, y[s->slot] + (int64_t)first * y_stride, y_stride, 1);
      if (kept) kept += padded(n) * s->out;
    }
  }
  return ERROR_NONE;
}

static int vera_forward(const adapter *a, method_workspace *w, int group, int n, const real *x, real *const y[], int y_stride) {
  const vera_state *v = a->state;
  const spaces space = spaces_of(a, v, w, n);
  const int parts = w->training ? lowrank_inputs(a, v->groups[group].count) : 1;
  for (int i = 0; i < parts; i++) {
    const vera_part part = part_of(v, &v->groups[group], i, parts, n, w->training ? w->saved[group] : NULL);
    TRY(forward_part(a, w, group, &part, &space, n, lowrank_input(a, w, group, part.site, n, x, space.input), y, y_stride));
  }
  return ERROR_NONE;
}

/* dinput (NULL: not wanted) = or, with adds, += the gradient for the part's input. */
static int backward_part(const adapter *a, method_workspace *w, int group, const vera_part *part, const spaces *space, int n, real *const dy[], int y_stride,
                         real *dinput, int adds) {
  const vera_state *v = a->state;
  const vera_group *g = &v->groups[group];
  const vera_matrix *to_hidden = &v->a[g->a];
  for (int first = 0, rows; first < n; first += rows) {
    rows = n - first < ROWS ? n - first : ROWS;
    const real *h = part->h + (int64_t)first * v->rank, *kept = part->z;
    for (int k = part->begin; k < part->end; k++) {
      const vera_site *s = &g->site[k];
      const vera_matrix *to_output = &v->b[s->b];
      linalg_scale_rows_backward(rows, s->out, dy[s->slot] + (int64_t)first * y_stride, y_stride, kept + (int64_t)first * s->out, s->out, a->theta + s->outer,
                                 space->wide, s->out, 0, w->factor_gradient + s->outer, NULL);
      TRY(linalg_map_backward(to_output->map, w->desk, &to_output->weight, rows, space->wide, 0, space->narrow));
      linalg_scale_rows_backward(rows, v->rank, space->narrow, v->rank, h, v->rank, a->theta + s->inner, space->h, v->rank, k > part->begin,
                                 w->factor_gradient + s->inner, NULL);
      kept += padded(n) * s->out;
    }
    if (dinput) TRY(linalg_map_backward(to_hidden->map, w->desk, &to_hidden->weight, rows, space->h, adds, dinput + (int64_t)first * g->in));
  }
  return ERROR_NONE;
}

static int vera_backward(const adapter *a, method_workspace *w, int group, int n, const real *x, real *const dy[], int y_stride, real *dx) {
  const vera_state *v = a->state;
  const spaces space = spaces_of(a, v, w, n);
  const int parts = lowrank_inputs(a, v->groups[group].count), drops = dx && a->set.dropout > 0; /* only training comes here */
  (void)x;                                                                                       /* the pair is frozen */
  for (int i = 0; i < parts; i++) {
    const vera_part part = part_of(v, &v->groups[group], i, parts, n, w->saved[group]);
    TRY(backward_part(a, w, group, &part, &space, n, dy, y_stride, drops ? space.input : dx, !drops));
    if (drops) lowrank_input_backward(a, w, group, part.site, n, space.input, dx);
  }
  return ERROR_NONE;
}

/* W += diag(b) B diag(d) A: rare and off the step, so plain loops and no temporary matrix. */
static int vera_merge(const adapter *a, int place, real *weight, real *bias) {
  const vera_state *v = a->state;
  const real *stored_a = a->constants[CONSTANT_A].value, *stored_b = a->constants[CONSTANT_B].value;
  (void)bias;
  for (int i = 0; weight && i < a->group_count; i++)
    for (int k = 0; k < v->groups[i].count; k++) {
      const vera_site *s = &v->groups[i].site[k];
      int in = v->groups[i].in;
      if (s->site != place) continue;
      for (int o = 0; o < s->out; o++)
        for (int r = 0; r < v->rank; r++) {
          real factor = stored_b[(int64_t)o * v->rank + r] * a->theta[s->inner + r] * a->theta[s->outer + o];
          linalg_add_scaled(in, factor, stored_a + (int64_t)r * v->in, weight + (int64_t)o * in);
        }
    }
  return ERROR_NONE;
}

const method method_vera = {
    .name = "vera",
    .title = "VeRA",
    .paper = "Kopiczko et al. 2023, arXiv 2310.11454",
    .flags = METHOD_IDENTITY_AT_START | METHOD_MERGEABLE | METHOD_SEEDED | METHOD_DROPS_INPUT,
    .options = vera_options,
    .option_count = sizeof vera_options / sizeof *vera_options,
    .training_options = "d_initial",
    .plan = vera_plan,
    .prepare = vera_prepare,
    .release = vera_release,
    .init = vera_init,
    .expand = vera_expand,
    .forward = vera_forward,
    .backward = vera_backward,
    .gather = lowrank_gather_plain,
    .merge = vera_merge,
};
