/* What sits on the encoder: classification and regression heads (pooling, then linear or dense-tanh-linear), and BERT's masked-language-model head. */
#include <math.h>
#include <string.h>

#include "linalg/linalg.h"
#include "model/internal.h"

/* ---- pooling ---- */

/* Where the head reads first tokens alone, hidden and dhidden have only these. */
static void pool(const model *m, const batch *b, const real *hidden, real *pooled) {
  int d = m->shape.width;
  if (reads_first_only(m)) {
    memcpy(pooled, hidden, (size_t)b->sequences * (size_t)d * sizeof(real));
    return;
  }
  for (int s = 0; s < b->sequences; s++) {
    int first = b->first[s], length = b->first[s + 1] - first;
    real *row = pooled + (int64_t)s * d;
    memcpy(row, hidden + (int64_t)first * d, (size_t)d * sizeof(real));
    for (int i = 1; i < length; i++) linalg_add(d, hidden + (int64_t)(first + i) * d, row);
    for (int j = 0; j < d; j++) row[j] /= (real)length;
  }
}

static void pool_backward(const model *m, const batch *b, const real *dpooled, real *dhidden) {
  int d = m->shape.width;
  if (reads_first_only(m)) {
    memcpy(dhidden, dpooled, (size_t)b->sequences * (size_t)d * sizeof(real));
    return;
  }
  for (int s = 0; s < b->sequences; s++) {
    int first = b->first[s], length = b->first[s + 1] - first;
    const real *row = dpooled + (int64_t)s * d;
    for (int i = 0; i < length; i++) {
      real *out = dhidden + (int64_t)(first + i) * d;
#pragma omp simd
      for (int j = 0; j < d; j++) out[j] = row[j] / (real)length;
    }
  }
}

/* ---- losses: sums over rows, and the gradient for the logits (NULL: not wanted) ---- */

/* dlogits may be logits. */
static double cross_entropy(int w, const real *logits, int target, real *dlogits) {
  real largest = logits[0];
  double sum = 0;
  for (int j = 1; j < w; j++) largest = logits[j] > largest ? logits[j] : largest;
  for (int j = 0; j < w; j++) sum += exp((double)(logits[j] - largest));
  double loss = log(sum) - (double)(logits[target] - largest);
  if (dlogits) {
    for (int j = 0; j < w; j++) dlogits[j] = (real)(exp((double)(logits[j] - largest)) / sum);
    dlogits[target] -= 1;
  }
  return loss;
}

static double row_loss(const model *m, const real *logits, float label, real *dlogits) {
  if (m->options.objective == MODEL_REGRESS) {
    double miss = (double)logits[0] - (double)label;
    if (dlogits) dlogits[0] = (real)(2 * miss);
    return miss * miss;
  }
  return cross_entropy(m->options.classes, logits, (int)label, dlogits);
}

/* ---- sentence heads ---- */

static void head_keys(model_workspace *w, const batch *b, int d, int place) {
  for (int s = 0; s < b->sequences; s++) {
    w->first_stream[s] = b->stream[b->first[s]];
    w->first_position[s] = (uint64_t)place * (uint64_t)d;
  }
}

/* y = x, dropped out while training. `place` tells the head's masks apart. */
static void head_drop(const model *m, model_workspace *w, const batch *b, int place, const real *x, real *y) {
  int d = m->shape.width, n = b->sequences;
  if (w->method.training && m->options.dropout_head > 0) {
    head_keys(w, b, d, place);
    const linalg_mask mask = {m->options.dropout_head, random_key_make(m->options.seed, RANDOM_DROP_HEAD, 0), w->first_stream, w->first_position};
    linalg_dropout(n, d, &mask, x, d, y, d, 0);
  } else if (x != y) {
    memcpy(y, x, (size_t)n * (size_t)d * sizeof(real));
  }
}

/* Gradients of y = x W^T + b: weights and bias +=. */
static void linear_gradient(const model *m, int n, int weight, int bias, const real *x, const real *dy, real *grad) {
  const param *p = &m->params[weight];
  linalg_product_tn(p->rows, p->cols, n, 1, dy, p->rows, x, p->cols, 1, param_gradient(m, weight, grad), p->cols);
  linalg_column_sum(n, p->rows, dy, p->rows, param_gradient(m, bias, grad));
}

/* dx = the gradient for its input. */
static void linear_backward(const model *m, int n, int weight, const real *dy, real *dx) {
  const param *p = &m->params[weight];
  linalg_product_nn(n, p->cols, p->rows, 1, dy, p->rows, m->value[weight], p->cols, 0, dx, p->cols);
}

static void linear_forward(const model *m, int n, int weight, int bias, const real *x, real *y) {
  const param *p = &m->params[weight];
  linalg_set_rows(n, p->rows, m->value[bias], y, p->rows);
  linalg_product_nt(n, p->rows, p->cols, 1, x, p->cols, m->value[weight], p->cols, 1, y, p->rows);
}

/* What the gradient of n sentences is made of, all [n][width] but dlogits [n][classes]. The last two are there with a dense layer only. */
typedef struct head_parts {
  const real *input, *dlogits; /* of the last linear map, behind dropout */
  const real *pooled, *ddense; /* of the dense one */
} head_parts;

static int is_deep(const model *m) { return m->options.head == MODEL_HEAD_TANH; }

static void add_gradient(const model *m, int n, const head_parts *p, real *grad) {
  linear_gradient(m, n, m->out_weight, m->out_bias, p->input, p->dlogits, grad);
  if (is_deep(m)) linear_gradient(m, n, m->dense_weight, m->dense_bias, p->pooled, p->ddense, grad);
}

int64_t model_head_row(const model *m) {
  if (m->options.objective == MODEL_MLM) return 0;
  return m->options.classes + (int64_t)m->shape.width * (is_deep(m) ? 3 : 1);
}

/* The parts lie behind each other as they do in a workspace, so that the products are the same ones, to the distance between rows. */
static void keep_rows(const model *m, int n, const head_parts *p, real *rows) {
  size_t wide = (size_t)n * (size_t)m->shape.width;
  memcpy(rows, p->input, wide * sizeof *rows);
  if (is_deep(m)) {
    memcpy(rows + wide, p->pooled, wide * sizeof *rows);
    memcpy(rows + 2 * wide, p->ddense, wide * sizeof *rows);
  }
  memcpy(rows + wide * (is_deep(m) ? 3 : 1), p->dlogits, (size_t)n * (size_t)m->options.classes * sizeof *rows);
}

void model_head_gradient(const model *m, int n, const real *rows, real *grad) {
  int64_t wide = (int64_t)n * m->shape.width;
  head_parts p = {.input = rows, .pooled = rows + wide, .ddense = rows + 2 * wide, .dlogits = rows + wide * (is_deep(m) ? 3 : 1)};
  if (n > 0) add_gradient(m, n, &p, grad);
}

static int sentence_head(const model *m, model_workspace *w, const batch *b, real *outputs, model_sums *sums, real *rows, real *grad) {
  int d = m->shape.width, n = b->sequences, classes = m->options.classes, deep = is_deep(m);
  real *logits = outputs ? outputs : w->logits;
  pool(m, b, w->hidden[m->shape.layers], w->pooled);
  head_drop(m, w, b, 0, w->pooled, w->pooled_input);
  head_parts parts = {.input = deep ? w->dense_input : w->pooled_input, .dlogits = w->dlogits, .pooled = w->pooled_input, .ddense = w->ddense};
  if (deep) {
    linear_forward(m, n, m->dense_weight, m->dense_bias, w->pooled_input, w->dense);
    linalg_tanh((int64_t)n * d, w->dense, w->dense);
    head_drop(m, w, b, 1, w->dense, w->dense_input);
  }
  linear_forward(m, n, m->out_weight, m->out_bias, parts.input, logits);
  for (int s = 0; s < n; s++) sums->loss += row_loss(m, logits + (int64_t)s * classes, b->label[s], grad ? w->dlogits + (int64_t)s * classes : NULL);
  sums->count += n;
  if (!grad) return 0;

  int below = m->lowest < level_of(m->shape.layers, 0);
  if (deep) {
    linear_backward(m, n, m->out_weight, w->dlogits, w->ddense);
    head_drop(m, w, b, 1, w->ddense, w->ddense);
    for (int64_t i = 0; i < (int64_t)n * d; i++) w->ddense[i] *= 1 - w->dense[i] * w->dense[i];
  }
  if (rows) keep_rows(m, n, &parts, rows);
  else add_gradient(m, n, &parts, grad);
  if (!below) return 0;
  linear_backward(m, n, deep ? m->dense_weight : m->out_weight, deep ? w->ddense : w->dlogits, w->dpooled);
  head_drop(m, w, b, 0, w->dpooled, w->dpooled);
  pool_backward(m, b, w->dpooled, w->dhidden);
  return 0;
}

/* ---- masked language modelling ---- */

static int mlm_head(const model *m, model_workspace *w, const batch *b, model_sums *sums, real *grad) {
  int d = m->shape.width, n = b->masked, vocabulary = m->shape.vocabulary, below = m->lowest < level_of(m->shape.layers, 0);
  const real *hidden = w->hidden[m->shape.layers];
  sums->count += n;
  if (grad && below) linalg_set_rows(b->tokens, d, NULL, w->dhidden, d);
  if (n == 0) return 0;
  for (int i = 0; i < n; i++) memcpy(w->mlm_rows + (int64_t)i * d, hidden + (int64_t)b->masked_row[i] * d, (size_t)d * sizeof(real));
  linear_forward(m, n, m->mlm_weight, m->mlm_bias, w->mlm_rows, w->mlm_u);
  linalg_gelu((int64_t)n * d, w->mlm_u, w->mlm_act, w->mlm_slope);
  linalg_norm_forward(n, d, w->mlm_act, m->value[m->mlm_gain], m->value[m->mlm_shift], m->shape.norm_epsilon, w->mlm_hat, w->mlm_deviation, w->mlm_normal);
  linalg_set_rows(n, vocabulary, m->value[m->mlm_output_bias], w->logits, vocabulary);
  linalg_product_nt(n, vocabulary, d, 1, w->mlm_normal, d, m->value[m->words], d, 1, w->logits, vocabulary);
  for (int i = 0; i < n; i++) {
    real *row = w->logits + (int64_t)i * vocabulary;
    sums->loss += cross_entropy(vocabulary, row, b->masked_token[i], grad ? row : NULL); /* in place */
  }
  if (!grad) return 0;

  real *words = param_gradient(m, m->words, grad), *dnormal = w->mlm_u;
  linalg_column_sum(n, vocabulary, w->logits, vocabulary, param_gradient(m, m->mlm_output_bias, grad));
  if (words) linalg_product_tn(vocabulary, d, n, 1, w->logits, vocabulary, w->mlm_normal, d, 1, words, d);
  linalg_product_nn(n, d, vocabulary, 1, w->logits, vocabulary, m->value[m->words], d, 0, dnormal, d);
  linalg_norm_backward(n, d, dnormal, m->value[m->mlm_gain], w->mlm_hat, w->mlm_deviation, dnormal, param_gradient(m, m->mlm_gain, grad),
                       param_gradient(m, m->mlm_shift, grad));
  linalg_multiply((int64_t)n * d, w->mlm_slope, dnormal);
  linear_gradient(m, n, m->mlm_weight, m->mlm_bias, w->mlm_rows, dnormal, grad);
  if (!below) return 0;
  linear_backward(m, n, m->mlm_weight, dnormal, w->mlm_act);
  for (int i = 0; i < n; i++) linalg_add(d, w->mlm_act + (int64_t)i * d, w->dhidden + (int64_t)b->masked_row[i] * d);
  return 0;
}

int head_apply(const model *m, model_workspace *w, const batch *b, real *outputs, model_sums *sums, real *rows, real *grad) {
  sums->tokens += b->tokens;
  return m->options.objective == MODEL_MLM ? mlm_head(m, w, b, sums, grad) : sentence_head(m, w, b, outputs, sums, rows, grad);
}
