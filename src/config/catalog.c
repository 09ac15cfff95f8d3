#include "config/catalog.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/text.h"

enum { NAME_COUNT = 1024, NAME_BYTES = 256, DEPTH = 4, LISTED_BYTES = 600 };

typedef struct name_list {
  char *name[NAME_COUNT];
  int count;
} name_list;

/* Is it a name that stays inside the folder? */
static int is_inside(const char *kind, const char *name) {
  if (!*name || *name == '/' || strlen(name) >= NAME_BYTES) return 0;
  if (strcmp(kind, "preset") && strchr(name, '/')) return 0;
  for (const char *part = name; part; part = strchr(part, '/')) {
    part += *part == '/';
    if (*part == '.' || *part == '/' || !*part) return 0; /* hidden, ".", "..", or empty */
  }
  return 1;
}

int config_catalog_path(const char *root, const char *kind, const char *name, char *path, size_t bytes, int *exists) {
  struct stat state;
  *exists = 0;
  TRY(text_format(path, bytes, "%s/%s/%s.yaml", root, kind, name));
  *exists = is_inside(kind, name) && !stat(path, &state) && !S_ISDIR(state.st_mode);
  return ERROR_NONE;
}

/* Adds the names below `folder`, each with `before` in front. What cannot be read is left out: the list only helps. */
static void collect(const char *folder, const char *before, int depth, name_list *list) {
  DIR *opened = opendir(folder);
  if (!opened) return;
  for (struct dirent *entry; (entry = readdir(opened)) && list->count < NAME_COUNT;) {
    char path[4096], name[NAME_BYTES];
    struct stat state;
    size_t length = strlen(entry->d_name);
    if (*entry->d_name == '.') continue;
    if (snprintf(path, sizeof path, "%s/%s", folder, entry->d_name) >= (int)sizeof path || stat(path, &state)) continue;
    if (snprintf(name, sizeof name, "%s%s", before, entry->d_name) >= (int)sizeof name - 1) continue;
    if (S_ISDIR(state.st_mode) && depth > 1) {
      strcat(name, "/");
      collect(path, name, depth - 1, list);
    } else if (length > 5 && !strcmp(entry->d_name + length - 5, ".yaml")) {
      name[strlen(name) - 5] = 0;
      if ((list->name[list->count] = strdup(name))) list->count++;
    }
  }
  closedir(opened);
}

static int compare(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

int config_catalog_refuse(const char *root, const char *kind, const char *name) {
  char folder[4096], text[LISTED_BYTES + NAME_BYTES] = "", hint[NAME_BYTES + 32] = "";
  name_list *list = calloc(1, sizeof *list);
  if (!list) return FAIL(ERROR_MEMORY, NULL, "out of memory for the names of %s/%s", root, kind);
  snprintf(folder, sizeof folder, "%s/%s", root, kind);
  collect(folder, "", strcmp(kind, "preset") ? 1 : DEPTH, list);
  qsort(list->name, (size_t)list->count, sizeof *list->name, compare);
  int near = text_nearest(name, (const char *const *)list->name, list->count);
  if (near >= 0) snprintf(hint, sizeof hint, "did you mean '%s'?", list->name[near]);
  size_t used = 0;
  for (int i = 0; i < list->count && used < LISTED_BYTES; i++) used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", i ? ", " : "", list->name[i]);
  if (used >= LISTED_BYTES) snprintf(text + used, sizeof text - used, " ...");
  int code = FAIL(ERROR_USAGE, hint, "there is no %s '%.100s'; %.200s holds: %s", kind, name, folder, list->count ? text : "nothing");
  for (int i = 0; i < list->count; i++) free(list->name[i]);
  free(list);
  return code;
}
