/* A sweep as jobs of a batch system: arrays of jobs/sweep.sbatch (or .pbs), whose tasks each take several runs (work.h), and a job for the table behind them.
 *
 * Nothing of which run goes where is decided here: a task takes whatever is open when it runs, so tasks may die, be requeued or come twice. Runs that wait for
 * trials get arrays of their own that begin when the trials' have ended.
 *
 * Not collective.
 */
#ifndef PEFTSCALE_SUBMIT_H
#define PEFTSCALE_SUBMIT_H

#include <stdio.h>

#include "config/machine.h"
#include "sweep/cost.h"
#include "sweep/plan.h"

typedef struct submit_request {
  const plan *plan;
  const cost *cost;
  const machine_settings *machine;
  const char *study_path;
  const char *const *words; /* key=value of the command line, for each task and the table */
  int word_count;
  const char *jobs;    /* folder of the batch scripts                                          */
  const char *program; /* as the scripts are to call it                                        */
  int pack;            /* runs per task; 0: as many as take about half of the time limit, at most 50; 10 where times are not known */
  int dry_run;         /* prints what it would do, and does nothing                            */
} submit_request;

/* Prints each command and what came of it to `out`. *jobs: how many were handed in. Errors: ERROR_USAGE (a machine without a scheduler; more ranks than one may
 * ask for), ERROR_SYSTEM with the scheduler's own words; what was handed in before stays and is named. */
int submit(const submit_request *request, FILE *out, int *jobs);

#endif
