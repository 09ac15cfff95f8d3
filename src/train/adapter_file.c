/* Reading an adapter file: nothing in it is believed before it has been compared with the model it is for. */
#include "train/adapter_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "store/safetensors.h"
#include "train/adapter_names.h"

#define HINT_FORMAT "give a file that `peftscale export` or `peftscale import` wrote"

struct adapter_file {
  safetensors *tensors;
  const char *path;
  const method *method;
  adapter_form form;
  int64_t classes;
};

const char *adapter_file_path(const adapter_file *f) { return f->path; }
int adapter_file_hash(const adapter_file *f, char text[HASH_TEXT_BYTES]) { return safetensors_hash(f->tensors, text); }
int adapter_file_classes(const adapter_file *f) { return (int)f->classes; }

const char *adapter_file_note(const adapter_file *f, const char *key) {
  const char *text = safetensors_metadata(f->tensors, key);
  return text ? text : "";
}

/* ---- opening ---- */

static const option *find_option(const method *m, const char *name) {
  for (int i = 0; i < m->option_count; i++)
    if (!strcmp(m->options[i].name, name)) return &m->options[i];
  return NULL;
}

static int check_options(const adapter_file *f) {
  const char *key, *text;
  for (int i = 0; safetensors_metadata_at(f->tensors, i, &key, &text); i++) {
    if (strncmp(key, "method.", 7)) continue;
    const option *declared = find_option(f->method, key + 7);
    option_value value;
    if (!declared) return FAIL(ERROR_INPUT, NULL, "%s: %s has no option '%.60s'", f->path, f->method->name, key + 7);
    if (strlen(text) > 1000 || option_parse(declared, text, &value))
      return FAIL(ERROR_INPUT, NULL, "%s: metadata '%s' is '%.60s', which is no such option's value", f->path, key, text);
  }
  for (int i = 0; i < f->method->option_count; i++) {
    char name[METHOD_NAME_BYTES];
    TRY(text_format(name, sizeof name, "method.%s", f->method->options[i].name));
    if (!safetensors_metadata(f->tensors, name)) return FAIL(ERROR_INPUT, HINT_FORMAT, "%s: metadata '%s' is missing", f->path, name);
  }
  return ERROR_NONE;
}

static int is_word_of(const char *word, const char *const *words, int count) {
  for (int i = 0; i < count; i++)
    if (!strcmp(word, words[i])) return 1;
  return 0;
}

static int check_head(adapter_file *f) {
  const char *objective = adapter_file_note(f, "task.objective"), *classes = adapter_file_note(f, "task.classes");
  if (!*objective) return ERROR_NONE; /* no head */
  if (!is_word_of(objective, adapter_objective_names, 3)) return FAIL(ERROR_INPUT, NULL, "%s: metadata 'task.objective' is '%.60s'", f->path, objective);
  if (!strcmp(objective, "mlm")) return ERROR_NONE;
  if (text_to_int(classes, &f->classes) || f->classes < 1 || f->classes > 1000000)
    return FAIL(ERROR_INPUT, NULL, "%s: metadata 'task.classes' is '%.60s', no number of classes", f->path, classes);
  if (!is_word_of(adapter_file_note(f, "model.pooling"), adapter_pooling_names, 2) || !is_word_of(adapter_file_note(f, "model.head"), adapter_head_names, 2))
    return FAIL(ERROR_INPUT, NULL, "%s: metadata 'model.pooling' or 'model.head' is missing or unknown", f->path);
  return ERROR_NONE;
}

static int check_notes(adapter_file *f) {
  const char *format = adapter_file_note(f, "format"), *form = adapter_file_note(f, "form"), *name = adapter_file_note(f, "method");
  int64_t version;
  if (strcmp(format, ADAPTER_FORMAT)) {
    int is_peft = 0;
    for (int i = 0; i < safetensors_count(f->tensors) && !is_peft; i++) is_peft = !strncmp(safetensors_entry_at(f->tensors, i)->name, "base_model.", 11);
    return FAIL(ERROR_INPUT, is_peft ? "it looks like PEFT's: peftscale import DIRECTORY --out FILE" : HINT_FORMAT, "%s: is no adapter file of this program",
                f->path);
  }
  if (text_to_int(adapter_file_note(f, "version"), &version) || version != ADAPTER_VERSION)
    return FAIL(ERROR_INPUT, "write it again with this version of the program", "%s: has version '%.20s', only %d is known", f->path,
                adapter_file_note(f, "version"), ADAPTER_VERSION);
  if (!is_word_of(form, adapter_form_names, 2)) return FAIL(ERROR_INPUT, HINT_FORMAT, "%s: metadata 'form' is '%.60s'", f->path, form);
  f->form = !strcmp(form, adapter_form_names[ADAPTER_THETA]);
  for (int i = 0; method_list[i] && !f->method; i++)
    if (!strcmp(method_list[i]->name, name)) f->method = method_list[i];
  if (!f->method) return FAIL(ERROR_INPUT, "see: peftscale list methods", "%s: there is no method '%.60s'", f->path, name);
  TRY(check_options(f));
  return check_head(f);
}

int adapter_file_open(const char *path, adapter_file **result) {
  *result = NULL;
  adapter_file *f = calloc(1, sizeof *f);
  if (!f) return FAIL(ERROR_MEMORY, NULL, "%s: out of memory", path);
  int code = safetensors_open(path, &f->tensors);
  if (!code) {
    f->path = safetensors_path(f->tensors);
    code = check_notes(f);
  }
  if (code) adapter_file_close(f);
  else *result = f;
  return code;
}

void adapter_file_close(adapter_file *f) {
  if (!f) return;
  safetensors_close(f->tensors);
  free(f);
}

static int add_word(arena *memory, const char *words[ADAPTER_WORDS_MAX], int *count, const char *key, const char *value) {
  char text[1200], *copy;
  if (*count == ADAPTER_WORDS_MAX) return FAIL(ERROR_INTERNAL, NULL, "too many words");
  TRY(text_format(text, sizeof text, "%s=%s", key, value));
  TRY(arena_copy_text(memory, text, &copy));
  words[(*count)++] = copy;
  return ERROR_NONE;
}

int adapter_file_words(const adapter_file *f, arena *memory, const char *words[ADAPTER_WORDS_MAX], int *count) {
  static const char *const others[] = {"model.pooling", "model.head", "task.objective"};
  const char *key, *text;
  *count = 0;
  TRY(add_word(memory, words, count, "method", f->method->name));
  for (int i = 0; safetensors_metadata_at(f->tensors, i, &key, &text); i++)
    if (!strncmp(key, "method.", 7)) TRY(add_word(memory, words, count, key, text));
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    if (*adapter_file_note(f, others[i])) TRY(add_word(memory, words, count, others[i], adapter_file_note(f, others[i])));
  return ERROR_NONE;
}

/* ---- does it fit? ---- */

static int lists(const char *list, const char *word) {
  size_t length = strlen(word);
  for (const char *at = list; at && (at = strstr(at, word)); at += length)
    if ((at == list || at[-1] == ',') && (at[length] == ',' || !at[length])) return 1;
  return 0;
}

static int fit_options(const adapter_file *f, const adapter *a) {
  for (int i = 0; i < a->options->count; i++) {
    const char *name = a->options->values[i].declared->name;
    char key[METHOD_NAME_BYTES], buffer[32], theirs[32];
    option_value value;
    if (lists(f->method->training_options, name)) continue;
    TRY(text_format(key, sizeof key, "method.%s", name));
    const char *text = adapter_file_note(f, key), *mine = adapter_option_text(a, i, buffer);
    TRY(option_parse(a->options->values[i].declared, text, &value)); /* once more: for its one spelling */
    const char *spelled = option_spell(&value, theirs);
    if (strcmp(spelled, mine))
      return FAIL(ERROR_INPUT, "set the option to the file's value", "%s: its adapter was made with %s=%.80s, not %.80s", f->path, key, spelled, mine);
  }
  return ERROR_NONE;
}

static int fit_shape(const adapter_file *f, const model_shape *s) {
  const struct {
    const char *key;
    int value;
  } sizes[] = {{"model.layers", s->layers}, {"model.width", s->width}, {"model.heads", s->heads}, {"model.ffn", s->ffn}};
  if (strcmp(adapter_file_note(f, "model.family"), s->family->name))
    return FAIL(ERROR_INPUT, NULL, "%s: it is for a model of family '%.40s', not '%s'", f->path, adapter_file_note(f, "model.family"), s->family->name);
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    int64_t theirs;
    if (text_to_int(adapter_file_note(f, sizes[i].key), &theirs)) return FAIL(ERROR_INPUT, NULL, "%s: metadata '%s' is no number", f->path, sizes[i].key);
    if (theirs != sizes[i].value)
      return FAIL(ERROR_INPUT, "give the model it was made for", "%s: it is for a model with %s=%lld, not %d", f->path, sizes[i].key, (long long)theirs,
                  sizes[i].value);
  }
  return ERROR_NONE;
}

int adapter_file_fit(const adapter_file *f, const model *m, int training) {
  const adapter *a = model_adapter(m);
  if (a->method != f->method)
    return FAIL(ERROR_INPUT, "choose the file's method, or another file", "%s: it holds an adapter of method %s, not %s", f->path, f->method->name,
                a->method->name);
  TRY(fit_shape(f, model_shape_of(m)));
  TRY(fit_options(f, a));
  if (training && f->form == ADAPTER_RESULT && (f->method->flags & METHOD_STORES_LESS))
    return FAIL(ERROR_INPUT, "write one that training can go on from: peftscale export RUN.h5 --format theta --out FILE",
                "%s: it holds the result of %s alone, which cannot be trained on", f->path, f->method->name);
  return ERROR_NONE;
}

/* ---- loading ---- */

/* The tensor PREFIX NAME, which must have this shape. */
static int find_tensor(const adapter_file *f, const char *prefix, const char *name, int64_t rows, int64_t cols, int *index) {
  char full[METHOD_NAME_BYTES + 16];
  TRY(text_format(full, sizeof full, "%s%s", prefix, name));
  *index = safetensors_find(f->tensors, full);
  if (*index < 0) return FAIL(ERROR_INPUT, NULL, "%s: tensor '%s' is missing", f->path, full);
  const safetensors_entry *e = safetensors_entry_at(f->tensors, *index);
  if (e->dims == 2 && e->shape[0] == rows && e->shape[1] == cols) return ERROR_NONE;
  return FAIL(ERROR_INPUT, NULL, "%s: tensor '%s' has the wrong shape (%lld elements), expected [%lld, %lld]", f->path, full, (long long)e->count,
              (long long)rows, (long long)cols);
}

static int load_segment(const adapter_file *f, const char *prefix, const segment *s, real *theta) {
  int index;
  TRY(find_tensor(f, prefix, s->name, s->rows, s->cols, &index));
  return safetensors_read(f->tensors, index, 0, (int64_t)s->rows * s->cols, theta + s->offset);
}

static void narrow(stored_type type, int64_t count, const int64_t *from, void *to) {
  for (int64_t i = 0; i < count; i++) {
    if (type == STORED_U8) ((uint8_t *)to)[i] = (uint8_t)from[i];
    else if (type == STORED_U16) ((uint16_t *)to)[i] = (uint16_t)from[i];
    else if (type == STORED_I32) ((int32_t *)to)[i] = (int32_t)from[i];
    else ((int64_t *)to)[i] = from[i];
  }
}

static int read_whole(const adapter_file *f, int tensor, const stored_array *array, arena *memory, void *values) {
  static const int64_t low[] = {0, 0, 0, INT32_MIN, INT64_MIN}, high[] = {0, UINT8_MAX, UINT16_MAX, INT32_MAX, INT64_MAX};
  int64_t count = array->rows * array->cols, *wide;
  TRY(arena_take(memory, (size_t)count, sizeof *wide, &wide));
  TRY(safetensors_read_whole(f->tensors, tensor, 0, count, low[array->type], high[array->type], wide));
  narrow(array->type, count, wide, values);
  return ERROR_NONE;
}

static int load_array(const adapter_file *f, const adapter *a, int index, real *theta) {
  stored_array array;
  arena *memory;
  void *values;
  int tensor;
  TRY(adapter_stored(a, index, &array));
  TRY(find_tensor(f, ADAPTER_PREFIX, array.name, array.rows, array.cols, &tensor));
  TRY(arena_create(&memory));
  int code = arena_take(memory, (size_t)stored_array_bytes(&array), 1, &values);
  if (!code && array.type != STORED_F32) code = read_whole(f, tensor, &array, memory, values);
  else if (!code) code = safetensors_read(f->tensors, tensor, 0, array.rows * array.cols, values);
  if (!code && (code = adapter_load(a, index, values, theta))) error_prefix("%s: ", f->path);
  arena_destroy(memory);
  return code;
}

/* Whether all of the head is there in the shape that this model wants; it is then of the same task. */
static int head_fits(const adapter_file *f, const model *m) {
  const model_options *o = model_options_of(m);
  if (strcmp(adapter_file_note(f, "task.objective"), adapter_objective_names[o->objective])) return 0;
  if (o->objective == MODEL_MLM) return 1;
  return f->classes == o->classes && !strcmp(adapter_file_note(f, "model.pooling"), adapter_pooling_names[o->pooling]) &&
         !strcmp(adapter_file_note(f, "model.head"), adapter_head_names[o->head]);
}

/* Everything that is not of the head has been asked for: more is something that this program does not know. */
static int check_unknown(const adapter_file *f, int asked) {
  int found = 0, unknown = -1;
  for (int i = 0; i < safetensors_count(f->tensors); i++) {
    const char *name = safetensors_entry_at(f->tensors, i)->name;
    if (!strncmp(name, HEAD_PREFIX, strlen(HEAD_PREFIX))) continue;
    found++;
    if (strncmp(name, ADAPTER_PREFIX, strlen(ADAPTER_PREFIX)) && strncmp(name, BASE_PREFIX, strlen(BASE_PREFIX))) unknown = i;
  }
  if (unknown >= 0)
    return FAIL(ERROR_INPUT, NULL, "%s: tensor '%.80s' belongs to no part of an adapter file", f->path, safetensors_entry_at(f->tensors, unknown)->name);
  if (found != asked) return FAIL(ERROR_INPUT, NULL, "%s: has %d tensors of the adapter, this method and model know %d", f->path, found, asked);
  return ERROR_NONE;
}

int adapter_file_load(const adapter_file *f, const model *m, real *theta, int *has_head) {
  const adapter *a = model_adapter(m);
  int asked = 0, arrays = adapter_stored_count(a);
  *has_head = head_fits(f, m);
  for (int i = f->form == ADAPTER_THETA ? adapter_stored_own(a) : 0; i < arrays; i++, asked++) TRY(load_array(f, a, i, theta + model_adapter_offset(m)));
  for (int i = 0; i < model_segment_count(m); i++) {
    const segment *s = model_segment(m, i);
    if (s->role == SEGMENT_HEAD ? !*has_head : s->role == SEGMENT_ADAPTER && f->form == ADAPTER_RESULT) continue;
    if (s->role != SEGMENT_HEAD) asked++;
    TRY(load_segment(f, s->role == SEGMENT_HEAD ? HEAD_PREFIX : s->role == SEGMENT_BASE ? BASE_PREFIX : ADAPTER_PREFIX, s, theta));
  }
  return check_unknown(f, asked);
}
