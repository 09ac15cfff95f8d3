/* The product that LoRA and its relatives share: y_s += scale (x A_s^T) B_s^T for the sites s of a group, in rank space; dW is never formed.
 *
 * The A factors of a group are stacked, [count * rank][in], so that x is read once: H = x [A_1; A_2; ...]^T.
 *
 * Formula and gradients (N rows): dB = scale dY^T H, dH = scale dY B, dA = dH^T X, dX += dH A (LoRA, arXiv 2106.09685).
 *
 * Cost per row and site: 2 r (in + out) FLOP forward and twice that backward, without dX = 2 r in less where nothing below wants it. Floor: these at the FMA
 * peak; for r = 8 on q and v it is 1.0 % of the frozen products' 24 width^2 each way, for r = 4 half of that. x is read there and back, dY twice, y
 * and dX are changed in place: 16 (in + out) bytes a row and site, which take longer than the FLOP where the rows come from the third-level cache: seen with
 * bench_methods are 2.4 floors at r = 8, 3 at r = 4 (MiniLM's shape, 200 rows a shard, two cores at work on other things as well).
 * Not collective, thread-safe with different outputs.
 */
#ifndef PEFTSCALE_LOWRANK_H
#define PEFTSCALE_LOWRANK_H

#include "method/method.h"

/* ---- the product ---- */

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

/* ---- a method whose whole effect is that product ---- */

/* A pair of factors: A [rank][in] and B [out][rank] of one site, at these places of the array of factors. */
typedef struct lowrank_pair {
  int site, group, index; /* index: within its lowrank_group */
  int in, out;
  int64_t a, b;
} lowrank_pair;

/* First member of such a method's state, where the functions below find it. */
typedef struct lowrank {
  int rank;
  lowrank_group *groups; /* [adapter.group_count]; count 0: untouched                           */
  lowrank_pair *pairs;   /* [pair_count] layer by layer, within a layer q, k, v, qkv, o, up, down */
  int pair_count;
  real *made;          /* [factor_count] memory of expand, where the factors are not theta itself */
  const real *factors; /* what the product uses; set by expand                                    */
} lowrank;

/* For plan: lays out the factors of all targeted sites and sets touched groups, widths and factor_count. Errors: those of adapter_check_modules. */
int lowrank_plan(adapter *a, int rank, double scale, lowrank *l);

/* For prepare: memory for factors that expand makes. */
int lowrank_prepare(adapter *a);

/* The method table's functions: forward and backward (with dropout on the branch's input), and merge. */
int lowrank_method_forward(const adapter *a, method_workspace *w, int group, int n, const real *x, real *const y[], int y_stride);
int lowrank_method_backward(const adapter *a, method_workspace *w, int group, int n, const real *x, real *const dy[], int y_stride, real *dx);
int lowrank_method_merge(const adapter *a, int site, real *weight, real *bias);

/* gather where the factors are theta itself: grad += factor_gradient, which is cleared. */
int lowrank_gather_plain(const adapter *a, method_workspace *w, real *grad);

/* ---- dropout on a branch's input ---- */

/* How many inputs the branches of so many sites of a group have in training: one for all, so that their products are one, or with masks of their own one each.
 */
int lowrank_inputs(const adapter *a, int sites);

/* x itself, or (training with dropout) its dropped-out copy in `space` [n][in]. place: site of the model's, where it has a mask of its own; else -1. */
const real *lowrank_input(const adapter *a, method_workspace *w, int group, int place, int n, const real *x, real *space);

/* dx += through, the gradient for the dropped-out input, through the same mask. */
void lowrank_input_backward(const adapter *a, method_workspace *w, int group, int place, int n, const real *through, real *dx);

#endif
