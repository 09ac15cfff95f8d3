#include "train/weights.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "store/file.h"
#include "store/safetensors.h"

enum { MAX_CONFIG_JSON = 1 << 20 };

int weights_read_shape(const char *directory, model_shape *shape) {
  char path[4200], *text;
  size_t count;
  TRY(text_format(path, sizeof path, "%s/config.json", directory));
  TRY(file_read(path, MAX_CONFIG_JSON, &text, &count));
  int code = model_shape_parse(text, path, shape);
  free(text);
  return code;
}

/* The model's view of a safetensors file. */
static int source_find(void *handle, const char *name) { return safetensors_find(handle, name); }
static void source_describe(void *handle, int index, int *dims, int64_t shape[8]) {
  const safetensors_entry *e = safetensors_entry_at(handle, index);
  *dims = e->dims;
  memcpy(shape, e->shape, sizeof e->shape);
}
static int source_read(void *handle, int index, int64_t first, int64_t count, real *values) { return safetensors_read(handle, index, first, count, values); }

int weights_load(model *m, const char *directory, char digits[HASH_TEXT_BYTES]) {
  safetensors *file;
  TRY(safetensors_open(directory, &file));
  tensor_source source = {file, source_find, source_describe, source_read, safetensors_path(file)};
  int code = model_load(m, &source);
  if (!code && digits) code = safetensors_hash(file, digits);
  safetensors_close(file);
  return code;
}
