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
  void (*to_bf16)(int64_t count, const real *x, uint16_t *y);
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
