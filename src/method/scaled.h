/* The product that VeRA and Tied-LoRA share: y_s += (((x A_s^T) o inner_s) B_s^T) o outer_s, where A and B are shared by many sites and used in place:
 * per-site factors diag(outer) B diag(inner), A would be larger than the model at VeRA's ranks.
 *
 * Formula and gradients (N rows, G = dY, Z = ((X A^T) o inner) B^T kept from forward, U = (G o outer) B):
 *   douter = colsum(G o Z),  dinner = colsum(U o H),  dB += (G o outer)^T (H o inner),  dA += (U o inner)^T X,  dX += (U o inner) A.
 * Costs per row and site: 2 r (in + out) multiply-adds forward and as many backward, r (in + out) more where A and B are trained. Sites of a group that use
 * the same A share H = X A^T and the way back through A.
 * Not collective, thread-safe with different workspaces. VeRA: arXiv 2310.11454; Tied-LoRA: arXiv 2311.09578.
 */
#ifndef PEFTSCALE_SCALED_H
#define PEFTSCALE_SCALED_H

#include "method/method.h"

/* A number's place in the adapter's theta and its gradient; -1: it is not trained (frozen, or all ones). */
typedef struct scaled_site {
  int site, slot, out;
  int64_t a, b, inner, outer;
  const real *a_value, *b_value, *inner_value, *outer_value; /* of the last expand; inner and outer: NULL where they are all ones */
} scaled_site;

typedef struct scaled_group {
  int count, in;
  int a_stride; /* row distance of A: wider than `in` where the left columns of a wider matrix are used */
  int shares_a; /* every site of the group uses the same A */
  scaled_site site[GROUP_MAX_SITES];
} scaled_group;

/* First member of such a method's state, where the functions below find it. */
typedef struct scaled {
  int rank;
  scaled_group *groups; /* [adapter.group_count] */
} scaled;

/* For plan: finds the targeted sites and sets touched groups; the method then sets shares_a, a_stride and places. Errors: adapter_check_modules. */
int scaled_plan(adapter *a, int rank, scaled *s);

/* For plan, after places are set: what is kept from forward to backward, and scratch. The gradient's places are theta's: factor_count = theta_count. */
void scaled_plan_widths(adapter *a, const scaled *s);

/* The method table's functions: forward and backward (with dropout on the branch's input), and merge: W += diag(outer) B diag(inner) A. */
int scaled_method_forward(const adapter *a, method_workspace *w, int group, int n, const real *x, real *const y[], int y_stride);
int scaled_method_backward(const adapter *a, method_workspace *w, int group, int n, const real *x, real *const dy[], int y_stride, real *dx);
int scaled_method_merge(const adapter *a, int site, real *weight, real *bias);

#endif
