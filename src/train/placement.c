#include "train/placement.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"

static const char *plural(int count) { return count == 1 ? "" : "s"; }

/* Where a fault is not the only one of its kind. */
static const char *others(const binding_fault *f, const char *what, char text[64]) {
  text[0] = 0;
  if (f->count > 1) snprintf(text, 64, " (and %d more %s%s)", f->count - 1, what, plural(f->count - 1));
  return text;
}

/* The node has enough cores for these threads: bind to them; else there is nothing to bind to. */
static void warn_few(const binding_fault *f) {
  char more[64], flags[COMM_FLAGS_BYTES];
  const binding_place *p = f->first;
  if (p->node_cores >= p->threads)
    log_warning("rank %d on %s may use %d physical core%s and has %d threads%s: bind it to as many (%s)", p->rank, p->host, f->cores, plural(f->cores),
                p->threads, others(f, "rank", more), comm_binding_flags(p->threads, flags));
  else
    log_warning("rank %d on %s has %d threads, and the machine %d physical core%s%s: times mean little (threads=%d would fit)", p->rank, p->host, p->threads,
                p->node_cores, plural(p->node_cores), others(f, "rank", more), p->node_cores);
}

static void warn_crowded(const binding_fault *f) {
  char more[64], flags[COMM_FLAGS_BYTES];
  const binding_place *p = f->first;
  int fits = p->node_cores >= f->node_threads, ranks = p->node_cores > p->threads ? p->node_cores / p->threads : 1;
  log_warning("%d ranks on %s with %d threads share %d physical core%s%s: times mean little; %s (%s)", f->ranks, p->host, f->threads, f->cores,
              plural(f->cores), others(f, "node", more), fits ? "bind each to its own" : "use fewer",
              fits ? comm_binding_flags(p->threads, flags) : comm_node_flags(ranks, flags));
}

static void warn_pair(const binding_fault *f, const char *what) {
  char more[64], flags[COMM_FLAGS_BYTES];
  int one = f->first->rank, other = f->second->rank;
  log_warning("ranks %d and %d on %s %s%s: bind each to its own (%s)", one < other ? one : other, one < other ? other : one, f->first->host, what,
              others(f, "node", more), comm_binding_flags(f->first->threads, flags));
}

static void warn(const binding_verdict *v) {
  const binding_fault *faults = v->faults;
  if (faults[BINDING_FEW].count) warn_few(&faults[BINDING_FEW]);
  if (faults[BINDING_CROWDED].count) warn_crowded(&faults[BINDING_CROWDED]);
  if (faults[BINDING_OVERLAP].count) warn_pair(&faults[BINDING_OVERLAP], "are bound to cores that are partly the same");
  if (faults[BINDING_SIBLINGS].count) warn_pair(&faults[BINDING_SIBLINGS], "are bound to hardware threads of one core");
}

/* Judges those of the ranks that have something to do. */
static binding_kind judge(binding_place *places, int count) {
  binding_verdict v;
  int busy = 0;
  for (int i = 0; i < count; i++)
    if (places[i].threads > 0) places[busy++] = places[i];
  if (busy == 0) return BINDING_UNKNOWN;
  binding_judge(places, busy, &v);
  warn(&v);
  return v.kind;
}

int placement_check(comm *c, int threads, binding_kind *kind) {
  binding_place mine = {.rank = comm_rank(c), .node = comm_node(c), .threads = threads};
  void *all = NULL;
  int64_t *counts = calloc((size_t)comm_size(c), sizeof *counts);
  *kind = BINDING_UNKNOWN;
  binding_read(NULL, &mine);
  snprintf(mine.host, sizeof mine.host, "%.63s", comm_host(c));
  int code = comm_agree(c, counts ? ERROR_NONE : FAIL(ERROR_MEMORY, NULL, "out of memory"));
  if (!code) code = comm_gather(c, COMM_CONTROL, &mine, sizeof mine, counts, &all);
  if (!code && comm_rank(c) == 0) *kind = judge(all, comm_size(c));
  free(counts);
  free(all);
  return comm_agree(c, code);
}
