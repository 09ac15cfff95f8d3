/* Values: from files, from nothing, into theta and out again. */
#include <stdio.h>
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

static int load_part(model *m, const tensor_source *source, int index, int part) {
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
  int64_t at = p->store_offset + (vector ? first_row : (int64_t)first_row * p->cols);
  return source->read(source->handle, tensor, 0, vector ? want_cols : want_rows * want_cols, m->store + at);
}

int model_load(model *m, const tensor_source *source) {
  for (int i = 0; i < m->param_count; i++) {
    if (m->params[i].role != SEGMENT_BASE) continue;
    for (int part = 0; part < model_param_parts(m, i); part++) TRY(load_part(m, source, i, part));
  }
  return ERROR_NONE;
}

static void fill_start(const model *m, int index, random_purpose purpose, real *value) {
  const param *p = &m->params[index];
  int64_t count = (int64_t)p->rows * p->cols;
  if (p->deviation > 0) random_fill_normal(random_key_make(m->options.seed, purpose, (uint64_t)index), 0, count, (real)p->deviation, value);
  else
    for (int64_t i = 0; i < count; i++) value[i] = p->kind == PARAM_NORM_GAIN;
}

void model_randomize(model *m) {
  for (int i = 0; i < m->param_count; i++)
    if (m->params[i].role == SEGMENT_BASE) fill_start(m, i, RANDOM_WEIGHTS, m->store + m->params[i].store_offset);
}

int model_lay_out(model *m) {
  for (int l = 0; l < m->shape.layers; l++)
    for (int stage = 0; stage < STAGES; stage++) {
      const frozen_map *f = &m->frozen[l * STAGES + stage];
      real *forward = f->forward_offset < 0 ? NULL : m->store + f->forward_offset, *backward = f->backward_offset < 0 ? NULL : m->store + f->backward_offset;
      if (forward || backward) TRY(linalg_map_lay_out(m->maps[stage], m->store + m->params[stage_weight(m, l, stage)].store_offset, forward, backward));
    }
  return ERROR_NONE;
}

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
      s[i].weight = m->value[p->qkv_weight] + (int64_t)i * d * d;
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
    m->value[i] = p->theta_offset >= 0 ? theta + p->theta_offset : m->store + p->store_offset;
  }
  point_sites(m);
  return m->adapter->method->expand ? m->adapter->method->expand(m->adapter, theta + m->adapter_offset) : ERROR_NONE;
}

const real *model_value(const model *m, int index) { return m->value[index]; }

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
  memcpy(value, m->value[index], (size_t)p->rows * (size_t)p->cols * sizeof(real));
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
