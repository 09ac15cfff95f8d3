/* What an all-reduce costs, by formula: rounds and bytes, exact, for any number of ranks and numbers. Needs no MPI; thousands of ranks take microseconds.
 *
 * The algorithms are those of allreduce.h, whose own counters are compared with this to the byte. With n ranks, p the largest power of two in n, S bytes:
 *   doubling      recursive doubling: in round k partners at distance 2^k exchange all they have        log2 p rounds, S log2 p sent by each
 *   ring          n blocks go round, once being summed and once as sums                                  2 (n - 1) rounds, about 2 (n - 1) / n S sent by each
 *   rabenseifner  partners at distance 2^k exchange halves of halves, then the sums come back            2 log2 p rounds, about 2 (p - 1) / p S sent by each
 * Where n is no power of two, doubling and Rabenseifner fold the first 2 (n - p) ranks in pairs: each even one gives all to its odd neighbour, rests, and
 * gets the result: 2 rounds more, S more sent by the two each, and an even one sends nothing else. Blocks differ by one number at most; an empty one (the ring,
 * fewer numbers than ranks) is not sent. Fewer than p numbers cannot be halved so often: Rabenseifner's algorithm is then recursive doubling.
 *
 * Rounds: the longest chain of messages of which each waits for the one before, because its sender has to receive that first or, one message at a time, to send
 * it. Bytes: of the vector; a transport adds its headers.
 *
 * Not collective, thread-safe.
 */
#ifndef PEFTSCALE_PLAN_H
#define PEFTSCALE_PLAN_H

#include <stdint.h>

typedef enum allreduce_algorithm { ALLREDUCE_DOUBLING, ALLREDUCE_RING, ALLREDUCE_RABENSEIFNER, ALLREDUCE_ALGORITHMS } allreduce_algorithm;
extern const char *const allreduce_names[ALLREDUCE_ALGORITHMS];

/* One rank's part of one all-reduce. */
typedef struct allreduce_counts {
  int rounds; /* of the whole, the same for every rank */
  int64_t sent_bytes, received_bytes;
} allreduce_counts;

/* Over all ranks. What is sent is received by somebody: the mean is that of both. */
typedef struct allreduce_totals {
  int rounds;
  double mean_bytes;
  int64_t max_sent_bytes, max_received_bytes; /* of one rank */
} allreduce_totals;

/* 0 <= rank < ranks; count >= 0 numbers of element_bytes each. */
allreduce_counts allreduce_plan(allreduce_algorithm algorithm, int ranks, int rank, int64_t count, int element_bytes);
allreduce_totals allreduce_plan_all(allreduce_algorithm algorithm, int ranks, int64_t count, int element_bytes);

/* ---- what the formula and the algorithms share ---- */

/* The algorithm that does the work where another was asked for (see above). */
allreduce_algorithm allreduce_really(allreduce_algorithm algorithm, int ranks, int64_t count);

/* First of the numbers of block `block`, of `blocks` nearly equal ones: the first count % blocks have one more. block = blocks: the end. */
int64_t allreduce_block(int64_t count, int blocks, int block);

/* How ranks are folded to a power of two. */
typedef struct allreduce_fold {
  int power;   /* largest power of two in ranks                       */
  int extra;   /* ranks - power: so many pairs                        */
  int rests;   /* this rank gives all to rank + 1 and rests           */
  int serves;  /* this rank takes over for rank - 1                   */
  int working; /* number among the `power` that work; -1 if it rests  */
} allreduce_fold;
allreduce_fold allreduce_fold_of(int ranks, int rank);

/* The rank that has a working number. */
int allreduce_unfold(int ranks, int working);

#endif
