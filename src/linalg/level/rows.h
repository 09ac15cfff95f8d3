/* Softmax of rows, and sums over them. */
#ifndef PEFTSCALE_LEVEL_ROWS_H
#define PEFTSCALE_LEVEL_ROWS_H

#include "linalg/level/functions.h"

static void softmax(int n, int w, real *x, int ld) {
  for (int i = 0; i < n; i++) {
    real *row = x + (int64_t)i * ld, largest = row[0];
    int j = 0;
    if (w >= LANES) {
      lanes most = load(row);
      for (j = LANES; j + LANES <= w; j += LANES) most = larger(load(row + j), most);
      for (int lane = 0; lane < LANES; lane++) largest = most[lane] > largest ? most[lane] : largest;
    }
    for (; j < w; j++) largest = row[j] > largest ? row[j] : largest;
    lanes sum = {0};
    for (j = 0; j < w; j += LANES) {
      int part = piece(w - j);
      lanes power = exp_of_negative(load_part(row + j, part) - largest);
      store_part(row + j, part, power);
      sum += first_of(power, part);
    }
    real inverse = 1 / sum_lanes(sum);
    for (j = 0; j < w; j += LANES) {
      int part = piece(w - j);
      store_part(row + j, part, load_part(row + j, part) * inverse);
    }
  }
}

static void tanh_of(int64_t count, const real *x, real *y) {
  for (int64_t i = 0; i < count; i += LANES) {
    int part = piece(count - i);
    store_part(y + i, part, tanh_lanes(load_part(x + i, part)));
  }
}

/* Row after row onto the sum of each column; the sums stay in registers, as many as make a cache line's worth of columns and more. */
static void column_sum(int n, int w, const real *x, int ld, real *sum) {
  enum { WIDE = 8 };
  int j = 0;
  for (; j + WIDE * LANES <= w; j += WIDE * LANES) {
    lanes s[WIDE];
#pragma GCC unroll 8
    for (int k = 0; k < WIDE; k++) s[k] = load(sum + j + k * LANES);
    for (int i = 0; i < n; i++)
#pragma GCC unroll 8
      for (int k = 0; k < WIDE; k++) s[k] += load(x + (int64_t)i * ld + j + k * LANES);
#pragma GCC unroll 8
    for (int k = 0; k < WIDE; k++) store(sum + j + k * LANES, s[k]);
  }
  for (; j < w; j += LANES) {
    int part = piece(w - j);
    lanes s = load_part(sum + j, part);
    for (int i = 0; i < n; i++) s += load_part(x + (int64_t)i * ld + j, part);
    store_part(sum + j, part, s);
  }
}

static void multiply(int64_t count, const real *x, real *y) {
#pragma omp simd
  for (int64_t i = 0; i < count; i++) y[i] *= x[i];
}

#endif
