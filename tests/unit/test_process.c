/* base/process: a process that cannot be started leaves no number behind: a caller that ends its processes must not end others (-1 means all of them). */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/types.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/process.h"
#include "support/folder.h"

/* In place of the C library's: as at a limit of processes. */
pid_t fork(void) {
  errno = EAGAIN;
  return -1;
}

static void test_no_process_can_be_made(void **state) {
  (void)state;
  const char *const words[] = {"true", NULL};
  const process_request request = {.words = words};
  char output[16];
  int status;
  pid_t pid = 77;
  assert_int_equal(process_start(&request, &pid), ERROR_SYSTEM);
  expect_text("true");
  assert_int_equal(pid, 0);
  assert_int_equal(process_run(&request, output, sizeof output, &status), ERROR_SYSTEM);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_no_process_can_be_made)};
  return cmocka_run_group_tests_name("process", tests, setup, teardown);
}
