/* What the files of `peftscale sweep` share. Not for others. */
#ifndef PEFTSCALE_CMD_SWEEP_H
#define PEFTSCALE_CMD_SWEEP_H

#include "cmd/cmd.h"
#include "sweep/cost.h"
#include "sweep/plan.h"

/* sweep_print.c: on standard output. all: every run, not only what is to be told. */
void sweep_print_plan(const plan *p, const cost *c, int all);
void sweep_print_status(const plan *p, int all);
/* Returns ERROR_NONE or ERROR_MEMORY. */
int sweep_print_json(const plan *p, const cost *c);

#endif
