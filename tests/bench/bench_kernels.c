/* What the vector kernels cost, at every level that the program has and the processor can run: nanoseconds per number for passes over rows (once with rows in
 * the first cache, once with the rows of a shard of SST-2-like sentences, which stand in the last), and GFLOP/s for attention by length.
 *
 * usage: bench_kernels [ROUNDS]      the best of so many rounds, 20; CPU time of the thread
 */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "linalg/linalg.h"
#include "support/levels.h"

enum { WIDTH = 384, FFN = 1536, ROWS = 210, FEW = 3, LONGEST = 512 };

/* ---- what is timed ---- */

static float *x, *y, *z, *hat, *gain, *shift, *deviation, *share, *context, *gradient, *scratch;
static uint16_t *half, *narrow;
static uint64_t stream[FFN], element[FFN];
static linalg_mask mask = {.p = 0.1, .stream = stream, .first_element = element};
static linalg_attention head;

static void gelu(int n) { linalg_gelu((int64_t)n * FFN, x, y, z); }
static void gelu_alone(int n) { linalg_gelu((int64_t)n * FFN, x, y, NULL); }
static void slope(int n) { linalg_multiply((int64_t)n * FFN, x, z); }
static void to_bf16(int n) { linalg_to_bf16((int64_t)n * FFN, x, half); }
static void gelu_to_bf16(int n) { linalg_gelu_to_bf16((int64_t)n * FFN, x, half, narrow); }
static void slope_to_bf16(int n) { linalg_multiply_to_bf16((int64_t)n * FFN, narrow, x, half); }
static void bias_gradient(int n) { linalg_column_sum(n, FFN, x, FFN, gain); }
static void join(int n) { linalg_join_norm_forward(n, WIDTH, NULL, x, y, gain, shift, 1e-12, hat, deviation, y); }
static void join_dropped(int n) { linalg_join_norm_forward(n, WIDTH, &mask, x, y, gain, shift, 1e-12, hat, deviation, y); }
static void join_back(int n) { linalg_join_norm_backward(n, WIDTH, NULL, x, gain, hat, deviation, y, NULL, NULL, NULL); }
static void join_back_dropped(int n) { linalg_join_norm_backward(n, WIDTH, &mask, x, gain, hat, deviation, y, z, NULL, NULL); }
static void join_back_trained(int n) { linalg_join_norm_backward(n, WIDTH, NULL, x, gain, hat, deviation, y, NULL, gradient, gradient + WIDTH); }
static void dropout(int n) { linalg_dropout(n, WIDTH, &mask, x, WIDTH, y, WIDTH, 0); }
static void softmax(int n) { linalg_softmax(n, WIDTH, z, WIDTH); }
static void tanh_(int n) { linalg_tanh((int64_t)n * WIDTH, x, y); }

static const struct {
  const char *name;
  void (*run)(int n);
  int width;
} passes[] = {
    {"gelu and slope", gelu, FFN},
    {"gelu alone", gelu_alone, FFN},
    {"multiply by slope", slope, FFN},
    {"to bfloat16", to_bf16, FFN},
    {"gelu, to bfloat16", gelu_to_bf16, FFN},
    {"its slope's product", slope_to_bf16, FFN},
    {"column sum", bias_gradient, FFN},
    {"join, norm", join, WIDTH},
    {"join, norm, dropout", join_dropped, WIDTH},
    {"its backward", join_back, WIDTH},
    {"with dropout", join_back_dropped, WIDTH},
    {"with gain and shift", join_back_trained, WIDTH},
    {"dropout", dropout, WIDTH},
    {"softmax", softmax, WIDTH},
    {"tanh", tanh_, WIDTH},
};

static void forward(int n) {
  for (int i = 0; i < n; i++) linalg_attention_forward(&head, x, x + 3 * WIDTH * LONGEST, y, share, context, scratch);
}
static void backward(int n) {
  for (int i = 0; i < n; i++)
    linalg_attention_backward(&head, x, x + 3 * WIDTH * LONGEST, y, share, context, gradient, gradient + head.width, gradient + 2 * head.width, scratch);
}

/* ---- timing ---- */

static double now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds of one call, the best of `rounds`, each of which runs for about a millisecond. */
static double best_s(void (*run)(int), int n, int rounds) {
  int calls = 1;
  double best = INFINITY;
  for (int round = -1; round < rounds; round++) {
    double start = now_s();
    for (int i = 0; i < calls; i++) run(n);
    double each = (now_s() - start) / calls;
    if (round < 0) calls = each > 1e-3 ? 1 : (int)(1e-3 / (each > 1e-9 ? each : 1e-9)) + 1;
    else if (each < best) best = each;
  }
  return best;
}

static float *take(int64_t count, double deviation_) {
  float *values = aligned_alloc(64, ((size_t)count * sizeof *values + 63) / 64 * 64);
  if (values) random_fill_normal(random_key_make(1, RANDOM_TEST, 0), 0, count, (float)deviation_, values);
  return values;
}

static void bench(int rounds) {
  printf("\n%-22s %18s %18s\n", "ns a number", "first cache", "a shard");
  for (size_t i = 0; i < sizeof passes / sizeof *passes; i++) {
    double near = best_s(passes[i].run, FEW, rounds) / FEW, far = best_s(passes[i].run, ROWS, rounds) / ROWS;
    printf("%-22s %18.3f %18.3f\n", passes[i].name, 1e9 * near / passes[i].width, 1e9 * far / passes[i].width);
  }
  printf("\n%-22s %8s %8s %8s %8s   GFLOP/s\n", "attention", "forward", "dropped", "backward", "dropped");
  static const int lengths[] = {5, 13, 16, 24, 32, 48, 64, 128, 256, LONGEST}, widths[] = {32, 64};
  for (int k = 0; k < 2; k++)
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
      double length = lengths[i], width = widths[k], flop = 4 * length * length * width, rate[4];
      for (int way = 0; way < 4; way++) {
        head =
            (linalg_attention){.length = lengths[i], .width = widths[k], .queries = lengths[i], .stride = 3 * WIDTH, .context_stride = WIDTH, .scale = 0.125f};
        head.p = way % 2 ? 0.1 : 0;
        rate[way] = (way < 2 ? flop : 2 * flop) / best_s(way < 2 ? forward : backward, 1, rounds) * 1e-9;
      }
      printf("length %3d width %2d    %8.1f %8.1f %8.1f %8.1f\n", lengths[i], widths[k], rate[0], rate[1], rate[2], rate[3]);
    }
}

static int run(int rounds) {
  int64_t most = (int64_t)ROWS * FFN > 6 * WIDTH * LONGEST ? (int64_t)ROWS * FFN : 6 * WIDTH * LONGEST;
  mask.key = random_key_make(1, RANDOM_TEST, 1);
  for (int i = 0; i < ROWS; i++) element[i] = (uint64_t)i * WIDTH;
  TRY(linalg_setup());
  float **all[] = {&x, &y, &z, &hat, &context, &gradient};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    if (!(*all[i] = take(most, 1))) return FAIL(ERROR_MEMORY, NULL, "out of memory");
  gain = take(FFN, 1), shift = take(FFN, 1), deviation = take(ROWS, 1), share = take(LONGEST * LONGEST, 1), half = calloc((size_t)most, sizeof *half),
  narrow = calloc((size_t)most, sizeof *narrow);
  scratch = take(levels_attention_scratch(LONGEST, 64), 1);
  if (!gain || !shift || !deviation || !share || !half || !narrow || !scratch) return FAIL(ERROR_MEMORY, NULL, "out of memory");
  for (int i = 0; i < LEVELS; i++)
    if (level_use(i)) {
      printf("\n==== %s\n", linalg_core());
      bench(rounds);
    }
  return ERROR_NONE;
}

int main(int argc, char **argv) {
  int64_t rounds = 20;
  if ((argc > 1 && text_to_int(argv[1], &rounds)) || rounds < 1 || rounds > 100000) {
    fprintf(stderr, "usage: bench_kernels [ROUNDS]\n");
    return 2;
  }
  if (run((int)rounds)) {
    log_error(error_last());
    return 1;
  }
  return 0;
}
