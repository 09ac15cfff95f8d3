/* Multi-head self-attention inside each sequence of a packed batch: S = softmax(Q K^T / sqrt(d_h)), C = S V; Q, K, V are columns of one [tokens][3 width]. */
#include <math.h>

#include "linalg/linalg.h"
#include "model/internal.h"

/* Mask of attention dropout: element (query position, key) of a head; 2^20 keys fit beside each other. */
static void drop_share(const model *m, model_workspace *w, const batch *b, int layer, int head, int sequence, int length, const real *x, real *y) {
  const linalg_mask mask = {m->options.dropout_attention,
                            random_key_make(m->options.seed, RANDOM_DROP_ATTENTION, (uint64_t)layer * (uint64_t)m->shape.heads + (uint64_t)head),
                            b->stream + b->first[sequence], w->element};
  for (int i = 0; i < length; i++) w->element[i] = (uint64_t)i << 20;
  linalg_dropout(length, length, &mask, x, length, y, length, 0);
}

static int drops(const model *m, const model_workspace *w) { return w->method.training && m->options.dropout_attention > 0; }

void attention_forward(const model *m, model_workspace *w, const batch *b, int layer, const real *qkv, real *share, real *context) {
  int d = m->shape.width, heads = m->shape.heads, width = d / heads, stride = 3 * d;
  real scale = (real)(1 / sqrt((double)width));
  for (int s = 0; s < b->sequences; s++) {
    int first = b->first[s], length = b->first[s + 1] - first;
    for (int h = 0; h < heads; h++, share += (int64_t)length * length) {
      const real *q = qkv + (int64_t)first * stride + h * width, *k = q + d, *v = k + d, *used = share;
      linalg_product_nt(length, length, width, scale, q, stride, k, stride, 0, share, length);
      linalg_softmax(length, length, share, length);
      if (drops(m, w)) {
        drop_share(m, w, b, layer, h, s, length, share, w->attention_scratch);
        used = w->attention_scratch;
      }
      linalg_product_nn(length, width, length, 1, used, length, v, stride, 0, context + (int64_t)first * d + h * width, d);
    }
  }
}

void attention_backward(const model *m, model_workspace *w, const batch *b, int layer, const real *qkv, const real *share, const real *dcontext, real *dqkv) {
  int d = m->shape.width, heads = m->shape.heads, width = d / heads, stride = 3 * d;
  real scale = (real)(1 / sqrt((double)width));
  for (int s = 0; s < b->sequences; s++) {
    int first = b->first[s], length = b->first[s + 1] - first;
    for (int h = 0; h < heads; h++, share += (int64_t)length * length) {
      const real *q = qkv + (int64_t)first * stride + h * width, *k = q + d, *v = k + d, *used = share, *dc = dcontext + (int64_t)first * d + h * width;
      real *dq = dqkv + (int64_t)first * stride + h * width, *dk = dq + d, *dv = dk + d, *ds = w->attention_scratch;
      if (drops(m, w)) {
        drop_share(m, w, b, layer, h, s, length, share, ds);
        used = ds;
      }
      linalg_product_tn(length, width, length, 1, used, length, dc, d, 0, dv, stride);
      linalg_product_nt(length, length, width, 1, dc, d, v, stride, 0, ds, length);
      if (drops(m, w)) drop_share(m, w, b, layer, h, s, length, ds, ds);
      for (int i = 0; i < length; i++) { /* softmax: dS = S o (dP - <dP, S>) */
        const real *row = share + (int64_t)i * length;
        real *change = ds + (int64_t)i * length, dot = 0;
#pragma omp simd reduction(+ : dot)
        for (int j = 0; j < length; j++) dot += change[j] * row[j];
#pragma omp simd
        for (int j = 0; j < length; j++) change[j] = row[j] * (change[j] - dot);
      }
      linalg_product_nn(length, width, length, scale, ds, length, k, stride, 0, dq, stride);
      linalg_product_tn(length, width, length, scale, ds, length, q, stride, 0, dk, stride);
    }
  }
}
