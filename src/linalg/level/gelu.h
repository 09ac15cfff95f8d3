/* GELU, x Phi(x), and its slope, Phi(x) + x phi(x): one exp of our own serves both (level/functions.h), for a fifth of what erf and exp of a library cost. */
#ifndef PEFTSCALE_LEVEL_GELU_H
#define PEFTSCALE_LEVEL_GELU_H

#include "linalg/level/bf16.h"
#include "linalg/level/functions.h"

INLINE void gelu_piece(const real *u, real *y, real *slope, int count) {
  lanes x = load_part(u, count);
  lanes size = size_of(x), density = exp_of_negative(x * x * (real)-0.5), tail = upper_tail(size, density);
  store_part(y, count, larger(every(0), x) - size * tail);
  if (slope) store_part(slope, count, x * density * (real)0.39894228040143267794 + choose(x < 0, tail, 1 - tail));
}

static void gelu(int64_t count, const real *u, real *y, real *slope) {
  int64_t i = 0;
  for (; i + LANES <= count; i += LANES) gelu_piece(u + i, y + i, slope ? slope + i : NULL, LANES);
  if (i < count) gelu_piece(u + i, y + i, slope ? slope + i : NULL, (int)(count - i));
}

/* In two passes over a buffer of the first cache: one alone is such a long chain of operations for each vector that the processor does not get to the next one
 * in time. */
static void gelu_to_bf16(int64_t count, const real *u, uint16_t *y, uint16_t *slope) {
  enum { ROOM = 512 };
  real value[ROOM], turn[ROOM];
  for (int64_t i = 0; i < count; i += ROOM) {
    int n = count - i < ROOM ? (int)(count - i) : ROOM;
    gelu(n, u + i, value, slope ? turn : NULL);
    to_bf16(n, value, y + i);
    if (slope) to_bf16(n, turn, slope + i);
  }
}

#endif
