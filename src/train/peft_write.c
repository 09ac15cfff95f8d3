/* What each method's tensors are called and how they lie in PEFT's files. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "train/adapter_names.h"
#include "train/peft_private.h"

static int put_segment(peft_writing *w, const site *s, const char *own, const char *suffix, int dims, int64_t d0, int64_t d1, int64_t d2) {
  const segment *found = peft_segment(w->m, s, own);
  if (!found) return FAIL(ERROR_INTERNAL, NULL, "there is no segment '%s'", own);
  return peft_put(w, s, suffix, TENSOR_F32, w->theta + found->offset, dims, d0, d1, d2);
}

static int add_number(cJSON *config, const char *key, double value) {
  return cJSON_AddNumberToObject(config, key, value) ? ERROR_NONE : FAIL(ERROR_MEMORY, NULL, "out of memory");
}

static int add_flag(cJSON *config, const char *key, int value) {
  return cJSON_AddBoolToObject(config, key, value) ? ERROR_NONE : FAIL(ERROR_MEMORY, NULL, "out of memory");
}

/* ---- LoRA ---- */

static int lora_shared(peft_writing *w, cJSON *config) {
  TRY(add_number(config, "r", (double)peft_rank(w->a)));
  TRY(add_number(config, "lora_alpha", option_real(w->a->options, "alpha")));
  TRY(add_number(config, "lora_dropout", 0));
  TRY(add_flag(config, "use_rslora", 0));
  TRY(add_flag(config, "use_dora", 0));
  return add_flag(config, "fan_in_fan_out", 0);
}

static int lora_map(void *context, const site *s) {
  peft_writing *w = context;
  TRY(put_segment(w, s, "lora_A", "lora_A.weight", 2, peft_rank(w->a), s->in, 0));
  return put_segment(w, s, "lora_B", "lora_B.weight", 2, s->out, peft_rank(w->a), 0);
}

/* ---- VeRA: the pair goes along, since PEFT would draw another one from its key ---- */

static int vera_shared(peft_writing *w, cJSON *config) {
  static const char *const names[] = {PEFT_ROOT "vera_A", PEFT_ROOT "vera_B"};
  TRY(add_number(config, "r", (double)peft_rank(w->a)));
  TRY(add_number(config, "d_initial", option_real(w->a->options, "d_initial")));
  TRY(add_number(config, "vera_dropout", 0));
  TRY(add_number(config, "projection_prng_key", 0));
  TRY(add_flag(config, "save_projection", 1));
  TRY(add_flag(config, "fan_in_fan_out", 0));
  for (int i = 0; i < 2; i++) {
    const method_constant *c = &w->a->constants[i];
    TRY(peft_put(w, NULL, names[i], TENSOR_F32, c->value, 2, c->rows, c->cols, 0));
  }
  return ERROR_NONE;
}

static int vera_map(void *context, const site *s) {
  peft_writing *w = context;
  TRY(put_segment(w, s, "d", "vera_lambda_d", 1, peft_rank(w->a), 0, 0));
  return put_segment(w, s, "b", "vera_lambda_b", 1, s->out, 0, 0);
}

/* ---- VB-LoRA: logits [r][in / b][h] and [out / b][r][h] lie in our order ---- */

static int64_t vector_length(const peft_writing *w) { return peft_segment(w->m, NULL, "bank")->cols; }

static int vblora_shared(peft_writing *w, cJSON *config) {
  const segment *bank = peft_segment(w->m, NULL, "bank");
  if (w->only_top_k && option_int(w->a->options, "top_k") < 2)
    return FAIL(ERROR_USAGE, "leave --only-top-k out", "with method.top_k=1 there are no weights to write");
  TRY(add_number(config, "r", (double)peft_rank(w->a)));
  TRY(add_number(config, "num_vectors", bank->rows));
  TRY(add_number(config, "vector_length", bank->cols));
  TRY(add_number(config, "topk", (double)option_int(w->a->options, "top_k")));
  TRY(add_number(config, "vblora_dropout", 0));
  TRY(add_flag(config, "save_only_topk_weights", w->only_top_k));
  TRY(add_flag(config, "fan_in_fan_out", 0));
  return put_segment(w, NULL, "bank", PEFT_ROOT "vblora_vector_bank", 2, bank->rows, bank->cols, 0);
}

/* The stored array of that name; its numbers in *values. */
static int save_array(peft_writing *w, const char *name, stored_array *array, void **values) {
  for (int i = 0; i < adapter_stored_count(w->a); i++) {
    TRY(adapter_stored(w->a, i, array));
    if (strcmp(array->name, name)) continue;
    TRY(arena_take(w->memory, (size_t)stored_array_bytes(array), 1, values));
    return adapter_save(w->a, w->theta + model_adapter_offset(w->m), i, *values);
  }
  return FAIL(ERROR_INTERNAL, NULL, "there is no stored array '%s'", name);
}

static int put_top_k(peft_writing *w, const site *s, const char *part, int64_t d0, int64_t d1) {
  char name[METHOD_NAME_BYTES + 16], suffix[64];
  stored_array array;
  void *values;
  TRY(text_format(name, sizeof name, "%s.logits_%s.chosen", s->name, part));
  TRY(text_format(suffix, sizeof suffix, "vblora_logits_%s_topk_indices", part));
  TRY(save_array(w, name, &array, &values));
  int is_short = array.type == STORED_U16 && peft_segment(w->m, NULL, "bank")->rows <= 32768; /* as PEFT has it; the same bits */
  TRY(peft_put(w, s, suffix, is_short ? TENSOR_I16 : adapter_tensor_type(array.type), values, 3, d0, d1, array.cols));
  TRY(text_format(name, sizeof name, "%s.logits_%s.weights", s->name, part));
  TRY(text_format(suffix, sizeof suffix, "vblora_logits_%s_topk_weights", part));
  TRY(save_array(w, name, &array, &values));
  return peft_put(w, s, suffix, TENSOR_F32, values, 3, d0, d1, array.cols);
}

static int vblora_map(void *context, const site *s) {
  peft_writing *w = context;
  int64_t rank = peft_rank(w->a), b = vector_length(w), h = peft_segment(w->m, NULL, "bank")->rows;
  if (w->only_top_k) {
    TRY(put_top_k(w, s, "A", rank, s->in / b));
    return put_top_k(w, s, "B", s->out / b, rank);
  }
  TRY(put_segment(w, s, "logits_A", "vblora_logits_A", 3, rank, s->in / b, h));
  return put_segment(w, s, "logits_B", "vblora_logits_B", 3, s->out / b, rank, h);
}

/* ---- Uni-LoRA ---- */

static int unilora_shared(peft_writing *w, cJSON *config) {
  const segment *vector = peft_segment(w->m, NULL, "theta_d");
  int64_t count = w->a->factor_count;
  double *often;
  TRY(arena_take(w->memory, (size_t)count, sizeof *w->scale, &w->scale));
  TRY(arena_take(w->memory, (size_t)vector->cols, sizeof *often, &often));
  w->index = w->a->constants[0].index;
  for (int64_t i = 0; i < count; i++) often[w->index[i]] += 1;
  for (int64_t i = 0; i < count; i++) w->scale[i] = (float)(1 / sqrt(often[w->index[i]]));
  TRY(add_number(config, "r", (double)peft_rank(w->a)));
  TRY(add_number(config, "theta_d_length", vector->cols));
  TRY(add_number(config, "proj_seed", 42));
  TRY(add_number(config, "unilora_dropout", 0));
  TRY(add_flag(config, "save_indices", 1));
  TRY(add_flag(config, "fan_in_fan_out", 0));
  return put_segment(w, NULL, "theta_d", PEFT_ROOT "unilora_theta_d", 1, vector->cols, 0, 0);
}

static int unilora_map(void *context, const site *s) {
  static const char *const indices[] = {"unilora_indices_A", "unilora_indices_B"}, *const scales[] = {"unilora_scales_A", "unilora_scales_B"};
  peft_writing *w = context;
  int64_t rank = peft_rank(w->a), shape[2][2] = {{rank, s->in}, {s->out, rank}};
  for (int part = 0; part < 2; part++) {
    int64_t count = shape[part][0] * shape[part][1], *wide;
    TRY(arena_take(w->memory, (size_t)count, sizeof *wide, &wide));
    for (int64_t i = 0; i < count; i++) wide[i] = w->index[w->index_at + i];
    TRY(peft_put(w, s, indices[part], TENSOR_I64, wide, 2, shape[part][0], shape[part][1], 0));
    TRY(peft_put(w, s, scales[part], TENSOR_F32, w->scale + w->index_at, 2, shape[part][0], shape[part][1], 0));
    w->index_at += count;
  }
  return ERROR_NONE;
}

/* ---- GLoRA: PEFT has one support for A and B, one for D and E, the same for all maps ---- */

static const char *const tensors[] = {"A", "B", "C", "D", "E"};
enum { TENSOR_A, TENSOR_B, TENSOR_C, TENSOR_D, TENSOR_E, TENSORS };

/* The segment of tensor t's piece; its numbers of one support follow each other. */
static const segment *piece_of(const peft_writing *w, const site *s, int t, const char *piece) {
  char name[32];
  if (text_format(name, sizeof name, "%s.%s", tensors[t], piece)) return NULL;
  return peft_segment(w->m, s, name);
}

static const char *support_of(const peft_writing *w, const site *s, int t) {
  if (piece_of(w, s, t, "lora_u")) return "lora";
  if (piece_of(w, s, t, "vector")) return "vector";
  return piece_of(w, s, t, "constant") ? "constant" : "none";
}

static int check_path(peft_writing *w, const site *s) {
  char path[TENSORS + 1] = "";
  for (int t = 0; t < TENSORS; t++) path[t] = *support_of(w, s, t);
  if (path[TENSOR_A] != path[TENSOR_B] || path[TENSOR_D] != path[TENSOR_E])
    return FAIL(ERROR_USAGE, "fold it in instead: peftscale merge",
                "PEFT's GLoRA has one support for A and B and one for D and E; here %s has A %s, B %s, D %s, E %s", s->name, support_of(w, s, TENSOR_A),
                support_of(w, s, TENSOR_B), support_of(w, s, TENSOR_D), support_of(w, s, TENSOR_E));
  if (*w->path && memcmp(w->path, path, TENSORS))
    return FAIL(ERROR_USAGE, "fold it in instead: peftscale merge", "PEFT's GLoRA has one path for all maps; that of %s differs", s->name);
  memcpy(w->path, path, TENSORS);
  return ERROR_NONE;
}

static int glora_shared(peft_writing *w, cJSON *config) {
  const site *first = NULL;
  if (w->a->active)
    return FAIL(ERROR_USAGE, "choose a path first and train it with method.path=listed, or fold it in: peftscale merge",
                "a super-network (method.path=random) has no one path that PEFT could hold");
  for (int i = 0; i < w->a->site_count && !first; i++)
    if (adapter_targets(w->a, &w->a->sites[i])) first = &w->a->sites[i];
  TRY(check_path(w, first));
  TRY(add_number(config, "r", (double)peft_rank(w->a)));
  if (!cJSON_AddStringToObject(config, "config_A_B", support_of(w, first, TENSOR_A)) ||
      !cJSON_AddStringToObject(config, "config_C", support_of(w, first, TENSOR_C)) ||
      !cJSON_AddStringToObject(config, "config_D_E", support_of(w, first, TENSOR_D)))
    return FAIL(ERROR_MEMORY, NULL, "out of memory");
  return ERROR_NONE;
}

static int put_low_rank(peft_writing *w, const site *s, int t, const real *down) {
  int64_t rank = peft_rank(w->a), length = t == TENSOR_C ? s->in : s->out, in = t == TENSOR_C ? 1 : s->in;
  char name[32], own[32];
  float *columns;
  TRY(arena_take(w->memory, (size_t)(length * rank), sizeof *columns, &columns));
  for (int64_t i = 0; i < length; i++)
    for (int64_t k = 0; k < rank; k++) columns[i * rank + k] = (float)down[k * length + i];
  TRY(text_format(name, sizeof name, "glora_%s.Xd", tensors[t]));
  TRY(peft_put(w, s, name, TENSOR_F32, columns, 2, length, rank, 0));
  TRY(text_format(name, sizeof name, "glora_%s.Xu", tensors[t]));
  TRY(text_format(own, sizeof own, "%s.lora_u", tensors[t]));
  return put_segment(w, s, own, name, 2, rank, in, 0);
}

static int glora_map(void *context, const site *s) {
  peft_writing *w = context;
  TRY(check_path(w, s));
  for (int t = 0; t < TENSORS; t++) {
    const char *support = support_of(w, s, t);
    const segment *first = piece_of(w, s, t, t == TENSOR_C ? "vector" : "constant");
    char name[32];
    if (!first) continue;
    const real *values = w->theta + first->offset;
    if (!strcmp(support, "lora")) {
      TRY(put_low_rank(w, s, t, values));
      continue;
    }
    TRY(text_format(name, sizeof name, "glora_%s.X", tensors[t]));
    if (!strcmp(support, "constant")) TRY(peft_put(w, s, name, TENSOR_F32, values, 1, 1, 0, 0));
    else TRY(peft_put(w, s, name, TENSOR_F32, values, t >= TENSOR_D ? 1 : 2, t == TENSOR_C ? s->in : s->out, 1, 0));
  }
  return ERROR_NONE;
}

const peft_writer peft_writers[] = {
    {"lora", "LORA", lora_shared, lora_map},         {"vera", "VERA", vera_shared, vera_map},
    {"vblora", "VBLORA", vblora_shared, vblora_map}, {"unilora", "UNILORA", unilora_shared, unilora_map},
    {"glora", "GLORA", glora_shared, glora_map},     {NULL, NULL, NULL, NULL},
};
