/* An all-reduce of one piece that runs behind other work: a ring over point-to-point messages. Not for others than src/comm.
 *
 * Why not MPI_Iallreduce: Open MPI's non-blocking one adds in place up a binomial tree and sends the result down again, so that its root moves 2 log2(n) times
 * the piece, one direction after the other; its ring returns wrong sums in place in some releases. Here every rank sends 2 (n - 1) / n times the piece, both
 * directions at once, which no algorithm undercuts. It takes 2 (n - 1) turns, so several pieces should be on their way at a time.
 *
 * Turn t < n - 1: chunk rank - t goes to the right, chunk rank - t - 1 comes from the left and is added to the own; afterwards chunk rank + 1 is complete, and
 * the same way of counting takes the complete chunks round in as many turns. A number's terms are added in one order, on one rank: all ranks hold the same
 * bits.
 */
#ifndef PEFTSCALE_COMM_RING_H
#define PEFTSCALE_COMM_RING_H

#include <mpi.h>
#include <stdint.h>

#include "comm/element.h"

typedef struct ring {
  MPI_Comm over;
  int rank, size; /* in it */
  int tag;        /* tells the pieces on their way apart */
  element_kind type;
  char *values; /* [count] the own numbers, then the sums */
  int64_t count;
  char *incoming;        /* a chunk, see ring_chunk_bytes */
  MPI_Request *requests; /* [2], null when no turn is under way */
  int turn;
} ring;

/* Room that a ring of `size` ranks needs for a piece of `count` numbers. */
int64_t ring_chunk_bytes(element_kind type, int64_t count, int size);

/* Collective over ring->over: all ranks start the same pieces. The caller has filled in all but `turn`. */
int ring_start(ring *r);

/* Makes what progress is possible without waiting; *done: the sums are there. A ring that is not done has requests to wait for. Errors: ERROR_SYSTEM. */
int ring_advance(ring *r, int *done);

#endif
