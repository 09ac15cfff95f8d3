#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "store/safetensors_private.h"

enum { PREFIX_BYTES = 8, ALIGNMENT = 8 };

static int out_of_memory(const char *path) { return FAIL(ERROR_MEMORY, NULL, "%s: out of memory for the header", path); }

static int add_metadata(const char *path, cJSON *header, const char *const *metadata) {
  cJSON *group = cJSON_AddObjectToObject(header, "__metadata__");
  if (!group) return out_of_memory(path);
  for (int i = 0; metadata[i]; i += 2) {
    if (!metadata[i + 1]) return FAIL(ERROR_INTERNAL, NULL, "%s: metadata '%s' has no value", path, metadata[i]);
    if (cJSON_GetObjectItemCaseSensitive(group, metadata[i])) return FAIL(ERROR_INPUT, NULL, "%s: metadata '%s' is given twice", path, metadata[i]);
    if (!cJSON_AddStringToObject(group, metadata[i], metadata[i + 1])) return out_of_memory(path);
  }
  return ERROR_NONE;
}

/* *end moves from the tensor's first byte to the byte behind its last. */
static int add_tensor(const char *path, cJSON *header, const safetensors_output *t, int64_t *end) {
  const char *type = safetensors_type_name(t->type);
  if (!type) return FAIL(ERROR_INTERNAL, NULL, "%s: tensor '%s': its type cannot be written", path, t->name);
  int64_t begin = *end, bytes = safetensors_type_bytes(type);
  if (t->dims < 0 || t->dims > SAFETENSORS_MAX_DIMS) return FAIL(ERROR_INPUT, NULL, "%s: tensor '%s': has %d dimensions", path, t->name, t->dims);
  cJSON *node = cJSON_AddObjectToObject(header, t->name), *shape = NULL, *offsets = NULL;
  if (node && cJSON_AddStringToObject(node, "dtype", type)) shape = cJSON_AddArrayToObject(node, "shape");
  if (shape) offsets = cJSON_AddArrayToObject(node, "data_offsets");
  if (!offsets) return out_of_memory(path);
  for (int i = 0; i < t->dims; i++) {
    if (t->shape[i] < 0 || __builtin_mul_overflow(bytes, t->shape[i], &bytes))
      return FAIL(ERROR_INPUT, NULL, "%s: tensor '%s': has an impossible shape", path, t->name);
    if (!cJSON_AddItemToArray(shape, cJSON_CreateNumber((double)t->shape[i]))) return out_of_memory(path);
  }
  if (__builtin_add_overflow(begin, bytes, end)) return FAIL(ERROR_INPUT, NULL, "%s: tensor '%s': the file would be too large", path, t->name);
  if (!cJSON_AddItemToArray(offsets, cJSON_CreateNumber((double)begin)) || !cJSON_AddItemToArray(offsets, cJSON_CreateNumber((double)*end)))
    return out_of_memory(path);
  return ERROR_NONE;
}

static int compare_texts(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static int check_names(const char *path, const safetensors_output *tensors, int count) {
  const char **names = malloc((size_t)(count > 0 ? count : 1) * sizeof *names);
  if (!names) return out_of_memory(path);
  int code = ERROR_NONE;
  for (int i = 0; i < count; i++) names[i] = tensors[i].name;
  qsort(names, (size_t)count, sizeof *names, compare_texts);
  for (int i = 0; !code && i < count; i++) {
    if (i && !strcmp(names[i - 1], names[i])) code = FAIL(ERROR_INPUT, NULL, "%s: tensor '%s' is given twice", path, names[i]);
    else if (!strcmp(names[i], "__metadata__")) code = FAIL(ERROR_INPUT, NULL, "%s: no tensor can be named '__metadata__'", path);
  }
  free(names);
  return code;
}

static int write_file(const char *path, const char *header, const safetensors_output *tensors, int count) {
  static const char blanks[ALIGNMENT + 1] = "        ";
  size_t length = strlen(header), padding = (ALIGNMENT - (PREFIX_BYTES + length) % ALIGNMENT) % ALIGNMENT;
  unsigned char prefix[PREFIX_BYTES];
  for (int i = 0; i < PREFIX_BYTES; i++) prefix[i] = (unsigned char)((uint64_t)(length + padding) >> (8 * i));
  file_writer *w;
  TRY(file_writer_create(path, &w));
  int code = file_writer_add(w, prefix, sizeof prefix);
  if (!code) code = file_writer_add(w, header, length);
  if (!code) code = file_writer_add(w, blanks, padding);
  for (int i = 0; !code && i < count; i++) {
    size_t bytes = (size_t)safetensors_type_bytes(safetensors_type_name(tensors[i].type));
    for (int d = 0; d < tensors[i].dims; d++) bytes *= (size_t)tensors[i].shape[d];
    code = file_writer_add(w, tensors[i].values, bytes);
  }
  if (code) {
    file_writer_discard(w);
    return code;
  }
  return file_writer_commit(w);
}

int safetensors_write(const char *path, const safetensors_output *tensors, int count, const char *const *metadata) {
  TRY(check_names(path, tensors, count));
  cJSON *header = cJSON_CreateObject();
  if (!header) return out_of_memory(path);
  int64_t end = 0;
  int code = metadata && metadata[0] ? add_metadata(path, header, metadata) : ERROR_NONE;
  for (int i = 0; !code && i < count; i++) code = add_tensor(path, header, &tensors[i], &end);
  char *text = code ? NULL : cJSON_PrintUnformatted(header);
  cJSON_Delete(header);
  if (code) return code;
  if (!text) return out_of_memory(path);
  code = write_file(path, text, tensors, count);
  cJSON_free(text);
  return code;
}
