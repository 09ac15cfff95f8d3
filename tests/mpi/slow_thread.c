/* ranks: 1 2 */
/* A process that ends at once, on a machine so busy that the MPI library's own thread has not yet had its turn: it ends all the same. */
#define _GNU_SOURCE
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "support/checks.h"

#define DELAY_S 0.3
#define PATIENCE_S 5

static volatile int delayed;

/* Stands before the C library's: the library's thread waits for events in it, and gets each of them late. */
__attribute__((visibility("default"))) int poll(struct pollfd *descriptors, nfds_t count, int timeout_ms) {
  int ready = (int)syscall(SYS_poll, descriptors, count, timeout_ms);
  if (ready > 0 && syscall(SYS_gettid) != getpid()) {
    delayed = 1;
    double start = clock_wall_s();
    while (clock_wall_s() < start + DELAY_S) {
    }
  }
  return ready;
}

int main(int argc, char **argv) {
  if (checks_begin(&argc, &argv)) return 1;
  for (double start = clock_wall_s(); !delayed && clock_wall_s() < start + PATIENCE_S;) {
  }
  CHECK(delayed || strncmp(comm_library(), "Open MPI v4.", 12)); /* or there was nothing to be tested */
  return checks_end();
}
