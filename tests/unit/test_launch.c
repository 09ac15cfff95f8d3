/* Which MPI library this is, in one line, and whether its launcher started this process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "comm/comm.h"
#include "comm/launch.h"
#include "comm/library.h"

/* ---- the library ---- */

static void described(const char *words, const char *wanted) {
  char text[256];
  library_describe(words, text, sizeof text);
  assert_string_equal(text, wanted);
}

static void libraries_describe_themselves(void **state) {
  (void)state;
  described("Open MPI v4.1.4, package: Debian OpenMPI, ident: 4.1.4, repo rev: v4.1.4, May 26, 2022",
            "Open MPI v4.1.4, package: Debian OpenMPI, ident: 4.1.4, "
            "repo rev: v4.1.4, May 26, 2022");
  described(
      "MPICH Version:\t4.0.2\nMPICH Release date:\tThu Apr  7 12:34:45 CDT 2022\nMPICH ABI:\t14:2:2\nMPICH Device:\tch4:ucx\nMPICH configure:\t--prefix=/usr\n",
      "MPICH 4.0.2, device ch4:ucx");
  described("MPICH Version:      3.4a2\nMPICH Device:       ch3:nemesis \n", "MPICH 3.4a2, device ch3:nemesis");
  described("MPICH Version:\t5.0", "MPICH 5.0");
  described("MPICH Version:", "MPICH Version:"); /* nothing behind it: as it is */
  described("Intel(R) MPI Library 2021.9 for Linux* OS\n", "Intel(R) MPI Library 2021.9 for Linux* OS");
  described("MVAPICH2 Version      :\t2.3.7\nMVAPICH2 Release date : x", "MVAPICH2 Version      : 2.3.7");
  described("", "");
}

static void long_words_are_cut(void **state) {
  (void)state;
  char words[1000], text[64];
  memset(words, 'x', sizeof words - 1);
  words[sizeof words - 1] = 0;
  library_describe(words, text, sizeof text);
  assert_int_equal(strlen(text), sizeof text - 1);
  memcpy(words, "MPICH Version:\t", 15);
  library_describe(words, text, sizeof text);
  assert_int_equal(strncmp(text, "MPICH xxx", 9), 0);
}

static void this_one_is_known(void **state) {
  (void)state;
  assert_true(strlen(comm_library()) > 5);
  assert_null(strpbrk(comm_library(), "\n\t"));
  assert_int_equal(library_is_open_mpi(), strstr(comm_library(), "Open MPI v") == comm_library());
}

/* ---- its launcher ---- */

static const char *const variables[] = {"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "PMI_SIZE", "PMI_RANK", "PMI_ID", "PMIX_RANK",
                                        "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"};

static int forget(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) unsetenv(variables[i]);
  return 0;
}

/* -1: it is in order, and nobody was told to be silent; else whether this process is to speak. */
static int checked(int size) {
  int speaks = -1, code = launch_check(size, &speaks);
  assert_int_equal(code, speaks < 0 ? ERROR_NONE : ERROR_USAGE);
  return speaks;
}

static void a_launcher_of_another_library_is_seen(void **state) {
  forget(state);
  assert_int_equal(checked(1), -1);
  assert_int_equal(checked(8), -1);
  static const char *const pairs[][2] = {{"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"}, {"PMI_SIZE", "PMI_RANK"}, {"SLURM_STEP_NUM_TASKS", "SLURM_PROCID"}};
  for (int i = 0; i < 3; i++) {
    forget(state);
    setenv(pairs[i][0], "4", 1);
    setenv(pairs[i][1], "0", 1);
    assert_int_equal(checked(4), -1); /* the right one: MPI knows of the others */
    assert_int_equal(checked(1), 1);
    assert_non_null(strstr(error_last()->text, "4 processes"));
    assert_non_null(strstr(error_last()->text, comm_library()));
    setenv(pairs[i][1], "3", 1);
    assert_int_equal(checked(1), 0);
    setenv(pairs[i][0], "1", 1);
    assert_int_equal(checked(1), -1);
    setenv(pairs[i][0], "nonsense", 1);
    assert_int_equal(checked(1), -1);
    setenv(pairs[i][0], "", 1);
    assert_int_equal(checked(1), -1);
  }
}

static void launchers_inside_of_launchers(void **state) {
  forget(state);
  setenv("SLURM_STEP_NUM_TASKS", "8", 1); /* mpirun -np 1 in a task of srun */
  setenv("SLURM_PROCID", "5", 1);
  setenv("OMPI_COMM_WORLD_SIZE", "1", 1);
  setenv("OMPI_COMM_WORLD_RANK", "0", 1);
  assert_int_equal(checked(1), -1);
  setenv("OMPI_COMM_WORLD_SIZE", "2", 1); /* the innermost tells which is the first */
  assert_int_equal(checked(1), 1);
  assert_non_null(strstr(error_last()->text, "2 processes"));
}

static void being_launched(void **state) {
  static const char *const marks[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_ID"};
  forget(state);
  assert_false(comm_is_launched());
  for (int i = 0; i < 4; i++) {
    forget(state);
    setenv(marks[i], "0", 1);
    assert_true(comm_is_launched());
  }
}

static void flags_name_both_launchers(void **state) {
  (void)state;
  char text[COMM_FLAGS_BYTES];
  const char *one = comm_binding_flags(1, text);
  assert_non_null(strstr(one, "mpirun -"));
  assert_non_null(strstr(one, "bind-to core"));
  assert_non_null(strstr(one, "srun --cpus-per-task=1 "));
  const char *many = comm_binding_flags(16, text);
  assert_non_null(strstr(many, library_is_open_mpi() ? "--map-by slot:PE=16 --bind-to core" : "-bind-to core:16"));
  assert_non_null(strstr(many, "srun --cpus-per-task=16 "));
  const char *few = comm_node_flags(3, text);
  assert_non_null(strstr(few, library_is_open_mpi() ? "--map-by ppr:3:node" : "-ppn 3"));
  assert_non_null(strstr(few, "srun --ntasks-per-node=3"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(libraries_describe_themselves),
      cmocka_unit_test(long_words_are_cut),
      cmocka_unit_test(this_one_is_known),
      cmocka_unit_test_teardown(a_launcher_of_another_library_is_seen, forget),
      cmocka_unit_test_teardown(launchers_inside_of_launchers, forget),
      cmocka_unit_test_teardown(being_launched, forget),
      cmocka_unit_test(flags_name_both_launchers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
