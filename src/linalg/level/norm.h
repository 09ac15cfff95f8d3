/* Layer normalisation of rows, with what stands before it forward (a branch, dropped out, joins the residual stream) and behind it backward, in one go while a
 * row is in the cache. */
#ifndef PEFTSCALE_LEVEL_NORM_H
#define PEFTSCALE_LEVEL_NORM_H

#include "linalg/level/dropout.h"

/* Sums of a row run in as many vectors as hide an addition's time. */
enum { SUMS = 4, STRIDE = SUMS * LANES };

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

/* even: w is a multiple of LANES. */
INLINE void forward_row(const norm_job *job, const int even, int i) {
  const int w = job->w;
  const int64_t start = (int64_t)i * w;
  const real *residual = job->residual ? job->residual + start : NULL, *branch = job->branch + start;
  real *y = job->y + start, *normal = job->hat ? job->hat + start : NULL;
  lanes sums[SUMS] = {0}, squares[SUMS] = {0};
  for (int from = 0; from < w; from += DRAWN) { /* y = residual + dropout(branch) */
    uint32_t room[DRAWN_ROOM];
    int end = w - from < DRAWN ? w : from + DRAWN;
    const uint32_t *words = job->mask ? draw_piece(job->mask, i, from, end - from, room) : NULL;
    for (int j = from; j < end; j += STRIDE)
#pragma GCC unroll 4
      for (int s = 0; s < SUMS; s++) {
        int at = j + s * LANES, part = even ? LANES : piece(end - at);
        if (at >= end) break;
        lanes x = load_part(branch + at, part);
        if (words) x = keep(x, job->keeps, words + (at - from));
        if (residual) x += load_part(residual + at, part);
        store_part(y + at, part, x);
        sums[s] += first_of(x, part);
      }
  }
  lanes mean = every(sum_all(sums) / (real)w);
  for (int j = 0; j < w; j += STRIDE)
#pragma GCC unroll 4
    for (int s = 0; s < SUMS; s++) {
      int at = j + s * LANES, part = even ? LANES : piece(w - at);
      if (at >= w) break;
      lanes apart = first_of(load_part(y + at, part) - mean, part);
      squares[s] += apart * apart;
    }
  real inverse = (real)(1.0 / sqrt((double)sum_all(squares) / w + job->epsilon));
  job->deviation[i] = inverse;
  for (int j = 0; j < w; j += LANES) {
    int part = even ? LANES : piece(w - j);
    lanes x = (load_part(y + j, part) - mean) * inverse;
    if (normal) store_part(normal + j, part, x);
    store_part(y + j, part, load_part(job->gain + j, part) * x + load_part(job->shift + j, part));
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
  if (w % LANES == 0)
    for (int i = 0; i < n; i++) forward_row(&job, 1, i);
  else
    for (int i = 0; i < n; i++) forward_row(&job, 0, i);
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
