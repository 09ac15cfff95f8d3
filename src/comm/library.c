#include "comm/library.h"

#include <mpi.h>
#include <stdio.h>
#include <string.h>

#include "comm/comm.h"

/* What stands behind `name` in its line: up to the line's end, without blanks, tabs and colons around it. 0: there is no such line. */
static int read_item(const char *words, const char *name, char *value, size_t bytes) {
  const char *found = strstr(words, name);
  if (!found) return 0;
  found += strlen(name);
  found += strspn(found, " \t:");
  size_t length = strcspn(found, "\n");
  while (length > 0 && strchr(" \t\r", found[length - 1])) length--;
  snprintf(value, bytes, "%.*s", (int)length, found);
  return length > 0;
}

void library_describe(const char *words, char *text, size_t bytes) {
  char version[128], device[128];
  if (!strncmp(words, "MPICH Version", 13) && read_item(words, "MPICH Version", version, sizeof version)) {
    int has_device = read_item(words, "MPICH Device", device, sizeof device);
    snprintf(text, bytes, "MPICH %s%s%s", version, has_device ? ", device " : "", has_device ? device : "");
    return;
  }
  snprintf(text, bytes, "%.*s", (int)strcspn(words, "\n"), words);
  for (char *letter = text; *letter; letter++)
    if (*letter == '\t') *letter = ' ';
}

const char *comm_library(void) {
  static char text[256];
  char words[MPI_MAX_LIBRARY_VERSION_STRING];
  int length;
  if (!text[0] && MPI_Get_library_version(words, &length) == MPI_SUCCESS) library_describe(words, text, sizeof text);
  return text;
}

int library_is_open_mpi(void) { return !strncmp(comm_library(), "Open MPI", 8); }
