/* A study whose runs are counts (`action: count`): what each method trains, stores and sends on models known by name. No weights, no data, milliseconds.
 *
 * RESULTS/counts.tsv holds one line per run. Not collective.
 */
#ifndef PEFTSCALE_SWEEP_COUNT_H
#define PEFTSCALE_SWEEP_COUNT_H

#include <stdio.h>

#include "sweep/plan.h"

/* Counts all runs, writes the file and prints a table to `out`. A run that cannot be counted (options that do not fit the model) has its reason in place of
 * figures. *failed: how many have none. Errors: ERROR_SYSTEM. */
int count_study(const plan *p, FILE *out, int *failed);

/* Which runs the file has: done, or stale. */
void count_look(plan *p);

#endif
