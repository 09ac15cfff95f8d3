#include "model/family.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"

static const tensor_names bert_names = {
    .words = "embeddings.word_embeddings",
    .positions = "embeddings.position_embeddings",
    .types = "embeddings.token_type_embeddings",
    .embedding_norm = "embeddings.LayerNorm",
    .query = "encoder.layer.%d.attention.self.query",
    .key = "encoder.layer.%d.attention.self.key",
    .value = "encoder.layer.%d.attention.self.value",
    .attention_out = "encoder.layer.%d.attention.output.dense",
    .attention_norm = "encoder.layer.%d.attention.output.LayerNorm",
    .up = "encoder.layer.%d.intermediate.dense",
    .down = "encoder.layer.%d.output.dense",
    .ffn_norm = "encoder.layer.%d.output.LayerNorm",
};

static const family bert = {
    .name = "bert",
    .prefix = "bert.",
    .position_offset = 0,
    .tensors = &bert_names,
    .mlm_dense = "cls.predictions.transform.dense",
    .mlm_norm = "cls.predictions.transform.LayerNorm",
    .mlm_bias = "cls.predictions.bias",
};

/* RoBERTa is BERT with another prefix and head, positions that begin behind the padding id, and one segment type. */
static const family roberta = {
    .name = "roberta",
    .prefix = "roberta.",
    .position_offset = 2,
    .tensors = &bert_names,
    .mlm_dense = "lm_head.dense",
    .mlm_norm = "lm_head.layer_norm",
    .mlm_bias = "lm_head.bias",
};

const family *const family_list[] = {&bert, &roberta, NULL};

const known_shape known_shapes[] = {
    /* name                family     L   d     h   ffn   vocab  pos  types eps */
    {"minilm-l6", "bert", 6, 384, 12, 1536, 30522, 512, 2, 1e-12},         {"bert-base", "bert", 12, 768, 12, 3072, 30522, 512, 2, 1e-12},
    {"bert-large", "bert", 24, 1024, 16, 4096, 30522, 512, 2, 1e-12},      {"roberta-base", "roberta", 12, 768, 12, 3072, 50265, 514, 1, 1e-5},
    {"roberta-large", "roberta", 24, 1024, 16, 4096, 50265, 514, 1, 1e-5}, {NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0},
};

int family_find(const char *name, const family **result) {
  for (int i = 0; family_list[i]; i++)
    if (!strcmp(family_list[i]->name, name)) {
      *result = family_list[i];
      return ERROR_NONE;
    }
  return FAIL(ERROR_USAGE, "see: peftscale list families", "there is no model family '%s'", name);
}

int model_shape_known(const char *name, model_shape *shape) {
  const char *names[64];
  int count = 0;
  for (const known_shape *k = known_shapes; k->name; k++) {
    if (strcmp(k->name, name)) {
      names[count++] = k->name;
      continue;
    }
    *shape = (model_shape){.layers = k->layers,
                           .width = k->width,
                           .heads = k->heads,
                           .ffn = k->ffn,
                           .vocabulary = k->vocabulary,
                           .positions = k->positions,
                           .types = k->types,
                           .norm_epsilon = k->norm_epsilon};
    return family_find(k->family, &shape->family);
  }
  int near = text_nearest(name, names, count);
  char hint[128];
  if (near >= 0) snprintf(hint, sizeof hint, "did you mean '%s'?", names[near]);
  else snprintf(hint, sizeof hint, "see: peftscale list models");
  return FAIL(ERROR_USAGE, hint, "there is no known model shape '%s'", name);
}

static int take_int(const cJSON *root, const char *origin, const char *key, int low, int high, int *value) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, key);
  if (!item) return FAIL(ERROR_INPUT, "a complete config.json of the model is needed", "%s: '%s' is missing", origin, key);
  if (!cJSON_IsNumber(item) || item->valuedouble != (double)(int64_t)item->valuedouble)
    return FAIL(ERROR_INPUT, NULL, "%s: '%s' is not a whole number", origin, key);
  if (item->valuedouble < low || item->valuedouble > high)
    return FAIL(ERROR_INPUT, NULL, "%s: '%s' is %g; it must be from %d to %d", origin, key, item->valuedouble, low, high);
  *value = (int)item->valuedouble;
  return ERROR_NONE;
}

/* A text value must be what is implemented; where the key is absent, Hugging Face's default is that. */
static int expect_text(const cJSON *root, const char *origin, const char *key, const char *wanted) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, key);
  if (!item || cJSON_IsNull(item)) return ERROR_NONE;
  if (cJSON_IsString(item) && !strcmp(item->valuestring, wanted)) return ERROR_NONE;
  return FAIL(ERROR_INPUT, NULL, "%s: '%s' is '%s'; only '%s' is supported", origin, key, cJSON_IsString(item) ? item->valuestring : "not a text", wanted);
}

static int parse_root(const cJSON *root, const char *origin, model_shape *shape) {
  const cJSON *type = cJSON_GetObjectItemCaseSensitive(root, "model_type");
  if (!cJSON_IsString(type)) return FAIL(ERROR_INPUT, "a Hugging Face config.json is needed", "%s: 'model_type' is missing", origin);
  if (family_find(type->valuestring, &shape->family))
    return FAIL(ERROR_INPUT, "see: peftscale list families", "%s: model_type '%s' is not supported", origin, type->valuestring);
  TRY(expect_text(root, origin, "hidden_act", "gelu"));
  TRY(expect_text(root, origin, "position_embedding_type", "absolute"));
  TRY(take_int(root, origin, "num_hidden_layers", 1, 1024, &shape->layers));
  TRY(take_int(root, origin, "hidden_size", 1, 65536, &shape->width));
  TRY(take_int(root, origin, "num_attention_heads", 1, 1024, &shape->heads));
  TRY(take_int(root, origin, "intermediate_size", 1, 262144, &shape->ffn));
  TRY(take_int(root, origin, "vocab_size", 1, 4194304, &shape->vocabulary));
  TRY(take_int(root, origin, "max_position_embeddings", 1, 1048576, &shape->positions));
  TRY(take_int(root, origin, "type_vocab_size", 1, 64, &shape->types));
  const cJSON *epsilon = cJSON_GetObjectItemCaseSensitive(root, "layer_norm_eps");
  shape->norm_epsilon = cJSON_IsNumber(epsilon) ? epsilon->valuedouble : 1e-12;
  if (!(shape->norm_epsilon > 0 && shape->norm_epsilon < 1)) return FAIL(ERROR_INPUT, NULL, "%s: 'layer_norm_eps' is %g", origin, shape->norm_epsilon);
  return ERROR_NONE;
}

int model_shape_parse(const char *text, const char *origin, model_shape *shape) {
  *shape = (model_shape){0};
  cJSON *root = cJSON_Parse(text);
  if (!cJSON_IsObject(root)) {
    cJSON_Delete(root);
    return FAIL(ERROR_INPUT, NULL, "%s: not a JSON object", origin);
  }
  int code = parse_root(root, origin, shape);
  cJSON_Delete(root);
  TRY(code);
  return model_shape_check(shape, origin);
}

int model_shape_check(const model_shape *shape, const char *origin) {
  if (shape->layers < 1 || shape->width < 1 || shape->heads < 1 || shape->ffn < 1 || shape->vocabulary < 1 || shape->positions < 1 || shape->types < 1)
    return FAIL(ERROR_USAGE, NULL, "%s: every size of a model must be at least 1", origin);
  if (shape->width % shape->heads)
    return FAIL(ERROR_USAGE, NULL, "%s: the width (%d) is no multiple of the number of attention heads (%d)", origin, shape->width, shape->heads);
  if (shape->positions <= shape->family->position_offset)
    return FAIL(ERROR_USAGE, NULL, "%s: %d positions leave none behind the first %d", origin, shape->positions, shape->family->position_offset);
  return ERROR_NONE;
}

int model_shape_write(const model_shape *s, char *buffer, size_t bytes) {
  int bert_like = !strcmp(s->family->name, "bert");
  return text_format(buffer, bytes,
                     "{\n  \"architectures\": [\"%s\"],\n  \"model_type\": \"%s\",\n  \"hidden_act\": \"gelu\",\n  \"hidden_size\": %d,\n"
                     "  \"intermediate_size\": %d,\n  \"layer_norm_eps\": %g,\n  \"max_position_embeddings\": %d,\n  \"num_attention_heads\": %d,\n"
                     "  \"num_hidden_layers\": %d,\n  \"pad_token_id\": %d,\n  \"position_embedding_type\": \"absolute\",\n  \"torch_dtype\": \"float32\",\n"
                     "  \"type_vocab_size\": %d,\n  \"vocab_size\": %d\n}\n",
                     bert_like ? "BertModel" : "RobertaModel", s->family->name, s->width, s->ffn, s->norm_epsilon, s->positions, s->heads, s->layers,
                     bert_like ? 0 : 1, s->types, s->vocabulary);
}
