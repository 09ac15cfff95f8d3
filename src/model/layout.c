/* Which parameters a model has, which places a method may act on, and how theta is laid out. No float work. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "model/census.h"
#include "model/internal.h"

/* Fills name from a family's pattern (%d: the layer) and a suffix. */
static void write_name(char name[METHOD_NAME_BYTES], const char *pattern, int layer, const char *suffix) {
  char stem[METHOD_NAME_BYTES];
  const char *mark = strstr(pattern, "%d");
  if (mark) snprintf(stem, sizeof stem, "%.*s%d%s", (int)(mark - pattern), pattern, layer, mark + 2);
  else snprintf(stem, sizeof stem, "%s", pattern);
  if (snprintf(name, METHOD_NAME_BYTES, "%.80s%s", stem, suffix) >= METHOD_NAME_BYTES) name[METHOD_NAME_BYTES - 1] = 0;
}

/* Appends a parameter; returns its index. */
static int add_param(model *m, const char *pattern, int layer, const char *suffix, param_kind kind, segment_role role, int rows, int cols, double deviation) {
  param *p = &m->params[m->param_count];
  *p = (param){.kind = kind, .role = role, .rows = rows, .cols = cols, .store_offset = -1, .theta_offset = -1, .deviation = deviation};
  write_name(p->name, pattern, layer, suffix);
  return m->param_count++;
}

static const double start_deviation = 0.02; /* BERT's initializer_range */

static void add_linear(model *m, const char *pattern, int layer, segment_role role, int out, int in, int *weight, int *bias) {
  *weight = add_param(m, pattern, layer, ".weight", PARAM_WEIGHT, role, out, in, start_deviation);
  *bias = add_param(m, pattern, layer, ".bias", PARAM_BIAS, role, 1, out, 0);
}

static void add_norm(model *m, const char *pattern, int layer, segment_role role, int *gain, int *shift) {
  *gain = add_param(m, pattern, layer, ".weight", PARAM_NORM_GAIN, role, 1, m->shape.width, 0);
  *shift = add_param(m, pattern, layer, ".bias", PARAM_NORM_SHIFT, role, 1, m->shape.width, 0);
}

static void add_params(model *m) {
  const model_shape *s = &m->shape;
  const family *f = s->family;
  const tensor_names *names = f->tensors;
  int d = s->width;
  m->words = add_param(m, names->words, 0, ".weight", PARAM_EMBEDDING, SEGMENT_BASE, s->vocabulary, d, start_deviation);
  m->positions = add_param(m, names->positions, 0, ".weight", PARAM_EMBEDDING, SEGMENT_BASE, s->positions, d, start_deviation);
  m->types = add_param(m, names->types, 0, ".weight", PARAM_EMBEDDING, SEGMENT_BASE, s->types, d, start_deviation);
  add_norm(m, names->embedding_norm, 0, SEGMENT_BASE, &m->embedding_gain, &m->embedding_shift);
  for (int l = 0; l < s->layers; l++) {
    layer_params *p = &m->layers[l];
    add_linear(m, "layer.%d.qkv", l, SEGMENT_BASE, 3 * d, d, &p->qkv_weight, &p->qkv_bias);
    add_linear(m, names->attention_out, l, SEGMENT_BASE, d, d, &p->o_weight, &p->o_bias);
    add_norm(m, names->attention_norm, l, SEGMENT_BASE, &p->norm1_gain, &p->norm1_shift);
    add_linear(m, names->up, l, SEGMENT_BASE, s->ffn, d, &p->up_weight, &p->up_bias);
    add_linear(m, names->down, l, SEGMENT_BASE, d, s->ffn, &p->down_weight, &p->down_bias);
    add_norm(m, names->ffn_norm, l, SEGMENT_BASE, &p->norm2_gain, &p->norm2_shift);
  }
  m->dense_weight = m->dense_bias = m->out_weight = m->out_bias = -1;
  m->mlm_weight = m->mlm_bias = m->mlm_gain = m->mlm_shift = m->mlm_output_bias = -1;
  if (m->options.objective == MODEL_MLM) { /* BERT's head: dense, GELU, norm, the word embeddings once more, a bias per word */
    add_linear(m, f->mlm_dense, 0, SEGMENT_HEAD, d, d, &m->mlm_weight, &m->mlm_bias);
    add_norm(m, f->mlm_norm, 0, SEGMENT_HEAD, &m->mlm_gain, &m->mlm_shift);
    m->mlm_output_bias = add_param(m, f->mlm_bias, 0, "", PARAM_BIAS, SEGMENT_HEAD, 1, s->vocabulary, 0);
    return;
  }
  if (m->options.head == MODEL_HEAD_TANH) add_linear(m, "classifier.dense", 0, SEGMENT_HEAD, d, d, &m->dense_weight, &m->dense_bias);
  add_linear(m, "classifier.out_proj", 0, SEGMENT_HEAD, m->options.classes, d, &m->out_weight, &m->out_bias);
}

static void add_segment(model *m, const segment *s) { m->segments[m->segment_count++] = *s; }

static int trains(const model *m, int index) {
  const param *p = &m->params[index];
  if (p->role == SEGMENT_HEAD) return 1;
  return m->adapter->method->trains && m->adapter->method->trains(p->kind);
}

/* The order in which gradients become complete during backward: head first, then from the last layer down to the embeddings. */
static int backward_order(const model *m, int *order) {
  int count = 0;
  const int head[] = {m->mlm_output_bias, m->mlm_gain, m->mlm_shift, m->mlm_weight, m->mlm_bias, m->out_weight, m->out_bias, m->dense_weight, m->dense_bias};
  for (size_t i = 0; i < sizeof head / sizeof *head; i++)
    if (head[i] >= 0) order[count++] = head[i];
  for (int l = m->shape.layers - 1; l >= 0; l--) {
    const layer_params *p = &m->layers[l];
    const int layer[] = {p->norm2_gain, p->norm2_shift, p->down_weight, p->down_bias, p->up_weight,  p->up_bias,
                         p->norm1_gain, p->norm1_shift, p->o_weight,    p->o_bias,    p->qkv_weight, p->qkv_bias};
    for (size_t i = 0; i < sizeof layer / sizeof *layer; i++) order[count++] = layer[i];
  }
  const int embeddings[] = {m->embedding_gain, m->embedding_shift, m->types, m->positions, m->words};
  for (size_t i = 0; i < sizeof embeddings / sizeof *embeddings; i++) order[count++] = embeddings[i];
  return count;
}

static void lay_out_theta(model *m, int *order) {
  int count = backward_order(m, order);
  for (int i = 0; i < count; i++) {
    param *p = &m->params[order[i]];
    if (!trains(m, order[i])) continue;
    segment s = {
        .role = p->role, .rate = p->role == SEGMENT_HEAD ? "head" : "base", .rate_factor = 1, .offset = m->theta_count, .rows = p->rows, .cols = p->cols};
    s.decays = p->kind == PARAM_WEIGHT || p->kind == PARAM_EMBEDDING;
    snprintf(s.name, sizeof s.name, "%s", p->name);
    p->theta_offset = m->theta_count;
    m->theta_count += (int64_t)p->rows * p->cols;
    if (order[i] == m->words) m->reached[REACHED_WORDS].segment = m->segment_count;
    if (order[i] == m->positions) m->reached[REACHED_POSITIONS].segment = m->segment_count;
    add_segment(m, &s);
  }
  m->adapter_offset = m->theta_count;
  m->adapter_segment = m->segment_count;
  for (int i = 0; i < m->adapter->segment_count; i++) {
    segment s = m->adapter->segments[i];
    s.offset += m->adapter_offset;
    add_segment(m, &s);
  }
  m->theta_count += m->adapter->theta_count;
}

/* Backward goes down to the lowest place that anything trainable hangs on, and no further. */
static int find_lowest(const model *m) {
  int lowest = m->options.whole_backward ? level_of(0, 0) : level_of(m->shape.layers, 0);
  for (int g = 0; g < m->shape.layers * STAGES; g++)
    if (m->adapter->touched[g] && 1 + g < lowest) lowest = 1 + g;
  const int embeddings[] = {m->words, m->positions, m->types, m->embedding_gain, m->embedding_shift};
  for (int i = 0; i < 5; i++)
    if (m->params[embeddings[i]].theta_offset >= 0) return 0;
  for (int l = 0; l < m->shape.layers; l++) {
    const layer_params *p = &m->layers[l];
    /* a norm's own gradient is found on the way to the stage below it */
    const int at[STAGES][4] = {{p->qkv_weight, p->qkv_bias, p->qkv_weight, p->qkv_bias},
                               {p->o_weight, p->o_bias, p->norm1_gain, p->norm1_shift},
                               {p->up_weight, p->up_bias, p->up_weight, p->up_bias},
                               {p->down_weight, p->down_bias, p->norm2_gain, p->norm2_shift}};
    for (int stage = 0; stage < STAGES; stage++)
      for (int i = 0; i < 4; i++)
        if (m->params[at[stage][i]].theta_offset >= 0 && level_of(l, stage) < lowest) lowest = level_of(l, stage);
  }
  return lowest;
}

static int64_t take_store(model *m, int64_t count) {
  int64_t offset = m->store_count;
  m->store_count += (count + 15) / 16 * 16; /* each begins on a cache line */
  return offset;
}

static int is_frozen(const model *m, int index) { return m->params[index].theta_offset < 0; }

/* Whether a weight's layouts are all that is ever wanted of it. */
static int is_laid_out_only(const model *m, int index) {
  if (!m->options.lean || m->adapter->method->flags & METHOD_READS_WEIGHTS) return 0;
  for (int i = 0; i < m->shape.layers * STAGES; i++)
    if (stage_weight(m, i / STAGES, i % STAGES) == index) return is_frozen(m, index) && linalg_map_forward_bytes(m->maps[i % STAGES]) > 0;
  return 0;
}

/* The words that may come, where not all may and no head reads the others' embeddings. */
static int plan_words(model *m) {
  const uint8_t *kept = m->options.words;
  m->options.words = NULL; /* the caller's, for now only */
  m->word_rows = m->shape.vocabulary;
  if (!kept || !m->options.lean || !is_frozen(m, m->words) || m->options.objective == MODEL_MLM) return ERROR_NONE;
  TRY(arena_take(m->memory, (size_t)m->shape.vocabulary, sizeof *m->word_row, &m->word_row));
  m->word_rows = 0;
  for (int i = 0; i < m->shape.vocabulary; i++) m->word_row[i] = kept[i] ? m->word_rows++ : -1;
  return ERROR_NONE;
}

/* The layouts of frozen weights, where the backend has its own. */
static void plan_layouts(model *m, int layer, int stage) {
  const linalg_map *map = m->maps[stage];
  int64_t forward = linalg_map_forward_bytes(map) / (int64_t)sizeof(real), backward = linalg_map_backward_bytes(map) / (int64_t)sizeof(real);
  frozen_map *f = &m->frozen[layer * STAGES + stage];
  *f = (frozen_map){-1, -1};
  if (!is_frozen(m, stage_weight(m, layer, stage))) return;
  if (forward > 0) f->forward_offset = take_store(m, forward);
  if (backward > 0 && m->lowest < level_of(layer, stage)) f->backward_offset = take_store(m, backward);
}

static int plan_store(model *m) {
  int d = m->shape.width, ffn = m->shape.ffn;
  const int out[STAGES] = {3 * d, d, ffn, d}, in[STAGES] = {d, d, d, ffn};
  TRY(plan_words(m));
  for (int stage = 0; stage < STAGES; stage++) TRY(linalg_map_create(m->options.backend, m->options.precision, out[stage], in[stage], &m->maps[stage]));
  for (int i = 0; i < m->param_count; i++) {
    param *p = &m->params[i];
    if (p->role == SEGMENT_BASE && !is_laid_out_only(m, i)) p->store_offset = take_store(m, (int64_t)(i == m->words ? m->word_rows : p->rows) * p->cols);
  }
  TRY(arena_take(m->memory, (size_t)(m->shape.layers * STAGES), sizeof *m->frozen, &m->frozen));
  for (int l = 0; l < m->shape.layers; l++)
    for (int stage = 0; stage < STAGES; stage++) plan_layouts(m, l, stage);
  return ERROR_NONE;
}

static int check_options(const model_options *o) {
  if (o->objective == MODEL_CLASSIFY && o->classes < 2) return FAIL(ERROR_USAGE, NULL, "a classification needs at least 2 classes, not %d", o->classes);
  if (o->objective == MODEL_REGRESS && o->classes != 1) return FAIL(ERROR_INTERNAL, NULL, "a regression has one output, not %d", o->classes);
  return ERROR_NONE;
}

static int plan(model *m, const method *chosen, const option_set *method_options) {
  int layers = m->shape.layers, params = 16 + 12 * layers, *order;
  TRY(arena_take(m->memory, (size_t)params, sizeof *m->params, &m->params));
  TRY(arena_take(m->memory, (size_t)params, sizeof *m->value, &m->value));
  TRY(arena_take(m->memory, (size_t)params, sizeof *order, &order));
  TRY(arena_take(m->memory, (size_t)layers, sizeof *m->layers, &m->layers));
  add_params(m);
  TRY(census_of_shape(&m->shape, &m->census)); /* the maps that a method may act on, layer by layer: SITES_PER_LAYER of them in STAGES groups */
  m->sites = m->census->sites;
  m->groups = m->census->groups;
  const adapter_settings set = {m->options.seed, m->options.dropout_adapter, m->options.drops_per_site, m->options.backend};
  TRY(adapter_create(chosen, method_options, &set, m->sites, m->census->site_count, m->groups, m->census->group_count, &m->adapter));
  TRY(arena_take(m->memory, (size_t)(m->param_count + m->adapter->segment_count), sizeof *m->segments, &m->segments));
  for (int k = 0; k < REACHED; k++) m->reached[k].segment = -1;
  lay_out_theta(m, order);
  TRY(message_plan(m));
  if (m->adapter->active) {
    TRY(arena_take(m->memory, (size_t)m->segment_count, 1, &m->active));
    TRY(model_choose(m, METHOD_EVALUATION));
  }
  m->lowest = find_lowest(m);
  return plan_store(m);
}

int model_create(const model_shape *shape, const model_options *options, const method *chosen, const option_set *method_options, model **result) {
  arena *memory;
  model *m;
  *result = NULL;
  TRY(model_shape_check(shape, "model"));
  TRY(check_options(options));
  TRY(arena_create(&memory));
  int code = arena_take(memory, 1, sizeof *m, &m);
  if (code) {
    arena_destroy(memory);
    return code;
  }
  m->memory = memory;
  m->shape = *shape;
  m->options = *options;
  code = plan(m, chosen, method_options);
  if (code) model_destroy(m);
  else *result = m;
  return code;
}

void model_destroy(model *m) {
  if (!m) return;
  adapter_destroy(m->adapter);
  for (int stage = 0; stage < STAGES; stage++) linalg_map_destroy(m->maps[stage]);
  census_destroy(m->census);
  arena_destroy(m->memory);
}

const model_shape *model_shape_of(const model *m) { return &m->shape; }
const model_options *model_options_of(const model *m) { return &m->options; }
int model_param_count(const model *m) { return m->param_count; }
const param *model_param(const model *m, int index) { return &m->params[index]; }
int model_segment_count(const model *m) { return m->segment_count; }
const segment *model_segment(const model *m, int index) { return &m->segments[index]; }
int64_t model_theta_count(const model *m) { return m->theta_count; }
int64_t model_store_count(const model *m) { return m->store_count; }
adapter *model_adapter(const model *m) { return m->adapter; }
int model_adapter_segment(const model *m) { return m->adapter_segment; }
int64_t model_adapter_offset(const model *m) { return m->adapter_offset; }
int model_output_count(const model *m) { return m->options.objective == MODEL_MLM ? 0 : m->options.classes; }

int64_t model_role_count(const model *m, segment_role role) {
  int64_t count = 0;
  for (int i = 0; i < m->segment_count; i++)
    if (m->segments[i].role == role) count += (int64_t)m->segments[i].rows * m->segments[i].cols;
  return count;
}

int model_choose(model *m, int64_t step) {
  const method *ops = m->adapter->method;
  if (ops->choose) TRY(ops->choose(m->adapter, step));
  for (int i = 0; m->active && i < m->segment_count; i++) m->active[i] = (uint8_t)(i < m->adapter_segment || m->adapter->active[i - m->adapter_segment]);
  return ERROR_NONE;
}

const uint8_t *model_active(const model *m) { return m->active; }

int model_counts(const model *m, method_counts *counts) {
  if (!(m->adapter->method->flags & METHOD_TRAINS_BASE)) return adapter_counts(m->adapter, counts);
  int64_t base = model_role_count(m, SEGMENT_BASE); /* the baselines: what is trained is stored and sent */
  *counts = (method_counts){.trainable = base, .stored_bytes = 4 * base, .sent_floats = base};
  for (int i = 0; i < m->segment_count; i++) counts->segments += m->segments[i].role == SEGMENT_BASE;
  return ERROR_NONE;
}

/* q, k and v are one tensor inside and three in files. */
static int layer_of_qkv(const model *m, int index, int *is_bias) {
  for (int l = 0; l < m->shape.layers; l++) {
    *is_bias = index == m->layers[l].qkv_bias;
    if (*is_bias || index == m->layers[l].qkv_weight) return l;
  }
  return -1;
}

int model_param_parts(const model *m, int index) {
  int is_bias;
  return layer_of_qkv(m, index, &is_bias) >= 0 ? 3 : 1;
}

void model_param_part(const model *m, int index, int part, char name[METHOD_NAME_BYTES], int *first_row, int *rows) {
  int is_bias, layer = layer_of_qkv(m, index, &is_bias), d = m->shape.width;
  const param *p = &m->params[index];
  if (layer < 0) {
    snprintf(name, METHOD_NAME_BYTES, "%s", p->name);
    *first_row = 0;
    *rows = p->rows;
    return;
  }
  const tensor_names *names = m->shape.family->tensors;
  const char *pattern[3] = {names->query, names->key, names->value};
  write_name(name, pattern[part], layer, is_bias ? ".bias" : ".weight");
  *first_row = part * d; /* for the bias: of its one row, elements instead of rows */
  *rows = d;
}
