/* The exact sum of a step's gradients: the same bits for any number of ranks and threads, and any algorithm that MPI chooses.
 *
 * Each shard's gradient (already exact per shard: its products have one shape and one thread) is converted to 64-bit fixed point and summed as integers, whose
 * order does not matter. The scale is one power of two per segment: the largest magnitude of the last step, over all shards, with 8 bits of headroom. The true
 * largest magnitudes travel ahead of the sum, one byte per segment; where one has left its headroom (in a segment's first step it always has), or has sunk so
 * far that too few bits would be left, every rank makes its shards again at the right scale, and then the sum cannot overflow: with S shards a number has
 * 62 - ceil(log2 S) bits.
 *
 * A segment whose size stays about the same keeps 54 - ceil(log2 S) bits below its largest number, and one that sinks at least 32 (up to 2^14 shards), more
 * than a float's 24; what float sums would lose in their order is not lost here.
 * Payload: 8 bytes a number and one a segment. State to go on from (checkpoints): the levels.
 */
#ifndef PEFTSCALE_EXACT_H
#define PEFTSCALE_EXACT_H

#include "base/arena.h"
#include "comm/comm.h"
#include "model/model.h"

typedef struct exact exact;

/* For messages of at most `capacity` numbers, summed over `shards` shards. Not collective. Errors: ERROR_MEMORY. Memory is the arena's; exact_destroy, before
 * that goes, gives the locks back (NULL is allowed). */
int exact_create(const model *m, int64_t capacity, int threads, int64_t shards, arena *memory, exact **result);
void exact_destroy(exact *e);

/* Begins a pass over this rank's shards. `count` [segments]: numbers of each segment in the message (dense or packed). Not collective. */
void exact_begin(exact *e, const int64_t *count);

/* Adds a shard: message (segment after segment) and its sums. May be called by several threads at once. Not collective. */
void exact_add(exact *e, int thread, const float *message, const model_sums *sums);

/* Collective, unless c is NULL: then this rank alone has added all there is. Agrees on the largest magnitudes; *again: some scale does not fit them, and all
 * ranks make another pass (begin, add ...) with what is now the right scale, after which there is no need to ask again. `wish`, a byte, travels with them:
 * *agreed is the largest of all ranks. */
int exact_agree(exact *e, comm *c, int wish, int *again, int *agreed);

/* Collective, unless c is NULL, as above. The sum of all shards of all ranks, in floats, and the sums that go with it. A segment in which some shard has a
 * number that is not finite begins with NaN; a loss that is not finite is NaN. */
int exact_sum(exact *e, comm *c, float *message, model_sums *sums);

/* The state between steps, [levels] bytes. */
uint8_t *exact_levels(exact *e, int *levels);

#endif
