/* Embeddings and layers, forward and backward.
 *
 * A layer (norms behind the sub-layers):  a = attention(x);  m = norm1(x + drop(o(a)));  y = norm2(m + drop(down(gelu(up(m))))).
 * Each linear map is a group of sites: the adapter sees its input and edits its output. Frozen maps get no weight gradient, and backward stops at the lowest
 * place that anything trained hangs on.
 */
#include <string.h>

#include "base/error.h"
#include "linalg/linalg.h"
#include "model/internal.h"

/* The dropout of rows for a purpose and layer; it lives until the next one is made. */
static linalg_mask mask_rows(const model *m, model_workspace *w, const batch *b, random_purpose purpose, int layer, double p) {
  for (int i = 0; i < b->tokens; i++) w->element[i] = b->position[i] * (uint64_t)m->shape.width;
  return (linalg_mask){p, random_key_make(m->options.seed, purpose, (uint64_t)layer), b->stream, w->element};
}

/* Outputs of a group's sites inside rows of a common stride. */
static void site_columns(const model *m, int group, real *y, real *columns[GROUP_MAX_SITES]) {
  const site_group *g = &m->groups[group];
  for (int i = 0; i < g->site_count; i++) columns[i] = y + m->sites[g->site[i]].column;
}

static linalg_weight weight_of(const model *m, int layer, int stage, int weight) {
  const frozen_map *f = &m->frozen[layer * STAGES + stage];
  return (linalg_weight){.plain = m->value[weight],
                         .forward = f->forward_offset < 0 ? NULL : m->store + f->forward_offset,
                         .backward = f->backward_offset < 0 ? NULL : m->store + f->backward_offset};
}

/* Whether a map's operand, x or (is_backward) dy, is wanted by its product with the frozen weight alone. */
static int serves_product_alone(const model *m, int layer, int stage, int weight, int bias, int is_backward) {
  return !m->adapter->touched[layer * STAGES + stage] && m->params[weight].theta_offset < 0 && !(is_backward && m->params[bias].theta_offset >= 0);
}

int gelu_is_narrow(const model *m, int layer) {
  const layer_params *p = &m->layers[layer];
  return m->options.precision == LINALG_BF16 && serves_product_alone(m, layer, STAGE_DOWN, p->down_weight, p->down_bias, 0) &&
         serves_product_alone(m, layer, STAGE_UP, p->up_weight, p->up_bias, 1) && m->frozen[layer * STAGES + STAGE_UP].backward_offset >= 0;
}

/* Where the input of a layer's second map goes in bfloat16; NULL: into `activated`. */
static uint16_t *down_operand(const model *m, model_workspace *w, int layer, int keeps) {
  const layer_params *p = &m->layers[layer];
  if ((keeps && !w->layers[layer].narrow_slope) || !serves_product_alone(m, layer, STAGE_DOWN, p->down_weight, p->down_bias, 0)) return NULL;
  const linalg_weight laid_out = weight_of(m, layer, STAGE_DOWN, p->down_weight);
  return linalg_map_operand(m->maps[STAGE_DOWN], w->desk, &laid_out, 0);
}

/* Where the gradient of a layer's first map's output does; NULL: it stays in floats. */
static uint16_t *up_operand(const model *m, model_workspace *w, int layer) {
  const linalg_weight laid_out = weight_of(m, layer, STAGE_UP, m->layers[layer].up_weight);
  return w->layers[layer].narrow_slope ? linalg_map_operand(m->maps[STAGE_UP], w->desk, &laid_out, 1) : NULL;
}

static double map_flop(const param *weight, int n) { return 2.0 * n * weight->rows * weight->cols; }

/* y = x W^T + b, then the adapter's part. x NULL: it was put into down_operand. */
static int map_forward(const model *m, model_workspace *w, int layer, int stage, int n, int weight, int bias, const real *x, real *y) {
  const param *p = &m->params[weight];
  const linalg_weight laid_out = weight_of(m, layer, stage, weight);
  int group = layer * STAGES + stage;
  TRY(linalg_map_forward(m->maps[stage], w->desk, &laid_out, m->value[bias], n, x, y));
  profile_mark(w, stage_part(stage), 0, map_flop(p, n));
  if (!m->adapter->touched[group]) return ERROR_NONE;
  real *columns[GROUP_MAX_SITES];
  double began = clock_wall_s();
  site_columns(m, group, y, columns);
  TRY(m->adapter->method->forward(m->adapter, &w->method, group, n, x, columns, p->rows));
  w->times.adapter_s += clock_wall_s() - began;
  profile_mark(w, stage_part(stage) + 1, 0, 0);
  return ERROR_NONE;
}

static void tell(const model_progress *progress, int64_t ready) {
  if (progress) progress->tell(progress->context, ready);
}

/* theta is complete up to behind this parameter, if it is trained; else there is nothing new. */
static void tell_done(const model *m, const model_progress *progress, int index) {
  const param *p = &m->params[index];
  tell(progress, p->theta_offset < 0 ? 0 : p->theta_offset + (int64_t)p->rows * p->cols);
}

/* Gradients of a map from dy (which the adapter may edit; NULL: it was put into up_operand). dx: NULL if nothing below wants it; add: dx += instead of dx =. */
static int map_backward(const model *m, model_workspace *w, int layer, int stage, int n, int weight, int bias, const real *x, real *dy, real *dx, int add,
                        real *grad, const model_progress *progress) {
  const param *p = &m->params[weight];
  int group = layer * STAGES + stage;
  if (m->adapter->touched[group]) {
    real *columns[GROUP_MAX_SITES];
    double began = clock_wall_s();
    site_columns(m, group, dy, columns);
    if (dx && !add && m->adapter->adds_input[group]) {
      memset(dx, 0, (size_t)n * (size_t)p->cols * sizeof(real));
      add = 1;
    }
    TRY(m->adapter->method->backward(m->adapter, &w->method, group, n, x, columns, p->rows, dx));
    w->times.adapter_s += clock_wall_s() - began;
    profile_mark(w, stage_part(stage) + 1, 1, 0);
  }
  real *dweight = param_gradient(m, weight, grad), *dbias = param_gradient(m, bias, grad);
  if (dweight) linalg_product_tn(p->rows, p->cols, n, 1, dy, p->rows, x, p->cols, 1, dweight, p->cols);
  if (dbias) linalg_column_sum(n, p->rows, dy, p->rows, dbias);
  tell_done(m, progress, bias);
  if (dx) {
    const linalg_weight laid_out = weight_of(m, layer, stage, weight);
    TRY(linalg_map_backward(m->maps[stage], w->desk, &laid_out, n, dy, add, dx));
  }
  profile_mark(w, stage_part(stage), 1, ((dx != NULL) + (dweight != NULL)) * map_flop(p, n));
  return ERROR_NONE;
}

/* The same forward and, for the gradient, backward. */
static void drop_embedding(const model *m, model_workspace *w, const batch *b, real *x) {
  if (m->options.dropout_embedding <= 0) return;
  const linalg_mask mask = mask_rows(m, w, b, RANDOM_DROP_EMBEDDING, 0, m->options.dropout_embedding);
  linalg_dropout(b->tokens, m->shape.width, &mask, x, m->shape.width, x, m->shape.width, 0);
}

static void embed(const model *m, model_workspace *w, const batch *b, real *x) {
  int d = m->shape.width, offset = m->shape.family->position_offset, several = m->shape.types > 1;
  for (int i = 0; i < b->tokens; i++) {
    const real *word = m->value[m->words] + row_of_word(m, b->token[i]) * d, *place = m->value[m->positions] + (int64_t)(b->position[i] + (uint64_t)offset) * d;
    const real *type = m->value[m->types] + (int64_t)(several ? b->type[i] : 0) * d;
    real *row = x + (int64_t)i * d;
#pragma omp simd
    for (int j = 0; j < d; j++) row[j] = word[j] + place[j] + type[j];
  }
  linalg_norm_forward(b->tokens, d, x, m->value[m->embedding_gain], m->value[m->embedding_shift], m->shape.norm_epsilon,
                      w->method.training && m->lowest == 0 ? w->embedding_hat : NULL, w->embedding_deviation, x);
  if (w->method.training) drop_embedding(m, w, b, x);
}

/* Dropout of a layer's branches, place 2 l behind attention and 2 l + 1 behind the second map; NULL: none now. */
static const linalg_mask *mask_branch(const model *m, model_workspace *w, const batch *b, int place, linalg_mask *mask) {
  if (!w->method.training || m->options.dropout_hidden <= 0) return NULL;
  *mask = mask_rows(m, w, b, RANDOM_DROP_HIDDEN, place, m->options.dropout_hidden);
  return mask;
}

/* branch = norm(residual + dropout(branch)). hat: NULL where no gradient will be asked for. */
static void join_forward(const model *m, model_workspace *w, const batch *b, int place, int gain, int shift, const real *residual, real *branch, real *hat,
                         real *deviation) {
  linalg_mask room;
  const linalg_mask *mask = mask_branch(m, w, b, place, &room);
  linalg_join_norm_forward(b->tokens, m->shape.width, mask, residual, branch, m->value[gain], m->value[shift], m->shape.norm_epsilon, hat, deviation, branch);
  profile_mark(w, PART_JOIN, 0, 0);
}

/* The way back: dsum, the gradient behind the norm, becomes that of the residual stream. Returns the gradient of the branch, which `stage` of layer l made:
 * dsum itself, unless it is dropped out or the adapter will edit it. */
static real *join_backward(const model *m, model_workspace *w, const batch *b, int l, int stage, int place, int gain, int shift, const real *hat,
                           const real *deviation, real *dsum, real *grad) {
  linalg_mask room;
  const linalg_mask *mask = mask_branch(m, w, b, place, &room);
  real *dbranch = mask || m->adapter->touched[l * STAGES + stage] ? w->dbranch : NULL;
  linalg_join_norm_backward(b->tokens, m->shape.width, mask, dsum, m->value[gain], hat, deviation, dsum, dbranch, param_gradient(m, gain, grad),
                            param_gradient(m, shift, grad));
  profile_mark(w, PART_JOIN, 1, 0);
  return dbranch ? dbranch : dsum;
}

/* Of the scores and of the context, with the queries that there are. */
static double attention_flop(const model *m, const batch *all, const batch *queries) {
  double pairs = 0;
  for (int s = 0; s < all->sequences; s++) pairs += (double)(all->first[s + 1] - all->first[s]) * (queries->first[s + 1] - queries->first[s]);
  return 4 * pairs * m->shape.width;
}

/* picked [sequences][width] = the first row of each sequence. */
static void pick_rows(const model *m, const batch *b, const real *x, real *picked) {
  int d = m->shape.width;
  for (int s = 0; s < b->sequences; s++) memcpy(picked + (int64_t)s * d, x + (int64_t)b->first[s] * d, (size_t)d * sizeof(real));
}

/* The way back, in place: row s becomes the first of sequence s, and all others 0. */
static void spread_rows(const model *m, const batch *b, real *x) {
  int d = m->shape.width;
  for (int s = b->sequences - 1; s >= 0; s--) { /* no row moves up, so the last goes first */
    real *first = x + (int64_t)b->first[s] * d;
    memmove(first, x + (int64_t)s * d, (size_t)d * sizeof(real));
    linalg_set_rows(b->first[s + 1] - b->first[s] - 1, d, NULL, first + d, d);
  }
}

static void use_keys(model_workspace *w, const batch *b) { w->method.keys = (row_keys){b->stream, b->position}; }

/* The rows on which a layer works behind its keys and values: all, or in the last one those that the head reads. */
static const batch *rows_behind(const model *m, model_workspace *w, const batch *b, int layer) {
  if (layer + 1 < m->shape.layers || !reads_first_only(m)) return b;
  for (int s = 0; s < b->sequences; s++) w->read_stream[s] = b->stream[b->first[s]];
  w->read =
      (batch){.sequences = b->sequences, .tokens = b->sequences, .longest = 1, .first = w->read_first, .stream = w->read_stream, .position = w->read_position};
  return &w->read;
}

static int layer_forward(const model *m, model_workspace *w, const batch *all, int l) {
  const layer_params *p = &m->layers[l];
  layer_memory *k = &w->layers[l];
  const batch *b = rows_behind(m, w, all, l);
  const real *residual = w->hidden[l];
  int n = b->tokens, keeps = w->method.training && level_of(l, STAGE_DOWN) >= m->lowest;
  use_keys(w, all);
  TRY(map_forward(m, w, l, STAGE_QKV, all->tokens, p->qkv_weight, p->qkv_bias, w->hidden[l], k->qkv));
  attention_forward(m, w, all, b, l, k->qkv, k->share, k->context);
  if (b != all) {
    pick_rows(m, all, w->hidden[l], w->read_residual);
    residual = w->read_residual;
    use_keys(w, b);
  }
  profile_mark(w, PART_ATTENTION, 0, attention_flop(m, all, b));
  TRY(map_forward(m, w, l, STAGE_O, n, p->o_weight, p->o_bias, k->context, k->middle));
  join_forward(m, w, b, 2 * l, p->norm1_gain, p->norm1_shift, residual, k->middle, keeps ? k->hat1 : NULL, k->deviation1);
  TRY(map_forward(m, w, l, STAGE_UP, n, p->up_weight, p->up_bias, k->middle, k->slope));
  uint16_t *operand = down_operand(m, w, l, keeps);
  if (operand) linalg_gelu_to_bf16((int64_t)n * m->shape.ffn, k->slope, operand, keeps ? k->narrow_slope : NULL);
  else linalg_gelu((int64_t)n * m->shape.ffn, k->slope, k->activated, keeps ? k->slope : NULL);
  profile_mark(w, PART_GELU, 0, 0);
  real *out = w->hidden[l + 1];
  TRY(map_forward(m, w, l, STAGE_DOWN, n, p->down_weight, p->down_bias, operand ? NULL : k->activated, out));
  join_forward(m, w, b, 2 * l + 1, p->norm2_gain, p->norm2_shift, k->middle, out, keeps ? k->hat2 : NULL, k->deviation2);
  return ERROR_NONE;
}

int encoder_forward(const model *m, model_workspace *w, const batch *b) {
  embed(m, w, b, w->hidden[0]);
  profile_mark(w, PART_EMBEDDING, 0, 0);
  for (int l = 0; l < m->shape.layers; l++) TRY(layer_forward(m, w, b, l));
  return ERROR_NONE;
}

/* w->dhidden: gradient for the layer's output on entry, for its input on return (if anything below wants it); on the way that of the residual stream. */
static int layer_backward(const model *m, model_workspace *w, const batch *all, int l, real *grad, const model_progress *progress) {
  const layer_params *p = &m->layers[l];
  layer_memory *k = &w->layers[l];
  const batch *b = rows_behind(m, w, all, l);
  int n = b->tokens;
  use_keys(w, b);
  real *dsum = w->dhidden, *dbranch;
  dbranch = join_backward(m, w, b, l, STAGE_DOWN, 2 * l + 1, p->norm2_gain, p->norm2_shift, k->hat2, k->deviation2, dsum, grad);
  int more = m->lowest < level_of(l, STAGE_DOWN);
  TRY(map_backward(m, w, l, STAGE_DOWN, n, p->down_weight, p->down_bias, k->activated, dbranch, more ? w->dwide : NULL, 0, grad, progress));
  tell(progress, 0);
  if (!more) return ERROR_NONE;

  more = m->lowest < level_of(l, STAGE_UP);
  uint16_t *operand = more ? up_operand(m, w, l) : NULL;
  if (operand) linalg_multiply_to_bf16((int64_t)n * m->shape.ffn, k->narrow_slope, w->dwide, operand);
  else linalg_multiply((int64_t)n * m->shape.ffn, k->slope, w->dwide);
  profile_mark(w, PART_GELU, 1, 0);
  TRY(map_backward(m, w, l, STAGE_UP, n, p->up_weight, p->up_bias, k->middle, operand ? NULL : w->dwide, more ? dsum : NULL, 1, grad, progress));
  tell(progress, 0);
  if (!more) return ERROR_NONE;

  dbranch = join_backward(m, w, b, l, STAGE_O, 2 * l, p->norm1_gain, p->norm1_shift, k->hat1, k->deviation1, dsum, grad);
  more = m->lowest < level_of(l, STAGE_O);
  TRY(map_backward(m, w, l, STAGE_O, n, p->o_weight, p->o_bias, k->context, dbranch, more ? w->dcontext : NULL, 0, grad, progress));
  tell(progress, 0);
  if (!more) return ERROR_NONE;

  attention_backward(m, w, all, b, l, k->qkv, k->share, w->dcontext, w->dqkv);
  if (b != all) {
    spread_rows(m, all, dsum);
    use_keys(w, all);
  }
  profile_mark(w, PART_ATTENTION, 1, 2 * attention_flop(m, all, b));
  tell(progress, 0);
  more = m->lowest < level_of(l, STAGE_QKV);
  TRY(map_backward(m, w, l, STAGE_QKV, all->tokens, p->qkv_weight, p->qkv_bias, w->hidden[l], w->dqkv, more ? dsum : NULL, 1, grad, progress));
  tell(progress, 0);
  return ERROR_NONE;
}

static void embed_backward(const model *m, model_workspace *w, const batch *b, real *grad) {
  int d = m->shape.width, offset = m->shape.family->position_offset, several = m->shape.types > 1;
  real *dx = w->dhidden, *words = param_gradient(m, m->words, grad), *places = param_gradient(m, m->positions, grad),
       *types = param_gradient(m, m->types, grad);
  drop_embedding(m, w, b, dx);
  linalg_norm_backward(b->tokens, d, dx, m->value[m->embedding_gain], w->embedding_hat, w->embedding_deviation, dx, param_gradient(m, m->embedding_gain, grad),
                       param_gradient(m, m->embedding_shift, grad));
  for (int i = 0; i < b->tokens; i++) {
    const real *row = dx + (int64_t)i * d;
    if (words) linalg_add(d, row, words + (int64_t)b->token[i] * d);
    if (places) linalg_add(d, row, places + (int64_t)(b->position[i] + (uint64_t)offset) * d);
    if (types) linalg_add(d, row, types + (int64_t)(several ? b->type[i] : 0) * d);
  }
}

int encoder_backward(const model *m, model_workspace *w, const batch *b, real *grad, const model_progress *progress) {
  for (int l = m->shape.layers - 1; l >= 0; l--) {
    if (m->lowest > level_of(l, STAGE_DOWN)) break;
    TRY(layer_backward(m, w, b, l, grad, progress));
  }
  if (m->lowest == 0) {
    embed_backward(m, w, b, grad);
    profile_mark(w, PART_EMBEDDING, 1, 0);
  }
  tell(progress, m->adapter_offset);
  return ERROR_NONE;
}
