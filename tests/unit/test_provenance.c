/* store/provenance: what a process says about itself. */
#define _GNU_SOURCE /* sched_setaffinity */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/provenance.h"

static const char *value_of(const provenance *p, const char *name) {
  const char *found = NULL;
  for (int i = 0; i < p->count; i++)
    if (!strcmp(p->items[i].name, name)) {
      assert_null(found); /* attributes need distinct names */
      found = p->items[i].value;
    }
  return found;
}

static void test_basics(void **state) {
  (void)state;
  static const char *const names[] = {"version", "commit",  "dirty",  "source_hash", "compiler", "cflags",        "hdf5",
                                      "cjson",   "libyaml", "kernel", "host",        "cpu",      "cores_allowed", "core_count"};
  provenance p;
  provenance_collect(&p);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    const char *value = value_of(&p, names[i]);
    if (!value || !*value) fail_msg("%s is missing", names[i]);
  }
  char host[100];
  gethostname(host, sizeof host);
  assert_string_equal(value_of(&p, "host"), host);
  assert_int_equal(strncmp(value_of(&p, "hdf5"), "1.", 2), 0);
  for (int i = 0; i < p.count; i++) assert_null(strchr(p.items[i].value, '\n'));
  int count = p.count;
  provenance_collect(&p); /* starts anew */
  assert_int_equal(p.count, count);
}

static void test_binding(void **state) {
  (void)state;
  cpu_set_t before, one;
  assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
  int core = 0;
  while (!CPU_ISSET(core, &before)) core++;
  CPU_ZERO(&one);
  CPU_SET(core, &one);
  assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
  provenance p;
  provenance_collect(&p);
  sched_setaffinity(0, sizeof before, &before);
  char wanted[20];
  snprintf(wanted, sizeof wanted, "%d", core);
  assert_string_equal(value_of(&p, "cores_allowed"), wanted);
  assert_string_equal(value_of(&p, "core_count"), "1");
}

static void test_environment(void **state) {
  (void)state;
  provenance p;
  setenv("OMP_NUM_THREADS", "3", 1);
  setenv("OMPI_MCA_btl", "tcp,self", 1);
  setenv("OMPI_MCA_orte_hnp_uri", "internal", 1);
  setenv("PEFTSCALE_SECRET", "x", 1);
  setenv("UCX_TLS", "tcp", 1);
  setenv("MPIR_CVAR_ALLREDUCE_INTRA_ALGORITHM", "ring", 1);
  setenv("MPIR_CVAR_CH3_INTERFACE_HOSTNAME", "set by mpirun", 1);
  unsetenv("SLURM_JOB_ID");
  unsetenv("SLURM_RESTART_COUNT");
  unsetenv("SLURM_STEP_ID");
  provenance_collect(&p);
  assert_string_equal(value_of(&p, "OMP_NUM_THREADS"), "3");
  assert_string_equal(value_of(&p, "OMPI_MCA_btl"), "tcp,self");
  assert_null(value_of(&p, "OMPI_MCA_orte_hnp_uri"));
  assert_null(value_of(&p, "PEFTSCALE_SECRET"));
  assert_string_equal(value_of(&p, "UCX_TLS"), "tcp");
  assert_string_equal(value_of(&p, "MPIR_CVAR_ALLREDUCE_INTRA_ALGORITHM"), "ring");
  assert_null(value_of(&p, "MPIR_CVAR_CH3_INTERFACE_HOSTNAME"));
  assert_null(value_of(&p, "slurm_job_id"));
  setenv("SLURM_JOB_ID", "4711", 1);
  provenance_collect(&p);
  assert_string_equal(value_of(&p, "slurm_job_id"), "4711");
  assert_string_equal(value_of(&p, "slurm_restart_count"), "0");
  assert_null(value_of(&p, "slurm_step_id"));
  setenv("SLURM_STEP_ID", "3", 1);
  setenv("SLURM_RESTART_COUNT", "2", 1);
  provenance_collect(&p);
  assert_string_equal(value_of(&p, "slurm_restart_count"), "2");
  assert_string_equal(value_of(&p, "slurm_step_id"), "3");
  for (int i = 0; i < 100; i++) {
    char name[30];
    snprintf(name, sizeof name, "OMP_TEST_%d", i);
    setenv(name, "1", 1);
  }
  provenance_collect(&p);
  assert_true(p.count <= PROVENANCE_MAX - 24); /* room for what others know */
  assert_non_null(value_of(&p, "environment_left_out"));
}

static void test_adding(void **state) {
  (void)state;
  provenance p = {.count = 0};
  char name[200], value[400];
  memset(name, 'n', sizeof name);
  memset(value, 'v', sizeof value);
  name[sizeof name - 1] = value[sizeof value - 1] = 0;
  provenance_add(&p, "mpi", "Open MPI %d.%d", 4, 1);
  assert_string_equal(value_of(&p, "mpi"), "Open MPI 4.1");
  provenance_add(&p, name, "%s", value);
  assert_int_equal(strlen(p.items[1].value), 255);
  assert_string_equal(p.items[1].value + 252, "...");
  assert_int_equal(strlen(p.items[1].name), PROVENANCE_NAME_BYTES - 1);
  value[255] = 0; /* just fits */
  provenance_add(&p, "fits", "%s", value);
  assert_string_equal(value_of(&p, "fits"), value);
  snprintf(name, sizeof name, "temporary");
  provenance_add(&p, name, "1");
  snprintf(name, sizeof name, "overwritten");
  assert_non_null(value_of(&p, "temporary"));
  for (int i = 0; i < 100; i++) provenance_add(&p, "more", "%d", i);
  assert_int_equal(p.count, PROVENANCE_MAX);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_basics),
      cmocka_unit_test(test_binding),
      cmocka_unit_test(test_environment),
      cmocka_unit_test(test_adding),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
