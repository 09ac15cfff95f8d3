/* Machine files: every key, defaults, refusals with place and hint, and the files that are shipped. */
#define _GNU_SOURCE
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/random.h"
#include "config/machine.h"

static char root[64];

static void put(const char *name, const char *text) {
  char path[256];
  snprintf(path, sizeof path, "%s/machine/%s.yaml", root, name);
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
  assert_int_equal(fclose(file), 0);
}

static machine_settings *read_text(const char *text) {
  machine_settings *m;
  put("m", text);
  if (machine_settings_read(root, "m", &m)) fail_msg("%s (%s)", error_last()->text, error_last()->hint);
  return m;
}

static void refuse(const char *place, const char *words, const char *hint, const char *text) {
  machine_settings *m = (machine_settings *)&m;
  char begin[128];
  put("m", text);
  int code = machine_settings_read(root, "m", &m);
  const error *e = error_last();
  if (code != ERROR_USAGE) fail_msg("code %d instead of a refusal: %s", code, text);
  assert_null(m);
  snprintf(begin, sizeof begin, "%s/machine/m.yaml:%s ", root, place);
  if (strncmp(e->text, begin, strlen(begin)) || !strstr(e->text, words)) fail_msg("'%s' is not '%s... %s'", e->text, begin, words);
  if (!strstr(e->hint, hint)) fail_msg("hint '%s' lacks '%s' (%s)", e->hint, hint, e->text);
}

static void check_defaults(const machine_settings *m) {
  assert_int_equal(m->scheduler, SCHEDULER_NONE);
  assert_int_equal(m->launcher, LAUNCHER_MPIRUN);
  assert_int_equal(m->launcher_flag_count, 0);
  assert_string_equal(m->partition, "");
  assert_string_equal(m->account, "");
  assert_string_equal(m->qos, "");
  assert_string_equal(m->time_limit, "");
  assert_int_equal(m->time_limit_s, 0);
  assert_int_equal(m->signal_s, 120);
  assert_int_equal(m->module_count, 0);
  assert_string_equal(m->interface, "");
  assert_int_equal(m->cores_per_node, 0);
  assert_int_equal(m->array_limit, 1000);
  assert_int_equal(m->max_running, 0);
  assert_int_equal(m->environment_count, 0);
}

static void test_defaults(void **state) {
  (void)state;
  machine_settings *m;
  assert_int_equal(machine_settings_read(NULL, "", &m), 0);
  check_defaults(m);
  assert_string_equal(m->name, "");
  assert_string_equal(m->path, "");
  machine_settings_destroy(m);
  m = read_text("# nothing\n");
  check_defaults(m);
  assert_string_equal(m->name, "m");
  assert_string_equal(m->path + strlen(root), "/machine/m.yaml");
  machine_settings_destroy(m);
  machine_settings_destroy(NULL);
}

static void test_all_keys(void **state) {
  (void)state;
  machine_settings *m = read_text(
      "scheduler: slurm\nlauncher: srun\nlauncher_flags: [--mpi=pmix, \"--cpu-bind=cores\", '--mca btl tcp,self']\npartition: short,long\naccount: p-17@x\n"
      "qos: high\ntime_limit: 1:30:00\nsignal_s: 50\nmodules: [gcc/12.2, openmpi]\ninterface: ib0\ncores_per_node: 64\narray_limit: 1001\nmax_running: 20\n"
      "environment:\n  - OMP_NUM_THREADS=1\n  - \"X_1=a b=c\"\n  - EMPTY=\n");
  assert_int_equal(m->scheduler, SCHEDULER_SLURM);
  assert_int_equal(m->launcher, LAUNCHER_SRUN);
  assert_int_equal(m->launcher_flag_count, 3);
  assert_string_equal(m->launcher_flags[2], "--mca btl tcp,self");
  assert_string_equal(m->partition, "short,long");
  assert_string_equal(m->account, "p-17@x");
  assert_string_equal(m->qos, "high");
  assert_string_equal(m->time_limit, "1:30:00");
  assert_int_equal(m->time_limit_s, 5400);
  assert_int_equal(m->signal_s, 50);
  assert_int_equal(m->module_count, 2);
  assert_string_equal(m->modules[0], "gcc/12.2");
  assert_string_equal(m->interface, "ib0");
  assert_int_equal(m->cores_per_node, 64);
  assert_int_equal(m->array_limit, 1001);
  assert_int_equal(m->max_running, 20);
  assert_int_equal(m->environment_count, 3);
  assert_string_equal(m->environment[1], "X_1=a b=c");
  assert_string_equal(m->environment[2], "EMPTY=");
  machine_settings_destroy(m);
  m = read_text("scheduler: pbs\nlauncher: mpirun\n");
  assert_int_equal(m->scheduler, SCHEDULER_PBS);
  machine_settings_destroy(m);
}

static void test_times(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int seconds; /* -1: refused */
  } times[] = {{"0:10:00", 600},
               {"00:10:01", 601},
               {"100:00:00", 360000},
               {"2-00:00:00", 172800},
               {"1-12:30:05", 131405},
               {"366-00:00:00", 31622400},
               {"0:00:00", -1},
               {"10:00", -1},
               {"0:60:00", -1},
               {"0:10:60", -1},
               {"1:2:3:4", -1},
               {"-1:00:00", -1},
               {"1-24:00:00", -1},
               {"1-", -1},
               {"1-2-3:00:00", -1},
               {"1:00:00h", -1},
               {" 1:00:00", -1},
               {"1 :00:00", -1},
               {"366-00:00:01", -1},
               {"99999999:00:00", -1},
               {"x", -1},
               {"1:00:0x", -1},
               {"+1:00:00", -1},
               {"1:+1:00", -1},
               {"9999-00:00:00", -1},
               {"111111-00:00:00", -1}};
  for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
    char text[128];
    snprintf(text, sizeof text, "time_limit: \"%s\"\n", times[i].text);
    if (times[i].seconds < 0) {
      refuse("1:13:", "time_limit: '", "1-12:00:00", text);
      continue;
    }
    machine_settings *m = read_text(text);
    if (m->time_limit_s != times[i].seconds) fail_msg("%s is %d s, not %d", times[i].text, m->time_limit_s, times[i].seconds);
    machine_settings_destroy(m);
  }
}

static void test_refused(void **state) {
  (void)state;
  refuse("1:1:", "unknown key 'partiton' of a machine file", "'partition'", "partiton: x\n");
  refuse("1:1:", "unknown key 'zzzz'", "scheduler, launcher", "zzzz: x\n");
  refuse("1:1:", "a machine file is a mapping", "", "[slurm]\n");
  refuse("2:1:", "duplicate key 'qos'", "", "qos: a\nqos: b\n");
  refuse("1:12:", "scheduler: there is no 'slrum'", "'slurm'", "scheduler: slrum\n");
  refuse("1:11:", "launcher: there is no 'aprun'", "mpirun", "launcher: aprun\n");
  refuse("1:11:", "launcher: there is no 'qqq'", "one of: mpirun, srun", "launcher: qqq\n");
  refuse("1:12:", "partition: 'a b' is not a plain word", "", "partition: a b\n");
  refuse("1:12:", "is not a plain word", "", "partition: \"$(reboot)\"\n");
  refuse("1:10:", "is not a plain word", "", "account: \"x;y\"\n");
  refuse("1:12:", "is not a plain word", "", "interface: '--x'\n");
  refuse("1:6:", "is not a plain word", "", "qos: \"a\\nb\"\n");
  refuse("1:6:", "a single value is expected, not a list", "", "qos: [a, b]\n");
  refuse("1:6:", "there is no value", "", "qos: ~\n");
  refuse("1:10:", "modules: a list is expected", "[one, two]", "modules: gcc\n");
  refuse("1:11:", "modules: 'a b' is no element of a list of words", "", "modules: [a b]\n");
  refuse("1:11:", "modules: '' is no element", "", "modules: [\"\"]\n");
  refuse("1:11:", "an element is a single value", "", "modules: [[a]]\n");
  refuse("1:18:", "is no element of a list of flags", "", "launcher_flags: [\"a\\nb\"]\n");
  refuse("1:15:", "'1A=2' is no element of a list of NAME=VALUE", "", "environment: [1A=2]\n");
  refuse("1:15:", "'A' is no element", "", "environment: [A]\n");
  refuse("1:15:", "'A-B=1' is no element", "", "environment: [A-B=1]\n");
  refuse("1:11:", "signal_s: 'soon' is not a whole number", "", "signal_s: soon\n");
  refuse("1:11:", "signal_s: 0 is out of range: it must be from 1 to 86400", "", "signal_s: 0\n");
  refuse("1:14:", "array_limit: 0 is out of range", "", "array_limit: 0\n");
  refuse("1:17:", "cores_per_node: -1 is out of range", "", "cores_per_node: -1\n");
  refuse("", "srun starts ranks under SLURM only", "'scheduler: slurm'", "launcher: srun\n");
  refuse("", "signal_s is 120, the whole time_limit 0:02:00", "time to train", "time_limit: 0:02:00\n");
}

static void test_names(void **state) {
  (void)state;
  machine_settings *m;
  char path[128];
  put("m", "qos: x\n");
  snprintf(path, sizeof path, "%s/machine/m.yaml", root);
  assert_int_equal(machine_settings_read(NULL, path, &m), 0);
  assert_string_equal(m->name, "m");
  assert_string_equal(m->path, path);
  machine_settings_destroy(m);
  assert_int_equal(machine_settings_read(root, "mm", &m), ERROR_USAGE);
  assert_non_null(strstr(error_last()->text, "there is no machine 'mm'"));
  assert_string_equal(error_last()->hint, "did you mean 'm'?");
  assert_int_equal(machine_settings_read(root, ".m", &m), ERROR_USAGE);
  assert_int_equal(machine_settings_read(NULL, "m", &m), ERROR_USAGE);
  assert_int_equal(machine_settings_read(root, "./nothing.yaml", &m), ERROR_INPUT);
  assert_int_equal(machine_settings_read(root, "../machine", &m), ERROR_INPUT);
}

static void test_keys_printed(void **state) {
  (void)state;
  char *text = NULL;
  size_t bytes;
  FILE *file = open_memstream(&text, &bytes);
  machine_settings_print_keys(file);
  fclose(file);
  static const char *const names[] = {"scheduler", "launcher", "launcher_flags", "partition",      "account",     "qos",         "time_limit",
                                      "signal_s",  "modules",  "interface",      "cores_per_node", "array_limit", "max_running", "environment"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char line[32];
    snprintf(line, sizeof line, "\n%s ", names[i]);
    if (!strstr(text, line)) fail_msg("%s is not listed:\n%s", names[i], text);
  }
  assert_non_null(strstr(text, "one of none, slurm, pbs"));
  assert_non_null(strstr(text, "whole number 1..86400"));
  free(text);
}

static void test_fuzz(void **state) {
  (void)state;
  static const char whole[] =
      "scheduler: slurm\nlauncher: srun\nlauncher_flags: [--mpi=pmix, '-x']\ntime_limit: 1-01:30:00\nenvironment: [\"A=b\", &a C=d, *a]\nsignal_s: 5\n";
  random_key key = random_key_make(3, RANDOM_TEST, 0);
  int accepted = 0;
  for (uint64_t round = 0; round < 3000; round++) {
    char text[sizeof whole];
    machine_settings *m = NULL;
    memcpy(text, whole, sizeof whole);
    for (uint64_t k = 0; k < round % 3; k++) text[random_bits(key, round, 2 * k) % (sizeof whole - 1)] ^= (char)(1u << random_bits(key, round, 2 * k + 1) % 8);
    put("m", text);
    int code = machine_settings_read(root, "m", &m);
    if (code == ERROR_INTERNAL) fail_msg("%s for:\n%s", error_last()->text, text);
    accepted += !code;
    assert_true(!code == (m != NULL));
    machine_settings_destroy(m);
  }
  assert_true(accepted >= 1000 && accepted < 3000);
}

/* Whatever is in configs/machine can be read. */
static void test_shipped(void **state) {
  (void)state;
  const char *configs = getenv("PEFTSCALE_CONFIGS") ? getenv("PEFTSCALE_CONFIGS") : "configs";
  char folder[256];
  snprintf(folder, sizeof folder, "%s/machine", configs);
  DIR *opened = opendir(folder);
  if (!opened) skip();
  for (struct dirent *entry; (entry = readdir(opened));) {
    char name[256];
    machine_settings *m;
    size_t length = strlen(entry->d_name);
    if (length < 6 || strcmp(entry->d_name + length - 5, ".yaml")) continue;
    snprintf(name, sizeof name, "%.*s", (int)length - 5, entry->d_name);
    if (machine_settings_read(configs, name, &m)) fail_msg("%s (%s)", error_last()->text, error_last()->hint);
    assert_string_equal(m->name, name);
    machine_settings_destroy(m);
  }
  closedir(opened);
}

static int make_root(void **state) {
  (void)state;
  char path[128];
  strcpy(root, "/tmp/test_machine_file.XXXXXX");
  if (!mkdtemp(root)) return -1;
  snprintf(path, sizeof path, "%s/machine", root);
  return mkdir(path, 0700);
}

static int remove_root(void **state) {
  (void)state;
  char path[128];
  snprintf(path, sizeof path, "%s/machine/m.yaml", root);
  unlink(path);
  snprintf(path, sizeof path, "%s/machine", root);
  rmdir(path);
  return rmdir(root);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_defaults), cmocka_unit_test(test_all_keys),     cmocka_unit_test(test_times), cmocka_unit_test(test_refused),
      cmocka_unit_test(test_names),    cmocka_unit_test(test_keys_printed), cmocka_unit_test(test_fuzz),  cmocka_unit_test(test_shipped),
  };
  return cmocka_run_group_tests(tests, make_root, remove_root);
}
