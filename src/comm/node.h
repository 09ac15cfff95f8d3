/* Sums in which the ranks of a node first add in memory that they share, so that what travels between nodes is one vector per node, not one per rank. Not for
 * others than src/comm.
 *
 * A piece lies in a slot of the node's window: each rank's numbers, and the result. The ranks with the lowest numbers on their node, as many as the smallest
 * node has, own a slice each: they add it over the node's ranks in order of rank, then with the owners of the same slice on the other nodes (ring.h), all at
 * the same time. Between these stages the ranks of the node meet:
 *
 *   node_give (own numbers into the window), meet, node_slice + ring (owners), meet, node_take
 *
 * A rank may give the next piece into a slot that others still take from: numbers given and results lie apart, and results are written behind the next meeting.
 */
#ifndef PEFTSCALE_COMM_NODE_H
#define PEFTSCALE_COMM_NODE_H

#include "comm/comm.h"
#include "comm/ring.h"

typedef struct node_sum node_sum;

/* Collective. Memory on each node: (ranks there + 1) x slots x slot_bytes. *result is NULL, with no error and on all ranks, where some node's shared memory
 * cannot hold that. Errors: ERROR_MEMORY, ERROR_SYSTEM. */
int node_sum_create(comm *c, int slots, int64_t slot_bytes, node_sum **result);
void node_sum_destroy(node_sum *n);

/* Ranks that a slice's ring has, and the most numbers of a slice of a piece. */
int node_sum_nodes(const node_sum *n);
int64_t node_sum_slice(const node_sum *n, int64_t count);

/* Collective over the node, per slot in the same order: everyone's stores become visible to everyone once the request is done. */
int node_meet(node_sum *n, int slot, MPI_Request *request);
void node_met(node_sum *n);

void node_give(node_sum *n, int slot, element_kind type, int64_t count, const void *numbers);
void node_take(const node_sum *n, int slot, element_kind type, int64_t count, void *numbers);

/* Adds this rank's slice over the node and makes it the piece of a ring, whose tag, incoming and requests are left to the caller. Not an owner: a ring of one
 * rank, which is done at once. */
void node_slice(node_sum *n, int slot, element_kind type, int64_t count, ring *r);

#endif
