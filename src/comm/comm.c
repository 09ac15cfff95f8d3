#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/machine.h"
#include "comm/internal.h"

const char *const comm_purpose_names[COMM_PURPOSES] = {"gradient", "evaluation", "control", "checkpoint"};

enum { SCAN_ALWAYS = 64, SCAN_EVERY = 64 }; /* connections are made when first used: mostly in a run's first calls */

int comm_check(int mpi_code, const char *what) {
  if (mpi_code == MPI_SUCCESS) return ERROR_NONE;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length;
  MPI_Error_string(mpi_code, text, &length);
  return FAIL(ERROR_SYSTEM, NULL, "%s failed: %s", what, text);
}

/* What TCP took since the last settlement was for this purpose. */
static void settle_wire(comm *c, comm_purpose purpose) {
  if (c->source != WIRE_TCP) return;
  if (c->settlements++ < SCAN_ALWAYS || c->settlements % SCAN_EVERY == 0) wire_scan(c->wire);
  int64_t now = wire_tcp_bytes(c->wire);
  c->meters[purpose].wire_bytes += now - c->wire_settled;
  c->wire_settled = now;
}

void comm_meter_add(comm *c, comm_purpose purpose, int64_t payload_bytes, double start_s) {
  comm_meter *m = &c->meters[purpose];
  m->calls++;
  m->payload_bytes += payload_bytes;
  m->seconds += clock_wall_s() - start_s;
  settle_wire(c, purpose);
}

static int count_nodes(comm *c) {
  int first = c->node_rank == 0;
  return comm_check(MPI_Allreduce(&first, &c->nodes, 1, MPI_INT, MPI_SUM, c->world), "counting nodes");
}

/* The ranks have just talked to each other: if that went over TCP, some have data sockets now. Over a network that is none, only counters can tell, and only
 * where every machine has them to itself. */
static int choose_source(comm *c) {
  int64_t facts[3] = {wire_scan(c->wire), wire_infiniband_bytes(NULL) < 0, !wire_machine_is_ours()}, all[3]; /* sockets, counters missing, shared machines */
  TRY(comm_check(MPI_Allreduce(facts, all, 3, MPI_INT64_T, MPI_SUM, c->world), "looking for sockets"));
  c->source = all[0] > 0 ? WIRE_TCP : c->nodes == 1 ? WIRE_MEMORY : all[1] == 0 && all[2] == 0 ? WIRE_INFINIBAND : WIRE_NONE;
  settle_wire(c, COMM_CONTROL);
  return ERROR_NONE;
}

int comm_initialize(int *argc, char ***argv, comm **result) {
  int provided, length;
  wire *w;
  *result = NULL;
  TRY(wire_create(&w));
  TRY(comm_check(MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread"));
  if (provided < MPI_THREAD_FUNNELED) return FAIL(ERROR_SYSTEM, "use an MPI library with MPI_THREAD_FUNNELED", "this MPI library does not allow threads");
  comm *c = calloc(1, sizeof *c);
  if (!c) return FAIL(ERROR_MEMORY, NULL, "out of memory");
  c->wire = w;
  MPI_Comm_dup(MPI_COMM_WORLD, &c->world);
  MPI_Comm_set_errhandler(c->world, MPI_ERRORS_RETURN);
  MPI_Comm_rank(c->world, &c->rank);
  MPI_Comm_size(c->world, &c->size);
  MPI_Comm_split_type(c->world, MPI_COMM_TYPE_SHARED, c->rank, MPI_INFO_NULL, &c->node);
  MPI_Comm_set_errhandler(c->node, MPI_ERRORS_RETURN);
  MPI_Comm_rank(c->node, &c->node_rank);
  MPI_Comm_size(c->node, &c->node_size);
  MPI_Get_processor_name(c->host, &length);
  *result = c;
  int is_on_node;
  TRY(count_nodes(c));
  TRY(choose_source(c));
  return comm_sum_setup(c, COMM_BUCKET_BYTES, 0, &is_on_node);
}

/* Open MPI 4.1 has a thread of its own for events, gives it one when it starts, and MPI_Finalize unloads the code that it would run. A process that ends at
 * once, such as one whose arguments are wrong, then dies of it if the thread has not had a core in between. Afterwards the thread has nothing to do. */
static void let_threads_rest(void) {
  enum { SETTLED_S = 5 };
  const struct timespec pause = {.tv_nsec = 2000000};
  while (clock_since_start_s() < SETTLED_S && !machine_threads_rest()) nanosleep(&pause, NULL);
}

void comm_finalize(comm *c) {
  if (!c) return;
  while (c->share_count) comm_unshare(c, c->shares[c->share_count - 1].memory);
  sum_destroy(c);
  MPI_Comm_free(&c->node);
  MPI_Comm_free(&c->world);
  wire_destroy(c->wire);
  free(c);
  let_threads_rest();
  MPI_Finalize();
}

int comm_rank(const comm *c) { return c->rank; }
int comm_size(const comm *c) { return c->size; }
int comm_nodes(const comm *c) { return c->nodes; }
const char *comm_host(const comm *c) { return c->host; }

comm_meter comm_meter_read(const comm *c, comm_purpose purpose) {
  comm_meter m = c->meters[purpose];
  if (c->source == WIRE_NONE || c->source == WIRE_INFINIBAND) m.wire_bytes = -1;
  return m;
}

/* Other messages may open other connections: these are looked for as in a new process. */
void comm_meters_begin(comm *c) {
  settle_wire(c, COMM_CONTROL);
  memset(c->meters, 0, sizeof c->meters);
  c->settlements = 0;
}

const char *comm_wire_name(const comm *c) {
  static const char *const names[] = {"none", "shared memory", "tcp", "infiniband"};
  return names[c->source];
}

int64_t comm_wire_bytes(comm *c) {
  if (c->source == WIRE_INFINIBAND) return c->node_rank == 0 ? wire_infiniband_bytes(NULL) : 0;
  if (c->source == WIRE_MEMORY) return 0;
  if (c->source == WIRE_NONE) return -1;
  wire_scan(c->wire);
  return wire_tcp_bytes(c->wire);
}

double comm_wait(comm *c) {
  double start = clock_wall_s();
  MPI_Barrier(c->world);
  double waited = clock_wall_s() - start;
  settle_wire(c, sum_is_under_way(c) ? COMM_GRADIENT : COMM_CONTROL);
  return waited;
}

const char *comm_library(void) {
  static char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length;
  if (!text[0]) {
    MPI_Get_library_version(text, &length);
    text[strcspn(text, "\n")] = 0;
  }
  return text;
}

int comm_agree(comm *c, int code) {
  double start = clock_wall_s();
  struct {
    int code, rank;
  } mine = {code, c->rank}, worst;
  TRY(comm_check(MPI_Allreduce(&mine, &worst, 1, MPI_2INT, MPI_MAXLOC, c->world), "agreeing on errors"));
  if (worst.code) { /* MAXLOC: among equals the lowest rank */
    error shared = *error_last();
    TRY(comm_check(MPI_Bcast(&shared, (int)sizeof shared, MPI_BYTE, worst.rank, c->world), "sharing an error"));
    shared.source = "";
    if (worst.rank != c->rank) error_restore(&shared);
  }
  comm_meter_add(c, COMM_CONTROL, (int64_t)sizeof mine, start);
  return worst.code;
}

int comm_broadcast(comm *c, comm_purpose purpose, int root, void *bytes, size_t count) {
  double start = clock_wall_s();
  enum { PIECE = 1 << 30 };
  for (size_t at = 0; at < count; at += PIECE)
    TRY(comm_check(MPI_Bcast((char *)bytes + at, (int)(count - at < PIECE ? count - at : PIECE), MPI_BYTE, root, c->world), "MPI_Bcast"));
  comm_meter_add(c, purpose, c->rank == root ? (int64_t)count : 0, start);
  return ERROR_NONE;
}

static int combine_doubles(comm *c, comm_purpose purpose, double *values, int count, MPI_Op op) {
  double start = clock_wall_s();
  TRY(comm_check(MPI_Allreduce(MPI_IN_PLACE, values, count, MPI_DOUBLE, op, c->world), "MPI_Allreduce"));
  comm_meter_add(c, purpose, (int64_t)count * (int64_t)sizeof *values, start);
  return ERROR_NONE;
}

int comm_sum_doubles(comm *c, comm_purpose purpose, double *values, int count) { return combine_doubles(c, purpose, values, count, MPI_SUM); }
int comm_max_doubles(comm *c, comm_purpose purpose, double *values, int count) { return combine_doubles(c, purpose, values, count, MPI_MAX); }

int comm_max_bytes(comm *c, comm_purpose purpose, uint8_t *values, int64_t count) {
  enum { PIECE = 1 << 30 };
  if (c->size == 1) return ERROR_NONE;
  double start = clock_wall_s();
  for (int64_t at = 0; at < count; at += PIECE)
    TRY(comm_check(MPI_Allreduce(MPI_IN_PLACE, values + at, (int)(count - at < PIECE ? count - at : PIECE), MPI_UINT8_T, MPI_MAX, c->world), "MPI_Allreduce"));
  comm_meter_add(c, purpose, count, start);
  return ERROR_NONE;
}

/* Point to point, so that a rank's part may exceed 2 GiB in all and a rank 0 that cannot allocate is noticed by everyone first. */
int comm_gather(comm *c, comm_purpose purpose, const void *bytes, int64_t count, int64_t *counts, void **result) {
  double start = clock_wall_s();
  enum { PIECE = 1 << 30 };
  int64_t total = 0;
  char *all = NULL;
  int code = comm_check(MPI_Gather(&count, 1, MPI_INT64_T, counts, 1, MPI_INT64_T, 0, c->world), "MPI_Gather");
  if (c->rank == 0 && !code) {
    for (int i = 0; i < c->size; i++) total += counts[i];
    all = malloc((size_t)total + 1);
    if (!all) code = FAIL(ERROR_MEMORY, NULL, "out of memory: %lld bytes to gather", (long long)total);
  }
  code = comm_agree(c, code);
  if (code) {
    free(all);
    return code;
  }
  if (c->rank != 0) {
    for (int64_t at = 0; at < count && !code; at += PIECE)
      code = comm_check(MPI_Send((const char *)bytes + at, (int)(count - at < PIECE ? count - at : PIECE), MPI_BYTE, 0, 0, c->world), "MPI_Send");
  } else {
    memcpy(all, bytes, (size_t)count);
    int64_t place = counts[0];
    for (int from = 1; from < c->size; place += counts[from++])
      for (int64_t at = 0; at < counts[from] && !code; at += PIECE)
        code =
            comm_check(MPI_Recv(all + place + at, (int)(counts[from] - at < PIECE ? counts[from] - at : PIECE), MPI_BYTE, from, 0, c->world, MPI_STATUS_IGNORE),
                       "MPI_Recv");
    *result = all;
  }
  comm_meter_add(c, purpose, c->rank ? count : 0, start);
  return code;
}

int comm_same_text(comm *c, const char *text, int *same) {
  char mine[256] = "", first[256];
  snprintf(mine, sizeof mine, "%s", text);
  memcpy(first, mine, sizeof mine);
  TRY(comm_broadcast(c, COMM_CONTROL, 0, first, sizeof first));
  double differs = memcmp(first, mine, sizeof mine) != 0;
  TRY(comm_max_doubles(c, COMM_CONTROL, &differs, 1));
  *same = differs == 0;
  return ERROR_NONE;
}
