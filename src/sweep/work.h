/* A group of ranks that takes run after run of a study, in one process each: no start of MPI between short runs.
 *
 * Collective: all ranks call with the same arguments.
 */
#ifndef PEFTSCALE_WORK_H
#define PEFTSCALE_WORK_H

#include "comm/comm.h"
#include "sweep/plan.h"

typedef struct work_request {
  plan_request plan;
  int64_t most;   /* runs to take at most; 0: no limit                                              */
  double until_s; /* takes no further run after so many seconds; 0: no limit                        */
  int waits;      /* for trials that others work on, and whose results open further runs            */
} work_request;

typedef struct work_counts {
  int done, failed;
} work_counts;

/* Runs of as many ranks as there are here, in the study's order, each claimed first (claim.h), until there are no more to take. A run that fails is noted as
 * such (attempts.h) and the next one begins. What ends a run ends with it; what ends the group (a killed rank) is found by whoever looks next.
 *
 * Errors: of reading the study; ERROR_STOPPED after SIGTERM, SIGUSR1 or SIGINT, the run in work stopped at a checkpoint; ERROR_INPUT where the ranks do not
 * see the same study. */
int work(comm *c, const work_request *request, work_counts *counts);

#endif
