/* Lines for people. Standard error carries them; standard output is kept for results (tables, JSON).
 *
 * Not collective: a process prints only if it was told that it may (rank 0). Thread-safe per line.
 */
#ifndef PEFTSCALE_LOG_H
#define PEFTSCALE_LOG_H

#include "base/error.h"

typedef enum log_level { LOG_QUIET = 0, LOG_NORMAL = 1, LOG_VERBOSE = 2 } log_level;

/* Who prints and how much: `speaker` is non-zero on the one process whose lines are shown. Warnings and errors are shown at every level. */
void log_setup(int speaker, log_level level);

void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_detail(const char *format, ...) __attribute__((format(printf, 1, 2))); /* shown at LOG_VERBOSE */
void log_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* "peftscale: error: TEXT" (of ERROR_STOPPED without the word error) and, on a line of its own, "  hint: HINT". Shown by the speaker. */
void log_error(const error *e);

/* A live line: rewritten in place when standard error is a terminal (at most its width), otherwise printed as a plain line. An empty format clears it. */
void log_progress(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Non-zero when log_progress rewrites in place. */
int log_is_terminal(void);

#endif
