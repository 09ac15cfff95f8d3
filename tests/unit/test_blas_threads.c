/* Products called from 2 and 4 threads at once give the bits that one thread gives: the serial build of OpenBLAS does not (about 3 in 10,000 are wrong).
 *
 * PEFTSCALE_STRESS_PRODUCTS=N runs N products instead of 20,000.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/text.h"
#include "linalg/linalg.h"

enum { SHAPES = 3, WIDEST = 384 };
static const int rows[SHAPES] = {54, 33, 54}, columns[SHAPES] = {384, 384, 24}; /* a short shard through a square map, and through a skinny one */

static real *a, *b, *expected[SHAPES];

static int setup(void **state) {
  (void)state;
  if (linalg_setup()) return -1;
  a = malloc(sizeof *a * 54 * WIDEST);
  b = malloc(sizeof *b * WIDEST * WIDEST);
  if (!a || !b) return -1;
  random_fill_normal(random_key_make(1, RANDOM_TEST, 0), 0, 54 * WIDEST, 1, a);
  random_fill_normal(random_key_make(1, RANDOM_TEST, 0), 1, WIDEST * WIDEST, 1, b);
  for (int s = 0; s < SHAPES; s++) {
    expected[s] = malloc(sizeof(real) * 54 * WIDEST);
    if (!expected[s]) return -1;
    linalg_product_nt(rows[s], columns[s], WIDEST, 1, a, WIDEST, b, WIDEST, 0, expected[s], columns[s]);
  }
  return 0;
}

static int teardown(void **state) {
  (void)state;
  free(a);
  free(b);
  for (int s = 0; s < SHAPES; s++) free(expected[s]);
  return 0;
}

static int64_t wanted(void) {
  const char *text = getenv("PEFTSCALE_STRESS_PRODUCTS");
  int64_t count = 20000;
  if (text && text_to_int(text, &count)) fail_msg("PEFTSCALE_STRESS_PRODUCTS=%s is not a number", text);
  return count;
}

static void check_threads(int threads, int64_t products) {
  int64_t wrong = 0, run = 0;
#pragma omp parallel num_threads(threads) reduction(+ : wrong, run)
  {
    real *c = malloc(sizeof *c * 54 * WIDEST);
    wrong += !c;
#pragma omp for schedule(static)
    for (int64_t i = 0; i < products; i++) {
      if (!c) continue;
      int s = (int)(i % SHAPES);
      memset(c, 0xff, sizeof *c * 54 * WIDEST);
      linalg_product_nt(rows[s], columns[s], WIDEST, 1, a, WIDEST, b, WIDEST, 0, c, columns[s]);
      wrong += memcmp(c, expected[s], sizeof *c * (size_t)rows[s] * (size_t)columns[s]) != 0;
      run++;
    }
    free(c);
  }
  print_message("  %d threads: %lld of %lld products wrong\n", threads, (long long)wrong, (long long)run);
  assert_true(run == products);
  assert_true(wrong == 0);
}

static void two_threads(void **state) {
  (void)state;
  check_threads(2, wanted() / 2);
}

static void four_threads(void **state) {
  (void)state;
  check_threads(4, wanted() / 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(two_threads), cmocka_unit_test(four_threads)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
