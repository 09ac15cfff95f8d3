#include "comm/element.h"

static void add_floats(int64_t count, const void *from, void *into) {
  const float *restrict x = from;
  float *restrict y = into;
#pragma omp simd
  for (int64_t i = 0; i < count; i++) y[i] += x[i];
}

/* Unsigned: a sum that leaves the range wraps, as MPI's does. */
static void add_integers(int64_t count, const void *from, void *into) {
  const uint64_t *restrict x = from;
  uint64_t *restrict y = into;
#pragma omp simd
  for (int64_t i = 0; i < count; i++) y[i] += x[i];
}

static void max_bytes(int64_t count, const void *from, void *into) {
  const uint8_t *restrict x = from;
  uint8_t *restrict y = into;
#pragma omp simd
  for (int64_t i = 0; i < count; i++) y[i] = x[i] > y[i] ? x[i] : y[i];
}

const element_ops elements[ELEMENT_KINDS] = {
    [ELEMENT_FLOAT_SUM] = {sizeof(float), add_floats},
    [ELEMENT_INT64_SUM] = {sizeof(int64_t), add_integers},
    [ELEMENT_BYTE_MAX] = {sizeof(uint8_t), max_bytes},
};
