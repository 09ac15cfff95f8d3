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

/* Columns that are worked on at a time: what belongs to them stays in registers from row to row. */
enum { SCALE_WIDE = LANES_BYTES == 64 ? 8 : 4 };

static void scale_rows(int n, int w, const real *x, int x_ld, const real *v, real *y, int y_ld, int add) {
  for (int i = 0; i < n; i++) {
    const real *from = x + (int64_t)i * x_ld;
    real *to = y + (int64_t)i * y_ld;
    int j = 0;
    for (; j + LANES <= w; j += LANES) store(to + j, add ? load(to + j) + load(from + j) * load(v + j) : load(from + j) * load(v + j));
    for (; j < w; j++) to[j] = add ? to[j] + from[j] * v[j] : from[j] * v[j];
  }
}

/* The same columns of all rows. */
INLINE void scale_columns_backward(const int vectors, int n, int last, const real *g, int g_ld, const real *x, int x_ld, const real *v, real *dx, int dx_ld,
                                   int add, real *dv, real *sum) {
  lanes factor[SCALE_WIDE], dots[SCALE_WIDE], sums[SCALE_WIDE];
#define PART(k) ((k) == vectors - 1 ? last : LANES)
#pragma GCC unroll 8
  for (int k = 0; k < vectors; k++) {
    factor[k] = load_part(v + k * LANES, PART(k));
    dots[k] = load_part(dv + k * LANES, PART(k));
    sums[k] = sum ? load_part(sum + k * LANES, PART(k)) : (lanes){0};
  }
  for (int i = 0; i < n; i++, g += g_ld, x += x_ld, dx += dx_ld) {
#pragma GCC unroll 8
    for (int k = 0; k < vectors; k++) {
      lanes own = load_part(g + k * LANES, PART(k)), back = own * factor[k];
      dots[k] += own * load_part(x + k * LANES, PART(k));
      if (sum) sums[k] += own;
      store_part(dx + k * LANES, PART(k), add ? load_part(dx + k * LANES, PART(k)) + back : back);
    }
  }
#pragma GCC unroll 8
  for (int k = 0; k < vectors; k++) {
    store_part(dv + k * LANES, PART(k), dots[k]);
    if (sum) store_part(sum + k * LANES, PART(k), sums[k]);
  }
#undef PART
}

static void scale_rows_backward(int n, int w, const real *g, int g_ld, const real *x, int x_ld, const real *v, real *dx, int dx_ld, int add, real *dv,
                                real *sum) {
  int j = 0;
  for (; j + SCALE_WIDE * LANES <= w; j += SCALE_WIDE * LANES)
    scale_columns_backward(SCALE_WIDE, n, LANES, g + j, g_ld, x + j, x_ld, v + j, dx + j, dx_ld, add, dv + j, sum ? sum + j : NULL);
  for (; j < w; j += LANES) scale_columns_backward(1, n, piece(w - j), g + j, g_ld, x + j, x_ld, v + j, dx + j, dx_ld, add, dv + j, sum ? sum + j : NULL);
}

static void multiply(int64_t count, const real *x, real *y) {
#pragma omp simd
  for (int64_t i = 0; i < count; i++) y[i] *= x[i];
}

#endif
