/* sweep/claim: one owner at a time, also in a race; a dead owner's claim is taken over, a living one's is not. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "support/folder.h"
#include "sweep/claim.h"

/* In place of the C library's: a clock that is wrong, a file server whose first answer was lost, somebody who tidies up. */
static int clock_is_ahead_s, answer_is_lost, is_tidied;

int clock_gettime(clockid_t which, struct timespec *now) {
  int failed = (int)syscall(SYS_clock_gettime, which, now);
  if (which == CLOCK_REALTIME) now->tv_sec += clock_is_ahead_s;
  return failed;
}

int link(const char *from, const char *to) {
  if (is_tidied) unlink(from);
  int failed = linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
  if (!answer_is_lost) return failed;
  errno = EEXIST;
  return -1;
}

static void pause_ms(long ms) {
  const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
  nanosleep(&pause, NULL);
}

static claim_state state_of(const char *run) {
  claim_view view;
  claim_look(run, &view);
  return view.state;
}

/* A process that takes a run, tells so through a pipe, and holds it until it is killed. */
static pid_t hold_elsewhere(const char *run) {
  int ends[2];
  char word = 0;
  assert_int_equal(pipe(ends), 0);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    claim *c;
    word = claim_take(run, &c) == ERROR_NONE && c ? 'y' : 'n';
    if (write(ends[1], &word, 1) != 1) _exit(1);
    for (;;) pause();
  }
  assert_int_equal(read(ends[0], &word, 1), 1);
  assert_int_equal(word, 'y');
  close(ends[0]);
  close(ends[1]);
  return pid;
}

static void kill_hard(pid_t pid) {
  kill(pid, SIGKILL);
  waitpid(pid, NULL, 0);
}

static void test_take_and_release(void **state) {
  (void)state;
  const char *run = in_folder("a.h5");
  char path[1100];
  claim *first, *second;
  claim_view view;
  snprintf(path, sizeof path, "%s.claim", run);
  assert_int_equal(state_of(run), CLAIM_FREE);
  must(claim_take(run, &first));
  assert_non_null(first);
  claim_look(run, &view);
  assert_int_equal(view.state, CLAIM_HELD);
  assert_int_equal(view.steps, 0);
  assert_true(view.is_ours);
  char self[64];
  snprintf(self, sizeof self, "process %ld on ", (long)getpid());
  assert_int_equal(strncmp(view.owner, self, strlen(self)), 0);
  must(claim_take(run, &second)); /* not even to oneself twice */
  assert_null(second);
  claim_release(first);
  assert_int_equal(state_of(run), CLAIM_FREE);
  assert_int_not_equal(access(path, F_OK), 0);
  claim_release(NULL);
}

static void test_progress_is_seen(void **state) {
  (void)state;
  const char *run = in_folder("progress.h5");
  claim *c;
  claim_view view;
  must(claim_take(run, &c));
  claim_progress(c, 7, 30);
  for (int i = 0; i < 100; i++) {
    pause_ms(50);
    claim_look(run, &view);
    if (view.steps) break;
  }
  assert_int_equal(view.done, 7);
  assert_int_equal(view.steps, 30);
  claim_release(c);
}

static void test_owner_that_lives_and_dies(void **state) {
  (void)state;
  const char *run = in_folder("b.h5");
  claim *c;
  claim_view view;
  pid_t other = hold_elsewhere(run);
  claim_look(run, &view);
  assert_int_equal(view.state, CLAIM_HELD);
  assert_false(view.is_ours);
  must(claim_take(run, &c));
  assert_null(c);
  kill_hard(other);
  assert_int_equal(state_of(run), CLAIM_DEAD);
  must(claim_take(run, &c));
  assert_non_null(c);
  assert_int_equal(state_of(run), CLAIM_HELD);
  claim_release(c);
}

/* Not yet waited for by its parent: it has ended all the same. */
static void test_zombie_is_dead(void **state) {
  (void)state;
  const char *run = in_folder("zombie.h5");
  pid_t other = hold_elsewhere(run);
  kill(other, SIGKILL);
  for (int i = 0; i < 100 && state_of(run) == CLAIM_HELD; i++) pause_ms(20);
  assert_int_equal(state_of(run), CLAIM_DEAD);
  waitpid(other, NULL, 0);
}

static void test_race_for_a_dead_claim(void **state) {
  (void)state;
  enum { RACERS = 8, ROUNDS = 20 };
  for (int round = 0; round < ROUNDS; round++) {
    char name[32];
    snprintf(name, sizeof name, "race%d.h5", round);
    const char *run = in_folder(name);
    kill_hard(hold_elsewhere(run));
    int start[2], winners = 0;
    pid_t racer[RACERS];
    assert_int_equal(pipe(start), 0);
    for (int i = 0; i < RACERS; i++) {
      racer[i] = fork();
      if (racer[i]) continue;
      char word;
      claim *c;
      close(start[1]);
      if (read(start[0], &word, 1) != 0) _exit(2); /* all begin when the parent closes its end */
      int code = claim_take(run, &c);
      if (c) pause_ms(300); /* longer than any of the others takes to try */
      _exit(code ? 2 : c ? 1 : 0);
    }
    close(start[0]);
    close(start[1]);
    for (int i = 0; i < RACERS; i++) {
      int status;
      waitpid(racer[i], &status, 0);
      assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
      winners += WEXITSTATUS(status);
    }
    assert_true(winners <= 1); /* 0: all gave way to one that was just removing the dead one's, and gave way in turn */
    if (winners == 0) {
      claim *c;
      must(claim_take(run, &c));
      assert_non_null(c);
      claim_release(c);
    }
  }
}

/* A claim of a machine that we know nothing about. */
static void write_foreign(const char *run, const char *text, int age_s) {
  char path[1100];
  struct timeval times[2];
  snprintf(path, sizeof path, "%s.claim", run);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs(text, file);
  fclose(file);
  gettimeofday(&times[0], NULL);
  times[0].tv_sec -= age_s;
  times[1] = times[0];
  assert_int_equal(utimes(path, times), 0);
}

static const char foreign[] =
    "peftscale claim 1\nhost node7\nprocess 1 5\nspace pid:[1]\nboot 00000000-0000\njob 12_3\nsince 2026-05-04T03:02:01Z\nprogress                   4 of      "
    "             9\n";

static void test_lease_of_another_machine(void **state) {
  (void)state;
  const char *run = in_folder("c.h5");
  claim *c;
  claim_view view;
  write_foreign(run, foreign, CLAIM_LEASE_S - 20);
  claim_look(run, &view);
  assert_int_equal(view.state, CLAIM_HELD);
  assert_string_equal(view.owner, "process 1 on node7, job 12_3, since 2026-05-04T03:02:01Z");
  assert_int_equal(view.done, 4);
  assert_int_equal(view.steps, 9);
  must(claim_take(run, &c));
  assert_null(c);
  write_foreign(run, foreign, CLAIM_LEASE_S + 5);
  assert_int_equal(state_of(run), CLAIM_DEAD);
  must(claim_take(run, &c));
  assert_non_null(c);
  /* One that was taken over meanwhile does not remove the other's. */
  char path[1100];
  snprintf(path, sizeof path, "%s.claim", run);
  unlink(path);
  write_foreign(run, foreign, 0);
  claim_release(c);
  assert_int_equal(state_of(run), CLAIM_HELD);
}

/* Files are dated by another clock than this machine's: what counts is theirs. */
static void test_clocks_that_differ(void **state) {
  (void)state;
  const char *run = in_folder("clock.h5");
  claim *c;
  write_foreign(run, foreign, 10);
  clock_is_ahead_s = 10 * CLAIM_LEASE_S;
  must(claim_take(run, &c));
  assert_null(c);
  write_foreign(run, foreign, CLAIM_LEASE_S + 5);
  clock_is_ahead_s = -10 * CLAIM_LEASE_S;
  must(claim_take(run, &c));
  clock_is_ahead_s = 0;
  assert_non_null(c);
  claim_release(c);
}

static void test_lost_answer(void **state) {
  (void)state;
  const char *run = in_folder("lost.h5");
  claim *c;
  answer_is_lost = 1;
  must(claim_take(run, &c));
  answer_is_lost = 0;
  assert_non_null(c);
  claim_release(c);
  assert_int_equal(state_of(run), CLAIM_FREE);
}

/* The file that the claim is to be made of is gone: who removes such files has seen that the run is done. */
static void test_tidied_away(void **state) {
  (void)state;
  claim *c;
  is_tidied = 1;
  must(claim_take(in_folder("tidied.h5"), &c));
  is_tidied = 0;
  assert_null(c);
  assert_int_equal(state_of(in_folder("tidied.h5")), CLAIM_FREE);
}

static void test_unreadable_claims(void **state) {
  (void)state;
  static const char *const contents[] = {"", "nonsense", "peftscale claim 1\nhost \xff\x01\n", "peftscale claim 2\nhost a\n"};
  for (size_t i = 0; i < sizeof contents / sizeof *contents; i++) {
    const char *run = in_folder("d.h5");
    write_foreign(run, contents[i], 1);
    assert_int_equal(state_of(run), CLAIM_HELD);
    write_foreign(run, contents[i], CLAIM_LEASE_S + 5);
    assert_int_equal(state_of(run), CLAIM_DEAD);
  }
  claim *c;
  must(claim_take(in_folder("d.h5"), &c));
  assert_non_null(c);
  claim_release(c);
}

static void test_folder_that_is_not_there(void **state) {
  (void)state;
  claim *c;
  assert_int_equal(claim_take(in_folder("absent/e.h5"), &c), ERROR_SYSTEM);
  assert_null(c);
  expect_text("absent/e.h5.claim");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_take_and_release),
      cmocka_unit_test(test_progress_is_seen),
      cmocka_unit_test(test_owner_that_lives_and_dies),
      cmocka_unit_test(test_clocks_that_differ),
      cmocka_unit_test(test_lost_answer),
      cmocka_unit_test(test_tidied_away),
      cmocka_unit_test(test_zombie_is_dead),
      cmocka_unit_test(test_race_for_a_dead_claim),
      cmocka_unit_test(test_lease_of_another_machine),
      cmocka_unit_test(test_unreadable_claims),
      cmocka_unit_test(test_folder_that_is_not_there),
  };
  return cmocka_run_group_tests_name("claim", tests, setup, teardown);
}
