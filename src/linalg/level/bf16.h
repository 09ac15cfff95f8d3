/* bfloat16: the upper half of a float, rounded to nearest, ties to even. NaN stays NaN and becomes quiet, infinities and numbers below the smallest normal one
 * keep their meaning (the processor's own instruction would make the latter zero, and so other bits on processors without it). */
#ifndef PEFTSCALE_LEVEL_BF16_H
#define PEFTSCALE_LEVEL_BF16_H

#include "linalg/level/lanes.h"

#ifdef PEFTSCALE_DOUBLE
typedef float bf16_values __attribute__((vector_size(LANES_BYTES / 2)));
typedef uint32_t bf16_words __attribute__((vector_size(LANES_BYTES / 2)));
typedef uint16_t bf16_halves __attribute__((vector_size(LANES_BYTES / 4)));
#else
typedef lanes bf16_values;
typedef uint32_t bf16_words __attribute__((vector_size(LANES_BYTES)));
typedef uint16_t bf16_halves __attribute__((vector_size(LANES_BYTES / 2)));
#endif

INLINE void store_bf16(uint16_t *p, int count, lanes x) {
  bf16_words bits = (bf16_words) __builtin_convertvector(x, bf16_values), rounded = bits + 0x7FFF + (bits >> 16 & 1), quiet = bits | 0x400000,
             is_nan = (bf16_words)((bits & 0x7FFFFFFF) > 0x7F800000);
  bf16_halves y = __builtin_convertvector(((quiet & is_nan) | (rounded & ~is_nan)) >> 16, bf16_halves);
  if (count == LANES) memcpy(p, &y, LANES * sizeof *p);
  else memcpy(p, &y, (size_t)count * sizeof *p);
}

static void to_bf16(int64_t count, const real *x, uint16_t *y) {
  int64_t i = 0;
  for (; i + LANES <= count; i += LANES) store_bf16(y + i, LANES, load(x + i));
  if (i < count) store_bf16(y + i, (int)(count - i), load_part(x + i, (int)(count - i)));
}

INLINE lanes load_bf16(const uint16_t *p, int count) {
  bf16_halves half = {0};
  if (count == LANES) memcpy(&half, p, LANES * sizeof *p);
  else memcpy(&half, p, (size_t)count * sizeof *p);
  return __builtin_convertvector((bf16_values)(__builtin_convertvector(half, bf16_words) << 16), lanes);
}

/* y = x z */
static void multiply_to_bf16(int64_t count, const uint16_t *x, const real *z, uint16_t *y) {
  int64_t i = 0;
  for (; i + LANES <= count; i += LANES) store_bf16(y + i, LANES, load_bf16(x + i, LANES) * load(z + i));
  if (i < count) store_bf16(y + i, (int)(count - i), load_bf16(x + i, (int)(count - i)) * load_part(z + i, (int)(count - i)));
}

#endif
