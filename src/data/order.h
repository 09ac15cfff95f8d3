/* Which examples are in which step, and which shard of it each belongs to: pure functions of the seed and the lengths, never of ranks or threads.
 *
 * Not collective, thread-safe.
 */
#ifndef PEFTSCALE_ORDER_H
#define PEFTSCALE_ORDER_H

#include <stddef.h>
#include <stdint.h>

/* order[0 .. count) = the permutation of an epoch (0-based) under `seed`. */
void order_epoch(uint64_t seed, int64_t epoch, int64_t count, int64_t *order);

/* Splits one batch into `shards` groups of whole sequences, balanced by tokens: longest first, each to the least loaded shard (ties: lowest number).
 * lengths [n]; member [n]: the batch positions, shard after shard, ascending inside each; first [shards + 1]: shard s is member[first[s]] ..
 * member[first[s + 1] - 1]. Empty shards are possible (n < shards). scratch: order_split_bytes(n, shards) bytes, aligned for int64_t, since this runs in every
 * step. Errors: ERROR_INTERNAL (no shards). */
int order_split(const int32_t *lengths, int n, int shards, void *scratch, int32_t *member, int32_t *first);
size_t order_split_bytes(int n, int shards);

/* The contiguous range of `count` shards (or evaluation groups) that worker `index` of `workers` does: sizes differ by at most one. */
void order_share(int64_t count, int workers, int index, int64_t *begin, int64_t *end);

/* Groups the sequences of a split for evaluation, longest first, each group with at most `tokens` tokens (one sequence if it is longer): a pure function of
 * the lengths. member [n], first [n + 1]; *groups = their number. Errors: ERROR_MEMORY. */
int order_pack(const int32_t *lengths, int64_t n, int64_t tokens, int32_t *member, int32_t *first, int64_t *groups);

#endif
