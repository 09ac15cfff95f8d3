/* What the benchmarks of training work on: batches of sentences (support/sentences.h) packed into shards, a method's options at their defaults, and
 * the median. Included by one source file of each program.
 */
#ifndef PEFTSCALE_TESTS_WORKLOAD_H
#define PEFTSCALE_TESTS_WORKLOAD_H

#include <stdlib.h>

#include "base/error.h"
#include "data/order.h"
#include "model/model.h"
#include "support/sentences.h"
#include "train/batches.h"

enum { BATCH = 32, BATCHES = 8, WORKLOAD_SHARDS_MAX = 64 };

typedef struct workload {
  split source;
  int64_t row[BATCHES][BATCH];
  int32_t length[BATCHES][BATCH], member[BATCHES][BATCH], first[BATCHES][WORKLOAD_SHARDS_MAX + 1];
  batch_sizes sizes;
  batch_pack *pack[WORKLOAD_SHARDS_MAX];
  double tokens, squares; /* of all batches: lengths, and squared lengths */
  double batch_tokens[BATCHES], batch_squares[BATCHES];
} workload;

/* Every shard holds whole sequences, balanced by tokens. */
static inline int workload_make(int vocabulary, int shards, arena *memory, workload *w) {
  int64_t count = BATCH * BATCHES;
  split *s = &w->source;
  s->count = count;
  TRY(arena_take(memory, (size_t)count + 1, sizeof *s->offset, &s->offset));
  for (int64_t i = 0; i < count; i++) s->offset[i + 1] = s->offset[i] + sentence_length(i);
  TRY(arena_take(memory, (size_t)s->offset[count], sizeof *s->token, &s->token));
  TRY(arena_take(memory, (size_t)count, sizeof *s->segment_start, &s->segment_start));
  TRY(arena_take(memory, (size_t)count, sizeof *s->label, &s->label));
  for (int64_t i = 0; i < s->offset[count]; i++) s->token[i] = sentence_token(i, vocabulary);
  for (int64_t i = 0; i < count; i++) {
    int64_t b = i / BATCH, j = i % BATCH;
    s->segment_start[i] = INT32_MAX;
    s->label[i] = (float)(i % 2);
    w->row[b][j] = i;
    w->length[b][j] = (int32_t)(s->offset[i + 1] - s->offset[i]);
    w->batch_tokens[b] += w->length[b][j];
    w->batch_squares[b] += (double)w->length[b][j] * w->length[b][j];
  }
  void *scratch;
  TRY(arena_take(memory, order_split_bytes(BATCH, shards), 1, &scratch));
  for (int b = 0; b < BATCHES; b++) {
    w->tokens += w->batch_tokens[b];
    w->squares += w->batch_squares[b];
    TRY(order_split(w->length[b], BATCH, shards, scratch, w->member[b], w->first[b]));
    for (int t = 0; t < shards; t++) batch_sizes_add(&w->sizes, w->length[b], w->member[b] + w->first[b][t], w->first[b][t + 1] - w->first[b][t]);
  }
  for (int t = 0; t < shards; t++) TRY(batch_pack_create(&w->sizes, memory, &w->pack[t]));
  return ERROR_NONE;
}

/* Shard t of batch b; valid until the next call for the same t. */
static inline const batch *workload_shard(workload *w, int b, int t) {
  const batch_masking none = {0};
  return batch_pack_fill(w->pack[t], &w->source, w->row[b], w->member[b] + w->first[b][t], w->first[b][t + 1] - w->first[b][t], (uint64_t)b, &none);
}

/* The method's options at their presets, which are those of configs/method. */
static inline int workload_options(const method *m, arena *memory, option_set *set) {
  option_value *values;
  TRY(arena_take(memory, (size_t)m->option_count + 1, sizeof *values, &values)); /* a method may have none */
  for (int i = 0; i < m->option_count; i++) TRY(option_parse(&m->options[i], m->options[i].preset, &values[i]));
  *set = (option_set){values, m->option_count};
  return ERROR_NONE;
}

static inline int workload_ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Sorts the values. */
static inline double workload_median(double *values, int count) {
  qsort(values, (size_t)count, sizeof *values, workload_ascending);
  return count % 2 ? values[count / 2] : 0.5 * (values[count / 2 - 1] + values[count / 2]);
}

#endif
