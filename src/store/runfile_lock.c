#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"
#include "store/runfile_private.h"

enum { TRIES = 20 };

/* The user's word, in HDF5's own variable, that this file system has no locks and that nobody else writes. */
static int locks_are_off(void) {
  const char *word = getenv("HDF5_USE_FILE_LOCKING");
  return word && (!strcasecmp(word, "FALSE") || !strcmp(word, "0") || !strcasecmp(word, "BEST_EFFORT"));
}

static int refuse_held(const char *partial, int descriptor) {
  char holder[200];
  ssize_t length = pread(descriptor, holder, sizeof holder - 1, 0);
  holder[length > 0 ? length : 0] = 0;
  return FAIL(ERROR_INPUT, "wait for it or stop it, or choose another name or directory (output.name, output.dir, --out)", "%s: is being written by %s",
              partial, *holder ? holder : "another process");
}

static void write_holder(int descriptor) {
  char text[200], host[100] = "unknown", now[32];
  gethostname(host, sizeof host - 1);
  clock_utc(now, sizeof now);
  int length = snprintf(text, sizeof text, "process %ld on %s since %s", (long)getpid(), host, now);
  /* Only for the message above: a full disk must not stop anybody here. */
  if (ftruncate(descriptor, 0) == 0 && pwrite(descriptor, text, (size_t)length, 0) < 0) errno = 0;
}

int runfile_lock_take(const char *partial, runfile_lock *lock) {
  lock->descriptor = -1;
  TRY(text_format(lock->path, sizeof lock->path, "%s.lock", partial));
  for (int i = 0; i < TRIES; i++) {
    int descriptor = open(lock->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (descriptor < 0)
      return FAIL(ERROR_SYSTEM, "choose an output directory that you may write to (output.dir, --out)", "%s: cannot create: %s", lock->path, strerror(errno));
    if (flock(descriptor, LOCK_EX | LOCK_NB)) {
      int reason = errno, code = ERROR_NONE;
      if (reason == EWOULDBLOCK) code = refuse_held(partial, descriptor);
      else if (reason != EINTR && !locks_are_off())
        code = FAIL(ERROR_SYSTEM, "set HDF5_USE_FILE_LOCKING=FALSE if no other job writes this run, or choose an output directory on another file system",
                    "%s: this file system cannot lock files: %s", lock->path, strerror(reason));
      if (code || reason == EINTR) close(descriptor);
      if (code) return code;
      if (reason == EINTR) continue;
    }
    /* The last holder removes the file: what was locked must still be what the path names. */
    struct stat locked, named;
    if (fstat(descriptor, &locked) == 0 && stat(lock->path, &named) == 0 && locked.st_ino == named.st_ino && locked.st_dev == named.st_dev) {
      write_holder(descriptor);
      lock->descriptor = descriptor;
      return ERROR_NONE;
    }
    close(descriptor);
  }
  return FAIL(ERROR_SYSTEM, "try again", "%s: other processes keep taking this lock", lock->path);
}

void runfile_lock_release(runfile_lock *lock) {
  if (lock->descriptor < 0) return;
  unlink(lock->path); /* while still held, see above */
  close(lock->descriptor);
  lock->descriptor = -1;
}
