/* Products against plain loops; vector kernels against double references and finite differences; the same bits from any thread. */
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

static real *draw(uint64_t stream, int64_t count, double deviation) {
  real *values = malloc((size_t)(count ? count : 1) * sizeof *values);
  assert_non_null(values);
  random_fill_normal(random_key_make(12, RANDOM_TEST, 0), stream, count, (real)deviation, values);
  return values;
}

/* ---- products ---- */

typedef void product(int m, int n, int k, real alpha, const real *a, int lda, const real *b, int ldb, real beta, real *c, int ldc);

static const struct {
  product *run;
  int trans_a, trans_b;
  const char *name;
} products[] = {{linalg_product_nt, 0, 1, "nt"}, {linalg_product_nn, 0, 0, "nn"}, {linalg_product_tn, 1, 0, "tn"}};

/* One product with rows wider than the matrix; what lies between the rows must survive. */
static void check_product(int which, int m, int n, int k, double alpha, double beta, int pad) {
  int ta = products[which].trans_a, tb = products[which].trans_b;
  int lda = (ta ? m : k) + pad, ldb = (tb ? k : n) + 2 * pad, ldc = n + 3 * pad;
  real *a = draw(1, (int64_t)lda * (ta ? k : m), 1), *b = draw(2, (int64_t)ldb * (tb ? n : k), 1), *c = draw(3, (int64_t)ldc * m, 1);
  real *expected = malloc((size_t)ldc * (size_t)(m ? m : 1) * sizeof *expected);
  assert_non_null(expected);
  if (beta == 0)
    for (int i = 0; i < m; i++)
      for (int j = 0; j < n; j++) c[(int64_t)i * ldc + j] = (real)NAN; /* beta = 0 means: never read */
  memcpy(expected, c, (size_t)ldc * (size_t)m * sizeof *c);
  products[which].run(m, n, k, (real)alpha, a, lda, b, ldb, (real)beta, c, ldc);
  linalg_reference_product(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, expected, ldc);
  double tolerance = 4e-7 * (k + 16) * (fabs(alpha) + fabs(beta)); /* float's rounding of k sums of numbers around 1 */
  for (int i = 0; i < m; i++)
    for (int j = 0; j < ldc; j++) {
      double got = c[(int64_t)i * ldc + j], want = expected[(int64_t)i * ldc + j];
      if (j >= n ? got != want : !(fabs(got - want) <= tolerance))
        fail_msg("%s %d x %d x %d, alpha %g, beta %g, pad %d: [%d][%d] is %.9g, not %.9g", products[which].name, m, n, k, alpha, beta, pad, i, j, got, want);
    }
  free(a);
  free(b);
  free(c);
  free(expected);
}

static void products_equal_plain_loops(void **state) {
  (void)state;
  static const int shape[][3] = {
      /* a good part of them just below, at and above 8192 multiply-adds, where the small products end */
      {1, 1, 1},    {1, 1, 0},     {3, 5, 0},     {2, 3, 4},     {5, 9, 7},    {9, 9, 32},   {1, 384, 384}, {384, 1, 17},   {17, 384, 1},
      {16, 16, 31}, {16, 16, 32},  {16, 16, 33},  {8, 32, 32},   {32, 8, 33},  {1, 1, 8192}, {1, 1, 8193},  {64, 128, 1},   {64, 129, 1},
      {33, 65, 17}, {54, 24, 384}, {54, 384, 24}, {13, 768, 64}, {23, 23, 32}, {50, 50, 12}, {128, 7, 100}, {100, 130, 70}, {257, 64, 96},
  };
  static const double scale[][2] = {{1, 0}, {1, 1}, {-0.5, 0}, {0.25, -2}, {0, 1}, {0, 0.5}};
  for (int which = 0; which < 3; which++)
    for (size_t s = 0; s < sizeof shape / sizeof *shape; s++)
      for (size_t f = 0; f < sizeof scale / sizeof *scale; f++)
        for (int pad = 0; pad < 4; pad += 3) check_product(which, shape[s][0], shape[s][1], shape[s][2], scale[f][0], scale[f][1], pad);
}

static void empty_products_touch_nothing(void **state) {
  (void)state;
  for (int which = 0; which < 3; which++) {
    real c[4] = {1, 2, 3, 4};
    products[which].run(0, 4, 3, 1, NULL, 3, NULL, 4, 0, c, 4);
    products[which].run(4, 0, 3, 1, NULL, 4, NULL, 4, 0, c, 4);
    for (int i = 0; i < 4; i++) assert_true(c[i] == i + 1);
  }
}

/* ---- rows ---- */

static void rows_and_sums(void **state) {
  (void)state;
  enum { N = 7, W = 13, LD = 17 };
  real *x = draw(1, N * LD, 1), *row = draw(2, W, 1), *y = draw(3, N * LD, 1), *held = malloc(N * LD * sizeof *held), sum[W];
  assert_non_null(held);
  memcpy(held, y, N * LD * sizeof *y);
  linalg_set_rows(N, W, row, y, LD);
  for (int i = 0; i < N * LD; i++) assert_true(y[i] == (i % LD < W ? row[i % LD] : held[i]));
  linalg_add_rows(N, W, row, y, LD);
  for (int i = 0; i < N * LD; i++) assert_true(y[i] == (i % LD < W ? row[i % LD] + row[i % LD] : held[i]));
  linalg_set_rows(N, W, NULL, y, LD);
  for (int i = 0; i < N * LD; i++) assert_true(y[i] == (i % LD < W ? 0 : held[i]));
  for (int j = 0; j < W; j++) sum[j] = row[j];
  linalg_column_sum(N, W, x, LD, sum);
  for (int j = 0; j < W; j++) {
    double want = row[j];
    for (int i = 0; i < N; i++) want += x[i * LD + j];
    assert_true(fabs(sum[j] - want) < 3e-6);
  }
  memcpy(y, held, N * LD * sizeof *y);
  linalg_add(N * LD, x, y);
  for (int i = 0; i < N * LD; i++) assert_true(y[i] == x[i] + held[i]);
  memcpy(y, held, N * LD * sizeof *y);
  linalg_add_scaled(N * LD, (real)-0.75, x, y);
  for (int i = 0; i < N * LD; i++) assert_true(fabs(y[i] - (held[i] - 0.75 * x[i])) < 1e-6);
  memcpy(y, held, N * LD * sizeof *y);
  linalg_multiply(N * LD, x, y);
  for (int i = 0; i < N * LD; i++) assert_true(y[i] == x[i] * held[i]);
  double square = 0;
  for (int i = 0; i < N * LD; i++) square += (double)x[i] * x[i];
  assert_true(fabs(linalg_square_sum(N * LD, x) - square) < 1e-10 * square);
  assert_true(linalg_square_sum(0, x) == 0);
  free(x);
  free(y);
  free(row);
  free(held);
}

/* ---- layer normalisation ---- */

/* Loss = sum of dy . norm(x), in double: what backward differentiates. */
static double norm_loss(int w, const double *x, const double *gain, const double *shift, double epsilon, const real *dy) {
  double mean = 0, variance = 0, sum = 0;
  for (int j = 0; j < w; j++) mean += x[j] / w;
  for (int j = 0; j < w; j++) variance += (x[j] - mean) * (x[j] - mean) / w;
  for (int j = 0; j < w; j++) sum += dy[j] * (gain[j] * (x[j] - mean) / sqrt(variance + epsilon) + shift[j]);
  return sum;
}

static void check_norm(int n, int w, double epsilon, double offset) {
  real *x = draw(1, (int64_t)n * w, 2), *gain = draw(2, w, 1), *shift = draw(3, w, 1), *dy = draw(4, (int64_t)n * w, 1);
  real *hat = draw(5, (int64_t)n * w, 1), *y = draw(6, (int64_t)n * w, 1), *place = draw(7, (int64_t)n * w, 1), *dx = draw(8, (int64_t)n * w, 1);
  real *deviation = draw(9, n, 1), *dgain = calloc((size_t)w, sizeof(real)), *dshift = calloc((size_t)w, sizeof(real));
  double *point = calloc((size_t)w, sizeof *point), *g = calloc((size_t)w, sizeof *g), *s = calloc((size_t)w, sizeof *s);
  double *want_gain = calloc((size_t)w, sizeof *want_gain), *want_shift = calloc((size_t)w, sizeof *want_shift);
  for (int64_t i = 0; i < (int64_t)n * w; i++) x[i] += (real)offset;
  for (int j = 0; j < w; j++) {
    dgain[j] = dshift[j] = 1; /* gradients are added to what is there */
    want_gain[j] = want_shift[j] = 1;
  }
  linalg_norm_forward(n, w, x, gain, shift, epsilon, hat, deviation, y);
  memcpy(place, x, (size_t)n * (size_t)w * sizeof *x);
  linalg_norm_forward(n, w, place, gain, shift, epsilon, NULL, deviation, place);
  for (int64_t i = 0; i < (int64_t)n * w; i++) assert_true(fabs(place[i] - y[i]) < 2e-6 * (1 + fabs((double)y[i])));
  memcpy(place, x, (size_t)n * (size_t)w * sizeof *x);
  linalg_norm_forward(n, w, place, gain, shift, epsilon, hat, deviation, place); /* in place, as the model does */
  assert_memory_equal(place, y, (size_t)n * (size_t)w * sizeof *y);
  linalg_norm_backward(n, w, dy, gain, hat, deviation, dx, dgain, dshift);
  memcpy(place, dy, (size_t)n * (size_t)w * sizeof *dy);
  linalg_norm_backward(n, w, place, gain, hat, deviation, place, NULL, NULL); /* in place, frozen */
  assert_memory_equal(place, dx, (size_t)n * (size_t)w * sizeof *dx);
  double slack = 2e-6 * (1 + fabs(offset));
  for (int j = 0; j < w; j++) {
    g[j] = gain[j];
    s[j] = shift[j];
  }
  for (int i = 0; i < n; i++) {
    const real *row = x + (int64_t)i * w, *d = dy + (int64_t)i * w;
    double mean = 0, variance = 0;
    for (int j = 0; j < w; j++) mean += (double)row[j] / w;
    for (int j = 0; j < w; j++) variance += (row[j] - mean) * (row[j] - mean) / w;
    double inverse = 1 / sqrt(variance + epsilon);
    assert_true(fabs(deviation[i] - inverse) <= slack * inverse);
    for (int j = 0; j < w; j++) point[j] = row[j];
    double difference = 0, size = 0;
    for (int j = 0; j < w; j++) {
      double normal = (row[j] - mean) * inverse;
      assert_true(fabs(hat[(int64_t)i * w + j] - normal) <= slack * (1 + fabs(normal)));
      assert_true(fabs(y[(int64_t)i * w + j] - (g[j] * normal + s[j])) <= slack * 4);
      want_gain[j] += d[j] * normal;
      want_shift[j] += d[j];
      double h = 1e-5;
      point[j] = row[j] + h;
      double up = norm_loss(w, point, g, s, epsilon, d);
      point[j] = row[j] - h;
      double down = norm_loss(w, point, g, s, epsilon, d);
      point[j] = row[j];
      double slope = (up - down) / (2 * h);
      difference += pow(dx[(int64_t)i * w + j] - slope, 2);
      size += slope * slope;
    }
    if (w > 2) assert_true(sqrt(difference) <= 10 * slack * sqrt(size)); /* one or two numbers: the true gradient is (nearly) zero */
    else assert_true(sqrt(difference) <= 1e-3);
  }
  for (int j = 0; j < w; j++) {
    assert_true(fabs(dgain[j] - want_gain[j]) <= 10 * slack * n);
    assert_true(fabs(dshift[j] - want_shift[j]) <= 1e-6 * n);
  }
  real *const lists[] = {x, gain, shift, dy, hat, y, place, dx, deviation, dgain, dshift};
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) free(lists[i]);
  double *const doubles[] = {point, g, s, want_gain, want_shift};
  for (size_t i = 0; i < sizeof doubles / sizeof *doubles; i++) free(doubles[i]);
}

static void norms_forward_and_backward(void **state) {
  (void)state;
  static const int shape[][2] = {{1, 3}, {4, 16}, {5, 17}, {3, 384}, {2, 7}};
  for (size_t i = 0; i < sizeof shape / sizeof *shape; i++) {
    check_norm(shape[i][0], shape[i][1], 1e-12, 0);
    check_norm(shape[i][0], shape[i][1], 1e-5, 30); /* a mean far from zero: the naive E[x^2] - E[x]^2 loses digits here */
  }
  real x[4] = {3, 3, 3, 3}, one[4] = {1, 1, 1, 1}, shift[4] = {5, 6, 7, 8}, hat[4], deviation[1], y[4];
  linalg_norm_forward(1, 4, x, one, shift, 1e-12, hat, deviation, y); /* no spread at all */
  for (int j = 0; j < 4; j++) assert_true(hat[j] == 0 && y[j] == shift[j]);
}

/* ---- GELU, tanh ---- */

static double gelu(double u) { return 0.5 * u * erfc(-u * 0.70710678118654752440); }

static void gelu_and_its_slope(void **state) {
  (void)state;
  static const int counts[] = {4, 20, 32, 52, 64, 124, 1536};
  for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
    int n = counts[k];
    size_t bytes = (size_t)n * sizeof(real);
    real *u = draw(1, n, 2), *y = draw(3, n, 1), *slope = draw(4, n, 1), *place = malloc(bytes), *again = malloc(bytes);
    assert_true(place && again);
    static const double edge[] = {0, -0.0, 1e-20, -1e-20, 6, -6, 12, -12, 40, -40};
    for (int i = 0; i < 10 && i < n; i++) u[i] = (real)edge[i];
    memcpy(place, u, bytes);
    linalg_gelu(n, u, y, slope);
    for (int i = 0; i < n; i++) {
      double at = (double)u[i], h = 1e-4;
      assert_true(fabs(y[i] - gelu(at)) <= 4e-7 * (1 + fabs(at)));
      double numeric = (gelu(at + h) - gelu(at - h)) / (2 * h);
      assert_true(fabs(slope[i] - numeric) <= 2e-6);
    }
    assert_memory_equal(place, u, bytes);
    linalg_gelu(n, place, again, place); /* the slope in the place of u, as the model keeps it */
    assert_memory_equal(place, slope, bytes);
    assert_memory_equal(again, y, bytes);
    linalg_gelu(n, u, again, NULL); /* without the slope, the same values */
    assert_memory_equal(again, y, bytes);
    real *const lists[] = {u, y, slope, place, again};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) free(lists[i]);
  }
}

/* A value's result does not depend on where in a row it stands, nor on how wide the row is. */
static void elementwise_kernels_ignore_the_place(void **state) {
  (void)state;
  enum { W = 29 };
  real *u = draw(1, W, 2), y[W], slope[W], t[W], one_u, one_y, one_slope, one_t;
  real copy[W];
  memcpy(copy, u, sizeof copy);
  linalg_gelu(W, copy, y, slope);
  linalg_tanh(W, u, t);
  for (int i = 0; i < W; i++) {
    one_u = u[i];
    linalg_gelu(1, &one_u, &one_y, &one_slope);
    linalg_tanh(1, &u[i], &one_t);
    assert_true(one_y == y[i] && one_slope == slope[i] && one_t == t[i]);
    assert_true(fabs(t[i] - tanh((double)u[i])) <= 3e-7);
  }
  linalg_tanh(W, u, u); /* in place */
  assert_memory_equal(u, t, sizeof t);
  real large[2] = {50, -50};
  linalg_tanh(2, large, large);
  assert_true(large[0] == 1 && large[1] == -1);
  free(u);
}

/* ---- softmax ---- */

static void softmax_rows(void **state) {
  (void)state;
  static const int widths[] = {1, 2, 5, 8, 9, 16, 17, 100};
  for (size_t k = 0; k < sizeof widths / sizeof *widths; k++) {
    int n = 5, w = widths[k], ld = w + 3;
    real *x = draw(1, (int64_t)n * ld, 3), *held = malloc((size_t)n * (size_t)ld * sizeof *held);
    assert_non_null(held);
    for (int j = 0; j < w; j++) {
      x[j] += 1e4;                    /* the exponent of a large number overflows unless the largest is taken off first */
      x[ld + j] = j ? (real)-2e4 : 0; /* all the weight on one */
      x[2 * ld + j] = 7;
    }
    memcpy(held, x, (size_t)n * (size_t)ld * sizeof *x);
    linalg_softmax(n, w, x, ld);
    for (int i = 0; i < n; i++) {
      double largest = -INFINITY, sum = 0;
      for (int j = 0; j < w; j++) largest = fmax(largest, (double)held[i * ld + j]);
      for (int j = 0; j < w; j++) sum += exp((double)held[i * ld + j] - largest);
      for (int j = 0; j < ld; j++) {
        if (j >= w) assert_true(x[i * ld + j] == held[i * ld + j]);
        else assert_true(fabs(x[i * ld + j] - exp((double)held[i * ld + j] - largest) / sum) <= 1e-6);
      }
    }
    assert_true(x[ld] == 1);
    free(x);
    free(held);
  }
}

/* ---- dropout ---- */

static void dropout_is_a_function_of_the_place(void **state) {
  (void)state;
  enum { N = 40, W = 27, LD = 30 };
  const double p = 0.3;
  random_key key = random_key_make(5, RANDOM_DROP_HIDDEN, 1);
  uint64_t stream[N], first[N];
  const linalg_mask mask = {p, key, stream, first}, none = {0, key, stream, first};
  real *x = draw(1, N * LD, 1), *y = draw(2, N * LD, 1), *add = malloc(N * LD * sizeof *add), *held = malloc(N * LD * sizeof *held);
  assert_true(add && held);
  memcpy(add, y, N * LD * sizeof *add);
  memcpy(held, y, N * LD * sizeof *held);
  for (int i = 0; i < N; i++) {
    stream[i] = (uint64_t)i / 3 + (UINT64_C(5) << 40);                  /* several rows of one sequence */
    first[i] = (uint64_t)(i % 3) * W + (i % 2 ? UINT64_C(1) << 35 : 0); /* not always a multiple of 4; beyond 32 bits */
  }
  linalg_dropout(N, W, &mask, x, LD, y, LD, 0);
  linalg_dropout(N, W, &mask, x, LD, add, LD, 1);
  int kept = 0;
  for (int i = 0; i < N; i++)
    for (int j = 0; j < LD; j++) {
      int at = i * LD + j;
      if (j >= W) {
        assert_true(y[at] == held[at] && add[at] == held[at]);
        continue;
      }
      int keep = random_uniform(key, stream[i], first[i] + (uint64_t)j) >= p;
      kept += keep;
      assert_true(keep ? fabs(y[at] - x[at] / (1 - p)) <= 1e-6 * fabs((double)x[at]) : y[at] == 0);
      assert_true(fabs((double)add[at] - ((double)held[at] + (double)y[at])) <= 2e-7 * (fabs((double)held[at]) + fabs((double)y[at])));
    }
  assert_true(fabs(kept / (double)(N * W) - (1 - p)) < 5 * sqrt(p * (1 - p) / (N * W)));
  linalg_dropout(N, W, &mask, x, LD, x, LD, 0); /* in place */
  for (int i = 0; i < N; i++) assert_memory_equal(x + i * LD, y + i * LD, W * sizeof *x);
  memcpy(y, x, N * LD * sizeof *x);
  linalg_dropout(N, W, &none, x, LD, x, LD, 0); /* p = 0 drops nothing */
  assert_memory_equal(x, y, N * LD * sizeof *x);
  free(x);
  free(y);
  free(add);
  free(held);
}

/* ---- threads ---- */

enum { T_N = 37, T_W = 96, T_OUT = 80 };

/* Every kernel once over; a thread's result in one buffer. */
static void run_all(real *out) {
  enum { N = T_N, W = T_W, OUT = T_OUT };
  real *x = draw(1, N * W, 1), *weight = draw(2, OUT * W, 0.1), *gain = draw(3, OUT, 1), *shift = draw(4, OUT, 1), *dy = draw(5, N * OUT, 1);
  real *y = out, *dx = y + N * OUT, *dweight = dx + N * W, *hat = dweight + OUT * W, *slope = hat + N * OUT, *deviation = slope + N * OUT;
  linalg_product_nt(N, OUT, W, 1, x, W, weight, W, 0, y, OUT);
  linalg_norm_forward(N, OUT, y, gain, shift, 1e-12, hat, deviation, y);
  linalg_gelu(N * OUT, y, slope, y);
  linalg_softmax(N, OUT, slope, OUT);
  linalg_norm_backward(N, OUT, dy, gain, hat, deviation, dy, gain, shift);
  linalg_product_nn(N, W, OUT, 1, dy, OUT, weight, W, 0, dx, W);
  linalg_product_tn(OUT, W, N, 1, dy, OUT, x, W, 0, dweight, W);
  linalg_column_sum(N, OUT, dy, OUT, y);
  real *const lists[] = {x, weight, gain, shift, dy};
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) free(lists[i]);
}

static void two_threads_give_the_same_bits(void **state) {
  (void)state;
  enum { COUNT = T_N * T_OUT * 3 + T_N * T_W + T_OUT * T_W + T_N, ROUNDS = 100 };
  real *alone = calloc(COUNT, sizeof *alone);
  assert_non_null(alone);
  run_all(alone);
  double size = linalg_square_sum(COUNT, alone);
  assert_true(isfinite(size) && size > 0);
  int wrong = 0;
#pragma omp parallel num_threads(2) reduction(+ : wrong)
  {
    real *mine = calloc(COUNT, sizeof *mine);
    for (int i = 0; mine && i < ROUNDS; i++) {
      run_all(mine);
      wrong += memcmp(mine, alone, COUNT * sizeof *mine) != 0;
    }
    wrong += !mine;
    free(mine);
  }
  assert_int_equal(wrong, 0);
  free(alone);
}

static void the_library_names_itself(void **state) {
  (void)state;
  assert_non_null(strstr(linalg_library(), "OpenBLAS"));
  assert_true(strlen(linalg_core()) > 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(products_equal_plain_loops),
      cmocka_unit_test(empty_products_touch_nothing),
      cmocka_unit_test(rows_and_sums),
      cmocka_unit_test(norms_forward_and_backward),
      cmocka_unit_test(gelu_and_its_slope),
      cmocka_unit_test(elementwise_kernels_ignore_the_place),
      cmocka_unit_test(softmax_rows),
      cmocka_unit_test(dropout_is_a_function_of_the_place),
      cmocka_unit_test(two_threads_give_the_same_bits),
      cmocka_unit_test(the_library_names_itself),
  };
  int failed = 0;
  for (int i = 0; i < LEVELS; i++)
    if (level_use(i)) failed += cmocka_run_group_tests_name(level_names[i], tests, NULL, NULL);
  return failed;
}
