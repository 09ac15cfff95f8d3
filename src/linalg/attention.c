#include "linalg/kernels.h"

int64_t linalg_attention_scratch(int length, int width) { return kernels->attention_scratch(length, width); }

void linalg_attention_forward(const linalg_attention *a, const real *q, const real *k, const real *v, real *share, real *context, real *scratch) {
  kernels->attention_forward(a, q, k, v, share, context, scratch);
}

void linalg_attention_backward(const linalg_attention *a, const real *q, const real *k, const real *v, const real *share, const real *dcontext, real *dq,
                               real *dk, real *dv, real *scratch) {
  kernels->attention_backward(a, q, k, v, share, dcontext, dq, dk, dv, scratch);
}
