/* What one core can do at most: fused multiply-adds that never leave the registers.
 *
 * Twelve or sixteen independent sums cover the latency of two units that begin an instruction each cycle. Sums are variables, not an array, so that none is
 * ever stored; the processor decides at run time which of the loops below runs, whatever level the program is compiled for.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "linalg/linalg.h"

/* x, y: x -> 0.999 x + 0.001 stays near 1, so no operand ever becomes tiny and slow. */
static const float factor = 0.999f, shift = 0.001f;

enum { TURNS = 4096, SLICES = 1001 };

/* A loop of TURNS turns: returns the FLOP that it did; *sink keeps the compiler from leaving the work out. */
typedef double peak_loop(float *sink);

#define EACH_OF_12(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
#define EACH_OF_16(DO) EACH_OF_12(DO) DO(12) DO(13) DO(14) DO(15)

#if defined(__x86_64__)
#include <immintrin.h>

#define START_512(i) __m512 sum##i = _mm512_set1_ps((float)(i));
#define TURN_512(i) sum##i = _mm512_fmadd_ps(sum##i, x, y);
#define TURN_BF16(i) sum##i = _mm512_dpbf16_ps(sum##i, a, b);
#define ADD_512(i) all = _mm512_add_ps(all, sum##i);

__attribute__((target("avx512f"))) static double loop_512(float *sink) {
  __m512 x = _mm512_set1_ps(factor), y = _mm512_set1_ps(shift), all = _mm512_setzero_ps();
  EACH_OF_16(START_512)
  for (int n = 0; n < TURNS; n++) {
    EACH_OF_16(TURN_512)
  }
  EACH_OF_16(ADD_512)
  *sink += _mm512_reduce_add_ps(all);
  return 2.0 * 16 * 16 * TURNS;
}

/* Each lane adds two products of bf16 numbers: four FLOP. */
__attribute__((target("avx512f,avx512bf16"))) static double loop_bf16(float *sink) {
  __m512 value = _mm512_set1_ps(shift), all = _mm512_setzero_ps();
  __m512bh a = _mm512_cvtne2ps_pbh(value, value), b = a;
  EACH_OF_16(START_512)
  for (int n = 0; n < TURNS; n++) {
    EACH_OF_16(TURN_BF16)
  }
  EACH_OF_16(ADD_512)
  *sink += _mm512_reduce_add_ps(all);
  return 4.0 * 16 * 16 * TURNS;
}

#define START_256(i) __m256 sum##i = _mm256_set1_ps((float)(i));
#define TURN_256(i) sum##i = _mm256_fmadd_ps(sum##i, x, y);
#define ADD_256(i) all = _mm256_add_ps(all, sum##i);

__attribute__((target("avx2,fma"))) static double loop_256(float *sink) {
  __m256 x = _mm256_set1_ps(factor), y = _mm256_set1_ps(shift), all = _mm256_setzero_ps();
  float lanes[8];
  EACH_OF_12(START_256)
  for (int n = 0; n < TURNS; n++) {
    EACH_OF_12(TURN_256)
  }
  EACH_OF_12(ADD_256)
  _mm256_storeu_ps(lanes, all);
  *sink += lanes[0];
  return 2.0 * 8 * 12 * TURNS;
}
#endif

typedef float four __attribute__((vector_size(16)));
#define START_128(i) four sum##i = {(float)(i), (float)(i), (float)(i), (float)(i)};
#define TURN_128(i) sum##i = sum##i * x + y;
#define ADD_128(i) all += sum##i;

static double loop_plain(float *sink) {
  four x = {factor, factor, factor, factor}, y = {shift, shift, shift, shift}, all = {0, 0, 0, 0};
  EACH_OF_12(START_128)
  for (int n = 0; n < TURNS; n++) {
    EACH_OF_12(TURN_128)
  }
  EACH_OF_12(ADD_128)
  *sink += all[0];
  return 2.0 * 4 * 12 * TURNS;
}

/* NULL: this processor has no such products. */
static peak_loop *choose(linalg_precision precision, int *bits) {
#if defined(__x86_64__)
  *bits = 512;
  if (precision == LINALG_BF16) return __builtin_cpu_supports("avx512bf16") ? loop_bf16 : NULL;
  if (__builtin_cpu_supports("avx512f")) return loop_512;
  *bits = 256;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return loop_256;
#endif
  *bits = 128;
  return precision == LINALG_BF16 ? NULL : loop_plain;
}

int linalg_peak_bits(linalg_precision precision) {
  int bits;
  return choose(precision, &bits) ? bits : 0;
}

static int ascending(const void *left, const void *right) {
  double a = *(const double *)left, b = *(const double *)right;
  return (a > b) - (a < b);
}

double linalg_peak(linalg_precision precision, double seconds) {
  static volatile float kept;
  double rate[SLICES];
  int bits;
  float sink = 0;
  peak_loop *loop = choose(precision, &bits);
  if (!loop) return 0;
  for (int i = 0; i < SLICES; i++) {
    double flop = 0, begin = clock_wall_s(), now = begin;
    do {
      flop += loop(&sink);
      now = clock_wall_s();
    } while (now - begin < seconds / SLICES);
    rate[i] = flop / (now - begin);
  }
  kept = sink;
  (void)kept;
  qsort(rate, SLICES, sizeof *rate, ascending);
  return rate[SLICES / 2];
}
