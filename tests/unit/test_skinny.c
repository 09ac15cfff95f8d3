/* Products with one dimension as small as an adapter's rank, of every level of kernels that the program has and the processor can run: against plain loops in
 * double; rows that do not depend on how many there are; nothing read or written beside the matrices.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "support/levels.h"

/* Ranks below, at and above a register, a half and a quarter of one, and above the largest that the kernels take; wide sides of one register, of odd numbers
 * of them, and of more than a laid-out factor has room for; rows below and above a tile. */
static const int ranks[] = {1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 20, 24, 31, 32, 33, 40, 48, 64, 65}, wides[] = {48, 64, 80, 112, 384, 4112};
static const int rows[] = {1, 2, 7, 11, 12, 13, 25, 129, 300};
enum { RANKS = sizeof ranks / sizeof *ranks, WIDES = sizeof wides / sizeof *wides, ROWS = sizeof rows / sizeof *rows };

typedef void product(int m, int n, int k, real alpha, const real *a, int lda, const real *b, int ldb, real beta, real *c, int ldc);
typedef struct kind {
  product *run;
  int trans_a, trans_b;
  const char *name;
} kind;
static const kind kinds[] = {{linalg_product_nt, 0, 1, "nt"}, {linalg_product_nn, 0, 0, "nn"}, {linalg_product_tn, 1, 0, "tn"}};

/* A matrix that ends where memory ends, so that reading one number too many is no secret. */
typedef struct matrix {
  real *at;
  void *pages;
  size_t bytes;
  int rows, ld;
} matrix;

static matrix matrix_make(int r, int cols, int pad, uint64_t stream) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE), count = (size_t)(r - 1) * (size_t)(cols + pad) + (size_t)cols;
  matrix m = {.rows = r, .ld = cols + pad, .bytes = (count * sizeof(real) + page - 1) / page * page + page};
  m.pages = mmap(NULL, m.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_true(m.pages != MAP_FAILED);
  assert_int_equal(mprotect((char *)m.pages + m.bytes - page, page, PROT_NONE), 0);
  m.at = (real *)(void *)((char *)m.pages + m.bytes - page) - count;
  random_fill_normal(random_key_make(21, RANDOM_TEST, 0), stream, (int64_t)count, 1, m.at);
  return m;
}

static void matrix_free(matrix *m) { munmap(m->pages, m->bytes); }

static void check(const kind *p, int m, int n, int k, double alpha, double beta, int pad) {
  matrix a = matrix_make(p->trans_a ? k : m, p->trans_a ? m : k, pad, 1), b = matrix_make(p->trans_b ? n : k, p->trans_b ? k : n, 2 * pad, 2),
         c = matrix_make(m, n, 3 * pad, 3);
  size_t count = (size_t)(m - 1) * (size_t)c.ld + (size_t)n;
  if (beta == 0)
    for (int i = 0; i < m; i++)
      for (int j = 0; j < n; j++) c.at[(int64_t)i * c.ld + j] = (real)NAN; /* beta = 0 means: never read */
  real *expected = malloc(count * sizeof *expected);
  assert_non_null(expected);
  memcpy(expected, c.at, count * sizeof *expected);
  p->run(m, n, k, (real)alpha, a.at, a.ld, b.at, b.ld, (real)beta, c.at, c.ld);
  linalg_reference_product(p->trans_a, p->trans_b, m, n, k, alpha, a.at, a.ld, b.at, b.ld, beta, expected, c.ld);
  double tolerance = (sizeof(real) == 8 ? 1e-15 : 4e-7) * (k + 16) * (fabs(alpha) + fabs(beta)); /* rounding of k sums of numbers around 1 */
  for (size_t i = 0; i < count; i++) {
    int between = (int)(i % (size_t)c.ld) >= n;
    double got = c.at[i], want = expected[i];
    if (between ? got != want : !(fabs(got - want) <= tolerance))
      fail_msg("%s %d x %d x %d, alpha %g, beta %g, pad %d: [%zu][%zu] is %.9g, not %.9g", p->name, m, n, k, alpha, beta, pad, i / (size_t)c.ld,
               i % (size_t)c.ld, got, want);
  }
  free(expected);
  matrix_free(&a);
  matrix_free(&b);
  matrix_free(&c);
}

static void products_equal_plain_loops(void **state) {
  (void)state;
  static const double scale[][2] = {{1, 1}, {1, 0}, {0.25, -2}, {-0.5, 0}, {0, 1}};
  enum { SCALES = sizeof scale / sizeof *scale };
  int turn = 0;
  for (int r = 0; r < RANKS; r++)
    for (int w = 0; w < WIDES; w++)
      for (int i = 0; i < ROWS; i++) {
        if (wides[w] > 1000 && rows[i] > 13) continue;
        for (int p = 0; p < 3; p++, turn++) { /* every shape, each with one of the scales and paddings in turn */
          const double *f = scale[turn % SCALES];
          int pad = turn / SCALES % 2 * 5, n = rows[i], small = ranks[r], wide = wides[w];
          check(&kinds[p], p == 2 ? wide : n, small, p == 2 ? n : wide, f[0], f[1], pad);
          if (p < 2) check(&kinds[p], n, wide, small, f[0], f[1], pad);
          else check(&kinds[p], small, wide, n, f[0], f[1], pad);
        }
      }
}

/* (A^T B) o T, by the kernels of small products and without them. */
static void products_are_multiplied(void **state) {
  (void)state;
  static const int shape[][3] = {{64, 384, 4}, {1, 64, 1}, {70, 80, 3}, {64, 112, 300}, {13, 64, 129}, {70, 100, 3}, {100, 384, 100}, {5, 7, 11}};
  for (size_t s = 0; s < sizeof shape / sizeof *shape; s++)
    for (int pad = 0; pad < 6; pad += 5) {
      int m = shape[s][0], n = shape[s][1], k = shape[s][2];
      matrix a = matrix_make(k, m, pad, 11), b = matrix_make(k, n, 2 * pad, 12), t = matrix_make(m, n, pad, 13), c = matrix_make(m, n, pad, 14);
      size_t count = (size_t)(m - 1) * (size_t)c.ld + (size_t)n;
      real *expected = malloc(count * sizeof *expected);
      assert_non_null(expected);
      memcpy(expected, c.at, count * sizeof *expected);
      for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) c.at[(int64_t)i * c.ld + j] = (real)NAN; /* never read */
      linalg_product_tn_times(m, n, k, a.at, a.ld, b.at, b.ld, t.at, c.at, c.ld);
      linalg_reference_product(1, 0, m, n, k, 1, a.at, a.ld, b.at, b.ld, 0, expected, c.ld);
      for (size_t i = 0; i < count; i++) {
        int between = (int)(i % (size_t)c.ld) >= n;
        double got = c.at[i], want = between ? (double)expected[i] : (double)expected[i] * (double)t.at[i];
        if (between ? got != want : !(fabs(got - want) <= (sizeof(real) == 8 ? 1e-14 : 4e-6) * (k + 16)))
          fail_msg("%d x %d x %d, pad %d: [%zu] is %.9g, not %.9g", m, n, k, pad, i, got, want);
      }
      free(expected);
      matrix_free(&a);
      matrix_free(&b);
      matrix_free(&c);
      matrix_free(&t);
    }
}

/* A row's result is the same in products of any number of rows, at any place. */
static void rows_are_on_their_own(void **state) {
  (void)state;
  enum { N = 40 };
  for (int r = 0; r < RANKS - 1; r++)
    for (int wide = 64; wide <= 384; wide += 320)
      for (int p = 0; p < 2; p++)
        for (int spreads = 0; spreads < 2; spreads++) {
          int n = spreads ? wide : ranks[r], k = spreads ? ranks[r] : wide;
          matrix a = matrix_make(N, k, 0, 4), b = matrix_make(kinds[p].trans_b ? n : k, kinds[p].trans_b ? k : n, 0, 5), c = matrix_make(N, n, 0, 6);
          real *one = malloc((size_t)n * sizeof *one);
          assert_non_null(one);
          kinds[p].run(N, n, k, 1, a.at, k, b.at, b.ld, 0, c.at, n);
          for (int i = 0; i < N; i++) {
            kinds[p].run(1, n, k, 1, a.at + (int64_t)i * k, k, b.at, b.ld, 0, one, n);
            assert_memory_equal(one, c.at + (int64_t)i * n, (size_t)n * sizeof *one);
          }
          kinds[p].run(N - 7, n, k, 1, a.at + 7 * k, k, b.at, b.ld, 0, c.at, n);
          assert_memory_equal(one, c.at + (int64_t)(N - 8) * n, (size_t)n * sizeof *one);
          free(one);
          matrix_free(&a);
          matrix_free(&b);
          matrix_free(&c);
        }
}

/* NaN and infinity stay in the rows that they are in. */
static void bad_numbers_stay_in_their_rows(void **state) {
  (void)state;
  enum { N = 25, W = 384 };
  for (int r = 0; r < RANKS - 1; r++)
    for (int bad = 0; bad < N; bad += 8) {
      int w = ranks[r];
      matrix x = matrix_make(N, W, 0, 7), f = matrix_make(w, W, 0, 8), h = matrix_make(N, w, 0, 9), y = matrix_make(N, W, 0, 10);
      x.at[bad * W + 100 + r] = (real)NAN;
      linalg_product_nt(N, w, W, 1, x.at, W, f.at, W, 0, h.at, w);
      linalg_product_nn(N, W, w, 1, h.at, w, f.at, W, 1, y.at, W);
      for (int i = 0; i < N; i++) {
        for (int j = 0; j < w; j++) assert_int_equal(isnan((double)h.at[i * w + j]) != 0, i == bad);
        for (int j = 0; j < W; j++) assert_int_equal(isnan((double)y.at[i * W + j]) != 0, i == bad);
      }
      matrix_free(&x);
      matrix_free(&f);
      matrix_free(&h);
      matrix_free(&y);
    }
}

int main(void) {
  int failed = 0, tried = 0;
  for (int i = 0; i < LEVELS; i++) {
    if (!level_use(i)) continue;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_equal_plain_loops),
        cmocka_unit_test(products_are_multiplied),
        cmocka_unit_test(rows_are_on_their_own),
        cmocka_unit_test(bad_numbers_stay_in_their_rows),
    };
    tried++;
    failed += cmocka_run_group_tests_name(level_names[i], tests, NULL, NULL);
  }
  if (!tried) fprintf(stderr, "no level of kernels can be used here\n");
  return failed || !tried;
}
