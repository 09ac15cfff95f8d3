/* Uni-LoRA: all A and B of the model, flattened to D numbers, are one random isometric projection of d trained ones: theta_D = P theta_d (Li et al., arXiv
 * 2506.00799).
 *
 *   theta_D[i] = theta_d[j] / sqrt(n_j), j = index(i), n_j = how many i have it;   y += (x A^T) B^T, no alpha / r
 *
 * P has one non-zero per row and P^T P = I. The index is balanced (every j is used floor(D / d) or that plus one times): j = pi(i) mod d with pi a permutation
 * of 0 .. D - 1 keyed by the seed (projection: seed). It is evaluated once, into a table of 4 D bytes that no file holds: evaluating it costs about 80 cycles a
 * number, and every step needs it twice. PEFT's permutation can be taken over as indices in a file (projection: file). Order of the D numbers: site by site, A
 * then B. Start: theta_d uniform in +-0.02; B is not zero, nor is the update. Gradient: dtheta_j = (sum over i of dtheta_D[i]) / sqrt(n_j), in the order of i.
 * Trainable and sent: d; stored: d and the seed.
 *
 * Cost: the product's (lowrank.h), and per step and rank D (4 + 4) bytes in expand, read index and write factor, as many in gather: both walk D in order, and
 * pick from or add to d numbers, which stay in the first- or second-level cache (23 KB for MiniLM, 2 MB for a 7B model). Clearing the gradient is 4 D more.
 * Floor for MiniLM, r = 4 on q and v: 85 MFLOP for a step of 397 tokens, 0.7 MB a rank. bench_methods: 1.5 % of the head-only step with whole backward, of
 * which expand and gather are 0.1 %.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "method/lowrank.h"

static const char *const projections[] = {"seed", "file", NULL};
static const option unilora_options[] = {
    {.name = "rank", .type = OPTION_INT, .preset = "4", .low = 1, .high = 65536, .help = "rank r of the update"},
    {.name = "d", .type = OPTION_INT, .preset = "auto", .low = 1, .high = 2147483647.0, .may_be_auto = 1, .help = "trained numbers; auto: D / 6.4, rounded"},
    {.name = "modules", .type = OPTION_LIST, .preset = "q,v", .choices = adapter_modules, .help = "adapted linear maps"},
    {.name = "projection", .type = OPTION_CHOICE, .preset = "seed", .choices = projections, .help = "the index map: drawn, or of the file train.start"},
    {.name = "projection_seed", .type = OPTION_INT, .preset = "auto", .low = 0, .high = 4294967295.0, .may_be_auto = 1, .help = "of a drawn one; auto: seed"},
};

/* A permutation of 0 .. count - 1 without a table: a Feistel network over the next even power of two, walked until it lands inside. */
enum { ROUNDS = 6 };
typedef struct permutation {
  uint64_t count;
  int half_bits;
  uint32_t key[ROUNDS];
} permutation;

static permutation permutation_make(uint64_t seed, uint64_t count) {
  permutation p = {.count = count, .half_bits = 1};
  while (((uint64_t)1 << (2 * p.half_bits)) < count) p.half_bits++;
  random_key key = random_key_make(seed, RANDOM_PROJECTION, 2);
  for (int i = 0; i < ROUNDS; i++) p.key[i] = random_bits(key, 0, (uint64_t)i);
  return p;
}

/* The finaliser of MurmurHash3: every bit of its input moves every bit of its output. */
static inline uint32_t mix(uint32_t x) {
  x ^= x >> 16;
  x *= 0x85ebca6bu;
  x ^= x >> 13;
  x *= 0xc2b2ae35u;
  return x ^ x >> 16;
}

static inline uint64_t permute(const permutation *p, uint64_t i) {
  const uint32_t mask = (uint32_t)(((uint64_t)1 << p->half_bits) - 1);
  do {
    uint32_t left = (uint32_t)(i >> p->half_bits), right = (uint32_t)i & mask;
    for (int round = 0; round < ROUNDS; round++) {
      uint32_t next = left ^ (mix(right + p->key[round]) & mask);
      left = right;
      right = next;
    }
    i = (uint64_t)left << p->half_bits | right;
  } while (i >= p->count);
  return i;
}

typedef struct unilora_state {
  lowrank low;
  int64_t d;
  const int32_t *index; /* [D] j of each factor number, in their order     */
  int64_t *uses;        /* [d] n_j                                         */
  real *scale;          /* [d] 1 / sqrt(n_j); 0: no factor number has it   */
  real *scaled;         /* [d] theta_d o scale of the last expand          */
} unilora_state;

static int unilora_plan(adapter *a) {
  unilora_state *s;
  int from_file = !strcmp(option_text(a->options, "projection"), "file");
  TRY(arena_take(a->memory, 1, sizeof *s, &s));
  a->state = s;
  TRY(lowrank_plan(a, (int)option_int(a->options, "rank"), 1, &s->low));
  int64_t automatic = (int64_t)((double)a->factor_count / 6.4 + 0.5);
  s->d = adapter_settle(a, "d", automatic > 0 ? automatic : 1);
  if (s->d > a->factor_count)
    return FAIL(ERROR_USAGE, "use a smaller method.d or a larger method.rank", "method.d=%lld is more than the %lld numbers of the factors", (long long)s->d,
                (long long)a->factor_count);
  if (s->d > INT32_MAX) return FAIL(ERROR_USAGE, "set method.d", "method.d=auto would be %lld, more than %d", (long long)s->d, INT32_MAX);
  a->scratch_fixed = s->d; /* gather's sums */
  TRY(adapter_add_constant(a, "indices", from_file, 1, a->factor_count, s->d));
  return adapter_add_segment(a, "theta_d", "adapter", 1, 1, (int)s->d, NULL);
}

static int unilora_prepare(adapter *a) {
  unilora_state *s = a->state;
  const method_constant *c = &a->constants[0];
  permutation order = permutation_make(adapter_projection_seed(a), (uint64_t)a->factor_count);
  s->index = c->index;
  for (int64_t i = 0; i < a->factor_count && !c->from_file; i++) c->index[i] = (int32_t)(permute(&order, (uint64_t)i) % (uint64_t)s->d);
  TRY(arena_take(a->memory, (size_t)s->d, sizeof *s->uses, &s->uses));
  TRY(arena_take(a->memory, (size_t)s->d, sizeof *s->scale, &s->scale));
  TRY(arena_take(a->memory, (size_t)s->d, sizeof *s->scaled, &s->scaled));
  return lowrank_prepare(a);
}

static int unilora_init(const adapter *a, real *theta) {
  random_fill_uniform(random_key_make(a->set.seed, RANDOM_ADAPTER, 0), 0, a->theta_count, (real)-0.02, (real)0.02, theta);
  return ERROR_NONE;
}

/* How often each number is used; of indices that a file brought, some may never be. */
static void find_scales(const adapter *a, unilora_state *s) {
  for (int64_t i = 0; i < a->factor_count; i++) s->uses[s->index[i]]++;
  for (int64_t j = 0; j < s->d; j++) s->scale[j] = s->uses[j] ? (real)(1 / sqrt((double)s->uses[j])) : 0;
}

static void pick(int64_t count, const int32_t *index, const real *from, real *values) {
  for (int64_t k = 0; k < count; k++) values[k] = from[index[k]];
}

static void scatter(int64_t count, const int32_t *index, const real *values, real *to) {
  for (int64_t k = 0; k < count; k++) to[index[k]] += values[k];
}

/* Each factor in theta_D's order: picked from `from`, or (from NULL) added to `to`. */
static void project(const unilora_state *s, const real *from, real *factors, real *to) {
  const int32_t *index = s->index;
  for (int k = 0; k < s->low.pair_count; k++) {
    const lowrank_pair *pair = &s->low.pairs[k];
    const int64_t place[] = {pair->a, pair->b}, count[] = {(int64_t)s->low.rank * pair->in, (int64_t)s->low.rank * pair->out};
    for (int part = 0; part < 2; index += count[part++]) {
      if (from) pick(count[part], index, from, factors + place[part]);
      else scatter(count[part], index, factors + place[part], to);
    }
  }
}

static int unilora_expand(adapter *a, const real *theta) {
  unilora_state *s = a->state;
  a->theta = theta;
  if (!s->low.factors) find_scales(a, s); /* the first time: by now a file's indices are there, and from here on they stay */
  for (int64_t j = 0; j < s->d; j++) s->scaled[j] = theta[j] * s->scale[j];
  project(s, s->scaled, s->low.made, NULL);
  s->low.factors = s->low.made;
  return ERROR_NONE;
}

static int unilora_gather(const adapter *a, method_workspace *w, real *grad) {
  const unilora_state *s = a->state;
  real *sum = w->scratch;
  memset(sum, 0, (size_t)s->d * sizeof *sum);
  project(s, NULL, w->factor_gradient, sum);
  for (int64_t j = 0; j < s->d; j++) grad[j] += sum[j] * s->scale[j];
  memset(w->factor_gradient, 0, (size_t)a->factor_count * sizeof(real));
  return ERROR_NONE;
}

const method method_unilora = {
    .name = "unilora",
    .title = "Uni-LoRA",
    .paper = "Li et al. 2025, arXiv 2506.00799",
    .flags = METHOD_MERGEABLE | METHOD_SEEDED | METHOD_DROPS_INPUT,
    .options = unilora_options,
    .option_count = sizeof unilora_options / sizeof *unilora_options,
    .plan = unilora_plan,
    .prepare = unilora_prepare,
    .init = unilora_init,
    .expand = unilora_expand,
    .forward = lowrank_method_forward,
    .backward = lowrank_method_backward,
    .gather = unilora_gather,
    .merge = lowrank_method_merge,
};
