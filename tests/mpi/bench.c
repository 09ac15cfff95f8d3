/* ranks: 1 2 3 4 6 */
/* Measuring all-reduces: every algorithm, ranks that are left out, exact messages, repetitions and their limits; bytes over TCP are what the algorithms are
 * known to send, so that a forced algorithm is seen to be the one that ran. */
#include "comm/bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "comm/pattern.h"
#include "support/checks.h"

enum { REPETITIONS = 4, HEADERS = 4096 };

static int rank, size;

static bench_case floats(int ranks, bench_algorithm a, int64_t count) { return (bench_case){ranks, a, {{ELEMENT_FLOAT_SUM, count}}}; }

static void measure(const bench_case *one, const bench_limits *limits, bench_sample *samples, bench_result *result) {
  bench *b;
  memset(result, 0, sizeof *result);
  CHECK_DONE(bench_create(world, one, 1, &b));
  if (!b) return;
  CHECK_DONE(bench_measure(b, one, limits, samples, result));
  bench_destroy(b);
}

/* ---- what is measured ---- */

static int is_power(int n) { return (n & (n - 1)) == 0; }

/* Mean bytes sent per rank by Open MPI's algorithms as they are published, and by our own. */
static double known_bytes(const bench_case *one) {
  double bytes = (double)bench_payload(one);
  int n = one->ranks;
  switch (one->algorithm) {
    case BENCH_MPI_DOUBLING: return allreduce_plan_all(ALLREDUCE_DOUBLING, n, one->messages[0].count, 4).mean_bytes;
    case BENCH_MPI_RING:
    case BENCH_MPI_SEGMENTED_RING: return 2.0 * (n - 1) / n * bytes;
    case BENCH_MPI_RABENSEIFNER: return is_power(n) ? 2.0 * (n - 1) / n * bytes : NAN; /* folds in its own way */
    case BENCH_MPI: return NAN;
    default: return allreduce_plan_all((allreduce_algorithm)(one->algorithm - BENCH_DOUBLING), n, one->messages[0].count, 4).mean_bytes;
  }
}

static void bytes_are_known(int ranks, bench_algorithm a, int64_t count) {
  bench_case one = floats(ranks, a, count);
  bench_sample samples[REPETITIONS];
  bench_result result;
  measure(&one, &(bench_limits){REPETITIONS, 100}, samples, &result);
  if (rank) return;
  double known = known_bytes(&one);
  CHECK(result.samples == REPETITIONS && result.nodes == 1);
  if (bench_is_own(a)) {
    allreduce_totals plan = allreduce_plan_all((allreduce_algorithm)(a - BENCH_DOUBLING), ranks, count, 4);
    CHECK(result.rounds == plan.rounds && result.counted_mean == plan.mean_bytes && result.counted_max == plan.max_sent_bytes);
  } else {
    CHECK(result.rounds == -1 && isnan(result.counted_mean) && result.counted_max == -1);
  }
  for (int i = 0; i < REPETITIONS; i++) {
    const bench_sample *s = &samples[i];
    int first = checks_failed;
    CHECK(s->seconds > 0 && s->seconds_mean > 0 && s->seconds_mean <= s->seconds * (1 + 1e-9));
    CHECK(s->wire_mean >= 0 && (double)s->wire_max >= s->wire_mean);
    CHECK(ranks > 1 || s->wire_max == 0);
    if (ranks > 1 && !isnan(known)) CHECK(s->wire_mean >= known && s->wire_mean <= 1.02 * known + HEADERS);
    if (checks_failed > first)
      fprintf(stderr, "  %s, %d ranks, %lld numbers: %.0f bytes, known %.0f\n", bench_algorithm_names[a], ranks, (long long)count, s->wire_mean, known);
  }
}

/* An algorithm of another MPI library. */
static void is_refused(bench_algorithm a) {
  bench *b;
  bench_case one = floats(size, a, 1);
  CHECK(bench_create(world, &one, 1, &b) == ERROR_USAGE && !b);
  CHECK(strstr(error_last()->text, comm_library()) && strstr(error_last()->text, "Open MPI's"));
}

/* The levels and the integers of an exact sum are one case. */
static void exact_messages(void) {
  bench_case one = {size, BENCH_RING, {{ELEMENT_BYTE_MAX, 27}, {ELEMENT_INT64_SUM, 5003}}};
  bench_sample samples[REPETITIONS];
  bench_result result;
  CHECK(bench_payload(&one) == 27 + 8 * 5003);
  measure(&one, &(bench_limits){REPETITIONS, 100}, samples, &result);
  allreduce_totals levels = allreduce_plan_all(ALLREDUCE_RING, size, 27, 1), sums = allreduce_plan_all(ALLREDUCE_RING, size, 5003, 8);
  if (rank) return;
  CHECK(result.rounds == levels.rounds + sums.rounds);
  CHECK(fabs(result.counted_mean - levels.mean_bytes - sums.mean_bytes) < 1e-6);
}

/* Time is up at once: still three repetitions, and no more than were asked for. */
static void limits(void) {
  bench_case one = floats(size, BENCH_MPI, 1000);
  bench_sample samples[1000];
  bench_result result;
  const struct {
    bench_limits limits;
    int samples;
  } known[] = {{{1000, 0}, BENCH_LEAST}, {{1, 100}, 1}, {{2, 0}, 2}, {{7, 100}, 7}};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    measure(&one, &known[i].limits, samples, &result);
    CHECK(rank || result.samples == known[i].samples);
  }
}

static void refusals(void) {
  bench *b = NULL;
  bench_case many = floats(size + 1, BENCH_MPI, 1), none = floats(0, BENCH_MPI, 1), large = floats(size, BENCH_MPI, (int64_t)1 << 31),
             huge = floats(size, BENCH_RING, ((int64_t)1 << 31) - 1);
  CHECK(bench_create(world, &many, 1, &b) == ERROR_USAGE && !b);
  CHECK(bench_create(world, &none, 1, &b) == ERROR_USAGE && !b);
  CHECK(bench_create(world, &large, 1, &b) == ERROR_USAGE && !b && strstr(error_last()->text, "2147483648"));
  bench_case huge_exact = huge;
  huge_exact.messages[0].kind = ELEMENT_INT64_SUM;
  if (bench_create(world, &huge_exact, 1, &b) == ERROR_NONE) bench_destroy(b); /* 34 GB: a machine may have them */
  else CHECK(error_last()->code == ERROR_MEMORY && strstr(error_last()->text, "left"));
}

/* ---- the numbers that are summed ---- */

static void wrong_sums_are_seen(void) {
  enum { COUNT = 2000 };
  static union {
    float f[COUNT];
    int64_t i[COUNT];
    uint8_t b[COUNT];
  } sum, part;
  for (int kind = 0; kind < ELEMENT_KINDS; kind++)
    for (int ranks = 1; ranks <= 9; ranks++) {
      pattern_fill(kind, ranks, 0, COUNT, &sum);
      for (int r = 1; r < ranks; r++) {
        CHECK(pattern_check(kind, ranks, COUNT, &sum) >= 0); /* one is missing still */
        pattern_fill(kind, ranks, r, COUNT, &part);
        elements[kind].combine(COUNT, &part, &sum);
      }
      CHECK(pattern_check(kind, ranks, COUNT, &sum) == -1);
      char *bytes = (char *)&sum;
      int width = elements[kind].bytes;
      memmove(bytes + 700 * width, bytes + 701 * width, (size_t)((COUNT - 701) * width)); /* at another place */
      CHECK(pattern_check(kind, ranks, COUNT, &sum) == 700);
    }
}

int main(int argc, char **argv) {
  checks_over_tcp();
  bench_allow_forced();
  if (checks_begin(&argc, &argv)) return 1;
  rank = comm_rank(world);
  size = comm_size(world);
  wrong_sums_are_seen();
  for (int a = 0; a < BENCH_ALGORITHMS; a++) {
    if (!bench_exists(a)) is_refused(a);
    for (int ranks = size; ranks >= 1 && bench_exists(a); ranks = ranks > 2 ? 2 : ranks - 1)
      for (int64_t count = 1; count <= 1000000; count = count == 1 ? 3001 : count * 333) bytes_are_known(ranks, a, count);
  }
  exact_messages();
  limits();
  refusals();
  return checks_end();
}
