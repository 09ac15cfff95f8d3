/* The probe of what a core can do: faster than any product on the same core, and not by more than a product loses. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "linalg/linalg.h"

static int setup(void **state) {
  (void)state;
  return linalg_setup();
}

static double best_peak(linalg_precision precision) {
  double best = 0;
  for (int i = 0; i < 5; i++) best = fmax(best, linalg_peak(precision, 0.02));
  return best;
}

/* FLOP/s of a product that fits into the caches, the best of many. */
static double best_product(void) {
  enum { N = 192, TRIES = 60 };
  real *a = calloc(N * N, sizeof *a), *c = calloc(N * N, sizeof *c);
  double best = 0;
  assert_true(a && c);
  for (int i = 0; i < N * N; i++) a[i] = (real)(i % 7) - 3;
  for (int i = 0; i < TRIES; i++) {
    double begin = clock_thread_cpu_s();
    linalg_product_nt(N, N, N, 1, a, N, a, N, 0, c, N);
    best = fmax(best, 2.0 * N * N * N / (clock_thread_cpu_s() - begin));
  }
  free(a);
  free(c);
  return best;
}

/* A loop that waits for its own results, or that goes through memory, would lose to a good product. */
static void no_product_is_faster(void **state) {
  (void)state;
  double product = best_product(), peak = best_peak(LINALG_F32);
  assert_true(isfinite(peak) && peak > 0);
  if (product > 1.1 * peak) fail_msg("a product of %.1f GFLOP/s, but a peak of %.1f", product / 1e9, peak / 1e9);
}

static void width_and_rate_go_together(void **state) {
  (void)state;
  for (linalg_precision p = LINALG_F32; p <= LINALG_BF16; p++) {
    int bits = linalg_peak_bits(p);
    assert_true(bits == 0 || bits == 128 || bits == 256 || bits == 512);
    assert_true((bits > 0) == (linalg_peak(p, 0.01) > 0));
  }
  assert_true(linalg_peak_bits(LINALG_F32) > 0);
  if (linalg_peak_bits(LINALG_BF16) == 512) assert_true(best_peak(LINALG_BF16) > 1.2 * best_peak(LINALG_F32)); /* twice the products an instruction */
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(no_product_is_faster), cmocka_unit_test(width_and_rate_go_together)};
  return cmocka_run_group_tests(tests, setup, NULL);
}
