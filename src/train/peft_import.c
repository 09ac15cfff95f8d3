/* Reading a PEFT directory: what is adapted follows from the tensors' names, what it means from adapter_config.json; both have to agree. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/text.h"
#include "train/adapter_file.h"
#include "train/adapter_names.h"
#include "train/peft.h"
#include "train/peft_settings.h"
#include "train/standalone.h"
#include "train/weights.h"

#define HEAD_START "classifier."

int peft_word(peft_reading *r, const char *format, ...) {
  char text[512], *copy;
  va_list list;
  va_start(list, format);
  int length = vsnprintf(text, sizeof text, format, list);
  va_end(list);
  if (length < 0 || (size_t)length >= sizeof text || r->word_count == sizeof r->words / sizeof *r->words)
    return FAIL(ERROR_INTERNAL, NULL, "a word is too long, or there are too many");
  TRY(arena_copy_text(r->memory, text, &copy));
  r->words[r->word_count++] = copy;
  return ERROR_NONE;
}

static int is_directory(const char *path) {
  struct stat status;
  return !stat(path, &status) && S_ISDIR(status.st_mode);
}

/* The three files, from the directory's name or that of the file of tensors in it. */
static int find_files(peft_reading *r, const char *path) {
  if (access(path, F_OK)) return FAIL(ERROR_INPUT, "check the path", "%s: cannot open: %s", path, strerror(errno));
  const char *slash = strrchr(path, '/');
  int folder = is_directory(path), length = folder ? (int)strlen(path) : slash ? (int)(slash - path) : 1;
  const char *directory = folder || slash ? path : ".";
  TRY(text_format(r->config_path, sizeof r->config_path, "%.*s/" PEFT_CONFIG, length, directory));
  TRY(text_format(r->head_path, sizeof r->head_path, "%.*s/" PEFT_HEAD, length, directory));
  if (folder) return text_format(r->tensor_path, sizeof r->tensor_path, "%s/" PEFT_TENSORS, path);
  return text_format(r->tensor_path, sizeof r->tensor_path, "%s", path);
}

/* ---- the model it is for ---- */

static int find_shape(peft_reading *r, const char *model_directory) {
  const cJSON *named = cJSON_GetObjectItemCaseSensitive(r->config, "base_model_name_or_path");
  const char *name = cJSON_IsString(named) ? named->valuestring : "", *slash = strrchr(name, '/');
  if (model_directory) return weights_read_shape(model_directory, &r->shape);
  if (is_directory(name)) return weights_read_shape(name, &r->shape);
  if (*name && !model_shape_known(slash ? slash + 1 : name, &r->shape)) return ERROR_NONE;
  return FAIL(ERROR_INPUT, "say where its config.json is: --model DIRECTORY", "%s: the base model '%.100s' is neither a directory here nor a known shape",
              r->config_path, name);
}

/* ---- the tensors' names ---- */

/* Which map a name without prefixes belongs to: 1 and *module, *layer; 0: none. */
static int parse_map(const family *f, const char *name, int *module, int *layer) {
  for (*module = 0; *module < PEFT_MODULES; ++*module) {
    const char *pattern = peft_pattern(f, *module), *mark = strstr(pattern, "%d"), *digits = name + (mark - pattern);
    char *end;
    if (strncmp(name, pattern, (size_t)(mark - pattern)) || *digits < '0' || *digits > '9') continue;
    long number = strtol(digits, &end, 10);
    size_t tail = strlen(mark + 2);
    if (number > 1000000 || strncmp(end, mark + 2, tail) || end[tail] != '.') continue;
    *layer = (int)number;
    return 1;
  }
  return 0;
}

static int read_name(peft_reading *r, const char *name, uint8_t *seen) {
  const family *f = r->shape.family;
  int module, layer;
  if (strncmp(name, PEFT_MODEL, strlen(PEFT_MODEL))) return ERROR_NONE; /* of what all maps share: asked for by name */
  const char *rest = name + strlen(PEFT_MODEL), *prefix = strncmp(rest, f->prefix, strlen(f->prefix)) ? "" : f->prefix;
  if (!strncmp(rest, HEAD_START, strlen(HEAD_START))) return ERROR_NONE;
  if (!parse_map(f, rest + strlen(prefix), &module, &layer))
    return FAIL(ERROR_INPUT, strstr(rest, "pooler") ? "this program has no pooler: leave it out of target_modules" : NULL,
                "%s: tensor '%.120s' belongs to no linear map of a %s encoder", r->tensor_path, name, f->name);
  if (layer >= r->shape.layers)
    return FAIL(ERROR_INPUT, "give the model it was made for", "%s: tensor '%.120s' is of a layer that the model does not have (%d layers)", r->tensor_path,
                name, r->shape.layers);
  if (r->prefix && strcmp(r->prefix, prefix)) return FAIL(ERROR_INPUT, NULL, "%s: tensor '%.120s' has another prefix than those before", r->tensor_path, name);
  r->prefix = prefix;
  seen[layer * PEFT_MODULES + module] = 1;
  return ERROR_NONE;
}

/* r->has_module, the same for all layers. */
static int find_modules(peft_reading *r) {
  uint8_t *seen;
  char list[64] = "";
  TRY(arena_take(r->memory, (size_t)r->shape.layers * PEFT_MODULES, 1, &seen));
  for (int i = 0; i < safetensors_count(r->tensors); i++) TRY(read_name(r, safetensors_entry_at(r->tensors, i)->name, seen));
  for (int module = 0; module < PEFT_MODULES; module++) {
    int layers = 0;
    for (int l = 0; l < r->shape.layers; l++) layers += seen[l * PEFT_MODULES + module];
    if (layers && layers < r->shape.layers)
      return FAIL(ERROR_INPUT, NULL, "%s: adapts %s in %d of %d layers; only all of them are supported", r->tensor_path, peft_modules[module], layers,
                  r->shape.layers);
    r->has_module[module] = layers > 0;
    if (layers) snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", *list ? "," : "", peft_modules[module]);
  }
  if (!*list) return FAIL(ERROR_INPUT, NULL, "%s: adapts no linear map of the encoder", r->tensor_path);
  return peft_word(r, "method.modules=%s", list);
}

int peft_take(peft_reading *r, const site *s, const char *suffix, int dims, int64_t d0, int64_t d1, int64_t d2, int *index) {
  char name[PEFT_KEY_BYTES] = "", full[2 * PEFT_KEY_BYTES], text[96];
  const int64_t wanted[3] = {d0, d1, d2};
  if (s) TRY(peft_map_name(r->shape.family, s, name));
  TRY(text_format(full, sizeof full, "%s%s%s%s%s", s ? PEFT_MODEL : "", s ? r->prefix : "", name, s ? "." : "", suffix));
  *index = safetensors_find(r->tensors, full);
  if (*index < 0) return FAIL(ERROR_INPUT, NULL, "%s: tensor '%s' is missing", r->tensor_path, full);
  const safetensors_entry *e = safetensors_entry_at(r->tensors, *index);
  int fits = e->dims == dims;
  for (int i = 0; fits && i < dims; i++) fits = e->shape[i] == wanted[i];
  snprintf(text, sizeof text, dims == 1 ? "[%lld]" : dims == 2 ? "[%lld, %lld]" : "[%lld, %lld, %lld]", (long long)d0, (long long)d1, (long long)d2);
  if (!fits)
    return FAIL(ERROR_INPUT, "its settings, or the model, are not those it was made with", "%s: tensor '%s' has the wrong shape, expected %s", r->tensor_path,
                full, text);
  r->used[*index] = 1;
  return ERROR_NONE;
}

/* ---- the head ---- */

/* Where a head is, and what it is: *file NULL: there is none. *prefix stands before the names of the model's head. */
typedef struct found_head {
  safetensors *file;
  const char *path, *prefix;
  int64_t classes;
} found_head;

static int has_classifier(const peft_reading *r) {
  for (int i = 0; i < safetensors_count(r->tensors); i++)
    if (!strncmp(safetensors_entry_at(r->tensors, i)->name, PEFT_MODEL HEAD_START, strlen(PEFT_MODEL HEAD_START))) return 1;
  return 0;
}

static int classifier_inside(peft_reading *r, found_head *h) {
  int index = safetensors_find(r->tensors, PEFT_MODEL "classifier.out_proj.weight");
  const safetensors_entry *e = index < 0 ? NULL : safetensors_entry_at(r->tensors, index);
  if (strcmp(r->shape.family->name, "roberta") || !e || e->dims != 2 || e->shape[0] < 1 || e->shape[0] > 1000000)
    return FAIL(ERROR_INPUT, "leave the classifier out of modules_to_save and train a head here (train.start=FILE)",
                "%s: its classifier is not that of RobertaForSequenceClassification", r->tensor_path);
  *h = (found_head){.file = r->tensors, .path = r->tensor_path, .prefix = PEFT_MODEL, .classes = e->shape[0]};
  TRY(peft_word(r, "model.head=tanh"));
  TRY(peft_word(r, "model.pooling=first"));
  return peft_word(r, "task.objective=%s", h->classes == 1 ? "regress" : "classify");
}

static int note_word(peft_reading *r, const safetensors *file, const char *key) {
  const char *value = safetensors_metadata(file, key);
  if (!value || strlen(value) > 60) return FAIL(ERROR_INPUT, NULL, "%s: metadata '%s' is missing or too long", r->head_path, key);
  return peft_word(r, "%s=%s", key, value);
}

/* What peft_export wrote beside the adapter. */
static int head_beside(peft_reading *r, found_head *h) {
  const char *objective = safetensors_metadata(h->file, "task.objective"), *classes = safetensors_metadata(h->file, "task.classes");
  h->path = r->head_path;
  h->prefix = "";
  TRY(note_word(r, h->file, "task.objective"));
  if (!strcmp(objective, "mlm")) return ERROR_NONE;
  if (!classes || text_to_int(classes, &h->classes) || h->classes < 1 || h->classes > 1000000)
    return FAIL(ERROR_INPUT, NULL, "%s: metadata 'task.classes' is no number of classes", r->head_path);
  TRY(note_word(r, h->file, "model.pooling"));
  return note_word(r, h->file, "model.head");
}

static int find_head(peft_reading *r, found_head *h) {
  int inside = has_classifier(r), beside = access(r->head_path, F_OK) == 0;
  if (inside && beside) return FAIL(ERROR_INPUT, "take one of them away", "%s: there is a head in the adapter, too", r->head_path);
  if (inside) return classifier_inside(r, h);
  if (!beside) return ERROR_NONE;
  TRY(safetensors_open(r->head_path, &h->file));
  return head_beside(r, h);
}

static int load_head(peft_reading *r, const found_head *h) {
  int count = 0;
  for (int i = 0; h->file && i < model_param_count(r->m); i++) {
    const param *p = model_param(r->m, i);
    char name[PEFT_KEY_BYTES];
    if (p->role != SEGMENT_HEAD) continue;
    TRY(text_format(name, sizeof name, "%s%s", h->prefix, p->name));
    int index = safetensors_find(h->file, name), vector = p->kind != PARAM_WEIGHT;
    const safetensors_entry *e = index < 0 ? NULL : safetensors_entry_at(h->file, index);
    if (!e) return FAIL(ERROR_INPUT, NULL, "%s: tensor '%s' is missing", h->path, name);
    if (vector ? e->dims != 1 || e->shape[0] != p->cols : e->dims != 2 || e->shape[0] != p->rows || e->shape[1] != p->cols)
      return FAIL(ERROR_INPUT, NULL, "%s: tensor '%s' has the wrong shape, expected [%d, %d]", h->path, name, p->rows, p->cols);
    TRY(safetensors_read(h->file, index, 0, e->count, r->theta + p->theta_offset));
    if (h->file == r->tensors) r->used[index] = 1;
    count++;
  }
  if (h->file && h->file != r->tensors && count != safetensors_count(h->file))
    return FAIL(ERROR_INPUT, NULL, "%s: holds %d tensors, the head has %d", h->path, safetensors_count(h->file), count);
  return ERROR_NONE;
}

/* ---- all of it ---- */

static int fill(peft_reading *r, const peft_reader *how, const found_head *h, const char *out) {
  const adapter_facts facts = {.weights_hash = "", .experiment_id = "", .has_head = h->file != NULL};
  TRY(how->shared(r));
  TRY(peft_each_map(r->m, how->map, r));
  if (how->finish) TRY(how->finish(r));
  TRY(load_head(r, h));
  for (int i = 0; i < safetensors_count(r->tensors); i++)
    if (!r->used[i])
      return FAIL(ERROR_INPUT, NULL, "%s: tensor '%.120s' is not known for peft_type %s", r->tensor_path, safetensors_entry_at(r->tensors, i)->name, how->type);
  return adapter_file_write(out, r->m, r->theta, r->is_result ? ADAPTER_RESULT : ADAPTER_THETA, &facts);
}

static int make_and_fill(peft_reading *r, const peft_reader *how, const found_head *h, const char *out) {
  config_request request = {.assignments = r->words, .assignment_count = r->word_count, .method_options = method_options};
  config *c;
  standalone *s;
  TRY(config_compose(&request, &c));
  TRY(standalone_create(c, &r->shape, h->classes ? (int)h->classes : 2, &s));
  int code = standalone_prepare(s);
  r->m = s->model;
  r->a = model_adapter(s->model);
  r->theta = s->theta;
  if (!code) code = fill(r, how, h, out);
  standalone_destroy(s);
  return code;
}

static int import(peft_reading *r, const char *path, const char *model_directory, const char *out, found_head *h) {
  const peft_reader *how;
  TRY(find_files(r, path));
  TRY(peft_settings_read(r));
  TRY(peft_settings_reader(r, &how));
  TRY(peft_word(r, "method=%s", how->method));
  TRY(how->settings(r));
  TRY(find_shape(r, model_directory));
  TRY(safetensors_open(r->tensor_path, &r->tensors));
  TRY(arena_take(r->memory, (size_t)safetensors_count(r->tensors), 1, &r->used));
  TRY(find_modules(r));
  TRY(peft_settings_check_targets(r));
  TRY(find_head(r, h));
  return make_and_fill(r, how, h, out);
}

int peft_import(const char *path, const char *model_directory, const char *out) {
  peft_reading *r = calloc(1, sizeof *r);
  found_head h = {0};
  if (!r) return FAIL(ERROR_MEMORY, NULL, "out of memory");
  int code = arena_create(&r->memory);
  if (!code) code = import(r, path, model_directory, out, &h);
  if (h.file != r->tensors) safetensors_close(h.file);
  safetensors_close(r->tensors);
  cJSON_Delete(r->config);
  arena_destroy(r->memory);
  free(r);
  return code;
}
