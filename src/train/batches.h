/* From a data set to packed shards: which examples a step has, how they are split, and the arrays that the model reads.
 *
 * Not collective. A plan belongs to one thread at a time; packs are one per thread.
 */
#ifndef PEFTSCALE_BATCHES_H
#define PEFTSCALE_BATCHES_H

#include "base/hash.h"
#include "data/dataset.h"
#include "model/model.h"

/* The steps of a training: examples, order, shards. Pure function of its inputs; ranks and threads play no part. */
typedef struct batch_plan {
  const split *source;
  const int64_t *subset; /* [examples] rows of source in use */
  int64_t examples;
  int batch, shards;
  uint64_t seed;
  int64_t steps_per_epoch;
  /* the step at hand */
  int64_t epoch;   /* whose order is loaded; -1: none    */
  int64_t *order;  /* [examples]                         */
  int sequences;   /* of this step                       */
  int64_t *row;    /* [batch] row of source              */
  int32_t *length; /* [batch]                            */
  int32_t *member; /* [batch] shard after shard          */
  int32_t *first;  /* [shards + 1]                       */
  void *scratch;   /* of order_split                     */
} batch_plan;

/* limit: use so many examples only, the same ones for every seed (0: all). Errors: ERROR_MEMORY. */
int batch_plan_create(const split *source, int64_t limit, int per_step, int shards, uint64_t seed, arena *memory, batch_plan *plan);

/* Lays out step `step`. */
int batch_plan_step(batch_plan *plan, int64_t step);

/* Tells the model all sequences of the step at hand, where that saves something (model_reach). */
void batch_plan_reach(const batch_plan *plan, model *m);

/* Largest shard in a run (or largest evaluation group). */
typedef struct batch_sizes {
  int64_t tokens, sequences, squares;
} batch_sizes;
void batch_sizes_add(batch_sizes *sizes, const int32_t *lengths, const int32_t *member, int count);
/* Lays out steps 0 .. steps - 1 once: their largest shard, and a hash of the sample order, which is for every step the rows of the data set in each shard, in
 * order. m (may be NULL): *packed = the numbers of theta that the model's message has, in the mean over the steps, where that depends on what a step's batch
 * reaches (model_reaches). Errors: ERROR_MEMORY. */
int batch_plan_measure(batch_plan *plan, int64_t steps, batch_sizes *sizes, char order_hash[HASH_TEXT_BYTES], model *m, double *packed);

/* How masked language modelling hides tokens; rate 0: not at all. Of the chosen ones 80 % become the mask token, 10 % another word, 10 % stay (BERT). */
typedef struct batch_masking {
  double rate;
  int mask_token, first_word, vocabulary;
  uint64_t seed;
} batch_masking;

typedef struct batch_pack batch_pack; /* a batch with its own arrays */
int batch_pack_create(const batch_sizes *sizes, arena *memory, batch_pack **result);

/* Packs rows (row[member[0]] .. ) of a split; stream: high half of every random stream (the step), the low half is the member's number. */
const batch *batch_pack_fill(batch_pack *p, const split *source, const int64_t *row, const int32_t *member, int count, uint64_t step,
                             const batch_masking *masking);

#endif
