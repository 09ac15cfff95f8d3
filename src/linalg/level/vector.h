/* A register's worth of reals (LANES of them), anywhere in memory. Operators of the compiler work lane by lane. */
#ifndef PEFTSCALE_LEVEL_VECTOR_H
#define PEFTSCALE_LEVEL_VECTOR_H

#include <stdint.h>
#include <string.h>

#include "linalg/level/lanes.h"

typedef real vec __attribute__((vector_size(LANES_BYTES)));
typedef real vec_at __attribute__((vector_size(LANES_BYTES), aligned(sizeof(real)), may_alias)); /* in memory, at the address of any real */

/* Which lane of one vector, or of two beside each other, goes where: for __builtin_shuffle. */
#ifdef PEFTSCALE_DOUBLE
typedef int64_t vec_order __attribute__((vector_size(LANES_BYTES)));
#else
typedef int32_t vec_order __attribute__((vector_size(LANES_BYTES)));
#endif

/* Inlined into callers that give constants, whose loops are then laid out flat: arrays of vectors become registers. */
#define VEC_INLINE static inline __attribute__((always_inline))
#define VEC_EACH _Pragma("GCC unroll 32") for

VEC_INLINE vec vec_load(const real *p) { return *(const vec_at *)p; }
VEC_INLINE void vec_store(real *p, vec v) { *(vec_at *)p = v; }

/* The first `count` numbers, zeros behind. */
VEC_INLINE vec vec_load_part(const real *p, int count) {
  real held[LANES] = {0};
  for (int i = 0; i < count; i++) held[i] = p[i];
  return vec_load(held);
}

#endif
