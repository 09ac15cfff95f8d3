#include "comm/launch.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/text.h"
#include "comm/comm.h"
#include "comm/library.h"

/* How launchers say how many processes there are, and which this is; the innermost first, where one started another. */
static const struct {
  const char *name, *size, *rank;
} launchers[] = {
    {"Open MPI's mpirun", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"},
    {"a launcher of MPICH's kind (PMI)", "PMI_SIZE", "PMI_RANK"},
    {"srun", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"},
};
enum { LAUNCHERS = sizeof launchers / sizeof *launchers };

/* 0: not said. */
static int64_t number_in(const char *variable) {
  const char *text = getenv(variable);
  int64_t value;
  return text && !text_to_int(text, &value) ? value : 0;
}

int launch_check(int size, int *speaks) {
  int by = -1;
  if (size > 1) return ERROR_NONE;
  for (int i = LAUNCHERS - 1; i >= 0; i--) {
    int64_t said = number_in(launchers[i].size);
    if (said == 1) return ERROR_NONE;
    if (said > 1) by = i;
  }
  if (by < 0) return ERROR_NONE;
  *speaks = number_in(launchers[by].rank) == 0;
  return FAIL(ERROR_USAGE,
              library_is_open_mpi() ? "start it with Open MPI's own mpirun (Debian: mpirun.openmpi) or srun --mpi=pmix"
                                    : "start it with the mpirun of this MPI library (MPICH on Debian: mpirun.mpich) or srun --mpi=pmi2",
              "%s started %lld processes, and the MPI library of this program makes each of them a job of its own: it is %s", launchers[by].name,
              (long long)number_in(launchers[by].size), comm_library());
}

int comm_check_launcher(const comm *c, int *speaks) { return launch_check(comm_size(c), speaks); }

int comm_is_launched(void) { return getenv("OMPI_COMM_WORLD_SIZE") || getenv("PMIX_RANK") || getenv("PMI_RANK") || getenv("PMI_ID"); }

const char *comm_binding_flags(int cores, char text[COMM_FLAGS_BYTES]) {
  char own[64];
  if (!library_is_open_mpi()) snprintf(own, sizeof own, "-bind-to core:%d", cores);
  else if (cores > 1) snprintf(own, sizeof own, "--map-by slot:PE=%d --bind-to core", cores);
  else snprintf(own, sizeof own, "--bind-to core");
  snprintf(text, COMM_FLAGS_BYTES, "mpirun %s, srun --cpus-per-task=%d --cpu-bind=cores", own, cores);
  return text;
}

const char *comm_node_flags(int ranks, char text[COMM_FLAGS_BYTES]) {
  snprintf(text, COMM_FLAGS_BYTES,
           library_is_open_mpi() ? "mpirun --map-by ppr:%d:node, srun --ntasks-per-node=%d" : "mpirun -ppn %d, srun --ntasks-per-node=%d", ranks, ranks);
  return text;
}
