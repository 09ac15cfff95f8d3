/* Energy counters in made-up trees: what counts and what does not, going round, counters that cannot be read, and that go away. */
#include <errno.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/energy.h"
#include "support/folder.h"

#define RANGE 65532610987LL /* uJ, as AMD has it: no processor goes through it in a minute */
static char tree[600];

static void put(const char *zone, const char *name, const char *text) {
  char path[1024], hidden[1100];
  snprintf(path, sizeof path, "%s/%s", tree, zone);
  assert_true(mkdir(path, 0777) == 0 || errno == EEXIST);
  snprintf(path, sizeof path, "%s/%s/%s", tree, zone, name);
  snprintf(hidden, sizeof hidden, "%s.new", path);
  FILE *file = fopen(hidden, "w");
  assert_non_null(file);
  fputs(text, file);
  fclose(file);
  assert_int_equal(rename(hidden, path), 0); /* a reader sees the old or the new one */
}

static void set(const char *zone, long long microjoules) {
  char text[40];
  snprintf(text, sizeof text, "%lld\n", microjoules);
  put(zone, "energy_uj", text);
}

static void add_zone(const char *zone, const char *name, long long microjoules) {
  char text[80];
  snprintf(text, sizeof text, "%s\n", name);
  put(zone, "name", text);
  snprintf(text, sizeof text, "%lld\n", RANGE);
  put(zone, "max_energy_range_uj", text);
  set(zone, microjoules);
}

static void fresh(const char *name) {
  snprintf(tree, sizeof tree, "%s", in_folder(name));
  assert_int_equal(mkdir(tree, 0777), 0);
}

static energy *open_tree(void) { return energy_open(&(energy_places){.powercap = tree}); }

static void near(double joules, double wanted) {
  if (!(fabs(joules - wanted) < 1e-9)) fail_msg("%.9f J, not %.9f", joules, wanted);
}

static void packages_and_memory_count_once(void **state) {
  (void)state;
  fresh("server");
  add_zone("intel-rapl:0", "package-0", 1000000);
  add_zone("intel-rapl:1", "package-1", 2000000);
  add_zone("intel-rapl:0:0", "core", 500);
  add_zone("intel-rapl:0:1", "dram", 300);
  add_zone("intel-rapl:1:0", "dram", 400);
  add_zone("intel-rapl:2", "psys", 9000);
  add_zone("intel-rapl-mmio:0", "package-0", 1000000);
  put("intel-rapl", "enabled", "1\n");
  energy *e = open_tree();
  assert_non_null(e);
  assert_string_equal(energy_source(e), "rapl: 2 packages, 2 memories");
  near(energy_read(e), 0);
  set("intel-rapl:0", 1000000 + 1500000);
  near(energy_read(e), 1.5);
  set("intel-rapl:0:0", 900000);
  set("intel-rapl:2", 900000);
  set("intel-rapl-mmio:0", 9000000);
  near(energy_read(e), 1.5);
  set("intel-rapl:1", 2000000 + 10);
  set("intel-rapl:0:1", 300 + 7);
  set("intel-rapl:1:0", 400 + 3000000);
  near(energy_read(e), 1.5 + 10e-6 + 7e-6 + 3);
  energy_close(e);
}

static void counters_go_round(void **state) {
  (void)state;
  fresh("round");
  add_zone("intel-rapl:0", "package-0", RANGE - 100);
  energy *e = open_tree();
  assert_string_equal(energy_source(e), "rapl: 1 package");
  set("intel-rapl:0", 50);
  near(energy_read(e), 150e-6);
  set("intel-rapl:0", RANGE - 1);
  near(energy_read(e), 150e-6 + (double)(RANGE - 51) * 1e-6);
  set("intel-rapl:0", 0);
  near(energy_read(e), 150e-6 + (double)(RANGE - 50) * 1e-6);
  energy_close(e);
  /* It starts from where the counter is. */
  e = open_tree();
  near(energy_read(e), 0);
  energy_close(e);
}

/* Longer than the fastest machine needs to go round: how often it did is not known. */
static void a_long_gap_is_no_guess(void **state) {
  (void)state;
  fresh("gap");
  add_zone("intel-rapl:0", "package-0", 5);
  put("intel-rapl:0", "max_energy_range_uj", "20000000\n"); /* 20 ms at 1 kW */
  energy *e = open_tree();
  near(energy_read(e), 0);
  usleep(40000);
  assert_true(isnan(energy_read(e)));
  assert_true(isnan(energy_read(e))); /* and never known again */
  energy_close(e);
}

/* energy_open says that there is nothing, of this tree. */
static void refused(const char *name) {
  energy *e = open_tree();
  if (e) fail_msg("%s: %s", name, energy_source(e));
}

static void all_or_none(void **state) {
  (void)state;
  snprintf(tree, sizeof tree, "%s", in_folder("nowhere"));
  refused("no folder");
  fresh("empty");
  refused("no zones");
  add_zone("intel-rapl:0:0", "dram", 1);
  refused("memory alone");
  add_zone("intel-rapl:0", "package-0", 1);
  energy *e = open_tree();
  assert_non_null(e);
  energy_close(e);
  static const char *const bad[] = {"", "\n", "many\n", "-1\n", "12x\n", "99999999999999999999\n", "70000000000\n"}; /* the last: beyond the range */
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    put("intel-rapl:0", "energy_uj", bad[i]);
    refused(bad[i]);
  }
  set("intel-rapl:0", 1);
  put("intel-rapl:0:0", "energy_uj", "nonsense\n");
  refused("a part of what counts");
  set("intel-rapl:0:0", 1);
  static const char *const ranges[] = {"", "0\n", "-5\n", "wide\n"};
  for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
    put("intel-rapl:0", "max_energy_range_uj", ranges[i]);
    refused("a range of no use");
  }
  put("intel-rapl:0", "max_energy_range_uj", "65532610987\n");
  char path[1024];
  snprintf(path, sizeof path, "%s/intel-rapl:0/energy_uj", tree);
  if (geteuid() != 0) { /* root may read all */
    assert_int_equal(chmod(path, 0), 0);
    refused("unreadable");
  }
  assert_int_equal(unlink(path), 0);
  assert_int_equal(mkdir(path, 0777), 0); /* opens, and cannot be read: for root, too */
  refused("a directory");
  assert_int_equal(rmdir(path), 0);
  refused("missing");
}

static void a_counter_goes_away(void **state) {
  (void)state;
  fresh("gone");
  add_zone("intel-rapl:0", "package-0", 1);
  add_zone("intel-rapl:1", "package-1", 1);
  energy *e = open_tree();
  set("intel-rapl:0", 1000001);
  near(energy_read(e), 1);
  put("intel-rapl:1", "energy_uj", "?\n");
  assert_true(isnan(energy_read(e)));
  set("intel-rapl:1", 2);
  assert_true(isnan(energy_read(e)));
  energy_close(e);
}

static void cray_counts_the_node(void **state) {
  (void)state;
  fresh("cray");
  put("pm_counters", "energy", "123456 J 1700000000000000 us\n");
  add_zone("intel-rapl:0", "package-0", 1);
  char counters[700];
  snprintf(counters, sizeof counters, "%s/pm_counters", tree);
  energy *e = energy_open(&(energy_places){.cray = counters, .powercap = tree});
  assert_string_equal(energy_source(e), "cray: node");
  put("pm_counters", "energy", "123556 J 1700000001000000 us\n");
  set("intel-rapl:0", 1000001);
  near(energy_read(e), 100);
  put("pm_counters", "energy", "123000 J 1700000002000000 us\n"); /* it was reset */
  assert_true(isnan(energy_read(e)));
  energy_close(e);
  put("pm_counters", "energy", "J\n");
  e = energy_open(&(energy_places){.cray = counters, .powercap = tree});
  assert_string_equal(energy_source(e), "rapl: 1 package");
  energy_close(e);
}

static void places(void **state) {
  (void)state;
  unsetenv("PEFTSCALE_POWERCAP");
  energy_places p = energy_places_default();
  assert_string_equal(p.powercap, "/sys/class/powercap");
  assert_non_null(p.cray);
  assert_int_equal(p.named, 0);
  fresh("given");
  add_zone("intel-rapl:0", "package-0", 1);
  setenv("PEFTSCALE_POWERCAP", tree, 1);
  p = energy_places_default();
  assert_null(p.cray);
  energy *e = energy_open(&p);
  assert_non_null(strstr(energy_source(e), tree)); /* nobody takes it for the system's */
  energy_close(e);
  unsetenv("PEFTSCALE_POWERCAP");
}

static void nothing(void **state) {
  (void)state;
  assert_true(isnan(energy_read(NULL)));
  assert_string_equal(energy_source(NULL), "none");
  energy_close(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(packages_and_memory_count_once),
      cmocka_unit_test(counters_go_round),
      cmocka_unit_test(a_long_gap_is_no_guess),
      cmocka_unit_test(all_or_none),
      cmocka_unit_test(a_counter_goes_away),
      cmocka_unit_test(cray_counts_the_node),
      cmocka_unit_test(places),
      cmocka_unit_test(nothing),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
