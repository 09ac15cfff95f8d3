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

/* ---- rows times a vector, there and back ---- */

static void near(const char *what, int w, int i, int j, double got, double want) {
  if (!(fabs(got - want) <= 1e-5 * (1 + fabs(want)))) fail_msg("%s, %d wide: [%d][%d] is %.9g, not %.9g", what, w, i, j, got, want);
}

/* One width, rows further apart than they are wide: what lies between them must survive. */
static void check_scaled_rows(int w, int add, int in_place) {
  enum { N = 9 };
  int ld = w + 5;
  real *x = draw(31, (int64_t)N * ld, 1), *v = draw(32, w, 1), *y = draw(33, (int64_t)N * ld, 1), *g = draw(34, (int64_t)N * ld, 1), *dv = draw(35, w, 1),
       *sum = draw(36, w, 1), *dx = in_place ? g : draw(37, (int64_t)N * ld, 1);
  size_t bytes = (size_t)N * (size_t)ld * sizeof *y;
  real *before = take(1, bytes), *g_before = take(1, bytes), *dv_before = draw(35, w, 1), *sum_before = draw(36, w, 1);
  memcpy(before, y, bytes);
  linalg_scale_rows(N, w, x, ld, v, y, ld, add);
  for (int i = 0; i < N; i++)
    for (int j = 0; j < ld; j++) {
      double own = (double)before[i * ld + j];
      near("scaled", w, i, j, (double)y[i * ld + j], j < w ? (double)x[i * ld + j] * (double)v[j] + add * own : own);
    }
  memcpy(before, dx, bytes);
  memcpy(g_before, g, bytes);
  linalg_scale_rows_backward(N, w, g, ld, x, ld, v, dx, ld, add, dv, w % 2 ? sum : NULL);
  for (int j = 0; j < ld; j++) {
    double dots = j < w ? (double)dv_before[j] : 0, sums = j < w ? (double)sum_before[j] : 0;
    for (int i = 0; i < N; i++) {
      double own = (double)g_before[i * ld + j], held = (double)before[i * ld + j];
      near("way back", w, i, j, (double)dx[i * ld + j], j < w ? own * (double)v[j] + add * held : held);
      dots += own * (double)x[i * ld + j];
      sums += w % 2 ? own : 0;
    }
    if (j >= w) continue;
    near("dots", w, 0, j, (double)dv[j], dots);
    near("sums", w, 0, j, (double)sum[j], sums);
  }
  real *all[] = {x, v, y, g, dv, sum, before, g_before, dv_before, sum_before, in_place ? NULL : dx};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static void rows_are_scaled_there_and_back(void **state) {
  (void)state;
  for (int k = 0; k < SIZES; k++)
    for (int add = 0; add < 2; add++)
      for (int in_place = 0; in_place < 2 - add; in_place++) check_scaled_rows(sizes[k], add, in_place);
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
        cmocka_unit_test(rows_are_scaled_there_and_back),
        cmocka_unit_test_prestate(levels_are_named, level),
    };
    tried++;
    failed += cmocka_run_group_tests_name(levels[i], tests, NULL, NULL);
  }
  if (!tried) fprintf(stderr, "no level of kernels can be used here\n");
  return failed || !tried;
}
