/* Which MPI library this is. Not collective. */
#ifndef PEFTSCALE_LIBRARY_H
#define PEFTSCALE_LIBRARY_H

#include <stddef.h>

/* The library's own words about itself (MPI_Get_library_version, which may be called before MPI starts) in one line: the first one, without tabs and colons
 * between name and number; of MPICH's many, the device as well, since it decides how fast messages are. `text` is cut to `bytes`.
 *   "Open MPI v4.1.4, package: ..."                                        stays as it is
 *   "MPICH Version:\t4.0.2\nMPICH Release date:...\nMPICH Device:\tch4:ucx"  "MPICH 4.0.2, device ch4:ucx" */
void library_describe(const char *words, char *text, size_t bytes);

/* Whether this is Open MPI, whose algorithms can be forced and whose mpirun has flags of its own. */
int library_is_open_mpi(void);

#endif
