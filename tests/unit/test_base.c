/* Errors, arenas, random numbers, hashes, texts, options and clocks. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/option.h"
#include "base/random.h"
#include "base/text.h"

/* ---- errors ---- */

static int fails(void) { return FAIL(ERROR_INPUT, "look at line %d", "%s:%d: no number", "x.yaml", 7); }

static int passes_on(int *reached) {
  TRY(fails());
  *reached = 1;
  return ERROR_NONE;
}

static void errors_travel_up(void **state) {
  (void)state;
  int reached = 0;
  assert_int_equal(passes_on(&reached), ERROR_INPUT);
  assert_int_equal(reached, 0);
  const error *e = error_last();
  assert_int_equal(e->code, ERROR_INPUT);
  assert_string_equal(e->text, "x.yaml:7: no number");
  assert_string_equal(e->hint, "look at line %d"); /* a hint is text, not a format */
  assert_non_null(strstr(e->source, "test_base.c"));
  assert_true(e->line > 0);

  assert_int_equal(error_prefix("configs/%s: ", "a"), ERROR_INPUT);
  assert_string_equal(error_last()->text, "configs/a: x.yaml:7: no number");
  FAIL(ERROR_INPUT, error_last()->hint, "in %s", error_last()->text); /* the last error's own texts may go into the next */
  assert_string_equal(error_last()->text, "in configs/a: x.yaml:7: no number");
  assert_string_equal(error_last()->hint, "look at line %d");

  error held = *error_last();
  assert_int_equal(FAIL(ERROR_MEMORY, NULL, "another"), ERROR_MEMORY);
  assert_string_equal(error_last()->hint, "");
  assert_int_equal(error_restore(&held), ERROR_INPUT);
  assert_string_equal(error_last()->text, held.text);
}

static void long_errors_are_cut_not_overrun(void **state) {
  (void)state;
  char words[3000];
  memset(words, 'x', sizeof words - 1);
  words[sizeof words - 1] = 0;
  assert_int_equal(FAIL(ERROR_SYSTEM, words, "%s", words), ERROR_SYSTEM);
  assert_int_equal(strlen(error_last()->text), sizeof error_last()->text - 1);
  assert_int_equal(strlen(error_last()->hint), sizeof error_last()->hint - 1);
  assert_int_equal(error_prefix("before: "), ERROR_SYSTEM);
  assert_int_equal(strncmp(error_last()->text, "before: xxx", 11), 0);
  assert_int_equal(error_prefix("%s", words), ERROR_SYSTEM);
  assert_int_equal(strlen(error_last()->text), sizeof error_last()->text - 1);
}

static void errors_belong_to_a_thread(void **state) {
  (void)state;
  int wrong = 0;
  FAIL(ERROR_USAGE, NULL, "of the first thread");
#pragma omp parallel num_threads(2) reduction(+ : wrong)
  {
#pragma omp barrier
#pragma omp sections
    {
#pragma omp section
      wrong += FAIL(ERROR_INPUT, NULL, "a") != ERROR_INPUT || error_last()->code != ERROR_INPUT;
#pragma omp section
      wrong += FAIL(ERROR_MEMORY, NULL, "b") != ERROR_MEMORY || error_last()->code != ERROR_MEMORY;
    }
  }
  assert_int_equal(wrong, 0);
}

static void exit_statuses(void **state) {
  (void)state;
  assert_int_equal(error_exit_status(ERROR_NONE), 0);
  assert_int_equal(error_exit_status(ERROR_USAGE), 2);
  assert_int_equal(error_exit_status(ERROR_STOPPED), 75);
  const int failures[] = {ERROR_INPUT, ERROR_SYSTEM, ERROR_MEMORY, ERROR_DIVERGED, ERROR_INTERNAL};
  for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) assert_int_equal(error_exit_status(failures[i]), 1);
}

/* ---- arena ---- */

static void arena_memory_is_zero_aligned_and_apart(void **state) {
  (void)state;
  enum { PIECES = 200 };
  unsigned char *piece[PIECES];
  arena *memory;
  assert_int_equal(arena_create(&memory), 0);
  assert_int_equal(arena_used_bytes(memory), 0);
  for (int i = 0; i < PIECES; i++) { /* sizes below and above a chunk, in turn */
    size_t count = i % 50 == 49 ? 400000 : (size_t)(i * 37 % 5000);
    assert_int_equal(arena_take(memory, count, 1, &piece[i]), 0);
    assert_non_null(piece[i]);
    assert_int_equal((uintptr_t)piece[i] % 64, 0);
    for (size_t k = 0; k < count; k++) assert_int_equal(piece[i][k], 0);
    memset(piece[i], i + 1, count); /* would show in a later piece, or in an earlier one below */
  }
  for (int i = 0; i < PIECES; i++) {
    size_t count = i % 50 == 49 ? 400000 : (size_t)(i * 37 % 5000);
    for (size_t k = 0; k < count; k++) assert_int_equal(piece[i][k], (unsigned char)(i + 1));
  }
  assert_true(arena_used_bytes(memory) >= 4 * 400000);
  char *copy;
  assert_int_equal(arena_copy_text(memory, "layer.3.q", &copy), 0);
  assert_string_equal(copy, "layer.3.q");
  arena_destroy(memory);
  arena_destroy(NULL);
}

static void arena_refuses_what_does_not_fit(void **state) {
  (void)state;
  arena *memory;
  void *place = NULL;
  assert_int_equal(arena_create(&memory), 0);
  assert_int_equal(arena_take(memory, SIZE_MAX / 4, 8, &place), ERROR_MEMORY);
  assert_int_equal(arena_take(memory, SIZE_MAX, 2, &place), ERROR_MEMORY);
#ifndef __SANITIZE_ADDRESS__ /* which takes the very question for an error */
  assert_int_equal(arena_take(memory, (size_t)1 << 61, 1, &place), ERROR_MEMORY);
#endif
  assert_null(place);
  assert_int_equal(arena_take(memory, 1, 1, &place), 0); /* still usable */
  assert_non_null(place);
  arena_destroy(memory);
}

/* ---- random numbers ---- */

static void philox_known_answers(void **state) {
  (void)state;
  /* kat_vectors of the authors' Random123, philox4x32 10 */
  static const struct {
    uint32_t counter[4], key[2], bits[4];
  } known[] = {
      {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}, {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    uint32_t bits[4];
    random_block((random_key){{known[i].key[0], known[i].key[1]}}, known[i].counter, bits);
    assert_memory_equal(bits, known[i].bits, sizeof bits);
  }
}

static void keys_differ_in_every_input(void **state) {
  (void)state;
  enum { KEYS = 2 * 13 * 5 * 2 };
  static random_key keys[KEYS];
  int count = 0;
  for (uint64_t seed = 0; seed < 2; seed++)
    for (int purpose = RANDOM_WEIGHTS; purpose <= RANDOM_TEST; purpose++)
      for (uint64_t index = 0; index < 5; index++)
        for (int high = 0; high < 2; high++)
          keys[count++] = random_key_make(seed << (high ? 40 : 0) | (uint64_t)high << 33, (random_purpose)purpose, index << (high ? 32 : 0) | (uint64_t)high);
  assert_int_equal(count, KEYS);
  for (int i = 0; i < KEYS; i++)
    for (int k = 0; k < i; k++) assert_true(memcmp(&keys[i], &keys[k], sizeof *keys) != 0);
}

static void fills_are_functions_of_the_element(void **state) {
  (void)state;
  enum { COUNT = 103 };
  real uniform[COUNT], normal[COUNT], part[COUNT];
  random_key key = random_key_make(1, RANDOM_TEST, 2);
  random_fill_uniform(key, 9, COUNT, -3, 5, uniform);
  random_fill_normal(key, 9, COUNT, 2, normal);
  for (int i = 0; i < COUNT; i++) {
    double u = random_uniform(key, 9, (uint64_t)i);
    assert_true(u >= 0 && u < 1);
    assert_true(u == random_bits(key, 9, (uint64_t)i) / 4294967296.0);
    assert_true(fabs(uniform[i] - (-3 + 8 * u)) < 2e-6);
    assert_true(fabs(normal[i] - 2 * random_normal(key, 9, (uint64_t)i)) < 2e-6);
  }
  for (int count = 0; count < 9; count++) { /* a shorter fill is a prefix, and stops where it should */
    for (int i = 0; i < COUNT; i++) part[i] = 77;
    random_fill_normal(key, 9, count, 2, part);
    assert_memory_equal(part, normal, (size_t)count * sizeof *part);
    for (int i = count; i < COUNT; i++) assert_true(part[i] == 77);
  }
  assert_true(random_bits(key, 9, 0) != random_bits(key, 10, 0));
  assert_true(random_bits(key, UINT64_C(1) << 32, 0) != random_bits(key, 0, 0));
  assert_true(random_bits(key, 9, UINT64_C(1) << 34) != random_bits(key, 9, 0));
}

static void moments_are_right(void **state) {
  (void)state;
  enum { COUNT = 200000 };
  static real uniform[COUNT], normal[COUNT];
  random_key key = random_key_make(3, RANDOM_TEST, 0);
  random_fill_uniform(key, 0, COUNT, 0, 1, uniform);
  random_fill_normal(key, 1, COUNT, 1, normal);
  double u1 = 0, u2 = 0, n1 = 0, n2 = 0, n4 = 0, pair = 0;
  for (int i = 0; i < COUNT; i++) {
    u1 += uniform[i];
    u2 += (double)uniform[i] * uniform[i];
    n1 += normal[i];
    n2 += (double)normal[i] * normal[i];
    n4 += pow(normal[i], 4);
    if (i) pair += (double)normal[i] * normal[i - 1];
  }
  /* five standard errors each */
  assert_true(fabs(u1 / COUNT - 0.5) < 5 * 0.2887 / sqrt(COUNT));
  assert_true(fabs(u2 / COUNT - 1.0 / 3) < 5 * 0.2981 / sqrt(COUNT));
  assert_true(fabs(n1 / COUNT) < 5 / sqrt(COUNT));
  assert_true(fabs(n2 / COUNT - 1) < 5 * sqrt(2.0 / COUNT));
  assert_true(fabs(n4 / COUNT - 3) < 5 * sqrt(96.0 / COUNT));
  assert_true(fabs(pair / COUNT) < 5 / sqrt(COUNT));
}

static void permutations_are_permutations(void **state) {
  (void)state;
  enum { COUNT = 1000, SMALL = 3, DRAWS = 6000 };
  int64_t order[COUNT];
  uint8_t seen[COUNT] = {0};
  random_key key = random_key_make(4, RANDOM_ORDER, 0);
  random_permutation(key, 0, COUNT, order);
  for (int i = 0; i < COUNT; i++) {
    assert_in_range(order[i], 0, COUNT - 1);
    assert_false(seen[order[i]]++);
  }
  int drawn[27] = {0}; /* all 6 orders of 3 equally often: chi-square with 5 degrees of freedom, 0.1 % point 20.5 */
  for (uint64_t i = 0; i < DRAWS; i++) {
    random_permutation(key, i, SMALL, order);
    drawn[order[0] * 9 + order[1] * 3 + order[2]]++;
  }
  double chi = 0;
  int orders = 0;
  for (int i = 0; i < 27; i++) {
    if (!drawn[i]) continue;
    orders++;
    chi += pow(drawn[i] - DRAWS / 6.0, 2) / (DRAWS / 6.0);
  }
  assert_int_equal(orders, 6);
  assert_true(chi < 20.5);
  random_permutation(key, 0, 0, order);
}

/* ---- hashes ---- */

static void hashes_are_xxh3_128(void **state) {
  (void)state;
  static const struct { const char *bytes, *text; } known[] = {{"", "99aa06d3014798d86001c324468d497f"}, {"abc", "06b05ab6733a618578af5f94892f3950"}};
  char text[HASH_TEXT_BYTES];
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    hash_bytes(known[i].bytes, strlen(known[i].bytes), text);
    assert_string_equal(text, known[i].text);
  }
}

static void hashes_in_pieces_and_of_files(void **state) {
  (void)state;
  enum { COUNT = 200001 };
  static unsigned char bytes[COUNT];
  for (int i = 0; i < COUNT; i++) bytes[i] = (unsigned char)(i * 31 + i / 256);
  char whole[HASH_TEXT_BYTES], other[HASH_TEXT_BYTES];
  hash_bytes(bytes, COUNT, whole);
  hash *h;
  assert_int_equal(hash_create(&h), 0);
  for (size_t at = 0, step = 1; at < COUNT; at += step, step = step * 3 % 5003 + 1) hash_add(h, bytes + at, at + step < COUNT ? step : COUNT - at);
  hash_finish(h, other);
  assert_string_equal(other, whole);

  char path[512];
  const char *folder = getenv("TMPDIR");
  assert_int_equal(text_format(path, sizeof path, "%s/peftscale-base-XXXXXX", folder && *folder ? folder : "/tmp"), 0);
  int file = mkstemp(path);
  assert_true(file >= 0);
  assert_int_equal(write(file, bytes, COUNT), COUNT);
  close(file);
  assert_int_equal(hash_file(path, other), 0);
  assert_string_equal(other, whole);
  unlink(path);
  assert_int_equal(hash_file(path, other), ERROR_INPUT);
  assert_non_null(strstr(error_last()->text, path));
}

static void hashed_texts_keep_their_ends(void **state) {
  (void)state;
  static const char *const pairs[2][2] = {{"ab", "c"}, {"a", "bc"}};
  char text[2][HASH_TEXT_BYTES];
  for (int i = 0; i < 2; i++) {
    hash *h;
    assert_int_equal(hash_create(&h), 0);
    hash_add_text(h, pairs[i][0]);
    hash_add_text(h, pairs[i][1]);
    hash_finish(h, text[i]);
  }
  assert_string_not_equal(text[0], text[1]);
}

/* ---- texts ---- */

static void texts_become_numbers_whole_or_not(void **state) {
  (void)state;
  int64_t i = 0;
  double d = 0;
  assert_int_equal(text_to_int("-42", &i), 0);
  assert_true(i == -42);
  assert_int_equal(text_to_int("9223372036854775807", &i), 0);
  assert_true(i == INT64_MAX);
  static const char *const no_int[] = {"", "x", "12x", "1.5", "9223372036854775808", "1e3", "0x10"};
  for (size_t k = 0; k < sizeof no_int / sizeof *no_int; k++) assert_int_equal(text_to_int(no_int[k], &i), ERROR_INPUT);
  assert_int_equal(text_to_double("5e-4", &d), 0);
  assert_true(d == 5e-4);
  assert_int_equal(text_to_double("1e-320", &d), 0); /* tiny is no error */
  static const char *const no_double[] = {"", "x", "1.5x", "nan", "1e999", "1,5"};
  for (size_t k = 0; k < sizeof no_double / sizeof *no_double; k++) assert_int_equal(text_to_double(no_double[k], &d), ERROR_INPUT);
}

static void texts_are_never_cut(void **state) {
  (void)state;
  char buffer[8];
  assert_int_equal(text_format(buffer, sizeof buffer, "%s", "1234567"), 0);
  assert_string_equal(buffer, "1234567");
  assert_true(text_format(buffer, sizeof buffer, "%s", "12345678") != 0);
}

static void distances_and_nearest(void **state) {
  (void)state;
  assert_int_equal(text_distance("", ""), 0);
  assert_int_equal(text_distance("lora", "lora"), 0);
  assert_int_equal(text_distance("lora", "vera"), 2);
  assert_int_equal(text_distance("lora", "lroa"), 1); /* swapped neighbours */
  assert_int_equal(text_distance("lora", ""), 4);
  assert_int_equal(text_distance("", "red"), 3);
  assert_int_equal(text_distance("rank", "ranks"), 1);
  static const char *const names[] = {"lora", "full", "bitfit", "head"};
  assert_int_equal(text_nearest("loar", names, 4), 0);
  assert_int_equal(text_nearest("bitfti", names, 4), 2);
  assert_int_equal(text_nearest("heads", names, 4), 3);
  assert_int_equal(text_nearest("quantum", names, 4), -1);
  assert_int_equal(text_nearest("lora", names, 0), -1);
}

static void counts_for_people(void **state) {
  (void)state;
  char buffer[32];
  assert_string_equal(text_thousands(0, buffer), "0");
  assert_string_equal(text_thousands(999, buffer), "999");
  assert_string_equal(text_thousands(73728, buffer), "73,728");
  assert_string_equal(text_thousands(-1234567, buffer), "-1,234,567");
  assert_string_equal(text_bytes(0, buffer), "0 B");
  assert_string_equal(text_bytes(999, buffer), "999 B");
  assert_string_equal(text_bytes(1200000, buffer), "1.2 MB");
  assert_string_equal(text_bytes(999999, buffer), "1.0 MB"); /* not "1000 kB" */
  assert_string_equal(text_bytes(250e9, buffer), "250 GB");
  char damaged[] = "caf\xc3\xa9 \xff\n\xed\xa0\x80 \xf0\x9f\x8d\x95 end\xc3";
  text_clean(damaged);
  assert_string_equal(damaged, "caf\xc3\xa9 ????? \xf0\x9f\x8d\x95 end?");
}

/* ---- options ---- */

static const char *const words[] = {"mean", "first", "last", NULL};
static const option declared[] = {
    {.name = "rank", .type = OPTION_INT, .preset = "8", .low = 1, .high = 4096},
    {.name = "alpha", .type = OPTION_REAL, .preset = "auto", .low = 0, .high = 100, .may_be_auto = 1},
    {.name = "tied", .type = OPTION_BOOL, .preset = "false"},
    {.name = "pool", .type = OPTION_CHOICE, .preset = "mean", .choices = words},
    {.name = "where", .type = OPTION_LIST, .preset = "first,last", .choices = words},
    {.name = "note", .type = OPTION_TEXT, .preset = ""},
};
enum { DECLARED = sizeof declared / sizeof *declared };

static void options_are_found_and_converted(void **state) {
  (void)state;
  option_value values[DECLARED];
  for (int i = 0; i < DECLARED; i++) assert_int_equal(option_parse(&declared[i], declared[i].preset, &values[i]), 0);
  option_set set = {values, DECLARED};
  assert_true(option_int(&set, "rank") == 8 && option_real(&set, "rank") == 8);
  assert_true(option_is_auto(&set, "alpha") && !option_is_auto(&set, "rank"));
  assert_true(option_int(&set, "tied") == 0);
  assert_string_equal(option_text(&set, "pool"), "mean");
  assert_true(option_lists(&set, "where", "last") && option_lists(&set, "where", "first"));
  assert_false(option_lists(&set, "where", "las"));
  assert_false(option_lists(&set, "where", "mean"));
  assert_non_null(option_find(&set, "note"));
  assert_null(option_find(&set, "ranks"));
  FAIL(ERROR_INPUT, NULL, "before");
  assert_true(option_int(&set, "ranks") == 0);
  assert_int_equal(error_last()->code, ERROR_INTERNAL);
  assert_string_equal(option_text(&set, "ranks"), "");
}

static void refuse(int index, const char *written, const char *reason) {
  option_value value;
  assert_int_equal(option_parse(&declared[index], written, &value), ERROR_USAGE);
  if (!strstr(error_last()->text, reason) && !strstr(error_last()->hint, reason))
    fail_msg("%s=%s: '%s' (%s) does not say '%s'", declared[index].name, written, error_last()->text, error_last()->hint, reason);
}

static void options_refuse_with_a_reason(void **state) {
  (void)state;
  option_value value;
  refuse(0, "0", "from 1 to 4096");
  refuse(0, "4097", "from 1 to 4096");
  refuse(0, "eight", "not a whole number");
  refuse(0, "auto", "not a whole number");
  refuse(0, "8.5", "not a whole number");
  refuse(1, "-1", "from 0 to 100");
  refuse(1, "inf", "from 0 to 100");
  refuse(1, "nan", "not a number");
  refuse(2, "maybe", "neither true nor false");
  refuse(3, "meen", "did you mean 'mean'?");
  refuse(3, "", "not one of: mean, first, last");
  refuse(4, "", "empty");
  refuse(4, "first,", "comma");
  refuse(4, "first,,last", "not a list");
  refuse(4, "first,lst", "did you mean 'last'?");
  const int real_option = 1, choice = 3;
  assert_int_equal(option_parse(&declared[real_option], "0.5", &value), 0);
  assert_true(value.number == 0.5 && !value.is_auto);
  assert_int_equal(option_parse(&declared[choice], "last", &value), 0);
  assert_true(value.integer == 2);
  static const char *const yes[] = {"true", "on", "yes"};
  for (int i = 0; i < 3; i++) {
    assert_int_equal(option_parse(&declared[2], yes[i], &value), 0);
    assert_true(value.integer == 1);
  }
}

/* ---- clocks ---- */

static void clocks_run(void **state) {
  (void)state;
  double wall = clock_wall_s(), cpu = clock_thread_cpu_s(), process = clock_process_cpu_s(), since = clock_since_start_s();
  volatile double work = 1;
  while (clock_thread_cpu_s() - cpu < 0.02) work = sqrt(work + 1);
  assert_true(clock_wall_s() - wall >= 0.0199); /* a thread cannot use more time than passes */
  assert_true(clock_process_cpu_s() - process >= 0.0199);
  assert_true(since >= 0 && clock_since_start_s() >= since);
  char text[21];
  clock_utc(text, sizeof text);
  assert_int_equal(strlen(text), 20);
  assert_true(text[4] == '-' && text[7] == '-' && text[10] == 'T' && text[13] == ':' && text[16] == ':' && text[19] == 'Z');
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(errors_travel_up),
      cmocka_unit_test(long_errors_are_cut_not_overrun),
      cmocka_unit_test(errors_belong_to_a_thread),
      cmocka_unit_test(exit_statuses),
      cmocka_unit_test(arena_memory_is_zero_aligned_and_apart),
      cmocka_unit_test(arena_refuses_what_does_not_fit),
      cmocka_unit_test(philox_known_answers),
      cmocka_unit_test(keys_differ_in_every_input),
      cmocka_unit_test(fills_are_functions_of_the_element),
      cmocka_unit_test(moments_are_right),
      cmocka_unit_test(permutations_are_permutations),
      cmocka_unit_test(hashes_are_xxh3_128),
      cmocka_unit_test(hashes_in_pieces_and_of_files),
      cmocka_unit_test(hashed_texts_keep_their_ends),
      cmocka_unit_test(texts_become_numbers_whole_or_not),
      cmocka_unit_test(texts_are_never_cut),
      cmocka_unit_test(distances_and_nearest),
      cmocka_unit_test(counts_for_people),
      cmocka_unit_test(options_are_found_and_converted),
      cmocka_unit_test(options_refuse_with_a_reason),
      cmocka_unit_test(clocks_run),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
