/* The one loop of all products with a small dimension: P x V sums that stay in registers while a loop runs over `depth`, each turn adding P broadcast numbers
 * times V vectors. What is broadcast is read where it lies, so that only the small factor is ever laid out anew.
 *
 * A vector's lanes that the small dimension w leaves empty are used by taking a group of g = 2 or 4 neighbours along the wide dimension at once: lane r g + p
 * belongs to number r of the small dimension and to neighbour p. Every sum is a chain over its own numbers in their order, so that a row's result does not
 * depend on the rows that share its tile.
 */
#ifndef PEFTSCALE_LEVEL_SKINNY_TILE_H
#define PEFTSCALE_LEVEL_SKINNY_TILE_H

#include "linalg/level/lanes.h"

/* Loops over constants, laid out flat, so that arrays of vectors become registers. */
#define EACH _Pragma("GCC unroll 32") for

/* Sums that fit the registers beside what they are made of: 32 registers with AVX-512, else 16. */
enum { VECS_MAX = 4, TILE_SUMS = LANES_BYTES == 64 ? 24 : 12 };

#ifdef PEFTSCALE_DOUBLE
enum { GROUP_MAX = 1 };
#else
enum { GROUP_MAX = LANES_BYTES == 64 ? 4 : 2 };
#endif

/* p[0] .. p[g - 1], p[0] .. over all lanes. */
INLINE lanes tile_spread(const int g, const real *p) {
#ifndef PEFTSCALE_DOUBLE
  if (g == 2) {
    typedef double halves __attribute__((vector_size(LANES_BYTES)));
    double both;
    memcpy(&both, p, sizeof both);
    return (lanes)(both - (halves){0});
  }
#if LANES_BYTES == 64
  if (g == 4) return (lanes)_mm512_broadcast_f32x4(_mm_loadu_ps(p));
#endif
#endif
  (void)g; /* 1 */
  return every(*p);
}

/* A tile's numbers: P that are broadcast, `across` apart, in each of `depth` turns, `along` apart; and V vectors a turn, `pitch` apart. */
typedef struct tile_numbers {
  int depth;
  const real *at;
  int64_t across, along;
  const real *vectors;
  int64_t pitch;
} tile_numbers;

/* What a tile asks memory for ahead of time, since rows lie in pages of their own, where the processor foresees nothing: working down a column of tiles, the
 * part of each row that the tile to the right will read; working along rows, what the tile below will change. */
enum { FETCH_NOTHING, FETCH_BROADCAST, FETCH_VECTORS, FETCH_TARGET, FETCH_REALS = 64 / sizeof(real) };

/* sum[p][v] += sum over depth d of spread(at[p across + d along]) vectors[d pitch + v LANES]. */
INLINE void tile_run(const int P, const int V, const int g, const int fetch, const tile_numbers *t, lanes sum[TILE_SUMS]) {
  const real *at = t->at, *vectors = t->vectors;
  const int64_t across = t->across, along = t->along, pitch = t->pitch;
  for (int d = 0; d < t->depth; d++, at += along, vectors += pitch) {
    lanes b[VECS_MAX];
    if (fetch == FETCH_BROADCAST) {
      EACH(int i = 0; i < P * g; i += FETCH_REALS) __builtin_prefetch(at + P * g + i);
    }
    if (fetch == FETCH_VECTORS) {
      EACH(int i = 0; i < V * LANES; i += FETCH_REALS) __builtin_prefetch(vectors + V * LANES + i);
    }
    EACH(int v = 0; v < V; v++) b[v] = load(vectors + v * LANES);
    EACH(int p = 0; p < P; p++) {
      lanes a = tile_spread(g, at + p * across);
      EACH(int v = 0; v < V; v++) sum[p * V + v] += a * b[v];
    }
  }
}

/* sums [P][V * LANES] = the sums. */
INLINE void tile_sum(const int P, const int V, const int g, const int fetch, const tile_numbers *t, real *sums) {
  lanes sum[TILE_SUMS];
  EACH(int i = 0; i < P * V; i++) sum[i] = (lanes){0};
  tile_run(P, V, g, fetch, t, sum);
  EACH(int i = 0; i < P * V; i++) store(sums + i * LANES, sum[i]);
}

/* Where a tile's sums go: y [P][V * LANES], rows `stride` apart, = the sums + beta y; with `times` (rows as far apart): that, o times. */
typedef struct tile_target {
  real *y;
  int64_t stride;
  real beta;
  const real *times;
} tile_target;

INLINE void tile_add(const int P, const int V, const int fetch, const tile_numbers *t, const tile_target *to) {
  lanes sum[TILE_SUMS];
  EACH(int p = 0; p < P; p++)
  EACH(int v = 0; v < V; v++) sum[p * V + v] = to->beta == 0 ? (lanes){0} : to->beta * load(to->y + p * to->stride + v * LANES);
  if (fetch == FETCH_TARGET) {
    EACH(int p = 0; p < P; p++)
    EACH(int v = 0; v < V * LANES; v += FETCH_REALS) __builtin_prefetch(to->y + (P + p) * to->stride + v, 1);
  }
  if (to->times) { /* streamed through once, from memory: asked for a whole tile's height ahead */
    EACH(int p = 0; p < P; p++)
    EACH(int v = 0; v < V * LANES; v += FETCH_REALS) __builtin_prefetch(to->times + (P + p) * to->stride + v);
  }
  tile_run(P, V, 1, fetch, t, sum);
  if (to->times) {
    EACH(int p = 0; p < P; p++)
    EACH(int v = 0; v < V; v++) sum[p * V + v] *= load(to->times + p * to->stride + v * LANES);
  }
  EACH(int p = 0; p < P; p++)
  EACH(int v = 0; v < V; v++) store(to->y + p * to->stride + v * LANES, sum[p * V + v]);
}

/* ---- the shapes that are made ---- */

/* How w numbers lie in vectors: 1 .. VECS_MAX of them, or one that holds a group. */
enum { KIND_GROUP_2 = VECS_MAX + 1, KIND_GROUP_4, KINDS };

/* Broadcast numbers of a whole tile of each kind: rows (reduce), groups of columns (outer). */
#if LANES_BYTES == 64
enum { DOWN_1 = 12, OVER_1 = 24, BOTH_2 = 12, BOTH_3 = 8, BOTH_4 = 6 };
#else
enum { DOWN_1 = 12, OVER_1 = 12, BOTH_2 = 6, BOTH_3 = 4, BOTH_4 = 3 };
#endif
static const int tile_down_rows[KINDS] = {0, DOWN_1, BOTH_2, BOTH_3, BOTH_4, DOWN_1, DOWN_1};
static const int tile_over_groups[KINDS] = {0, OVER_1, BOTH_2, BOTH_3, BOTH_4, OVER_1, OVER_1};

static void tile_down(int kind, const tile_numbers *t, real *sums) {
  switch (kind) {
    case 1: tile_sum(DOWN_1, 1, 1, FETCH_NOTHING, t, sums); break;
    case 2: tile_sum(BOTH_2, 2, 1, FETCH_NOTHING, t, sums); break;
    case 3: tile_sum(BOTH_3, 3, 1, FETCH_NOTHING, t, sums); break;
    case 4: tile_sum(BOTH_4, 4, 1, FETCH_NOTHING, t, sums); break;
    case KIND_GROUP_2: tile_sum(DOWN_1, 1, 2, FETCH_NOTHING, t, sums); break;
    case KIND_GROUP_4: tile_sum(DOWN_1, 1, 4, FETCH_NOTHING, t, sums); break;
  }
}

static void tile_over(int kind, const tile_numbers *t, real *sums) {
  switch (kind) {
    case 1: tile_sum(OVER_1, 1, 1, FETCH_BROADCAST, t, sums); break;
    case 2: tile_sum(BOTH_2, 2, 1, FETCH_BROADCAST, t, sums); break;
    case 3: tile_sum(BOTH_3, 3, 1, FETCH_BROADCAST, t, sums); break;
    case 4: tile_sum(BOTH_4, 4, 1, FETCH_BROADCAST, t, sums); break;
    case KIND_GROUP_2: tile_sum(OVER_1, 1, 2, FETCH_BROADCAST, t, sums); break;
    case KIND_GROUP_4: tile_sum(OVER_1, 1, 4, FETCH_BROADCAST, t, sums); break;
  }
}

/* Where there are fewer than a whole tile has. */
static void tile_alone(int kind, const tile_numbers *t, real *sums) {
  switch (kind) {
    case 1: tile_sum(1, 1, 1, FETCH_NOTHING, t, sums); break;
    case 2: tile_sum(1, 2, 1, FETCH_NOTHING, t, sums); break;
    case 3: tile_sum(1, 3, 1, FETCH_NOTHING, t, sums); break;
    case 4: tile_sum(1, 4, 1, FETCH_NOTHING, t, sums); break;
    case KIND_GROUP_2: tile_sum(1, 1, 2, FETCH_NOTHING, t, sums); break;
    case KIND_GROUP_4: tile_sum(1, 1, 4, FETCH_NOTHING, t, sums); break;
  }
}

/* Rows of ADD_VECS vectors (wide), or of one: 8 rows where there are registers for them, 4, 2 or 1. */
enum { ADD_VECS = 3, ADD_ROWS = TILE_SUMS / ADD_VECS };

INLINE void tile_add_rows(const int fetch, int rows, int wide, const tile_numbers *t, const tile_target *to) {
  if (wide) {
    if (rows == 8) tile_add(ADD_ROWS, ADD_VECS, fetch, t, to);
    else if (rows == 4) tile_add(4, ADD_VECS, fetch, t, to);
    else if (rows == 2) tile_add(2, ADD_VECS, fetch, t, to);
    else tile_add(1, ADD_VECS, fetch, t, to);
  } else {
    if (rows == 8) tile_add(ADD_ROWS, 1, fetch, t, to);
    else if (rows == 4) tile_add(4, 1, fetch, t, to);
    else if (rows == 2) tile_add(2, 1, fetch, t, to);
    else tile_add(1, 1, fetch, t, to);
  }
}

static void tile_spread_rows(int rows, int wide, const tile_numbers *t, const tile_target *to) { tile_add_rows(FETCH_TARGET, rows, wide, t, to); }
static void tile_outer_rows(int rows, int wide, const tile_numbers *t, const tile_target *to) { tile_add_rows(FETCH_VECTORS, rows, wide, t, to); }

#endif
