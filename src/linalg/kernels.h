/* The vector kernels of one processor level, and the choice between levels. Private to linalg.
 *
 * The sources in level/ are compiled for the level that the whole program is compiled for (MARCH) and, where the compiler can, once more for x86-64-v4
 * (AVX-512); linalg_setup takes the highest level that the processor has. Levels round differently, so linalg_core names the one in use.
 */
#ifndef PEFTSCALE_KERNELS_H
#define PEFTSCALE_KERNELS_H

#include "linalg/linalg.h"

typedef struct kernel_table {
  const char *level; /* "x86-64-v4", "x86-64-v3" or "portable" */
  /* As the functions linalg_NAME. */
  void (*to_bf16)(int64_t count, const real *x, uint16_t *y);
  void (*column_sum)(int n, int w, const real *x, int ld, real *sum);
  void (*scale_rows)(int n, int w, const real *x, int x_ld, const real *v, real *y, int y_ld, int add);
  void (*scale_rows_backward)(int n, int w, const real *g, int g_ld, const real *x, int x_ld, const real *v, real *dx, int dx_ld, int add, real *dv, real *sum);
  void (*multiply)(int64_t count, const real *x, real *y);
  void (*tanh)(int64_t count, const real *x, real *y);
  void (*softmax)(int n, int w, real *x, int ld);
  void (*multiply_to_bf16)(int64_t count, const uint16_t *x, const real *z, uint16_t *y);
  void (*gelu)(int64_t count, const real *u, real *y, real *slope);
  void (*gelu_to_bf16)(int64_t count, const real *u, uint16_t *y, uint16_t *slope);
  void (*join_norm_forward)(int n, int w, const linalg_mask *mask, const real *residual, const real *branch, const real *gain, const real *shift,
                            double epsilon, real *hat, real *deviation, real *y);
  void (*join_norm_backward)(int n, int w, const linalg_mask *mask, const real *dy, const real *gain, const real *hat, const real *deviation, real *dx,
                             real *dbranch, real *gain_gradient, real *shift_gradient);
  void (*dropout)(int n, int w, const linalg_mask *mask, const real *x, int x_ld, real *y, int y_ld, int add);
  int64_t (*attention_scratch)(int length, int width);
  void (*attention_forward)(const linalg_attention *a, const real *q, const real *k, const real *v, real *share, real *context, real *scratch);
  void (*attention_backward)(const linalg_attention *a, const real *q, const real *k, const real *v, const real *share, const real *dcontext, real *dq,
                             real *dk, real *dv, real *scratch);
  /* products with a small dimension: level/skinny.h */
  void (*skinny_reduce)(int n, int w, int depth, real alpha, const real *x, int ldx, const real *f, int ldf, int in_rows, real beta, real *h, int ldh);
  void (*skinny_spread)(int n, int m, int w, real alpha, const real *h, int ldh, const real *f, int ldf, int in_rows, real beta, real *y, int ldy);
  void (*skinny_outer)(int n, int m, int w, real alpha, const real *x, int ldx, const real *h, int ldh, int in_rows, real beta, real *d, int ldd);
  void (*skinny_outer_times)(int n, int m, int w, const real *x, int ldx, const real *h, int ldh, const real *times, real *d, int ldd);
} kernel_table;

extern const kernel_table kernels_base;      /* what MARCH allows         */
extern const kernel_table *const kernels_v4; /* NULL: not in this program */

/* The table in use. Before kernels_setup: kernels_base. */
extern const kernel_table *kernels;

/* Errors: ERROR_USAGE when PEFTSCALE_KERNELS names a level that is not there. */
int kernels_setup(void);

#endif
