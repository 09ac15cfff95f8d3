#define _GNU_SOURCE
#include "sweep/claim.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"

enum { PATH_BYTES = 4096 + 64, BEAT_S = 5, TRIES = 20, CONTENT_BYTES = 1024 };

/* The last line of the file, of one length so that it is written in place. */
#define PROGRESS_FORMAT "progress %19lld of %19lld\n"

struct claim {
  char path[PATH_BYTES];
  int descriptor;
  off_t progress_at;
  _Atomic int64_t done, steps;
  pthread_t beater;
  int beats, ends; /* under `lock` */
  pthread_mutex_t lock;
  pthread_cond_t wake;
};

/* ---- owners ---- */

/* A process for good: its number may be given to another one, and is one thing in one container and another in the next. */
typedef struct owner {
  char host[100], space[64], boot[64], job[64], since[32];
  long pid;
  unsigned long long started; /* ticks after boot; 0: no such process */
} owner;

static unsigned long long started_at(long pid) {
  char path[64], text[1024];
  unsigned long long ticks = 0;
  snprintf(path, sizeof path, "/proc/%ld/stat", pid);
  FILE *file = fopen(path, "r");
  if (!file) return 0;
  size_t length = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[length] = 0;
  char *rest = strrchr(text, ')'); /* the name before it may hold anything */
  /* A zombie has ended: only its parent's attention is missing. */
  if (!rest || sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &ticks) != 1) return 0;
  return rest[1] == ' ' && (rest[2] == 'Z' || rest[2] == 'X') ? 0 : ticks;
}

static void read_word(const char *path, char *text, size_t bytes) {
  FILE *file = fopen(path, "r");
  snprintf(text, bytes, "-");
  if (!file) return;
  if (fgets(text, (int)bytes, file)) text[strcspn(text, " \t\n")] = 0;
  fclose(file);
}

/* SLURM's and PBS's names of a job, array tasks included. */
static void name_job(char *text, size_t bytes) {
  const char *array = getenv("SLURM_ARRAY_JOB_ID"), *task = getenv("SLURM_ARRAY_TASK_ID"), *job = getenv("SLURM_JOB_ID"), *pbs = getenv("PBS_JOBID");
  if (array && *array && task) snprintf(text, bytes, "%s_%s", array, task);
  else snprintf(text, bytes, "%s", job && *job ? job : pbs && *pbs ? pbs : "-");
  for (char *c = text; *c; c++)
    if (*c <= ' ' || *c > '~') *c = '?';
}

static void describe_self(owner *o) {
  memset(o, 0, sizeof *o);
  if (gethostname(o->host, sizeof o->host - 1) || !*o->host) snprintf(o->host, sizeof o->host, "unknown");
  ssize_t length = readlink("/proc/self/ns/pid", o->space, sizeof o->space - 1);
  if (length <= 0) snprintf(o->space, sizeof o->space, "-");
  read_word("/proc/sys/kernel/random/boot_id", o->boot, sizeof o->boot);
  name_job(o->job, sizeof o->job);
  clock_utc(o->since, sizeof o->since);
  o->pid = (long)getpid();
  o->started = started_at(o->pid);
}

static int parse_owner(const char *text, owner *o) {
  return sscanf(text, "peftscale claim 1\nhost %99s\nprocess %ld %llu\nspace %63s\nboot %63s\njob %63s\nsince %31s\n", o->host, &o->pid, &o->started, o->space,
                o->boot, o->job, o->since) == 7;
}

/* 1 alive, 0 gone, -1 it cannot be told from here. */
static int is_alive(const owner *o, int *is_ours) {
  owner self;
  describe_self(&self);
  if (!strcmp(self.boot, "-") || strcmp(self.boot, o->boot) || strcmp(self.space, o->space)) return -1;
  unsigned long long started = started_at(o->pid);
  *is_ours = o->started != 0 && o->pid == self.pid && o->started == self.started;
  if (!started && o->pid > 0 && kill((pid_t)o->pid, 0) && errno == EPERM) return -1; /* another user's, where /proc shows one's own alone */
  return o->started != 0 && started == o->started;
}

/* ---- looking ---- */

static int name_file(const char *run_path, const char *suffix, char path[PATH_BYTES]) { return text_format(path, PATH_BYTES, "%s.claim%s", run_path, suffix); }

static double age_s(const struct stat *s, const struct timespec *now) {
  return (double)(now->tv_sec - s->st_mtim.tv_sec) + 1e-9 * (double)(now->tv_nsec - s->st_mtim.tv_nsec);
}

/* The file of a claim. CLAIM_DEAD also for one that nobody can read and that has grown old. now: NULL, this machine's clock. */
static void look_at(const char *path, const struct timespec *now, claim_view *view) {
  char text[CONTENT_BYTES];
  struct stat status;
  struct timespec own;
  owner o;
  *view = (claim_view){.state = CLAIM_FREE};
  clock_gettime(CLOCK_REALTIME, &own);
  int descriptor = open(path, O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return;
  ssize_t length = read(descriptor, text, sizeof text - 1);
  int known = fstat(descriptor, &status) == 0;
  close(descriptor);
  text[length > 0 ? length : 0] = 0;
  int old = known && age_s(&status, now ? now : &own) > CLAIM_LEASE_S, alive = -1;
  snprintf(view->owner, sizeof view->owner, "another process");
  if (parse_owner(text, &o)) {
    char job[80] = "";
    if (strcmp(o.job, "-")) snprintf(job, sizeof job, ", job %s", o.job);
    snprintf(view->owner, sizeof view->owner, "process %ld on %s%s, since %s", o.pid, o.host, job, o.since);
    text_clean(view->owner);
    alive = is_alive(&o, &view->is_ours);
    long long done = 0, steps = 0;
    const char *progress = strstr(text, "\nprogress ");
    if (progress && sscanf(progress + 1, "progress %lld of %lld", &done, &steps) == 2 && done >= 0 && done <= steps) {
      view->done = done;
      view->steps = steps;
    }
  }
  view->state = alive == 0 || (alive < 0 && old) ? CLAIM_DEAD : CLAIM_HELD;
}

void claim_look(const char *run_path, claim_view *view) {
  char path[PATH_BYTES];
  *view = (claim_view){.state = CLAIM_FREE};
  if (!name_file(run_path, "", path)) look_at(path, NULL, view);
}

/* ---- taking ---- */

static int refuse(const char *path, const char *what) {
  return FAIL(ERROR_SYSTEM, "choose a results folder that you may write to, on a file system with hard links (--results)", "%s: %s: %s", path, what,
              strerror(errno));
}

/* The file under a name of its own, whole before anybody can see it under the claim's. */
static int write_own(claim *c, const char *path) {
  char text[CONTENT_BYTES];
  owner o;
  describe_self(&o);
  int length = snprintf(text, sizeof text, "peftscale claim 1\nhost %s\nprocess %ld %llu\nspace %s\nboot %s\njob %s\nsince %s\n", o.host, o.pid, o.started,
                        o.space, o.boot, o.job, o.since);
  c->progress_at = length;
  length += snprintf(text + length, sizeof text - (size_t)length, PROGRESS_FORMAT, 0LL, 0LL);
  c->descriptor = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (c->descriptor < 0) return refuse(path, "cannot create");
  if (pwrite(c->descriptor, text, (size_t)length, 0) != length) return refuse(path, "cannot write");
  return ERROR_NONE;
}

/* Removes the claim of a dead owner. One process at a time: two that saw the same dead one must not remove each other's new claim.
 * now: of the clock that dates the files, perhaps a file server's: the time of a file that we have just written. */
static void bury(const char *run_path, const char *path, const struct timespec *now) {
  char grave[PATH_BYTES];
  struct stat status;
  claim_view view;
  if (name_file(run_path, ".taking", grave)) return;
  if (stat(grave, &status) == 0 && age_s(&status, now) > CLAIM_LEASE_S) unlink(grave); /* of one that was killed here */
  int descriptor = open(grave, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor < 0) return;
  look_at(path, now, &view);
  if (view.state == CLAIM_DEAD) unlink(path);
  close(descriptor);
  unlink(grave);
}

static void beat(claim *c, int64_t written[2]) {
  char text[64];
  int64_t done = c->done, steps = c->steps;
  int length = snprintf(text, sizeof text, PROGRESS_FORMAT, (long long)done, (long long)steps);
  /* A full disk must not stop anybody here: the worst is that another takes the run over. */
  if (pwrite(c->descriptor, text, (size_t)length, c->progress_at) == length) {
    written[0] = done;
    written[1] = steps;
  }
}

static void *keep_fresh(void *argument) {
  claim *c = argument;
  int64_t written[2] = {0, 0};
  int quiet_s = 0;
  pthread_mutex_lock(&c->lock);
  while (!c->ends) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec++;
    pthread_cond_timedwait(&c->wake, &c->lock, &until);
    quiet_s++;
    if (c->ends || (quiet_s < BEAT_S && c->done == written[0] && c->steps == written[1])) continue;
    beat(c, written);
    quiet_s = 0;
  }
  pthread_mutex_unlock(&c->lock);
  return NULL;
}

/* A thread of its own, since a step may take minutes; signals are for the others. */
static void start_beating(claim *c) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  c->beats = pthread_create(&c->beater, NULL, keep_fresh, c) == 0;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void destroy(claim *c) {
  if (c->descriptor >= 0) close(c->descriptor);
  pthread_mutex_destroy(&c->lock);
  pthread_cond_destroy(&c->wake);
  free(c);
}

/* *taken: whether the claim is ours now. */
static int try_taking(claim *c, const char *run_path, const char *own, int *taken) {
  *taken = 0;
  for (int i = 0; i < TRIES; i++) {
    claim_view view;
    struct stat status;
    int failed = link(own, c->path), reason = errno;
    if (fstat(c->descriptor, &status)) return refuse(own, "cannot look at");
    if (!failed || status.st_nlink == 2) { /* a file server that is asked twice says of the second time that there is such a file */
      *taken = 1;
      return ERROR_NONE;
    }
    if (status.st_nlink == 0) return ERROR_NONE; /* another has tidied up beside the finished run (tidy.h) */
    errno = reason;
    if (reason != EEXIST) return refuse(c->path, "cannot create");
    look_at(c->path, &status.st_mtim, &view);
    if (view.state == CLAIM_HELD) return ERROR_NONE;
    if (view.state == CLAIM_DEAD) bury(run_path, c->path, &status.st_mtim);
  }
  return ERROR_NONE; /* others keep coming first */
}

int claim_take(const char *run_path, claim **result) {
  char own[PATH_BYTES], suffix[64];
  int taken = 0;
  *result = NULL;
  claim *c = calloc(1, sizeof *c);
  if (!c) return FAIL(ERROR_MEMORY, NULL, "out of memory");
  c->descriptor = -1;
  pthread_mutex_init(&c->lock, NULL);
  pthread_cond_init(&c->wake, NULL);
  owner self;
  describe_self(&self);
  snprintf(suffix, sizeof suffix, ".%ld-%llu-%.8s", self.pid, self.started, self.boot);
  int code = name_file(run_path, "", c->path);
  if (!code) code = name_file(run_path, suffix, own);
  if (!code) {
    code = write_own(c, own);
    if (!code) code = try_taking(c, run_path, own, &taken);
    unlink(own);
  }
  if (code || !taken) {
    destroy(c);
    return code;
  }
  start_beating(c);
  *result = c;
  return ERROR_NONE;
}

void claim_progress(void *context, int64_t done, int64_t steps) {
  claim *c = context;
  c->steps = steps;
  c->done = done;
}

void claim_release(claim *c) {
  if (!c) return;
  pthread_mutex_lock(&c->lock);
  c->ends = 1;
  pthread_cond_signal(&c->wake);
  pthread_mutex_unlock(&c->lock);
  if (c->beats) pthread_join(c->beater, NULL);
  /* Of one that was taken over (this process was stopped for longer than the lease) the name is another's. */
  struct stat own, named;
  if (fstat(c->descriptor, &own) == 0 && stat(c->path, &named) == 0 && own.st_ino == named.st_ino && own.st_dev == named.st_dev) unlink(c->path);
  destroy(c);
}
