/* bfloat16: the upper half of a float, rounded to nearest, ties to even. NaN stays NaN and becomes quiet, infinities and numbers below the smallest normal one
 * keep their meaning (the processor's own instruction would make the latter zero, and so other bits on processors without it). */
#ifndef PEFTSCALE_LEVEL_BF16_H
#define PEFTSCALE_LEVEL_BF16_H

#include <string.h>

#include "base/real.h"

static void to_bf16(int64_t count, const real *x, uint16_t *y) {
#pragma omp simd
  for (int64_t i = 0; i < count; i++) {
    float value = (float)x[i];
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t rounded = bits + 0x7FFF + ((bits >> 16) & 1), quiet = bits | 0x400000;
    y[i] = (uint16_t)(((bits & 0x7FFFFFFF) > 0x7F800000 ? quiet : rounded) >> 16);
  }
}

#endif
