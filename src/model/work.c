/* A thread's memory, and the calls that do a shard's work. */
#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "model/internal.h"

static int take(model_workspace *w, int64_t count, real **result) { return arena_take(w->memory, (size_t)count, sizeof(real), result); }

/* Whether a stage's input outlives its layer: for its own weight gradient or an adapter there. */
static int wants_input(const model *m, int layer, int stage) {
  return m->params[stage_weight(m, layer, stage)].theta_offset >= 0 || m->adapter->keeps_input[layer * STAGES + stage];
}

/* The input of a layer's stage: that of `first` (NULL: there is none before it), where neither layer's outlives it, so that one serves all layers and stays in
 * the cache. */
static int take_input(const model *m, model_workspace *w, int layer, int stage, int64_t width, real *first, real **result) {
  *result = first;
  return first && !wants_input(m, layer, stage) && !wants_input(m, w->first_kept, stage) ? ERROR_NONE : take(w, w->rows * width, result);
}

static int take_layer(const model *m, model_workspace *w, int layer) {
  int64_t t = w->rows, d = m->shape.width;
  layer_memory *k = &w->layers[layer];
  const layer_memory first = layer > w->first_kept ? w->layers[w->first_kept] : (layer_memory){0};
  TRY(take(w, t * 3 * d, &k->qkv));
  TRY(take(w, w->squares * m->shape.heads, &k->share));
  TRY(take_input(m, w, layer, STAGE_O, d, first.context, &k->context));
  TRY(take_input(m, w, layer, STAGE_UP, d, first.middle, &k->middle));
  TRY(take_input(m, w, layer, STAGE_DOWN, m->shape.ffn, first.activated, &k->activated));
  TRY(take(w, t, &k->deviation1));
  TRY(take(w, t, &k->deviation2));
  if (w->training && gelu_is_narrow(m, layer)) {
    TRY(arena_take(w->memory, (size_t)(t * m->shape.ffn), sizeof *k->narrow_slope, &k->narrow_slope));
    k->slope = w->dwide; /* its own time is backward */
  } else TRY(take(w, t * m->shape.ffn, &k->slope));
  if (layer < w->first_kept) return ERROR_NONE;
  TRY(take(w, t * d, &k->hat1));
  return take(w, t * d, &k->hat2);
}

/* Layers below the lowest trained place (all of them, when only predicting) share the buffers of one. */
static int take_layers(const model *m, model_workspace *w) {
  int layers = m->shape.layers;
  w->layer_count = layers;
  int64_t hidden = w->rows * m->shape.width;
  TRY(arena_take(w->memory, (size_t)layers, sizeof *w->layers, &w->layers));
  TRY(arena_take(w->memory, (size_t)layers + 1, sizeof *w->hidden, &w->hidden));
  w->first_kept = layers;
  if (w->training)
    while (w->first_kept > 0 && level_of(w->first_kept - 1, STAGE_DOWN) >= m->lowest) w->first_kept--;
  TRY(take(w, hidden, &w->hidden[0]));
  for (int l = 0; l < layers; l++) {
    int keeps = l >= w->first_kept;
    if (l > 0 && !keeps) w->layers[l] = w->layers[0];
    else TRY(take_layer(m, w, l));
    if (keeps) TRY(take(w, hidden, &w->hidden[l + 1]));
    else w->hidden[l + 1] = w->hidden[0]; /* a layer's input is dead once its first norm is done */
  }
  return ERROR_NONE;
}

static int take_backward(const model *m, model_workspace *w) {
  int64_t t = w->rows, d = m->shape.width;
  TRY(take(w, t * d, &w->dhidden));
  TRY(take(w, t * d, &w->dcontext));
  TRY(take(w, t * m->shape.ffn, &w->dwide));
  TRY(take(w, t * 3 * d, &w->dqkv));
  TRY(take(w, t * d, &w->dbranch));
  TRY(take(w, t * d, &w->embedding_hat));
  return ERROR_NONE;
}

static int take_method(const model *m, model_workspace *w) {
  const adapter *a = m->adapter;
  TRY(take(w, a->factor_count, &w->method.factor_gradient));
  TRY(take(w, w->rows * a->scratch_width + a->scratch_fixed, &w->method.scratch));
  TRY(arena_take(w->memory, (size_t)w->rows, sizeof *w->method.element, &w->method.element));
  TRY(arena_take(w->memory, (size_t)a->group_count, sizeof *w->method.saved, &w->method.saved));
  for (int g = 0; g < a->group_count; g++)
    if (w->training && a->touched[g]) TRY(take(w, w->rows * a->saved_width[g], &w->method.saved[g]));
  return ERROR_NONE;
}

static int take_head(const model *m, model_workspace *w) {
  int64_t n = w->sequences, d = m->shape.width;
  TRY(arena_take(w->memory, (size_t)n, sizeof *w->first_stream, &w->first_stream));
  TRY(arena_take(w->memory, (size_t)n, sizeof *w->first_position, &w->first_position));
  if (reads_first_only(m)) {
    TRY(arena_take(w->memory, (size_t)n + 1, sizeof *w->read_first, &w->read_first));
    TRY(arena_take(w->memory, (size_t)n, sizeof *w->read_position, &w->read_position));
    TRY(arena_take(w->memory, (size_t)n, sizeof *w->read_stream, &w->read_stream));
    TRY(take(w, n * d, &w->read_residual));
    for (int i = 0; i <= n; i++) w->read_first[i] = i;
  }
  if (m->options.objective == MODEL_MLM) {
    int64_t k = w->masked;
    TRY(take(w, k * m->shape.vocabulary, &w->logits));
    TRY(take(w, k, &w->mlm_deviation));
    real **rows[] = {&w->mlm_rows, &w->mlm_u, &w->mlm_act, &w->mlm_slope, &w->mlm_hat, &w->mlm_normal};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) TRY(take(w, k * d, rows[i]));
    return ERROR_NONE;
  }
  TRY(take(w, n * m->options.classes, &w->logits));
  TRY(take(w, n * m->options.classes, &w->dlogits));
  real **rows[] = {&w->pooled, &w->pooled_input, &w->dense, &w->dense_input, &w->dpooled, &w->ddense};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) TRY(take(w, n * d, rows[i]));
  return ERROR_NONE;
}

static int take_all(const model *m, model_workspace *w) {
  if (w->training) TRY(take_backward(m, w));
  TRY(take_layers(m, w));
  TRY(take(w, w->rows, &w->embedding_deviation));
  int64_t longest = (int64_t)sqrt((double)w->squares); /* no sequence is longer, nor than all of them together */
  if (longest > w->tokens) longest = w->tokens;
  TRY(take(w, linalg_attention_scratch((int)longest, m->shape.width / m->shape.heads), &w->attention_scratch));
  TRY(arena_take(w->memory, (size_t)w->rows, sizeof *w->element, &w->element));
  TRY(take_method(m, w));
  return take_head(m, w);
}

int model_workspace_create(const model *m, int64_t tokens, int64_t sequences, int64_t masked, int64_t squares, int training, model_workspace **result) {
  arena *memory;
  model_workspace *w;
  *result = NULL;
  TRY(arena_create(&memory));
  int code = arena_take(memory, 1, sizeof *w, &w);
  if (!code) {
    int64_t rows = (tokens + LINALG_ROW_BLOCK - 1) / LINALG_ROW_BLOCK * LINALG_ROW_BLOCK;
    *w =
        (model_workspace){.memory = memory, .tokens = tokens, .rows = rows, .sequences = sequences, .masked = masked, .squares = squares, .training = training};
    int widest = 3 * m->shape.width > m->shape.ffn ? 3 * m->shape.width : m->shape.ffn;
    code = take_all(m, w);
    if (!code) code = linalg_desk_create(tokens, widest, m->options.precision, &w->desk);
    w->method.desk = w->desk;
  }
  if (code) arena_destroy(memory);
  else *result = w;
  return code;
}

void model_workspace_destroy(model_workspace *w) {
  if (!w) return;
  linalg_desk_destroy(w->desk);
  arena_destroy(w->memory);
}

int64_t model_workspace_bytes(const model_workspace *w) { return (int64_t)arena_used_bytes(w->memory) + linalg_desk_bytes(w->desk); }

model_times model_workspace_times(model_workspace *w) {
  model_times times = w->times;
  w->times = (model_times){0};
  return times;
}

const char *const model_part_names[MODEL_PARTS] = {"embedding", "q, k, v",   "  adapter", "attention", "attention output", "  adapter", "join and norm",
                                                   "up",        "  adapter", "GELU",      "down",      "  adapter",        "head"};

void model_workspace_profile(model_workspace *w, model_profile *p) { w->profile = p; }

static int fits(const model *m, const model_workspace *w, const batch *b) {
  int64_t squares = 0;
  for (int s = 0; s < b->sequences; s++) {
    int64_t length = b->first[s + 1] - b->first[s];
    squares += length * length;
  }
  if (b->tokens > w->tokens || b->sequences > w->sequences || b->masked > w->masked || squares > w->squares)
    return FAIL(ERROR_INTERNAL, NULL, "a shard of %d tokens in %d sequences is larger than its workspace (%lld tokens)", b->tokens, b->sequences,
                (long long)w->tokens);
  for (int i = 0; m->word_row && i < b->tokens; i++)
    if (m->word_row[b->token[i]] < 0) return FAIL(ERROR_INTERNAL, NULL, "the embedding of word %d was not kept", (int)b->token[i]);
  return ERROR_NONE;
}

int model_gradient_apart(const model *m, model_workspace *w, const batch *b, real *head_rows, real *grad, model_sums *sums, const model_progress *progress) {
  TRY(fits(m, w, b));
  if (head_rows && !model_head_row(m)) return FAIL(ERROR_INTERNAL, NULL, "this head's gradient is no product of rows");
  if (!w->training) return FAIL(ERROR_INTERNAL, NULL, "a workspace for predictions cannot hold a gradient's activations");
  if (b->sequences == 0) {
    if (progress) progress->tell(progress->context, m->adapter_offset);
    return ERROR_NONE;
  }
  double start = clock_wall_s();
  w->method.training = 1;
  if (w->profile) w->profile->marked_s = start;
  TRY(encoder_forward(m, w, b));
  double middle = clock_wall_s();
  TRY(head_apply(m, w, b, NULL, sums, head_rows, grad));
  profile_mark(w, PART_HEAD, 0, 0); /* with its backward */
  TRY(encoder_backward(m, w, b, grad, progress));
  w->times.forward_s += middle - start;
  w->times.backward_s += clock_wall_s() - middle;
  return ERROR_NONE;
}

int model_gradient(const model *m, model_workspace *w, const batch *b, real *grad, model_sums *sums, const model_progress *progress) {
  return model_gradient_apart(m, w, b, NULL, grad, sums, progress);
}

int model_gather(const model *m, model_workspace *w, real *grad) {
  if (!m->adapter->method->gather) return ERROR_NONE;
  double start = clock_wall_s();
  TRY(m->adapter->method->gather(m->adapter, &w->method, grad + m->adapter_offset));
  w->times.gather_s += clock_wall_s() - start;
  return ERROR_NONE;
}

int model_predict(const model *m, model_workspace *w, const batch *b, real *outputs, model_sums *sums) {
  TRY(fits(m, w, b));
  if (b->sequences == 0) return ERROR_NONE;
  double start = clock_wall_s();
  w->method.training = 0;
  TRY(encoder_forward(m, w, b));
  TRY(head_apply(m, w, b, outputs, sums, NULL, NULL));
  w->times.forward_s += clock_wall_s() - start;
  return ERROR_NONE;
}

const real *model_hidden(const model_workspace *w) { return w->hidden[w->layer_count]; }
