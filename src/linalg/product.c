/* Products through BLAS; through own kernels where one dimension is as small as an adapter's rank, for which BLAS has no good blocks; and by plain loops for
 * the very small ones of attention, where a BLAS call costs more than the arithmetic.
 *
 * Which of the three is taken depends on the shape alone, so a shape always gives the same bits.
 */
#include <cblas.h>

#include "linalg/kernels.h"

#ifdef PEFTSCALE_DOUBLE
#define GEMM cblas_dgemm
#else
#define GEMM cblas_sgemm
#endif

enum { SMALL_PRODUCT = 16 * 16 * 32 }; /* multiply-adds; measured: below this BLAS's packing and dispatch dominate */

static int is_small(int m, int n, int k) { return (int64_t)m * n * k <= SMALL_PRODUCT; }

/* Measured on two kinds of processor: up to this width the own kernels are ahead of BLAS or level with it, and far ahead at ranks of 4 to 32. */
enum { SKINNY_MOST = 64, WIDE_LEAST = 64, WIDE_MULTIPLE = 16 };

static int is_skinny(int small, int wide) { return small > 0 && small <= SKINNY_MOST && wide >= WIDE_LEAST && wide % WIDE_MULTIPLE == 0; }

static void scale_row(int n, real beta, real *c) {
  if (beta == 0)
    for (int j = 0; j < n; j++) c[j] = 0;
  else if (beta != 1)
    for (int j = 0; j < n; j++) c[j] *= beta;
}

void linalg_product_nt(int m, int n, int k, real alpha, const real *a, int lda, const real *b, int ldb, real beta, real *c, int ldc) {
  if (m <= 0 || n <= 0) return;
  if (is_skinny(n, k)) {
    kernels->skinny_reduce(m, n, k, alpha, a, lda, b, ldb, 1, beta, c, ldc);
    return;
  }
  if (is_skinny(k, n)) {
    kernels->skinny_spread(m, n, k, alpha, a, lda, b, ldb, 0, beta, c, ldc);
    return;
  }
  if (!is_small(m, n, k)) {
    GEMM(CblasRowMajor, CblasNoTrans, CblasTrans, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    return;
  }
  for (int i = 0; i < m; i++) {
    const real *x = a + (int64_t)i * lda;
    real *y = c + (int64_t)i * ldc;
    for (int j = 0; j < n; j++) {
      const real *z = b + (int64_t)j * ldb;
      real sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int p = 0; p < k; p++) sum += x[p] * z[p];
      y[j] = alpha * sum + (beta == 0 ? 0 : beta * y[j]);
    }
  }
}

void linalg_product_nn(int m, int n, int k, real alpha, const real *a, int lda, const real *b, int ldb, real beta, real *c, int ldc) {
  if (m <= 0 || n <= 0) return;
  if (is_skinny(n, k)) {
    kernels->skinny_reduce(m, n, k, alpha, a, lda, b, ldb, 0, beta, c, ldc);
    return;
  }
  if (is_skinny(k, n)) {
    kernels->skinny_spread(m, n, k, alpha, a, lda, b, ldb, 1, beta, c, ldc);
    return;
  }
  if (!is_small(m, n, k)) {
    GEMM(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    return;
  }
  for (int i = 0; i < m; i++) {
    real *y = c + (int64_t)i * ldc;
    scale_row(n, beta, y);
    for (int p = 0; p < k; p++) {
      real factor = alpha * a[(int64_t)i * lda + p];
      const real *z = b + (int64_t)p * ldb;
#pragma omp simd
      for (int j = 0; j < n; j++) y[j] += factor * z[j];
    }
  }
}

void linalg_product_tn(int m, int n, int k, real alpha, const real *a, int lda, const real *b, int ldb, real beta, real *c, int ldc) {
  if (m <= 0 || n <= 0) return;
  if (k > 0 && is_skinny(n, m)) {
    kernels->skinny_outer(k, m, n, alpha, a, lda, b, ldb, 0, beta, c, ldc);
    return;
  }
  if (k > 0 && is_skinny(m, n)) {
    kernels->skinny_outer(k, n, m, alpha, b, ldb, a, lda, 1, beta, c, ldc);
    return;
  }
  if (!is_small(m, n, k)) {
    GEMM(CblasRowMajor, CblasTrans, CblasNoTrans, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    return;
  }
  for (int i = 0; i < m; i++) scale_row(n, beta, c + (int64_t)i * ldc);
  for (int p = 0; p < k; p++) {
    const real *z = b + (int64_t)p * ldb;
    for (int i = 0; i < m; i++) {
      real factor = alpha * a[(int64_t)p * lda + i];
      real *y = c + (int64_t)i * ldc;
#pragma omp simd
      for (int j = 0; j < n; j++) y[j] += factor * z[j];
    }
  }
}

void linalg_product_tn_times(int m, int n, int k, const real *a, int lda, const real *b, int ldb, const real *times, real *c, int ldc) {
  if (k > 0 && (is_skinny(k, n) || is_skinny(m, n))) {
    kernels->skinny_outer_times(k, n, m, b, ldb, a, lda, times, c, ldc);
    return;
  }
  linalg_product_tn(m, n, k, 1, a, lda, b, ldb, 0, c, ldc);
  for (int i = 0; i < m; i++) linalg_multiply(n, times + (int64_t)i * ldc, c + (int64_t)i * ldc);
}

void linalg_reference_product(int trans_a, int trans_b, int m, int n, int k, double alpha, const real *a, int lda, const real *b, int ldb, double beta, real *c,
                              int ldc) {
  for (int i = 0; i < m; i++)
    for (int j = 0; j < n; j++) {
      double sum = 0;
      for (int p = 0; p < k; p++)
        sum += (double)(trans_a ? a[(int64_t)p * lda + i] : a[(int64_t)i * lda + p]) * (double)(trans_b ? b[(int64_t)j * ldb + p] : b[(int64_t)p * ldb + j]);
      real *y = &c[(int64_t)i * ldc + j];
      *y = (real)(alpha * sum + (beta == 0 ? 0 : beta * (double)*y));
    }
}
