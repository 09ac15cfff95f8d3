/* adapter_config.json: typed access, and refusal of whatever this program does not do. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "store/file.h"
#include "train/peft_settings.h"

enum { MAX_CONFIG_BYTES = 1 << 20 };

static const cJSON *setting(const peft_reading *r, const char *key) { return cJSON_GetObjectItemCaseSensitive(r->config, key); }

int peft_setting_int(const peft_reading *r, const char *key, int64_t low, int64_t high, int64_t *value) {
  const cJSON *item = setting(r, key);
  double number = cJSON_IsNumber(item) ? item->valuedouble : -1;
  if (cJSON_IsNumber(item) && number >= (double)low && number <= (double)high && number == (double)(int64_t)number) {
    *value = (int64_t)number;
    return ERROR_NONE;
  }
  return FAIL(ERROR_INPUT, NULL, "%s: '%s' is missing or no whole number from %lld to %lld", r->config_path, key, (long long)low, (long long)high);
}

int peft_setting_is_true(const peft_reading *r, const char *key) { return cJSON_IsTrue(setting(r, key)); }

int peft_setting_true(const peft_reading *r, const char *key, const char *hint) {
  if (peft_setting_is_true(r, key)) return ERROR_NONE;
  return FAIL(ERROR_INPUT, hint, "%s: '%s' is not true, so the adapter is not complete", r->config_path, key);
}

/* Settings that are read elsewhere, or that do not change what the trained numbers mean. */
static const char *const understood[] = {"peft_type",
                                         "peft_version",
                                         "auto_mapping",
                                         "base_model_name_or_path",
                                         "inference_mode",
                                         "revision",
                                         "task_type",
                                         "target_modules",
                                         "modules_to_save",
                                         "megatron_core",
                                         "qalora_group_size",
                                         "init_lora_weights",
                                         "init_weights",
                                         "init_theta_d_bound",
                                         "init_logits_std",
                                         "d_initial",
                                         "projection_prng_key",
                                         "proj_seed",
                                         "save_projection",
                                         "save_indices",
                                         "save_only_topk_weights",
                                         "r",
                                         "lora_alpha",
                                         "num_vectors",
                                         "vector_length",
                                         "topk",
                                         "theta_d_length",
                                         "config_A_B",
                                         "config_C",
                                         "config_D_E",
                                         "lora_dropout",
                                         "vera_dropout",
                                         "vblora_dropout",
                                         "unilora_dropout",
                                         "init_vector_bank_bound"};

static int is_understood(const char *key) {
  for (size_t i = 0; i < sizeof understood / sizeof *understood; i++)
    if (!strcmp(understood[i], key)) return 1;
  return 0;
}

/* The value with which a setting might as well not exist. */
static int is_neutral(const cJSON *item) {
  if (cJSON_IsNull(item) || cJSON_IsFalse(item)) return 1;
  if (cJSON_IsString(item)) return !*item->valuestring || !strcmp(item->valuestring, "none");
  if (cJSON_IsNumber(item)) return item->valuedouble == 0;
  return (cJSON_IsArray(item) || cJSON_IsObject(item)) && cJSON_GetArraySize(item) == 0;
}

static int check_settings(const peft_reading *r) {
  const cJSON *item, *before;
  cJSON_ArrayForEach(item, r->config) {
    const char *key = item->string;
    cJSON_ArrayForEach(before, r->config) {
      if (before == item) break;
      if (!strcmp(before->string, key)) return FAIL(ERROR_INPUT, NULL, "%s: '%.60s' is given twice", r->config_path, key);
    }
    if (!is_understood(key) && !is_neutral(item))
      return FAIL(ERROR_INPUT, "merge the adapter with PEFT (merge_and_unload) and use the merged model", "%s: the setting '%.60s' is not supported",
                  r->config_path, key);
  }
  return ERROR_NONE;
}

static int check_task(const peft_reading *r) {
  const cJSON *task = setting(r, "task_type"), *saved = setting(r, "modules_to_save"), *item;
  if (task && !cJSON_IsNull(task) && !(cJSON_IsString(task) && (!strcmp(task->valuestring, "SEQ_CLS") || !strcmp(task->valuestring, "FEATURE_EXTRACTION"))))
    return FAIL(ERROR_INPUT, NULL, "%s: 'task_type' is '%.40s'; only SEQ_CLS and FEATURE_EXTRACTION are supported", r->config_path,
                cJSON_IsString(task) ? task->valuestring : "no text");
  if (saved && !cJSON_IsNull(saved) && !cJSON_IsArray(saved)) return FAIL(ERROR_INPUT, NULL, "%s: 'modules_to_save' is no list", r->config_path);
  cJSON_ArrayForEach(item, saved) {
    if (!cJSON_IsString(item) || (strcmp(item->valuestring, "classifier") && strcmp(item->valuestring, "score")))
      return FAIL(ERROR_INPUT, NULL, "%s: 'modules_to_save' names '%.60s'; only the classifier is supported", r->config_path,
                  cJSON_IsString(item) ? item->valuestring : "something that is no text");
  }
  return ERROR_NONE;
}

int peft_settings_read(peft_reading *r) {
  char *text;
  size_t count;
  TRY(file_read(r->config_path, MAX_CONFIG_BYTES, &text, &count));
  r->config = strlen(text) == count ? cJSON_ParseWithOpts(text, NULL, 1) : NULL;
  free(text);
  if (!cJSON_IsObject(r->config)) return FAIL(ERROR_INPUT, NULL, "%s: is no JSON object", r->config_path);
  TRY(check_settings(r));
  return check_task(r);
}

int peft_settings_reader(const peft_reading *r, const peft_reader **how) {
  const cJSON *type = setting(r, "peft_type");
  if (!cJSON_IsString(type)) return FAIL(ERROR_INPUT, "give a directory that PEFT's save_pretrained wrote", "%s: 'peft_type' is missing", r->config_path);
  for (*how = peft_readers; (*how)->type; (*how)++)
    if (!strcmp((*how)->type, type->valuestring)) return ERROR_NONE;
  return FAIL(ERROR_INPUT, "supported: LORA, VERA, VBLORA, UNILORA, GLORA", "%s: peft_type '%.40s' is not supported", r->config_path, type->valuestring);
}

static int ends_with_name(const char *path, const char *word) {
  size_t n = strlen(path), m = strlen(word);
  return m && n >= m && !strcmp(path + n - m, word) && (n == m || path[n - m - 1] == '.');
}

static int is_targeted(const peft_reading *r, const char *word) {
  for (int i = 0; i < PEFT_MODULES; i++)
    if (r->has_module[i] && ends_with_name(peft_pattern(r->shape.family, i), word)) return 1;
  return 0;
}

int peft_settings_check_targets(const peft_reading *r) {
  const cJSON *targets = setting(r, "target_modules"), *item;
  if (cJSON_IsString(targets)) return ERROR_NONE; /* a regular expression: the tensors say what it meant */
  if (!cJSON_IsArray(targets)) return FAIL(ERROR_INPUT, NULL, "%s: 'target_modules' is missing or neither a text nor a list", r->config_path);
  cJSON_ArrayForEach(item, targets) {
    if (!cJSON_IsString(item)) return FAIL(ERROR_INPUT, NULL, "%s: 'target_modules' holds something that is no text", r->config_path);
    if (!is_targeted(r, item->valuestring))
      return FAIL(ERROR_INPUT, NULL, "%s: 'target_modules' names '%.60s', but no tensor adapts such a map of a %s model", r->config_path, item->valuestring,
                  r->shape.family->name);
  }
  return ERROR_NONE;
}
