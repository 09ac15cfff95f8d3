#include "comm/force.h"

#include <mpi.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "comm/comm.h"
#include "comm/library.h"

#define SWITCH "coll_tuned_use_dynamic_rules"
#define ALGORITHM "coll_tuned_allreduce_algorithm"
#define SEGMENT "coll_tuned_allreduce_algorithm_segmentsize"

enum { SEGMENT_BYTES = 1 << 20 }; /* with 0, the library's default, its segmented ring is its plain ring */

static int kept_algorithm, kept_segment;

int force_exists(void) { return library_is_open_mpi(); }

void force_allow(void) { setenv("OMPI_MCA_" SWITCH, "1", 0); }

/* ---- one variable of type int or bool ---- */

typedef struct variable {
  MPI_T_cvar_handle handle;
  int is_bool;
} variable;

static int open_variable(const char *name, variable *v) {
  int index, count, verbosity, binding, scope, name_bytes = 0, help_bytes = 0;
  MPI_Datatype type;
  if (MPI_T_cvar_get_index(name, &index) != MPI_SUCCESS) return 0;
  if (MPI_T_cvar_get_info(index, NULL, &name_bytes, &verbosity, &type, NULL, NULL, &help_bytes, &binding, &scope) != MPI_SUCCESS) return 0;
  v->is_bool = type == MPI_C_BOOL;
  if (type != MPI_INT && !v->is_bool) return 0;
  return MPI_T_cvar_handle_alloc(index, NULL, &v->handle, &count) == MPI_SUCCESS && count == 1;
}

/* 0: there is no such variable. */
static int read_variable(const char *name, int *value) {
  variable v;
  bool truth = false;
  if (!open_variable(name, &v)) return 0;
  int done = MPI_T_cvar_read(v.handle, v.is_bool ? (void *)&truth : value) == MPI_SUCCESS;
  MPI_T_cvar_handle_free(&v.handle);
  if (v.is_bool) *value = truth;
  return done;
}

static int write_variable(const char *name, int value) {
  variable v;
  if (!open_variable(name, &v)) return FAIL(ERROR_SYSTEM, NULL, "%s lacks the variable %s", comm_library(), name);
  int refused = MPI_T_cvar_write(v.handle, &value) != MPI_SUCCESS;
  MPI_T_cvar_handle_free(&v.handle);
  return refused ? FAIL(ERROR_SYSTEM, NULL, "%s: the variable %s cannot be set", comm_library(), name) : ERROR_NONE;
}

/* ---- whether it would take effect ---- */

/* Collective components that do sums themselves: one that stands before `tuned` would do the work, whatever tuned was told. */
static int check_rivals(void) {
  static const char *const rivals[] = {"adapt", "han", "hcoll", "ucc", "fca", "sm", "ml", "xhc", "acoll", "cuda"};
  int own = 0;
  if (!read_variable("coll_tuned_priority", &own)) return ERROR_NONE;
  for (size_t i = 0; i < sizeof rivals / sizeof *rivals; i++) {
    char name[64], hint[96];
    int priority = 0, enabled = 1;
    snprintf(name, sizeof name, "coll_%s_enable", rivals[i]);
    if (read_variable(name, &enabled) && !enabled) continue;
    snprintf(name, sizeof name, "coll_%s_priority", rivals[i]);
    if (!read_variable(name, &priority) || priority <= own) continue;
    snprintf(hint, sizeof hint, "mpirun --mca coll ^%s, or leave the mpi: algorithms out", rivals[i]);
    return FAIL(ERROR_USAGE, hint, "the MPI library's component coll/%s stands before coll/tuned, so that no algorithm can be forced", rivals[i]);
  }
  return ERROR_NONE;
}

static int check_all(void) {
  static const char *const needed[] = {SWITCH, ALGORITHM, SEGMENT};
  int value[3] = {0};
  for (int i = 0; i < 3; i++)
    if (!read_variable(needed[i], &value[i]))
      return FAIL(ERROR_USAGE, "leave the mpi: algorithms out; mpi is the library's own choice",
                  "%s has no variable %s, so that no algorithm of its own can be forced", comm_library(), needed[i]);
  if (!value[0])
    return FAIL(ERROR_USAGE, "unset OMPI_MCA_" SWITCH " (also in Open MPI's parameter files), or set it to 1",
                "no algorithm can be forced, since " SWITCH " is off");
  kept_algorithm = value[1];
  kept_segment = value[2];
  return check_rivals();
}

int force_open(void) {
  int provided;
  if (!force_exists())
    return FAIL(ERROR_USAGE, "leave the mpi: algorithms out; mpi is the library's own choice, and doubling, ring and rabenseifner are the suite's own",
                "the mpi: algorithms are Open MPI's, and this program was built with %s", comm_library());
  if (MPI_T_init_thread(MPI_THREAD_SINGLE, &provided) != MPI_SUCCESS)
    return FAIL(ERROR_SYSTEM, NULL, "%s: its tool interface cannot be opened", comm_library());
  int code = check_all();
  if (code) force_close();
  return code;
}

void force_close(void) { MPI_T_finalize(); }

int force_set(force_choice choice) {
  if (choice == FORCE_SEGMENTED_RING && !kept_segment) TRY(write_variable(SEGMENT, SEGMENT_BYTES));
  return write_variable(ALGORITHM, choice);
}

int force_restore(void) {
  TRY(write_variable(SEGMENT, kept_segment));
  return write_variable(ALGORITHM, kept_algorithm);
}
