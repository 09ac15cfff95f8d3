/* What an all-reduce adds up: floats (a step's gradient), 64-bit integers (an exact sum) or, by maximum, bytes (the levels that an exact sum begins with).
 *
 * Not collective, thread-safe.
 */
#ifndef PEFTSCALE_ELEMENT_H
#define PEFTSCALE_ELEMENT_H

#include <stdint.h>

typedef enum element_kind { ELEMENT_FLOAT_SUM, ELEMENT_INT64_SUM, ELEMENT_BYTE_MAX, ELEMENT_KINDS } element_kind;

typedef struct element_ops {
  int bytes;
  /* into[i] = into[i] (+ or max) from[i], i < count; they do not overlap */
  void (*combine)(int64_t count, const void *from, void *into);
} element_ops;

extern const element_ops elements[ELEMENT_KINDS];

#endif
