/* How this machine starts a group of ranks of this program. Not collective. */
#ifndef PEFTSCALE_RANKS_H
#define PEFTSCALE_RANKS_H

#include "config/machine.h"
#include "sweep/command.h"

enum { RANKS_CORES = 1024, RANKS_REASON_BYTES = 600 };

/* Physical cores that this process may use, one number each, of which there is at least one. Returns how many. */
int ranks_cores(int core[RANKS_CORES]);

/* Begins a command: the launcher (PEFTSCALE_MPIRUN with its flags; or as the machine says: srun, or the mpirun of the MPI library that the program was built
 * with) and this program, to which the caller adds its arguments; and what the environment should have. cores: those the group has for itself; alone: no other
 * group beside it, so that the launcher may bind its ranks. Errors: ERROR_SYSTEM, ERROR_USAGE. */
int ranks_command(const machine_settings *machine, int ranks, int cores, int alone, command *c);

/* What a log says of the end of a group: the program's last error, or else the last line. */
void ranks_reason(const char *log, char text[RANKS_REASON_BYTES]);

#endif
