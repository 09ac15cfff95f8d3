/* The vector kernels of every level that the program has and the processor can run, against plain loops in double: odd sizes, in place, NaN and infinity,
 * the same bits whatever stands beside. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "linalg/linalg.h"

static const int sizes[] = {1, 7, 8, 15, 16, 17, 383, 384, 385};
enum { SIZES = sizeof sizes / sizeof *sizes };

static void *take(size_t count, size_t size) {
  void *values = calloc(count + 1, size);
  assert_non_null(values);
  return values;
}

static real *draw(uint64_t stream, int64_t count, double deviation) {
  real *values = take((size_t)count, sizeof *values);
  random_fill_normal(random_key_make(13, RANDOM_TEST, 0), stream, count, (real)deviation, values);
  return values;
}

/* ---- bfloat16 ---- */

static float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static float float_of_bf16(uint16_t bits) { return float_of((uint32_t)bits << 16); }

static void bf16_is_the_nearest(void **state) {
  (void)state;
  static const struct {
    uint32_t from;
    uint16_t to;
  } cases[] = {
      {0x00000000, 0x0000}, {0x80000000, 0x8000}, {0x3F800000, 0x3F80},                                             /* 0, -0, 1 */
      {0x3F808000, 0x3F80}, {0x3F818000, 0x3F82}, {0x3F808001, 0x3F81}, {0x3F807FFF, 0x3F80}, {0xBF808001, 0xBF81}, /* ties to even, and just beside a tie */
      {0x7F7FFFFF, 0x7F80}, {0xFF7FFFFF, 0xFF80}, {0x7F7F7FFF, 0x7F7F},                                             /* above the largest: infinity */
      {0x7F800000, 0x7F80}, {0xFF800000, 0xFF80},                                                                   /* infinity */
      {0x7FC00000, 0x7FC0}, {0x7F800001, 0x7FC0}, {0xFFFFFFFF, 0xFFFF}, {0x7FBFFFFF, 0x7FFF}, {0xFF80FFFF, 0xFFC0}, /* NaN: quiet, never an infinity */
      {0x00000001, 0x0000}, {0x00018000, 0x0002}, {0x007FFFFF, 0x0080}, {0x80017FFF, 0x8001},                       /* below the smallest normal number */
  };
  enum { CASES = sizeof cases / sizeof *cases };
  for (int lead = 0; lead < 40; lead++) { /* anywhere in a vector */
    float x[CASES + 40];
    uint16_t y[CASES + 41];
    for (int i = 0; i < lead; i++) x[i] = 1;
    for (int i = 0; i < CASES; i++) x[lead + i] = float_of(cases[i].from);
    y[lead + CASES] = 0x1234;
    linalg_to_bf16(lead + CASES, x, y);
    assert_int_equal(y[lead + CASES], 0x1234);
    for (int i = 0; i < lead; i++) assert_int_equal(y[i], 0x3F80);
    for (int i = 0; i < CASES; i++)
      if (y[lead + i] != cases[i].to) fail_msg("%08x became %04x, not %04x", cases[i].from, y[lead + i], cases[i].to);
  }
  for (int k = 0; k < SIZES; k++) {
    real *drawn = draw(1, sizes[k], 3);
    float *x = take((size_t)sizes[k], sizeof *x);
    for (int i = 0; i < sizes[k]; i++) x[i] = (float)drawn[i];
    uint16_t *y = take((size_t)sizes[k], sizeof *y);
    linalg_to_bf16(sizes[k], x, y);
    for (int i = 0; i < sizes[k]; i++) {
      double apart = fabs((double)float_of_bf16(y[i]) - (double)x[i]);
      assert_true(apart <= fabs((double)float_of_bf16(y[i] + 1) - (double)x[i]) && apart <= fabs((double)float_of_bf16(y[i] - 1) - (double)x[i]));
    }
    free(drawn);
    free(x);
    free(y);
  }
}

/* ---- levels ---- */

static void levels_are_named(void **state) {
  const char *level = *state;
  assert_non_null(strstr(linalg_core(), level));
  setenv("PEFTSCALE_KERNELS", "x86-64-v9", 1);
  assert_int_equal(linalg_setup(), ERROR_USAGE);
  assert_non_null(strstr(error_last()->text, "x86-64-v9"));
  assert_non_null(strstr(linalg_core(), level)); /* what was in use still is */
  setenv("PEFTSCALE_KERNELS", level, 1);
  assert_int_equal(linalg_setup(), ERROR_NONE);
}

int main(void) {
  static const char *const levels[] = {"portable", "x86-64-v3", "x86-64-v4"};
  int failed = 0, tried = 0;
  for (int i = 0; i < 3; i++) {
    setenv("PEFTSCALE_KERNELS", levels[i], 1);
    if (linalg_setup()) continue;
    void *level = (void *)levels[i];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bf16_is_the_nearest),
        cmocka_unit_test_prestate(levels_are_named, level),
    };
    tried++;
    failed += cmocka_run_group_tests_name(levels[i], tests, NULL, NULL);
  }
  if (!tried) fprintf(stderr, "no level of kernels can be used here\n");
  return failed || !tried;
}
