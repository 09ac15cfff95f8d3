/* What was tried of a run that is not finished, and how it ended: PATH.attempts beside the run file, one line each, kept until the run is done.
 *
 * A line is written before an attempt and another after it; where the second is missing, and nobody holds the run (claim.h), the attempt was killed. A run that
 * is killed again and again, ATTEMPTS_KILLED times without a new checkpoint between, is called failed: something in it kills its process, and others shall not
 * wait.
 *
 * Not collective: the owner of the run's claim writes, anybody reads.
 */
#ifndef PEFTSCALE_ATTEMPTS_H
#define PEFTSCALE_ATTEMPTS_H

enum { ATTEMPTS_KILLED = 3, ATTEMPTS_REASON_BYTES = 512 };

typedef enum attempts_end { ATTEMPT_NONE, ATTEMPT_KILLED, ATTEMPT_STOPPED, ATTEMPT_FAILED, ATTEMPT_DIVERGED } attempts_end;

typedef struct attempts {
  int count;         /* begun                                                          */
  int killed_in_row; /* the last ones, without a new checkpoint                        */
  attempts_end last; /* how the last one ended; NONE: there was none                   */
  char reason[ATTEMPTS_REASON_BYTES];
} attempts;

/* What is known of the run of this file; an unreadable or damaged list is an empty one. */
void attempts_read(const char *run_path, attempts *result);

/* Errors: ERROR_SYSTEM with path and reason. */
int attempts_begin(const char *run_path);
int attempts_finish(const char *run_path, attempts_end how, const char *reason);

/* Forgets what was tried: the run is done, or is to be tried again. */
void attempts_clear(const char *run_path);

#endif
