/* The adapter file that a training starts from (train.start), or whose frozen arrays a trained run needs again (method.projection=file). */
#ifndef PEFTSCALE_START_H
#define PEFTSCALE_START_H

#include "train/run.h"

/* Not collective. Opens the file that train.start names, if it is needed here, checks that it fits r->model and fills in r->start_hash; r->start stays open.
 * Errors: ERROR_USAGE (frozen arrays are to come from a file, but none is named), ERROR_INPUT naming the first thing that does not fit. */
int start_open(run *r, int training);

/* Not collective, after model_init_theta and before the first model_expand. Sets the adapter's constants and what the file holds of r->theta; closes it. */
int start_load(run *r);

#endif
