/* The arithmetic: matrix products (the only caller of BLAS) and vector kernels.
 *
 * All matrices are row-major; `ld` is the distance between rows. Reductions run in a fixed order, so the same call on the same build gives the same bits
 * from any thread. Not collective; thread-safe after linalg_setup.
 */
#ifndef PEFTSCALE_LINALG_H
#define PEFTSCALE_LINALG_H

#include <stdint.h>

#include "base/random.h"
#include "base/real.h"

/* ---- backend (backend.c) ---- */

/* Sets one BLAS thread per caller, checks that the library may be called from several threads, and takes the highest level of own kernels that the processor
 * has, or the one that PEFTSCALE_KERNELS names. Errors: ERROR_SYSTEM for a single-threaded build of OpenBLAS, which shares an unprotected buffer between
 * threads and gives wrong products; ERROR_USAGE for a level that is not there. */
int linalg_setup(void);

/* Build and detected core of the BLAS library ("OpenBLAS 0.3.21 ... Zen"); and whose kernels are in use: that core and the level of our own ("Zen x86-64-v3").
 * Other kernels give other bits. */
const char *linalg_library(void);
const char *linalg_core(void);

/* ---- products (product.c): C = alpha op(A) op(B) + beta C, C is m x n, k the inner size ---- */

void linalg_product_nt(int m, int n, int k, real alpha, const real *a, int lda, const real *b, int ldb, real beta, real *c, int ldc); /* A[m][k] B[n][k] */
void linalg_product_nn(int m, int n, int k, real alpha, const real *a, int lda, const real *b, int ldb, real beta, real *c, int ldc); /* A[m][k] B[k][n] */
void linalg_product_tn(int m, int n, int k, real alpha, const real *a, int lda, const real *b, int ldb, real beta, real *c, int ldc); /* A[k][m] B[k][n] */

/* The same three by plain loops with double sums: what the tests compare with. trans_a, trans_b: non-zero where the matrix is stored transposed. */
void linalg_reference_product(int trans_a, int trans_b, int m, int n, int k, double alpha, const real *a, int lda, const real *b, int ldb, double beta, real *c,
                              int ldc);

/* ---- rows of a matrix (rows.c): x is n x w with row distance ld ---- */

void linalg_set_rows(int n, int w, const real *row, real *y, int ld);       /* each row = row (NULL: 0)     */
void linalg_add_rows(int n, int w, const real *row, real *y, int ld);       /* each row += row              */
void linalg_column_sum(int n, int w, const real *x, int ld, real *sum);     /* sum += sum over rows         */
void linalg_add(int64_t count, const real *x, real *y);                     /* y += x                       */
void linalg_add_scaled(int64_t count, real factor, const real *x, real *y); /* y += factor x                */
double linalg_square_sum(int64_t count, const real *x);                     /* in double, fixed order       */

/* Layer normalisation of each row: hat = (x - mean) / sqrt(variance + epsilon), y = gain hat + shift; deviation[i] = 1 / sqrt(...). y may be x; hat may be
 * NULL where no gradient will be asked for. */
void linalg_norm_forward(int n, int w, const real *x, const real *gain, const real *shift, double epsilon, real *hat, real *deviation, real *y);
/* dx = gradient for x given dy (dx may be dy); gain_gradient and shift_gradient += when not NULL. */
void linalg_norm_backward(int n, int w, const real *dy, const real *gain, const real *hat, const real *deviation, real *dx, real *gain_gradient,
                          real *shift_gradient);

/* Exact GELU, x Phi(x), with bias: u += bias first (bias may be NULL). y = gelu(u); if slope is not NULL it receives gelu'(u) (slope may be u). */
void linalg_gelu(int n, int w, const real *bias, real *u, real *y, real *slope);
void linalg_multiply(int64_t count, const real *x, real *y); /* y *= x */

/* y = tanh(x), in place allowed. */
void linalg_tanh(int64_t count, const real *x, real *y);

/* Each row of x becomes its softmax (w > 0). */
void linalg_softmax(int n, int w, real *x, int ld);

/* ---- number formats (rows.c) ---- */

/* y = x as bfloat16, rounded to nearest, ties to even; NaN stays NaN and becomes quiet. The same bits on every processor. */
void linalg_to_bf16(int64_t count, const real *x, uint16_t *y);

/* ---- dropout (dropout.c) ---- */

/* Inverted dropout of n rows: y[i][j] = keep(i, j) ? x[i][j] / (1 - p) : 0 (y may be x; add != 0: y += instead of y =). keep is a pure function of the key,
 * stream[i] (step and global sequence number) and element first_element[i] + j, so forward and backward draw the same mask and nothing is stored. */
void linalg_dropout(int n, int w, double p, random_key key, const uint64_t *stream, const uint64_t *first_element, const real *x, int x_ld, real *y, int y_ld,
                    int add);

/* ---- what a core can do (peak.c) ---- */

/* Fused multiply-adds of the calling thread that never leave its registers, in FLOP/s: of floats, or (bf16 not 0) of pairs of bf16 numbers added to floats. The
 * median over 1001 slices of `seconds` of wall time, so that moments without a core do not count and a lower clock does. 0: the processor has no such
 * instruction. Cores slow each other down: call it in all threads that will work, at the same time. */
double linalg_peak(int bf16, double seconds);

/* Width of the registers that linalg_peak uses, in bits; 0 where it returns 0. */
int linalg_peak_bits(int bf16);

#endif
