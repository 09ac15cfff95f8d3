/* Attention of one head in one sequence, without leaving the cache. The tokens that ask (queries) stand in lanes and those that are asked (keys) in rows, so
 * that softmax over the keys is a matter of whole vectors: nothing is summed across lanes. A panel of queries is finished before the next one begins. */
#ifndef PEFTSCALE_LEVEL_ATTENTION_H
#define PEFTSCALE_LEVEL_ATTENTION_H

#include "linalg/level/dropout.h"
#include "linalg/level/functions.h"
#include "linalg/level/tile.h"

enum { PANEL = TILE_COLUMNS };

INLINE int64_t whole(int count) { return (count + LANES - 1) / LANES * LANES; }

/* What a call works in. */
typedef struct attention_room {
  real *columns;   /* [width][PANEL] a panel of rows, transposed        */
  real *tile;      /* [length][PANEL]                                    */
  uint32_t *words; /* [length up to 4][PANEL] random words for the panel */
  real *packed[3]; /* [length][whole(width)] each                        */
  real *change;    /* [length][whole(length)]                            */
  real *kept;      /* [length][whole(length)]                            */
} attention_room;

static attention_room room_of(const linalg_attention *a, real *scratch) {
  attention_room r;
  int64_t packed = a->length * whole(a->width), square = a->length * whole(a->length);
  r.columns = scratch;
  r.tile = r.columns + (int64_t)a->width * PANEL;
  r.words = (uint32_t *)(r.tile + (int64_t)a->length * PANEL);
  r.packed[0] = r.tile + ((int64_t)a->length * 2 + 3) * PANEL;
  r.packed[1] = r.packed[0] + packed;
  r.packed[2] = r.packed[1] + packed;
  r.change = r.packed[2] + packed;
  r.kept = r.change + square;
  return r;
}

static int64_t attention_scratch(int length, int width) {
  return ((int64_t)width + (int64_t)length * 2 + 3) * PANEL + length * (3 * whole(width) + 2 * whole(length));
}

/* Rows that can be read in whole vectors: x itself where its width allows that and so few rows do not get into each other's way in the cache. */
INLINE const real *readable(const linalg_attention *a, const real *x, int *ld, real *packed) {
  if (a->width % LANES == 0 && a->length <= 4 * LANES) return x;
  int64_t to = whole(a->width);
  for (int i = 0; i < a->length; i++)
    for (int j = 0; j < a->width; j += LANES) store(packed + i * to + j, load_part(x + (int64_t)i * *ld + j, piece(a->width - j)));
  *ld = (int)to;
  return packed;
}

/* A panel's random words: row j, lane i for key j and query first + i, whose element is (query << 20) + key. */
static void draw_panel(const linalg_attention *a, int first, int pitch, uint32_t *words) {
  typedef uint32_t half_words __attribute__((vector_size(LANES_BYTES / 2), aligned(4), may_alias));
  static const uint64_t place[8] = {0, 1, 2, 3, 4, 5, 6, 7};
  const block_lanes query = (uint64_t)first + *(const block_lanes_anywhere *)place;
  const int per = pitch / BLOCK_LANES, total = (a->length + 3) / 4 * per;
  for (int t = 0; t < total; t += CHAINS) {
    block_lanes block[CHAINS], w[CHAINS][4];
#pragma GCC unroll 4
    for (int i = 0; i < CHAINS; i++) block[i] = ((query + (uint64_t)((t + i) % per * BLOCK_LANES)) << 18) + (uint64_t)((t + i) / per);
    philox(a->key, a->stream, block, w);
#pragma GCC unroll 4
    for (int i = 0; i < CHAINS; i++) {
      if (t + i >= total) break;
      uint32_t *row = words + (int64_t)((t + i) / per) * 4 * pitch + (t + i) % per * BLOCK_LANES;
#pragma GCC unroll 4
      for (int k = 0; k < 4; k++) *(half_words *)(row + k * pitch) = __builtin_convertvector(w[i][k], half_words);
    }
  }
}

/* Softmax over the rows of each column of a panel; the shares of `count` queries go to share, those used (dropped out) stay in the tile. */
INLINE void panel_softmax(const linalg_attention *a, const int vectors, int count, real *tile_, const uint32_t *words, real *share) {
  const int pitch = vectors * LANES, n = a->length;
  const keeper k = words ? keeper_make(a->p) : (keeper){0};
  lanes most[TILE_VECTORS], sum[TILE_VECTORS] = {0}, inverse[TILE_VECTORS];
#pragma GCC unroll 2
  for (int v = 0; v < vectors; v++) most[v] = load(tile_ + v * LANES);
  for (int j = 1; j < n; j++)
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) most[v] = larger(load(tile_ + j * pitch + v * LANES), most[v]);
#pragma GCC unroll 2
  for (int v = 0; v < vectors; v++) most[v] *= a->scale;
  for (int j = 0; j < n; j++)
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) {
      real *at = tile_ + j * pitch + v * LANES;
      lanes power = exp_of_negative(load(at) * a->scale - most[v]);
      sum[v] += power;
      store(at, power);
    }
#pragma GCC unroll 2
  for (int v = 0; v < vectors; v++) inverse[v] = 1 / sum[v];
  for (int j = 0; j < n; j++)
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) {
      real *at = tile_ + j * pitch + v * LANES;
      lanes x = load(at) * inverse[v];
      store_part(share + (int64_t)j * n + v * LANES, v == vectors - 1 ? count - v * LANES : LANES, x);
      store(at, words ? keep(x, k, words + j * pitch + v * LANES) : x);
    }
}

/* Asks for n rows ahead of time: they lie in pages of their own, where the processor foresees nothing. Calls for the heads of a sequence follow each other, and
 * a head's numbers lie behind the last one's, so that the next head's can come while this one is worked on. */
INLINE void fetch(int n, int w, const real *x, int ld) {
  for (int i = 0; i < n; i++)
    for (int j = 0; j < w; j += 64 / (int)sizeof(real)) __builtin_prefetch(x + (int64_t)i * ld + j);
}

static void attention_forward(const linalg_attention *a, const real *q, const real *k, const real *v, real *share, real *context, real *scratch) {
  const attention_room r = room_of(a, scratch);
  const int n = a->length, w = a->width;
  fetch(n, w, context, a->context_stride);
  fetch(n, w, q + w, a->stride);
  fetch(n, w, k + w, a->stride);
  fetch(n, w, v + w, a->stride);
  int value_ld = a->stride;
  const real *value = readable(a, v, &value_ld, r.packed[0]);
  for (int first = 0; first < n; first += PANEL) {
    const int count = n - first < PANEL ? n - first : PANEL, vectors = count > LANES ? 2 : 1, pitch = vectors * LANES;
    for (int i = 0; i < count; i += LANES) transpose_rows(piece(count - i), w, q + (int64_t)(first + i) * a->stride, a->stride, r.columns + i, pitch);
    rows_times(n, pitch, w, k, a->stride, r.columns, pitch, r.tile, pitch);
    if (a->p > 0) draw_panel(a, first, pitch, r.words);
    const uint32_t *words = a->p > 0 ? r.words : NULL;
    if (vectors == 2) panel_softmax(a, 2, count, r.tile, words, share + first);
    else panel_softmax(a, 1, count, r.tile, words, share + first);
    columns_times(count, w, n, r.tile, pitch, value, value_ld, context + (int64_t)first * a->context_stride, a->context_stride);
  }
}

/* From the gradient for the used shares (in `change`) that for the scores: dS = S o (dP - <dP, S>), times the scale; dP and S through the mask. */
INLINE void panel_change(const linalg_attention *a, const int vectors, int count, const uint32_t *words, const real *share, real *change, real *kept) {
  const int pitch = vectors * LANES, n = a->length;
  const int64_t ld = whole(n);
  const keeper k = words ? keeper_make(a->p) : (keeper){0};
  lanes dot[TILE_VECTORS] = {0};
  for (int j = 0; j < n; j++)
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) {
      real *at = change + j * ld + v * LANES;
      lanes s = load_part(share + (int64_t)j * n + v * LANES, v == vectors - 1 ? count - v * LANES : LANES), d = load(at);
      if (words) {
        const uint32_t *drawn = words + j * pitch + v * LANES;
        d = keep(d, k, drawn);
        store(at, d);
        store(kept + j * ld + v * LANES, keep(s, k, drawn));
      }
      dot[v] += d * s;
    }
  for (int j = 0; j < n; j++)
#pragma GCC unroll 2
    for (int v = 0; v < vectors; v++) {
      real *at = change + j * ld + v * LANES;
      lanes s = load_part(share + (int64_t)j * n + v * LANES, v == vectors - 1 ? count - v * LANES : LANES);
      store(at, s * (load(at) - dot[v]) * a->scale);
    }
}

static void attention_backward(const linalg_attention *a, const real *q, const real *k, const real *v, const real *share, const real *dcontext, real *dq,
                               real *dk, real *dv, real *scratch) {
  const attention_room r = room_of(a, scratch);
  const int n = a->length, w = a->width, ld = (int)whole(n);
  fetch(n, w, dq, a->stride);
  fetch(n, w, dk, a->stride);
  fetch(n, w, dv, a->stride);
  fetch(n, w, q + w, a->stride);
  fetch(n, w, k + w, a->stride);
  fetch(n, w, v + w, a->stride);
  fetch(n, w, dcontext + w, a->context_stride);
  int query_ld = a->stride, key_ld = a->stride, context_ld = a->context_stride;
  const real *query = readable(a, q, &query_ld, r.packed[0]), *key = readable(a, k, &key_ld, r.packed[1]),
             *dout = readable(a, dcontext, &context_ld, r.packed[2]);
  for (int first = 0; first < n; first += PANEL) {
    const int count = n - first < PANEL ? n - first : PANEL, vectors = count > LANES ? 2 : 1, pitch = vectors * LANES;
    for (int i = 0; i < count; i += LANES)
      transpose_rows(piece(count - i), w, dcontext + (int64_t)(first + i) * a->context_stride, a->context_stride, r.columns + i, pitch);
    rows_times(n, pitch, w, v, a->stride, r.columns, pitch, r.change + first, ld);
    if (a->p > 0) draw_panel(a, first, pitch, r.words);
    const uint32_t *words = a->p > 0 ? r.words : NULL;
    if (vectors == 2) panel_change(a, 2, count, words, share + first, r.change + first, r.kept + first);
    else panel_change(a, 1, count, words, share + first, r.change + first, r.kept + first);
    columns_times(count, w, n, r.change + first, ld, key, key_ld, dq + (int64_t)first * a->stride, a->stride);
  }
  rows_times(n, w, n, r.change, ld, query, query_ld, dk, a->stride);
  rows_times(n, w, n, a->p > 0 ? r.kept : share, a->p > 0 ? ld : n, dout, context_ld, dv, a->stride);
}

#endif
