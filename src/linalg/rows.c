#include <string.h>

#include "linalg/kernels.h"

void linalg_set_rows(int n, int w, const real *row, real *y, int ld) {
  for (int i = 0; i < n; i++) {
    if (row) memcpy(y + (int64_t)i * ld, row, (size_t)w * sizeof(real));
    else memset(y + (int64_t)i * ld, 0, (size_t)w * sizeof(real));
  }
}

void linalg_add_rows(int n, int w, const real *row, real *y, int ld) {
  for (int i = 0; i < n; i++) linalg_add(w, row, y + (int64_t)i * ld);
}

void linalg_add(int64_t count, const real *x, real *y) {
#pragma omp simd
  for (int64_t i = 0; i < count; i++) y[i] += x[i];
}

void linalg_add_scaled(int64_t count, real factor, const real *x, real *y) {
#pragma omp simd
  for (int64_t i = 0; i < count; i++) y[i] += factor * x[i];
}

double linalg_square_sum(int64_t count, const real *x) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < count; i++) sum += (double)x[i] * (double)x[i];
  return sum;
}

/* ---- what comes in levels ---- */

void linalg_column_sum(int n, int w, const real *x, int ld, real *sum) { kernels->column_sum(n, w, x, ld, sum); }
void linalg_scale_rows(int n, int w, const real *x, int x_ld, const real *v, real *y, int y_ld, int add) {
  kernels->scale_rows(n, w, x, x_ld, v, y, y_ld, add);
}
void linalg_scale_rows_backward(int n, int w, const real *g, int g_ld, const real *x, int x_ld, const real *v, real *dx, int dx_ld, int add, real *dv,
                                real *sum) {
  kernels->scale_rows_backward(n, w, g, g_ld, x, x_ld, v, dx, dx_ld, add, dv, sum);
}
void linalg_multiply(int64_t count, const real *x, real *y) { kernels->multiply(count, x, y); }
void linalg_tanh(int64_t count, const real *x, real *y) { kernels->tanh(count, x, y); }
void linalg_softmax(int n, int w, real *x, int ld) { kernels->softmax(n, w, x, ld); }
void linalg_gelu(int64_t count, const real *u, real *y, real *slope) { kernels->gelu(count, u, y, slope); }
void linalg_to_bf16(int64_t count, const real *x, uint16_t *y) { kernels->to_bf16(count, x, y); }
void linalg_multiply_to_bf16(int64_t count, const uint16_t *x, const real *z, uint16_t *y) { kernels->multiply_to_bf16(count, x, z, y); }
void linalg_gelu_to_bf16(int64_t count, const real *u, uint16_t *y, uint16_t *slope) { kernels->gelu_to_bf16(count, u, y, slope); }

void linalg_norm_forward(int n, int w, const real *x, const real *gain, const real *shift, double epsilon, real *hat, real *deviation, real *y) {
  kernels->join_norm_forward(n, w, NULL, NULL, x, gain, shift, epsilon, hat, deviation, y);
}

void linalg_norm_backward(int n, int w, const real *dy, const real *gain, const real *hat, const real *deviation, real *dx, real *gain_gradient,
                          real *shift_gradient) {
  kernels->join_norm_backward(n, w, NULL, dy, gain, hat, deviation, dx, NULL, gain_gradient, shift_gradient);
}

void linalg_join_norm_forward(int n, int w, const linalg_mask *mask, const real *residual, const real *branch, const real *gain, const real *shift,
                              double epsilon, real *hat, real *deviation, real *y) {
  kernels->join_norm_forward(n, w, mask, residual, branch, gain, shift, epsilon, hat, deviation, y);
}

void linalg_join_norm_backward(int n, int w, const linalg_mask *mask, const real *dy, const real *gain, const real *hat, const real *deviation, real *dx,
                               real *dbranch, real *gain_gradient, real *shift_gradient) {
  kernels->join_norm_backward(n, w, mask, dy, gain, hat, deviation, dx, dbranch, gain_gradient, shift_gradient);
}

void linalg_dropout(int n, int w, const linalg_mask *mask, const real *x, int x_ld, real *y, int y_ld, int add) {
  kernels->dropout(n, w, mask, x, x_ld, y, y_ld, add);
}
