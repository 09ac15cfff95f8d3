#include "base/hash.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/error.h"

struct hash {
  XXH3_state_t *state;
};

static void write_text(XXH128_hash_t value, char text[HASH_TEXT_BYTES]) {
  snprintf(text, HASH_TEXT_BYTES, "%016llx%016llx", (unsigned long long)value.high64, (unsigned long long)value.low64);
}

int hash_create(hash **result) {
  hash *h = malloc(sizeof *h);
  if (h && (h->state = XXH3_createState())) {
    XXH3_128bits_reset(h->state);
    *result = h;
    return ERROR_NONE;
  }
  free(h);
  *result = NULL;
  return FAIL(ERROR_MEMORY, NULL, "out of memory for a hash");
}

void hash_add(hash *h, const void *bytes, size_t count) { XXH3_128bits_update(h->state, bytes, count); }

void hash_add_text(hash *h, const char *text) { hash_add(h, text, strlen(text) + 1); }

void hash_finish(hash *h, char text[HASH_TEXT_BYTES]) {
  write_text(XXH3_128bits_digest(h->state), text);
  XXH3_freeState(h->state);
  free(h);
}

void hash_bytes(const void *bytes, size_t count, char text[HASH_TEXT_BYTES]) { write_text(XXH3_128bits(bytes, count), text); }

int64_t hash_number(const void *bytes, size_t count) {
  int64_t value = (int64_t)XXH3_64bits(bytes, count);
  return value ? value : 1;
}

int hash_file(const char *path, char text[HASH_TEXT_BYTES]) {
  FILE *file = fopen(path, "rb");
  if (!file) return FAIL(ERROR_INPUT, NULL, "%s: cannot open: %s", path, strerror(errno));
  hash *h;
  int code = hash_create(&h);
  enum { BLOCK = 1 << 16 };
  unsigned char block[BLOCK];
  size_t count;
  while (!code && (count = fread(block, 1, BLOCK, file)) > 0) hash_add(h, block, count);
  int broken = ferror(file);
  fclose(file);
  if (code) return code;
  hash_finish(h, text);
  return broken ? FAIL(ERROR_INPUT, NULL, "%s: reading failed", path) : ERROR_NONE;
}
