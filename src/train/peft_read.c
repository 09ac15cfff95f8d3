/* What each method's settings and tensors in PEFT's files become here. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "train/peft_private.h"

enum { MOST = 1 << 30 };

/* Reads a tensor of this shape into the segment SITE.OWN. */
static int take_segment(peft_reading *r, const site *s, const char *suffix, const char *own, int dims, int64_t d0, int64_t d1, int64_t d2) {
  const segment *to = peft_segment(r->m, s, own);
  int index;
  TRY(peft_take(r, s, suffix, dims, d0, d1, d2, &index));
  int64_t count = safetensors_entry_at(r->tensors, index)->count;
  if (!to || count != (int64_t)to->rows * to->cols) return FAIL(ERROR_INTERNAL, NULL, "segment '%s' has another size", own);
  return safetensors_read(r->tensors, index, 0, count, r->theta + to->offset);
}

static int add_rank(peft_reading *r) {
  int64_t rank;
  TRY(peft_setting_int(r, "r", 1, 65536, &rank));
  return peft_word(r, "method.rank=%lld", (long long)rank);
}

static int nothing(peft_reading *r) {
  (void)r;
  return ERROR_NONE;
}

/* ---- LoRA ---- */

static int lora_settings(peft_reading *r) {
  const cJSON *alpha = cJSON_GetObjectItemCaseSensitive(r->config, "lora_alpha"), *init = cJSON_GetObjectItemCaseSensitive(r->config, "init_lora_weights");
  if (!cJSON_IsNumber(alpha) || !(alpha->valuedouble >= 0 && alpha->valuedouble <= 1e6))
    return FAIL(ERROR_INPUT, NULL, "%s: 'lora_alpha' is missing or no number from 0 to 1000000", r->config_path);
  int plain =
      !init || cJSON_IsNull(init) || cJSON_IsBool(init) ||
      (cJSON_IsString(init) && (!strcmp(init->valuestring, "gaussian") || !strcmp(init->valuestring, "orthogonal") || !strcmp(init->valuestring, "eva")));
  if (!plain)
    return FAIL(ERROR_INPUT, NULL, "%s: 'init_lora_weights' is '%.40s': such a start changes the base weights, which this program does not know",
                r->config_path, cJSON_IsString(init) ? init->valuestring : "of another type");
  TRY(add_rank(r));
  return peft_word(r, "method.alpha=%.17g", alpha->valuedouble);
}

static int lora_map(void *context, const site *s) {
  peft_reading *r = context;
  TRY(take_segment(r, s, "lora_A.weight", "lora_A", 2, peft_rank(r->a), s->in, 0));
  return take_segment(r, s, "lora_B.weight", "lora_B", 2, s->out, peft_rank(r->a), 0);
}

/* ---- VeRA ---- */

static int vera_settings(peft_reading *r) {
  TRY(peft_setting_true(r, "save_projection", "save it again with save_projection=True: PEFT draws its frozen pair with PyTorch's generator"));
  TRY(add_rank(r));
  return peft_word(r, "method.projection=file");
}

static int vera_shared(peft_reading *r) {
  static const char *const names[] = {PEFT_ROOT "vera_A", PEFT_ROOT "vera_B"};
  for (int i = 0; i < 2; i++) {
    const method_constant *c = &r->a->constants[i];
    int index;
    TRY(peft_take(r, NULL, names[i], 2, c->rows, c->cols, 0, &index));
    TRY(safetensors_read(r->tensors, index, 0, c->rows * c->cols, c->value));
  }
  return ERROR_NONE;
}

static int vera_map(void *context, const site *s) {
  peft_reading *r = context;
  TRY(take_segment(r, s, "vera_lambda_d", "d", 1, peft_rank(r->a), 0, 0));
  return take_segment(r, s, "vera_lambda_b", "b", 1, s->out, 0, 0);
}

/* ---- VB-LoRA ---- */

static int vblora_settings(peft_reading *r) {
  int64_t bank, length, top_k;
  TRY(peft_setting_int(r, "num_vectors", 1, 16777216, &bank));
  TRY(peft_setting_int(r, "vector_length", 1, 65536, &length));
  TRY(peft_setting_int(r, "topk", 1, 16, &top_k));
  r->is_result = peft_setting_is_true(r, "save_only_topk_weights");
  TRY(add_rank(r));
  TRY(peft_word(r, "method.bank=%lld", (long long)bank));
  TRY(peft_word(r, "method.vector_length=%lld", (long long)length));
  return peft_word(r, "method.top_k=%lld", (long long)top_k);
}

static int vblora_shared(peft_reading *r) {
  const segment *bank = peft_segment(r->m, NULL, "bank");
  return take_segment(r, NULL, PEFT_ROOT "vblora_vector_bank", "bank", 2, bank->rows, bank->cols, 0);
}

/* Logits that choose and weigh as the file says: log w at the chosen places, and far below elsewhere. */
static int spread_top_k(const peft_reading *r, const char *name, int64_t tiles, int k, int bank, const int64_t *chosen, const real *weight, real *logits) {
  static const real unchosen = (real)-1e30;
  for (int64_t i = 0; i < tiles * bank; i++) logits[i] = unchosen;
  for (int64_t tile = 0; tile < tiles; tile++) {
    double left = 1;
    for (int p = 0; p < k; p++) {
      real *to = logits + tile * bank + chosen[tile * k + p];
      double w = p < k - 1 ? (double)weight[tile * (k - 1) + p] : left;
      if (!(w > -1e-5 && w < 1 + 1e-5) || *to != unchosen)
        return FAIL(ERROR_INPUT, NULL, "%s: tensor '%s': tile %lld: an index is repeated, or a weight outside 0 .. 1", r->tensor_path, name, (long long)tile);
      left -= w;
      *to = (real)log(fmax(w, 1e-30));
    }
  }
  return ERROR_NONE;
}

static int take_top_k(peft_reading *r, const site *s, const char *part, int64_t d0, int64_t d1) {
  char own[32], suffix[64];
  int indices, weights, k = (int)option_int(r->a->options, "top_k");
  int64_t tiles = d0 * d1, *chosen;
  real *weight;
  TRY(text_format(own, sizeof own, "logits_%s", part));
  const segment *to = peft_segment(r->m, s, own);
  TRY(text_format(suffix, sizeof suffix, "vblora_logits_%s_topk_indices", part));
  TRY(peft_take(r, s, suffix, 3, d0, d1, k, &indices));
  TRY(arena_take(r->memory, (size_t)(tiles * k), sizeof *chosen, &chosen));
  TRY(safetensors_read_whole(r->tensors, indices, 0, tiles * k, 0, to->cols - 1, chosen));
  TRY(text_format(suffix, sizeof suffix, "vblora_logits_%s_topk_weights", part));
  TRY(peft_take(r, s, suffix, 3, d0, d1, k - 1, &weights));
  TRY(arena_take(r->memory, (size_t)(tiles * (k - 1)), sizeof *weight, &weight));
  TRY(safetensors_read(r->tensors, weights, 0, tiles * (k - 1), weight));
  return spread_top_k(r, safetensors_entry_at(r->tensors, indices)->name, tiles, k, to->cols, chosen, weight, r->theta + to->offset);
}

static int vblora_map(void *context, const site *s) {
  peft_reading *r = context;
  const segment *bank = peft_segment(r->m, NULL, "bank");
  int64_t rank = peft_rank(r->a), b = bank->cols;
  if (r->is_result) {
    TRY(take_top_k(r, s, "A", rank, s->in / b));
    return take_top_k(r, s, "B", s->out / b, rank);
  }
  TRY(take_segment(r, s, "vblora_logits_A", "logits_A", 3, rank, s->in / b, bank->rows));
  return take_segment(r, s, "vblora_logits_B", "logits_B", 3, s->out / b, rank, bank->rows);
}

/* ---- Uni-LoRA ---- */

static int unilora_settings(peft_reading *r) {
  int64_t d;
  TRY(peft_setting_true(r, "save_indices", "save it again with save_indices=True: PEFT draws its indices with NumPy's generator"));
  TRY(peft_setting_int(r, "theta_d_length", 1, MOST, &d));
  TRY(add_rank(r));
  TRY(peft_word(r, "method.d=%lld", (long long)d));
  return peft_word(r, "method.projection=file");
}

static int unilora_shared(peft_reading *r) {
  const segment *vector = peft_segment(r->m, NULL, "theta_d");
  return take_segment(r, NULL, PEFT_ROOT "unilora_theta_d", "theta_d", 1, vector->cols, 0, 0);
}

static int unilora_map(void *context, const site *s) {
  static const char *const indices[] = {"unilora_indices_A", "unilora_indices_B"};
  peft_reading *r = context;
  const method_constant *c = &r->a->constants[0];
  int64_t rank = peft_rank(r->a), shape[2][2] = {{rank, s->in}, {s->out, rank}};
  for (int part = 0; part < 2; part++) {
    int64_t count = shape[part][0] * shape[part][1], *wide;
    int index;
    TRY(peft_take(r, s, indices[part], 2, shape[part][0], shape[part][1], 0, &index));
    TRY(arena_take(r->memory, (size_t)count, sizeof *wide, &wide));
    TRY(safetensors_read_whole(r->tensors, index, 0, count, 0, c->limit - 1, wide));
    for (int64_t i = 0; i < count; i++) c->index[r->index_at + i] = (int32_t)wide[i];
    r->index_at += count;
  }
  return ERROR_NONE;
}

/* The scales are 1 / sqrt(how often a number is used) here; a file that says otherwise means another method. */
static int check_scales(void *context, const site *s) {
  static const char *const scales[] = {"unilora_scales_A", "unilora_scales_B"};
  peft_reading *r = context;
  const method_constant *c = &r->a->constants[0];
  int64_t rank = peft_rank(r->a), shape[2][2] = {{rank, s->in}, {s->out, rank}};
  for (int part = 0; part < 2; part++) {
    int64_t count = shape[part][0] * shape[part][1];
    real *scale;
    int index;
    TRY(peft_take(r, s, scales[part], 2, shape[part][0], shape[part][1], 0, &index));
    TRY(arena_take(r->memory, (size_t)count, sizeof *scale, &scale));
    TRY(safetensors_read(r->tensors, index, 0, count, scale));
    for (int64_t i = 0; i < count; i++) {
      double wanted = 1 / sqrt((double)c->value[c->index[r->index_at + i]]);
      if (fabs((double)scale[i] - wanted) > 1e-3 * wanted) /* half precision is good enough */
        return FAIL(ERROR_INPUT, NULL, "%s: tensor '%s': element %lld is %g, but its number is used so often that it should be %g", r->tensor_path,
                    safetensors_entry_at(r->tensors, index)->name, (long long)i, (double)scale[i], wanted);
    }
    r->index_at += count;
  }
  return ERROR_NONE;
}

static int unilora_finish(peft_reading *r) {
  method_constant *c = &r->a->constants[0];
  TRY(arena_take(r->memory, (size_t)c->limit, sizeof *c->value, &c->value)); /* an index has no values of its own: room for the counts */
  for (int64_t i = 0; i < c->cols; i++) c->value[c->index[i]] += 1;
  r->index_at = 0;
  int code = peft_each_map(r->m, check_scales, r);
  c->value = NULL;
  return code;
}

/* ---- GLoRA ---- */

static const char *const letters = "ABCDE";

static int glora_support(const peft_reading *r, const char *key, const char *const *allowed, const char **support) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(r->config, key);
  for (int i = 0; cJSON_IsString(item) && allowed[i]; i++)
    if (!strcmp(item->valuestring, allowed[i])) {
      *support = item->valuestring;
      return ERROR_NONE;
    }
  return FAIL(ERROR_INPUT, NULL, "%s: '%s' is missing or unknown", r->config_path, key);
}

static int glora_settings(peft_reading *r) {
  static const char *const wide[] = {"lora", "vector", "constant", "none", NULL}, *const column[] = {"lora", "vector", "none", NULL},
                           *const bias[] = {"vector", "constant", "none", NULL};
  const char *ab = "", *c = "", *de = "";
  TRY(glora_support(r, "config_A_B", wide, &ab));
  TRY(glora_support(r, "config_C", column, &c));
  TRY(glora_support(r, "config_D_E", bias, &de));
  TRY(add_rank(r));
  TRY(peft_word(r, "method.a=%s", ab));
  TRY(peft_word(r, "method.b=%s", ab));
  TRY(peft_word(r, "method.c=%s", c));
  TRY(peft_word(r, "method.d=%s", de));
  return peft_word(r, "method.e=%s", de);
}

static int take_low_rank(peft_reading *r, const site *s, char letter, real *down) {
  char suffix[32], own[32];
  int64_t rank = peft_rank(r->a), length = letter == 'C' ? s->in : s->out;
  real *columns;
  int index;
  TRY(text_format(suffix, sizeof suffix, "glora_%c.Xd", letter));
  TRY(peft_take(r, s, suffix, 2, length, rank, 0, &index));
  TRY(arena_take(r->memory, (size_t)(length * rank), sizeof *columns, &columns));
  TRY(safetensors_read(r->tensors, index, 0, length * rank, columns));
  for (int64_t i = 0; i < length; i++)
    for (int64_t k = 0; k < rank; k++) down[k * length + i] = columns[i * rank + k];
  TRY(text_format(suffix, sizeof suffix, "glora_%c.Xu", letter));
  TRY(text_format(own, sizeof own, "%c.lora_u", letter));
  return take_segment(r, s, suffix, own, 2, rank, letter == 'C' ? 1 : s->in, 0);
}

/* PEFT writes an absent support as a tensor of zeros. */
static int take_zeros(peft_reading *r, const site *s, char letter) {
  char suffix[32], name[PEFT_KEY_BYTES], full[2 * PEFT_KEY_BYTES];
  TRY(peft_map_name(r->shape.family, s, name));
  TRY(text_format(suffix, sizeof suffix, "glora_%c.zeros", letter));
  TRY(text_format(full, sizeof full, PEFT_MODEL "%s%s.%s", r->prefix, name, suffix));
  int index = safetensors_find(r->tensors, full);
  if (index < 0) return ERROR_NONE;
  const safetensors_entry *e = safetensors_entry_at(r->tensors, index);
  for (int64_t i = 0; i < e->count; i++) {
    real value;
    TRY(safetensors_read(r->tensors, index, i, 1, &value));
    if (value != 0) return FAIL(ERROR_INPUT, NULL, "%s: tensor '%s': element %lld is not 0", r->tensor_path, full, (long long)i);
  }
  r->used[index] = 1;
  return ERROR_NONE;
}

static int take_support(peft_reading *r, const site *s, char letter, const char *support) {
  char own[32], suffix[32];
  if (!strcmp(support, "none")) return take_zeros(r, s, letter);
  TRY(text_format(own, sizeof own, "%c.%s", letter, letter == 'C' ? "vector" : "constant"));
  const segment *first = peft_segment(r->m, s, own);
  if (!first) return FAIL(ERROR_INTERNAL, NULL, "there is no segment '%s'", own);
  real *values = r->theta + first->offset; /* the pieces of one support follow each other */
  if (!strcmp(support, "lora")) return take_low_rank(r, s, letter, values);
  int64_t count = !strcmp(support, "constant") ? 1 : letter == 'C' ? s->in : s->out;
  int index, dims = !strcmp(support, "vector") && letter <= 'C' ? 2 : 1;
  TRY(text_format(suffix, sizeof suffix, "glora_%c.X", letter));
  TRY(peft_take(r, s, suffix, dims, count, 1, 0, &index));
  return safetensors_read(r->tensors, index, 0, count, values);
}

static int glora_map(void *context, const site *s) {
  static const char *const keys[] = {"a", "b", "c", "d", "e"};
  peft_reading *r = context;
  for (int t = 0; t < 5; t++) TRY(take_support(r, s, letters[t], option_text(r->a->options, keys[t])));
  return ERROR_NONE;
}

const peft_reader peft_readers[] = {
    {"LORA", "lora", lora_settings, nothing, lora_map, NULL},
    {"VERA", "vera", vera_settings, vera_shared, vera_map, NULL},
    {"VBLORA", "vblora", vblora_settings, vblora_shared, vblora_map, NULL},
    {"UNILORA", "unilora", unilora_settings, unilora_shared, unilora_map, unilora_finish},
    {"GLORA", "glora", glora_settings, nothing, glora_map, NULL},
    {NULL, NULL, NULL, NULL, NULL, NULL},
};
