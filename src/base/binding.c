#define _GNU_SOURCE /* sched_getaffinity */
#include "base/binding.h"

#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const binding_names[BINDING_KINDS] = {"bound", "unbound", "unknown", "shared", "oversubscribed"};

/* ---- sets ---- */

static void set_add(core_set *s, int number) { s->word[number / 64] |= (uint64_t)1 << (number % 64); }
static int set_has(const core_set *s, int number) { return s->word[number / 64] >> (number % 64) & 1; }

static int set_count(const core_set *s) {
  int count = 0;
  for (int i = 0; i < BINDING_CPUS / 64; i++) count += __builtin_popcountll(s->word[i]);
  return count;
}

static int set_meets(const core_set *a, const core_set *b) {
  uint64_t common = 0;
  for (int i = 0; i < BINDING_CPUS / 64; i++) common |= a->word[i] & b->word[i];
  return common != 0;
}

static void set_join(core_set *into, const core_set *from) {
  for (int i = 0; i < BINDING_CPUS / 64; i++) into->word[i] |= from->word[i];
}

/* ---- this process ---- */

/* "0-3,8": a list of the system's, from a file of one line. 0: there is none. */
static int read_list(const char *path, core_set *result) {
  char text[4096];
  FILE *file = fopen(path, "r");
  memset(result, 0, sizeof *result);
  if (!file) return 0;
  char *at = fgets(text, sizeof text, file), *end;
  fclose(file);
  while (at && *at >= '0' && *at <= '9') {
    long first = strtol(at, &end, 10), last = first;
    if (*end == '-') last = strtol(end + 1, &end, 10);
    for (long i = first; i <= last && i < BINDING_CPUS; i++) set_add(result, (int)i);
    at = *end == ',' ? end + 1 : NULL;
  }
  return set_count(result) > 0;
}

/* The lowest hardware thread of the core that this one is of. */
static int core_of(const char *root, int cpu) {
  char path[512];
  core_set siblings;
  snprintf(path, sizeof path, "%.400s/cpu%d/topology/thread_siblings_list", root, cpu);
  if (!read_list(path, &siblings) || !set_has(&siblings, cpu)) return cpu;
  int lowest = 0;
  while (!set_has(&siblings, lowest)) lowest++;
  return lowest;
}

static void cores_of(const char *root, const core_set *cpus, core_set *cores) {
  memset(cores, 0, sizeof *cores);
  for (int i = 0; i < BINDING_CPUS; i++)
    if (set_has(cpus, i)) set_add(cores, core_of(root, i));
}

/* The thread that asks may be bound to one place of several already. */
static void add_places(core_set *cpus) {
  for (int place = 0; place < omp_get_num_places(); place++) {
    int count = omp_get_place_num_procs(place);
    int *numbers = malloc((size_t)count * sizeof *numbers);
    if (!numbers) return;
    omp_get_place_proc_ids(place, numbers);
    for (int i = 0; i < count; i++)
      if (numbers[i] >= 0 && numbers[i] < BINDING_CPUS) set_add(cpus, numbers[i]);
    free(numbers);
  }
}

void binding_read(const char *root, binding_place *place) {
  char path[512];
  cpu_set_t allowed;
  core_set online, online_cores;
  if (!root) root = "/sys/devices/system/cpu";
  memset(&place->cpus, 0, sizeof place->cpus);
  place->is_known = sched_getaffinity(0, sizeof allowed, &allowed) == 0;
  for (int i = 0; place->is_known && i < BINDING_CPUS && i < CPU_SETSIZE; i++)
    if (CPU_ISSET(i, &allowed)) set_add(&place->cpus, i);
  if (place->is_known) add_places(&place->cpus);
  cores_of(root, &place->cpus, &place->cores);
  snprintf(path, sizeof path, "%.400s/online", root);
  if (!read_list(path, &online)) online = place->cpus;
  cores_of(root, &online, &online_cores);
  place->node_cores = set_count(&online_cores);
}

/* ---- all of them ---- */

static int compare(const void *a, const void *b) {
  const binding_place *x = a, *y = b;
  if (x->node != y->node) return x->node < y->node ? -1 : 1;
  int order = memcmp(&x->cpus, &y->cpus, sizeof x->cpus);
  return order ? order : (x->rank > y->rank) - (x->rank < y->rank);
}

static void note(binding_verdict *v, binding_fault_kind kind, binding_fault example) {
  binding_fault *f = &v->faults[kind];
  int count = f->count + 1;
  if (f->count == 0) *f = example;
  f->count = count;
}

/* One node: groups of ranks with the same cores stand behind each other. */
typedef struct node_state {
  core_set cpus, cores; /* of the groups before */
  int threads;          /* of all ranks of the node */
  int groups, few, crowded;
  const binding_place *overlap[2], *siblings[2]; /* the first such pair */
} node_state;

/* The first rank before `place` on its node whose set meets; there is one. */
static const binding_place *find_other(const binding_place *first, const binding_place *place, int by_core) {
  while (!set_meets(by_core ? &first->cores : &first->cpus, by_core ? &place->cores : &place->cpus)) first++;
  return first;
}

static void judge_group(const binding_place *node, const binding_place *group, int count, node_state *s, binding_verdict *v) {
  int cores = set_count(&group->cores), threads = 0;
  for (int i = 0; i < count; i++) threads += group[i].threads;
  const binding_fault example = {.first = group, .ranks = count, .threads = threads, .cores = cores, .node_threads = s->threads};
  if (threads > cores && count == 1) {
    s->few = 1;
    note(v, BINDING_FEW, example);
  } else if (threads > cores && !s->crowded) {
    s->crowded = 1;
    note(v, BINDING_CROWDED, example);
  }
  int by_core = !set_meets(&s->cpus, &group->cpus);
  const binding_place **pair = by_core ? s->siblings : s->overlap;
  if (!pair[0] && set_meets(by_core ? &s->cores : &s->cpus, by_core ? &group->cores : &group->cpus)) {
    pair[0] = find_other(node, group, by_core);
    pair[1] = group;
  }
  set_join(&s->cpus, &group->cpus);
  set_join(&s->cores, &group->cores);
  s->groups++;
}

static binding_kind judge_node(const binding_place *node, int count, binding_verdict *v) {
  node_state s = {0};
  for (int i = 0; i < count; i++) {
    if (!node[i].is_known) return BINDING_UNKNOWN;
    s.threads += node[i].threads;
  }
  for (int first = 0, end; first < count; first = end) {
    for (end = first + 1; end < count && !memcmp(&node[first].cpus, &node[end].cpus, sizeof node->cpus);) end++;
    judge_group(node, &node[first], end - first, &s, v);
  }
  int cores = set_count(&s.cores), meets = s.overlap[0] || s.siblings[0];
  if (meets && !s.few && !s.crowded && s.threads > cores) {
    s.crowded = 1;
    note(v, BINDING_CROWDED, (binding_fault){.first = node, .ranks = count, .threads = s.threads, .cores = cores, .node_threads = s.threads});
  }
  if (s.overlap[0]) note(v, BINDING_OVERLAP, (binding_fault){.first = s.overlap[0], .second = s.overlap[1]});
  if (s.siblings[0]) note(v, BINDING_SIBLINGS, (binding_fault){.first = s.siblings[0], .second = s.siblings[1]});
  if (s.few || s.crowded) return BINDING_OVERSUBSCRIBED;
  if (meets) return BINDING_SHARED;
  return s.groups > 1 || (count == 1 && cores < node->node_cores) ? BINDING_BOUND : BINDING_UNBOUND;
}

void binding_judge(binding_place *places, int count, binding_verdict *verdict) {
  *verdict = (binding_verdict){.kind = BINDING_BOUND};
  qsort(places, (size_t)count, sizeof *places, compare);
  for (int first = 0, end; first < count; first = end) {
    for (end = first + 1; end < count && places[end].node == places[first].node;) end++;
    binding_kind kind = judge_node(&places[first], end - first, verdict);
    if (kind > verdict->kind) verdict->kind = kind;
  }
}
