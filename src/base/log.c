#include "base/log.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int speaks = 1;
static log_level shown = LOG_NORMAL;
static int progress_open; /* a live line stands on the terminal and must be cleared first */

void log_setup(int speaker, log_level level) {
  speaks = speaker;
  shown = level;
}

/* mpirun gives a rank a pipe for standard error and passes on what comes through it byte by byte: where mpirun itself, our parent, writes to a terminal, that
 * terminal is where our line ends up. */
static int launcher_terminal(void) {
  static const char *const launchers[] = {"mpirun", "mpiexec", "orterun", "prterun"};
  char path[64], name[32] = "";
  snprintf(path, sizeof path, "/proc/%d/comm", (int)getppid());
  FILE *file = fopen(path, "r");
  if (!file) return -1;
  if (!fgets(name, sizeof name, file)) name[0] = 0;
  fclose(file);
  name[strcspn(name, "\n")] = 0;
  for (size_t i = 0; i < sizeof launchers / sizeof *launchers; i++) {
    if (strcmp(name, launchers[i])) continue;
    snprintf(path, sizeof path, "/proc/%d/fd/2", (int)getppid());
    int descriptor = open(path, O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (descriptor >= 0 && isatty(descriptor)) return descriptor;
    if (descriptor >= 0) close(descriptor);
  }
  return -1;
}

/* The terminal that standard error leads to, only asked for its size; -1 if none. */
static int terminal(void) {
  static int known, descriptor;
  if (!known) {
    descriptor = isatty(STDERR_FILENO) ? STDERR_FILENO : launcher_terminal();
    known = 1;
  }
  return descriptor;
}

int log_is_terminal(void) { return terminal() >= 0; }

static void print_line(const char *before, const char *format, va_list list) {
  char text[2048];
  vsnprintf(text, sizeof text, format, list);
  flockfile(stderr);
  if (progress_open) fputs("\r\033[K", stderr);
  progress_open = 0;
  fprintf(stderr, "%s%s\n", before, text);
  funlockfile(stderr);
}

void log_info(const char *format, ...) {
  if (!speaks || shown < LOG_NORMAL) return;
  va_list list;
  va_start(list, format);
  print_line("", format, list);
  va_end(list);
}

void log_detail(const char *format, ...) {
  if (!speaks || shown < LOG_VERBOSE) return;
  va_list list;
  va_start(list, format);
  print_line("", format, list);
  va_end(list);
}

void log_warning(const char *format, ...) {
  if (!speaks) return;
  va_list list;
  va_start(list, format);
  print_line("peftscale: warning: ", format, list);
  va_end(list);
}

static void print_words(const char *format, ...) {
  va_list list;
  va_start(list, format);
  print_line("", format, list);
  va_end(list);
}

void log_error(const error *e) {
  if (!speaks) return;
  print_words(e->code == ERROR_STOPPED ? "peftscale: %s" : "peftscale: error: %s", e->text); /* to stop as asked is no failure */
  if (e->hint[0]) print_words("  hint: %s", e->hint);
}

void log_progress(const char *format, ...) {
  if (!speaks || shown < LOG_NORMAL) return;
  char text[512];
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof text, format, list);
  va_end(list);
  if (!log_is_terminal()) {
    if (text[0]) fprintf(stderr, "%s\n", text);
    return;
  }
  struct winsize size;
  int width = ioctl(terminal(), TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col - 1 : 79;
  fprintf(stderr, "\r\033[K%.*s", width, text);
  fflush(stderr);
  progress_open = text[0] != 0;
}
