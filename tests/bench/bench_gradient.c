/* How fast forward and backward are: tokens per second, GFLOP/s and the share of the FMA peak that the same cores reach in the same process.
 *
 * MiniLM-L6's shape, batches of 32 sequences with the lengths of SST-2 (mean about 14 tokens, 95 % below 34), whole sequences packed into shards, one shard
 * per thread. Only useful work counts (tests/support/useful_flop.h); norms, activations and softmax are in the time but not in the FLOP.
 * Methods take turns within each round, and the peak is probed before and after each round, so that a noisy machine disturbs both sides alike.
 *
 * usage: bench_gradient [THREADS] [ROUNDS]
 */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "linalg/linalg.h"
#include "support/useful_flop.h"
#include "support/workload.h"

static const double PEAK_S = 0.05;
enum { MAX_METHODS = 16, MAX_THREADS = WORKLOAD_SHARDS_MAX, MAX_ROUNDS = 101 };

/* FLOP/s of all threads together. */
static double probe_peak(int threads) {
  double total = 0;
#pragma omp parallel num_threads(threads) reduction(+ : total)
  total += linalg_peak(LINALG_F32, PEAK_S);
  return total;
}

/* ---- the work ---- */

typedef struct subject {
  const method *method;
  option_set options;
  model *model;
  real *theta;
  real *gradient[MAX_THREADS];
  model_workspace *workspace[MAX_THREADS];
  double flop; /* of all batches */
  double seconds[MAX_ROUNDS], rate[MAX_ROUNDS];
} subject;

static int make_subject(const method *m, const workload *w, real *store, int threads, arena *memory, subject *s) {
  model_shape shape;
  s->method = m;
  TRY(model_shape_known("minilm-l6", &shape));
  TRY(workload_options(m, memory, &s->options));
  model_options options = {.objective = MODEL_CLASSIFY, .classes = 2, .seed = 1};
  TRY(model_create(&shape, &options, m, &s->options, &s->model));
  TRY(model_attach(s->model, store));
  TRY(arena_take(memory, (size_t)model_theta_count(s->model), sizeof(real), &s->theta));
  TRY(model_init_theta(s->model, s->theta));
  TRY(model_expand(s->model, s->theta));
  for (int t = 0; t < threads; t++) {
    TRY(arena_take(memory, (size_t)model_theta_count(s->model), sizeof(real), &s->gradient[t]));
    TRY(model_workspace_create(s->model, w->sizes.tokens, w->sizes.sequences, 0, w->sizes.squares, 1, &s->workspace[t]));
  }
  s->flop = useful_flop_count(s->model, w->tokens, w->squares, BATCH * BATCHES).total;
  return ERROR_NONE;
}

static int run_once(subject *s, workload *w, int threads, double *seconds) {
  int failed = 0;
  double start = clock_wall_s();
  for (int b = 0; b < BATCHES; b++) {
#pragma omp parallel num_threads(threads) reduction(+ : failed)
    {
      int t = omp_get_thread_num();
      model_sums sums = {0};
      const batch *shard = workload_shard(w, b, t);
      failed += model_gradient(s->model, s->workspace[t], shard, s->gradient[t], &sums, NULL) != 0;
      failed += model_gather(s->model, s->workspace[t], s->gradient[t]) != 0;
    }
  }
  *seconds = clock_wall_s() - start;
  return failed ? FAIL(ERROR_INTERNAL, NULL, "%s: a shard failed", s->method->name) : ERROR_NONE;
}

static int bench(int threads, int rounds) {
  static workload work;
  static subject subjects[MAX_METHODS];
  static double peaks[2 * MAX_ROUNDS];
  arena *memory;
  real *store;
  model_shape shape;
  int count = 0;
  TRY(linalg_setup());
  TRY(arena_create(&memory));
  TRY(model_shape_known("minilm-l6", &shape));
  TRY(workload_make(shape.vocabulary, threads, memory, &work));
  for (; method_list[count] && count < MAX_METHODS; count++) {
    if (count == 0) { /* the base values are the same for every method */
      model *first;
      subject *s = &subjects[0];
      model_options options = {.objective = MODEL_CLASSIFY, .classes = 2, .seed = 1};
      TRY(workload_options(method_list[0], memory, &s->options));
      TRY(model_create(&shape, &options, method_list[0], &s->options, &first));
      TRY(arena_take(memory, (size_t)model_store_count(first), sizeof *store, &store));
      TRY(model_attach(first, store));
      TRY(model_randomize(first));
      model_destroy(first);
    }
    TRY(make_subject(method_list[count], &work, store, threads, memory, &subjects[count]));
  }
  for (int round = -1; round < rounds; round++) { /* the first round warms up */
    double before = probe_peak(threads);
    for (int i = 0; i < count; i++) {
      double seconds;
      TRY(run_once(&subjects[i], &work, threads, &seconds));
      if (round < 0) continue;
      subjects[i].seconds[round] = seconds;
    }
    double after = probe_peak(threads), peak = 0.5 * (before + after);
    if (round < 0) continue;
    peaks[round] = peak;
    for (int i = 0; i < count; i++) {
      subject *s = &subjects[i];
      s->rate[round] = s->flop / s->seconds[round] / peak;
    }
  }
  double peak = workload_median(peaks, rounds);
  printf("forward and backward, MiniLM-L6 shape, batch %d, %.1f tokens a sentence, %d thread(s), %d rounds\n", BATCH, work.tokens / (BATCH * BATCHES), threads,
         rounds);
  const char *forced = getenv("OPENBLAS_CORETYPE");
  printf("FMA peak %.1f GFLOP/s (%d bits); BLAS kernels for %s%s\n", peak / 1e9, linalg_peak_bits(LINALG_F32), linalg_core(),
         forced && *forced ? ", forced by OPENBLAS_CORETYPE" : "");
  printf("FLOP: products that the method needs, on real tokens (tests/support/useful_flop.h)\n\n%-10s %12s %12s %10s %22s\n", "method", "tokens/s", "ms/batch",
         "GFLOP/s", "share of peak (range)");
  for (int i = 0; i < count; i++) {
    subject *s = &subjects[i];
    double share = workload_median(s->rate, rounds), low = s->rate[0], high = s->rate[rounds - 1], seconds = workload_median(s->seconds, rounds);
    printf("%-10s %12.0f %12.1f %10.1f %8.1f %% (%.1f - %.1f)\n", s->method->name, work.tokens / seconds, 1e3 * seconds / BATCHES, s->flop / seconds / 1e9,
           100 * share, 100 * low, 100 * high);
  }
  for (int i = 0; i < count; i++) {
    for (int t = 0; t < threads; t++) model_workspace_destroy(subjects[i].workspace[t]);
    model_destroy(subjects[i].model);
  }
  arena_destroy(memory);
  return ERROR_NONE;
}

int main(int argc, char **argv) {
  int64_t threads = 1, rounds = 5;
  if ((argc > 1 && text_to_int(argv[1], &threads)) || (argc > 2 && text_to_int(argv[2], &rounds)) || threads < 1 || threads > MAX_THREADS || rounds < 1 ||
      rounds > MAX_ROUNDS) {
    fprintf(stderr, "usage: bench_gradient [THREADS 1..%d] [ROUNDS 1..%d]\n", MAX_THREADS, MAX_ROUNDS);
    return 2;
  }
  if (bench((int)threads, (int)rounds)) {
    log_error(error_last());
    return 1;
  }
  return 0;
}
