/* Everything MPI: agreement on errors, sums, exchanges, memory shared on a node, and meters of payload and time.
 *
 * It moves numbers and knows nothing of what they mean. MPI is initialised for MPI_THREAD_FUNNELED: only the thread that called comm_initialize may call.
 * Collective functions must be called by all ranks in the same order.
 */
#ifndef PEFTSCALE_COMM_H
#define PEFTSCALE_COMM_H

#include <stddef.h>
#include <stdint.h>

/* What a message is for; meters are kept apart. */
typedef enum comm_purpose { COMM_GRADIENT, COMM_EVALUATION, COMM_CONTROL, COMM_PURPOSES } comm_purpose;
extern const char *const comm_purpose_names[COMM_PURPOSES];

typedef struct comm_meter {
  int64_t calls;
  int64_t payload_bytes; /* bytes this rank gave into collectives: not what travelled on a wire */
  double seconds;        /* time this rank spent inside calls (waiting for others included)     */
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

/* Collective. Whether all ranks hold the same text (a hash, say); *same is equal on all ranks. */
int comm_same_text(comm *c, const char *text, int *same);

/* ---- the sum of a step (sum.c) ---- */

/* How vectors longer than bucket_bytes are summed (shorter ones: one all-reduce of the library): in buckets of so many bytes (a multiple of 8, at most 2^30),
 * several on their way at a time; with on_node the ranks of a node add in shared memory first, for (ranks on the node + 1) x 2 x bucket_bytes of it.
 * *is_on_node, the same on all ranks: whether they do, which they do not where some node's shared memory is too small or
 * no node has two ranks. Without this call: COMM_BUCKET_BYTES, 0.
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
