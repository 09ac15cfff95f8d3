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
#include "support/levels.h"

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
    real x[CASES + 40];
    uint16_t y[CASES + 41];
    for (int i = 0; i < lead; i++) x[i] = 1;
    for (int i = 0; i < CASES; i++) x[lead + i] = (real)float_of(cases[i].from);
    y[lead + CASES] = 0x1234;
    linalg_to_bf16(lead + CASES, x, y);
    assert_int_equal(y[lead + CASES], 0x1234);
    for (int i = 0; i < lead; i++) assert_int_equal(y[i], 0x3F80);
    for (int i = 0; i < CASES; i++)
      if (y[lead + i] != cases[i].to) fail_msg("%08x became %04x, not %04x", cases[i].from, y[lead + i], cases[i].to);
  }
  for (int k = 0; k < SIZES; k++) {
    real *x = draw(1, sizes[k], 3);
    uint16_t *y = take((size_t)sizes[k], sizeof *y);
    linalg_to_bf16(sizes[k], x, y);
    for (int i = 0; i < sizes[k]; i++) {
      double apart = fabs((double)float_of_bf16(y[i]) - (double)x[i]);
      assert_true(apart <= fabs((double)float_of_bf16(y[i] + 1) - (double)x[i]) && apart <= fabs((double)float_of_bf16(y[i] - 1) - (double)x[i]));
    }
    free(x);
    free(y);
  }
}

/* What is rounded on the way out is what would be rounded afterwards. */
static void bf16_outputs_are_rounded_results(void **state) {
  (void)state;
  for (int k = 0; k < SIZES; k++) {
    int n = sizes[k];
    real *u = draw(1, n, 2), *held = draw(1, n, 2), *y = draw(2, n, 1), *slope = take((size_t)n, sizeof *slope), *z = draw(3, n, 1);
    uint16_t *want = take((size_t)n, sizeof *want), *got = take((size_t)n, sizeof *got), *narrow = take((size_t)n, sizeof *narrow);
    if (n > 3) u[n - 1] = held[n - 1] = z[n - 2] = (real)NAN;
    linalg_gelu(n, held, y, slope);
    linalg_to_bf16(n, y, want);
    got[n] = 0x1234;
    linalg_gelu_to_bf16(n, u, got, NULL);
    assert_memory_equal(got, want, (size_t)n * sizeof *got);
    narrow[n] = 0x4321;
    linalg_gelu_to_bf16(n, u, got, narrow);
    assert_memory_equal(got, want, (size_t)n * sizeof *got);
    linalg_to_bf16(n, slope, want);
    assert_memory_equal(narrow, want, (size_t)n * sizeof *narrow);
    assert_int_equal(narrow[n], 0x4321);
    for (int i = 0; i < n; i++) slope[i] = float_of_bf16(narrow[i]);
    linalg_multiply_to_bf16(n, narrow, z, got);
    linalg_multiply(n, slope, z);
    linalg_to_bf16(n, z, want);
    assert_memory_equal(got, want, (size_t)n * sizeof *got);
    assert_int_equal(got[n], 0x1234);
    real *const lists[] = {u, held, y, slope, z};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) free(lists[i]);
    free(want);
    free(got);
    free(narrow);
  }
}

/* ---- comparing ---- */

#ifdef PEFTSCALE_DOUBLE
static const double slack = 1e-13;
#else
static const double slack = 1e-6;
#endif

/* want [n][w] against got, to `allowed` times the rounding of one number of size `scale`. */
static void near(const char *what, int w, int n, const double *want, const real *got, double scale, double allowed) {
  for (int i = 0; i < n * w; i++)
    if (!(fabs(want[i] - (double)got[i]) <= allowed * slack * (scale + fabs(want[i]))))
      fail_msg("%s, width %d: [%d][%d] is %.9g, not %.9g", what, w, i / w, i % w, (double)got[i], want[i]);
}

static void same_bits(const char *what, int w, const real *want, const real *got, int count) {
  for (int i = 0; i < count; i++)
    if (memcmp(want + i, got + i, sizeof *want)) fail_msg("%s, width %d: number %d is %.9g, not %.9g", what, w, i, (double)got[i], (double)want[i]);
}

/* ---- dropout ---- */

static random_key drop_key(void) { return random_key_make(5, RANDOM_DROP_HIDDEN, 3); }

/* Masks are the very bits of random_block: from any place in a block, over any length, beyond 2^32 blocks, and in rows wider than what is drawn at once. */
static void masks_are_random_blocks(void **state) {
  (void)state;
  static const uint64_t starts[] = {0, 1, 2, 3, 4, 5, 511, UINT64_C(1) << 33, (UINT64_C(1) << 34) - 5, (UINT64_C(7) << 40) + 3};
  static const int widths[] = {1, 2, 3, 4, 5, 7, 15, 16, 17, 31, 64, 127, 129, 383, 384, 385, 509, 513, 1100};
  const double p = 0.37;
  for (size_t s = 0; s < sizeof starts / sizeof *starts; s++)
    for (size_t k = 0; k < sizeof widths / sizeof *widths; k++) {
      int w = widths[k];
      uint64_t stream[2] = {17 + s, (UINT64_C(3) << 40) + k}, first[2] = {starts[s], starts[s] + (uint64_t)w};
      const linalg_mask mask = {p, drop_key(), stream, first};
      real *x = take(2 * (size_t)w + 3, sizeof *x);
      for (int i = 0; i < 2 * w + 3; i++) x[i] = 1;
      linalg_dropout(2, w, &mask, x + 1, w, x + 1, w, 0); /* not at the start of a cache line */
      assert_true(x[0] == 1 && x[2 * w + 1] == 1 && x[2 * w + 2] == 1);
      for (int i = 0; i < 2; i++)
        for (int j = 0; j < w; j++) {
          uint64_t element = first[i] + (uint64_t)j;
          uint32_t bits[4];
          random_block(drop_key(), (uint32_t[4]){(uint32_t)(element / 4), (uint32_t)(element / 4 >> 32), (uint32_t)stream[i], (uint32_t)(stream[i] >> 32)},
                       bits);
          real want = bits[element % 4] >= (uint32_t)(p * 4294967296.0) ? (real)(1 / (1 - p)) : 0;
          if (x[1 + i * w + j] != want) fail_msg("width %d, start %llu: [%d][%d] is %g", w, (unsigned long long)starts[s], i, j, (double)x[1 + i * w + j]);
        }
      free(x);
    }
}

/* ---- norms and what they are fused with ---- */

enum { ROWS = 5 };

typedef struct norm_case {
  int w, dropped;
  uint64_t stream[ROWS], first[ROWS];
  linalg_mask mask;
  real *residual, *branch, *dy, *gain, *shift;
  double *factor; /* [ROWS][w] 0 where dropped, else 1 / (1 - p) */
} norm_case;

static void norm_case_make(norm_case *c, int w, int dropped) {
  *c = (norm_case){.w = w, .dropped = dropped};
  c->mask = (linalg_mask){0.25, drop_key(), c->stream, c->first};
  for (int i = 0; i < ROWS; i++) {
    c->stream[i] = (uint64_t)i / 2;
    c->first[i] = (uint64_t)(i % 2 * w);
  }
  c->residual = draw(1, (int64_t)ROWS * w, 1);
  c->branch = draw(2, (int64_t)ROWS * w, 1);
  c->dy = draw(3, (int64_t)ROWS * w, 1);
  c->gain = draw(4, w, 1);
  c->shift = draw(5, w, 1);
  c->factor = take((size_t)(ROWS * w), sizeof *c->factor);
  for (int i = 0; i < ROWS; i++)
    for (int j = 0; j < w; j++)
      c->factor[i * w + j] = !dropped ? 1 : random_uniform(drop_key(), c->stream[i], c->first[i] + (uint64_t)j) >= 0.25 ? 1 / 0.75 : 0;
}

static void norm_case_free(norm_case *c) {
  real *const lists[] = {c->residual, c->branch, c->dy, c->gain, c->shift};
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) free(lists[i]);
  free(c->factor);
}

/* Both ways in double. branch and dbranch through the mask. */
static void norm_reference(const norm_case *c, double epsilon, double *hat, double *y, double *dx, double *dbranch, double *dgain, double *dshift) {
  int w = c->w;
  for (int i = 0; i < ROWS; i++) {
    double mean = 0, variance = 0, sum = 0, dot = 0;
    double *x = hat + i * w;
    for (int j = 0; j < w; j++) {
      x[j] = (double)c->residual[i * w + j] + c->factor[i * w + j] * (double)c->branch[i * w + j];
      mean += x[j] / w;
    }
    for (int j = 0; j < w; j++) variance += (x[j] - mean) * (x[j] - mean) / w;
    double inverse = 1 / sqrt(variance + epsilon);
    for (int j = 0; j < w; j++) {
      double d = (double)c->dy[i * w + j], g = d * (double)c->gain[j];
      x[j] = (x[j] - mean) * inverse;
      y[i * w + j] = (double)c->gain[j] * x[j] + (double)c->shift[j];
      sum += g / w;
      dot += g * x[j] / w;
      dgain[j] += d * x[j];
      dshift[j] += d;
    }
    for (int j = 0; j < w; j++) {
      dx[i * w + j] = inverse * ((double)c->dy[i * w + j] * (double)c->gain[j] - sum - x[j] * dot);
      dbranch[i * w + j] = c->factor[i * w + j] * dx[i * w + j];
    }
  }
}

static void joins_and_norms(void **state) {
  (void)state;
  static const int more[] = {2, 513, 1030}; /* wider than what is drawn at once */
  const double epsilon = 1e-5;
  for (int k = 0; k < SIZES + 3; k++)
    for (int dropped = 0; dropped < 2; dropped++) {
      norm_case c;
      norm_case_make(&c, k < SIZES ? sizes[k] : more[k - SIZES], dropped);
      int w = c.w;
      size_t count = (size_t)(ROWS * w);
      const linalg_mask *mask = dropped ? &c.mask : NULL;
      double *want[6]; /* hat, y, dx, dbranch, dgain, dshift */
      for (int i = 0; i < 6; i++) want[i] = take(count, sizeof **want);
      norm_reference(&c, epsilon, want[0], want[1], want[2], want[3], want[4], want[5]);
      real *hat = take(count, sizeof *hat), *y = take(count, sizeof *y), *dx = take(count, sizeof *dx), *dbranch = take(count, sizeof *dbranch),
           *place = take(count, sizeof *place), *dgain = take((size_t)w, sizeof *dgain), *dshift = take((size_t)w, sizeof *dshift), deviation[ROWS], one[1];

      linalg_join_norm_forward(ROWS, w, mask, c.residual, c.branch, c.gain, c.shift, epsilon, hat, deviation, y);
      double scale = w < 3 ? 300 : 3; /* of one or two numbers that lie beside each other, the norm magnifies the rounding */
      near("hat", w, ROWS, want[0], hat, scale, 4);
      near("y", w, ROWS, want[1], y, scale, 8);
      memcpy(place, c.branch, count * sizeof *place); /* in place of the branch, and of the residual */
      linalg_join_norm_forward(ROWS, w, mask, c.residual, place, c.gain, c.shift, epsilon, NULL, deviation, place);
      same_bits("y in place of the branch", w, y, place, (int)count);
      memcpy(place, c.residual, count * sizeof *place);
      linalg_join_norm_forward(ROWS, w, mask, place, c.branch, c.gain, c.shift, epsilon, NULL, deviation, place);
      same_bits("y in place of the residual", w, y, place, (int)count);

      linalg_join_norm_backward(ROWS, w, mask, c.dy, c.gain, hat, deviation, dx, dbranch, dgain, dshift);
      if (w > 2) { /* else the true gradient is (nearly) zero, and deviation large */
        near("dx", w, ROWS, want[2], dx, scale, 20);
        near("dbranch", w, ROWS, want[3], dbranch, scale, 20);
        near("dgain", w, 1, want[4], dgain, scale, 8);
      }
      near("dshift", w, 1, want[5], dshift, scale, 4);
      memcpy(place, c.dy, count * sizeof *place);
      linalg_join_norm_backward(ROWS, w, mask, place, c.gain, hat, deviation, place, NULL, NULL, NULL); /* in place, frozen, the branch's gradient not wanted */
      same_bits("dx in place", w, dx, place, (int)count);

      for (int i = 0; i < ROWS; i++) { /* each row alone */
        const linalg_mask own = {c.mask.p, c.mask.key, c.stream + i, c.first + i};
        const real *at_residual = c.residual + i * w, *at_branch = c.branch + i * w;
        linalg_join_norm_forward(1, w, dropped ? &own : NULL, at_residual, at_branch, c.gain, c.shift, epsilon, place, one, place + w);
        same_bits("y of one row", w, y + i * w, place + w, w);
        same_bits("hat of one row", w, hat + i * w, place, w);
        same_bits("deviation of one row", w, deviation + i, one, 1);
        linalg_join_norm_backward(1, w, dropped ? &own : NULL, c.dy + i * w, c.gain, hat + i * w, one, place, place + w, NULL, NULL);
        same_bits("dx of one row", w, dx + i * w, place, w);
        same_bits("dbranch of one row", w, dbranch + i * w, place + w, w);
      }

      c.branch[2 * w + w / 2] = (real)NAN; /* spoils its own row alone, if it is not dropped */
      linalg_join_norm_forward(ROWS, w, NULL, c.residual, c.branch, c.gain, c.shift, epsilon, hat, deviation, place);
      for (int i = 0; i < ROWS * w; i++) assert_true(isnan(place[i]) == (i / w == 2));
      linalg_join_norm_backward(ROWS, w, mask, c.dy, c.gain, hat, deviation, dx, NULL, NULL, NULL);
      for (int i = 0; i < ROWS * w; i++) assert_true(isnan(dx[i]) == (i / w == 2));

      real *const lists[] = {hat, y, dx, dbranch, place, dgain, dshift};
      for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) free(lists[i]);
      for (int i = 0; i < 6; i++) free(want[i]);
      norm_case_free(&c);
    }
}

/* ---- one number at a time ---- */

static void gelu_everywhere(void **state) {
  (void)state;
  enum { COUNT = 20001 };
  real *u = take(COUNT, sizeof *u), *y = take(COUNT, sizeof *y), *slope = take(COUNT, sizeof *slope);
  for (int i = 0; i < COUNT; i++) u[i] = (real)((i - COUNT / 2) * (13.0 / (COUNT / 2)));
  linalg_gelu(COUNT, u, y, slope);
  for (int i = 0; i < COUNT; i++) {
    double x = (double)u[i], share = 0.5 * erfc(-x * 0.70710678118654752440), want = x * share, turn = share + x * exp(-0.5 * x * x) * 0.39894228040143267794;
    /* Far out on the left what is left is tiny, and right to its own digits as far as exp(-x^2/2) is. */
    if (!(fabs((double)y[i] - want) <= slack * fabs(want) * (1 + x * x))) fail_msg("gelu(%g) is %.9g, not %.9g", x, (double)y[i], want);
    if (!(fabs((double)slope[i] - turn) <= slack)) fail_msg("gelu'(%g) is %.9g, not %.9g", x, (double)slope[i], turn);
  }
  for (int k = 0; k < SIZES; k++)
    for (int lead = 0; lead < 3; lead++) { /* a value depends neither on its place nor on how many there are */
      int from = COUNT / 3 + lead;
      real *place = take((size_t)sizes[k], sizeof *place);
      memcpy(place, u + from, (size_t)sizes[k] * sizeof *place);
      linalg_gelu(sizes[k], place, place, NULL); /* y in the place of u */
      same_bits("gelu in place", sizes[k], y + from, place, sizes[k]);
      free(place);
    }
  u[3] = (real)NAN;
  u[40] = (real)INFINITY;
  linalg_gelu(64, u, y, slope);
  assert_true(isnan(y[3]) && isnan(slope[3]) && !isfinite(y[40]));
  for (int i = 0; i < 64; i++) assert_true(i == 3 || i == 40 || (isfinite(y[i]) && isfinite(slope[i])));
  free(u);
  free(y);
  free(slope);
}

static void sums_products_tanh_softmax(void **state) {
  (void)state;
  for (int k = 0; k < SIZES; k++) {
    int w = sizes[k], n = 6, ld = w + 1;
    real *x = draw(1, (int64_t)n * ld, 2), *y = draw(2, (int64_t)n * ld, 1), *sum = draw(3, w, 1), *held = draw(3, w, 1);
    double *want = take((size_t)(n * ld), sizeof *want);
    for (int j = 0; j < w; j++) {
      want[j] = (double)sum[j];
      for (int i = 0; i < n; i++) want[j] += (double)x[i * ld + j];
    }
    linalg_column_sum(n, w, x, ld, sum);
    near("column sum", w, 1, want, sum, 10, 2);
    linalg_column_sum(0, w, x, ld, held);
    for (int j = 0; j < w; j++) want[j] = (double)x[j] * (double)y[j];
    linalg_multiply(w, x, y);
    near("product", w, 1, want, y, 0, 1);
    for (int j = 0; j < w; j++) want[j] = tanh((double)x[j]);
    linalg_tanh(w, x, y);
    near("tanh", w, 1, want, y, 0.1, 2);

    x[2 * ld + w / 2] = (real)NAN;
    x[3 * ld + w - 1] = (real)-INFINITY;
    real *share = take((size_t)(n * ld), sizeof *share);
    memcpy(share, x, (size_t)(n * ld) * sizeof *share);
    linalg_softmax(n, w, share, ld);
    for (int i = 0; i < n; i++) {
      double largest = -INFINITY, total = 0;
      for (int j = 0; j < w; j++) largest = fmax(largest, (double)x[i * ld + j]);
      for (int j = 0; j < w; j++) total += want[j] = exp((double)x[i * ld + j] - largest);
      for (int j = 0; j < w; j++) {
        want[j] /= total;
        if (i == 2) assert_true(isnan(share[i * ld + j])); /* one NaN spoils its row, and no other */
      }
      if (i != 2 && isfinite(largest)) near("softmax", w, 1, want, share + i * ld, 1e-2, 4);
      same_bits("behind the row", w, x + i * ld + w, share + i * ld + w, 1);
      memcpy(y, x + i * ld, (size_t)w * sizeof *y);
      linalg_softmax(1, w, y, w);
      if (i != 2 && isfinite(largest)) same_bits("softmax of one row", w, share + i * ld, y, w);
    }
    real *const lists[] = {x, y, sum, held, share};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) free(lists[i]);
    free(want);
  }
}

/* ---- rows times a vector, there and back ---- */

static void close_to(const char *what, int w, int i, int j, double got, double want) {
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
      close_to("scaled", w, i, j, (double)y[i * ld + j], j < w ? (double)x[i * ld + j] * (double)v[j] + add * own : own);
    }
  memcpy(before, dx, bytes);
  memcpy(g_before, g, bytes);
  linalg_scale_rows_backward(N, w, g, ld, x, ld, v, dx, ld, add, dv, w % 2 ? sum : NULL);
  for (int j = 0; j < ld; j++) {
    double dots = j < w ? (double)dv_before[j] : 0, sums = j < w ? (double)sum_before[j] : 0;
    for (int i = 0; i < N; i++) {
      double own = (double)g_before[i * ld + j], held = (double)before[i * ld + j];
      close_to("way back", w, i, j, (double)dx[i * ld + j], j < w ? own * (double)v[j] + add * held : held);
      dots += own * (double)x[i * ld + j];
      sums += w % 2 ? own : 0;
    }
    if (j >= w) continue;
    close_to("dots", w, 0, j, (double)dv[j], dots);
    close_to("sums", w, 0, j, (double)sum[j], sums);
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
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bf16_is_the_nearest),
      cmocka_unit_test(bf16_outputs_are_rounded_results),
      cmocka_unit_test(masks_are_random_blocks),
      cmocka_unit_test(joins_and_norms),
      cmocka_unit_test(gelu_everywhere),
      cmocka_unit_test(sums_products_tanh_softmax),
      cmocka_unit_test(rows_are_scaled_there_and_back),
  };
  int failed = 0, tried = 0;
  for (int i = 0; i < LEVELS; i++) {
    if (!level_use(i)) continue;
    const struct CMUnitTest naming[] = {cmocka_unit_test_prestate(levels_are_named, (void *)level_names[i])};
    tried++;
    failed += cmocka_run_group_tests_name(level_names[i], naming, NULL, NULL);
    failed += cmocka_run_group_tests_name(level_names[i], tests, NULL, NULL);
  }
  if (!tried) fprintf(stderr, "no level of kernels can be used here\n");
  return failed || !tried;
}
