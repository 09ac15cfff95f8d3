#include "comm/pattern.h"

enum { PERIOD = 251, FACTORS = 3, OFFSETS = 7 };           /* sums: (place mod PERIOD) times a small factor of the rank, and a small number of it */
enum { BYTE_PERIOD = 50, BYTE_TOP = 200 };                 /* maxima: each rank has the largest at its own places                                */
static const int64_t both_halves = ((int64_t)1 << 33) + 1; /* integers have it in both halves of their 64 bits */

typedef struct line {
  int64_t factor, offset;
} line;

static line line_of(int rank) { return (line){1 + rank % FACTORS, rank % OFFSETS}; }

static int64_t value_of(line l, int64_t place) { return l.factor * (place % PERIOD) + l.offset; }

void pattern_fill(element_kind kind, int ranks, int rank, int64_t count, void *vector) {
  line l = line_of(rank);
  for (int64_t i = 0; i < count; i++) {
    if (kind == ELEMENT_FLOAT_SUM) ((float *)vector)[i] = (float)value_of(l, i);
    else if (kind == ELEMENT_INT64_SUM) ((int64_t *)vector)[i] = value_of(l, i) * both_halves;
    else ((uint8_t *)vector)[i] = (uint8_t)(i % BYTE_PERIOD + (i % ranks == rank ? BYTE_TOP : 0));
  }
}

int64_t pattern_check(element_kind kind, int ranks, int64_t count, const void *vector) {
  line sum = {0, 0};
  for (int rank = 0; rank < ranks; rank++) {
    line l = line_of(rank);
    sum.factor += l.factor;
    sum.offset += l.offset;
  }
  for (int64_t i = 0; i < count; i++) {
    int right = kind == ELEMENT_FLOAT_SUM   ? ((const float *)vector)[i] == (float)value_of(sum, i)
                : kind == ELEMENT_INT64_SUM ? ((const int64_t *)vector)[i] == value_of(sum, i) * both_halves
                                            : ((const uint8_t *)vector)[i] == i % BYTE_PERIOD + BYTE_TOP;
    if (!right) return i;
  }
  return -1;
}
