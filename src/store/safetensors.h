/* The safetensors format: 8 bytes of header length (little endian), a JSON header {"name": {"dtype", "shape", "data_offsets"}, "__metadata__": {...}},
 * then raw little-endian data. Format: huggingface/safetensors.
 *
 * A file from outside is not trusted: header length, JSON, names, types, shapes, offsets (in range, matching the shape's bytes, no overlaps) are checked
 * when it is opened. Data may begin at any byte: values are copied out, never read through a cast pointer.
 *
 * Not collective. Reading one open file from several threads is safe.
 */
#ifndef PEFTSCALE_SAFETENSORS_H
#define PEFTSCALE_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "base/real.h"

enum { SAFETENSORS_MAX_DIMS = 8 };

/* F32, F16 and BF16 are read by safetensors_read, the whole numbers by safetensors_read_whole; OTHER: listed, not readable. */
typedef enum safetensors_type {
  TENSOR_F32,
  TENSOR_F16,
  TENSOR_BF16,
  TENSOR_U8,
  TENSOR_U16,
  TENSOR_U32,
  TENSOR_I8,
  TENSOR_I16,
  TENSOR_I32,
  TENSOR_I64,
  TENSOR_OTHER
} safetensors_type;

typedef struct safetensors_entry {
  const char *name;
  const char *type_text; /* as written in the file: "F16", "I64" ... */
  safetensors_type type;
  int dims;
  int64_t shape[SAFETENSORS_MAX_DIMS];
  int64_t count; /* elements */
} safetensors_entry;

typedef struct safetensors safetensors;

/* Opens `path`: a .safetensors file, or a directory that holds model.safetensors, or model.safetensors.index.json with its parts, or exactly one
 * *.safetensors file. Errors: ERROR_INPUT naming file and reason. Destroyed with safetensors_close. */
int safetensors_open(const char *path, safetensors **result);
void safetensors_close(safetensors *s);

int safetensors_count(const safetensors *s);
const safetensors_entry *safetensors_entry_at(const safetensors *s, int index);
int safetensors_find(const safetensors *s, const char *name); /* index, or -1 */

/* Path of the (first) file, for messages. */
const char *safetensors_path(const safetensors *s);

/* Content hash over all files' bytes, in the order of their names (hash.h). `text` holds HASH_TEXT_BYTES. */
int safetensors_hash(const safetensors *s, char *text);

/* values[0 .. count) = the tensor's elements first .. first + count in row-major order, converted to real. Errors: ERROR_INPUT (type not F32, F16 or BF16;
 * range outside the tensor; a value that is NaN or infinite, with its name and index). */
int safetensors_read(const safetensors *s, int index, int64_t first, int64_t count, real *values);

/* The same of a tensor of whole numbers, each from `low` to `high`. Errors: ERROR_INPUT (type; range outside the tensor; a value outside low .. high). */
int safetensors_read_whole(const safetensors *s, int index, int64_t first, int64_t count, int64_t low, int64_t high, int64_t *values);

/* All values of tensor `name` as the file holds them, bit for bit, NaN and infinities too: for files of our own. Errors: ERROR_INPUT (there is none of that
 * name, or not `count` values of that type). */
int safetensors_read_bits(const safetensors *s, const char *name, safetensors_type type, int64_t count, void *values);

/* What `__metadata__` of the (first) file says under `key`; NULL: nothing. */
const char *safetensors_metadata(const safetensors *s, const char *key);

/* Key and value of its entry number `index`, in the file's order. 0: there are no more. */
int safetensors_metadata_at(const safetensors *s, int index, const char **key, const char **value);

/* Writing. `metadata` is a NULL-terminated list of key, value, key, value ... or NULL. Data begins at a multiple of 8 bytes, tensor behind tensor in the
 * given order. The file is written whole or not at all. Errors: ERROR_SYSTEM, ERROR_INPUT (repeated name). */
typedef struct safetensors_output {
  const char *name;
  safetensors_type type; /* of `values`; F32 where nothing is said */
  int dims;
  int64_t shape[SAFETENSORS_MAX_DIMS];
  const void *values;
} safetensors_output;
int safetensors_write(const char *path, const safetensors_output *tensors, int count, const char *const *metadata);

#endif
