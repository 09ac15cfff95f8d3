/* sweep/attempts: what was tried of a run, and when it is given up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "support/folder.h"
#include "sweep/attempts.h"

static attempts look(const char *run) {
  attempts a;
  attempts_read(run, &a);
  return a;
}

static void write_file(const char *run, const char *suffix, const char *text) {
  char path[1100];
  snprintf(path, sizeof path, "%s%s", run, suffix);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs(text, file);
  fclose(file);
}

static void test_ends(void **state) {
  (void)state;
  const char *run = in_folder("a.h5");
  assert_int_equal(look(run).last, ATTEMPT_NONE);
  must(attempts_begin(run));
  assert_int_equal(look(run).last, ATTEMPT_KILLED); /* unless somebody holds it */
  must(attempts_finish(run, ATTEMPT_STOPPED, "asked to stop"));
  assert_int_equal(look(run).last, ATTEMPT_STOPPED);
  must(attempts_begin(run));
  must(attempts_finish(run, ATTEMPT_DIVERGED, "loss\tnan\nat once"));
  attempts a = look(run);
  assert_int_equal(a.last, ATTEMPT_DIVERGED);
  assert_int_equal(a.count, 2);
  assert_string_equal(a.reason, "loss?nan?at once");
  attempts_clear(run);
  assert_int_equal(look(run).last, ATTEMPT_NONE);
  attempts_clear(run);
}

static void test_killed_again_and_again(void **state) {
  (void)state;
  const char *run = in_folder("b.h5");
  for (int i = 1; i <= ATTEMPTS_KILLED; i++) {
    must(attempts_begin(run));
    assert_int_equal(look(run).killed_in_row, i);
  }
  write_file(run, ".checkpoint", "x"); /* the next one gets somewhere */
  must(attempts_begin(run));
  assert_int_equal(look(run).killed_in_row, 1);
  must(attempts_begin(run));
  assert_int_equal(look(run).killed_in_row, 2);
  must(attempts_finish(run, ATTEMPT_STOPPED, ""));
  must(attempts_begin(run));
  assert_int_equal(look(run).killed_in_row, 1);
  assert_int_equal(look(run).count, ATTEMPTS_KILLED + 3);
}

static void test_damaged_lists(void **state) {
  (void)state;
  const char *run = in_folder("c.h5");
  static const char *const contents[] = {"", "\n\n", "end\tx\tfailed\tno begin\n", "nonsense", "begin", "\t\t\t"};
  for (size_t i = 0; i < sizeof contents / sizeof *contents; i++) {
    write_file(run, ".attempts", contents[i]);
    attempts a = look(run);
    assert_true(a.last == ATTEMPT_NONE || (a.last == ATTEMPT_KILLED && a.count == 1));
  }
  write_file(run, ".attempts", "begin\tt\th\t1\t-\nend\tt\tsomething newer\twhy\n");
  assert_int_equal(look(run).last, ATTEMPT_FAILED);
  write_file(run, ".attempts", "");
  char path[1100];
  snprintf(path, sizeof path, "%s.attempts", run);
  assert_int_equal(truncate(path, 100), 0); /* zeros: what a host that died had not written */
  must(attempts_begin(run));
  must(attempts_finish(run, ATTEMPT_FAILED, "no data"));
  assert_int_equal(look(run).last, ATTEMPT_FAILED);
  assert_int_equal(attempts_begin(in_folder("absent/d.h5")), ERROR_SYSTEM);
  expect_text("absent/d.h5.attempts");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_ends),
      cmocka_unit_test(test_killed_again_and_again),
      cmocka_unit_test(test_damaged_lists),
  };
  return cmocka_run_group_tests_name("attempts", tests, setup, teardown);
}
