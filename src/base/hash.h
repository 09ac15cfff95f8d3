/* Content hashes: XXH3, 128 bits, as 32 hexadecimal digits (the digits that `xxhsum -H2` prints for the same bytes).
 *
 * They answer "are these the same bytes?", not "did an adversary make them?". Not collective, thread-safe.
 */
#ifndef PEFTSCALE_HASH_H
#define PEFTSCALE_HASH_H

#include <stddef.h>
#include <stdint.h>

enum { HASH_TEXT_BYTES = 33 };

typedef struct hash hash; /* a hash in the making */

int hash_create(hash **result);
void hash_add(hash *h, const void *bytes, size_t count);
void hash_add_text(hash *h, const char *text);         /* with its end mark, so that "ab","c" differs from "a","bc" */
void hash_finish(hash *h, char text[HASH_TEXT_BYTES]); /* writes the digits and destroys h */

void hash_bytes(const void *bytes, size_t count, char text[HASH_TEXT_BYTES]);

/* 64 bits of it, for columns of numbers; never 0, which can so mean "not taken". */
int64_t hash_number(const void *bytes, size_t count);

/* Of a whole file. Errors: ERROR_INPUT when it cannot be read. */
int hash_file(const char *path, char text[HASH_TEXT_BYTES]);

#endif
