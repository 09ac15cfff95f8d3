/* Checks for programs with several ranks: a failed one is printed with its rank and counted; the count of all ranks is the exit status. */
#ifndef PEFTSCALE_TESTS_CHECKS_H
#define PEFTSCALE_TESTS_CHECKS_H

#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "comm/comm.h"

static int checks_failed;
static comm *world;

static inline void checks_note(const char *file, int line, const char *what) {
  fprintf(stderr, "%s:%d: rank %d: %s\n", file, line, world ? comm_rank(world) : 0, what);
  checks_failed++;
}

#define CHECK(condition)                                           \
  do {                                                             \
    if (!(condition)) checks_note(__FILE__, __LINE__, #condition); \
  } while (0)

/* A call that must return 0. */
#define CHECK_DONE(call)                                           \
  do {                                                             \
    if (call) checks_note(__FILE__, __LINE__, error_last()->text); \
  } while (0)

/* Before MPI starts: messages go over TCP, on one machine, too. For Open MPI, and for MPICH over UCX. */
static inline void checks_over_tcp(void) {
  setenv("OMPI_MCA_pml", "ob1", 1);
  setenv("OMPI_MCA_btl", "tcp,self", 1);
  setenv("OMPI_MCA_btl_tcp_if_include", "127.0.0.0/8", 1);
  setenv("UCX_TLS", "tcp", 1);
}

/* Collective. Starts MPI; ends it and returns the exit status, the same on all ranks. */
static inline int checks_begin(int *argc, char ***argv) { return comm_initialize(argc, argv, &world); }

static inline int checks_end(void) {
  double failed = checks_failed;
  if (comm_sum_doubles(world, COMM_CONTROL, &failed, 1)) failed = 1;
  if (comm_rank(world) == 0) printf(failed > 0 ? "%.0f checks failed\n" : "ok\n", failed);
  comm_finalize(world);
  return failed > 0;
}

#endif
