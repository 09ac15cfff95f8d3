/* What the reader's files share: an open safetensors file or set of parts. Not for users of the format. */
#ifndef PEFTSCALE_SAFETENSORS_PRIVATE_H
#define PEFTSCALE_SAFETENSORS_PRIVATE_H

#include "base/arena.h"
#include "store/file.h"
#include "store/safetensors.h"

typedef struct safetensors_part {
  const char *path;
  file_map map;
  uint64_t data_start, data_bytes; /* the header's end, and what follows it */
} safetensors_part;

typedef struct safetensors_note {
  const char *key, *value;
} safetensors_note;

typedef struct safetensors_item {
  safetensors_entry entry;
  const safetensors_part *part;
  uint64_t begin, end; /* bytes behind data_start */
} safetensors_item;

struct safetensors {
  arena *memory;
  const char *path;        /* of the first part           */
  safetensors_part *parts; /* in the order of their names */
  int part_count;
  safetensors_item *items; /* in the order of the data, part after part */
  int count, room;
  const safetensors_item **by_name; /* in the order of names */
  safetensors_note *notes;          /* [note_count] __metadata__ of the first part */
  int note_count;
};

/* Bytes of one element of the format's types (little endian), 0 for a type that is not known here. */
int safetensors_type_bytes(const char *type_text);

/* The format's word for a type; NULL for TENSOR_OTHER. */
const char *safetensors_type_name(safetensors_type type);

/* A name from outside for a message: cut, without control characters. Two buffers take turns. */
const char *safetensors_printable(const char *name);

#endif
