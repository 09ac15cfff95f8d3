/* What the runs of a plan will take: tokens from the data sets, seconds from rates that finished runs were measured at.
 *
 * A run's rate is that of the finished runs of the same model, method, ranks and threads; where there is none, that of some steps that were made to measure it
 * (launch_probe); else of the finished runs of the same model; else its time is not known. Not collective.
 */
#ifndef PEFTSCALE_COST_H
#define PEFTSCALE_COST_H

#include "sweep/plan.h"

typedef struct cost cost;

/* Opens each data set once, and looks for each model's weights. A run whose data set is not there has no count. Errors: ERROR_MEMORY. Destroyed with
 * cost_destroy before the plan. */
int cost_create(const plan *p, cost **result);
void cost_destroy(cost *c);

/* Takes the rates from the runs that are finished now. */
void cost_measure(cost *c);

/* Training tokens of a run, over all epochs; -1: its data set is not there. */
int64_t cost_tokens(const cost *c, int entry);
/* Seconds of a run by itself; NaN: not known. */
double cost_seconds(const cost *c, int entry);

/* Whether the rate was measured on runs (or steps) of this very kind; 1 also where it is of no use, since the data is not there. */
int cost_rate_is_known(const cost *c, int run);

/* Where the run file of a few steps of this run's kind lies. */
int cost_probe_path(const cost *c, int run, char path[PLAN_PATH_BYTES]);

/* The first data set or model (as the configuration calls it) that is not there and that a run which is not finished needs; NULL: all are there. */
const char *cost_missing_input(const cost *c);

#endif
