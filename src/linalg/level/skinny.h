/* Products with one small dimension w, the rank of an adapter or of a group of them: where a library packs both operands and has blocks for large ones, these
 * read the large operand once where it lies and lay out the small one (skinny_pack.h) for the tiles of skinny_tile.h.
 *
 *   reduce   h [n][w] = alpha x [n][depth] f + beta h            f: [w][depth] ("in rows") or [depth][w]
 *   spread   y [n][m] = alpha h [n][w] f + beta y                f: [w][m] ("in rows") or [m][w]
 *   outer    d [m][w] = alpha x^T h + beta d, or in rows d [w][m] = alpha h^T x + beta d      x [n][m], h [n][w]
 *   outer_times  d [w][m] = (h^T x) o times, for any w
 *
 * depth and m are multiples of 16. A row of h or y depends neither on n nor on other rows. Sums over rows (outer) are made in blocks of ROW_BLOCK rows, in
 * order.
 */
#ifndef PEFTSCALE_LEVEL_SKINNY_H
#define PEFTSCALE_LEVEL_SKINNY_H

#include "linalg/level/skinny_pack.h"

/* Room for a laid-out factor, 64 KB of floats on the stack: what the first-level cache does not hold of it is near enough in the second. */
enum { PACKED_REALS = 16384, ROW_BLOCK = 128 };

/* How many of w numbers are worked on at once: whole vectors first, then a rest that fits half of one. */
static int skinny_part(int w) {
  const int rest = w % LANES;
  if (w > VECS_MAX * LANES) return VECS_MAX * LANES;
  return w > LANES && rest && 2 * rest <= LANES && GROUP_MAX > 1 ? w - rest : w;
}

/* Calls WORK(g) with a constant g. */
#define WITH_GROUP(GROUP, WORK)     \
  do {                              \
    if ((GROUP) == 1) WORK(1);      \
    else if ((GROUP) == 2) WORK(2); \
    else WORK(GROUP_MAX);           \
  } while (0)

/* ---- results of w numbers a row ---- */

INLINE void put_numbers(const int w, real alpha, const real *sum, real beta, real *h) {
  if (beta == 0)
    for (int r = 0; r < w; r++) h[r] = alpha * sum[r];
  else
    for (int r = 0; r < w; r++) h[r] = alpha * sum[r] + beta * h[r];
}

INLINE void put_row(int w, real alpha, const real *sum, real beta, real *h) {
  for (; w >= LANES; w -= LANES, sum += LANES, h += LANES) {
    lanes own = alpha * load(sum);
    store(h, beta == 0 ? own : own + beta * load(h));
  }
  if (w == LANES / 2) put_numbers(LANES / 2, alpha, sum, beta, h);
  else if (w == LANES / 4) put_numbers(LANES / 4, alpha, sum, beta, h);
  else if (w) put_numbers(w, alpha, sum, beta, h);
}

/* Neighbouring lanes added: those of a, then those of b. */
INLINE lanes fold(lanes a, lanes b) {
  lanes_int even, odd;
  EACH(int i = 0; i < LANES; i++) {
    even[i] = 2 * i;
    odd[i] = 2 * i + 1;
  }
  return __builtin_shuffle(a, b, even) + __builtin_shuffle(a, b, odd);
}

/* Rows of h from their sums. Lanes of a group are parts of one sum, so that the sums of g rows fold into one vector. */
INLINE void put_reduced(const int g, const narrow *s, int rows, real alpha, const real *sums, real beta, real *h, int ldh) {
  if (g == 1) {
    for (int i = 0; i < rows; i++, sums += s->vecs * LANES, h += ldh) put_row(s->w, alpha, sums, beta, h);
    return;
  }
  for (int i = 0; i < rows; i += g, sums += g * LANES, h += (int64_t)g * ldh) {
    const lanes none = {0};
    const int there = rows - i < g ? rows - i : g, part = LANES / g;
    real row[LANES] __attribute__((aligned(LANES_BYTES)));
    lanes all = fold(load(sums), there > 1 ? load(sums + LANES) : none);
    if (g == 4) all = fold(all, there > 2 ? fold(load(sums + 2 * LANES), there > 3 ? load(sums + 3 * LANES) : none) : none);
    if (there == g && s->w == part && ldh == part && beta == 0) {
      store(h, alpha * all);
      continue;
    }
    store(row, all);
    for (int p = 0; p < there; p++) put_row(s->w, alpha, row + p * part, beta, h + (int64_t)p * ldh);
  }
}

/* `count` groups of g rows of d from their sums: lanes of a group are neighbouring rows. */
INLINE void put_outer(const int g, const narrow *s, int count, real alpha, const real *sums, real beta, real *d, int ldd) {
  const int part = LANES / g;
  for (int i = 0; i < count; i++, sums += s->vecs * LANES, d += (int64_t)g * ldd) {
    if (g == 1) {
      put_row(s->w, alpha, sums, beta, d);
      continue;
    }
    real row[LANES] __attribute__((aligned(LANES_BYTES)));
    store(row, pack_ungroup(g, load(sums)));
    if (s->w == part && ldd == part) put_row(LANES, alpha, row, beta, d);
    else
      for (int p = 0; p < g; p++) put_row(s->w, alpha, row + p * part, beta, d + (int64_t)p * ldd);
  }
}

/* ---- reduce ---- */

INLINE void reduce_rows(const int g, const narrow *s, int n, int depth, real alpha, const real *x, int ldx, const real *packed, real beta, real *h, int ldh) {
  real sums[TILE_SUMS * LANES] __attribute__((aligned(LANES_BYTES)));
  const int many = n < tile_down_rows[s->kind] ? 1 : tile_down_rows[s->kind];
  tile_numbers t = {.depth = depth / g, .across = ldx, .along = g, .vectors = packed, .pitch = s->vecs * LANES};
  for (int done = 0; done < n;) {
    const int first = n - done < many ? n - many : done; /* the last tile begins where a whole one fits */
    t.at = x + (int64_t)first * ldx;
    (many == 1 ? tile_alone : tile_down)(s->kind, &t, sums);
    put_reduced(g, s, first + many - done, alpha, sums + (done - first) * s->vecs * LANES, beta, h + (int64_t)done * ldh, ldh);
    done = first + many;
  }
}

static void reduce_part(int n, int w, int depth, real alpha, const real *x, int ldx, const real *f, int ldf, int in_rows, real beta, real *h, int ldh) {
  const narrow s = narrow_of(w);
  real packed[PACKED_REALS] __attribute__((aligned(LANES_BYTES)));
  const int most = PACKED_REALS / (s.vecs * LANES) * s.group / 16 * 16;
  for (int k = 0, count; k < depth; k += count, beta = 1) {
    count = depth - k < most ? depth - k : most;
    const real *from = f + (in_rows ? k : (int64_t)k * ldf);
#define WORK(G)                                                            \
  do {                                                                     \
    if (in_rows) pack_rows(G, &s, count, from, ldf, packed);               \
    else pack_columns(G, &s, count, from, ldf, packed);                    \
    reduce_rows(G, &s, n, count, alpha, x + k, ldx, packed, beta, h, ldh); \
  } while (0)
    WITH_GROUP(s.group, WORK);
#undef WORK
  }
}

static void skinny_reduce(int n, int w, int depth, real alpha, const real *x, int ldx, const real *f, int ldf, int in_rows, real beta, real *h, int ldh) {
  for (int r = 0, part; r < w; r += part) {
    part = skinny_part(w - r);
    reduce_part(n, part, depth, alpha, x, ldx, f + (in_rows ? (int64_t)r * ldf : r), ldf, in_rows, beta, h + r, ldh);
  }
}

/* ---- spread ---- */

/* The largest number of rows that a tile is made for. */
static int add_rows(int left) {
  int rows = ADD_ROWS;
  while (rows > left) rows /= 2;
  return rows;
}

/* y [n][m] = h [n][w] f + beta y, rows of f `pitch` apart. */
static void spread_rows(int n, int m, int w, const real *h, int ldh, const real *f, int64_t pitch, real beta, real *y, int ldy) {
  tile_numbers t = {.depth = w, .across = ldh, .along = 1, .pitch = pitch};
  for (int i = 0, rows; i < n; i += rows) {
    rows = add_rows(n - i);
    t.at = h + (int64_t)i * ldh;
    for (int j = 0, wide; j < m; j += wide ? ADD_VECS * LANES : LANES) {
      wide = m - j >= ADD_VECS * LANES;
      t.vectors = f + j;
      tile_spread_rows(rows, wide, &t, &(tile_target){.y = y + (int64_t)i * ldy + j, .stride = ldy, .beta = beta});
    }
  }
}

static void skinny_spread(int n, int m, int w, real alpha, const real *h, int ldh, const real *f, int ldf, int in_rows, real beta, real *y, int ldy) {
  const narrow s = narrow_of(w);
  real packed[PACKED_REALS] __attribute__((aligned(LANES_BYTES)));
  const int most = PACKED_REALS / w / 48 * 48; /* whole tiles at every level */
  if (in_rows && alpha == 1) {
    spread_rows(n, m, w, h, ldh, f, ldf, beta, y, ldy);
    return;
  }
  for (int j = 0, count; j < m; j += count) {
    count = m - j < most ? m - j : most;
    if (!in_rows) pack_transposed(&s, count, alpha, f + (int64_t)j * ldf, ldf, packed);
    else
      for (int r = 0; r < w; r++)
        for (int i = 0; i < count; i++) packed[r * count + i] = alpha * f[(int64_t)r * ldf + j + i];
    spread_rows(n, count, w, h, ldh, packed, count, beta, y + j, ldy);
  }
}

/* ---- outer ---- */

INLINE void outer_block(const int g, const narrow *s, int n, int m, real alpha, const real *x, int ldx, const real *packed, real beta, real *d, int ldd) {
  real sums[TILE_SUMS * LANES] __attribute__((aligned(LANES_BYTES)));
  const int groups = m / g, many = groups < tile_over_groups[s->kind] ? 1 : tile_over_groups[s->kind];
  tile_numbers t = {.depth = n, .across = g, .along = ldx, .vectors = packed, .pitch = s->vecs * LANES};
  for (int done = 0; done < groups;) {
    const int first = groups - done < many ? groups - many : done;
    t.at = x + first * g;
    (many == 1 ? tile_alone : tile_over)(s->kind, &t, sums);
    put_outer(g, s, first + many - done, alpha, sums + (done - first) * s->vecs * LANES, beta, d + (int64_t)done * g * ldd, ldd);
    done = first + many;
  }
}

static void outer_columns(int n, int m, int w, real alpha, const real *x, int ldx, const real *h, int ldh, real beta, real *d, int ldd) {
  const narrow s = narrow_of(w);
  real packed[ROW_BLOCK * VECS_MAX * LANES] __attribute__((aligned(LANES_BYTES)));
#define WORK(G)                                                    \
  do {                                                             \
    pack_repeated(G, &s, n, h, ldh, packed);                       \
    outer_block(G, &s, n, m, alpha, x, ldx, packed, beta, d, ldd); \
  } while (0)
  WITH_GROUP(s.group, WORK);
#undef WORK
}

static void outer_rows(int n, int m, int w, real alpha, const real *x, int ldx, const real *h, int ldh, real beta, real *d, int ldd, const real *times) {
  real scaled[ROW_BLOCK * VECS_MAX * LANES];
  if (alpha != 1) {
    for (int k = 0; k < n; k++)
      for (int r = 0; r < w; r++) scaled[k * w + r] = alpha * h[(int64_t)k * ldh + r];
    h = scaled;
    ldh = w;
  }
  tile_numbers t = {.depth = n, .across = 1, .along = ldh, .pitch = ldx};
  for (int j = 0, wide; j < m; j += wide ? ADD_VECS * LANES : LANES) { /* a panel of x stays in the first-level cache for all of w */
    wide = m - j >= ADD_VECS * LANES;
    t.vectors = x + j;
    for (int r = 0, rows; r < w; r += rows) {
      const int64_t at = (int64_t)r * ldd + j;
      rows = add_rows(w - r);
      t.at = h + r;
      tile_outer_rows(rows, wide, &t, &(tile_target){.y = d + at, .stride = ldd, .beta = beta, .times = times ? times + at : NULL});
    }
  }
}

static void skinny_outer_times(int n, int m, int w, const real *x, int ldx, const real *h, int ldh, const real *times, real *d, int ldd) {
  for (int i = 0; i < n; i += ROW_BLOCK) {
    const int is_last = n - i <= ROW_BLOCK, count = is_last ? n - i : ROW_BLOCK;
    outer_rows(count, m, w, 1, x + (int64_t)i * ldx, ldx, h + (int64_t)i * ldh, ldh, i > 0, d, ldd, is_last ? times : NULL);
  }
}

static void skinny_outer(int n, int m, int w, real alpha, const real *x, int ldx, const real *h, int ldh, int in_rows, real beta, real *d, int ldd) {
  for (int i = 0, count; i < n; i += count, x += (int64_t)count * ldx, h += (int64_t)count * ldh, beta = 1) {
    count = n - i < ROW_BLOCK ? n - i : ROW_BLOCK;
    for (int r = 0, part; r < w; r += part) {
      part = skinny_part(w - r);
      if (in_rows) outer_rows(count, m, part, alpha, x, ldx, h + r, ldh, beta, d + (int64_t)r * ldd, ldd, NULL);
      else outer_columns(count, m, part, alpha, x, ldx, h + r, ldh, beta, d + r, ldd);
    }
  }
}
#undef WITH_GROUP

#endif
