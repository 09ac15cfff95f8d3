/* The formula of what an all-reduce costs: known closed forms, and what must hold for any number of ranks. That it is what really happens:
 * tests/mpi/allreduce.c. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "comm/plan.h"

enum { MOST = 4096 };

static const int64_t counts[] = {1, 2, 3, 7, 1000, 76036, 22565376};
enum { COUNTS = sizeof counts / sizeof *counts };

/* All to 70, then around powers of two and a step that meets all sorts of numbers. */
static int next_ranks(int n) {
  int power = 64;
  if (n < 70) return n + 1;
  while (power * 2 <= n + 1) power *= 2;
  if (n + 1 >= 2 * power - 1 || n + 1 <= power + 1) return n + 1;
  return n + 37 < 2 * power - 1 ? n + 37 : 2 * power - 1;
}

static int log2_of(int power) {
  int log = 0;
  while (power > 1) power /= 2, log++;
  return log;
}

static int largest_power(int n) {
  int power = 1;
  while (2 * power <= n) power *= 2;
  return power;
}

static void what_is_sent_is_received(void **state) {
  (void)state;
  for (int n = 1; n <= MOST; n = next_ranks(n))
    for (int a = 0; a < ALLREDUCE_ALGORITHMS; a++)
      for (int i = 0; i < COUNTS; i++) {
        int64_t sent = 0, received = 0, most = 0;
        allreduce_totals all = allreduce_plan_all(a, n, counts[i], 4);
        for (int rank = 0; rank < n; rank++) {
          allreduce_counts one = allreduce_plan(a, n, rank, counts[i], 4);
          assert_int_equal(one.rounds, all.rounds);
          assert_true(one.sent_bytes >= 0 && one.received_bytes >= (n > 1 ? 4 * (int64_t)(counts[i] >= n) : 0));
          sent += one.sent_bytes;
          received += one.received_bytes;
          if (one.sent_bytes > most) most = one.sent_bytes;
        }
        assert_true(sent == received);
        assert_true(most == all.max_sent_bytes && all.max_received_bytes >= all.mean_bytes && (double)most >= all.mean_bytes);
        assert_true(fabs(all.mean_bytes * n - (double)sent) <= 1e-9 * (double)sent);
        /* No algorithm can do with less: every rank's numbers must leave it, and every sum must reach all but one. */
        assert_true(sent >= 4 * 2 * (int64_t)(n - 1) * counts[i]);
      }
}

static void rounds_are_known(void **state) {
  (void)state;
  for (int n = 2; n <= MOST; n = next_ranks(n))
    for (int i = 0; i < COUNTS; i++) {
      int log = log2_of(largest_power(n)), folds = n != largest_power(n);
      assert_int_equal(allreduce_plan_all(ALLREDUCE_DOUBLING, n, counts[i], 4).rounds, log + 2 * folds);
      int halves = counts[i] >= largest_power(n); /* else there is nothing to halve */
      assert_int_equal(allreduce_plan_all(ALLREDUCE_RABENSEIFNER, n, counts[i], 4).rounds, (1 + halves) * log + 2 * folds);
      assert_int_equal(allreduce_plan_all(ALLREDUCE_RING, n, counts[i], 4).rounds, 2 * (n - 1));
    }
}

static void bytes_are_known(void **state) {
  (void)state;
  for (int n = 2; n <= MOST; n = next_ranks(n)) {
    int power = largest_power(n), extra = n - power;
    int64_t even = (int64_t)n * 60, even_power = (int64_t)power * 60; /* numbers that n or p blocks share equally */
    allreduce_totals t = allreduce_plan_all(ALLREDUCE_RING, n, even, 8);
    assert_true(t.max_sent_bytes == 2 * (n - 1) * 60 * 8 && t.max_received_bytes == t.max_sent_bytes && fabs(t.mean_bytes - (double)t.max_sent_bytes) < 1e-6);
    /* In pairs: one gives all, the other takes part and gives all back. */
    int64_t all = 4 * even_power, working = 2 * (power - 1) * 60 * 4, doubling = log2_of(power) * all;
    t = allreduce_plan_all(ALLREDUCE_DOUBLING, n, even_power, 4);
    assert_true(t.max_sent_bytes == doubling + (extra ? all : 0));
    assert_true(fabs(t.mean_bytes * n - ((double)power * (double)doubling + 2.0 * extra * (double)all)) < 1);
    t = allreduce_plan_all(ALLREDUCE_RABENSEIFNER, n, even_power, 4);
    assert_true(t.max_sent_bytes == working + (extra ? all : 0));
    assert_true(fabs(t.mean_bytes * n - ((double)power * (double)working + 2.0 * extra * (double)all)) < 1);
  }
}

static void nothing_is_sent_where_nothing_is_to_be(void **state) {
  (void)state;
  for (int a = 0; a < ALLREDUCE_ALGORITHMS; a++) {
    allreduce_totals none = allreduce_plan_all(a, 7, 0, 4), alone = allreduce_plan_all(a, 1, 1000, 4);
    assert_true(none.rounds == 0 && none.mean_bytes == 0 && none.max_sent_bytes == 0);
    assert_true(alone.rounds == 0 && alone.mean_bytes == 0 && alone.max_received_bytes == 0);
  }
}

/* Beyond what 32 bits hold: the sums of a model of 175 thousand million numbers. */
static void large_models_do_not_overflow(void **state) {
  (void)state;
  const int64_t count = 174604259328;
  assert_true(allreduce_plan(ALLREDUCE_DOUBLING, 4096, 5, count, 8).sent_bytes == 12 * count * 8);
  assert_true(fabs((double)allreduce_plan(ALLREDUCE_RING, 4096, 4095, count, 8).sent_bytes - 2.0 * 4095 / 4096 * (double)count * 8) < 100);
}

static void ranks_fold_to_a_power_of_two(void **state) {
  (void)state;
  for (int n = 1; n <= MOST; n = next_ranks(n)) {
    int working = 0, resting = 0;
    for (int rank = 0; rank < n; rank++) {
      allreduce_fold f = allreduce_fold_of(n, rank);
      assert_true(f.power == largest_power(n) && f.extra == n - f.power && !(f.rests && f.serves));
      if (f.rests) {
        resting++;
        assert_true(allreduce_fold_of(n, rank + 1).serves);
      } else {
        assert_int_equal(f.working, working);
        assert_int_equal(allreduce_unfold(n, working), rank);
        working++;
      }
    }
    assert_true(working == largest_power(n) && resting == n - working);
  }
}

static void blocks_cover_the_numbers(void **state) {
  (void)state;
  for (int blocks = 1; blocks <= MOST; blocks = next_ranks(blocks))
    for (int i = 0; i < COUNTS; i++) {
      assert_true(allreduce_block(counts[i], blocks, 0) == 0 && allreduce_block(counts[i], blocks, blocks) == counts[i]);
      for (int b = 0; b < blocks; b++) {
        int64_t length = allreduce_block(counts[i], blocks, b + 1) - allreduce_block(counts[i], blocks, b);
        assert_true(length == counts[i] / blocks || length == counts[i] / blocks + 1);
      }
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_sent_is_received),
      cmocka_unit_test(rounds_are_known),
      cmocka_unit_test(bytes_are_known),
      cmocka_unit_test(nothing_is_sent_where_nothing_is_to_be),
      cmocka_unit_test(large_models_do_not_overflow),
      cmocka_unit_test(ranks_fold_to_a_power_of_two),
      cmocka_unit_test(blocks_cover_the_numbers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
