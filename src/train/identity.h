/* Identity of a run. Not collective; every rank gets the same answer. */
#ifndef PEFTSCALE_IDENTITY_H
#define PEFTSCALE_IDENTITY_H

#include "train/run.h"

/* Fills in r->experiment_id (resolved configuration, contents of weights and data) and r->run_id (that, and ranks, threads, nodes). */
int identity_make(run *r);

#endif
