/* exp, the normal distribution and tanh of vectors. In float by polynomials of our own, fitted for the smallest largest relative error; tanh, which only heads
 * ask for, from SLEEF. In double (a build for tests) lane by lane from the C library. */
#ifndef PEFTSCALE_LEVEL_FUNCTIONS_H
#define PEFTSCALE_LEVEL_FUNCTIONS_H

#include "linalg/level/lanes.h"
#if LANES_FLOAT
#include <sleef.h>
#endif

#ifdef PEFTSCALE_DOUBLE
INLINE lanes exp_of_negative(lanes x) {
  for (int i = 0; i < LANES; i++) x[i] = exp(x[i]);
  return x;
}

INLINE lanes upper_tail(lanes x, lanes density) {
  (void)density;
  for (int i = 0; i < LANES; i++) x[i] = 0.5 * erfc(x[i] * 0.70710678118654752440);
  return x;
}

#else
typedef uint32_t lanes_bits __attribute__((vector_size(LANES_BYTES)));

/* exp(x) for x <= 0; 0 below -87.33, where it would leave the normal numbers. x = n ln 2 + r with |r| <= ln 2 / 2; the error of exp(r) is below 3.1e-9. */
INLINE lanes exp_of_negative(lanes x) {
  const float nearest = 12582912; /* 1.5 * 2^23: in a sum with it, n stands in the lowest bits */
  lanes low = every(-87.33f), within = larger(low, x), shifted = within * 1.44269504f + nearest, n = shifted - nearest;
  lanes r = within - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  lanes p = every(0.001381454f);
  p = p * r + 0.00836874512f;
  p = p * r + 0.0416683908f;
  p = p * r + 0.166665204f;
  p = p * r + 0.499999934f;
  p = p * (r * r) + r + 1;
  lanes power = (lanes)(((lanes_bits)shifted << 23) + 0x3F800000u); /* without a sign: what leaves at the top is not missed */
  return (lanes)((lanes_int)(p * power) & ~(x < low));
}

/* The share of the normal distribution above x >= 0, from exp(-x^2/2): that times a polynomial in t = 1 / (1 + 0.35 x), whose error is below 3.2e-8 of the
 * value all the way down to where the density underflows. */
INLINE lanes upper_tail(lanes x, lanes density) {
  lanes t = 1 / (x * 0.35f + 1), p = every(-0.0291459394f);
  p = p * t + 0.143971741f;
  p = p * t - 0.255714343f;
  p = p * t + 0.159174261f;
  p = p * t - 0.0231099037f;
  p = p * t + 0.105508033f;
  p = p * t + 0.11983286f;
  p = p * t + 0.139861871f;
  p = p * t + 0.139621404f;
  return density * (p * t);
}
#endif

INLINE lanes tanh_lanes(lanes x) {
#if LANES_FLOAT == 512
  return Sleef_tanhf16_u10avx512f(x);
#elif LANES_FLOAT == 256
  return Sleef_tanhf8_u10avx2(x);
#else
  for (int i = 0; i < LANES; i++) x[i] = (real)tanh((double)x[i]);
  return x;
#endif
}

#endif
