/* What the tests of the model share: options at their defaults, a tiny random encoder, packed batches, and weights from a safetensors file.
 *
 * Everything is a pure function of its arguments, so that the float and the double build of a test work on the same numbers.
 */
#ifndef PEFTSCALE_TESTS_TINY_H
#define PEFTSCALE_TESTS_TINY_H

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "model/model.h"
#include "store/safetensors.h"

/* ---- options of a method ---- */

enum { CHOSEN_MAX = 32 };

typedef struct chosen_options {
  option_value value[CHOSEN_MAX];
  option_set set; /* points into value: a copy must be tied again */
} chosen_options;

static inline const option_set *options_tie(chosen_options *o) {
  o->set.values = o->value;
  return &o->set;
}

static inline int options_default(const method *m, chosen_options *o) {
  memset(o, 0, sizeof *o);
  if (m->option_count > CHOSEN_MAX) return FAIL(ERROR_INTERNAL, NULL, "%s has more options than the tests hold", m->name);
  o->set.count = m->option_count;
  for (int i = 0; i < m->option_count; i++) TRY(option_parse(&m->options[i], m->options[i].preset, &o->value[i]));
  options_tie(o);
  return ERROR_NONE;
}

/* Sets option `name`; a method without it is left as it is. `text` must outlive the options. */
static inline int options_change(chosen_options *o, const char *name, const char *text) {
  for (int i = 0; i < o->set.count; i++)
    if (!strcmp(o->value[i].declared->name, name)) return option_parse(o->value[i].declared, text, &o->value[i]);
  return ERROR_NONE;
}

/* ---- the tiny encoder ---- */

static inline model_shape tiny_shape(const char *family_name) {
  model_shape shape = {.layers = 2, .width = 16, .heads = 4, .ffn = 32, .vocabulary = 40, .positions = 24, .types = 2, .norm_epsilon = 1e-12};
  if (family_find(family_name, &shape.family)) shape.family = NULL;
  if (shape.family && shape.family->position_offset) shape.types = 1; /* as RoBERTa */
  return shape;
}

/* Weights at the scale of a trained model (no part of it negligible), which model_randomize's start from nothing is not. */
static inline void tiny_fill_store(const model *m, uint64_t seed, real *store) {
  for (int i = 0; i < model_param_count(m); i++) {
    const param *p = model_param(m, i);
    if (p->role != SEGMENT_BASE) continue;
    real *value = store + p->store_offset;
    int64_t count = (int64_t)p->rows * p->cols;
    double deviation = p->kind == PARAM_WEIGHT ? 1 / sqrt((double)p->cols) : p->kind == PARAM_EMBEDDING ? 0.5 : 0.2;
    random_fill_normal(random_key_make(seed, RANDOM_TEST, (uint64_t)i), 0, count, (real)deviation, value);
    if (p->kind == PARAM_NORM_GAIN)
      for (int64_t j = 0; j < count; j++) value[j] = (real)((float)value[j] + 1.0f);
  }
}

/* Frozen numbers that a method takes from a file: any will do. */
static inline void tiny_fill_constants(const model *m, uint64_t seed) {
  const adapter *a = model_adapter(m);
  for (int i = 0; i < a->constant_count; i++) {
    const method_constant *c = &a->constants[i];
    random_key key = random_key_make(seed, RANDOM_TEST, 2000 + (uint64_t)i);
    if (!c->from_file) continue;
    if (!c->is_index) random_fill_normal(key, 0, c->rows * c->cols, (real)0.3, c->value);
    for (int64_t k = 0; c->is_index && k < c->rows * c->cols; k++) c->index[k] = (int32_t)(random_uniform(key, 0, (uint64_t)k) * (double)c->limit);
  }
}

/* The start of training moved at random, so that no segment is zero. */
static inline int tiny_fill_theta(const model *m, uint64_t seed, double head_deviation, double adapter_deviation, real *theta) {
  TRY(model_init_theta(m, theta));
  for (int i = 0; i < model_segment_count(m); i++) {
    const segment *s = model_segment(m, i);
    if (s->role == SEGMENT_BASE) continue;
    random_key key = random_key_make(seed, RANDOM_TEST, 1000 + (uint64_t)i);
    double deviation = s->role == SEGMENT_HEAD ? head_deviation : adapter_deviation;
    for (int64_t j = 0; j < (int64_t)s->rows * s->cols; j++)
      theta[s->offset + j] = (real)((float)theta[s->offset + j] + (float)(deviation * random_normal(key, 0, (uint64_t)j)));
  }
  return ERROR_NONE;
}

/* ---- packed batches ---- */

enum { BATCH_MAX_SEQUENCES = 16, BATCH_MAX_TOKENS = 512 };

typedef struct packed_batch {
  batch view;
  int64_t squares;
  int32_t first[BATCH_MAX_SEQUENCES + 1], token[BATCH_MAX_TOKENS], type[BATCH_MAX_TOKENS], masked_row[BATCH_MAX_TOKENS], masked_token[BATCH_MAX_TOKENS];
  uint64_t position[BATCH_MAX_TOKENS], stream[BATCH_MAX_TOKENS];
  float label[BATCH_MAX_SEQUENCES];
} packed_batch;

/* Sequences number[0 .. count) of the given lengths; what a sequence holds depends on its number alone, never on its place in the batch. */
static inline void batch_fill(packed_batch *b, const model *m, model_objective objective, int classes, int count, const int *number, const int *length) {
  const model_shape *shape = model_shape_of(m);
  random_key key = random_key_make(77, RANDOM_TEST, 1);
  int at = 0, masked = 0, longest = 0;
  memset(b, 0, sizeof *b);
  for (int s = 0; s < count; s++) {
    b->first[s] = at;
    for (int i = 0; i < length[s]; i++, at++) {
      b->token[at] = (int32_t)(random_uniform(key, (uint64_t)number[s], (uint64_t)i) * shape->vocabulary);
      b->type[at] = shape->types > 1 && i > length[s] / 2;
      b->position[at] = (uint64_t)i;
      b->stream[at] = (UINT64_C(3) << 32) + (uint64_t)number[s]; /* step 3 */
      if (objective == MODEL_MLM && i % 3 == 0) {
        b->masked_row[masked] = at;
        b->masked_token[masked++] = (int32_t)(random_uniform(key, (uint64_t)number[s], 1000 + (uint64_t)i) * shape->vocabulary);
      }
    }
    double draw = random_uniform(key, (uint64_t)number[s], 5000);
    b->label[s] = objective == MODEL_CLASSIFY ? (float)(int)(draw * classes) : (float)(4 * draw - 2);
    b->squares += (int64_t)length[s] * length[s];
    if (length[s] > longest) longest = length[s];
  }
  b->first[count] = at;
  b->view = (batch){.sequences = count,
                    .tokens = at,
                    .longest = longest,
                    .first = b->first,
                    .token = b->token,
                    .type = b->type,
                    .position = b->position,
                    .stream = b->stream,
                    .label = b->label,
                    .masked = masked,
                    .masked_row = b->masked_row,
                    .masked_token = b->masked_token};
}

/* ---- weights from a file ---- */

static inline int source_find(void *handle, const char *name) { return safetensors_find(handle, name); }

static inline void source_describe(void *handle, int index, int *dims, int64_t shape[8]) {
  const safetensors_entry *entry = safetensors_entry_at(handle, index);
  *dims = entry->dims;
  for (int i = 0; i < entry->dims; i++) shape[i] = entry->shape[i];
}

static inline int source_read(void *handle, int index, int64_t first, int64_t count, real *values) {
  return safetensors_read(handle, index, first, count, values);
}

static inline tensor_source source_of(safetensors *file) {
  return (tensor_source){.handle = file, .find = source_find, .describe = source_describe, .read = source_read, .path = safetensors_path(file)};
}

#endif
