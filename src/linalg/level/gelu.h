/* GELU, x Phi(x), and its slope, Phi(x) + x phi(x): one exp of our own serves both (level/functions.h), for a fifth of what erf and exp of a library cost. */
#ifndef PEFTSCALE_LEVEL_GELU_H
#define PEFTSCALE_LEVEL_GELU_H

#include "linalg/level/bf16.h"
#include "linalg/level/functions.h"

/* Returns gelu(x); *slope = gelu'(x). */
INLINE lanes gelu_lanes(lanes x, lanes *slope) {
  lanes size = size_of(x), density = exp_of_negative(x * x * (real)-0.5), tail = upper_tail(size, density);
  *slope = x * density * (real)0.39894228040143267794 + choose(x < 0, tail, 1 - tail);
  return larger(every(0), x) - size * tail;
}

INLINE void gelu_piece(const real *bias, real *u, real *y, real *slope, int count) {
  lanes x = load_part(u, count), turn;
  if (bias) {
    x += load_part(bias, count);
    store_part(u, count, x);
  }
  store_part(y, count, gelu_lanes(x, &turn));
  if (slope) store_part(slope, count, turn);
}

static void gelu_to_bf16(int64_t count, const real *u, uint16_t *y, uint16_t *slope) {
  for (int64_t i = 0; i < count; i += LANES) {
    int part = piece(count - i);
    lanes turn;
    store_bf16(y + i, part, gelu_lanes(load_part(u + i, part), &turn));
    if (slope) store_bf16(slope + i, part, turn);
  }
}

static void gelu(int n, int w, const real *bias, real *u, real *y, real *slope) {
  if (!bias) { /* then rows mean nothing */
    int64_t count = (int64_t)n * w, i = 0;
    for (; i + LANES <= count; i += LANES) gelu_piece(NULL, u + i, y + i, slope ? slope + i : NULL, LANES);
    if (i < count) gelu_piece(NULL, u + i, y + i, slope ? slope + i : NULL, (int)(count - i));
    return;
  }
  for (int i = 0; i < n; i++) {
    int64_t at = (int64_t)i * w;
    int j = 0;
    for (; j + LANES <= w; j += LANES) gelu_piece(bias + j, u + at + j, y + at + j, slope ? slope + at + j : NULL, LANES);
    if (j < w) gelu_piece(bias + j, u + at + j, y + at + j, slope ? slope + at + j : NULL, w - j);
  }
}

#endif
