#include "train/exact.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "base/error.h"
#include "train/payload.h"

/* A level is the exponent e with |x| < 2^e of the largest number, as one byte: 0 all zero (or, as state, not known yet), 1 .. 254 e + BIAS, 255 not finite.
 * Numbers below the lowest level are scaled by it. */
enum { BIAS = 120, LEVEL_MAX = 254, LEVEL_BAD = 255, HEADROOM = 8, BITS_KEPT = 32 };

struct exact {
  int segments, threads;
  int bits;                /* of one shard's number: the sum over all shards stays below 2^62 */
  int64_t total;           /* numbers of this pass' message */
  int64_t *first;          /* [segments + 1] where each begins */
  uint8_t *level;          /* [segments + 1] state: of the last step; the last: of the loss */
  uint8_t *seen;           /* [segments + EXACT_MORE_LEVELS] of this pass, behind it what this rank wishes */
  uint8_t *seen_by_thread; /* [threads][segments + 1] */
  int64_t *sum;            /* [capacity + EXACT_TAIL] loss, examples, tokens behind the numbers */
  omp_lock_t *lock;        /* [segments + 1] */
};

int exact_create(const model *m, int64_t capacity, int threads, int64_t shards, arena *memory, exact **result) {
  exact *e;
  size_t n = (size_t)model_segment_count(m);
  TRY(arena_take(memory, 1, sizeof *e, &e));
  *e = (exact){.segments = (int)n, .threads = threads, .bits = 62};
  for (int64_t s = 1; s < shards; s *= 2) e->bits--;
  TRY(arena_take(memory, n + 1, sizeof *e->first, &e->first));
  TRY(arena_take(memory, n + 1, 1, &e->level));
  TRY(arena_take(memory, n + EXACT_MORE_LEVELS, 1, &e->seen));
  TRY(arena_take(memory, (n + 1) * (size_t)threads, 1, &e->seen_by_thread));
  TRY(arena_take(memory, (size_t)capacity + EXACT_TAIL, sizeof *e->sum, &e->sum));
  TRY(arena_take(memory, n + 1, sizeof *e->lock, &e->lock));
  for (size_t i = 0; i <= n; i++) omp_init_lock(&e->lock[i]);
  *result = e;
  return ERROR_NONE;
}

void exact_destroy(exact *e) {
  for (int i = 0; e && i <= e->segments; i++) omp_destroy_lock(&e->lock[i]);
}

uint8_t *exact_levels(exact *e, int *levels) {
  *levels = e->segments + 1;
  return e->level;
}

void exact_begin(exact *e, const int64_t *count) {
  e->first[0] = 0;
  for (int i = 0; i < e->segments; i++) e->first[i + 1] = e->first[i] + count[i];
  e->total = e->first[e->segments];
  memset(e->sum, 0, ((size_t)e->total + EXACT_TAIL) * sizeof *e->sum);
  memset(e->seen_by_thread, 0, (size_t)(e->segments + 1) * (size_t)e->threads);
}

static uint8_t level_of_exponent(int exponent) {
  int level = exponent + BIAS;
  return (uint8_t)(level < 1 ? 1 : level > LEVEL_MAX ? LEVEL_MAX : level);
}

/* Of the largest magnitude, from the bits of IEEE floats, whose order is that of the magnitudes and puts infinities and NaN on top. */
static uint8_t level_of(int64_t count, const float *x) {
  uint32_t most = 0;
  for (int64_t i = 0; i < count; i++) {
    uint32_t bits;
    memcpy(&bits, &x[i], sizeof bits);
    bits &= 0x7fffffffu;
    most = bits > most ? bits : most;
  }
  if (most == 0) return 0;
  return most >= 0x7f800000u ? LEVEL_BAD : level_of_exponent((int)(most >> 23) - 126);
}

/* A double may be beyond every level: such a loss is as lost as one that is not finite. */
static uint8_t level_of_loss(double loss) {
  int exponent;
  if (!isfinite(loss)) return LEVEL_BAD;
  if (loss == 0) return 0;
  frexp(loss, &exponent);
  return exponent > LEVEL_MAX - BIAS ? LEVEL_BAD : level_of_exponent(exponent);
}

/* The power of two that takes numbers of a level, headroom included, to fixed point. */
static double scale_of(const exact *e, uint8_t level) { return ldexp(1, e->bits - (level - BIAS + HEADROOM)); }

static int fits(uint8_t level, uint8_t seen) { return seen == 0 || (level > 0 && seen <= level + HEADROOM && seen != LEVEL_BAD); }

/* Whether a segment has become so small (behind a step of huge numbers, say) that its scale would leave it fewer than BITS_KEPT bits. */
static int sank(const exact *e, uint8_t level, uint8_t seen) {
  int room = e->bits - HEADROOM - BITS_KEPT;
  return seen > 0 && seen != LEVEL_BAD && level - seen > (room > HEADROOM ? room : HEADROOM);
}

static void add_numbers(int64_t count, const float *x, double scale, int64_t *sum) {
  for (int64_t i = 0; i < count; i++) sum[i] += llrint((double)x[i] * scale);
}

void exact_add(exact *e, int thread, const float *message, const model_sums *sums) {
  uint8_t *seen = e->seen_by_thread + (size_t)thread * (size_t)(e->segments + 1);
  for (int turn = 0; turn < e->segments; turn++) {
    int i = (turn + thread * e->segments / e->threads) % e->segments; /* threads begin at different places and seldom wait for each other */
    const float *numbers = message + e->first[i];
    int64_t count = e->first[i + 1] - e->first[i];
    uint8_t level = level_of(count, numbers);
    if (level > seen[i]) seen[i] = level;
    if (level == 0 || !fits(e->level[i], level)) continue; /* the pass will be made again */
    omp_set_lock(&e->lock[i]);
    add_numbers(count, numbers, scale_of(e, e->level[i]), e->sum + e->first[i]);
    omp_unset_lock(&e->lock[i]);
  }
  int last = e->segments;
  uint8_t level = level_of_loss(sums->loss);
  if (level > seen[last]) seen[last] = level;
  omp_set_lock(&e->lock[last]);
  if (level && fits(e->level[last], level)) e->sum[e->total] += llrint(sums->loss * scale_of(e, e->level[last]));
  e->sum[e->total + 1] += sums->count;
  e->sum[e->total + 2] += sums->tokens;
  omp_unset_lock(&e->lock[last]);
}

int exact_agree(exact *e, comm *c, int wish, int *again, int *agreed) {
  int n = e->segments + 1;
  memset(e->seen, 0, (size_t)n);
  for (int t = 0; t < e->threads; t++)
    for (int i = 0; i < n; i++)
      if (e->seen_by_thread[t * n + i] > e->seen[i]) e->seen[i] = e->seen_by_thread[t * n + i];
  e->seen[n] = (uint8_t)wish;
  if (c) TRY(comm_max_bytes(c, COMM_GRADIENT, e->seen, n + 1));
  *agreed = e->seen[n];
  *again = 0;
  for (int i = 0; i < n; i++) {
    if ((fits(e->level[i], e->seen[i]) && !sank(e, e->level[i], e->seen[i])) || e->seen[i] == LEVEL_BAD) continue;
    e->level[i] = e->seen[i];
    *again = 1;
  }
  return ERROR_NONE;
}

int exact_sum(exact *e, comm *c, float *message, model_sums *sums) {
  int last = e->segments;
  if (c) TRY(comm_sum_integers(c, COMM_GRADIENT, e->sum, e->total + EXACT_TAIL));
  for (int i = 0; i < e->segments; i++) {
    double unit = e->level[i] ? 1 / scale_of(e, e->level[i]) : 0;
    for (int64_t k = e->first[i]; k < e->first[i + 1]; k++) message[k] = (float)((double)e->sum[k] * unit);
    if (e->seen[i] == LEVEL_BAD) message[e->first[i]] = NAN; /* in the segment itself: the first of the message may rest, and then nobody looks at it */
  }
  *sums = (model_sums){
      .loss = e->level[last] ? (double)e->sum[e->total] / scale_of(e, e->level[last]) : 0, .count = e->sum[e->total + 1], .tokens = e->sum[e->total + 2]};
  if (e->seen[last] == LEVEL_BAD) sums->loss = NAN;
  for (int i = 0; i <= e->segments; i++) /* what the next step expects; a segment that rested keeps its own */
    if (e->seen[i] && e->seen[i] != LEVEL_BAD) e->level[i] = e->seen[i];
  return ERROR_NONE;
}
