#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "method/method.h"

const char *const segment_role_names[3] = {"adapter", "base", "head"};

int adapter_create(const method *m, const option_set *options, const adapter_settings *set, const site *sites, int site_count, const site_group *groups,
                   int group_count, adapter **result) {
  arena *memory;
  adapter *a;
  *result = NULL;
  TRY(arena_create(&memory));
  int code = arena_take(memory, 1, sizeof *a, &a);
  if (!code) {
    *a = (adapter){
        .method = m, .options = options, .set = *set, .sites = sites, .site_count = site_count, .groups = groups, .group_count = group_count, .memory = memory};
    code = arena_take(memory, (size_t)group_count, sizeof *a->touched, &a->touched);
  }
  if (!code) code = arena_take(memory, (size_t)group_count, sizeof *a->keeps_input, &a->keeps_input);
  if (!code) code = arena_take(memory, (size_t)group_count, sizeof *a->adds_input, &a->adds_input);
  if (!code) code = arena_take(memory, (size_t)group_count, sizeof *a->saved_width, &a->saved_width);
  if (!code && m->plan) code = m->plan(a);
  if (code) {
    arena_destroy(memory);
    return code;
  }
  *result = a;
  return ERROR_NONE;
}

void adapter_destroy(adapter *a) {
  if (!a) return;
  if (a->method->release) a->method->release(a);
  arena_destroy(a->memory);
}

int adapter_add_segment(adapter *a, const char *name, const char *rate, int decays, int rows, int cols, int64_t *offset) {
  if (a->segment_count == a->segment_capacity) { /* the outgrown list stays in the arena until the adapter goes: a few kilobytes */
    int capacity = a->segment_capacity ? 2 * a->segment_capacity : 64;
    segment *larger;
    TRY(arena_take(a->memory, (size_t)capacity, sizeof *larger, &larger));
    if (a->segment_count) memcpy(larger, a->segments, (size_t)a->segment_count * sizeof *larger);
    a->segments = larger;
    a->segment_capacity = capacity;
  }
  segment *s = &a->segments[a->segment_count++];
  *s = (segment){.role = SEGMENT_ADAPTER, .rate = rate, .rate_factor = 1, .decays = decays, .offset = a->theta_count, .rows = rows, .cols = cols};
  snprintf(s->name, sizeof s->name, "%s", name);
  if (offset) *offset = s->offset;
  a->theta_count += (int64_t)rows * cols;
  return ERROR_NONE;
}

int64_t adapter_settle(adapter *a, const char *name, int64_t automatic) {
  if (!option_is_auto(a->options, name)) return option_int(a->options, name);
  if (a->resolved_count < RESOLVED_MAX) a->resolved[a->resolved_count++] = (resolved_option){name, automatic};
  return automatic;
}

segment *adapter_last_segment(adapter *a) { return &a->segments[a->segment_count - 1]; }

int adapter_add_constant(adapter *a, const char *name, int from_file, int64_t rows, int64_t cols, int64_t limit) {
  method_constant *larger;
  TRY(arena_take(a->memory, (size_t)a->constant_count + 1, sizeof *larger, &larger)); /* a method has two or three */
  if (a->constant_count) memcpy(larger, a->constants, (size_t)a->constant_count * sizeof *larger);
  a->constants = larger;
  method_constant *c = &larger[a->constant_count++];
  *c = (method_constant){.from_file = from_file, .is_index = limit > 0, .rows = rows, .cols = cols, .limit = limit};
  snprintf(c->name, sizeof c->name, "%s", name);
  return ERROR_NONE;
}

int adapter_prepare(adapter *a) {
  for (int i = 0; i < a->constant_count; i++) {
    method_constant *c = &a->constants[i];
    size_t count = (size_t)c->rows * (size_t)c->cols;
    if (c->is_index) TRY(arena_take(a->memory, count, sizeof *c->index, &c->index));
    else TRY(arena_take(a->memory, count, sizeof *c->value, &c->value));
  }
  return a->method->prepare ? a->method->prepare(a) : ERROR_NONE;
}

uint64_t adapter_projection_seed(const adapter *a) {
  const option_value *own = option_find(a->options, "projection_seed");
  return own && !own->is_auto ? (uint64_t)own->integer : a->set.seed;
}

/* ---- which sites ---- */

const char *const adapter_modules[] = {"q", "k", "v", "o", "gate", "up", "down", "qkv", "all", NULL};

int adapter_targets(const adapter *a, const site *s) {
  return option_lists(a->options, "modules", s->module) || (strcmp(s->module, "qkv") && option_lists(a->options, "modules", "all"));
}

int adapter_check_modules(const adapter *a) {
  static const char *const parts[] = {"q", "k", "v", "all"};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
    if (option_lists(a->options, "modules", "qkv") && option_lists(a->options, "modules", parts[i]))
      return FAIL(ERROR_USAGE, "name the fused map or its parts", "method.modules=%s names qkv and %s, which overlap", option_text(a->options, "modules"),
                  parts[i]);
  for (int i = 0; i < a->site_count; i++)
    if (adapter_targets(a, &a->sites[i])) return ERROR_NONE;
  return FAIL(ERROR_USAGE, "see: peftscale list families", "method.modules=%s names no linear map of this model", option_text(a->options, "modules"));
}

/* ---- what travels ---- */

static int64_t segment_size(const adapter *a, int i) { return (int64_t)a->segments[i].rows * a->segments[i].cols; }

int adapter_is_active(const adapter *a, int index) { return !a->active || a->active[index]; }

int64_t adapter_packed(const adapter *a, int index) {
  if (!adapter_is_active(a, index)) return 0;
  return a->method->packed ? a->method->packed(a, index) : segment_size(a, index);
}

void adapter_pack(const adapter *a, int index, const real *grad, real *message) {
  if (!adapter_is_active(a, index)) return;
  if (a->method->pack) a->method->pack(a, index, grad, message);
  else memcpy(message, grad, (size_t)segment_size(a, index) * sizeof *grad);
}

void adapter_unpack(const adapter *a, int index, const real *message, real *grad) {
  size_t bytes = (size_t)segment_size(a, index) * sizeof *grad;
  if (!adapter_is_active(a, index)) memset(grad, 0, bytes);
  else if (a->method->unpack) a->method->unpack(a, index, message, grad);
  else memcpy(grad, message, bytes);
}

/* ---- counting and storing ---- */

static int is_seeded(const adapter *a) {
  for (int i = 0; i < a->constant_count; i++)
    if (a->constants[i].from_file) return 0;
  return (a->method->flags & METHOD_SEEDED) != 0;
}

const char *adapter_option_text(const adapter *a, int index, char buffer[32]) {
  const option_value *v = &a->options->values[index];
  const char *name = v->declared->name;
  if (!v->is_auto) return option_spell(v, buffer);
  for (int i = 0; i < a->resolved_count; i++)
    if (!strcmp(a->resolved[i].name, name)) {
      snprintf(buffer, 32, "%lld", (long long)a->resolved[i].value);
      return buffer;
    }
  if (strcmp(name, "projection_seed") || !is_seeded(a)) return "auto";
  snprintf(buffer, 32, "%llu", (unsigned long long)adapter_projection_seed(a));
  return buffer;
}

int64_t stored_array_bytes(const stored_array *array) {
  static const int size[] = {4, 1, 2, 4, 8};
  return array->rows * array->cols * size[array->type];
}

/* Where the arrays of the method end and the seed or the constants taken from a file begin. */
int adapter_stored_own(const adapter *a) {
  if (!a->method->stored) return a->segment_count;
  stored_array array;
  int count = 0;
  while (!a->method->stored(a, count, &array) && array.rows) count++;
  return count;
}

int adapter_stored_count(const adapter *a) {
  int count = adapter_stored_own(a) + is_seeded(a);
  for (int i = 0; i < a->constant_count; i++) count += a->constants[i].from_file;
  return count;
}

/* The constant that array `index` behind the method's own is; NULL: the seed. */
static const method_constant *constant_of(const adapter *a, int index) {
  for (int i = 0; i < a->constant_count; i++)
    if (a->constants[i].from_file && index-- == 0) return &a->constants[i];
  return NULL;
}

stored_array adapter_stored_segment(const adapter *a, int index) {
  stored_array array = {.type = STORED_F32, .rows = a->segments[index].rows, .cols = a->segments[index].cols};
  memcpy(array.name, a->segments[index].name, sizeof array.name);
  return array;
}

int adapter_stored(const adapter *a, int index, stored_array *array) {
  int own = adapter_stored_own(a);
  if (index < own && a->method->stored) return a->method->stored(a, index, array);
  if (index < own) {
    *array = adapter_stored_segment(a, index);
    return ERROR_NONE;
  }
  *array = (stored_array){.type = STORED_I64, .rows = 1, .cols = 1, .name = "seed"};
  const method_constant *c = constant_of(a, index - own);
  if (c) {
    *array = (stored_array){.type = c->is_index ? STORED_I32 : STORED_F32, .rows = c->rows, .cols = c->cols};
    memcpy(array->name, c->name, sizeof array->name);
  }
  return ERROR_NONE;
}

/* Without a count of its own: theta is trained and sent; what is stored are the arrays above; constants that no file holds are made anew. */
static int count_by_rule(const adapter *a, method_counts *counts) {
  *counts = (method_counts){.trainable = a->theta_count, .sent_floats = a->theta_count};
  for (int i = 0; i < a->constant_count; i++)
    if (!a->constants[i].from_file) counts->regenerated_bytes += 4 * a->constants[i].rows * a->constants[i].cols;
  for (int i = 0; i < adapter_stored_count(a); i++) {
    stored_array array;
    TRY(adapter_stored(a, i, &array));
    counts->stored_bytes += stored_array_bytes(&array);
  }
  return ERROR_NONE;
}

int adapter_counts(const adapter *a, method_counts *counts) {
  TRY(a->method->count ? a->method->count(a, counts) : count_by_rule(a, counts));
  counts->segments = a->segment_count;
  return ERROR_NONE;
}

void adapter_save_segment(const adapter *a, const real *theta, int index, float *values) {
  const real *from = theta + a->segments[index].offset;
  for (int64_t i = 0; i < segment_size(a, index); i++) values[i] = (float)from[i];
}

int adapter_save(const adapter *a, const real *theta, int index, void *values) {
  int own = adapter_stored_own(a);
  if (index < own && a->method->save) return a->method->save(a, theta, index, values);
  if (index < own) {
    adapter_save_segment(a, theta, index, values);
    return ERROR_NONE;
  }
  const method_constant *c = constant_of(a, index - own);
  if (!c) {
    int64_t seed = (int64_t)adapter_projection_seed(a);
    memcpy(values, &seed, sizeof seed);
  } else if (c->is_index) {
    memcpy(values, c->index, (size_t)(c->rows * c->cols) * sizeof *c->index);
  } else {
    float *floats = values;
    for (int64_t i = 0; i < c->rows * c->cols; i++) floats[i] = (float)c->value[i];
  }
  return ERROR_NONE;
}

static int copy_finite(const char *name, int64_t count, const float *from, real *to) {
  for (int64_t i = 0; i < count; i++) {
    if (!isfinite(from[i])) return FAIL(ERROR_INPUT, NULL, "'%s': element %lld is not finite", name, (long long)i);
    to[i] = from[i];
  }
  return ERROR_NONE;
}

int adapter_load_segment(const adapter *a, int index, const float *values, real *theta) {
  return copy_finite(a->segments[index].name, segment_size(a, index), values, theta + a->segments[index].offset);
}

int adapter_load(const adapter *a, int index, const void *values, real *theta) {
  int own = adapter_stored_own(a);
  if (index < own && a->method->load) return a->method->load(a, index, values, theta);
  if (index < own) return adapter_load_segment(a, index, values, theta);
  const method_constant *c = constant_of(a, index - own);
  if (!c) {
    int64_t seed;
    memcpy(&seed, values, sizeof seed);
    if ((uint64_t)seed == adapter_projection_seed(a)) return ERROR_NONE;
    return FAIL(ERROR_INPUT, "set method.projection_seed to it", "its frozen numbers come from seed %lld, not %llu", (long long)seed,
                (unsigned long long)adapter_projection_seed(a));
  }
  if (!c->is_index) return copy_finite(c->name, c->rows * c->cols, values, c->value);
  memcpy(c->index, values, (size_t)(c->rows * c->cols) * sizeof *c->index);
  for (int64_t i = 0; i < c->rows * c->cols; i++)
    if (c->index[i] < 0 || c->index[i] >= c->limit)
      return FAIL(ERROR_INPUT, NULL, "'%s': element %lld is %d, outside 0 .. %lld", c->name, (long long)i, c->index[i], (long long)c->limit - 1);
  return ERROR_NONE;
}
