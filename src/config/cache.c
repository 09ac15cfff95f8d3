#include "config/cache.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "config/keys.h"

typedef struct cached {
  struct cached *next;
  char *path;
  config_document document;
} cached;

struct config_cache {
  arena *memory;
  cached *first; /* a batch reads some dozens of files at most: a list will do */
};

int config_cache_create(config_cache **result) {
  *result = calloc(1, sizeof **result);
  if (!*result) return FAIL(ERROR_MEMORY, NULL, "out of memory for parsed configuration files");
  int code = arena_create(&(*result)->memory);
  if (!code) return ERROR_NONE;
  free(*result);
  *result = NULL;
  return code;
}

void config_cache_destroy(config_cache *cache) {
  if (!cache) return;
  arena_destroy(cache->memory);
  free(cache);
}

static int read_file(arena *memory, const char *path, config_document *result) {
  TRY(config_document_read(memory, path, result));
  return config_keys_normalise(memory, result);
}

int config_cache_read(config_cache *cache, arena *memory, const char *path, config_document *result) {
  if (!cache) return read_file(memory, path, result);
  cached *c;
  for (c = cache->first; c && strcmp(c->path, path);) c = c->next;
  if (!c) {
    TRY(arena_take(cache->memory, 1, sizeof *c, &c));
    TRY(arena_copy_text(cache->memory, path, &c->path));
    TRY(read_file(cache->memory, path, &c->document));
    c->next = cache->first;
    cache->first = c;
  }
  *result = c->document;
  return ERROR_NONE;
}
