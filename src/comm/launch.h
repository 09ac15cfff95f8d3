/* Whether the launcher that started this process (mpirun, srun) and the MPI library belong together. A launcher tells its processes in their environment how
 * many they are; a library that does not understand it makes of each a job of its own. Not collective. */
#ifndef PEFTSCALE_LAUNCH_H
#define PEFTSCALE_LAUNCH_H

/* After MPI has started with `size` processes. Errors: ERROR_USAGE where it started one, and a launcher says that there are several (and none, such as an
 * mpirun inside of srun, that there is one); *speaks then tells whether this process is the first of them, the one to report it, and is left alone otherwise.
 */
int launch_check(int size, int *speaks);

#endif
