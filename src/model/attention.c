/* Multi-head self-attention inside each sequence of a packed batch: S = softmax(Q K^T / sqrt(d_h)), C = S V; Q, K, V are columns of one [tokens][3 width]. */
#include <math.h>

#include "linalg/linalg.h"
#include "model/internal.h"

static linalg_attention one_head(const model *m, const model_workspace *w, const batch *b, int layer, int sequence, int head) {
  int d = m->shape.width, width = d / m->shape.heads, first = b->first[sequence];
  linalg_attention a = {
      .length = b->first[sequence + 1] - first, .width = width, .stride = 3 * d, .context_stride = d, .scale = (real)(1 / sqrt((double)width))};
  if (w->method.training && m->options.dropout_attention > 0) {
    a.p = m->options.dropout_attention;
    a.key = random_key_make(m->options.seed, RANDOM_DROP_ATTENTION, (uint64_t)layer * (uint64_t)m->shape.heads + (uint64_t)head);
    a.stream = b->stream[first];
  }
  return a;
}

/* The first query's row of the mask: the same that all queries together have. */
static void drop_first(const linalg_attention *a, const real *x, real *y) {
  const uint64_t element = 0;
  const linalg_mask mask = {a->p, a->key, &a->stream, &element};
  linalg_dropout(1, a->length, &mask, x, a->length, y, a->length, 0);
}

void attention_forward(const model *m, model_workspace *w, const batch *b, int layer, const real *qkv, real *share, real *context) {
  int d = m->shape.width;
  for (int s = 0; s < b->sequences; s++)
    for (int h = 0; h < m->shape.heads; h++) {
      const linalg_attention a = one_head(m, w, b, layer, s, h);
      const real *q = qkv + (int64_t)b->first[s] * a.stride + h * a.width;
      linalg_attention_forward(&a, q, q + d, q + 2 * d, share, context + (int64_t)b->first[s] * d + h * a.width, w->attention_scratch);
      share += (int64_t)a.length * a.length;
    }
}

void attention_backward(const model *m, model_workspace *w, const batch *b, int layer, const real *qkv, const real *share, const real *dcontext, real *dqkv) {
  int d = m->shape.width;
  for (int s = 0; s < b->sequences; s++)
    for (int h = 0; h < m->shape.heads; h++) {
      const linalg_attention a = one_head(m, w, b, layer, s, h);
      int64_t place = (int64_t)b->first[s] * a.stride + h * a.width;
      const real *q = qkv + place;
      real *dq = dqkv + place;
      linalg_attention_backward(&a, q, q + d, q + 2 * d, share, dcontext + (int64_t)b->first[s] * d + h * a.width, dq, dq + d, dq + 2 * d,
                                w->attention_scratch);
      share += (int64_t)a.length * a.length;
    }
}

/* ---- the first token's query alone ---- */

/* One query asks all keys: a row of scores for each head. */
void attention_first_forward(const model *m, model_workspace *w, const batch *b, int layer, const real *qkv, real *share, real *context) {
  int d = m->shape.width;
  for (int s = 0; s < b->sequences; s++)
    for (int h = 0; h < m->shape.heads; h++) {
      const linalg_attention a = one_head(m, w, b, layer, s, h);
      const real *q = qkv + (int64_t)b->first[s] * a.stride + h * a.width;
      real *used = share;
      linalg_product_nt(1, a.length, a.width, a.scale, q, a.stride, q + d, a.stride, 0, share, a.length);
      linalg_softmax(1, a.length, share, a.length);
      if (a.p > 0) drop_first(&a, share, used = w->attention_scratch);
      linalg_product_nn(1, a.width, a.length, 1, used, a.length, q + 2 * d, a.stride, 0, context + (int64_t)s * d + h * a.width, d);
      share += a.length;
    }
}

void attention_first_backward(const model *m, model_workspace *w, const batch *b, int layer, const real *qkv, const real *share, const real *dcontext,
                              real *dqkv) {
  int d = m->shape.width;
  for (int s = 0; s < b->sequences; s++)
    for (int h = 0; h < m->shape.heads; h++) {
      const linalg_attention a = one_head(m, w, b, layer, s, h);
      int64_t place = (int64_t)b->first[s] * a.stride + h * a.width;
      const real *q = qkv + place, *dc = dcontext + (int64_t)s * d + h * a.width, *used = share;
      real *dq = dqkv + place, *dk = dq + d, *dv = dk + d, *ds = w->attention_scratch, dot = 0;
      if (a.p > 0) drop_first(&a, share, ds), used = ds;
      linalg_product_tn(a.length, a.width, 1, 1, used, a.length, dc, d, 0, dv, a.stride);
      linalg_product_nt(1, a.length, a.width, 1, dc, d, q + 2 * d, a.stride, 0, ds, a.length);
      if (a.p > 0) drop_first(&a, ds, ds);
      for (int j = 0; j < a.length; j++) dot += ds[j] * share[j];
      for (int j = 0; j < a.length; j++) ds[j] = share[j] * (ds[j] - dot); /* softmax: dS = S o (dP - <dP, S>) */
      linalg_set_rows(a.length, a.width, NULL, dq, a.stride);
      linalg_product_nn(1, a.width, a.length, a.scale, ds, a.length, q + d, a.stride, 0, dq, a.stride);
      linalg_product_tn(a.length, a.width, 1, a.scale, ds, a.length, q, a.stride, 0, dk, a.stride);
      share += a.length;
    }
}
