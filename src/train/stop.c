#define _GNU_SOURCE
#include "train/stop.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "base/error.h"

static const int signals[] = {SIGUSR1, SIGTERM, SIGINT};
enum { SIGNALS = sizeof signals / sizeof *signals };

static volatile sig_atomic_t requested;     /* by which signal; 0: not */
static volatile sig_atomic_t ends_since_ms; /* on the handler's clock: the first SIGTERM or SIGINT; 0: none */
static struct sigaction before[SIGNALS];
static int listens;

static int now_ms(void) {
  enum { WRAP_S = 1000000 }; /* fits an int */
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int)(t.tv_sec % WRAP_S) * 1000 + (int)(t.tv_nsec / 1000000) + 1;
}

static void note(int number) {
  enum { SAME_MS = 1000 };
  int kept = errno, now = now_ms();
  if (number != SIGUSR1 && ends_since_ms && (now < ends_since_ms || now - ends_since_ms >= SAME_MS)) {
    signal(number, SIG_DFL); /* delivered as soon as this handler returns */
    raise(number);
  }
  if (number != SIGUSR1 && !ends_since_ms) ends_since_ms = now;
  if (!requested) requested = number;
  errno = kept;
}

int stop_listen(void) {
  requested = 0;
  ends_since_ms = 0;
  for (int i = 0; i < SIGNALS; i++) {
    struct sigaction action = {.sa_handler = note, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    int failed = sigaction(signals[i], NULL, &before[i]);
    if (!failed && !(signals[i] == SIGINT && before[i].sa_handler == SIG_IGN)) failed = sigaction(signals[i], &action, NULL);
    if (!failed) continue;
    while (i--) sigaction(signals[i], &before[i], NULL);
    return FAIL(ERROR_SYSTEM, NULL, "cannot listen to signals: %s", strerror(errno));
  }
  listens = 1;
  return ERROR_NONE;
}

void stop_end(void) {
  for (int i = 0; listens && i < SIGNALS; i++) sigaction(signals[i], &before[i], NULL);
  listens = 0;
  requested = 0;
}

int stop_requested(void) { return requested; }

const char *stop_signal_name(int number) { return number == SIGUSR1 ? "SIGUSR1" : number == SIGTERM ? "SIGTERM" : number == SIGINT ? "SIGINT" : "a signal"; }
