/* The small factor of a skinny product in the order in which skinny_tile.h reads it. */
#ifndef PEFTSCALE_LEVEL_SKINNY_PACK_H
#define PEFTSCALE_LEVEL_SKINNY_PACK_H

#include "linalg/level/skinny_tile.h"

/* w numbers in vectors: `vecs` of them, or one that holds a group of neighbours; padded: numbers that there are lanes for. */
typedef struct narrow {
  int w, vecs, group, padded;
  int kind; /* of tile: vecs, or KIND_GROUP_2, KIND_GROUP_4 */
} narrow;

static narrow narrow_of(int w) {
  narrow s = {.w = w, .vecs = (w + LANES - 1) / LANES, .group = 1};
  while (s.vecs == 1 && s.group < GROUP_MAX && 2 * s.group * w <= LANES) s.group *= 2;
  s.padded = s.vecs * LANES / s.group;
  s.kind = s.group == 1 ? s.vecs : s.group == 2 ? KIND_GROUP_2 : KIND_GROUP_4;
  return s;
}

/* Lane r g + p to lane p (LANES / g) + r, and back. */
INLINE lanes pack_ungroup(const int g, lanes v) {
  lanes_int order;
  EACH(int i = 0; i < LANES; i++) order[i] = i % (LANES / g) * g + i / (LANES / g);
  return g == 1 ? v : __builtin_shuffle(v, order);
}
INLINE lanes pack_regroup(const int g, lanes v) {
  lanes_int order;
  EACH(int i = 0; i < LANES; i++) order[i] = i % g * (LANES / g) + i / g;
  return g == 1 ? v : __builtin_shuffle(v, order);
}

/* A step of transposing rows 0, g, 2 g ..: the off-diagonal blocks of s x s change places. */
INLINE void pack_swap_step(const int g, const int s, const int rows, lanes row[LANES]) {
  lanes_int low, high;
  EACH(int l = 0; l < LANES; l++) {
    low[l] = l & s ? LANES + l - s : l;
    high[l] = l & s ? LANES + l : l + s;
  }
  EACH(int i = 0; i < rows; i += g) {
    if (i & s) continue;
    lanes a = row[i], b = row[i + s];
    row[i] = __builtin_shuffle(a, b, low);
    row[i + s] = __builtin_shuffle(a, b, high);
  }
}

INLINE void pack_swap(const int g, const int rows, lanes row[LANES]) {
  if (g <= 1 && rows > 1) pack_swap_step(g, 1, rows, row);
  if (g <= 2 && rows > 2) pack_swap_step(g, 2, rows, row);
  if (g <= 4 && rows > 4) pack_swap_step(g, 4, rows, row);
  if (g <= 8 && rows > 8) pack_swap_step(g, 8, rows, row);
}

/* packed[k / g] lane r g + p = f[r][k + p] of w rows; depth: a multiple of LANES. */
INLINE void pack_rows(const int g, const narrow *s, int depth, const real *f, int ldf, real *packed) {
  const int pitch = s->vecs * LANES;
  for (int v = 0; v < s->vecs; v++)
    for (int k = 0; k < depth; k += LANES) {
      lanes row[LANES];
      EACH(int r = 0; r < LANES / g; r++) row[r * g] = v * LANES + r < s->w ? load(f + (int64_t)(v * LANES + r) * ldf + k) : (lanes){0};
      pack_swap(g, LANES, row);
      EACH(int i = 0; i < LANES; i += g) store(packed + (k + i) / g * pitch + v * LANES, row[i]);
    }
}

/* packed[k / g] lane r g + p = f[k + p][r]. */
INLINE void pack_columns(const int g, const narrow *s, int depth, const real *f, int ldf, real *packed) {
  const int pitch = s->vecs * LANES;
  if (s->w == s->padded && (g == 1 || ldf == s->w)) {
    for (int k = 0; k < depth; k += g)
      for (int v = 0; v < s->vecs; v++) store(packed + k / g * pitch + v * LANES, pack_regroup(g, load(f + (int64_t)k * ldf + v * LANES)));
    return;
  }
  memset(packed, 0, (size_t)(depth / g * pitch) * sizeof *packed);
  for (int k = 0; k < depth; k++)
    for (int r = 0; r < s->w; r++) packed[k / g * pitch + r * g + k % g] = f[(int64_t)k * ldf + r];
}

/* packed[k] lane r g + p = h[k][r], whatever p. */
INLINE void pack_repeated(const int g, const narrow *s, int depth, const real *h, int ldh, real *packed) {
  const int pitch = s->vecs * LANES;
  lanes_int order;
  EACH(int i = 0; i < LANES; i++) order[i] = i / g;
  for (int k = 0; k < depth; k++)
    for (int v = 0; v < s->vecs; v++) {
      const real *from = h + (int64_t)k * ldh + v * LANES;
      int own = s->w - v * LANES; /* what follows in the array does no harm, where there is something */
      lanes row = own >= LANES || (int64_t)(depth - 1 - k) * ldh + own >= LANES ? load(from) : load_part(from, own);
      store(packed + k * pitch + v * LANES, __builtin_shuffle(row, order));
    }
}

/* packed[r][j] = alpha f[j][r], f [count][w] without gaps where a vector holds g of its rows; count: a multiple of LANES. */
INLINE void pack_transposed_rows(const int g, const narrow *s, int count, real alpha, const real *f, int ldf, real *packed) {
  const int rows = LANES / g;
  for (int v = 0; v < s->vecs; v++)
    for (int j = 0; j < count; j += LANES) {
      lanes row[LANES];
      EACH(int i = 0; i < rows; i++) row[i] = alpha * load(f + (int64_t)(j + i * g) * ldf + v * LANES);
      pack_swap(1, rows, row);
      EACH(int i = 0; i < rows; i++) store(packed + (int64_t)(v * LANES + i) * count + j, pack_regroup(g, row[i]));
    }
}

static void pack_transposed(const narrow *s, int count, real alpha, const real *f, int ldf, real *packed) {
  const int dense = ldf == s->w;
  if (s->w % LANES == 0) pack_transposed_rows(1, s, count, alpha, f, ldf, packed);
  else if (dense && 2 * s->w == LANES) pack_transposed_rows(2, s, count, alpha, f, ldf, packed);
  else if (dense && 4 * s->w == LANES) pack_transposed_rows(4, s, count, alpha, f, ldf, packed);
  else
    for (int r = 0; r < s->w; r++)
      for (int j = 0; j < count; j++) packed[(int64_t)r * count + j] = alpha * f[(int64_t)j * ldf + r];
}

#endif
