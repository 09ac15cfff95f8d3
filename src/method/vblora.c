/* VB-LoRA: A and B of every site are put together from tiles of b numbers; a tile is a mixture of the k vectors of one shared bank that its logits choose (Li
 * et al., arXiv 2405.15179).
 *
 *   tile: S = top-k of the logits (h of them), w = softmax(logits_S), tile = sum_p w_p bank[S_p];   y += (x A^T) B^T, no alpha / r
 *
 * Layout, as PEFT's: logits_A row q * (in / b) + j is A[q][j b ..]; logits_B row j * r + q is B[j b ..][q]. Start: bank uniform in +-0.02, logits normal with
 * deviation 0.01; nothing is frozen and the update is not zero. Neither decays. The bank has its own learning rate, the logits another, by default 10 times as
 * large (as in the paper's tables). Equal logits: the lower index is chosen.
 *
 * Gradients: dbank[S_p] += w_p g, dlogit[S_p] = w_p <g, bank[S_p] - tile>, all other logits 0. So only the bank and k numbers per tile need to travel, and
 * their places are known to every rank, since all hold the same logits: h b + k n floats instead of h b + h n (n tiles). All k go, though they sum to zero:
 * they do so in real numbers only. Stored: bank, k indices (1 byte up to h = 256, 2 up to 65,536, else 4) and k - 1 weights per tile; that is no state to train
 * on from, since what the other logits were is gone.
 *
 * Cost: the product's (lowrank.h); per step and rank expand reads h n logits and k vectors for each tile of b numbers, gather reads them again and adds to
 * them: 4 (h n + (4 k + 3) D) bytes, D = n b the numbers of all factors. Choosing k of h logits takes k passes over runs of 256 of them that hold something
 * better than what was found before. Floor for MiniLM, r = 4 on q and v, h = 90: 85 MFLOP for a step of 397 tokens, 1.7 MB a rank. bench_methods: 1.6 % of the
 * head-only step with whole backward, of which expand and gather are 0.25 %.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "linalg/linalg.h"
#include "method/lowrank.h"

enum { LENGTH_MAX_AUTO = 256, TOP_K_MAX = 16 };

static const option vblora_options[] = {
    {.name = "rank", .type = OPTION_INT, .preset = "4", .low = 1, .high = 65536, .help = "rank r of the update"},
    {.name = "bank", .type = OPTION_INT, .preset = "90", .low = 1, .high = 16777216, .help = "vectors of the bank, h"},
    {.name = "vector_length",
     .type = OPTION_INT,
     .preset = "auto",
     .low = 1,
     .high = 65536,
     .may_be_auto = 1,
     .help = "numbers of a vector, b; auto: the largest common divisor of all widths that is at most 256"},
    {.name = "top_k", .type = OPTION_INT, .preset = "2", .low = 1, .high = TOP_K_MAX, .help = "vectors that a tile mixes, k"},
    {.name = "modules", .type = OPTION_LIST, .preset = "q,v", .choices = adapter_modules, .help = "adapted linear maps"},
    {.name = "logits_deviation", .type = OPTION_REAL, .preset = "0.01", .low = 0, .high = 100, .help = "of the logits' normal start (PEFT: 0.1)"},
    {.name = "lr_bank", .type = OPTION_REAL, .preset = "auto", .low = 1e-12, .high = 1000, .may_be_auto = 1, .help = "peak rate of the bank; auto: train.lr"},
    {.name = "lr_logits", .type = OPTION_REAL, .preset = "auto", .low = 1e-12, .high = 1000, .may_be_auto = 1, .help = "of the logits; auto: 10 x train.lr"},
};

/* The tiles of one factor of one site: a segment of logits [tiles][h], and where the tiles' numbers are in the array of factors. */
typedef struct tiled {
  int64_t logits, factor;
  int tiles, per_line; /* tile t: line t / per_line, place t % per_line */
  int64_t line, place; /* distance in factors between lines, and between neighbours of a line */
  int64_t stride;      /* between the numbers of a tile */
  int64_t first;       /* index of its first tile among all tiles */
} tiled;

typedef struct vblora_state {
  lowrank low;
  int bank, length, top_k, index_bytes;
  tiled *part; /* [part_count]: segment 1 + i of theta is the logits of part[i] */
  int part_count;
  int64_t tiles;
  int32_t *chosen; /* [tiles][k] of the last expand, best first */
  real *weight;    /* [tiles][k] */
  real *tile;      /* [b] of the tile at hand, where its numbers lie apart */
} vblora_state;

static int64_t common_divisor(int64_t a, int64_t b) {
  while (b) {
    int64_t rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

static int length_of(adapter *a, const lowrank *l) {
  int64_t all = 0;
  for (int i = 0; i < l->pair_count; i++) all = common_divisor(common_divisor(all, l->pairs[i].in), l->pairs[i].out);
  int64_t best = all < LENGTH_MAX_AUTO ? all : LENGTH_MAX_AUTO;
  while (all % best) best--;
  return (int)adapter_settle(a, "vector_length", best);
}

static int add_part(adapter *a, vblora_state *s, const lowrank_pair *pair, int is_b) {
  int rank = s->low.rank, b = s->length;
  int64_t tiles = (int64_t)(is_b ? pair->out : pair->in) / b * rank;
  if (tiles > INT32_MAX) return FAIL(ERROR_USAGE, "use a smaller method.rank", "%s would have %lld tiles", a->sites[pair->site].name, (long long)tiles);
  tiled *t = &s->part[s->part_count++];
  char name[METHOD_NAME_BYTES + 16];
  *t = (tiled){.factor = is_b ? pair->b : pair->a, .tiles = (int)tiles, .first = s->tiles};
  if (is_b) { /* B [out][r]: a line is b rows of it, a tile one column of these */
    t->per_line = rank;
    t->line = (int64_t)b * rank;
    t->place = 1;
    t->stride = rank;
  } else { /* A [r][in]: a line is a row */
    t->per_line = pair->in / b;
    t->line = pair->in;
    t->place = b;
    t->stride = 1;
  }
  s->tiles += t->tiles;
  snprintf(name, sizeof name, "%s.logits_%c", a->sites[pair->site].name, is_b ? 'B' : 'A');
  TRY(adapter_add_segment(a, name, "logits", 0, t->tiles, s->bank, &t->logits));
  segment *logits = adapter_last_segment(a);
  if (option_is_auto(a->options, "lr_logits")) logits->rate_factor = 10;
  else logits->rate_own = option_real(a->options, "lr_logits");
  return ERROR_NONE;
}

static int vblora_plan(adapter *a) {
  vblora_state *s;
  TRY(arena_take(a->memory, 1, sizeof *s, &s));
  a->state = s;
  TRY(lowrank_plan(a, (int)option_int(a->options, "rank"), 1, &s->low));
  s->bank = (int)option_int(a->options, "bank");
  s->top_k = (int)option_int(a->options, "top_k");
  s->length = length_of(a, &s->low);
  a->scratch_fixed = s->length; /* a tile's gradient */
  s->index_bytes = s->bank <= 256 ? 1 : s->bank <= 65536 ? 2 : 4;
  if (s->top_k > s->bank) return FAIL(ERROR_USAGE, "use a larger method.bank", "method.top_k=%d is more than the bank's %d vectors", s->top_k, s->bank);
  TRY(arena_take(a->memory, 2 * (size_t)s->low.pair_count, sizeof *s->part, &s->part));
  TRY(adapter_add_segment(a, "bank", "bank", 0, s->bank, s->length, NULL));
  if (!option_is_auto(a->options, "lr_bank")) adapter_last_segment(a)->rate_own = option_real(a->options, "lr_bank");
  for (int i = 0; i < s->low.pair_count; i++) {
    const lowrank_pair *pair = &s->low.pairs[i];
    if (pair->in % s->length || pair->out % s->length)
      return FAIL(ERROR_USAGE, "leave method.vector_length out: auto finds one that divides every width",
                  "method.vector_length=%d does not divide %s (%d x %d)", s->length, a->sites[pair->site].name, pair->out, pair->in);
    for (int is_b = 0; is_b < 2; is_b++) TRY(add_part(a, s, pair, is_b));
  }
  return ERROR_NONE;
}

static int vblora_prepare(adapter *a) {
  vblora_state *s = a->state;
  TRY(arena_take(a->memory, (size_t)(s->tiles * s->top_k), sizeof *s->chosen, &s->chosen));
  TRY(arena_take(a->memory, (size_t)(s->tiles * s->top_k), sizeof *s->weight, &s->weight));
  TRY(arena_take(a->memory, (size_t)s->length, sizeof *s->tile, &s->tile));
  return lowrank_prepare(a);
}

static int vblora_init(const adapter *a, real *theta) {
  const vblora_state *s = a->state;
  real deviation = (real)option_real(a->options, "logits_deviation");
  random_fill_uniform(random_key_make(a->set.seed, RANDOM_ADAPTER, 0), 0, (int64_t)s->bank * s->length, (real)-0.02, (real)0.02, theta);
  for (int i = 0; i < s->part_count; i++)
    random_fill_normal(random_key_make(a->set.seed, RANDOM_ADAPTER, 1 + (uint64_t)i), 0, (int64_t)s->part[i].tiles * s->bank, deviation,
                       theta + s->part[i].logits);
  return ERROR_NONE;
}

/* The best of `count` logits behind the one at `last` (-1: of all) in the order best first, of equal ones the lower index first; -1: there is none. In vectors,
 * without a branch that depends on the numbers. */
static int next_best(const real *logits, int count, int last) {
  const real bound = last < 0 ? (real)INFINITY : logits[last];
  real most = (real)-INFINITY;
  int at = count;
#pragma omp simd reduction(max : most)
  for (int i = 0; i < count; i++) {
    int behind = (logits[i] < bound) | ((logits[i] == bound) & (i > last));
    real x = behind ? logits[i] : (real)-INFINITY;
    most = x > most ? x : most;
  }
#pragma omp simd reduction(min : at)
  for (int i = 0; i < count; i++) {
    int behind = (logits[i] < bound) | ((logits[i] == bound) & (i > last));
    int found = behind & (logits[i] == most) ? i : count;
    at = found < at ? found : at;
  }
  return at < count ? at : -1;
}

enum { RUN = 256 };

/* The k best, best first; of equal logits the lower index. Run by run; a run whose best is no better than the worst chosen so far is passed over. */
static void choose_top(const real *logits, int count, int k, int32_t *chosen) {
  int have = 0;
  for (int first = 0; first < count; first += RUN) {
    const int length = count - first < RUN ? count - first : RUN;
    for (int p = 0, best = -1; p < k; p++) {
      best = next_best(logits + first, length, best);
      if (best < 0 || (have == k && !(logits[first + best] > logits[chosen[k - 1]]))) break;
      int at = have < k ? have++ : k - 1;
      for (; at > 0 && logits[first + best] > logits[chosen[at - 1]]; at--) chosen[at] = chosen[at - 1];
      chosen[at] = first + best;
    }
  }
  while (have < k) chosen[have++] = 0; /* numbers that are none: the step fails, but not here */
}

static real *tile_at(const tiled *t, int tile, real *factors) { return factors + t->factor + tile / t->per_line * t->line + tile % t->per_line * t->place; }

/* tile [length] = sum of the chosen vectors by their weights. */
static void mix(const vblora_state *s, const real *bank, const int32_t *chosen, const real *weight, real *tile) {
  for (int p = 0; p < s->top_k; p++) {
    const real *vector = bank + (int64_t)chosen[p] * s->length;
    if (p == 0) {
#pragma omp simd
      for (int c = 0; c < s->length; c++) tile[c] = weight[0] * vector[c];
    } else {
      linalg_add_scaled(s->length, weight[p], vector, tile);
    }
  }
}

static int vblora_expand(adapter *a, const real *theta) {
  vblora_state *s = a->state;
  const real *bank = theta;
  a->theta = theta;
  for (int i = 0; i < s->part_count; i++) {
    const tiled *t = &s->part[i];
    for (int tile = 0; tile < t->tiles; tile++) {
      const real *logits = theta + t->logits + (int64_t)tile * s->bank;
      int32_t *chosen = s->chosen + (t->first + tile) * s->top_k;
      real *weight = s->weight + (t->first + tile) * s->top_k, *number = tile_at(t, tile, s->low.made);
      choose_top(logits, s->bank, s->top_k, chosen);
      for (int p = 0; p < s->top_k; p++) weight[p] = logits[chosen[p]];
      linalg_softmax(1, s->top_k, weight, s->top_k);
      mix(s, bank, chosen, weight, t->stride == 1 ? number : s->tile);
      for (int c = 0; t->stride > 1 && c < s->length; c++) number[c * t->stride] = s->tile[c];
    }
  }
  s->low.factors = s->low.made;
  return ERROR_NONE;
}

/* A tile's gradient g: into the vectors that it mixes and the logits that chose them. <g, tile> is the mean of the vectors' <g, bank[S_p]>, so that the tile
 * itself is not read again. */
static void gather_tile(const vblora_state *s, const real *bank, const int32_t *chosen, const real *weight, const real *g, real *grad, real *logits) {
  real dot[TOP_K_MAX], mean = 0;
  for (int p = 0; p < s->top_k; p++) {
    const real *vector = bank + (int64_t)chosen[p] * s->length;
    real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int c = 0; c < s->length; c++) sum += g[c] * vector[c];
    dot[p] = sum;
    mean += weight[p] * sum;
    linalg_add_scaled(s->length, weight[p], g, grad + (int64_t)chosen[p] * s->length);
  }
  for (int p = 0; p < s->top_k; p++) logits[chosen[p]] += weight[p] * (dot[p] - mean);
}

static int vblora_gather(const adapter *a, method_workspace *w, real *grad) {
  const vblora_state *s = a->state;
  for (int i = 0; i < s->part_count; i++) {
    const tiled *t = &s->part[i];
    for (int tile = 0; tile < t->tiles; tile++) {
      const int64_t at = (t->first + tile) * s->top_k;
      const real *g = tile_at(t, tile, w->factor_gradient);
      for (int c = 0; t->stride > 1 && c < s->length; c++) w->scratch[c] = g[c * t->stride];
      gather_tile(s, a->theta, s->chosen + at, s->weight + at, t->stride > 1 ? w->scratch : g, grad, grad + t->logits + (int64_t)tile * s->bank);
    }
  }
  memset(w->factor_gradient, 0, (size_t)a->factor_count * sizeof(real));
  return ERROR_NONE;
}

/* ---- what travels: the bank, and k numbers per tile ---- */

static int64_t vblora_packed(const adapter *a, int index) {
  const vblora_state *s = a->state;
  return index == 0 ? (int64_t)s->bank * s->length : (int64_t)s->part[index - 1].tiles * s->top_k;
}

static void vblora_pack(const adapter *a, int index, const real *grad, real *message) {
  const vblora_state *s = a->state;
  if (index == 0) {
    memcpy(message, grad, (size_t)s->bank * (size_t)s->length * sizeof *grad);
    return;
  }
  const tiled *t = &s->part[index - 1];
  const int32_t *chosen = s->chosen + t->first * s->top_k;
  for (int tile = 0; tile < t->tiles; tile++)
    for (int p = 0; p < s->top_k; p++) *message++ = grad[(int64_t)tile * s->bank + *chosen++];
}

static void vblora_unpack(const adapter *a, int index, const real *message, real *grad) {
  const vblora_state *s = a->state;
  if (index == 0) {
    memcpy(grad, message, (size_t)s->bank * (size_t)s->length * sizeof *grad);
    return;
  }
  const tiled *t = &s->part[index - 1];
  const int32_t *chosen = s->chosen + t->first * s->top_k;
  memset(grad, 0, (size_t)t->tiles * (size_t)s->bank * sizeof *grad);
  for (int tile = 0; tile < t->tiles; tile++)
    for (int p = 0; p < s->top_k; p++) grad[(int64_t)tile * s->bank + *chosen++] = *message++;
}

static int vblora_count(const adapter *a, method_counts *counts) {
  const vblora_state *s = a->state;
  int64_t bank = (int64_t)s->bank * s->length;
  *counts = (method_counts){.trainable = a->theta_count,
                            .stored_bytes = 4 * bank + s->tiles * (4 * (s->top_k - 1) + s->top_k * s->index_bytes),
                            .sent_floats = bank + s->top_k * s->tiles};
  return ERROR_NONE;
}

/* ---- the stored result: bank; per factor indices [tiles][k] and weights [tiles][k - 1] ---- */

static int has_weights(const vblora_state *s) { return s->top_k > 1; }

static int vblora_stored(const adapter *a, int index, stored_array *array) {
  const vblora_state *s = a->state;
  *array = adapter_stored_segment(a, 0);
  if (index == 0) return ERROR_NONE;
  int per_part = 1 + has_weights(s), part = (index - 1) / per_part, is_weights = (index - 1) % per_part;
  if (part >= s->part_count) {
    array->rows = 0;
    return ERROR_NONE;
  }
  static const stored_type types[] = {STORED_U8, STORED_U8, STORED_U16, STORED_U16, STORED_I32};
  array->type = is_weights ? STORED_F32 : types[s->index_bytes];
  array->rows = s->part[part].tiles;
  array->cols = s->top_k - is_weights;
  if (snprintf(array->name, sizeof array->name, "%.70s.%s", a->segments[1 + part].name, is_weights ? "weights" : "chosen") >= (int)sizeof array->name)
    return FAIL(ERROR_INTERNAL, NULL, "a name is too long: %s", a->segments[1 + part].name);
  return ERROR_NONE;
}

static void write_index(void *values, int bytes, int64_t at, int32_t index) {
  if (bytes == 1) ((uint8_t *)values)[at] = (uint8_t)index;
  else if (bytes == 2) ((uint16_t *)values)[at] = (uint16_t)index;
  else ((int32_t *)values)[at] = index;
}

static int64_t read_index(const void *values, int bytes, int64_t at) {
  return bytes == 1 ? ((const uint8_t *)values)[at] : bytes == 2 ? ((const uint16_t *)values)[at] : ((const int32_t *)values)[at];
}

static int vblora_save(const adapter *a, const real *theta, int index, void *values) {
  const vblora_state *s = a->state;
  float *floats = values;
  if (index == 0) {
    adapter_save_segment(a, theta, 0, values);
    return ERROR_NONE;
  }
  int per_part = 1 + has_weights(s), is_weights = (index - 1) % per_part;
  const tiled *t = &s->part[(index - 1) / per_part];
  for (int64_t tile = 0; tile < t->tiles; tile++) {
    const real *logits = theta + t->logits + tile * s->bank;
    int32_t chosen[TOP_K_MAX];
    real weight[TOP_K_MAX];
    choose_top(logits, s->bank, s->top_k, chosen);
    for (int p = 0; p < s->top_k; p++) weight[p] = logits[chosen[p]];
    linalg_softmax(1, s->top_k, weight, s->top_k);
    for (int p = 0; p < s->top_k - is_weights; p++) {
      if (is_weights) floats[tile * (s->top_k - 1) + p] = (float)weight[p];
      else write_index(values, s->index_bytes, tile * s->top_k + p, chosen[p]);
    }
  }
  return ERROR_NONE;
}

/* Logits that choose and weigh as the stored ones did: log w at the chosen places, and far below elsewhere. Indices come first, weights after them. */
static int load_tile(const char *name, const vblora_state *s, int64_t tile, int is_weights, const void *values, real *logits) {
  static const real unchosen = (real)-1e30;
  if (!is_weights) {
    for (int i = 0; i < s->bank; i++) logits[i] = unchosen;
    for (int p = 0; p < s->top_k; p++) {
      int64_t index = read_index(values, s->index_bytes, tile * s->top_k + p);
      if (index < 0 || index >= s->bank || logits[index] != unchosen)
        return FAIL(ERROR_INPUT, NULL, "'%s': tile %lld: index %lld is repeated or outside 0 .. %d", name, (long long)tile, (long long)index, s->bank - 1);
      logits[index] = (real)-p; /* the order, until the weights are known */
    }
    return ERROR_NONE;
  }
  int32_t chosen[TOP_K_MAX];
  choose_top(logits, s->bank, s->top_k, chosen);
  double left = 1;
  for (int p = 0; p < s->top_k; p++) {
    double weight = p < s->top_k - 1 ? (double)((const float *)values)[tile * (s->top_k - 1) + p] : left;
    if (!(weight >= -1e-6 && weight <= 1 + 1e-6)) return FAIL(ERROR_INPUT, NULL, "'%s': tile %lld: weights %g outside 0 .. 1", name, (long long)tile, weight);
    left -= weight;
    logits[chosen[p]] = (real)log(fmax(weight, 1e-30));
  }
  return ERROR_NONE;
}

static int vblora_load(const adapter *a, int index, const void *values, real *theta) {
  const vblora_state *s = a->state;
  if (index == 0) return adapter_load_segment(a, 0, values, theta);
  int per_part = 1 + has_weights(s), part = (index - 1) / per_part, is_weights = (index - 1) % per_part;
  const tiled *t = &s->part[part];
  for (int64_t tile = 0; tile < t->tiles; tile++) TRY(load_tile(a->segments[1 + part].name, s, tile, is_weights, values, theta + t->logits + tile * s->bank));
  return ERROR_NONE;
}

const method method_vblora = {
    .name = "vblora",
    .title = "VB-LoRA",
    .paper = "Li et al. 2024, arXiv 2405.15179",
    .flags = METHOD_MERGEABLE | METHOD_DROPS_INPUT | METHOD_STORES_LESS,
    .options = vblora_options,
    .option_count = sizeof vblora_options / sizeof *vblora_options,
    .training_options = "logits_deviation,lr_bank,lr_logits",
    .plan = vblora_plan,
    .prepare = vblora_prepare,
    .init = vblora_init,
    .expand = vblora_expand,
    .forward = lowrank_method_forward,
    .backward = lowrank_method_backward,
    .gather = vblora_gather,
    .packed = vblora_packed,
    .pack = vblora_pack,
    .unpack = vblora_unpack,
    .count = vblora_count,
    .stored = vblora_stored,
    .save = vblora_save,
    .load = vblora_load,
    .merge = lowrank_method_merge,
};
