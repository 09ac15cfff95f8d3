#include "train/batches.h"

#include <string.h>

#include "base/error.h"
#include "data/order.h"

static int32_t length_of(const split *s, int64_t row) { return (int32_t)(s->offset[row + 1] - s->offset[row]); }

int batch_plan_create(const split *source, int64_t limit, int per_step, int shards, uint64_t seed, arena *memory, batch_plan *plan) {
  int64_t *subset;
  int64_t examples = limit > 0 && limit < source->count ? limit : source->count;
  TRY(arena_take(memory, (size_t)source->count, sizeof *subset, &subset));
  if (examples < source->count) order_epoch(0, INT64_MAX, source->count, subset); /* a fixed choice: seeds then differ in order, not in data */
  else
    for (int64_t i = 0; i < examples; i++) subset[i] = i;
  *plan = (batch_plan){.source = source, .subset = subset, .examples = examples, .batch = per_step, .shards = shards, .seed = seed, .epoch = -1};
  plan->steps_per_epoch = (examples + per_step - 1) / per_step;
  TRY(arena_take(memory, (size_t)examples, sizeof *plan->order, &plan->order));
  TRY(arena_take(memory, (size_t)per_step, sizeof *plan->row, &plan->row));
  TRY(arena_take(memory, (size_t)per_step, sizeof *plan->length, &plan->length));
  TRY(arena_take(memory, (size_t)per_step, sizeof *plan->member, &plan->member));
  TRY(arena_take(memory, order_split_bytes(per_step, shards), 1, &plan->scratch));
  return arena_take(memory, (size_t)shards + 1, sizeof *plan->first, &plan->first);
}

int batch_plan_step(batch_plan *plan, int64_t step) {
  int64_t epoch = step / plan->steps_per_epoch, begin = step % plan->steps_per_epoch * plan->batch;
  if (epoch != plan->epoch) {
    order_epoch(plan->seed, epoch, plan->examples, plan->order);
    plan->epoch = epoch;
  }
  int64_t left = plan->examples - begin;
  plan->sequences = (int)(left < plan->batch ? left : plan->batch);
  for (int i = 0; i < plan->sequences; i++) {
    plan->row[i] = plan->subset[plan->order[begin + i]];
    plan->length[i] = length_of(plan->source, plan->row[i]);
  }
  return order_split(plan->length, plan->sequences, plan->shards, plan->scratch, plan->member, plan->first);
}

void batch_plan_reach(const batch_plan *plan, model *m) {
  if (!model_reaches(m)) return;
  model_reach_begin(m);
  for (int i = 0; i < plan->sequences; i++) model_reach(m, plan->length[i], plan->source->token + plan->source->offset[plan->row[i]]);
  model_reach_end(m);
}

void batch_sizes_add(batch_sizes *sizes, const int32_t *lengths, const int32_t *member, int count) {
  int64_t tokens = 0, squares = 0;
  for (int i = 0; i < count; i++) {
    int64_t length = lengths[member[i]];
    tokens += length;
    squares += length * length;
  }
  if (tokens > sizes->tokens) sizes->tokens = tokens;
  if (squares > sizes->squares) sizes->squares = squares;
  if (count > sizes->sequences) sizes->sequences = count;
}

static void add_order(const batch_plan *plan, hash *h) {
  hash_add(h, plan->first, ((size_t)plan->shards + 1) * sizeof *plan->first); /* its last number is that of the sequences: no two layouts give the same bytes */
  for (int i = 0; i < plan->sequences; i++) hash_add(h, &plan->row[plan->member[i]], sizeof *plan->row);
}

int batch_plan_measure(batch_plan *plan, int64_t steps, batch_sizes *sizes, char order_hash[HASH_TEXT_BYTES], model *m, double *packed) {
  hash *h;
  int code = ERROR_NONE;
  double sum = 0;
  TRY(hash_create(&h));
  hash_add(h, &plan->shards, sizeof plan->shards);
  for (int64_t step = 0; !code && step < steps; step++) {
    code = batch_plan_step(plan, step);
    for (int s = 0; !code && s < plan->shards; s++) batch_sizes_add(sizes, plan->length, plan->member + plan->first[s], plan->first[s + 1] - plan->first[s]);
    if (!code) add_order(plan, h);
    if (code || !m) continue;
    batch_plan_reach(plan, m);
    sum += (double)model_packed_count(m);
  }
  if (m) *packed = sum / (double)steps;
  hash_finish(h, order_hash);
  return code;
}

struct batch_pack {
  batch view;
  int32_t *first, *token, *type, *masked_row, *masked_token;
  uint64_t *position, *stream;
  float *label;
};

int batch_pack_create(const batch_sizes *sizes, arena *memory, batch_pack **result) {
  batch_pack *p;
  size_t tokens = (size_t)sizes->tokens, sequences = (size_t)sizes->sequences;
  TRY(arena_take(memory, 1, sizeof *p, &p));
  TRY(arena_take(memory, sequences + 1, sizeof *p->first, &p->first));
  TRY(arena_take(memory, tokens, sizeof *p->token, &p->token));
  TRY(arena_take(memory, tokens, sizeof *p->type, &p->type));
  TRY(arena_take(memory, tokens, sizeof *p->masked_row, &p->masked_row));
  TRY(arena_take(memory, tokens, sizeof *p->masked_token, &p->masked_token));
  TRY(arena_take(memory, tokens, sizeof *p->position, &p->position));
  TRY(arena_take(memory, tokens, sizeof *p->stream, &p->stream));
  TRY(arena_take(memory, sequences, sizeof *p->label, &p->label));
  *result = p;
  return ERROR_NONE;
}

/* BERT's masking of one token, decided by the row's own random stream; notes the place if it is to be predicted. */
static void mask_token(batch_pack *p, int row, const batch_masking *masking, random_key key) {
  int32_t token = p->token[row];
  if (token < masking->first_word || random_uniform(key, p->stream[row], 4 * p->position[row]) >= masking->rate) return;
  p->masked_row[p->view.masked] = row;
  p->masked_token[p->view.masked++] = token;
  double kind = random_uniform(key, p->stream[row], 4 * p->position[row] + 1);
  if (kind < 0.8) p->token[row] = masking->mask_token;
  else if (kind < 0.9)
    p->token[row] =
        masking->first_word + (int32_t)(random_uniform(key, p->stream[row], 4 * p->position[row] + 2) * (masking->vocabulary - masking->first_word));
}

const batch *batch_pack_fill(batch_pack *p, const split *source, const int64_t *row, const int32_t *member, int count, uint64_t step,
                             const batch_masking *masking) {
  int tokens = 0, longest = 0;
  p->view = (batch){.sequences = count,
                    .first = p->first,
                    .token = p->token,
                    .type = p->type,
                    .position = p->position,
                    .stream = p->stream,
                    .label = p->label,
                    .masked_row = p->masked_row,
                    .masked_token = p->masked_token};
  random_key key = random_key_make(masking->seed, RANDOM_MASK, 0);
  for (int i = 0; i < count; i++) {
    int64_t from = row[member[i]];
    int length = length_of(source, from);
    p->first[i] = tokens;
    p->label[i] = source->label[from];
    if (length > longest) longest = length;
    memcpy(p->token + tokens, source->token + source->offset[from], (size_t)length * sizeof *p->token);
    for (int j = 0; j < length; j++, tokens++) {
      p->type[tokens] = j >= source->segment_start[from];
      p->position[tokens] = (uint64_t)j;
      p->stream[tokens] = step << 32 | (uint64_t)(uint32_t)member[i];
      if (masking->rate > 0) mask_token(p, tokens, masking, key);
    }
  }
  p->first[count] = tokens;
  p->view.tokens = tokens;
  p->view.longest = longest;
  return &p->view;
}
