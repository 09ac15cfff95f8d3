#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local error last_error;

int error_raise(const char *source, int line, int code, const char *hint, const char *format, ...) {
  error fresh = {.code = code, .source = source, .line = line}; /* apart: the arguments may be texts of the last error */
  va_list list;
  va_start(list, format);
  vsnprintf(fresh.text, sizeof fresh.text, format, list);
  va_end(list);
  snprintf(fresh.hint, sizeof fresh.hint, "%s", hint ? hint : "");
  last_error = fresh;
  return code;
}

const error *error_last(void) { return &last_error; }

int error_restore(const error *copy) {
  if (copy != &last_error) last_error = *copy;
  return last_error.code;
}

int error_prefix(const char *format, ...) {
  char joined[sizeof last_error.text];
  va_list list;
  va_start(list, format);
  int used = vsnprintf(joined, sizeof joined, format, list);
  va_end(list);
  if (used < 0) used = 0;
  if ((size_t)used < sizeof joined) snprintf(joined + used, sizeof joined - (size_t)used, "%s", last_error.text);
  memcpy(last_error.text, joined, sizeof joined);
  return last_error.code;
}

int error_exit_status(int code) {
  switch (code) {
    case ERROR_NONE: return 0;
    case ERROR_USAGE: return 2;
    case ERROR_STOPPED: return 75; /* EX_TEMPFAIL: try again, as SLURM's requeue does */
    default: return 1;
  }
}
