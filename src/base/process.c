#define _GNU_SOURCE /* sched_setaffinity */
#include "base/process.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"

static void set_environment(const process_request *r) {
  for (int i = 0; i < r->environment_count; i++) putenv((char *)r->environment[i]);
  for (int i = 0; i < r->default_count; i++) {
    char name[256];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(r->defaults[i], "="), r->defaults[i]);
    if (!getenv(name)) putenv((char *)r->defaults[i]);
  }
}

static void stand_apart(pid_t parent) {
  sigset_t none;
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(125); /* it has ended already */
  setpgid(0, 0);
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  int input = open("/dev/null", O_RDONLY);
  if (input >= 0) dup2(input, 0);
  if (input > 0) close(input);
}

/* In the new process. */
static void become(const process_request *r, int output, pid_t parent) {
  if (r->is_apart) stand_apart(parent);
  if (r->core_count) {
    cpu_set_t own;
    CPU_ZERO(&own);
    for (int i = 0; i < r->core_count; i++) CPU_SET(r->cores[i], &own);
    sched_setaffinity(0, sizeof own, &own);
  }
  set_environment(r);
  if (r->output) output = open(r->output, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  if (output >= 0) {
    dup2(output, 1);
    dup2(output, 2);
    if (output > 2) close(output);
  }
  execvp(r->words[0], (char *const *)r->words);
  dprintf(2, "%s: %s\n", r->words[0], errno == ENOENT ? "there is no such program" : strerror(errno));
  _exit(127);
}

static int start(const process_request *r, int output, pid_t *pid) {
  pid_t parent = getpid();
  fflush(NULL); /* what is still held back must not be written twice */
  *pid = 0;     /* not fork's -1: kill(-1) means every process */
  pid_t made = fork();
  if (made == 0) become(r, output, parent);
  if (made < 0) return FAIL(ERROR_SYSTEM, NULL, "cannot start %s: %s", r->words[0], strerror(errno));
  *pid = made;
  return ERROR_NONE;
}

int process_start(const process_request *request, pid_t *pid) { return start(request, -1, pid); }

int process_status(int waited) { return WIFEXITED(waited) ? WEXITSTATUS(waited) : 128 + WTERMSIG(waited); }

/* All that comes, of which the first is kept: a program must not wait for its reader. */
static void read_all(int from, char *output, size_t bytes) {
  char more[1024];
  size_t used = 0;
  for (ssize_t got; (got = read(from, more, sizeof more)) > 0 || (got < 0 && errno == EINTR);)
    for (ssize_t i = 0; i < got && used < bytes - 1; i++) output[used++] = more[i];
  while (used && isspace((unsigned char)output[used - 1])) used--;
  output[used] = 0;
}

int process_run(const process_request *request, char *output, size_t bytes, int *status) {
  int ends[2] = {-1, -1}, waited = 0;
  pid_t pid;
  if (output && pipe2(ends, O_CLOEXEC)) return FAIL(ERROR_SYSTEM, NULL, "cannot make a pipe: %s", strerror(errno));
  int code = start(request, ends[1], &pid);
  if (ends[1] >= 0) close(ends[1]);
  if (!code && output) read_all(ends[0], output, bytes);
  if (ends[0] >= 0) close(ends[0]);
  TRY(code);
  while (waitpid(pid, &waited, 0) < 0 && errno == EINTR) continue;
  *status = process_status(waited);
  return ERROR_NONE;
}
