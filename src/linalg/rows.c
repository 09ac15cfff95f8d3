#include <string.h>

#include "linalg/kernels.h"
#include "linalg/lanes.h"

void linalg_to_bf16(int64_t count, const real *x, uint16_t *y) { kernels->to_bf16(count, x, y); }

void linalg_set_rows(int n, int w, const real *row, real *y, int ld) {
  for (int i = 0; i < n; i++) {
    if (row) memcpy(y + (int64_t)i * ld, row, (size_t)w * sizeof(real));
    else memset(y + (int64_t)i * ld, 0, (size_t)w * sizeof(real));
  }
}

void linalg_add_rows(int n, int w, const real *row, real *y, int ld) {
  for (int i = 0; i < n; i++) linalg_add(w, row, y + (int64_t)i * ld);
}

void linalg_column_sum(int n, int w, const real *x, int ld, real *sum) {
  for (int i = 0; i < n; i++) linalg_add(w, x + (int64_t)i * ld, sum);
}

void linalg_add(int64_t count, const real *x, real *y) {
#pragma omp simd
  for (int64_t i = 0; i < count; i++) y[i] += x[i];
}

void linalg_add_scaled(int64_t count, real factor, const real *x, real *y) {
#pragma omp simd
  for (int64_t i = 0; i < count; i++) y[i] += factor * x[i];
}

void linalg_multiply(int64_t count, const real *x, real *y) {
#pragma omp simd
  for (int64_t i = 0; i < count; i++) y[i] *= x[i];
}

double linalg_square_sum(int64_t count, const real *x) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < count; i++) sum += (double)x[i] * (double)x[i];
  return sum;
}

void linalg_norm_forward(int n, int w, const real *x, const real *gain, const real *shift, double epsilon, real *hat, real *deviation, real *y) {
  for (int i = 0; i < n; i++) {
    const real *row = x + (int64_t)i * w;
    real *out = y + (int64_t)i * w;
    real sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
    for (int j = 0; j < w; j++) sum += row[j];
    real mean = sum / (real)w;
#pragma omp simd reduction(+ : squares)
    for (int j = 0; j < w; j++) squares += (row[j] - mean) * (row[j] - mean);
    real inverse = (real)(1.0 / sqrt((double)squares / w + epsilon));
    deviation[i] = inverse;
    if (hat) {
      real *normal = hat + (int64_t)i * w;
#pragma omp simd
      for (int j = 0; j < w; j++) {
        normal[j] = (row[j] - mean) * inverse;
        out[j] = gain[j] * normal[j] + shift[j];
      }
    } else {
#pragma omp simd
      for (int j = 0; j < w; j++) out[j] = gain[j] * ((row[j] - mean) * inverse) + shift[j];
    }
  }
}

void linalg_norm_backward(int n, int w, const real *dy, const real *gain, const real *hat, const real *deviation, real *dx, real *gain_gradient,
                          real *shift_gradient) {
  if (shift_gradient) linalg_column_sum(n, w, dy, w, shift_gradient);
  for (int i = 0; i < n; i++) {
    const real *d = dy + (int64_t)i * w, *normal = hat + (int64_t)i * w;
    real *out = dx + (int64_t)i * w;
    real sum = 0, dot = 0;
#pragma omp simd reduction(+ : sum, dot)
    for (int j = 0; j < w; j++) {
      real g = d[j] * gain[j];
      sum += g;
      dot += g * normal[j];
    }
    if (gain_gradient) {
#pragma omp simd
      for (int j = 0; j < w; j++) gain_gradient[j] += d[j] * normal[j];
    }
    real mean = sum / (real)w, slope = dot / (real)w, inverse = deviation[i];
#pragma omp simd
    for (int j = 0; j < w; j++) out[j] = inverse * (d[j] * gain[j] - mean - normal[j] * slope);
  }
}

/* One block of LANES values of u: Phi(u) from erf, the density from exp. */
static inline void gelu_block(const real *u, real *y, real *slope) {
  real scaled[LANES], phi[LANES];
  for (int i = 0; i < LANES; i++) scaled[i] = u[i] * (real)0.70710678118654752440;
  lanes_erf(scaled, phi);
  if (slope) {
    real square[LANES], density[LANES], held[LANES];
    for (int i = 0; i < LANES; i++) {
      held[i] = u[i]; /* slope may be u itself */
      square[i] = (real)-0.5 * u[i] * u[i];
    }
    lanes_exp(square, density);
    for (int i = 0; i < LANES; i++) {
      real share = (real)0.5 + (real)0.5 * phi[i];
      y[i] = held[i] * share;
      slope[i] = share + held[i] * density[i] * (real)0.39894228040143267794;
    }
  } else {
    for (int i = 0; i < LANES; i++) y[i] = u[i] * ((real)0.5 + (real)0.5 * phi[i]);
  }
}

void linalg_gelu(int n, int w, const real *bias, real *u, real *y, real *slope) {
  for (int i = 0; i < n; i++) {
    int64_t at = (int64_t)i * w;
    if (bias) linalg_add(w, bias, u + at);
    int j = 0;
    for (; j + LANES <= w; j += LANES) gelu_block(u + at + j, y + at + j, slope ? slope + at + j : NULL);
    if (j < w) { /* the rest of a row, padded to a block, so that a value never depends on its neighbours */
      real in[LANES] = {0}, out[LANES], turn[LANES];
      memcpy(in, u + at + j, (size_t)(w - j) * sizeof(real));
      gelu_block(in, out, slope ? turn : NULL);
      memcpy(y + at + j, out, (size_t)(w - j) * sizeof(real));
      if (slope) memcpy(slope + at + j, turn, (size_t)(w - j) * sizeof(real));
    }
  }
}

static void map_blocks(int64_t count, const real *x, real *y, void (*map)(const real *, real *)) {
  int64_t i = 0;
  for (; i + LANES <= count; i += LANES) map(x + i, y + i);
  if (i < count) {
    real in[LANES] = {0}, out[LANES];
    memcpy(in, x + i, (size_t)(count - i) * sizeof(real));
    map(in, out);
    memcpy(y + i, out, (size_t)(count - i) * sizeof(real));
  }
}

void linalg_tanh(int64_t count, const real *x, real *y) { map_blocks(count, x, y, lanes_tanh); }

void linalg_softmax(int n, int w, real *x, int ld) {
  for (int i = 0; i < n; i++) {
    real *row = x + (int64_t)i * ld;
    real largest = row[0], sum = 0;
#pragma omp simd reduction(max : largest)
    for (int j = 1; j < w; j++) largest = row[j] > largest ? row[j] : largest;
#pragma omp simd
    for (int j = 0; j < w; j++) row[j] -= largest;
    map_blocks(w, row, row, lanes_exp);
#pragma omp simd reduction(+ : sum)
    for (int j = 0; j < w; j++) sum += row[j];
    real inverse = 1 / sum;
#pragma omp simd
    for (int j = 0; j < w; j++) row[j] *= inverse;
  }
}
