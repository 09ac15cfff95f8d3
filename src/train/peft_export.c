/* Writing a PEFT directory. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/text.h"
#include "store/file.h"
#include "train/adapter_names.h"
#include "train/peft.h"
#include "train/peft_private.h"

#define VERSION_WRITTEN "0.21.2" /* of PEFT, whose format this is */

enum { TENSORS_PER_MAP = 12, SHARED_TENSORS = 4, HEAD_TENSORS = 8 };

int peft_put(peft_writing *w, const site *s, const char *suffix, safetensors_type type, const void *values, int dims, int64_t d0, int64_t d1, int64_t d2) {
  char name[PEFT_KEY_BYTES], full[2 * PEFT_KEY_BYTES], *kept;
  if (w->count == w->room) return FAIL(ERROR_INTERNAL, NULL, "more tensors than room for them");
  if (s) {
    TRY(peft_map_name(model_shape_of(w->m)->family, s, name));
    TRY(text_format(full, sizeof full, PEFT_MODEL "%s%s.%s", w->prefix, name, suffix));
  } else {
    TRY(text_format(full, sizeof full, "%s", suffix));
  }
  TRY(arena_copy_text(w->memory, full, &kept));
  w->tensors[w->count++] = (safetensors_output){.name = kept, .type = type, .dims = dims, .shape = {d0, d1, d2}, .values = values};
  return ERROR_NONE;
}

/* Is the head the one that RobertaForSequenceClassification has? */
static int is_own_head(const model *m) {
  const model_options *o = model_options_of(m);
  return !strcmp(model_shape_of(m)->family->name, "roberta") && o->head == MODEL_HEAD_TANH && o->pooling == MODEL_POOL_FIRST && o->objective != MODEL_MLM;
}

static int put_head(peft_writing *w, const char *prefix) {
  for (int i = 0; i < model_param_count(w->m); i++) {
    const param *p = model_param(w->m, i);
    char name[PEFT_KEY_BYTES];
    if (p->role != SEGMENT_HEAD) continue;
    int vector = p->kind != PARAM_WEIGHT;
    TRY(text_format(name, sizeof name, "%s%s", prefix, p->name));
    TRY(peft_put(w, NULL, name, TENSOR_F32, w->theta + p->theta_offset, vector ? 1 : 2, vector ? p->cols : p->rows, vector ? 0 : p->cols, 0));
  }
  return ERROR_NONE;
}

static int write_head(peft_writing *w, const char *directory) {
  const model_options *o = model_options_of(w->m);
  char path[4200], classes[24];
  TRY(text_format(path, sizeof path, "%s/" PEFT_HEAD, directory));
  TRY(text_format(classes, sizeof classes, "%d", o->classes));
  const char *notes[] = {"format",
                         "pt",
                         "task.objective",
                         adapter_objective_names[o->objective],
                         "task.classes",
                         classes,
                         "model.pooling",
                         adapter_pooling_names[o->pooling],
                         "model.head",
                         adapter_head_names[o->head],
                         NULL};
  if (o->objective == MODEL_MLM) notes[4] = NULL;
  w->count = 0;
  TRY(put_head(w, ""));
  return safetensors_write(path, w->tensors, w->count, notes);
}

/* ---- adapter_config.json ---- */

static int has_module(const adapter *a, int module) {
  for (int i = 0; i < a->site_count; i++)
    if (!strcmp(a->sites[i].module, peft_modules[module]) && adapter_targets(a, &a->sites[i])) return 1;
  return 0;
}

static int append(char *text, size_t bytes, const char *more, int length) {
  size_t used = strlen(text);
  return text_format(text + used, bytes - used, "%.*s", length, more);
}

/* A regular expression: "dense" and "output.dense", as a list would name them, also end the names of other maps. */
static int name_targets(const peft_writing *w, cJSON *config) {
  const family *f = model_shape_of(w->m)->family;
  char text[1024] = "";
  TRY(append(text, sizeof text, ".*", 2));
  int first = 1;
  for (int i = 0; i < PEFT_MODULES; i++) {
    if (!has_module(w->a, i)) continue;
    const char *pattern = peft_pattern(f, i), *mark = strstr(pattern, "%d");
    TRY(append(text, sizeof text, first ? "(" : "|", 1));
    for (const char *p = pattern; *p; p++) {
      if (p == mark) TRY(append(text, sizeof text, "\\d+", 3));
      else if (p != mark + 1) TRY(append(text, sizeof text, *p == '.' ? "\\." : p, *p == '.' ? 2 : 1));
    }
    first = 0;
  }
  TRY(append(text, sizeof text, ")", 1));
  return cJSON_AddStringToObject(config, "target_modules", text) ? ERROR_NONE : FAIL(ERROR_MEMORY, NULL, "out of memory");
}

/* For the plain case the list that people write. */
static int list_targets(const peft_writing *w, cJSON *config) {
  static const char *const words[] = {"query", "key", "value"};
  for (int i = 3; i < PEFT_MODULES; i++)
    if (has_module(w->a, i)) return name_targets(w, config);
  cJSON *list = cJSON_AddArrayToObject(config, "target_modules");
  for (int i = 0; list && i < 3; i++)
    if (has_module(w->a, i)) cJSON_AddItemToArray(list, cJSON_CreateString(words[i]));
  return list ? ERROR_NONE : FAIL(ERROR_MEMORY, NULL, "out of memory");
}

static int fill_config(const peft_writing *w, const peft_writer *how, int own_head, cJSON *config) {
  cJSON *saved = NULL;
  if (!cJSON_AddStringToObject(config, "peft_type", how->type) || !cJSON_AddStringToObject(config, "peft_version", VERSION_WRITTEN) ||
      !cJSON_AddNullToObject(config, "base_model_name_or_path") || !cJSON_AddNullToObject(config, "revision") ||
      !cJSON_AddBoolToObject(config, "inference_mode", 1) || !cJSON_AddStringToObject(config, "bias", "none"))
    return FAIL(ERROR_MEMORY, NULL, "out of memory");
  TRY(list_targets(w, config));
  if (own_head) {
    saved = cJSON_AddArrayToObject(config, "modules_to_save");
    if (!saved || !cJSON_AddItemToArray(saved, cJSON_CreateString("classifier"))) return FAIL(ERROR_MEMORY, NULL, "out of memory");
  } else if (!cJSON_AddNullToObject(config, "modules_to_save")) {
    return FAIL(ERROR_MEMORY, NULL, "out of memory");
  }
  return (own_head ? cJSON_AddStringToObject(config, "task_type", "SEQ_CLS") : cJSON_AddNullToObject(config, "task_type"))
             ? ERROR_NONE
             : FAIL(ERROR_MEMORY, NULL, "out of memory");
}

static int write_config(const char *directory, const cJSON *config) {
  char path[4200];
  TRY(text_format(path, sizeof path, "%s/" PEFT_CONFIG, directory));
  char *text = cJSON_Print(config);
  if (!text) return FAIL(ERROR_MEMORY, NULL, "out of memory");
  int code = file_write_atomic(path, text, strlen(text));
  cJSON_free(text);
  return code;
}

/* ---- all of it ---- */

static int find_writer(const char *name, const peft_writer **how) {
  for (*how = peft_writers; (*how)->method; (*how)++)
    if (!strcmp((*how)->method, name)) return ERROR_NONE;
  return FAIL(ERROR_USAGE, "fold it into the base weights instead: peftscale merge", "PEFT has no form for what method %s trains", name);
}

/* One head inside and one beside it, of an earlier export to the same place, would contradict each other. */
static int check_no_head(const char *directory) {
  char path[4200];
  TRY(text_format(path, sizeof path, "%s/" PEFT_HEAD, directory));
  if (access(path, F_OK)) return ERROR_NONE;
  return FAIL(ERROR_INPUT, "choose another directory", "%s: is of another export; this adapter has its head inside", path);
}

static int write_all(peft_writing *w, const peft_writer *how, const char *directory, cJSON *config) {
  static const char *const notes[] = {"format", "pt", NULL};
  int own_head = is_own_head(w->m);
  char path[4200];
  w->prefix = own_head ? model_shape_of(w->m)->family->prefix : "";
  w->room = w->a->site_count * TENSORS_PER_MAP + SHARED_TENSORS + HEAD_TENSORS;
  TRY(arena_take(w->memory, (size_t)w->room, sizeof *w->tensors, &w->tensors));
  TRY(fill_config(w, how, own_head, config));
  TRY(how->shared(w, config));
  TRY(peft_each_map(w->m, how->map, w));
  if (own_head) {
    TRY(check_no_head(directory));
    TRY(put_head(w, PEFT_MODEL));
  }
  TRY(file_make_directory(directory));
  TRY(text_format(path, sizeof path, "%s/" PEFT_TENSORS, directory));
  TRY(safetensors_write(path, w->tensors, w->count, notes));
  TRY(write_config(directory, config));
  return own_head ? ERROR_NONE : write_head(w, directory);
}

int peft_export(const char *directory, model *m, const real *theta, int only_top_k) {
  const peft_writer *how;
  peft_writing w = {.m = m, .a = model_adapter(m), .theta = theta, .only_top_k = only_top_k};
  TRY(find_writer(w.a->method->name, &how));
  if (only_top_k && strcmp(how->method, "vblora")) return FAIL(ERROR_USAGE, "leave --only-top-k out", "--only-top-k is for vblora, not %s", how->method);
  TRY(arena_create(&w.memory));
  cJSON *config = cJSON_CreateObject();
  int code = config ? write_all(&w, how, directory, config) : FAIL(ERROR_MEMORY, NULL, "out of memory");
  cJSON_Delete(config);
  arena_destroy(w.memory);
  return code;
}
