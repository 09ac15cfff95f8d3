/* A sweep on this machine: groups of ranks (work.h) side by side, started, watched and replaced until nothing is left to do.
 *
 * Not collective: the process that calls uses no MPI; its groups do. They end with it.
 */
#ifndef PEFTSCALE_SWEEP_LAUNCH_H
#define PEFTSCALE_SWEEP_LAUNCH_H

#include "config/machine.h"
#include "sweep/cost.h"
#include "sweep/plan.h"

typedef struct launch_request {
  plan *plan;
  cost *cost;
  const machine_settings *machine;
  const char *study_path;
  const char *const *words; /* of the command line: flags and key=value, passed on to the groups */
  int word_count;
  int jobs; /* groups at a time; 0: as many as there are cores for */
} launch_request;

typedef struct launch_result {
  int stopped; /* by a signal */
} launch_result;

/* Does what is open in the plan. Groups write to RESULTS/logs. The plan has been looked at when it returns. Errors: ERROR_SYSTEM (a group cannot be started, or
 * ends again and again before it has done anything: the last lines of its log are in the message); of looking. */
int launch(const launch_request *request, launch_result *result);

/* Trains a run for a few steps, for cost.h to know the rate of its kind (cost_probe_path); does nothing where a rate is known. Errors: ERROR_SYSTEM with the
 * last words of the training. */
int launch_probe(const launch_request *request, int run);

#endif
