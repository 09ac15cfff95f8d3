/* Values: from files, from nothing, into theta and out again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "linalg/linalg.h"
#include "model/internal.h"

int model_attach(model *m, real *store) {
  m->store = store;
  return adapter_prepare(m->adapter);
}

/* A tensor by its plain name, with the family's prefix, and with the old names of normalisations. */
static int find_tensor(const model *m, const tensor_source *source, const char *name, char found[256]) {
  const char *prefixes[] = {"", m->shape.family->prefix};
  for (int i = 0; i < 2; i++) {
    snprintf(found, 256, "%s%s", prefixes[i], name);
    int index = source->find(source->handle, found);
    if (index >= 0) return index;
    char *norm = strstr(found, "LayerNorm.");
    if (!norm) continue;
    char *tail = norm + strlen("LayerNorm.");
    if (!strcmp(tail, "weight")) strcpy(tail, "gamma");
    else if (!strcmp(tail, "bias")) strcpy(tail, "beta");
    index = source->find(source->handle, found);
    if (index >= 0) return index;
  }
  return -1;
}

/* A run of words whose embeddings are kept: rows first .. first + count of the whole table, from row `at` of the store's. */
typedef struct word_run {
  int first, count;
  int64_t at;
} word_run;

/* The next one; 0: there is none. Begin with zeros. */
static int next_run(const model *m, word_run *run) {
  int end = run->first + run->count;
  run->at += run->count;
  if (m->word_row)
    while (end < m->shape.vocabulary && m->word_row[end] < 0) end++;
  run->first = end;
  while (end < m->shape.vocabulary && (!m->word_row || m->word_row[end] >= 0)) end++;
  run->count = end - run->first;
  return run->count > 0;
}

static int load_words(const model *m, const tensor_source *source, int tensor, real *value) {
  int64_t d = m->shape.width;
  for (word_run run = {0}; next_run(m, &run);) TRY(source->read(source->handle, tensor, run.first * d, run.count * d, value + run.at * d));
  return ERROR_NONE;
}

/* value: of the whole parameter, [rows][cols]. */
static int load_part(const model *m, const tensor_source *source, int index, int part, real *value) {
  const param *p = &m->params[index];
  char name[METHOD_NAME_BYTES], found[256];
  int first_row, rows, dims;
  int64_t shape[8];
  model_param_part(m, index, part, name, &first_row, &rows);
  int tensor = find_tensor(m, source, name, found);
  if (tensor < 0) return FAIL(ERROR_INPUT, "is this a complete model of the family in its config.json?", "%s: tensor '%s' is missing", source->path, name);
  source->describe(source->handle, tensor, &dims, shape);
  int vector = p->kind != PARAM_WEIGHT && p->kind != PARAM_EMBEDDING; /* a table of one row (RoBERTa's segment types) still has two dimensions in a file */
  int64_t want_rows = rows, want_cols = vector ? (model_param_parts(m, index) > 1 ? rows : p->cols) : p->cols;
  if (vector ? dims != 1 || shape[0] != want_cols : dims != 2 || shape[0] != want_rows || shape[1] != want_cols) {
    char text[128] = "";
    for (int i = 0; i < dims && strlen(text) < 100; i++)
      snprintf(text + strlen(text), sizeof text - strlen(text), "%s%lld", i ? ", " : "", (long long)shape[i]);
    if (vector)
      return FAIL(ERROR_INPUT, "config.json and weights do not belong together", "%s: tensor '%s' has shape [%s], expected [%lld]", source->path, found, text,
                  (long long)want_cols);
    return FAIL(ERROR_INPUT, "config.json and weights do not belong together", "%s: tensor '%s' has shape [%s], expected [%lld, %lld]", source->path, found,
                text, (long long)want_rows, (long long)want_cols);
  }
  if (index == m->words) return load_words(m, source, tensor, value);
  return source->read(source->handle, tensor, 0, vector ? want_cols : want_rows * want_cols, value + (vector ? first_row : (int64_t)first_row * p->cols));
}

/* Where a parameter's layouts go, if it has any. */
static int lay_out(model *m, int index, const real *value) {
  for (int i = 0; i < m->shape.layers * STAGES; i++) {
    const frozen_map *f = &m->frozen[i];
    if (stage_weight(m, i / STAGES, i % STAGES) != index) continue;
    real *forward = f->forward_offset < 0 ? NULL : m->store + f->forward_offset, *backward = f->backward_offset < 0 ? NULL : m->store + f->backward_offset;
    return forward || backward ? linalg_map_lay_out(m->maps[i % STAGES], value, forward, backward) : ERROR_NONE;
  }
  return ERROR_NONE;
}

/* Every base parameter in its place or, where only its layouts are kept, for as long as these are made. fill writes it. */
static int fill_store(model *m, int (*fill)(const model *m, int index, real *value, const void *context), const void *context) {
  int64_t most = 0;
  real *passing = NULL;
  int code = ERROR_NONE;
  for (int i = 0; i < m->param_count; i++) {
    const param *p = &m->params[i];
    if (p->role == SEGMENT_BASE && p->store_offset < 0 && (int64_t)p->rows * p->cols > most) most = (int64_t)p->rows * p->cols;
  }
  if (most && !(passing = malloc((size_t)most * sizeof *passing))) return FAIL(ERROR_MEMORY, NULL, "out of memory: %lld numbers wanted", (long long)most);
  for (int i = 0; i < m->param_count && !code; i++) {
    if (m->params[i].role != SEGMENT_BASE) continue;
    real *value = m->params[i].store_offset < 0 ? passing : m->store + m->params[i].store_offset;
    code = fill(m, i, value, context);
    if (!code) code = lay_out(m, i, value);
  }
  free(passing);
  return code;
}

static int load_param(const model *m, int index, real *value, const void *context) {
  for (int part = 0; part < model_param_parts(m, index); part++) TRY(load_part(m, context, index, part, value));
  return ERROR_NONE;
}

int model_load(model *m, const tensor_source *source) { return fill_store(m, load_param, source); }

static void fill_start(const model *m, int index, random_purpose purpose, real *value) {
  const param *p = &m->params[index];
  int64_t count = (int64_t)p->rows * p->cols, d = m->shape.width;
  const random_key key = random_key_make(m->options.seed, purpose, (uint64_t)index);
  if (index == m->words)
    for (word_run run = {0}; next_run(m, &run);) random_fill_normal_from(key, 0, run.first * d, run.count * d, (real)p->deviation, value + run.at * d);
  else if (p->deviation > 0) random_fill_normal(key, 0, count, (real)p->deviation, value);
  else
    for (int64_t i = 0; i < count; i++) value[i] = p->kind == PARAM_NORM_GAIN;
}

static int start_param(const model *m, int index, real *value, const void *context) {
  (void)context;
  fill_start(m, index, RANDOM_WEIGHTS, value);
  return ERROR_NONE;
}

int model_randomize(model *m) { return fill_store(m, start_param, NULL); }

int model_init_theta(const model *m, real *theta) {
  for (int i = 0; i < m->param_count; i++) {
    const param *p = &m->params[i];
    if (p->theta_offset < 0) continue;
    if (p->role == SEGMENT_HEAD) fill_start(m, i, RANDOM_HEAD, theta + p->theta_offset);
    else memcpy(theta + p->theta_offset, m->store + p->store_offset, (size_t)p->rows * (size_t)p->cols * sizeof(real));
  }
  return m->adapter->method->init ? m->adapter->method->init(m->adapter, theta + m->adapter_offset) : ERROR_NONE;
}

static void point_sites(model *m) {
  int d = m->shape.width;
  for (int l = 0; l < m->shape.layers; l++) {
    const layer_params *p = &m->layers[l];
    site *s = &m->sites[l * SITES_PER_LAYER];
    s[SITES_PER_LAYER - 1].weight = m->value[p->qkv_weight];
    s[SITES_PER_LAYER - 1].bias = m->value[p->qkv_bias];
    for (int i = 0; i < 3; i++) {
      s[i].weight = m->value[p->qkv_weight] ? m->value[p->qkv_weight] + (int64_t)i * d * d : NULL;
      s[i].bias = m->value[p->qkv_bias] + i * d;
    }
    const int weights[] = {p->o_weight, p->up_weight, p->down_weight}, biases[] = {p->o_bias, p->up_bias, p->down_bias};
    for (int i = 0; i < 3; i++) {
      s[3 + i].weight = m->value[weights[i]];
      s[3 + i].bias = m->value[biases[i]];
    }
  }
}

int model_expand(model *m, const real *theta) {
  for (int i = 0; i < m->param_count; i++) {
    const param *p = &m->params[i];
    m->value[i] = p->theta_offset >= 0 ? theta + p->theta_offset : p->store_offset >= 0 ? m->store + p->store_offset : NULL;
  }
  point_sites(m);
  return m->adapter->method->expand ? m->adapter->method->expand(m->adapter, theta + m->adapter_offset) : ERROR_NONE;
}

const real *model_value(const model *m, int index) { return index == m->words && m->word_row ? NULL : m->value[index]; }

/* The site (index into the model's) whose map is rows first_row.. of a parameter; -1 if the parameter is no linear map. */
static int site_of(const model *m, int index, int part, int *is_bias) {
  for (int l = 0; l < m->shape.layers; l++) {
    const layer_params *p = &m->layers[l];
    const int pairs[][2] = {{p->qkv_weight, p->qkv_bias}, {p->o_weight, p->o_bias}, {p->up_weight, p->up_bias}, {p->down_weight, p->down_bias}};
    for (int i = 0; i < STAGES; i++) {
      *is_bias = index == pairs[i][1];
      if (*is_bias || index == pairs[i][0]) return l * SITES_PER_LAYER + (i == STAGE_QKV ? part : i + 2);
    }
  }
  return -1;
}

int model_merged_value(const model *m, int index, real *value) {
  const param *p = &m->params[index];
  const method *ops = m->adapter->method;
  const real *plain = model_value(m, index);
  if (!plain) return FAIL(ERROR_INTERNAL, NULL, "a lean model has no plain '%s'", p->name);
  memcpy(value, plain, (size_t)p->rows * (size_t)p->cols * sizeof(real));
  if (p->role != SEGMENT_BASE) return ERROR_NONE;
  if (!(ops->flags & METHOD_MERGEABLE)) return FAIL(ERROR_USAGE, NULL, "%s cannot be folded into the base weights", ops->title);
  if (!ops->merge) return ERROR_NONE;
  int parts = model_param_parts(m, index), is_bias, d = m->shape.width;
  for (int part = 0; part < parts; part++) {
    int place = site_of(m, index, part, &is_bias);
    if (place < 0) return ERROR_NONE;
    if (is_bias) TRY(ops->merge(m->adapter, place, NULL, value + (int64_t)part * d));
    else TRY(ops->merge(m->adapter, place, value + (int64_t)part * d * p->cols, NULL));
  }
  if (parts == 1) return ERROR_NONE;
  int fused = site_of(m, index, 0, &is_bias) + SITES_PER_LAYER - 1; /* q, k and v as one map, for a method that acts on it so */
  return ops->merge(m->adapter, fused, is_bias ? NULL : value, is_bias ? value : NULL);
}
