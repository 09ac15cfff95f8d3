/* What the files of src/comm share. Not for others. */
#ifndef PEFTSCALE_COMM_INTERNAL_H
#define PEFTSCALE_COMM_INTERNAL_H

#include <mpi.h>

#include "comm/comm.h"
#include "comm/wire.h"

enum { MAX_SHARES = 8 };

typedef struct sum_state sum_state;

/* How bytes on the wire are known (comm_wire_name). */
typedef enum wire_source { WIRE_NONE, WIRE_MEMORY, WIRE_TCP, WIRE_INFINIBAND } wire_source;

/* One memory of comm_share; window: MPI_WIN_NULL where it is this rank's own. */
typedef struct share {
  void *memory;
  MPI_Win window;
} share;

struct comm {
  MPI_Comm world, node;
  int rank, size, node_rank, node_size, nodes, leader; /* leader: the first rank of this node */
  char host[MPI_MAX_PROCESSOR_NAME + 1];
  comm_meter meters[COMM_PURPOSES];
  sum_state *sum; /* sum.c */
  wire *wire;
  wire_source source;
  int64_t wire_settled; /* bytes that already belong to a purpose */
  int64_t settlements;
  share shares[MAX_SHARES];
  int share_count;
};

/* MPI's code to ours, with MPI's words. */
int comm_check(int mpi_code, const char *what);

/* Collective over the node. Whether its shared memory can hold so many bytes more; asked by one rank, told to the others (share.c). */
int comm_room_for(comm *c, size_t bytes);

/* Collective. What sum.c holds is given back. */
void sum_destroy(comm *c);

/* Whether buckets have left, and not all of them are back. */
int sum_is_under_way(const comm *c);

/* Adds a call to a meter. */
void comm_meter_add(comm *c, comm_purpose purpose, int64_t payload_bytes, double start_s);

/* comm_all_gather in windows of so many values: an MPI call counts in int. */
int comm_all_gather_by(comm *c, comm_purpose purpose, float *values, const int64_t *first, int window);

#endif
