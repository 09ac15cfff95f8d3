/* How ranks are bound to cores: what a process sees of itself, with a made-up machine, and what is made of the cores of all. */
#define _GNU_SOURCE /* sched_setaffinity */
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/binding.h"
#include "support/folder.h"

/* ---- judging ---- */

enum { PLACES_MAX = 64 };
static binding_place places[PLACES_MAX];
static int place_count;
static binding_verdict verdict;

/* Machines of 8 cores with two hardware threads each: 0 .. 7 and, of the same cores, 8 .. 15. */
enum { CORES = 8 };

static void add(int node, int threads, uint64_t cpus) {
  binding_place *p = &places[place_count];
  *p = (binding_place){
      .rank = place_count, .node = node, .threads = threads, .is_known = 1, .node_cores = CORES, .cpus = {{cpus}}, .cores = {{(cpus | cpus >> CORES) & 0xff}}};
  snprintf(p->host, sizeof p->host, "n%d", node);
  place_count++;
}

static void judged(binding_kind kind, int few, int crowded, int overlap, int siblings) {
  const int wanted[BINDING_FAULTS] = {few, crowded, overlap, siblings};
  binding_judge(places, place_count, &verdict);
  if (verdict.kind != kind) fail_msg("%s, not %s", binding_names[verdict.kind], binding_names[kind]);
  for (int i = 0; i < BINDING_FAULTS; i++) {
    assert_int_equal(verdict.faults[i].count, wanted[i]);
    assert_true(!wanted[i] || verdict.faults[i].first);
  }
  place_count = 0;
}

static void good_layouts(void **state) {
  (void)state;
  for (int i = 0; i < 8; i++) add(0, 1, 1u << i | 1u << (i + 8)); /* a core each */
  judged(BINDING_BOUND, 0, 0, 0, 0);
  for (int i = 0; i < 8; i++) add(0, 1, 1u << i); /* one hardware thread of each core */
  judged(BINDING_BOUND, 0, 0, 0, 0);
  for (int i = 0; i < 2; i++) add(0, 4, 0x0fu << 4 * i); /* a socket each */
  judged(BINDING_BOUND, 0, 0, 0, 0);
  for (int i = 0; i < 8; i++) add(0, 1, 0x0f0fu << 4 * (i % 2)); /* four share a socket, one core for each */
  judged(BINDING_BOUND, 0, 0, 0, 0);
  for (int i = 0; i < 8; i++) add(0, 1, 0xffff); /* free, and there is room */
  judged(BINDING_UNBOUND, 0, 0, 0, 0);
  for (int i = 0; i < 3; i++) add(0, 1, 0x0f); /* free within what a job was given */
  judged(BINDING_UNBOUND, 0, 0, 0, 0);
  add(0, 8, 0xffff);
  judged(BINDING_UNBOUND, 0, 0, 0, 0);
  add(0, 1, 1);
  judged(BINDING_BOUND, 0, 0, 0, 0);
}

static void too_few_cores(void **state) {
  (void)state;
  add(0, 2, 1);
  judged(BINDING_OVERSUBSCRIBED, 1, 0, 0, 0);
  assert_int_equal(verdict.faults[BINDING_FEW].threads, 2);
  assert_int_equal(verdict.faults[BINDING_FEW].cores, 1);
  add(0, 2, 0x0101); /* two hardware threads are one core */
  judged(BINDING_OVERSUBSCRIBED, 1, 0, 0, 0);
  add(0, 9, 0xffff);
  judged(BINDING_OVERSUBSCRIBED, 1, 0, 0, 0);
  add(0, 2, 0x3);
  add(0, 2, 0x4);
  add(0, 2, 0x8);
  judged(BINDING_OVERSUBSCRIBED, 2, 0, 0, 0);
  assert_int_equal(verdict.faults[BINDING_FEW].first->rank, 1);
}

static void too_many_ranks(void **state) {
  (void)state;
  for (int i = 0; i < 9; i++) add(0, 1, 0xffff);
  judged(BINDING_OVERSUBSCRIBED, 0, 1, 0, 0);
  const binding_fault *f = &verdict.faults[BINDING_CROWDED];
  assert_true(f->ranks == 9 && f->threads == 9 && f->cores == 8 && f->node_threads == 9);
  for (int i = 0; i < 3; i++) add(0, 3, 0xffff);
  judged(BINDING_OVERSUBSCRIBED, 0, 1, 0, 0);
  assert_int_equal(verdict.faults[BINDING_CROWDED].threads, 9);
  add(0, 1, 1); /* all on one core, while others are free */
  add(0, 1, 1);
  add(0, 1, 2);
  judged(BINDING_OVERSUBSCRIBED, 0, 1, 0, 0);
  f = &verdict.faults[BINDING_CROWDED];
  assert_true(f->ranks == 2 && f->threads == 2 && f->cores == 1 && f->node_threads == 3);
  for (int i = 0; i < 10; i++) add(0, 1, 0x0fu << 4 * (i % 2)); /* both sockets: one line for the node */
  judged(BINDING_OVERSUBSCRIBED, 0, 1, 0, 0);
}

static void overlapping(void **state) {
  (void)state;
  add(0, 1, 0x1);
  add(0, 1, 0x3);
  judged(BINDING_SHARED, 0, 0, 1, 0);
  assert_non_null(verdict.faults[BINDING_OVERLAP].second);
  assert_int_equal(verdict.faults[BINDING_OVERLAP].first->rank + verdict.faults[BINDING_OVERLAP].second->rank, 1);
  add(0, 1, 0x4);
  add(0, 1, 0x1);
  add(0, 1, 0xffff); /* one that was not bound */
  judged(BINDING_SHARED, 0, 0, 1, 0);
  add(0, 2, 0x7);
  add(0, 2, 0xe);
  judged(BINDING_SHARED, 0, 0, 1, 0);
  add(0, 3, 0x7); /* each has enough, together they do not */
  add(0, 3, 0xe);
  judged(BINDING_OVERSUBSCRIBED, 0, 1, 1, 0);
  assert_int_equal(verdict.faults[BINDING_CROWDED].cores, 4);
}

static void hardware_threads(void **state) {
  (void)state;
  add(0, 1, 0x001);
  add(0, 1, 0x002);
  add(0, 1, 0x200);
  judged(BINDING_OVERSUBSCRIBED, 0, 1, 0, 1); /* three threads on two cores */
  assert_int_equal(verdict.faults[BINDING_SIBLINGS].first->rank + verdict.faults[BINDING_SIBLINGS].second->rank, 3);
  add(0, 1, 0x003);
  add(0, 1, 0x600); /* the other halves of cores 1 and 2 */
  judged(BINDING_SHARED, 0, 0, 0, 1);
  for (int i = 0; i < 16; i++) add(0, 1, 1u << i);
  judged(BINDING_OVERSUBSCRIBED, 0, 1, 0, 1);
}

/* Numbers of cores are a machine's own; the worst machine counts. */
static void several_machines(void **state) {
  (void)state;
  add(0, 1, 1);
  add(3, 1, 1);
  add(5, 1, 1);
  judged(BINDING_BOUND, 0, 0, 0, 0);
  add(0, 1, 1);
  add(3, 1, 0xffff);
  add(0, 1, 2);
  add(3, 1, 0xffff);
  judged(BINDING_UNBOUND, 0, 0, 0, 0);
  for (int i = 0; i < 6; i++) add(i / 2, 1, i < 2 ? 1u << i : 1); /* crowded on two of three */
  judged(BINDING_OVERSUBSCRIBED, 0, 2, 0, 0);
  assert_string_equal(verdict.faults[BINDING_CROWDED].first->host, "n1");
  add(0, 1, 1);
  add(1, 1, 3);
  add(1, 1, 1);
  add(2, 2, 1);
  judged(BINDING_OVERSUBSCRIBED, 1, 0, 1, 0);
}

static void what_is_not_known(void **state) {
  (void)state;
  add(0, 1, 1);
  add(0, 1, 1);
  places[1].is_known = 0;
  judged(BINDING_UNKNOWN, 0, 0, 0, 0);
  add(0, 1, 1);
  add(1, 2, 1);
  places[0].is_known = 0;
  judged(BINDING_OVERSUBSCRIBED, 1, 0, 0, 0);
}

/* ---- reading ---- */

static void put(const char *name, const char *text) {
  char path[1024];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  for (char *slash = path + strlen(folder) + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
    *slash = 0;
    mkdir(path, 0777);
  }
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs(text, file);
  fclose(file);
}

/* A machine whose only core of this process has a partner with a number below it. */
static void a_made_up_machine(void **state) {
  (void)state;
  cpu_set_t before, one;
  binding_place p = {0};
  assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
  int cpu = 0;
  for (int i = 0; i < BINDING_CPUS; i++)
    if (CPU_ISSET(i, &before)) cpu = i; /* the last, so that a lower number is there, most often */
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
  char name[80], text[80];
  snprintf(name, sizeof name, "cpu%d/topology/thread_siblings_list", cpu);
  snprintf(text, sizeof text, "0,%d\n", cpu);
  put(name, text);
  put("cpu0/topology/thread_siblings_list", text);
  put("cpu900/topology/thread_siblings_list", "nonsense\n");
  put("online", "0-1,900-901,5000\n");
  binding_read(folder, &p);
  assert_int_equal(p.is_known, 1);
  assert_true(p.cpus.word[cpu / 64] == (uint64_t)1 << cpu % 64);
  assert_true(p.cores.word[0] == 1);
  assert_int_equal(p.node_cores, cpu == 1 ? 3 : 4); /* 0 and 1 are one core or two; 900 and 901; what is beyond the set is left out */
  binding_read(in_folder("nowhere"), &p);
  assert_true(p.cores.word[cpu / 64] == (uint64_t)1 << cpu % 64);
  assert_int_equal(p.node_cores, 1);
  sched_setaffinity(0, sizeof before, &before);
}

static void this_machine(void **state) {
  (void)state;
  binding_place p = {0};
  cpu_set_t allowed;
  binding_read(NULL, &p);
  assert_int_equal(p.is_known, 1);
  assert_int_equal(sched_getaffinity(0, sizeof allowed, &allowed), 0);
  int cpus = 0, cores = 0;
  for (int i = 0; i < BINDING_CPUS; i++) {
    int has = p.cpus.word[i / 64] >> i % 64 & 1;
    assert_int_equal(has, CPU_ISSET(i, &allowed) != 0);
    cpus += has;
    cores += p.cores.word[i / 64] >> i % 64 & 1;
  }
  assert_true(cores >= 1 && cores <= cpus && cores <= p.node_cores && p.node_cores <= sysconf(_SC_NPROCESSORS_ONLN));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(good_layouts),      cmocka_unit_test(too_few_cores),     cmocka_unit_test(too_many_ranks),
      cmocka_unit_test(overlapping),       cmocka_unit_test(hardware_threads),  cmocka_unit_test(several_machines),
      cmocka_unit_test(what_is_not_known), cmocka_unit_test(a_made_up_machine), cmocka_unit_test(this_machine),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
