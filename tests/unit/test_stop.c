/* Requests to stop: which signals ask, what a second one does, and that the signals are given back. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "train/stop.h"

static void test_each_asks(void **state) {
  (void)state;
  static const int numbers[] = {SIGUSR1, SIGTERM, SIGINT};
  static const char *const names[] = {"SIGUSR1", "SIGTERM", "SIGINT"};
  for (int i = 0; i < 3; i++) {
    assert_int_equal(stop_listen(), ERROR_NONE);
    assert_int_equal(stop_requested(), 0);
    raise(numbers[i]);
    assert_int_equal(stop_requested(), numbers[i]);
    assert_string_equal(stop_signal_name(numbers[i]), names[i]);
    raise(SIGUSR1); /* as often as one likes */
    raise(SIGUSR1);
    assert_int_equal(stop_requested(), numbers[i]);
    stop_end();
    assert_int_equal(stop_requested(), 0);
  }
}

/* How a child ends that is sent `first`, and after `pause_us` `second`: the signal, or 0. */
static int death_of(int first, useconds_t pause_us, int second) {
  int status;
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    if (stop_listen()) _exit(1);
    raise(first);
    usleep(pause_us);
    raise(second);
    _exit(stop_requested() == first ? 0 : 1);
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void test_second(void **state) {
  (void)state;
  enum { LATER_US = 1100000 };
  assert_int_equal(death_of(SIGTERM, 0, SIGTERM), 0); /* delivered twice */
  assert_int_equal(death_of(SIGTERM, LATER_US, SIGTERM), SIGTERM);
  assert_int_equal(death_of(SIGINT, LATER_US, SIGINT), SIGINT);
  assert_int_equal(death_of(SIGTERM, LATER_US, SIGINT), SIGINT);
  assert_int_equal(death_of(SIGUSR1, LATER_US, SIGUSR1), 0);
  assert_int_equal(death_of(SIGUSR1, LATER_US, SIGTERM), 0); /* ahead of a time limit, and at it: there is still the checkpoint to write */
}

static int caught;
static void catch_it(int number) { caught = number; }

static void test_given_back(void **state) {
  (void)state;
  struct sigaction now;
  signal(SIGUSR1, catch_it);
  signal(SIGINT, SIG_IGN);
  assert_int_equal(stop_listen(), ERROR_NONE);
  raise(SIGINT); /* ignored before, ignored now */
  assert_int_equal(stop_requested(), 0);
  raise(SIGUSR1);
  assert_int_equal(caught, 0);
  stop_end();
  stop_end(); /* nobody listens: nothing to give back */
  raise(SIGUSR1);
  assert_int_equal(caught, SIGUSR1);
  sigaction(SIGTERM, NULL, &now);
  assert_true(now.sa_handler == SIG_DFL);
  sigaction(SIGINT, NULL, &now);
  assert_true(now.sa_handler == SIG_IGN);
  signal(SIGUSR1, SIG_DFL);
  signal(SIGINT, SIG_DFL);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_asks), cmocka_unit_test(test_second), cmocka_unit_test(test_given_back)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
