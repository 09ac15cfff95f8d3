/* What `evaluate` and `predict` share: a run put together again from its run file. */
#ifndef PEFTSCALE_TRAINED_H
#define PEFTSCALE_TRAINED_H

#include "cmd/cmd.h"
#include "train/run.h"

/* Collective. r->chosen holds the run file's theta. Errors: an unfinished training, no theta in the file, other base weights, a theta of another size, no
 * examples in the split that is asked for. */
int trained_open(comm *c, const char *path, const arguments *a, split_name which, run **result);

/* Not collective. Errors: ERROR_USAGE. */
int trained_split(const char *name, split_name *which);

#endif
