/* A vector of reals as wide as the registers of the level that this file is compiled for. Operators work lane by lane; a row's last, shorter piece goes through
 * the same operations in a part of a vector, so that a value never depends on where in a row it stands. */
#ifndef PEFTSCALE_LEVEL_LANES_H
#define PEFTSCALE_LEVEL_LANES_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/real.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512CD__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define LEVEL_NAME "x86-64-v4"
#define LANES_BYTES 64
#elif defined(__AVX2__) && defined(__FMA__)
#define LEVEL_NAME "x86-64-v3"
#define LANES_BYTES 32
#else
#define LEVEL_NAME "portable"
#define LANES_BYTES 16
#endif
/* Where intrinsics do better than the compiler: the width of a vector of floats. */
#if !defined(PEFTSCALE_DOUBLE) && LANES_BYTES >= 32
#include <immintrin.h>
#define LANES_FLOAT (LANES_BYTES * 8)
#else
#define LANES_FLOAT 0
#endif

/* Small pieces that must become part of their caller, so that vectors stay in registers. */
#define INLINE static inline __attribute__((always_inline))

enum { LANES = LANES_BYTES / sizeof(real) };

typedef real lanes __attribute__((vector_size(LANES_BYTES)));
typedef real lanes_anywhere __attribute__((vector_size(LANES_BYTES), aligned(__alignof__(real)), may_alias));
#ifdef PEFTSCALE_DOUBLE
typedef int64_t lane_int;
#else
typedef int32_t lane_int;
#endif
/* What a comparison gives: all bits of a lane, or none; also whole numbers of a lane's size. */
typedef lane_int lanes_int __attribute__((vector_size(LANES_BYTES)));
typedef lane_int lanes_int_anywhere __attribute__((vector_size(LANES_BYTES), aligned(__alignof__(lane_int)), may_alias));

/* From first_lanes + LANES - n on: n full lanes, then empty ones. */
static const lane_int first_lanes[2 * LANES] = {[0 ... LANES - 1] = -1};

INLINE lanes every(real x) { return x - (lanes){0}; }
INLINE lanes load(const real *p) { return *(const lanes_anywhere *)p; }
INLINE void store(real *p, lanes x) { *(lanes_anywhere *)p = x; }

/* The first `count` lanes, 0 in the others; count may be LANES. */
INLINE lanes load_part(const real *p, int count) {
  if (count == LANES) return load(p);
#if LANES_FLOAT == 512
  return _mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), p);
#elif LANES_FLOAT == 256
  return _mm256_maskload_ps(p, _mm256_loadu_si256((const __m256i *)(first_lanes + LANES - count)));
#else
  lanes x = {0};
  memcpy(&x, p, (size_t)count * sizeof(real));
  return x;
#endif
}

INLINE void store_part(real *p, int count, lanes x) {
  if (count == LANES) {
    store(p, x);
    return;
  }
#if LANES_FLOAT == 512
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << count) - 1), x);
#elif LANES_FLOAT == 256
  _mm256_maskstore_ps(p, _mm256_loadu_si256((const __m256i *)(first_lanes + LANES - count)), x);
#else
  memcpy(p, &x, (size_t)count * sizeof(real));
#endif
}

/* The first `count` lanes of x, 0 in the others. */
INLINE lanes first_of(lanes x, int count) { return count == LANES ? x : (lanes)((lanes_int)x & *(const lanes_int_anywhere *)(first_lanes + LANES - count)); }

/* How many of `left` numbers the next vector takes. */
INLINE int piece(int64_t left) { return left < LANES ? (int)left : LANES; }

/* Lane by lane: truth ? x : y. */
INLINE lanes choose(lanes_int truth, lanes x, lanes y) { return (lanes)(((lanes_int)x & truth) | ((lanes_int)y & ~truth)); }

/* Of two numbers the larger; where y is NaN, NaN. */
INLINE lanes larger(lanes x, lanes y) {
#if LANES_FLOAT == 512
  return _mm512_max_ps(x, y);
#elif LANES_FLOAT == 256
  return _mm256_max_ps(x, y);
#else
  return choose(x > y, x, y);
#endif
}

INLINE lanes size_of(lanes x) { return (lanes)((lanes_int)x & ~(lanes_int)every((real)-0.0)); }

/* The sum of all lanes, halves onto halves. */
INLINE real sum_lanes(lanes x) {
#if LANES_FLOAT == 512
  return _mm512_reduce_add_ps(x);
#else
  real part[LANES];
  store(part, x);
#pragma GCC unroll 4
  for (int half = LANES / 2; half > 0; half /= 2)
#pragma GCC unroll 8
    for (int i = 0; i < half; i++) part[i] += part[i + half];
  return part[0];
#endif
}

#endif
