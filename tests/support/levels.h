/* The levels of own kernels, one after the other, for tests and benchmarks that want them all. */
#ifndef PEFTSCALE_TESTS_LEVELS_H
#define PEFTSCALE_TESTS_LEVELS_H

#include <stdlib.h>

#include "linalg/linalg.h"

enum { LEVELS = 3 };
static const char *const level_names[LEVELS] = {"portable", "x86-64-v3", "x86-64-v4"};

/* 0: this program does not have it, or this processor cannot run it. */
static inline int level_use(int level) {
  setenv("PEFTSCALE_KERNELS", level_names[level], 1);
  return linalg_setup() == 0;
}

/* Enough for all of them. */
static inline int64_t levels_attention_scratch(int length, int width) {
  int64_t most = 0;
  for (int i = 0; i < LEVELS; i++)
    if (level_use(i) && linalg_attention_scratch(length, width) > most) most = linalg_attention_scratch(length, width);
  return most;
}

#endif
