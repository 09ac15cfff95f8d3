#include "sweep/ranks.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/binding.h"
#include "base/error.h"
#include "base/text.h"
#include "comm/comm.h"

int ranks_cores(int core[RANKS_CORES]) {
  binding_place here;
  int count = 0;
  binding_read(NULL, &here);
  for (int i = 0; here.is_known && i < BINDING_CPUS && count < RANKS_CORES; i++)
    if (here.cores.word[i / 64] >> (i % 64) & 1) core[count++] = i;
  if (count == 0) core[count++] = 0;
  return count;
}

/* ---- the launcher ---- */

static int is_mpich(void) { return !strncmp(comm_library(), "MPICH", 5); }

static int is_on_path(const char *program) {
  const char *path = getenv("PATH");
  char place[PATH_MAX];
  for (size_t length; path && *path; path += length + (path[length] == ':')) {
    length = strcspn(path, ":");
    if (snprintf(place, sizeof place, "%.*s/%s", (int)length, path, program) < (int)sizeof place && access(place, X_OK) == 0) return 1;
  }
  return 0;
}

/* Where both libraries are installed, `mpirun` is one of them. */
static const char *mpirun_of_library(void) {
  const char *own = is_mpich() ? "mpirun.mpich" : "mpirun.openmpi";
  return is_on_path(own) ? own : "mpirun";
}

/* A single group may bind each rank to a core; groups side by side would all take the same ones. */
static const char *default_flags(int binds) {
  if (is_mpich()) return binds ? "-bind-to core" : "-bind-to none";
  return binds ? "--bind-to core" : "--oversubscribe --bind-to none";
}

static int add_launcher(const machine_settings *m, int ranks, int binds, command *c) {
  const char *own = getenv("PEFTSCALE_MPIRUN");
  if (own && *own) {
    TRY(command_line(c, own));
  } else {
    int is_srun = m->launcher == LAUNCHER_SRUN;
    TRY(is_srun ? command_line(c, "srun --mpi=pmix") : command_word(c, "%s", mpirun_of_library()));
    for (int i = 0; i < m->launcher_flag_count; i++) TRY(command_word(c, "%s", m->launcher_flags[i]));
    if (is_srun) {
      TRY(command_word(c, "-n"));
      return command_word(c, "%d", ranks);
    }
    if (!m->launcher_flag_count) TRY(command_line(c, default_flags(binds)));
  }
  TRY(command_word(c, "-np"));
  return command_word(c, "%d", ranks);
}

/* ---- the environment ---- */

static int add_environment(const machine_settings *m, int crowded, command *c) {
  for (int i = 0; i < m->environment_count; i++) TRY(command_variable(c, "%s", m->environment[i]));
  TRY(command_fallback(c, "OMP_NUM_THREADS=1"));
  if (*m->interface) {
    TRY(command_fallback(c, "OMPI_MCA_btl_tcp_if_include=%s", m->interface));
    TRY(command_fallback(c, "OMPI_MCA_oob_tcp_if_include=%s", m->interface));
  }
  if (crowded) TRY(command_fallback(c, "OMPI_MCA_mpi_yield_when_idle=1"));
  if (geteuid() != 0) return ERROR_NONE;
  TRY(command_fallback(c, "OMPI_ALLOW_RUN_AS_ROOT=1")); /* who sweeps as root has decided so */
  return command_fallback(c, "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1");
}

int ranks_command(const machine_settings *machine, int ranks, int cores, int alone, command *c) {
  char program[PATH_MAX];
  ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
  if (length <= 0) return FAIL(ERROR_SYSTEM, NULL, "cannot find out where this program is: %s", strerror(errno));
  program[length] = 0;
  TRY(add_launcher(machine, ranks, alone && ranks > 1 && ranks <= cores, c));
  TRY(add_environment(machine, ranks > cores, c));
  return command_word(c, "%s", program);
}

/* ---- the end ---- */

void ranks_reason(const char *log, char text[RANKS_REASON_BYTES]) {
  char line[RANKS_REASON_BYTES];
  static const char mark[] = "peftscale: error: ";
  int is_ours = 0;
  snprintf(text, RANKS_REASON_BYTES, "nothing");
  FILE *file = fopen(log, "r");
  while (file && fgets(line, sizeof line, file)) {
    line[strcspn(line, "\n")] = 0;
    int ours = !strncmp(line, mark, sizeof mark - 1);
    if (!*line || (is_ours && !ours)) continue;
    is_ours = ours;
    snprintf(text, RANKS_REASON_BYTES, "%s", line + (ours ? sizeof mark - 1 : 0));
  }
  if (file) fclose(file);
  text_clean(text);
}
