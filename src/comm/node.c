#include "comm/node.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "comm/internal.h"

struct node_sum {
  int rank, size, owners; /* of this node */
  int nodes, node;        /* of the ring of owners, and this one's number in it */
  MPI_Comm peers;         /* owners of the same slice; MPI_COMM_NULL: none is owned */
  MPI_Comm *meetings;     /* [slots] of the node's ranks: pieces on their way meet apart */
  MPI_Win window;
  int slots;
  int64_t slot_bytes;
  char **given; /* [size] each rank's part of the window, [slots][slot_bytes] */
  char *result; /* the same behind that of the node's first rank */
};

static int count_owners(comm *c, node_sum *n) {
  TRY(comm_check(MPI_Allreduce(&c->node_size, &n->owners, 1, MPI_INT, MPI_MIN, c->world), "finding the smallest node"));
  TRY(comm_check(MPI_Comm_split(c->world, c->node_rank < n->owners ? c->node_rank : MPI_UNDEFINED, c->rank, &n->peers), "MPI_Comm_split"));
  if (n->peers == MPI_COMM_NULL) {
    n->nodes = 1;
    return ERROR_NONE;
  }
  MPI_Comm_set_errhandler(n->peers, MPI_ERRORS_RETURN);
  MPI_Comm_rank(n->peers, &n->node);
  return comm_check(MPI_Comm_size(n->peers, &n->nodes), "MPI_Comm_size");
}

static int take_memory(comm *c, node_sum *n) {
  n->given = calloc((size_t)n->size, sizeof *n->given);
  n->meetings = calloc((size_t)n->slots, sizeof *n->meetings);
  for (int i = 0; n->meetings && i < n->slots; i++) n->meetings[i] = MPI_COMM_NULL;
  return comm_agree(c, n->given && n->meetings ? ERROR_NONE : FAIL(ERROR_MEMORY, NULL, "out of memory"));
}

static int open_window(comm *c, node_sum *n) {
  int64_t part = n->slots * n->slot_bytes, own = n->rank == 0 ? 2 * part : part;
  void *mine;
  TRY(comm_check(MPI_Win_allocate_shared((MPI_Aint)own, 1, MPI_INFO_NULL, c->node, &mine, &n->window), "MPI_Win_allocate_shared"));
  for (int i = 0; i < n->size; i++) {
    MPI_Aint size;
    int unit;
    TRY(comm_check(MPI_Win_shared_query(n->window, i, &size, &unit, &n->given[i]), "MPI_Win_shared_query"));
  }
  n->result = n->given[0] + part;
  memset(mine, 0, (size_t)own); /* each rank's part near the rank, and no page fault during a step */
  TRY(comm_check(MPI_Win_lock_all(MPI_MODE_NOCHECK, n->window), "MPI_Win_lock_all"));
  for (int i = 0; i < n->slots; i++) {
    TRY(comm_check(MPI_Comm_dup(c->node, &n->meetings[i]), "MPI_Comm_dup"));
    MPI_Comm_set_errhandler(n->meetings[i], MPI_ERRORS_RETURN);
  }
  return ERROR_NONE;
}

int node_sum_create(comm *c, int slots, int64_t slot_bytes, node_sum **result) {
  int fits = comm_room_for(c, (size_t)((c->node_size + 1) * slots * slot_bytes)), all_fit;
  *result = NULL;
  TRY(comm_check(MPI_Allreduce(&fits, &all_fit, 1, MPI_INT, MPI_MIN, c->world), "agreeing on shared memory"));
  if (!all_fit) return ERROR_NONE;
  node_sum *n = calloc(1, sizeof *n);
  TRY(comm_agree(c, n ? ERROR_NONE : FAIL(ERROR_MEMORY, NULL, "out of memory")));
  *n = (node_sum){.rank = c->node_rank, .size = c->node_size, .slots = slots, .slot_bytes = slot_bytes, .peers = MPI_COMM_NULL, .window = MPI_WIN_NULL};
  int code = take_memory(c, n);
  if (!code) code = count_owners(c, n);
  if (!code) code = comm_agree(c, open_window(c, n));
  if (code) node_sum_destroy(n);
  else *result = n;
  return code;
}

void node_sum_destroy(node_sum *n) {
  if (!n) return;
  if (n->window != MPI_WIN_NULL) {
    MPI_Win_unlock_all(n->window);
    MPI_Win_free(&n->window);
  }
  for (int i = 0; n->meetings && i < n->slots; i++)
    if (n->meetings[i] != MPI_COMM_NULL) MPI_Comm_free(&n->meetings[i]);
  if (n->peers != MPI_COMM_NULL) MPI_Comm_free(&n->peers);
  free(n->meetings);
  free(n->given);
  free(n);
}

int node_sum_nodes(const node_sum *n) { return n->nodes; }
int64_t node_sum_slice(const node_sum *n, int64_t count) { return (count + n->owners - 1) / n->owners; }

/* Barriers on both sides of a meeting make stores visible (MPI-3.1, 11.5.4); the window is in one passive epoch as long as it lives. */
int node_meet(node_sum *n, int slot, MPI_Request *request) {
  MPI_Win_sync(n->window);
  return comm_check(MPI_Ibarrier(n->meetings[slot], request), "MPI_Ibarrier");
}

void node_met(node_sum *n) { MPI_Win_sync(n->window); }

void node_give(node_sum *n, int slot, element_kind type, int64_t count, const void *numbers) {
  memcpy(n->given[n->rank] + slot * n->slot_bytes, numbers, (size_t)(count * elements[type].bytes));
}

void node_take(const node_sum *n, int slot, element_kind type, int64_t count, void *numbers) {
  memcpy(numbers, n->result + slot * n->slot_bytes, (size_t)(count * elements[type].bytes));
}

void node_slice(node_sum *n, int slot, element_kind type, int64_t count, ring *r) {
  r->over = n->peers;
  r->rank = n->node;
  r->size = n->nodes;
  r->type = type;
  r->count = 0;
  if (n->peers == MPI_COMM_NULL) return;
  int64_t begin = count * n->rank / n->owners, end = count * (n->rank + 1) / n->owners, place = slot * n->slot_bytes + begin * elements[type].bytes;
  r->count = end - begin;
  r->values = n->result + place;
  memcpy(r->values, n->given[0] + place, (size_t)(r->count * elements[type].bytes));
  for (int i = 1; i < n->size; i++) elements[type].combine(r->count, n->given[i] + place, r->values);
}
