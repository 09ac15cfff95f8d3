/* Multi-head self-attention inside each sequence of a packed batch: S = softmax(Q K^T / sqrt(d_h)), C = S V; Q, K, V are columns of one [tokens][3 width]. */
#include <math.h>

#include "linalg/linalg.h"
#include "model/internal.h"

/* queries: the rows that ask, of all those in b. */
static linalg_attention one_head(const model *m, const model_workspace *w, const batch *b, const batch *queries, int layer, int sequence, int head) {
  int d = m->shape.width, width = d / m->shape.heads, first = b->first[sequence];
  linalg_attention a = {.length = b->first[sequence + 1] - first,
                        .width = width,
                        .queries = queries->first[sequence + 1] - queries->first[sequence],
                        .stride = 3 * d,
                        .context_stride = d,
                        .scale = (real)(1 / sqrt((double)width))};
  if (w->method.training && m->options.dropout_attention > 0) {
    a.p = m->options.dropout_attention;
    a.key = random_key_make(m->options.seed, RANDOM_DROP_ATTENTION, (uint64_t)layer * (uint64_t)m->shape.heads + (uint64_t)head);
    a.stream = b->stream[first];
  }
  return a;
}

void attention_forward(const model *m, model_workspace *w, const batch *b, const batch *queries, int layer, const real *qkv, real *share, real *context) {
  int d = m->shape.width;
  for (int s = 0; s < b->sequences; s++)
    for (int h = 0; h < m->shape.heads; h++) {
      const linalg_attention a = one_head(m, w, b, queries, layer, s, h);
      const real *q = qkv + (int64_t)b->first[s] * a.stride + h * a.width;
      linalg_attention_forward(&a, q, q + d, q + 2 * d, share, context + (int64_t)queries->first[s] * d + h * a.width, w->attention_scratch);
      share += (int64_t)a.length * a.queries;
    }
}

void attention_backward(const model *m, model_workspace *w, const batch *b, const batch *queries, int layer, const real *qkv, const real *share,
                        const real *dcontext, real *dqkv) {
  int d = m->shape.width;
  for (int s = 0; s < b->sequences; s++)
    for (int h = 0; h < m->shape.heads; h++) {
      const linalg_attention a = one_head(m, w, b, queries, layer, s, h);
      int64_t place = (int64_t)b->first[s] * a.stride + h * a.width;
      const real *q = qkv + place;
      real *dq = dqkv + place;
      linalg_attention_backward(&a, q, q + d, q + 2 * d, share, dcontext + (int64_t)queries->first[s] * d + h * a.width, dq, dq + d, dq + 2 * d,
                                w->attention_scratch);
      share += (int64_t)a.length * a.queries;
    }
}
