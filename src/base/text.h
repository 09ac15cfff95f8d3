/* Small work on strings. Not collective, thread-safe. */
#ifndef PEFTSCALE_TEXT_H
#define PEFTSCALE_TEXT_H

#include <stddef.h>
#include <stdint.h>

/* Writes to a fixed buffer; returns ERROR_INTERNAL where the text would have been cut (paths and names must never be shortened silently). */
int text_format(char *buffer, size_t bytes, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The whole of `text` as a number. Errors: ERROR_INPUT (no number, trailing characters, out of the type's range). */
int text_to_int(const char *text, int64_t *value);
int text_to_double(const char *text, double *value);

/* Edit distance (insert, delete, replace, swap of neighbours), and the index of the nearest of `count` names to `word`, or -1 if none is near. */
int text_distance(const char *a, const char *b);
int text_nearest(const char *word, const char *const *names, int count);

/* Bytes of the UTF-8 character at `text`, 0 if it is none. */
int text_utf8_length(const unsigned char *text);
/* Replaces control characters and bytes that are no UTF-8 by '?': words of a damaged file, to be shown. */
void text_clean(char *text);

/* A count for people: "73,728". `buffer` holds 32 bytes; returned. */
const char *text_thousands(int64_t value, char buffer[32]);
/* Bytes for people: "1.2 MB" (powers of ten). `buffer` holds 32 bytes; returned. */
const char *text_bytes(double bytes, char buffer[32]);

#endif
