/* The product that LoRA and its relatives share: y_s += scale (x A_s^T) B_s^T for the sites s of a group, in rank space; dW is never formed.
 *
 * The A factors of a group are stacked, [count * rank][in], so that x is read once: H = x [A_1; A_2; ...]^T. Costs per row and site: 2 r (in + out)
 * multiply-adds forward, twice that backward.
 *
 * Formula and gradients (N rows): dB = scale dY^T H, dH = scale dY B, dA = dH^T X, dX += dH A (LoRA, arXiv 2106.09685).
 * Not collective, thread-safe with different outputs.
 */
#ifndef PEFTSCALE_LOWRANK_H
#define PEFTSCALE_LOWRANK_H

#include "method/method.h"

/* Where the factors of one group lie in an array of factors. */
typedef struct lowrank_group {
  int rank, count, in; /* count: sites of the group that the method acts on      */
  int out[GROUP_MAX_SITES];
  int slot[GROUP_MAX_SITES];  /* which of the call's y[] (the model's group order)     */
  int64_t a;                  /* stacked A: [count * rank][in]                          */
  int64_t b[GROUP_MAX_SITES]; /* B of each: [out][rank]                               */
  real scale;
} lowrank_group;

/* h: [n][count * rank], kept by the caller for the backward pass. */
void lowrank_forward(const lowrank_group *g, const real *factors, int n, const real *x, real *h, real *const y[], int y_stride);

/* gradient (same layout as factors) +=; dh: scratch [n][count * rank], on return scale * dY B, from which the caller may form dX itself; dx may be NULL. */
void lowrank_backward(const lowrank_group *g, const real *factors, real *gradient, int n, const real *x, const real *h, real *dh, real *const dy[],
                      int y_stride, real *dx);

/* W += scale B A for site `index` of the group. */
void lowrank_merge(const lowrank_group *g, int index, const real *factors, real *weight);

#endif
