#include "method/lowrank.h"

#include "linalg/linalg.h"

void lowrank_forward(const lowrank_group *g, const real *factors, int n, const real *x, real *h, real *const y[], int y_stride) {
  int width = g->count * g->rank;
  linalg_product_nt(n, width, g->in, 1, x, g->in, factors + g->a, g->in, 0, h, width);
  for (int s = 0; s < g->count; s++)
    linalg_product_nt(n, g->out[s], g->rank, g->scale, h + s * g->rank, width, factors + g->b[s], g->rank, 1, y[g->slot[s]], y_stride);
}

void lowrank_backward(const lowrank_group *g, const real *factors, real *gradient, int n, const real *x, const real *h, real *dh, real *const dy[],
                      int y_stride, real *dx) {
  int width = g->count * g->rank;
  for (int s = 0; s < g->count; s++) {
    const real *d = dy[g->slot[s]];
    linalg_product_tn(g->out[s], g->rank, n, g->scale, d, y_stride, h + s * g->rank, width, 1, gradient + g->b[s], g->rank);
    linalg_product_nn(n, g->rank, g->out[s], g->scale, d, y_stride, factors + g->b[s], g->rank, 0, dh + s * g->rank, width);
  }
  linalg_product_tn(width, g->in, n, 1, dh, width, x, g->in, 1, gradient + g->a, g->in);
  if (dx) linalg_product_nn(n, g->in, width, 1, dh, width, factors + g->a, g->in, 1, dx, g->in);
}

void lowrank_merge(const lowrank_group *g, int index, const real *factors, real *weight) {
  linalg_product_nn(g->out[index], g->in, g->rank, g->scale, factors + g->b[index], g->rank, factors + g->a + (int64_t)index * g->rank * g->in, g->in, 1,
                    weight, g->in);
}
