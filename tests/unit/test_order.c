/* The sample order, the split of a batch into shards, shares of workers, and packing for evaluation. */
#include "data/order.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/random.h"

enum { LARGEST = 2000, MOST_SHARDS = 300 };

static void fill_lengths(uint64_t seed, int count, int low, int high, int32_t *lengths) {
  random_key key = random_key_make(seed, RANDOM_TEST, 0);
  for (int i = 0; i < count; i++) lengths[i] = low + (int32_t)(random_uniform(key, 0, (uint64_t)i) * (high - low + 1));
}

static void check_permutation(const int64_t *order, int64_t count) {
  static uint8_t seen[LARGEST];
  memset(seen, 0, sizeof seen);
  for (int64_t i = 0; i < count; i++) {
    assert_in_range(order[i], 0, count - 1);
    assert_false(seen[order[i]]);
    seen[order[i]] = 1;
  }
}

static void epoch_is_a_permutation(void **state) {
  (void)state;
  static int64_t order[LARGEST];
  const int64_t counts[] = {1, 2, 3, 17, 1000, LARGEST};
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
    order_epoch(5, 3, counts[i], order);
    check_permutation(order, counts[i]);
  }
  order_epoch(5, 3, 0, order); /* nothing to do, nothing written */
}

static int64_t same_places(uint64_t seed_a, int64_t epoch_a, uint64_t seed_b, int64_t epoch_b) {
  static int64_t a[LARGEST], b[LARGEST];
  order_epoch(seed_a, epoch_a, LARGEST, a);
  order_epoch(seed_b, epoch_b, LARGEST, b);
  int64_t same = 0;
  for (int i = 0; i < LARGEST; i++) same += a[i] == b[i];
  return same;
}

static void epoch_depends_on_seed_and_epoch_alone(void **state) {
  (void)state;
  assert_int_equal(same_places(7, 4, 7, 4), LARGEST);
  /* Two independent permutations agree in one place on average; more than 12 has a chance below 1e-9. */
  assert_in_range(same_places(7, 4, 7, 5), 0, 12);
  assert_in_range(same_places(7, 4, 8, 4), 0, 12);
  assert_in_range(same_places(7, 4, 4, 7), 0, 12);
  assert_in_range(same_places(0, 0, UINT64_C(1) << 40, 0), 0, 12);
}

static void epoch_is_the_documented_stream(void **state) {
  (void)state;
  static int64_t order[LARGEST], expected[LARGEST];
  order_epoch(42, 6, 500, order);
  random_permutation(random_key_make(42, RANDOM_ORDER, 6), 0, 500, expected);
  assert_memory_equal(order, expected, 500 * sizeof *order);
}

static void epoch_favours_no_place(void **state) {
  (void)state;
  enum { ROWS = 10, EPOCHS = 5000 };
  int64_t order[ROWS];
  int count[ROWS][ROWS] = {{0}};
  for (int epoch = 0; epoch < EPOCHS; epoch++) {
    order_epoch(1, epoch, ROWS, order);
    for (int i = 0; i < ROWS; i++) count[i][order[i]]++;
  }
  double chi = 0, expected = (double)EPOCHS / ROWS;
  for (int i = 0; i < ROWS; i++)
    for (int j = 0; j < ROWS; j++) chi += (count[i][j] - expected) * (count[i][j] - expected) / expected;
  assert_true(chi < 150); /* 81 degrees of freedom: above 150 with a chance of 5e-6 */
  assert_true(chi > 35);  /* far too even would be no chance either */
}

typedef struct partition {
  int32_t member[LARGEST], first[MOST_SHARDS + 1];
  int64_t load[MOST_SHARDS], lightest, heaviest;
} partition;

/* order_split with scratch of exactly the size that it asks for, so that a sanitizer sees a write behind it. */
static int split(const int32_t *lengths, int n, int shards, int32_t *member, int32_t *first) {
  void *scratch = malloc(order_split_bytes(n, shards) + 1);
  assert_non_null(scratch);
  int code = order_split(lengths, n, shards, scratch, member, first);
  free(scratch);
  return code;
}

/* Splits and checks what must hold for every input: each position once, ascending inside a shard, and the rule's bounds. */
static void split_checked(const int32_t *lengths, int n, int shards, partition *p) {
  uint8_t seen[LARGEST] = {0};
  memset(p, 0x5a, sizeof *p);
  assert_int_equal(split(lengths, n, shards, p->member, p->first), ERROR_NONE);
  assert_int_equal(p->first[0], 0);
  assert_int_equal(p->first[shards], n);
  int64_t total = 0, longest = 0;
  p->lightest = INT64_MAX;
  p->heaviest = 0;
  for (int s = 0; s < shards; s++) {
    p->load[s] = 0;
    assert_true(p->first[s] <= p->first[s + 1]);
    for (int32_t k = p->first[s]; k < p->first[s + 1]; k++) {
      int32_t i = p->member[k];
      assert_in_range(i, 0, n - 1);
      assert_false(seen[i]);
      seen[i] = 1;
      if (k > p->first[s]) assert_true(p->member[k - 1] < i);
      p->load[s] += lengths[i];
      if (lengths[i] > longest) longest = lengths[i];
    }
    total += p->load[s];
    if (p->load[s] < p->lightest) p->lightest = p->load[s];
    if (p->load[s] > p->heaviest) p->heaviest = p->load[s];
  }
  /* The sequence that came last to the heaviest shard found it lightest of all (Graham 1969): both bounds follow. */
  assert_true(p->heaviest - p->lightest <= longest);
  assert_true((double)p->heaviest <= (double)total / shards + (double)longest * (shards - 1) / shards + 1e-9);
}

static void split_takes_each_sequence_once(void **state) {
  (void)state;
  static int32_t lengths[LARGEST];
  static partition p;
  const int ns[] = {1, 2, 3, 8, 32, 33, 255, 1024, LARGEST}, shards[] = {1, 2, 3, 7, 24, 64, MOST_SHARDS};
  for (size_t i = 0; i < sizeof ns / sizeof *ns; i++)
    for (size_t j = 0; j < sizeof shards / sizeof *shards; j++)
      for (uint64_t seed = 0; seed < 3; seed++) {
        fill_lengths(seed, ns[i], 3, seed == 2 ? 5 : 128, lengths);
        split_checked(lengths, ns[i], shards[j], &p);
      }
}

static void split_balances_tokens(void **state) {
  (void)state;
  static int32_t lengths[LARGEST];
  static partition p;
  fill_lengths(9, 256, 3, 60, lengths);
  split_checked(lengths, 256, 24, &p);
  assert_true((double)p.heaviest <= 1.02 * (double)(p.lightest + 1)); /* by sequences alone the spread would be about a third */
}

static void split_follows_the_rule(void **state) {
  (void)state;
  /* By hand: 9 to shard 0, 7 to 1, 7 to 2; 5 to 1 (loads 9 7 7, tie to the lower), 5 to 2, 4 to 0 (9 12 12), 1 to 1 (13 12 12). */
  const int32_t lengths[] = {5, 9, 7, 1, 7, 5, 4}, members[] = {1, 6, 0, 2, 3, 4, 5}, firsts[] = {0, 2, 5, 7};
  int32_t member[7], first[4];
  assert_int_equal(split(lengths, 7, 3, member, first), ERROR_NONE);
  assert_memory_equal(member, members, sizeof members);
  assert_memory_equal(first, firsts, sizeof firsts);
}

static void split_leaves_spare_shards_empty(void **state) {
  (void)state;
  const int32_t lengths[] = {4, 8};
  static partition p;
  split_checked(lengths, 2, 5, &p);
  const int32_t firsts[] = {0, 1, 2, 2, 2, 2};
  assert_memory_equal(p.first, firsts, sizeof firsts);
  assert_int_equal(p.member[0], 1); /* the longest goes to shard 0 */
  split_checked(lengths, 0, 3, &p);
  assert_int_equal(p.first[3], 0);
  assert_int_equal(split(lengths, 2, 0, p.member, p.first), ERROR_INTERNAL);
}

static void share_covers_everything_evenly(void **state) {
  (void)state;
  for (int64_t count = 0; count < 40; count++)
    for (int workers = 1; workers < 12; workers++) {
      int64_t next = 0, smallest = INT64_MAX, largest = 0;
      for (int index = 0; index < workers; index++) {
        int64_t begin, end;
        order_share(count, workers, index, &begin, &end);
        assert_int_equal(begin, next);
        assert_true(end >= begin);
        next = end;
        if (end - begin < smallest) smallest = end - begin;
        if (end - begin > largest) largest = end - begin;
      }
      assert_int_equal(next, count);
      assert_true(largest - smallest <= 1);
    }
  int64_t begin, end; /* no overflow on the way */
  order_share(INT64_MAX, 3, 2, &begin, &end);
  assert_true(end == INT64_MAX);
}

static void pack_keeps_to_the_limit(void **state) {
  (void)state;
  static int32_t lengths[LARGEST], member[LARGEST], first[LARGEST + 1];
  const int64_t limits[] = {1, 50, 128, 1000, 1 << 20};
  fill_lengths(11, LARGEST, 3, 128, lengths);
  for (size_t l = 0; l < sizeof limits / sizeof *limits; l++) {
    uint8_t seen[LARGEST] = {0};
    int64_t groups;
    assert_int_equal(order_pack(lengths, LARGEST, limits[l], member, first, &groups), ERROR_NONE);
    assert_int_equal(first[0], 0);
    assert_int_equal(first[groups], LARGEST);
    for (int64_t g = 0; g < groups; g++) {
      int64_t held = 0;
      assert_true(first[g] < first[g + 1]);
      for (int32_t k = first[g]; k < first[g + 1]; k++) {
        assert_false(seen[member[k]]);
        seen[member[k]] = 1;
        held += lengths[member[k]];
        if (k > 0) assert_true(lengths[member[k - 1]] >= lengths[member[k]]);
      }
      assert_true(held <= limits[l] || first[g + 1] - first[g] == 1);
      if (g + 1 < groups) assert_true(held + lengths[member[first[g + 1]]] > limits[l]); /* no group ends early */
    }
  }
}

static void pack_of_nothing_and_of_giants(void **state) {
  (void)state;
  const int32_t lengths[] = {10, 30, 20};
  int32_t member[3], first[4];
  int64_t groups = -1;
  assert_int_equal(order_pack(lengths, 0, 100, member, first, &groups), ERROR_NONE);
  assert_int_equal(groups, 0);
  assert_int_equal(first[0], 0);
  assert_int_equal(order_pack(lengths, 3, 5, member, first, &groups), ERROR_NONE);
  assert_int_equal(groups, 3);
  const int32_t longest_first[] = {1, 2, 0};
  assert_memory_equal(member, longest_first, sizeof longest_first);
  assert_int_equal(order_pack(lengths, 3, 30, member, first, &groups), ERROR_NONE);
  const int32_t firsts[] = {0, 1, 3};
  assert_int_equal(groups, 2);
  assert_memory_equal(first, firsts, sizeof firsts);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(epoch_is_a_permutation),  cmocka_unit_test(epoch_depends_on_seed_and_epoch_alone), cmocka_unit_test(epoch_is_the_documented_stream),
      cmocka_unit_test(epoch_favours_no_place),  cmocka_unit_test(split_takes_each_sequence_once),        cmocka_unit_test(split_balances_tokens),
      cmocka_unit_test(split_follows_the_rule),  cmocka_unit_test(split_leaves_spare_shards_empty),       cmocka_unit_test(share_covers_everything_evenly),
      cmocka_unit_test(pack_keeps_to_the_limit), cmocka_unit_test(pack_of_nothing_and_of_giants),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
