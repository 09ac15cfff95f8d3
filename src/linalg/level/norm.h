/* Layer normalisation of rows, with what stands before it forward (a branch, dropped out, joins the residual stream) and behind it backward, in one go while a
 * row is in the cache. */
#ifndef PEFTSCALE_LEVEL_NORM_H
#define PEFTSCALE_LEVEL_NORM_H

#include "linalg/level/dropout.h"

/* Sums of a row run in as many vectors as hide an addition's time. */
enum { SUMS = 4, STRIDE = SUMS * LANES };

INLINE real sum_all(const lanes sums[SUMS]) { return sum_lanes((sums[0] + sums[1]) + (sums[2] + sums[3])); }

/* sum[j] = residual[j] + keep(branch[j]); returns the sum of them. mask, residual: NULL for none. */
INLINE real join_row(int w, const linalg_mask *mask, int row, const real *residual, const real *branch, real *sum) {
  const keeper k = mask ? keeper_make(mask->p) : (keeper){0};
  lanes sums[SUMS] = {0};
  for (int from = 0; from < w; from += DRAWN) {
    uint32_t room[DRAWN_ROOM];
    int end = w - from < DRAWN ? w : from + DRAWN;
    const uint32_t *words = mask ? draw_piece(mask, row, from, end - from, room) : NULL;
    for (int j = from; j < end; j += STRIDE)
#pragma GCC unroll 4
      for (int s = 0; s < SUMS; s++) {
        int at = j + s * LANES, part = piece(end - at);
        if (part <= 0) break;
        lanes x = load_part(branch + at, part);
        if (mask) x = keep(x, k, words + (at - from));
        if (residual) x += load_part(residual + at, part);
        store_part(sum + at, part, x);
        sums[s] += first_of(x, part);
      }
  }
  return sum_all(sums);
}

static void join_norm_forward(int n, int w, const linalg_mask *mask, const real *residual, const real *branch, const real *gain, const real *shift,
                              double epsilon, real *hat, real *deviation, real *y) {
  for (int i = 0; i < n; i++) {
    const int64_t start = (int64_t)i * w;
    real *row = y + start, *normal = hat ? hat + start : NULL;
    lanes squares[SUMS] = {0}, mean = every(join_row(w, mask, i, residual ? residual + start : NULL, branch + start, row) / (real)w);
    for (int j = 0; j < w; j += STRIDE)
#pragma GCC unroll 4
      for (int s = 0; s < SUMS; s++) {
        int at = j + s * LANES, part = piece(w - at);
        if (part <= 0) break;
        lanes apart = first_of(load_part(row + at, part) - mean, part);
        squares[s] += apart * apart;
      }
    real inverse = (real)(1.0 / sqrt((double)sum_all(squares) / w + epsilon));
    deviation[i] = inverse;
    for (int j = 0; j < w; j += LANES) {
      int part = piece(w - j);
      lanes x = (load_part(row + j, part) - mean) * inverse;
      if (normal) store_part(normal + j, part, x);
      store_part(row + j, part, load_part(gain + j, part) * x + load_part(shift + j, part));
    }
  }
}

static void join_norm_backward(int n, int w, const linalg_mask *mask, const real *dy, const real *gain, const real *hat, const real *deviation, real *dx,
                               real *dbranch, real *gain_gradient, real *shift_gradient) {
  const keeper k = mask ? keeper_make(mask->p) : (keeper){0};
  for (int i = 0; i < n; i++) {
    const int64_t start = (int64_t)i * w;
    const real *dout = dy + start, *normal = hat + start;
    lanes sums[SUMS] = {0}, dots[SUMS] = {0};
    for (int j = 0; j < w; j += STRIDE)
#pragma GCC unroll 4
      for (int s = 0; s < SUMS; s++) {
        int at = j + s * LANES, part = piece(w - at);
        if (part <= 0) break;
        lanes d = load_part(dout + at, part), x = load_part(normal + at, part), g = d * load_part(gain + at, part);
        sums[s] += g;
        dots[s] += g * x;
        if (gain_gradient) store_part(gain_gradient + at, part, load_part(gain_gradient + at, part) + d * x);
        if (shift_gradient) store_part(shift_gradient + at, part, load_part(shift_gradient + at, part) + d);
      }
    lanes mean = every(sum_all(sums) / (real)w), slope = every(sum_all(dots) / (real)w), inverse = every(deviation[i]);
    for (int from = 0; from < w; from += DRAWN) {
      uint32_t room[DRAWN_ROOM];
      int end = w - from < DRAWN ? w : from + DRAWN;
      const uint32_t *words = mask ? draw_piece(mask, i, from, end - from, room) : NULL;
      for (int j = from; j < end; j += LANES) {
        int part = piece(end - j);
        lanes g = inverse * (load_part(dout + j, part) * load_part(gain + j, part) - mean - load_part(normal + j, part) * slope);
        store_part(dx + start + j, part, g);
        if (dbranch) store_part(dbranch + start + j, part, mask ? keep(g, k, words + (j - from)) : g);
      }
    }
  }
}

#endif
