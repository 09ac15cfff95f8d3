#include "comm/bench.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"
#include "comm/allreduce.h"
#include "comm/force.h"
#include "comm/internal.h"
#include "comm/pattern.h"

enum { WARM_UPS = 3, BARRIER_TRIES = 5 };

const char *const bench_algorithm_names[BENCH_ALGORITHMS] = {
    [BENCH_MPI] = "mpi",
    [BENCH_MPI_DOUBLING] = "mpi:doubling",
    [BENCH_MPI_RING] = "mpi:ring",
    [BENCH_MPI_SEGMENTED_RING] = "mpi:segmented_ring",
    [BENCH_MPI_RABENSEIFNER] = "mpi:rabenseifner",
    [BENCH_DOUBLING] = "doubling",
    [BENCH_RING] = "ring",
    [BENCH_RABENSEIFNER] = "rabenseifner",
};

static const force_choice choices[BENCH_ALGORITHMS] = {
    [BENCH_MPI_DOUBLING] = FORCE_DOUBLING,
    [BENCH_MPI_RING] = FORCE_RING,
    [BENCH_MPI_SEGMENTED_RING] = FORCE_SEGMENTED_RING,
    [BENCH_MPI_RABENSEIFNER] = FORCE_RABENSEIFNER,
};

struct bench {
  comm *comm;
  char *vector, *scratch;
  int forces; /* the tool interface is open */
  /* of the case before, kept for those that follow with the same ranks and algorithm */
  MPI_Comm group, control; /* control: barriers and agreement, by the library's own choice */
  int ranks, nodes;
  bench_algorithm algorithm;
  int64_t barrier_bytes; /* that this rank sends in the two barriers around a repetition */
};

int bench_is_own(bench_algorithm a) { return a >= BENCH_DOUBLING; }
static allreduce_algorithm own_of(bench_algorithm a) { return (allreduce_algorithm)(a - BENCH_DOUBLING); }

int bench_exists(bench_algorithm a) { return choices[a] == FORCE_NOTHING || force_exists(); }

void bench_allow_forced(void) { force_allow(); }

static int64_t message_bytes(const bench_message *m) { return m->count * elements[m->kind].bytes; }

int64_t bench_payload(const bench_case *c) {
  int64_t bytes = 0;
  for (int i = 0; i < BENCH_MESSAGES; i++) bytes += message_bytes(&c->messages[i]);
  return bytes;
}

/* ---- creation ---- */

/* Bytes that this machine can still give; INT64_MAX where it does not say. */
static int64_t available_bytes(void) {
  char line[128];
  long long kib = -1;
  FILE *file = fopen("/proc/meminfo", "r");
  while (file && kib < 0 && fgets(line, sizeof line, file))
    if (sscanf(line, "MemAvailable: %lld kB", &kib) != 1) kib = -1;
  if (file) fclose(file);
  return kib < 0 ? INT64_MAX : kib * 1024;
}

/* The system promises more than it has: asked for too much, it ends processes later on. */
static int take_memory(bench *b, int64_t bytes, int copies) {
  char wanted[32], there[32];
  int64_t available = available_bytes();
  if ((double)bytes * copies * b->comm->node_size > (double)available)
    return FAIL(ERROR_MEMORY, "choose smaller models or methods, or fewer ranks on a machine",
                "the largest sum takes %s of each of %d ranks on %s, which has %s left", text_bytes((double)bytes * copies, wanted), b->comm->node_size,
                b->comm->host, text_bytes((double)available, there));
  b->vector = malloc((size_t)bytes + 1);
  b->scratch = copies > 1 ? malloc((size_t)bytes + 1) : NULL;
  if (!b->vector || (copies > 1 && !b->scratch))
    return FAIL(ERROR_MEMORY, "choose smaller models or methods", "out of memory: %s wanted", text_bytes((double)bytes * copies, wanted));
  return ERROR_NONE;
}

static int check_case(const comm *c, const bench_case *one) {
  if (one->ranks < 1 || one->ranks > c->size) return FAIL(ERROR_USAGE, NULL, "%d ranks were asked for, and %d are there", one->ranks, c->size);
  for (int i = 0; i < BENCH_MESSAGES; i++)
    if (one->messages[i].count < 0 || one->messages[i].count > INT_MAX)
      return FAIL(ERROR_USAGE, "choose smaller models or methods", "a sum of %lld numbers: one call of MPI takes at most %d", (long long)one->messages[i].count,
                  INT_MAX);
  return ERROR_NONE;
}

static int prepare(bench *b, const bench_case *cases, int count) {
  int64_t most = 0;
  int copies = 1, forced = 0;
  for (int i = 0; i < count; i++) {
    TRY(check_case(b->comm, &cases[i]));
    for (int m = 0; m < BENCH_MESSAGES; m++)
      if (message_bytes(&cases[i].messages[m]) > most) most = message_bytes(&cases[i].messages[m]);
    if (bench_is_own(cases[i].algorithm)) copies = 2;
    if (choices[cases[i].algorithm]) forced = 1;
  }
  if (forced) {
    TRY(force_open());
    b->forces = 1;
  }
  return take_memory(b, most, copies);
}

int bench_create(comm *c, const bench_case *cases, int count, bench **result) {
  *result = NULL;
  bench *b = calloc(1, sizeof *b);
  int code = b ? ERROR_NONE : FAIL(ERROR_MEMORY, NULL, "out of memory");
  if (b) {
    b->comm = c;
    b->group = b->control = MPI_COMM_NULL;
    code = prepare(b, cases, count);
  }
  code = comm_agree(c, code);
  if (code) bench_destroy(b);
  else *result = b;
  return code;
}

static void leave_group(bench *b) {
  if (b->group != MPI_COMM_NULL) MPI_Comm_free(&b->group);
  if (b->control != MPI_COMM_NULL) MPI_Comm_free(&b->control);
  b->ranks = 0;
}

void bench_destroy(bench *b) {
  if (!b) return;
  leave_group(b);
  if (b->forces) force_close();
  free(b->vector);
  free(b->scratch);
  free(b);
}

/* ---- the communicator of a case ---- */

static int split(const bench *b, int member, MPI_Comm *result) {
  return comm_check(MPI_Comm_split(b->comm->world, member ? 0 : MPI_UNDEFINED, b->comm->rank, result), "MPI_Comm_split");
}

static int count_nodes(bench *b) {
  MPI_Comm node;
  int node_rank, first;
  TRY(comm_check(MPI_Comm_split_type(b->control, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node), "MPI_Comm_split_type"));
  MPI_Comm_rank(node, &node_rank);
  MPI_Comm_free(&node);
  first = node_rank == 0;
  return comm_check(MPI_Allreduce(&first, &b->nodes, 1, MPI_INT, MPI_SUM, b->control), "counting nodes");
}

static int barrier(const bench *b) { return comm_check(MPI_Barrier(b->control), "MPI_Barrier"); }

/* The least of some tries: what else is on its way (connections being made) only adds. */
static int measure_barriers(bench *b) {
  b->barrier_bytes = INT64_MAX;
  for (int i = 0; i < BARRIER_TRIES; i++) {
    TRY(barrier(b));
    int64_t before = comm_wire_bytes(b->comm);
    TRY(barrier(b));
    TRY(barrier(b));
    int64_t bytes = comm_wire_bytes(b->comm) - before;
    if (bytes < b->barrier_bytes) b->barrier_bytes = bytes;
  }
  return ERROR_NONE;
}

static int join_group(bench *b, const bench_case *one) {
  int member = b->comm->rank < one->ranks;
  if (b->ranks == one->ranks && b->algorithm == one->algorithm) return ERROR_NONE;
  leave_group(b);
  TRY(split(b, member, &b->control));
  int forced = choices[one->algorithm] != FORCE_NOTHING, code = forced ? force_set(choices[one->algorithm]) : ERROR_NONE;
  TRY(comm_agree(b->comm, code));
  code = split(b, member, &b->group);
  if (forced && !code) code = force_restore();
  if (!code && member) code = count_nodes(b);
  if (!code && member) code = measure_barriers(b);
  TRY(comm_agree(b->comm, code));
  b->ranks = one->ranks;
  b->algorithm = one->algorithm;
  return ERROR_NONE;
}

/* ---- a repetition ---- */

/* What the ranks of the group tell each other after each repetition. */
enum { WORST_SECONDS, WORST_WIRE, WORST_COUNTED, WORST_SPENT, WORST_CODE, WORSTS };
enum { SUM_SECONDS, SUM_WIRE, SUM_COUNTED, SUMS };

typedef struct shared {
  double worst[WORSTS], sum[SUMS];
  int rounds;
} shared;

static int sum_message(const bench *b, const bench_case *one, const bench_message *m, allreduce_counts *counts) {
  if (bench_is_own(one->algorithm)) {
    allreduce_counts call;
    TRY(allreduce_run(b->group, own_of(one->algorithm), m->kind, b->vector, m->count, b->scratch, &call));
    counts->rounds += call.rounds;
    counts->sent_bytes += call.sent_bytes;
    counts->received_bytes += call.received_bytes;
    return ERROR_NONE;
  }
  return comm_check(MPI_Allreduce(MPI_IN_PLACE, b->vector, (int)m->count, allreduce_type(m->kind), allreduce_operation(m->kind), b->group), "MPI_Allreduce");
}

static int check_counts(const bench *b, const bench_case *one, const bench_message *m, const allreduce_counts *counts) {
  if (!bench_is_own(one->algorithm)) return ERROR_NONE;
  allreduce_counts plan = allreduce_plan(own_of(one->algorithm), one->ranks, b->comm->rank, m->count, elements[m->kind].bytes);
  if (plan.rounds == counts->rounds && plan.sent_bytes == counts->sent_bytes && plan.received_bytes == counts->received_bytes) return ERROR_NONE;
  return FAIL(ERROR_INTERNAL, NULL, "%s of %lld numbers over %d ranks: rank %d sent %lld bytes, and the formula says %lld",
              bench_algorithm_names[one->algorithm], (long long)m->count, one->ranks, b->comm->rank, (long long)counts->sent_bytes, (long long)plan.sent_bytes);
}

static int check_sums(const bench *b, const bench_case *one, const bench_message *m) {
  int64_t wrong = pattern_check(m->kind, one->ranks, m->count, b->vector);
  if (wrong < 0) return ERROR_NONE;
  return FAIL(ERROR_SYSTEM, "the MPI library or the memory of a machine is at fault", "%s over %d ranks: number %lld of %lld is a wrong sum on rank %d",
              bench_algorithm_names[one->algorithm], one->ranks, (long long)wrong, (long long)m->count, b->comm->rank);
}

/* One message of a repetition: fresh numbers, a common start, and this rank's time, bytes and counters added to `mine`. */
static int time_message(bench *b, const bench_case *one, const bench_message *m, int checks, shared *mine) {
  allreduce_counts counts = {0};
  pattern_fill(m->kind, one->ranks, b->comm->rank, m->count, b->vector);
  TRY(barrier(b));
  int64_t before = comm_wire_bytes(b->comm);
  TRY(barrier(b));
  double start = clock_wall_s();
  int code = sum_message(b, one, m, &counts);
  double seconds = clock_wall_s() - start;
  TRY(code);
  TRY(barrier(b));
  int64_t after = comm_wire_bytes(b->comm), bytes = before < 0 || after < 0 ? 0 : after - before - b->barrier_bytes;
  mine->worst[WORST_SECONDS] += seconds;
  mine->worst[WORST_WIRE] += (double)(bytes > 0 ? bytes : 0);
  mine->worst[WORST_COUNTED] += (double)counts.sent_bytes;
  mine->rounds += counts.rounds;
  TRY(check_counts(b, one, m, &counts));
  return checks ? check_sums(b, one, m) : ERROR_NONE;
}

/* *all: equal on all ranks of the group, so that they decide alike. An error of MPI's own is not survived: the others may wait for ever. */
static int repeat(bench *b, const bench_case *one, int checks, shared *all) {
  shared mine = {0};
  double start = clock_wall_s();
  int code = ERROR_NONE;
  for (int i = 0; i < BENCH_MESSAGES; i++)
    if (one->messages[i].count) {
      int failed = time_message(b, one, &one->messages[i], checks, &mine);
      if (!code) code = failed;
    }
  mine.sum[SUM_SECONDS] = mine.worst[WORST_SECONDS];
  mine.sum[SUM_WIRE] = mine.worst[WORST_WIRE];
  mine.sum[SUM_COUNTED] = mine.worst[WORST_COUNTED];
  mine.worst[WORST_SPENT] = clock_wall_s() - start;
  mine.worst[WORST_CODE] = code;
  *all = mine;
  int told = comm_check(MPI_Allreduce(mine.worst, all->worst, WORSTS, MPI_DOUBLE, MPI_MAX, b->control), "MPI_Allreduce");
  if (!told) told = comm_check(MPI_Allreduce(mine.sum, all->sum, SUMS, MPI_DOUBLE, MPI_SUM, b->control), "MPI_Allreduce");
  return code ? code : told;
}

/* ---- a case ---- */

static bench_sample sample_of(const bench *b, const bench_case *one, const shared *all) {
  int known = comm_wire_bytes(b->comm) >= 0;
  return (bench_sample){.seconds = all->worst[WORST_SECONDS],
                        .seconds_mean = all->sum[SUM_SECONDS] / one->ranks,
                        .wire_mean = known ? all->sum[SUM_WIRE] / one->ranks : NAN,
                        .wire_max = known ? (int64_t)all->worst[WORST_WIRE] : -1};
}

/* Warm-ups make the connections and touch the memory; the first one's sums are checked. */
static int warm_up(bench *b, const bench_case *one, const bench_limits *limits, int *failed) {
  double spent = 0;
  *failed = 0;
  for (int i = 0; i < WARM_UPS && !*failed && (i == 0 || spent < limits->seconds / 4); i++) {
    shared all;
    TRY(repeat(b, one, i == 0, &all));
    spent += all.worst[WORST_SPENT];
    *failed = all.worst[WORST_CODE] != 0;
  }
  return ERROR_NONE;
}

static int measure(bench *b, const bench_case *one, const bench_limits *limits, bench_sample *samples, bench_result *result) {
  double spent = 0;
  int failed, own = bench_is_own(one->algorithm);
  TRY(warm_up(b, one, limits, &failed));
  for (int i = 0; i < limits->repetitions && !failed && (i < BENCH_LEAST || spent < limits->seconds); i++) {
    shared all;
    TRY(repeat(b, one, 0, &all));
    spent += all.worst[WORST_SPENT];
    failed = all.worst[WORST_CODE] != 0;
    if (b->comm->rank != 0) continue;
    samples[i] = sample_of(b, one, &all);
    *result = (bench_result){.nodes = b->nodes,
                             .samples = i + 1,
                             .rounds = own ? all.rounds : -1,
                             .counted_mean = own ? all.sum[SUM_COUNTED] / one->ranks : NAN,
                             .counted_max = own ? (int64_t)all.worst[WORST_COUNTED] : -1};
  }
  return ERROR_NONE;
}

/* ---- the end of a case ---- */

/* All ranks meet; those that have nothing to do sleep instead of taking a core from those that are timed. */
static int meet(const comm *c) {
  MPI_Request request;
  int done = 0;
  TRY(comm_check(MPI_Ibarrier(c->world, &request), "MPI_Ibarrier"));
  while (!done) {
    TRY(comm_check(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "MPI_Test"));
    if (!done) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  }
  return ERROR_NONE;
}

int bench_measure(bench *b, const bench_case *one, const bench_limits *limits, bench_sample *samples, bench_result *result) {
  TRY(join_group(b, one));
  int code = b->comm->rank < one->ranks ? measure(b, one, limits, samples, result) : ERROR_NONE, met = meet(b->comm);
  return comm_agree(b->comm, code ? code : met);
}

/* ---- over the repetitions ---- */

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

int bench_summarize(const bench_sample *samples, int count, bench_summary *result) {
  double *seconds = malloc((size_t)count * sizeof *seconds), bytes = 0;
  if (!seconds) return FAIL(ERROR_MEMORY, NULL, "out of memory");
  *result = (bench_summary){.wire_max = -1};
  for (int i = 0; i < count; i++) {
    seconds[i] = samples[i].seconds;
    bytes += samples[i].wire_mean;
    if (samples[i].wire_max > result->wire_max) result->wire_max = samples[i].wire_max;
  }
  qsort(seconds, (size_t)count, sizeof *seconds, by_size);
  result->min = seconds[0];
  result->median = (seconds[(count - 1) / 2] + seconds[count / 2]) / 2;
  result->p90 = seconds[(9 * (int64_t)count + 9) / 10 - 1];
  result->wire_mean = bytes / count;
  free(seconds);
  return ERROR_NONE;
}
