/* Memory with one owner: everything taken from an arena is freed with it.
 *
 * Not collective, not thread-safe: one arena has one user at a time. Memory is zeroed and aligned to 64 bytes (a cache line, an AVX-512 vector).
 */
#ifndef PEFTSCALE_ARENA_H
#define PEFTSCALE_ARENA_H

#include <stddef.h>

typedef struct arena arena;

/* Makes an empty arena; the caller owns it and frees it with arena_destroy. */
int arena_create(arena **result);
void arena_destroy(arena *memory);

/* *result = count * size zeroed bytes (at least one byte, so never NULL). Errors: ERROR_MEMORY, also when count * size overflows. */
int arena_take(arena *memory, size_t count, size_t size, void *result);

/* A copy of a string (or of its first `length` bytes), owned by the arena. */
int arena_copy_text(arena *memory, const char *text, char **result);

/* Bytes taken so far. */
size_t arena_used_bytes(const arena *memory);

#endif
