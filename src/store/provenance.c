#define _GNU_SOURCE /* environ */
#include "store/provenance.h"

#include <cjson/cJSON.h>
#include <hdf5.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <yaml.h>

#include "base/machine.h"

/* Given by the Makefile, so that the program itself knows what it was made of; a build by hand says so. */
#ifndef PEFTSCALE_VERSION
#define PEFTSCALE_VERSION "unknown"
#endif
#ifndef PEFTSCALE_COMMIT
#define PEFTSCALE_COMMIT "unknown"
#endif
#ifndef PEFTSCALE_DIRTY
#define PEFTSCALE_DIRTY "unknown"
#endif
#ifndef PEFTSCALE_COMPILER
#define PEFTSCALE_COMPILER "unknown"
#endif
#ifndef PEFTSCALE_CFLAGS
#define PEFTSCALE_CFLAGS "unknown"
#endif
#ifndef PEFTSCALE_SOURCE_HASH
#define PEFTSCALE_SOURCE_HASH "unknown"
#endif

enum { KEPT_FREE = 24, MAX_VARIABLES = 256 }; /* room that the environment leaves for provenance_add */

/* Variables that change speed or where processes run. Of the MPI libraries' only those that users set: their launchers set dozens of others. */
static const char *const prefixes[] = {"OMPI_MCA_btl",
                                       "OMPI_MCA_pml",
                                       "OMPI_MCA_mtl",
                                       "OMPI_MCA_coll",
                                       "OMPI_MCA_mpi_",
                                       "OMPI_MCA_hwloc",
                                       "OMPI_MCA_rmaps",
                                       "MPICH_",
                                       "MPIR_CVAR_ALLREDUCE",
                                       "MPIR_CVAR_CH4_",
                                       "MPIR_CVAR_NOLOCAL",
                                       "I_MPI_ADJUST",
                                       "I_MPI_FABRICS",
                                       "I_MPI_PIN",
                                       "MV2_",
                                       "UCX_",
                                       "FI_",
                                       "HYDRA_BINDING",
                                       "OMP_",
                                       "GOMP_",
                                       "KMP_",
                                       "OPENBLAS_",
                                       "GOTO_NUM_THREADS",
                                       "PEFTSCALE_KERNELS",
                                       "HDF5_USE_FILE_LOCKING",
                                       "MALLOC_",
                                       "SLURM_JOB_NUM_NODES",
                                       "SLURM_NTASKS",
                                       "SLURM_CPUS_PER_TASK",
                                       "SLURM_CPU_BIND_TYPE",
                                       "SLURM_JOB_PARTITION",
                                       "SLURM_JOB_NODELIST"};

const char *provenance_source_hash(void) { return PEFTSCALE_SOURCE_HASH; }

void provenance_add(provenance *p, const char *name, const char *format, ...) {
  if (p->count >= PROVENANCE_MAX) return;
  provenance_item *item = &p->items[p->count++];
  va_list list;
  va_start(list, format);
  int length = vsnprintf(item->value, sizeof item->value, format, list);
  va_end(list);
  if (length < 0) item->value[0] = 0;
  else if ((size_t)length >= sizeof item->value) memcpy(item->value + sizeof item->value - 4, "...", 4);
  if (snprintf(item->name, sizeof item->name, "%s", name) >= (int)sizeof item->name) memcpy(item->name + sizeof item->name - 4, "...", 4);
}

/* The value of the first line "KEY : value" of a file of /proc. */
static void add_line(provenance *p, const char *name, const char *path, const char *key) {
  char line[512], *end;
  const char *found = "unknown";
  FILE *file = fopen(path, "r");
  while (file && fgets(line, sizeof line, file)) {
    char *colon = strchr(line, ':');
    if (!colon || strncmp(line, key, strlen(key))) continue;
    found = colon + 1 + strspn(colon + 1, " \t");
    end = line + strlen(line);
    while (end > found && strchr(" \n", end[-1])) *--end = 0;
    break;
  }
  if (file) fclose(file);
  provenance_add(p, name, "%s", found);
}

/* Its binding. */
static void add_cores(provenance *p) {
  char text[256];
  int count = machine_name_cores(text, sizeof text);
  provenance_add(p, "cores_allowed", "%s", text);
  if (count) provenance_add(p, "core_count", "%d", count);
}

static int compare_texts(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* In the order of names, whatever the shell's order. */
static void add_environment(provenance *p) {
  const char *found[MAX_VARIABLES];
  int count = 0, left_out = 0;
  for (char **e = environ; e && *e && count < MAX_VARIABLES; e++)
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
      if (!strncmp(*e, prefixes[i], strlen(prefixes[i]))) {
        found[count++] = *e;
        break;
      }
  qsort(found, (size_t)count, sizeof *found, compare_texts);
  for (int i = 0; i < count; i++) {
    const char *equals = strchr(found[i], '=');
    char name[PROVENANCE_NAME_BYTES];
    if (!equals) continue;
    snprintf(name, sizeof name, "%.*s", (int)(equals - found[i]), found[i]);
    if (p->count < PROVENANCE_MAX - KEPT_FREE - 1) provenance_add(p, name, "%s", equals + 1);
    else left_out++;
  }
  if (left_out) provenance_add(p, "environment_left_out", "%d variables", left_out);
}

void provenance_collect(provenance *p) {
  unsigned major = 0, minor = 0, release = 0;
  struct utsname system;
  p->count = 0;
  provenance_add(p, "version", "%s", PEFTSCALE_VERSION);
  provenance_add(p, "commit", "%s", PEFTSCALE_COMMIT);
  provenance_add(p, "dirty", "%s", PEFTSCALE_DIRTY);
  provenance_add(p, "source_hash", "%s", PEFTSCALE_SOURCE_HASH);
  provenance_add(p, "compiler", "%s", PEFTSCALE_COMPILER);
  provenance_add(p, "cflags", "%s", PEFTSCALE_CFLAGS);
  H5get_libversion(&major, &minor, &release);
  provenance_add(p, "hdf5", "%u.%u.%u", major, minor, release);
  provenance_add(p, "cjson", "%s", cJSON_Version());
  provenance_add(p, "libyaml", "%s", yaml_get_version_string());
  if (uname(&system)) strcpy(system.nodename, "unknown");
  else provenance_add(p, "kernel", "%s %s %s", system.sysname, system.release, system.machine);
  provenance_add(p, "host", "%s", system.nodename);
  add_line(p, "cpu", "/proc/cpuinfo", "model name");
  add_line(p, "memory", "/proc/meminfo", "MemTotal");
  add_cores(p);
  const char *job = getenv("SLURM_JOB_ID"), *step = getenv("SLURM_STEP_ID"), *restarts = getenv("SLURM_RESTART_COUNT");
  if (job) {
    provenance_add(p, "slurm_job_id", "%s", job);
    if (step) provenance_add(p, "slurm_step_id", "%s", step);
    provenance_add(p, "slurm_restart_count", "%s", restarts ? restarts : "0");
  }
  add_environment(p);
}
