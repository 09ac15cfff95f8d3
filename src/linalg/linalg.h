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

/* Sets one thread per call of a library, checks that OpenBLAS may be called from several threads, and takes the highest level of own kernels that the processor
 * has, or the one that PEFTSCALE_KERNELS names. Errors: ERROR_SYSTEM for a single-threaded build of OpenBLAS, which shares an unprotected buffer between
 * threads and gives wrong products; ERROR_USAGE for a level that is not there. */
int linalg_setup(void);

/* Build and detected core of the BLAS library ("OpenBLAS 0.3.21 ... Zen"); and whose kernels are in use: that core and the level of our own ("Zen x86-64-v3").
 * Other kernels give other bits. */
const char *linalg_library(void);
const char *linalg_core(void);

/* Who multiplies by frozen weights. OpenBLAS is always there; oneDNN where the program was built with it. */
typedef enum linalg_backend { LINALG_OPENBLAS, LINALG_ONEDNN } linalg_backend;
extern const char *const linalg_backend_names[2];

/* The operands of products with frozen weights: float, or both rounded to bfloat16 while the sum stays in float. */
typedef enum linalg_precision { LINALG_F32, LINALG_BF16 } linalg_precision;
extern const char *const linalg_precision_names[2];

/* "oneDNN 2.6.3 avx512_core_bf16": version and the instruction set that it uses here; "none" where the program was built without. */
const char *linalg_onednn(void);

/* Whether the backend has fast kernels of this precision on this processor. Errors: ERROR_USAGE saying what is missing. */
int linalg_backend_check(linalg_backend backend, linalg_precision precision);

/* ---- products (product.c): C = alpha op(A) op(B) + beta C, C is m x n, k the inner size ---- */

void linalg_product_nt(int m, int n, int k, real alpha, const real *a, int lda, const real *b, int ldb, real beta, real *c, int ldc); /* A[m][k] B[n][k] */
void linalg_product_nn(int m, int n, int k, real alpha, const real *a, int lda, const real *b, int ldb, real beta, real *c, int ldc); /* A[m][k] B[k][n] */
void linalg_product_tn(int m, int n, int k, real alpha, const real *a, int lda, const real *b, int ldb, real beta, real *c, int ldc); /* A[k][m] B[k][n] */

/* C = (A^T B) o T, with T laid out as C is: A[k][m] B[k][n]. Not for C = T. */
void linalg_product_tn_times(int m, int n, int k, const real *a, int lda, const real *b, int ldb, const real *times, real *c, int ldc);

/* The first three by plain loops with double sums: what the tests compare with. trans_a, trans_b: non-zero where the matrix is stored transposed. */
void linalg_reference_product(int trans_a, int trans_b, int m, int n, int k, double alpha, const real *a, int lda, const real *b, int ldb, double beta, real *c,
                              int ldc);

/* ---- products with a frozen W [out][in], laid out once for many of them (map.c) ----
 *
 * A map is a shape with its kernels, for any number of weights and threads. A W is laid out twice, for y = x W^T + b and for dx = dy W, in memory of the caller
 * that all threads and processes may share. What one thread needs beside that is its desk. With OpenBLAS there is nothing to lay out: W itself is used.
 *
 * Rows are worked on in blocks: x and y must have room for LINALG_ROW_BLOCK - 1 rows more than n, whose numbers are of no meaning. A row's result depends
 * neither on n nor on the other rows. */
typedef struct linalg_map linalg_map;
typedef struct linalg_desk linalg_desk;
enum { LINALG_ROW_BLOCK = 4 };

/* A weight: W as it is (NULL where the layouts are enough) and its layouts, each NULL where W itself is to be used (which a trained weight always is). */
typedef struct linalg_weight {
  const real *plain;
  const void *forward, *backward;
} linalg_weight;

/* Errors: those of linalg_backend_check, ERROR_SYSTEM when the library refuses, ERROR_MEMORY. */
int linalg_map_create(linalg_backend backend, linalg_precision precision, int out, int in, linalg_map **result);
void linalg_map_destroy(linalg_map *m);

/* Bytes of the two layouts of a W, 0 where W itself is used; they want the alignment of a cache line (64 bytes). */
int64_t linalg_map_forward_bytes(const linalg_map *m);
int64_t linalg_map_backward_bytes(const linalg_map *m);
/* Lays out W [out][in]; either target may be NULL. Errors: ERROR_SYSTEM, ERROR_MEMORY. */
int linalg_map_lay_out(const linalg_map *m, const real *w, void *forward, void *backward);

/* A thread's place to work, for calls with at most `rows` rows and maps of at most `widest` inputs or outputs; it takes more memory for each map that it meets
 * first. Errors: ERROR_MEMORY. */
int linalg_desk_create(int64_t rows, int64_t widest, linalg_precision precision, linalg_desk **result);
void linalg_desk_destroy(linalg_desk *d);
int64_t linalg_desk_bytes(const linalg_desk *d);

/* Where the operand of the next product may be put in bfloat16 by who makes it, [n][in] forward and [n][out] backward; the product then follows at once, with
 * NULL in the operand's place. NULL: that product takes floats. */
uint16_t *linalg_map_operand(const linalg_map *m, linalg_desk *d, const linalg_weight *w, int is_backward);

/* y [n][out] = x [n][in] W^T + bias (bias [out] may be NULL). */
int linalg_map_forward(const linalg_map *m, linalg_desk *d, const linalg_weight *w, const real *bias, int n, const real *x, real *y);
/* dx [n][in] = dy [n][out] W; add != 0: += instead of =. */
int linalg_map_backward(const linalg_map *m, linalg_desk *d, const linalg_weight *w, int n, const real *dy, int add, real *dx);

/* ---- rows of a matrix (rows.c): x is n x w with row distance ld ---- */

void linalg_set_rows(int n, int w, const real *row, real *y, int ld);       /* each row = row (NULL: 0)     */
void linalg_add_rows(int n, int w, const real *row, real *y, int ld);       /* each row += row              */
void linalg_column_sum(int n, int w, const real *x, int ld, real *sum);     /* sum += sum over rows         */
void linalg_add(int64_t count, const real *x, real *y);                     /* y += x                       */
void linalg_add_scaled(int64_t count, real factor, const real *x, real *y); /* y += factor x                */
double linalg_square_sum(int64_t count, const real *x);                     /* in double, fixed order       */

/* Each row y = x o v; add != 0: +=. y may be x. */
void linalg_scale_rows(int n, int w, const real *x, int x_ld, const real *v, real *y, int y_ld, int add);
/* Its way back from g, the gradient for y: dx = g o v (add != 0: +=; dx may be g), dv += sum over rows of g o x; sum (may be NULL) += sum over rows of g, what
 * a shift beside the scale would get. */
void linalg_scale_rows_backward(int n, int w, const real *g, int g_ld, const real *x, int x_ld, const real *v, real *dx, int dx_ld, int add, real *dv,
                                real *sum);

/* A dropout mask, a pure function, so that forward and backward draw the same one and nothing is stored: whether the number in row i and column j is dropped
 * depends on the key, stream[i] (step and global sequence number) and element first_element[i] + j alone. What is kept is divided by 1 - p. */
typedef struct linalg_mask {
  double p; /* share that is dropped, 0 <= p < 1 */
  random_key key;
  const uint64_t *stream, *first_element; /* [n] of the caller */
} linalg_mask;

/* Layer normalisation of each row: hat = (x - mean) / sqrt(variance + epsilon), y = gain hat + shift; deviation[i] = 1 / sqrt(...). y may be x; hat may be
 * NULL where no gradient will be asked for. */
void linalg_norm_forward(int n, int w, const real *x, const real *gain, const real *shift, double epsilon, real *hat, real *deviation, real *y);
/* dx = gradient for x given dy (dx may be dy); gain_gradient and shift_gradient += when not NULL. */
void linalg_norm_backward(int n, int w, const real *dy, const real *gain, const real *hat, const real *deviation, real *dx, real *gain_gradient,
                          real *shift_gradient);

/* The same where a branch joins the residual stream before the norm: x = residual + dropout(branch). mask NULL: no dropout. y may be branch or residual. */
void linalg_join_norm_forward(int n, int w, const linalg_mask *mask, const real *residual, const real *branch, const real *gain, const real *shift,
                              double epsilon, real *hat, real *deviation, real *y);
/* dx = gradient for residual (dx may be dy), dbranch that for branch, which is dx itself without a mask: NULL where that will do. */
void linalg_join_norm_backward(int n, int w, const linalg_mask *mask, const real *dy, const real *gain, const real *hat, const real *deviation, real *dx,
                               real *dbranch, real *gain_gradient, real *shift_gradient);

/* Exact GELU: y = u Phi(u) (may be u), and, unless slope is NULL, its derivative there (may be u, too). */
void linalg_gelu(int64_t count, const real *u, real *y, real *slope);
void linalg_multiply(int64_t count, const real *x, real *y); /* y *= x */

/* y = tanh(x), in place allowed. */
void linalg_tanh(int64_t count, const real *x, real *y);

/* Each row of x becomes its softmax (w > 0). */
void linalg_softmax(int n, int w, real *x, int ld);

/* ---- attention of one head in one sequence (attention.c) ---- */

/* S = softmax(scale Q K^T) over the keys, C = dropout(S) V; Q [queries][width], K, V [length][width] with rows `stride` apart, as are those of their
 * gradients; C and its gradient [queries][width] with rows context_stride apart. The mask's element for query i and key j is (i << 20) + j. */
typedef struct linalg_attention {
  int length, width;
  int queries; /* only the first so many tokens ask, 1 .. length */
  int stride, context_stride;
  real scale; /* > 0 */
  double p;   /* dropout of S; 0: none, then key and stream mean nothing */
  random_key key;
  uint64_t stream;
} linalg_attention;

/* Reals of scratch, aligned to 64 bytes, for calls with at most this length and width. */
int64_t linalg_attention_scratch(int length, int width);

/* share [length][queries]: S, kept for backward in an order of its own. */
void linalg_attention_forward(const linalg_attention *a, const real *q, const real *k, const real *v, real *share, real *context, real *scratch);
/* dq, dk and dv are written whole, [length] rows each: dq is 0 for who does not ask. */
void linalg_attention_backward(const linalg_attention *a, const real *q, const real *k, const real *v, const real *share, const real *dcontext, real *dq,
                               real *dk, real *dv, real *scratch);

/* ---- number formats (rows.c) ---- */

/* y = x as bfloat16 (the upper half of a float), rounded to nearest, ties to even; NaN stays NaN and becomes quiet. The same bits on every processor. */
void linalg_to_bf16(int64_t count, const real *x, uint16_t *y);
/* y = gelu(u) with its slope (may be NULL), and y = x z with such a slope, so rounded: for a product that takes bfloat16. */
void linalg_gelu_to_bf16(int64_t count, const real *u, uint16_t *y, uint16_t *slope);
void linalg_multiply_to_bf16(int64_t count, const uint16_t *x, const real *z, uint16_t *y);

/* ---- dropout (rows.c) ---- */

/* y = dropout(x) of n rows, 0 where x is dropped (y may be x; add != 0: y += instead of y =). */
void linalg_dropout(int n, int w, const linalg_mask *mask, const real *x, int x_ld, real *y, int y_ld, int add);

/* ---- what a core can do (peak.c) ---- */

/* Fused multiply-adds of the calling thread that never leave its registers, in FLOP/s: of floats, or of pairs of bf16 numbers added to floats. The
 * median over 1001 slices of `seconds` of wall time, so that moments without a core do not count and a lower clock does. 0: the processor has no such
 * instruction. Cores slow each other down: call it in all threads that will work, at the same time. */
double linalg_peak(linalg_precision precision, double seconds);

/* Width of the registers that linalg_peak uses, in bits; 0 where it returns 0. */
int linalg_peak_bits(linalg_precision precision);

#endif
