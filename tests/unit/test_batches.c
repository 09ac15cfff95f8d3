/* Plans of steps and packed shards: who is in a step, and which tokens masked language modelling hides. */
#include "train/batches.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"

enum { ROWS = 203, LONGEST = 50, VOCABULARY = 1000, FIRST_WORD = 5, MASK = 4, PER_STEP = 16, SHARDS = 5, MANY = 64 };

static int64_t offset[ROWS + 1], example[ROWS];
static int32_t token[ROWS * LONGEST], segment_start[ROWS], target_start[ROWS];
static float label[ROWS];
static split source = {ROWS, offset, token, segment_start, target_start, label, example};
static const batch_masking unmasked = {0};
static const batch_masking masking = {.rate = 0.3, .mask_token = MASK, .first_word = FIRST_WORD, .vocabulary = VOCABULARY, .seed = 11};

static int make_source(void **state) {
  (void)state;
  random_key key = random_key_make(1, RANDOM_TEST, 0);
  for (int i = 0; i < ROWS; i++) {
    int length = 1 + (int)(random_uniform(key, 0, (uint64_t)i) * LONGEST);
    offset[i + 1] = offset[i] + length;
    for (int j = 0; j < length; j++) {
      int32_t word = FIRST_WORD + (int32_t)(random_uniform(key, 1 + (uint64_t)i, (uint64_t)j) * (VOCABULARY - FIRST_WORD));
      token[offset[i] + j] = j == 0 || j == length - 1 ? 2 : word;
    }
    segment_start[i] = i % 2 ? length : length / 2;
    target_start[i] = length;
    label[i] = (float)(i % 7);
    example[i] = 1000 + i;
  }
  return 0;
}

static int32_t length_of(int64_t row) { return (int32_t)(offset[row + 1] - offset[row]); }

/* ---- plans ---- */

static void an_epoch_has_every_example_once(void **state) {
  (void)state;
  arena *memory;
  batch_plan plan;
  assert_int_equal(arena_create(&memory), 0);
  assert_int_equal(batch_plan_create(&source, 0, PER_STEP, SHARDS, 7, memory, &plan), 0);
  assert_int_equal(plan.steps_per_epoch, (ROWS + PER_STEP - 1) / PER_STEP);
  for (int epoch = 0; epoch < 2; epoch++) {
    int seen[ROWS] = {0};
    for (int64_t step = epoch * plan.steps_per_epoch; step < (epoch + 1) * plan.steps_per_epoch; step++) {
      uint8_t placed[PER_STEP] = {0};
      assert_int_equal(batch_plan_step(&plan, step), 0);
      assert_int_equal(plan.sequences, (step + 1) % plan.steps_per_epoch ? PER_STEP : ROWS % PER_STEP);
      assert_int_equal(plan.first[0], 0);
      assert_int_equal(plan.first[SHARDS], plan.sequences);
      for (int i = 0; i < plan.sequences; i++) {
        seen[plan.row[i]]++;
        assert_false(placed[plan.member[i]]++);
        assert_int_equal(plan.length[i], length_of(plan.row[i]));
      }
    }
    for (int i = 0; i < ROWS; i++) assert_int_equal(seen[i], 1);
  }
  arena_destroy(memory);
}

/* The rows of a step in order; count of them. */
static int rows_of(uint64_t seed, int64_t limit, int shards, int64_t step, int64_t warm, int64_t *rows) {
  arena *memory;
  batch_plan plan;
  assert_int_equal(arena_create(&memory), 0);
  assert_int_equal(batch_plan_create(&source, limit, PER_STEP, shards, seed, memory, &plan), 0);
  if (warm >= 0) assert_int_equal(batch_plan_step(&plan, warm), 0);
  assert_int_equal(batch_plan_step(&plan, step), 0);
  memcpy(rows, plan.row, (size_t)plan.sequences * sizeof *rows);
  int count = plan.sequences;
  arena_destroy(memory);
  return count;
}

static int same_rows(const int64_t *a, const int64_t *b) { return !memcmp(a, b, PER_STEP * sizeof *a); }

static void a_step_depends_on_seed_and_number_alone(void **state) {
  (void)state;
  int64_t a[PER_STEP], b[PER_STEP];
  rows_of(7, 0, SHARDS, 20, -1, a);
  rows_of(7, 0, SHARDS, 20, 3, b); /* another step was laid out before, of another epoch */
  assert_true(same_rows(a, b));
  rows_of(7, 0, 2, 20, -1, b); /* the number of shards splits a step, and does not choose it */
  assert_true(same_rows(a, b));
  rows_of(8, 0, SHARDS, 20, -1, b);
  assert_false(same_rows(a, b));
  rows_of(7, 0, SHARDS, 20 - 13, -1, b); /* the same place in the epoch before */
  assert_false(same_rows(a, b));
}

/* task.limit: the same examples for every seed, in another order; a sample, not the head of the file. */
static void a_limit_chooses_the_same_examples(void **state) {
  (void)state;
  enum { LIMIT = 40 };
  int used[2][ROWS] = {{0}}, beyond = 0;
  int64_t rows[PER_STEP], first[2][PER_STEP];
  for (int k = 0; k < 2; k++)
    for (int step = 0; step < (LIMIT + PER_STEP - 1) / PER_STEP; step++) {
      int count = rows_of(7 + (uint64_t)k, LIMIT, SHARDS, step, -1, rows);
      if (step == 0) memcpy(first[k], rows, sizeof rows);
      for (int i = 0; i < count; i++) used[k][rows[i]]++;
    }
  int total = 0;
  for (int i = 0; i < ROWS; i++) {
    assert_int_equal(used[0][i], used[1][i]);
    assert_in_range(used[0][i], 0, 1);
    total += used[0][i];
    beyond += used[0][i] && i >= LIMIT;
  }
  assert_int_equal(total, LIMIT);
  assert_in_range(beyond, LIMIT / 2, LIMIT);
  assert_false(same_rows(first[0], first[1]));
}

static void a_limit_beyond_the_split_is_all_of_it(void **state) {
  (void)state;
  int64_t a[PER_STEP], b[PER_STEP];
  rows_of(7, 0, SHARDS, 2, -1, a);
  rows_of(7, 10 * ROWS, SHARDS, 2, -1, b);
  assert_true(same_rows(a, b));
}

static void sizes_hold_every_shard(void **state) {
  (void)state;
  arena *memory;
  char digits[HASH_TEXT_BYTES];
  batch_plan plan;
  batch_sizes sizes = {0}, found = {0};
  assert_int_equal(arena_create(&memory), 0);
  assert_int_equal(batch_plan_create(&source, 0, PER_STEP, SHARDS, 7, memory, &plan), 0);
  assert_int_equal(batch_plan_measure(&plan, 30, &sizes, digits, NULL, NULL), 0);
  for (int64_t step = 0; step < 30; step++) {
    assert_int_equal(batch_plan_step(&plan, step), 0);
    for (int s = 0; s < SHARDS; s++) {
      int64_t tokens = 0, squares = 0, count = plan.first[s + 1] - plan.first[s];
      for (int i = plan.first[s]; i < plan.first[s + 1]; i++) {
        int64_t length = plan.length[plan.member[i]];
        tokens += length;
        squares += length * length;
      }
      found.tokens = tokens > found.tokens ? tokens : found.tokens;
      found.squares = squares > found.squares ? squares : found.squares;
      found.sequences = count > found.sequences ? count : found.sequences;
    }
  }
  assert_int_equal(sizes.tokens, found.tokens);
  assert_int_equal(sizes.squares, found.squares);
  assert_int_equal(sizes.sequences, found.sequences);
  arena_destroy(memory);
}

static void order_hash_of(uint64_t seed, int64_t limit, int shards, int64_t steps, int64_t warm, char digits[HASH_TEXT_BYTES]) {
  arena *memory;
  batch_plan plan;
  batch_sizes sizes = {0};
  assert_int_equal(arena_create(&memory), 0);
  assert_int_equal(batch_plan_create(&source, limit, PER_STEP, shards, seed, memory, &plan), 0);
  if (warm >= 0) assert_int_equal(batch_plan_step(&plan, warm), 0);
  assert_int_equal(batch_plan_measure(&plan, steps, &sizes, digits, NULL, NULL), 0);
  arena_destroy(memory);
}

/* What decides who is where changes the hash; what was laid out before does not. */
static void the_order_has_a_hash(void **state) {
  (void)state;
  char first[HASH_TEXT_BYTES], other[HASH_TEXT_BYTES];
  order_hash_of(7, 0, SHARDS, 30, -1, first);
  assert_int_equal(strlen(first), HASH_TEXT_BYTES - 1);
  order_hash_of(7, 0, SHARDS, 30, 17, other);
  assert_string_equal(first, other);
  order_hash_of(8, 0, SHARDS, 30, -1, other);
  assert_string_not_equal(first, other);
  order_hash_of(7, ROWS - 1, SHARDS, 30, -1, other);
  assert_string_not_equal(first, other);
  order_hash_of(7, 0, SHARDS + 1, 30, -1, other);
  assert_string_not_equal(first, other);
  order_hash_of(7, 0, SHARDS, 31, -1, other);
  assert_string_not_equal(first, other);
}

/* ---- packs ---- */

/* Room for MANY rows. */
static batch_pack *make_pack(arena *memory) {
  const batch_sizes sizes = {MANY * LONGEST, MANY, MANY * LONGEST * LONGEST};
  batch_pack *p = NULL;
  assert_int_equal(batch_pack_create(&sizes, memory, &p), 0);
  return p;
}

static void a_pack_holds_its_rows(void **state) {
  (void)state;
  arena *memory;
  const int64_t row[] = {3, 90, 7, 202};
  const int32_t member[] = {2, 0, 3};
  assert_int_equal(arena_create(&memory), 0);
  const batch *b = batch_pack_fill(make_pack(memory), &source, row, member, 3, 9, &unmasked);
  assert_int_equal(b->sequences, 3);
  assert_int_equal(b->masked, 0);
  int at = 0, longest = 0;
  for (int i = 0; i < 3; i++) {
    int64_t from = row[member[i]];
    int length = length_of(from);
    assert_int_equal(b->first[i], at);
    assert_true(b->label[i] == label[from]);
    assert_memory_equal(b->token + at, token + offset[from], (size_t)length * sizeof *token);
    for (int j = 0; j < length; j++, at++) {
      assert_int_equal(b->position[at], j);
      assert_int_equal(b->type[at], j >= segment_start[from]);
      assert_int_equal(b->stream[at], (UINT64_C(9) << 32) + (uint64_t)member[i]); /* the step and the number in the batch: no shard, no rank */
    }
    longest = length > longest ? length : longest;
  }
  assert_int_equal(b->first[3], at);
  assert_int_equal(b->tokens, at);
  assert_int_equal(b->longest, longest);
  arena_destroy(memory);
}

static void an_empty_shard_is_a_batch(void **state) {
  (void)state;
  arena *memory;
  const int64_t row[] = {3};
  const int32_t member[] = {0};
  assert_int_equal(arena_create(&memory), 0);
  const batch *b = batch_pack_fill(make_pack(memory), &source, row, member, 0, 9, &masking);
  assert_int_equal(b->sequences, 0);
  assert_int_equal(b->tokens, 0);
  assert_int_equal(b->masked, 0);
  arena_destroy(memory);
}

/* ---- masks ---- */

typedef struct masks {
  int64_t words, chosen, masked, replaced, kept, special;
} masks;

static void count_masks(const batch *b, const int64_t *row, const int32_t *member, masks *m) {
  int next = 0;
  for (int i = 0; i < b->sequences; i++)
    for (int at = b->first[i]; at < b->first[i + 1]; at++) {
      int32_t original = token[offset[row[member[i]]] + (int64_t)b->position[at]];
      int chosen = next < b->masked && b->masked_row[next] == at;
      m->words += original >= FIRST_WORD;
      if (!chosen) {
        assert_int_equal(b->token[at], original); /* what is not predicted stays */
        continue;
      }
      assert_int_equal(b->masked_token[next++], original);
      m->chosen++;
      m->special += original < FIRST_WORD;
      if (b->token[at] == MASK) m->masked++;
      else if (b->token[at] == original) m->kept++;
      else {
        assert_in_range(b->token[at], FIRST_WORD, VOCABULARY - 1);
        m->replaced++;
      }
    }
  assert_int_equal(next, b->masked);
}

/* 30 % of the words; of these 80 % masked, 10 % replaced, 10 % kept: each within six standard deviations. */
static void masks_follow_their_rates(void **state) {
  (void)state;
  arena *memory;
  masks m = {0};
  int64_t row[MANY];
  int32_t member[MANY];
  assert_int_equal(arena_create(&memory), 0);
  batch_pack *p = make_pack(memory);
  for (int i = 0; i < MANY; i++) {
    row[i] = 3 * i;
    member[i] = i;
  }
  for (uint64_t step = 0; step < 40; step++) count_masks(batch_pack_fill(p, &source, row, member, MANY, step, &masking), row, member, &m);
  double words = (double)m.words, chosen = (double)m.chosen;
  assert_int_equal(m.special, 0);
  assert_true(words > 40000);
  assert_true(chosen > 0.29 * words && chosen < 0.31 * words);
  assert_true((double)m.masked > 0.78 * chosen && (double)m.masked < 0.82 * chosen);
  assert_true((double)m.replaced > 0.085 * chosen && (double)m.replaced < 0.115 * chosen);
  assert_true((double)m.kept > 0.085 * chosen && (double)m.kept < 0.115 * chosen);
  arena_destroy(memory);
}

/* A row is masked in the same way in whatever shard it lies, and beside whatever other rows. */
static void masks_do_not_depend_on_shards(void **state) {
  (void)state;
  enum { COUNT = 16 };
  arena *memory;
  int64_t row[COUNT];
  int32_t all[COUNT];
  assert_int_equal(arena_create(&memory), 0);
  batch_pack *whole = make_pack(memory), *part = make_pack(memory);
  for (int i = 0; i < COUNT; i++) {
    row[i] = 5 * i + 1;
    all[i] = i;
  }
  const batch *together = batch_pack_fill(whole, &source, row, all, COUNT, 3, &masking);
  assert_true(together->masked > 0);
  for (int i = COUNT - 1; i >= 0; i--) {
    const int32_t members[2] = {(i + 5) % COUNT, i};
    const batch *alone = batch_pack_fill(part, &source, row, members, 2, 3, &masking);
    assert_memory_equal(alone->token + alone->first[1], together->token + together->first[i], (size_t)length_of(row[i]) * sizeof *alone->token);
  }
  arena_destroy(memory);
}

static void masks_change_with_step_and_seed(void **state) {
  (void)state;
  arena *memory;
  const int64_t row[] = {1, 2, 3, 4, 5, 6, 7, 8};
  const int32_t member[] = {0, 1, 2, 3, 4, 5, 6, 7};
  batch_masking other = masking;
  other.seed++;
  assert_int_equal(arena_create(&memory), 0);
  const batch *a = batch_pack_fill(make_pack(memory), &source, row, member, 8, 3, &masking);
  const batch *again = batch_pack_fill(make_pack(memory), &source, row, member, 8, 3, &masking);
  const batch *later = batch_pack_fill(make_pack(memory), &source, row, member, 8, 4, &masking);
  const batch *reseeded = batch_pack_fill(make_pack(memory), &source, row, member, 8, 3, &other);
  size_t bytes = (size_t)a->tokens * sizeof *a->token;
  assert_memory_equal(a->token, again->token, bytes);
  assert_memory_not_equal(a->token, later->token, bytes);
  assert_memory_not_equal(a->token, reseeded->token, bytes);
  arena_destroy(memory);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_epoch_has_every_example_once),
      cmocka_unit_test(a_step_depends_on_seed_and_number_alone),
      cmocka_unit_test(a_limit_chooses_the_same_examples),
      cmocka_unit_test(a_limit_beyond_the_split_is_all_of_it),
      cmocka_unit_test(sizes_hold_every_shard),
      cmocka_unit_test(the_order_has_a_hash),
      cmocka_unit_test(a_pack_holds_its_rows),
      cmocka_unit_test(an_empty_shard_is_a_batch),
      cmocka_unit_test(masks_follow_their_rates),
      cmocka_unit_test(masks_do_not_depend_on_shards),
      cmocka_unit_test(masks_change_with_step_and_seed),
  };
  return cmocka_run_group_tests(tests, make_source, NULL);
}
