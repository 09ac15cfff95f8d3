/* Products of small matrices out of the first cache: a block of rows of A times all of B stays in registers until it is done. Each number of C is one sum in
 * the order of k, however the rows and columns are cut, so that a row's result depends on nothing beside it. */
#ifndef PEFTSCALE_LEVEL_TILE_H
#define PEFTSCALE_LEVEL_TILE_H

#include "linalg/level/lanes.h"

/* A tile of C: rows times vectors of columns, as many as the registers hold beside the operands. */
enum { TILE_ROWS = LANES_BYTES == 64 ? 8 : 4, TILE_VECTORS = 2, TILE_COLUMNS = TILE_VECTORS * LANES };

/* c[r][0 .. vectors) = sum over k of a[r a_row + k a_step] b[k][...]; of the last vector only `last` lanes are written. */
INLINE void tile(const int rows, const int vectors, int inner, const real *a, int64_t a_row, int64_t a_step, const real *b, int64_t ldb, real *c, int64_t ldc,
                 int last) {
  lanes sum[TILE_ROWS][TILE_VECTORS] = {0};
  for (int k = 0; k < inner; k++, a += a_step, b += ldb) {
    lanes x[TILE_VECTORS];
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) x[v] = load(b + v * LANES);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
      lanes factor = every(a[r * a_row]);
#pragma GCC unroll 2
      for (int v = 0; v < vectors; v++) sum[r][v] += factor * x[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) store_part(c + r * ldc + v * LANES, v == vectors - 1 ? last : LANES, sum[r][v]);
}

/* The tile's size known to the compiler. */
INLINE void tile_of(int rows, const int vectors, int inner, const real *a, int64_t a_row, int64_t a_step, const real *b, int64_t ldb, real *c, int64_t ldc,
                    int last) {
  switch (rows) {
    case 1: tile(1, vectors, inner, a, a_row, a_step, b, ldb, c, ldc, last); break;
    case 2: tile(2, vectors, inner, a, a_row, a_step, b, ldb, c, ldc, last); break;
    case 3: tile(3, vectors, inner, a, a_row, a_step, b, ldb, c, ldc, last); break;
    case 4: tile(4, vectors, inner, a, a_row, a_step, b, ldb, c, ldc, last); break;
#if LANES_BYTES == 64
    case 5: tile(5, vectors, inner, a, a_row, a_step, b, ldb, c, ldc, last); break;
    case 6: tile(6, vectors, inner, a, a_row, a_step, b, ldb, c, ldc, last); break;
    case 7: tile(7, vectors, inner, a, a_row, a_step, b, ldb, c, ldc, last); break;
    case 8: tile(8, vectors, inner, a, a_row, a_step, b, ldb, c, ldc, last); break;
#endif
    default: break;
  }
}

/* C [m][n] = A B, B [inner][n] readable up to whole vectors. Rows are cut as evenly as it goes. */
INLINE void tiles(int m, int n, int inner, const real *a, int64_t a_row, int64_t a_step, const real *b, int64_t ldb, real *c, int64_t ldc) {
  const int blocks = (m + TILE_ROWS - 1) / TILE_ROWS;
  for (int j = 0; j < n; j += TILE_COLUMNS)
    for (int block = 0, i = 0; block < blocks; block++) {
      int rows = (m - i) / (blocks - block), left = n - j;
      if (left > LANES) tile_of(rows, 2, inner, a + i * a_row, a_row, a_step, b + j, ldb, c + i * ldc + j, ldc, piece(left - LANES));
      else tile_of(rows, 1, inner, a + i * a_row, a_row, a_step, b + j, ldb, c + i * ldc + j, ldc, left);
      i += rows;
    }
}

/* C [m][n] = A [m][inner] B */
static void rows_times(int m, int n, int inner, const real *a, int lda, const real *b, int ldb, real *c, int ldc) {
  tiles(m, n, inner, a, lda, 1, b, ldb, c, ldc);
}

/* C [m][n] = A [inner][m], transposed, B */
static void columns_times(int m, int n, int inner, const real *a, int lda, const real *b, int ldb, real *c, int ldc) {
  tiles(m, n, inner, a, 1, lda, b, ldb, c, ldc);
}

#if LANES_FLOAT
INLINE lanes interleave_front(lanes x, lanes y) {
#if LANES_FLOAT == 512
  return __builtin_shuffle(x, y, (lanes_int){0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23});
#else
  return __builtin_shuffle(x, y, (lanes_int){0, 8, 1, 9, 2, 10, 3, 11});
#endif
}

INLINE lanes interleave_back(lanes x, lanes y) {
#if LANES_FLOAT == 512
  return __builtin_shuffle(x, y, (lanes_int){8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31});
#else
  return __builtin_shuffle(x, y, (lanes_int){4, 12, 5, 13, 6, 14, 7, 15});
#endif
}

/* x[i][j] becomes x[j][i]: interleaving the halves of a set of vectors log2(LANES) times does that. */
INLINE void transpose(lanes x[LANES]) {
  lanes y[LANES];
#pragma GCC unroll 4
  for (int times = 1; times < LANES; times *= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < LANES / 2; i++) {
      y[2 * i] = interleave_front(x[i], x[i + LANES / 2]);
      y[2 * i + 1] = interleave_back(x[i], x[i + LANES / 2]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) x[i] = y[i];
  }
}

/* y[p][0 .. LANES) = column p of x [n][w], 1 <= n <= LANES. What is behind the n-th number has no meaning. */
static void transpose_rows(int n, int w, const real *x, int ld, real *y, int ldy) {
  for (int p = 0; p < w; p += LANES) {
    lanes row[LANES];
    int part = piece(w - p);
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) row[i] = load_part(x + (int64_t)(i < n ? i : n - 1) * ld + p, part);
    transpose(row);
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
      if (i < part) store(y + (int64_t)(p + i) * ldy, row[i]);
  }
}
#else
static void transpose_rows(int n, int w, const real *x, int ld, real *y, int ldy) {
  for (int p = 0; p < w; p++)
    for (int i = 0; i < LANES; i++) y[(int64_t)p * ldy + i] = x[(int64_t)(i < n ? i : n - 1) * ld + p];
}
#endif

#endif
