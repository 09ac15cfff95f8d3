/* Layer normalisation of rows, with what stands before it forward (a branch, dropped out, joins the residual stream) and behind it backward, in one go while a
 * row is in the cache. */
#ifndef PEFTSCALE_LEVEL_NORM_H
#define PEFTSCALE_LEVEL_NORM_H

#include "linalg/level/dropout.h"

/* A row waits for its mean, then for its variance: two rows at once wait half as long. Sums run in as many vectors as hide an addition's time. */
enum { SUMS = 4, STRIDE = SUMS * LANES, PAIR = 2 };

INLINE real sum_all(const lanes sums[SUMS]) { return sum_lanes((sums[0] + sums[1]) + (sums[2] + sums[3])); }

/* What all rows of a call share; as in linalg.h. */
typedef struct norm_job {
  int w;
  const linalg_mask *mask;
  keeper keeps;
  const real *gain, *shift;
  double epsilon;
  const real *residual, *branch;
  const real *dy, *normal, *inverse; /* normal, inverse: hat and deviation, read */
  real *hat, *deviation, *y;
  real *dx, *dbranch, *gain_gradient, *shift_gradient;
} norm_job;

/* Of `rows` rows from the i-th on; even: their width is a multiple of LANES. */
INLINE void forward_rows(const norm_job *job, const int rows, const int even, int i) {
  const int w = job->w;
  const linalg_mask *mask = job->mask;
  const real *residual = job->residual;
  lanes sums[PAIR][SUMS] = {0}, squares[PAIR][SUMS] = {0}, mean[PAIR], inverse[PAIR];
  for (int from = 0; from < w; from += DRAWN) { /* y = residual + dropout(branch) */
    uint32_t room[PAIR][DRAWN_ROOM];
    const uint32_t *words[PAIR] = {0};
    int end = w - from < DRAWN ? w : from + DRAWN;
    for (int r = 0; r < rows && mask; r++) words[r] = draw_piece(mask, i + r, from, end - from, room[r]);
    for (int j = from; j < end; j += STRIDE)
#pragma GCC unroll 4
      for (int s = 0; s < SUMS; s++) {
        int at = j + s * LANES, part = even ? LANES : piece(end - at);
        if (at >= end) break;
#pragma GCC unroll 2
        for (int r = 0; r < rows; r++) {
          int64_t place = (int64_t)(i + r) * w + at;
          lanes x = load_part(job->branch + place, part);
          if (mask) x = keep(x, job->keeps, words[r] + (at - from));
          if (residual) x += load_part(residual + place, part);
          store_part(job->y + place, part, x);
          sums[r][s] += first_of(x, part);
        }
      }
  }
#pragma GCC unroll 2
  for (int r = 0; r < rows; r++) mean[r] = every(sum_all(sums[r]) / (real)w);
  for (int j = 0; j < w; j += STRIDE)
#pragma GCC unroll 4
    for (int s = 0; s < SUMS; s++) {
      int at = j + s * LANES, part = even ? LANES : piece(w - at);
      if (at >= w) break;
#pragma GCC unroll 2
      for (int r = 0; r < rows; r++) {
        lanes apart = first_of(load_part(job->y + (int64_t)(i + r) * w + at, part) - mean[r], part);
        squares[r][s] += apart * apart;
      }
    }
#pragma GCC unroll 2
  for (int r = 0; r < rows; r++) {
    job->deviation[i + r] = (real)(1.0 / sqrt((double)sum_all(squares[r]) / w + job->epsilon));
    inverse[r] = every(job->deviation[i + r]);
  }
  for (int j = 0; j < w; j += LANES) {
    int part = even ? LANES : piece(w - j);
    lanes gain = load_part(job->gain + j, part), shift = load_part(job->shift + j, part);
#pragma GCC unroll 2
    for (int r = 0; r < rows; r++) {
      int64_t place = (int64_t)(i + r) * w + j;
      lanes x = (load_part(job->y + place, part) - mean[r]) * inverse[r];
      if (job->hat) store_part(job->hat + place, part, x);
      store_part(job->y + place, part, gain * x + shift);
    }
  }
}

static void join_norm_forward(int n, int w, const linalg_mask *mask, const real *residual, const real *branch, const real *gain, const real *shift,
                              double epsilon, real *hat, real *deviation, real *y) {
  const norm_job job = {.w = w,
                        .mask = mask,
                        .keeps = keeper_make(mask ? mask->p : 0),
                        .gain = gain,
                        .shift = shift,
                        .epsilon = epsilon,
                        .residual = residual,
                        .branch = branch,
                        .hat = hat,
                        .deviation = deviation,
                        .y = y};
  int i = 0;
  if (w % LANES == 0)
    for (; i + PAIR <= n; i += PAIR) forward_rows(&job, PAIR, 1, i);
  for (; i < n; i++) forward_rows(&job, 1, 0, i);
}

INLINE void backward_row(const norm_job *job, const int even, int i) {
  const int w = job->w;
  const int64_t start = (int64_t)i * w;
  const real *dy = job->dy + start, *normal = job->normal + start;
  lanes sums[SUMS] = {0}, dots[SUMS] = {0};
  for (int j = 0; j < w; j += STRIDE)
#pragma GCC unroll 4
    for (int s = 0; s < SUMS; s++) {
      int at = j + s * LANES, part = even ? LANES : piece(w - at);
      if (at >= w) break;
      lanes d = load_part(dy + at, part), x = load_part(normal + at, part), g = d * load_part(job->gain + at, part);
      sums[s] += g;
      dots[s] += g * x;
      if (job->gain_gradient) store_part(job->gain_gradient + at, part, load_part(job->gain_gradient + at, part) + d * x);
      if (job->shift_gradient) store_part(job->shift_gradient + at, part, load_part(job->shift_gradient + at, part) + d);
    }
  lanes mean = every(sum_all(sums) / (real)w), slope = every(sum_all(dots) / (real)w), inverse = every(job->inverse[i]);
  for (int from = 0; from < w; from += DRAWN) {
    uint32_t room[DRAWN_ROOM];
    int end = w - from < DRAWN ? w : from + DRAWN;
    const uint32_t *words = job->mask ? draw_piece(job->mask, i, from, end - from, room) : NULL;
    for (int j = from; j < end; j += LANES) {
      int part = even ? LANES : piece(end - j);
      lanes g = inverse * (load_part(dy + j, part) * load_part(job->gain + j, part) - mean - load_part(normal + j, part) * slope);
      store_part(job->dx + start + j, part, g);
      if (job->dbranch) store_part(job->dbranch + start + j, part, words ? keep(g, job->keeps, words + (j - from)) : g);
    }
  }
}

static void join_norm_backward(int n, int w, const linalg_mask *mask, const real *dy, const real *gain, const real *hat, const real *deviation, real *dx,
                               real *dbranch, real *gain_gradient, real *shift_gradient) {
  const norm_job job = {.w = w,
                        .mask = dbranch ? mask : NULL,
                        .keeps = keeper_make(mask ? mask->p : 0),
                        .gain = gain,
                        .dy = dy,
                        .normal = hat,
                        .inverse = deviation,
                        .dx = dx,
                        .dbranch = dbranch,
                        .gain_gradient = gain_gradient,
                        .shift_gradient = shift_gradient};
  if (w % LANES == 0)
    for (int i = 0; i < n; i++) backward_row(&job, 1, i);
  else
    for (int i = 0; i < n; i++) backward_row(&job, 0, i);
}

#endif
