/* Other programs: started with words of their own, never through a shell.
 *
 * Not collective, and not to be called once MPI has started (it does not bear forks). Not thread-safe.
 */
#ifndef PEFTSCALE_PROCESS_H
#define PEFTSCALE_PROCESS_H

#include <stddef.h>
#include <sys/types.h>

typedef struct process_request {
  const char *const *words;       /* ends with NULL; the first is looked for on PATH                  */
  const char *const *environment; /* [environment_count] NAME=VALUE besides this process's own        */
  int environment_count;
  const char *const *defaults; /* [default_count] the same, where there is no such name yet           */
  int default_count;
  const int *cores; /* [core_count] to run on; none: those of this process                            */
  int core_count;
  const char *output; /* a file that gets what it prints, errors among it; NULL: this process's own    */
  int is_apart;       /* in a process group of its own (out of the terminal's Ctrl-C), input is empty, and it gets SIGTERM when this process ends */
} process_request;

/* Starts it; the caller waits for *pid. One that cannot be started ends with status 127 and says why. Errors: ERROR_SYSTEM, *pid is 0. */
int process_start(const process_request *request, pid_t *pid);

/* Runs it to its end. output [bytes] (NULL allowed): the first of what it prints, without white space at its end. *status: its exit status, 128 + the signal
 * that ended it. Errors: ERROR_SYSTEM. */
int process_run(const process_request *request, char *output, size_t bytes, int *status);

/* As process_run's, of waitpid's. */
int process_status(int waited);

#endif
