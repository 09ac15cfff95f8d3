/* For unit tests that write files: a folder of the test program's own (setup and teardown of its group), and checks of what a call said. */
#ifndef PEFTSCALE_TESTS_FOLDER_H
#define PEFTSCALE_TESTS_FOLDER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"

static char folder[512];

static inline int setup(void **state) {
  (void)state;
  const char *base = getenv("TMPDIR");
  snprintf(folder, sizeof folder, "%s/peftscale-unit-XXXXXX", base && *base ? base : "/tmp");
  return mkdtemp(folder) ? 0 : -1;
}

static inline int teardown(void **state) {
  (void)state;
  char command[700];
  snprintf(command, sizeof command, "rm -rf '%s'", folder);
  return system(command);
}

/* A path in the folder; the last four stay valid. */
static inline const char *in_folder(const char *name) {
  static char path[4][1024];
  static int turn;
  turn = (turn + 1) % 4;
  snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
  return path[turn];
}

static inline void must(int code) {
  if (code) fail_msg("%s (%s:%d)", error_last()->text, error_last()->source, error_last()->line);
}

/* What the last error's text must hold. */
static inline void expect_text(const char *part) {
  if (!strstr(error_last()->text, part)) fail_msg("'%s' lacks '%s'", error_last()->text, part);
}

#endif
