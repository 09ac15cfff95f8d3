/* Products with laid-out weights: against plain loops, a row by itself, from several threads, and what is refused. For each backend and precision that this
 * build and processor have. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "linalg/linalg.h"

static const struct {
  linalg_backend backend;
  linalg_precision precision;
} kinds[] = {{LINALG_OPENBLAS, LINALG_F32}, {LINALG_ONEDNN, LINALG_F32}, {LINALG_ONEDNN, LINALG_BF16}};
enum { KINDS = sizeof kinds / sizeof *kinds };

static int is_there(int kind) { return linalg_backend_check(kinds[kind].backend, kinds[kind].precision) == ERROR_NONE; }

static int setup(void **state) {
  (void)state;
  for (int kind = 0; kind < KINDS; kind++)
    if (!is_there(kind)) printf("# %s %s: %s\n", linalg_backend_names[kinds[kind].backend], linalg_precision_names[kinds[kind].precision], error_last()->text);
  return linalg_setup();
}

static float *draw(uint64_t stream, int64_t count) {
  float *values = malloc((size_t)count * sizeof *values);
  assert_non_null(values);
  random_fill_normal(random_key_make(31, RANDOM_TEST, 0), stream, count, 1, values);
  return values;
}

static void *take(int64_t bytes) {
  void *memory = aligned_alloc(64, (size_t)(bytes + 63) / 64 * 64);
  assert_non_null(memory);
  return memory;
}

static int64_t padded(int n) { return (n + LINALG_ROW_BLOCK - 1) / LINALG_ROW_BLOCK * LINALG_ROW_BLOCK; }

/* A map with a weight, laid out where its backend does so. */
typedef struct bench {
  linalg_map *map;
  linalg_desk *desk;
  linalg_weight weight;
  float *plain;
  void *forward, *backward;
  int out, in;
} bench;

static bench make(int kind, int out, int in, int rows) {
  bench b = {.out = out, .in = in, .plain = draw(1, (int64_t)out * in)};
  assert_int_equal(linalg_map_create(kinds[kind].backend, kinds[kind].precision, out, in, &b.map), ERROR_NONE);
  assert_int_equal(linalg_desk_create(rows, out > in ? out : in, kinds[kind].precision, &b.desk), ERROR_NONE);
  int64_t forward = linalg_map_forward_bytes(b.map), backward = linalg_map_backward_bytes(b.map);
  assert_int_equal(forward > 0, kinds[kind].backend == LINALG_ONEDNN);
  b.forward = forward ? take(forward) : NULL;
  b.backward = backward ? take(backward) : NULL;
  assert_int_equal(linalg_map_lay_out(b.map, b.plain, b.forward, b.backward), ERROR_NONE);
  b.weight = (linalg_weight){b.forward ? NULL : b.plain, b.forward, b.backward}; /* laid out, W itself is not needed */
  return b;
}

static void drop(bench *b) {
  linalg_desk_destroy(b->desk);
  linalg_map_destroy(b->map);
  free(b->plain);
  free(b->forward);
  free(b->backward);
}

static float rounded(float x, linalg_precision precision) {
  uint16_t half;
  uint32_t bits;
  if (precision == LINALG_F32) return x;
  linalg_to_bf16(1, &x, &half);
  bits = (uint32_t)half << 16;
  memcpy(&x, &bits, sizeof x);
  return x;
}

/* x W^T + bias, or start + x W (backward), by plain loops in double on operands as the precision has them. */
static double expected(const bench *b, linalg_precision precision, int is_backward, const float *row, int j, double start) {
  double sum = start;
  for (int k = 0; k < (is_backward ? b->out : b->in); k++)
    sum += (double)rounded(row[k], precision) * (double)rounded(is_backward ? b->plain[(int64_t)k * b->in + j] : b->plain[(int64_t)j * b->in + k], precision);
  return sum;
}

enum { GUARD = 64 };

static void check_rows(int kind, const bench *b, int n) {
  linalg_precision precision = kinds[kind].precision;
  int64_t rows = padded(n), widest = b->out > b->in ? b->out : b->in;
  float *x = draw(2, rows * widest), *bias = draw(3, widest), *start = draw(4, rows * widest + GUARD), *y = malloc((size_t)(rows * widest + GUARD) * sizeof *y);
  assert_non_null(y);
  for (int call = 0; call < 4; call++) { /* forward without and with a bias; backward without and with what was there */
    int is_backward = call >= 2, adds = call == 3, from = is_backward ? b->out : b->in, to = is_backward ? b->in : b->out;
    memcpy(y, start, (size_t)(rows * widest + GUARD) * sizeof *y);
    for (int64_t i = 0; !adds && i < (int64_t)n * to; i++) y[i] = NAN; /* never read */
    int code = is_backward ? linalg_map_backward(b->map, b->desk, &b->weight, n, x, adds, y)
                           : linalg_map_forward(b->map, b->desk, &b->weight, call == 1 ? bias : NULL, n, x, y);
    assert_int_equal(code, ERROR_NONE);
    for (int i = 0; i < n; i++)
      for (int j = 0; j < to; j++) {
        double began = adds ? (double)start[(int64_t)i * to + j] : call == 1 ? (double)bias[j] : 0;
        double want = expected(b, precision, is_backward, x + (int64_t)i * from, j, began), got = y[(int64_t)i * to + j];
        if (!(fabs(got - want) <= 4e-7 * (from + 16))) /* float's rounding of sums of numbers around 1 */
          fail_msg("kind %d, %d x %d, %d rows, call %d: [%d][%d] is %.9g, not %.9g", kind, b->out, b->in, n, call, i, j, got, want);
      }
    assert_memory_equal(y + rows * to, start + rows * to, (size_t)(rows * widest + GUARD - rows * to) * sizeof *y); /* nothing behind the last block */
  }
  free(x);
  free(bias);
  free(start);
  free(y);
}

static void test_against_loops(void **state) {
  static const int shapes[][2] = {{1, 1}, {2, 3}, {5, 17}, {24, 40}, {96, 32}, {384, 384}, {33, 130}};
  static const int rows[] = {1, 2, 3, 4, 5, 7, 8, 15, 31, 63, 64, 65, 70, 127, 192, 197};
  (void)state;
  for (int kind = 0; kind < KINDS; kind++)
    for (size_t s = 0; is_there(kind) && s < sizeof shapes / sizeof *shapes; s++) {
      bench b = make(kind, shapes[s][0], shapes[s][1], 197);
      for (size_t n = 0; n < sizeof rows / sizeof *rows; n++)
        if ((int64_t)shapes[s][0] * shapes[s][1] * rows[n] < 3000000) check_rows(kind, &b, rows[n]);
      drop(&b);
    }
}

/* A row's bits are the same alone, among others, and whatever these others are. OpenBLAS does not promise that: a shard's rows never change there. */
static void test_rows_by_themselves(void **state) {
  enum { ALL = 211 };
  static const int shapes[][2] = {{384, 384}, {1152, 384}, {384, 1536}, {48, 20}};
  (void)state;
  for (int kind = 1; kind < KINDS; kind++)
    for (size_t s = 0; is_there(kind) && s < sizeof shapes / sizeof *shapes; s++) {
      int out = shapes[s][0], in = shapes[s][1];
      bench b = make(kind, out, in, ALL);
      float *x = draw(5, padded(ALL) * in), *dy = draw(6, padded(ALL) * out), *bias = draw(7, out), *y = malloc((size_t)(padded(ALL) * out) * sizeof *y),
            *dx = malloc((size_t)(padded(ALL) * in) * sizeof *dx), *part = malloc((size_t)(padded(ALL) * (out > in ? out : in)) * sizeof *part);
      assert_true(y && dx && part);
      assert_int_equal(linalg_map_forward(b.map, b.desk, &b.weight, bias, ALL, x, y), ERROR_NONE);
      assert_int_equal(linalg_map_backward(b.map, b.desk, &b.weight, ALL, dy, 0, dx), ERROR_NONE);
      for (int n = 1; n < 210; n += n < 9 ? 1 : n < 80 ? 13 : 32)
        for (int first = 0; first + n <= ALL; first += 37) {
          assert_int_equal(linalg_map_forward(b.map, b.desk, &b.weight, bias, n, x + (int64_t)first * in, part), ERROR_NONE);
          assert_memory_equal(part, y + (int64_t)first * out, (size_t)n * (size_t)out * sizeof *part);
          assert_int_equal(linalg_map_backward(b.map, b.desk, &b.weight, n, dy + (int64_t)first * out, 0, part), ERROR_NONE);
          assert_memory_equal(part, dx + (int64_t)first * in, (size_t)n * (size_t)in * sizeof *part);
        }
      free(x);
      free(dy);
      free(bias);
      free(y);
      free(dx);
      free(part);
      drop(&b);
    }
}

/* An operand that its maker puts into the desk gives the bits that the same floats would have given. */
static void test_operands_in_the_desk(void **state) {
  enum { N = 21, OUT = 96, IN = 130 };
  (void)state;
  for (int kind = 0; kind < KINDS; kind++) {
    if (!is_there(kind)) continue;
    bench b = make(kind, OUT, IN, N);
    float *x = draw(9, padded(N) * IN), *dy = draw(10, padded(N) * OUT), *bias = draw(11, OUT), *want = draw(12, padded(N) * IN),
          *got = draw(12, padded(N) * IN);
    uint16_t *operand = linalg_map_operand(b.map, b.desk, &b.weight, 0);
    assert_int_equal(operand != NULL, kinds[kind].precision == LINALG_BF16);
    if (operand) {
      const linalg_weight trained = {.plain = b.plain};
      assert_null(linalg_map_operand(b.map, b.desk, &trained, 0));
      assert_null(linalg_map_operand(b.map, b.desk, &trained, 1));
      assert_int_equal(linalg_map_forward(b.map, b.desk, &b.weight, bias, N, x, want), ERROR_NONE);
      linalg_to_bf16((int64_t)N * IN, x, operand);
      assert_int_equal(linalg_map_forward(b.map, b.desk, &b.weight, bias, N, NULL, got), ERROR_NONE);
      assert_memory_equal(got, want, (size_t)N * OUT * sizeof *got);
      for (int adds = 0; adds < 2; adds++) {
        memcpy(got, want, (size_t)(padded(N) * IN) * sizeof *got);
        assert_int_equal(linalg_map_backward(b.map, b.desk, &b.weight, N, dy, adds, want), ERROR_NONE);
        operand = linalg_map_operand(b.map, b.desk, &b.weight, 1);
        assert_non_null(operand);
        linalg_to_bf16((int64_t)N * OUT, dy, operand);
        assert_int_equal(linalg_map_backward(b.map, b.desk, &b.weight, N, NULL, adds, got), ERROR_NONE);
        assert_memory_equal(got, want, (size_t)N * IN * sizeof *got);
      }
    }
    free(x);
    free(dy);
    free(bias);
    free(want);
    free(got);
    drop(&b);
  }
}

static void test_threads(void **state) {
  enum { N = 54, ROUNDS = 400 };
  (void)state;
  for (int kind = 1; kind < KINDS; kind++) {
    if (!is_there(kind)) continue;
    bench b = make(kind, 96, 384, N);
    float *x = draw(8, padded(N) * 384), *want = malloc((size_t)(padded(N) * 96) * sizeof *want);
    int wrong = 0;
    assert_non_null(want);
    assert_int_equal(linalg_map_forward(b.map, b.desk, &b.weight, NULL, N, x, want), ERROR_NONE);
#pragma omp parallel num_threads(4) reduction(+ : wrong)
    {
      linalg_desk *own;
      float *y = malloc((size_t)(padded(N) * 96) * sizeof *y);
      int code = linalg_desk_create(N, 384, kinds[kind].precision, &own);
      for (int i = 0; i < ROUNDS && !code && y; i++) {
        code = linalg_map_forward(b.map, own, &b.weight, NULL, N, x, y);
        wrong += memcmp(y, want, sizeof *y * N * 96) != 0;
      }
      wrong += code || !y;
      linalg_desk_destroy(own);
      free(y);
    }
    assert_int_equal(wrong, 0);
    free(x);
    free(want);
    drop(&b);
  }
}

/* A trained weight has no layout: with any backend it is W itself that counts. */
static void test_plain_weights(void **state) {
  (void)state;
  for (int kind = 0; kind < KINDS; kind++) {
    if (!is_there(kind) || kinds[kind].precision == LINALG_BF16) continue;
    bench b = make(kind, 40, 24, 9);
    b.weight = (linalg_weight){.plain = b.plain};
    check_rows(kind, &b, 9);
    drop(&b);
  }
}

static void test_refusals(void **state) {
  linalg_map *map;
  (void)state;
  assert_int_equal(linalg_map_create(LINALG_OPENBLAS, LINALG_BF16, 8, 8, &map), ERROR_USAGE);
  assert_null(map);
  assert_non_null(strstr(error_last()->text, "bfloat16"));
  for (int kind = 1; kind < KINDS; kind++) {
    int code = linalg_map_create(kinds[kind].backend, kinds[kind].precision, 8, 8, &map);
    assert_int_equal(code, is_there(kind) ? ERROR_NONE : ERROR_USAGE);
    if (code) assert_true(*error_last()->hint != 0);
    linalg_map_destroy(map);
  }
  if (!is_there(2)) return;
  bench b = make(2, 16, 16, 4); /* more rows than the desk has room for would be written past its end */
  float x[16 * 16] = {0}, y[16 * 16];
  assert_int_equal(linalg_map_forward(b.map, b.desk, &b.weight, NULL, 16, x, y), ERROR_INTERNAL);
  drop(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_against_loops), cmocka_unit_test(test_rows_by_themselves), cmocka_unit_test(test_operands_in_the_desk),
      cmocka_unit_test(test_threads),       cmocka_unit_test(test_plain_weights),      cmocka_unit_test(test_refusals),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
