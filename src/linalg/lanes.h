/* Eight floats at a time: exp, erf and tanh from SLEEF where the compiler targets AVX2, else (and in the double build) from the C library, one by one.
 * Private to linalg.
 */
#ifndef PEFTSCALE_LANES_H
#define PEFTSCALE_LANES_H

#include <math.h>

#include "base/real.h"

#if defined(__AVX2__) && !defined(PEFTSCALE_DOUBLE)
#include <immintrin.h>
#include <sleef.h>
#define LANES 8
static inline void lanes_exp(const float *x, float *y) { _mm256_storeu_ps(y, Sleef_expf8_u10avx2(_mm256_loadu_ps(x))); }
static inline void lanes_erf(const float *x, float *y) { _mm256_storeu_ps(y, Sleef_erff8_u10avx2(_mm256_loadu_ps(x))); }
static inline void lanes_tanh(const float *x, float *y) { _mm256_storeu_ps(y, Sleef_tanhf8_u10avx2(_mm256_loadu_ps(x))); }
#elif defined(PEFTSCALE_DOUBLE)
#define LANES 1
static inline void lanes_exp(const real *x, real *y) { *y = exp(*x); }
static inline void lanes_erf(const real *x, real *y) { *y = erf(*x); }
static inline void lanes_tanh(const real *x, real *y) { *y = tanh(*x); }
#else
#define LANES 1
static inline void lanes_exp(const real *x, real *y) { *y = expf(*x); }
static inline void lanes_erf(const real *x, real *y) { *y = erff(*x); }
static inline void lanes_tanh(const real *x, real *y) { *y = tanhf(*x); }
#endif

#endif
