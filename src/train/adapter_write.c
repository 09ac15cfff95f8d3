/* Writing an adapter file. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "store/safetensors.h"
#include "train/adapter_file.h"
#include "train/adapter_names.h"

const char *const adapter_form_names[] = {"result", "theta"};
const char *const adapter_objective_names[] = {"classify", "regress", "mlm"};
const char *const adapter_pooling_names[] = {"mean", "first"};
const char *const adapter_head_names[] = {"linear", "tanh"};

safetensors_type adapter_tensor_type(stored_type type) {
  static const safetensors_type types[] = {TENSOR_F32, TENSOR_U8, TENSOR_U16, TENSOR_I32, TENSOR_I64};
  return types[type];
}

enum { TEXT_BYTES = 32 };

typedef struct writing {
  arena *memory;
  safetensors_output *tensors;
  int count;
  const char **notes; /* key, value, ..., NULL */
  int note_count;
} writing;

static int add_tensor(writing *w, const char *prefix, const char *name, safetensors_type type, int64_t rows, int64_t cols, const void *values) {
  char full[METHOD_NAME_BYTES + 16], *kept;
  TRY(text_format(full, sizeof full, "%s%s", prefix, name));
  TRY(arena_copy_text(w->memory, full, &kept));
  w->tensors[w->count++] = (safetensors_output){.name = kept, .type = type, .dims = 2, .shape = {rows, cols}, .values = values};
  return ERROR_NONE;
}

static int add_segment(writing *w, const segment *s, const real *theta) {
  static const char *const prefixes[] = {ADAPTER_PREFIX, BASE_PREFIX, HEAD_PREFIX};
  return add_tensor(w, prefixes[s->role], s->name, TENSOR_F32, s->rows, s->cols, theta + s->offset);
}

static int add_array(writing *w, const adapter *a, const real *theta, int index) {
  stored_array array;
  void *values;
  TRY(adapter_stored(a, index, &array));
  TRY(arena_take(w->memory, (size_t)stored_array_bytes(&array), 1, &values));
  TRY(adapter_save(a, theta, index, values));
  return add_tensor(w, ADAPTER_PREFIX, array.name, adapter_tensor_type(array.type), array.rows, array.cols, values);
}

static int gather(writing *w, const model *m, const real *theta, adapter_form form, int has_head) {
  const adapter *a = model_adapter(m);
  int arrays = adapter_stored_count(a), own = adapter_stored_own(a), segments = model_segment_count(m);
  TRY(arena_take(w->memory, (size_t)(arrays + segments), sizeof *w->tensors, &w->tensors));
  for (int i = form == ADAPTER_THETA ? own : 0; i < arrays; i++) TRY(add_array(w, a, theta + model_adapter_offset(m), i));
  for (int i = 0; i < segments; i++) {
    const segment *s = model_segment(m, i);
    int wanted = s->role == SEGMENT_HEAD ? has_head : s->role == SEGMENT_BASE || form == ADAPTER_THETA;
    if (wanted) TRY(add_segment(w, s, theta));
  }
  return ERROR_NONE;
}

/* Wide numbers first, so that all data lie at multiples of their own size. */
static int sort_by_width(writing *w) {
  static const safetensors_type order[] = {TENSOR_I64, TENSOR_F32, TENSOR_I32, TENSOR_U16, TENSOR_U8};
  safetensors_output *sorted;
  int count = 0;
  TRY(arena_take(w->memory, (size_t)w->count, sizeof *sorted, &sorted));
  for (size_t k = 0; k < sizeof order / sizeof *order; k++)
    for (int i = 0; i < w->count; i++)
      if (w->tensors[i].type == order[k]) sorted[count++] = w->tensors[i];
  w->tensors = sorted;
  return ERROR_NONE;
}

static int note(writing *w, const char *key, const char *value) {
  char *copy;
  TRY(arena_copy_text(w->memory, key, &copy));
  w->notes[w->note_count++] = copy;
  TRY(arena_copy_text(w->memory, value, &copy));
  w->notes[w->note_count++] = copy;
  return ERROR_NONE;
}

static int note_int(writing *w, const char *key, int64_t value) {
  char text[TEXT_BYTES];
  snprintf(text, sizeof text, "%lld", (long long)value);
  return note(w, key, text);
}

static int note_model(writing *w, const model *m, const adapter_facts *facts) {
  const model_shape *s = model_shape_of(m);
  const model_options *o = model_options_of(m);
  TRY(note(w, "model.family", s->family->name));
  TRY(note_int(w, "model.layers", s->layers));
  TRY(note_int(w, "model.width", s->width));
  TRY(note_int(w, "model.heads", s->heads));
  TRY(note_int(w, "model.ffn", s->ffn));
  TRY(note_int(w, "model.vocabulary", s->vocabulary));
  TRY(note_int(w, "model.positions", s->positions));
  TRY(note(w, "model.weights_hash", facts->weights_hash));
  if (*facts->experiment_id) TRY(note(w, "experiment_id", facts->experiment_id));
  if (!facts->has_head) return ERROR_NONE;
  TRY(note(w, "task.objective", adapter_objective_names[o->objective]));
  if (o->objective == MODEL_MLM) return ERROR_NONE;
  TRY(note_int(w, "task.classes", o->classes));
  TRY(note(w, "model.pooling", adapter_pooling_names[o->pooling]));
  return note(w, "model.head", adapter_head_names[o->head]);
}

static int describe(writing *w, const model *m, adapter_form form, const adapter_facts *facts) {
  const adapter *a = model_adapter(m);
  char key[METHOD_NAME_BYTES], buffer[32];
  TRY(arena_take(w->memory, 2 * (size_t)a->options->count + 48, sizeof *w->notes, &w->notes));
  TRY(note(w, "format", ADAPTER_FORMAT));
  TRY(note_int(w, "version", ADAPTER_VERSION));
  TRY(note(w, "form", adapter_form_names[form]));
  TRY(note(w, "method", a->method->name));
  for (int i = 0; i < a->options->count; i++) {
    TRY(text_format(key, sizeof key, "method.%s", a->options->values[i].declared->name));
    TRY(note(w, key, adapter_option_text(a, i, buffer)));
  }
  return note_model(w, m, facts);
}

int adapter_file_write(const char *path, const model *m, const real *theta, adapter_form form, const adapter_facts *facts) {
  writing w = {0};
  TRY(arena_create(&w.memory));
  int code = gather(&w, m, theta, form, facts->has_head);
  if (!code) code = sort_by_width(&w);
  if (!code) code = describe(&w, m, form, facts);
  if (!code) code = safetensors_write(path, w.tensors, w.count, w.notes);
  arena_destroy(w.memory);
  return code;
}
