#include "base/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

enum { ALIGNMENT = 64, CHUNK_BYTES = 1 << 18 };

typedef struct chunk {
  struct chunk *next;
  size_t capacity, used; /* of the bytes behind this header */
} chunk;

struct arena {
  chunk *head;
  size_t used_bytes;
};

static size_t round_up(size_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

int arena_create(arena **result) {
  *result = calloc(1, sizeof **result);
  return *result ? ERROR_NONE : FAIL(ERROR_MEMORY, NULL, "out of memory for an arena");
}

void arena_destroy(arena *memory) {
  if (!memory) return;
  for (chunk *c = memory->head, *next; c; c = next) {
    next = c->next;
    free(c);
  }
  free(memory);
}

int arena_take(arena *memory, size_t count, size_t size, void *result) {
  if (size && count > (SIZE_MAX / 2) / size) return FAIL(ERROR_MEMORY, NULL, "%zu objects of %zu bytes exceed the address space", count, size);
  size_t wanted = count * size, bytes = round_up(wanted > 0 ? wanted : 1);
  chunk *c = memory->head;
  if (!c || c->capacity - c->used < bytes) {
    size_t capacity = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;
    chunk *fresh = aligned_alloc(ALIGNMENT, ALIGNMENT + capacity);
    if (!fresh) return FAIL(ERROR_MEMORY, "use fewer threads, more shards or a smaller model", "out of memory: %zu bytes more wanted", capacity);
    fresh->capacity = capacity;
    fresh->used = 0;
    if (c && bytes > CHUNK_BYTES) { /* a large object gets its own chunk; the current one stays open */
      fresh->next = c->next;
      c->next = fresh;
    } else {
      fresh->next = c;
      memory->head = fresh;
    }
    c = fresh;
  }
  void *place = (char *)c + ALIGNMENT + c->used;
  c->used += bytes;
  memory->used_bytes += bytes;
  memset(place, 0, bytes);
  memcpy(result, &place, sizeof place);
  return ERROR_NONE;
}

int arena_copy_text(arena *memory, const char *text, char **result) {
  size_t bytes = strlen(text) + 1;
  TRY(arena_take(memory, bytes, 1, result));
  memcpy(*result, text, bytes);
  return ERROR_NONE;
}

size_t arena_used_bytes(const arena *memory) { return memory->used_bytes; }
