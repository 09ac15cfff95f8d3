/* Whether the ranks of a job are where their threads have room, and what to do where they are not. */
#ifndef PEFTSCALE_PLACEMENT_H
#define PEFTSCALE_PLACEMENT_H

#include "base/binding.h"
#include "comm/comm.h"

/* Collective. Compares the cores of all ranks of each node; rank 0 warns of each kind of bad binding in one line, with the flags to use, and gets the verdict
 * in *kind (BINDING_UNKNOWN elsewhere). threads: of this rank; 0: it only waits, and needs no core. Errors: ERROR_MEMORY, ERROR_SYSTEM. */
int placement_check(comm *c, int threads, binding_kind *kind);

#endif
