/* Errors: what went wrong, where, and what to do about it.
 *
 * Every function that can fail returns an int: ERROR_NONE (0) or a code below. The code travels up through TRY; the text, with the place that raised it
 * and a hint for the user, is kept per thread until the next error. Nothing below main prints it or exits.
 *
 * Not collective. Ranks agree on the worst code with comm_agree() before any collective phase.
 */
#ifndef PEFTSCALE_ERROR_H
#define PEFTSCALE_ERROR_H

enum {
  ERROR_NONE = 0,
  ERROR_INPUT = 1,    /* a file or a value from outside is unusable             */
  ERROR_USAGE = 2,    /* wrong command line or configuration                    */
  ERROR_SYSTEM = 3,   /* the operating system, MPI or a library refused         */
  ERROR_MEMORY = 4,   /* out of memory                                          */
  ERROR_DIVERGED = 5, /* the training's numbers left the finite range           */
  ERROR_INTERNAL = 6, /* a broken promise inside the program                    */
  ERROR_STOPPED = 7,  /* asked to stop, and stopped at a checkpoint             */
  ERROR_CODE_COUNT
};

typedef struct error {
  int code;
  const char *source; /* file of the place that raised it, static storage */
  int line;
  char text[1024]; /* one sentence: file or key, place, reason           */
  char hint[512];  /* what to do, or ""                                   */
} error;

/* Records an error of this thread and returns `code`. `hint` may be NULL. Use through FAIL. */
int error_raise(const char *source, int line, int code, const char *hint, const char *format, ...) __attribute__((format(printf, 5, 6)));

/* The last error of this thread; never NULL. */
const error *error_last(void);

/* Makes a copied error (of another thread or rank) the last one of this thread; returns its code. */
int error_restore(const error *copy);

/* The process's exit status for a code: 0 done, 1 failed, 2 wrong usage, 75 stopped at a checkpoint. */
int error_exit_status(int code);

/* Puts words before the text of this thread's last error ("configs/x.yaml: ..."), for callers that know the context. Returns its code. */
int error_prefix(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define FAIL(code, hint, ...) error_raise(__FILE__, __LINE__, (code), (hint), __VA_ARGS__)
#define TRY(call)                    \
  do {                               \
    int try_code_ = (call);          \
    if (try_code_) return try_code_; \
  } while (0)

#endif
