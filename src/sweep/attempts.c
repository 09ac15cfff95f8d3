#include "sweep/attempts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"
#include "store/file.h"

enum { PATH_BYTES = 4096 + 64, LINE_BYTES = 1024, FILE_BYTES = 1 << 20 };

static const char *const end_names[] = {"", "killed", "stopped", "failed", "diverged"};
enum { END_COUNT = sizeof end_names / sizeof *end_names };

/* "begin UTC HOST PROCESS CHECKPOINT" or "end UTC HOW REASON", with tabs between. */
static int append(const char *run_path, const char *line) {
  char path[PATH_BYTES];
  TRY(text_format(path, sizeof path, "%s.attempts", run_path));
  int descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  ssize_t length = (ssize_t)strlen(line), written = descriptor < 0 ? -1 : write(descriptor, line, (size_t)length);
  int reason = errno;
  if (descriptor >= 0) close(descriptor);
  if (written == length) return ERROR_NONE;
  return FAIL(ERROR_SYSTEM, "is the disk full, and may you write to the results folder?", "%s: cannot write: %s", path,
              written < 0 ? strerror(reason) : "no room");
}

/* Names the checkpoint that an attempt goes on from: another one means that the attempt before got somewhere. */
static void name_checkpoint(const char *run_path, char *text, size_t bytes) {
  char path[PATH_BYTES];
  struct stat status;
  snprintf(text, bytes, "-");
  if (!text_format(path, sizeof path, "%s.checkpoint", run_path) && stat(path, &status) == 0)
    snprintf(text, bytes, "%lld.%09ld", (long long)status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
}

int attempts_begin(const char *run_path) {
  char line[LINE_BYTES], now[32], host[100] = "unknown", checkpoint[64];
  gethostname(host, sizeof host - 1);
  clock_utc(now, sizeof now);
  name_checkpoint(run_path, checkpoint, sizeof checkpoint);
  snprintf(line, sizeof line, "begin\t%s\t%s\t%ld\t%s\n", now, host, (long)getpid(), checkpoint);
  return append(run_path, line);
}

int attempts_finish(const char *run_path, attempts_end how, const char *reason) {
  char line[LINE_BYTES], now[32], plain[ATTEMPTS_REASON_BYTES];
  clock_utc(now, sizeof now);
  snprintf(plain, sizeof plain, "%s", reason);
  text_clean(plain); /* tabs and line ends, too */
  snprintf(line, sizeof line, "end\t%s\t%s\t%s\n", now, end_names[how], plain);
  return append(run_path, line);
}

static attempts_end find_end(const char *name) {
  for (int i = ATTEMPT_KILLED; i < END_COUNT; i++)
    if (!strcmp(name, end_names[i])) return (attempts_end)i;
  return ATTEMPT_FAILED; /* of a newer version, perhaps: not for us to begin again */
}

/* A line's next word up to a tab. */
static char *next_word(char **rest) {
  char *word = *rest, *tab = strchr(word, '\t');
  if (tab) *tab = 0;
  *rest = tab ? tab + 1 : word + strlen(word);
  return word;
}

static void read_line(char *line, attempts *a, char checkpoint[64]) {
  char *kind = next_word(&line);
  next_word(&line); /* when */
  if (!strcmp(kind, "begin")) {
    next_word(&line);
    next_word(&line);
    char *from = next_word(&line);
    int same = a->last == ATTEMPT_KILLED && !strcmp(from, checkpoint);
    snprintf(checkpoint, 64, "%s", from);
    a->killed_in_row = same ? a->killed_in_row + 1 : 1;
    a->count++;
    a->last = ATTEMPT_KILLED; /* until its end is read */
    snprintf(a->reason, sizeof a->reason, "killed");
  } else if (!strcmp(kind, "end") && a->count) {
    a->last = find_end(next_word(&line));
    if (a->last != ATTEMPT_KILLED) a->killed_in_row = 0;
    snprintf(a->reason, sizeof a->reason, "%s", line);
    text_clean(a->reason);
  }
}

void attempts_read(const char *run_path, attempts *result) {
  char path[PATH_BYTES], *bytes, checkpoint[64] = "";
  size_t count;
  *result = (attempts){0};
  if (text_format(path, sizeof path, "%s.attempts", run_path) || access(path, F_OK) || file_read(path, FILE_BYTES, &bytes, &count)) return;
  for (size_t i = 0; i < count; i++)
    if (!bytes[i]) bytes[i] = '\n'; /* what a host that died had not written: lines may follow */
  for (char *line = bytes, *end; *line; line = end) {
    end = line + strcspn(line, "\n");
    if (*end) *end++ = 0;
    read_line(line, result, checkpoint);
  }
  free(bytes);
}

void attempts_clear(const char *run_path) {
  char path[PATH_BYTES];
  if (!text_format(path, sizeof path, "%s.attempts", run_path)) unlink(path);
}
