/* Everything MPI: agreement on errors, sums, exchanges, memory shared on a node, and meters of payload and time.
 *
 * It moves numbers and knows nothing of what they mean. MPI is initialised for MPI_THREAD_FUNNELED: only the thread that called comm_initialize may call.
 * Collective functions must be called by all ranks in the same order.
 */
#ifndef PEFTSCALE_COMM_H
#define PEFTSCALE_COMM_H

#include <stddef.h>
#include <stdint.h>

/* What a message is for; meters are kept apart. Checkpoint: what is gathered only to be written to disk. */
typedef enum comm_purpose { COMM_GRADIENT, COMM_EVALUATION, COMM_CONTROL, COMM_CHECKPOINT, COMM_PURPOSES } comm_purpose;
extern const char *const comm_purpose_names[COMM_PURPOSES];

typedef struct comm_meter {
  int64_t calls;
  int64_t payload_bytes; /* bytes this rank gave into collectives: not what travelled on a wire   */
  int64_t wire_bytes;    /* bytes that this rank handed to the network for it; -1: not known      */
  double seconds;        /* time this rank spent inside calls (waiting for others included)       */
} comm_meter;

typedef struct comm comm;

/* Collective. Starts MPI and makes the world. Errors: ERROR_SYSTEM. */
int comm_initialize(int *argc, char ***argv, comm **result);
/* Collective. Ends MPI. */
void comm_finalize(comm *c);

/* Not collective. */
int comm_rank(const comm *c);
int comm_size(const comm *c);
int comm_nodes(const comm *c);
const char *comm_library(void); /* "Open MPI v4.1.4, ..." first line */
const char *comm_host(const comm *c);
comm_meter comm_meter_read(const comm *c, comm_purpose purpose);

/* Not collective. A new piece of work begins: all meters start from zero. */
void comm_meters_begin(comm *c);

/* Not collective. How bytes on the wire are measured, the same on all ranks and decided at the start:
 *   "tcp"            TCP_INFO of each rank's own sockets, each call of a purpose by itself; ranks of one machine may talk by memory beside it
 *   "infiniband"     port counters of machines that are this job's alone; slow to read, so the meters leave them out
 *   "shared memory"  all ranks are on one machine and no socket carries data: nothing goes over a wire
 *   "none"           they are not: only payload is known */
const char *comm_wire_name(const comm *c);

/* Not collective. Bytes that this rank (with InfiniBand: this machine, told by its first rank, 0 by its others) has handed to the network since the start; -1
 * where they are not measured. */
int64_t comm_wire_bytes(comm *c);

/* Collective. Waits until all ranks are here and returns for how many seconds; what a sum under way sent meanwhile counts as the gradient's. Errors: none that
 * the next call would not meet. */
double comm_wait(comm *c);

/* Collective. The worst code of all ranks; every rank's last error becomes that of the lowest rank that has it. */
int comm_agree(comm *c, int code);

/* Collective. bytes at root go to all. */
int comm_broadcast(comm *c, comm_purpose purpose, int root, void *bytes, size_t count);

/* Collective. Element-wise sum or maximum over ranks, in place. */
int comm_sum_doubles(comm *c, comm_purpose purpose, double *values, int count);
int comm_max_doubles(comm *c, comm_purpose purpose, double *values, int count);

/* Collective. Element-wise maximum of bytes, in place. */
int comm_max_bytes(comm *c, comm_purpose purpose, uint8_t *values, int64_t count);

/* Collective. Rank 0 receives every rank's bytes behind each other: counts [size] in bytes at rank 0 (NULL elsewhere); result (rank 0) is malloc'ed, the
 * caller frees it. */
int comm_gather(comm *c, comm_purpose purpose, const void *bytes, int64_t count, int64_t *counts, void **result);

/* Collective. Every rank's part of values to all ranks, in place: values[first[r] .. first[r + 1]) is rank r's, first [size + 1] the same on all ranks. Parts
 * may be empty, and larger than MPI's counts. Payload: the own part. Errors: ERROR_SYSTEM. */
int comm_all_gather(comm *c, comm_purpose purpose, float *values, const int64_t *first);

/* Collective. Whether all ranks hold the same text (a hash, say); *same is equal on all ranks. */
int comm_same_text(comm *c, const char *text, int *same);

/* ---- the sum of a step (sum.c) ---- */

/* How vectors longer than bucket_bytes are summed (shorter ones: one all-reduce of the library): in buckets of so many bytes (a multiple of 8, at most 2^30),
 * several on their way at a time; with on_node the ranks of a node add in shared memory first, for (ranks on the node + 1) x 2 x bucket_bytes of it.
 * *is_on_node, the same on all ranks: whether they do, which they do not where some node's shared memory is too small or
 * no node has two ranks. At the start: COMM_BUCKET_BYTES, 0.
 * Collective, not between begin and end. Errors: ERROR_MEMORY, ERROR_SYSTEM. */
enum { COMM_BUCKET_BYTES = 4 << 20 };
int comm_sum_setup(comm *c, int64_t bucket_bytes, int on_node, int *is_on_node);

/* Sums vector[0 .. count) over all ranks, in place, in buckets whose borders depend on count alone. Between begin and end:
 * comm_sum_ready(upto) says that vector[0 .. upto) is final on this rank; whole buckets are sent at once and pending ones driven on (Open MPI makes progress
 * only inside calls). Collective: begin and end; ready may be called any number of times. Errors: ERROR_SYSTEM. */
int comm_sum_begin(comm *c, float *vector, int64_t count);
int comm_sum_ready(comm *c, int64_t upto);
int comm_sum_end(comm *c);

/* Collective. Sum of integers in place, in the same buckets; any order gives the same bits. Not between begin and end. */
int comm_sum_integers(comm *c, comm_purpose purpose, int64_t *values, int64_t count);

/* ---- what that puts on a wire (estimate.c) ---- */

/* Not collective. An estimate: bytes that a rank sends, in the mean of `ranks`, for the sum of a vector of so many bytes: above COMM_BUCKET_BYTES, without
 * a reduction on the node, 2 (n - 1) / n S (our own ring); else by the algorithm that Open MPI 4.1 chooses for this size and number of ranks. With p the
 * largest power of two in n ranks, e = n - p and S the bytes:
 *   small (recursive doubling)  (p log2 p + 2 e) / n S         n = 2: S, 3: 4/3 S, 4: 2 S, 6: 2 S, 8: 3 S
 *   large (Rabenseifner)        (2 (p - 1) + 5/2 e) / n S      n = 2: S, 3: 3/2 S, 4: 3/2 S, 6: 11/6 S, 8: 7/4 S
 * large: from 8 KiB on with 4 to 15 ranks, 256 KiB with 3. What a longer message costs more is the difference of two such figures, and may be negative where
 * the larger one goes a cheaper way. */
double comm_sum_bytes(int ranks, double bytes);

/* Not collective. The same for comm_all_gather, whose parts have so many bytes in the mean: each is sent n - 1 times, whatever the way. */
double comm_all_gather_bytes(int ranks, double mean_bytes);

/* ---- memory shared by the ranks of a node (share.c) ---- */

/* Collective over the node. One copy of `bytes` zeroed bytes per node (an MPI-3 shared window), or, where shared memory is too small for it (containers), one
 * per rank with *copies set to the number of copies on this node. *filler: this rank must write the contents; all others wait in comm_share_wait. Freed by
 * comm_unshare, or by comm_finalize. Errors: ERROR_MEMORY, ERROR_SYSTEM. */
int comm_share(comm *c, size_t bytes, void **memory, int *filler, int *copies);

/* Collective over the node. NULL is allowed. */
void comm_unshare(comm *c, void *memory);

/* Collective over the node: contents are written and visible. */
int comm_share_wait(comm *c);

#endif
