/* What a study's jobs must know about a machine: configs/machine/NAME.yaml.
 *
 * Not collective, not thread-safe.
 */
#ifndef PEFTSCALE_CONFIG_MACHINE_H
#define PEFTSCALE_CONFIG_MACHINE_H

#include <stdio.h>

typedef enum machine_scheduler { SCHEDULER_NONE, SCHEDULER_SLURM, SCHEDULER_PBS } machine_scheduler;
typedef enum machine_launcher { LAUNCHER_MPIRUN, LAUNCHER_SRUN } machine_launcher;

/* Texts are never NULL; "" where nothing is to be said. All belongs to the structure. */
typedef struct machine_settings {
  const char *name, *path;     /* "cluster", "configs/machine/cluster.yaml" */
  machine_scheduler scheduler; /* none */
  machine_launcher launcher;   /* mpirun */
  const char *const *launcher_flags;
  int launcher_flag_count;
  const char *partition, *account, *qos;
  const char *time_limit; /* "1:30:00", "" : the scheduler's own */
  int time_limit_s;       /* the same in seconds, 0: none */
  int signal_s;           /* 120: seconds before the limit at which the job is told */
  const char *const *modules;
  int module_count;
  const char *interface;          /* network interface for TCP */
  int cores_per_node;             /* 0: not known */
  int array_limit;                /* 1000: largest index of an array + 1 that the scheduler takes */
  int max_running;                /* 0: no cap on array tasks at a time */
  const char *const *environment; /* "NAME=VALUE" */
  int environment_count;
  void *memory; /* internal */
} machine_settings;

/* The defaults where `name` is "". `name` is looked for as ROOT/machine/NAME.yaml; one with a "/" or that ends in ".yaml" is a path.
 *
 * Errors: ERROR_USAGE with file, line, column, reason and the nearest valid name, also where there is no such machine; ERROR_INPUT when the file cannot be
 * read. *result is destroyed with machine_settings_destroy. */
int machine_settings_read(const char *root, const char *name, machine_settings **result);
void machine_settings_destroy(machine_settings *m);

/* Every key with type, default and meaning, for --help and documentation. */
void machine_settings_print_keys(FILE *file);

#endif
