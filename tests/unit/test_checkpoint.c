/* The checkpoint's file: what was written comes back bit for bit, and what was not written so is refused. */
#include <fcntl.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/file.h"
#include "support/folder.h"
#include "train/checkpoint_private.h"

enum { NUMBERS = 5, SEGMENTS = 2, LEVELS = 3, RANKS = 2 };

typedef struct state {
  checkpoint_head head;
  real theta[NUMBERS], first[NUMBERS], second[NUMBERS], chosen[NUMBERS];
  int64_t step_counts[SEGMENTS], wire[RANKS];
  uint8_t level[LEVELS];
} state;

static checkpoint_arrays arrays_of(state *s) {
  return (checkpoint_arrays){.numbers = NUMBERS,
                             .segments = SEGMENTS,
                             .levels = LEVELS,
                             .ranks = RANKS,
                             .theta = s->theta,
                             .first_moment = s->first,
                             .second_moment = s->second,
                             .chosen = s->chosen,
                             .step_counts = s->step_counts,
                             .level = s->level,
                             .rank_wire_bytes = s->wire};
}

static state make_state(void) {
  state s = {.head = {.ranks = 2,
                      .threads = 3,
                      .nodes = 1,
                      .attempt = 4,
                      .step = 10,
                      .steps = 12,
                      .validated = 8,
                      .best_step = 6,
                      .best = -1.0 / 3,
                      .last_validation = NAN,
                      .totals = {.train_s = 0.1,
                                 .total_s = 1e300,
                                 .start_s = 5e-324,
                                 .tokens = INT64_MAX,
                                 .communication_s = 0.7,
                                 .step_s = 1.0 / 7,
                                 .checkpoint_s = 0.25,
                                 .checkpoints = 3,
                                 .validation = NAN,
                                 .test = NAN,
                                 .contaminated = 1,
                                 .payload_bytes = {1, 2, 3, 4},
                                 .wire_bytes = {-1, 0, 7, 8}}},
             .theta = {1, -0.0F, 0x1p-149F, 3.4e38F, 0.1F},
             .first = {0, INFINITY, -1, 2, NAN}, /* as overflow leaves them: theta may outlive it */
             .second = {1, 2, INFINITY, 4, 5},
             .chosen = {5, 4, 3, 2, 1},
             .step_counts = {10, 0},
             .wire = {-1, 1000},
             .level = {0, 120, 255}};
  memset(s.head.experiment_id, 'a', HASH_TEXT_BYTES - 1);
  memset(s.head.run_id, 'b', HASH_TEXT_BYTES - 1);
  memset(s.head.binary_hash, '0', HASH_TEXT_BYTES - 1);
  return s;
}

static int write_state(const char *path, state *s) {
  const checkpoint_arrays a = arrays_of(s);
  return checkpoint_write(path, &s->head, &a);
}

static int read_state(const char *path, state *s) {
  checkpoint_file *f;
  memset(s, 0x5a, sizeof *s);
  TRY(checkpoint_open(path, &f, &s->head));
  const checkpoint_arrays a = arrays_of(s);
  int code = checkpoint_read(f, &s->head, &a);
  checkpoint_close(f);
  return code;
}

static void expect_equal(const state *a, const state *b) {
  assert_string_equal(a->head.experiment_id, b->head.experiment_id);
  assert_string_equal(a->head.run_id, b->head.run_id);
  assert_string_equal(a->head.binary_hash, b->head.binary_hash);
  /* Behind the texts there are numbers without gaps, but for what is written at a run's end alone. */
  assert_memory_equal(&a->head.ranks, &b->head.ranks, offsetof(checkpoint_head, totals) - offsetof(checkpoint_head, ranks));
  const record_totals *x = &a->head.totals, *y = &b->head.totals;
  assert_true(x->train_s == y->train_s && x->total_s == y->total_s && x->start_s == y->start_s && x->tokens == y->tokens);
  assert_true(x->communication_s == y->communication_s && x->step_s == y->step_s && x->checkpoint_s == y->checkpoint_s);
  assert_true(x->checkpoints == y->checkpoints && x->contaminated == y->contaminated);
  assert_memory_equal(x->payload_bytes, y->payload_bytes, sizeof x->payload_bytes);
  assert_memory_equal(x->wire_bytes, y->wire_bytes, sizeof x->wire_bytes);
  assert_memory_equal(a->theta, b->theta, sizeof a->theta);
  assert_memory_equal(a->first, b->first, sizeof a->first);
  assert_memory_equal(a->second, b->second, sizeof a->second);
  assert_memory_equal(a->chosen, b->chosen, sizeof a->chosen);
  assert_memory_equal(a->step_counts, b->step_counts, sizeof a->step_counts);
  assert_memory_equal(a->wire, b->wire, sizeof a->wire);
  assert_memory_equal(a->level, b->level, sizeof a->level);
}

static void test_round_trip(void **unused) {
  (void)unused;
  const char *path = in_folder("a.checkpoint");
  state s = make_state(), back;
  must(write_state(path, &s));
  must(read_state(path, &back));
  expect_equal(&s, &back);
  memcpy(s.chosen, s.theta, sizeof s.chosen); /* then it need not be written twice */
  struct stat with, without;
  stat(path, &with);
  must(write_state(path, &s));
  must(read_state(path, &back));
  expect_equal(&s, &back);
  stat(path, &without);
  assert_true(without.st_size < with.st_size);
  s.head.validated = s.head.best_step = 0; /* nothing is kept yet */
  memset(s.chosen, 0, sizeof s.chosen);
  must(write_state(path, &s));
  must(read_state(path, &back));
  expect_equal(&s, &back);
}

static void test_floats_have_no_levels(void **unused) {
  (void)unused;
  const char *path = in_folder("f.checkpoint");
  state s = make_state(), back = make_state();
  checkpoint_arrays a = arrays_of(&s), b = arrays_of(&back);
  checkpoint_file *f;
  a.levels = b.levels = 0;
  a.level = b.level = NULL;
  memset(back.theta, 0, sizeof back.theta);
  must(checkpoint_write(path, &s.head, &a));
  must(checkpoint_open(path, &f, &back.head));
  must(checkpoint_read(f, &back.head, &b));
  checkpoint_close(f);
  expect_equal(&s, &back);
}

/* A checkpoint that the reader expects to be larger or smaller. */
static void test_other_sizes(void **unused) {
  (void)unused;
  const char *path = in_folder("s.checkpoint");
  state s = make_state(), back = make_state();
  must(write_state(path, &s));
  for (int i = 0; i < 8; i++) {
    checkpoint_arrays a = arrays_of(&back);
    checkpoint_file *f;
    checkpoint_head head;
    int by = i % 2 ? 1 : -1;
    if (i / 2 == 0) a.numbers += i % 2 ? -1 : -2; /* the arrays have no room for more */
    if (i / 2 == 1) a.segments += by < 0 ? by : -2;
    if (i / 2 == 2) a.levels = by < 0 ? 2 : 0;
    if (i / 2 == 3) a.ranks += by < 0 ? by : -2;
    must(checkpoint_open(path, &f, &head));
    assert_int_equal(checkpoint_read(f, &head, &a), ERROR_INPUT);
    checkpoint_close(f);
    expect_text(path);
    assert_non_null(strstr(error_last()->hint, "remove it"));
  }
}

/* Every contradiction that a head can hold is found, even with a hash that fits. */
static void test_contradictions(void **unused) {
  (void)unused;
  const char *path = in_folder("c.checkpoint");
  for (int i = 0; i < 12; i++) {
    state s = make_state(), back;
    switch (i) {
      case 0: s.head.step = 13; break;
      case 1: s.head.validated = 11; break;
      case 2: s.head.best_step = 9; break;
      case 3: s.head.step = 0; break;
      case 4: s.head.attempt = 0; break;
      case 5: s.head.totals.train_s = -1; break;
      case 6: s.head.totals.step_s = INFINITY; break;
      case 7: s.head.totals.payload_bytes[2] = -1; break;
      case 8: s.head.ranks = 0; break;
      case 9: s.step_counts[1] = 11; break;
      case 10: s.wire[0] = -2; break;
      default: s.head.run_id[5] = 'x';
    }
    must(write_state(path, &s));
    assert_int_equal(read_state(path, &back), ERROR_INPUT);
    expect_text("is damaged");
  }
}

/* Not synced: there are thousands of them. */
static void put_bytes(const char *path, const char *bytes, size_t count) {
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(bytes, 1, count, f), count);
  assert_int_equal(fclose(f), 0);
}

/* Any byte changed, any length: refused, or (the date, the file's blanks) the same state. */
static void test_damage(void **unused) {
  (void)unused;
  char path[1024], *bytes;
  size_t count;
  int accepted = 0;
  snprintf(path, sizeof path, "%s", in_folder("d.checkpoint"));
  state s = make_state(), back;
  must(write_state(path, &s));
  must(file_read(path, 1 << 20, &bytes, &count));
  for (size_t i = 0; i < count; i++)
    for (int bit = 0; bit < 8; bit += 3) {
      bytes[i] = (char)(bytes[i] ^ 1 << bit);
      put_bytes(path, bytes, count);
      bytes[i] = (char)(bytes[i] ^ 1 << bit);
      int code = read_state(path, &back);
      assert_true(code == ERROR_NONE || code == ERROR_INPUT);
      if (code) expect_text(path);
      else expect_equal(&s, &back);
      accepted += !code;
    }
  assert_true(accepted < (int)count / 10);
  for (size_t length = 0; length < count; length++) {
    put_bytes(path, bytes, length);
    assert_int_equal(read_state(path, &back), ERROR_INPUT);
  }
  free(bytes);
}

static void test_not_written(void **unused) {
  (void)unused;
  char path[1024];
  state s = make_state(), back;
  snprintf(path, sizeof path, "%s/nowhere/x.checkpoint", folder);
  assert_int_equal(write_state(path, &s), ERROR_SYSTEM);
  expect_text(path);
  snprintf(path, sizeof path, "%s", in_folder("there"));
  assert_int_equal(mkdir(path, 0777), 0);
  assert_int_equal(write_state(path, &s), ERROR_SYSTEM);
  assert_int_equal(read_state(path, &back), ERROR_INPUT);
  assert_int_equal(read_state(in_folder("absent"), &back), ERROR_INPUT);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip),  cmocka_unit_test(test_floats_have_no_levels),
                                     cmocka_unit_test(test_other_sizes), cmocka_unit_test(test_contradictions),
                                     cmocka_unit_test(test_damage),      cmocka_unit_test(test_not_written)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
