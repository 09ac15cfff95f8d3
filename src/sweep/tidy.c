#include "sweep/tidy.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/text.h"
#include "sweep/claim.h"

/* The finished run whose file is called NAME.h5 in "NAME.h5.SUFFIX"; NULL: none of ours, or not finished. */
static const plan_run *find_owner(const plan *p, const char *name) {
  const char *end = strstr(name, ".h5.");
  for (int i = 0; end && i < p->count; i++) {
    const plan_run *entry = &p->runs[i];
    if (entry->archived || (entry->state != PLAN_DONE && entry->state != PLAN_STALE)) continue;
    if (strlen(entry->name) == (size_t)(end - name) && !strncmp(entry->name, name, strlen(entry->name))) return entry;
  }
  return NULL;
}

static void remove_leftover(const plan *p, const plan_run *owner, const char *directory, const char *name) {
  char run_path[PLAN_PATH_BYTES], path[PLAN_PATH_BYTES];
  claim *held;
  if (plan_path(p, owner, run_path) || text_format(path, sizeof path, "%s/%s", directory, name)) return;
  if (claim_take(run_path, &held) || !held) return; /* somebody is at it; a dead owner's claim goes with this */
  if (access(run_path, F_OK) == 0 && strcmp(strstr(name, ".h5."), ".h5.claim")) unlink(path);
  claim_release(held);
}

void tidy(const plan *p) {
  char directory[PLAN_PATH_BYTES];
  if (text_format(directory, sizeof directory, "%s/runs", p->results)) return;
  DIR *list = opendir(directory);
  for (struct dirent *entry; list && (entry = readdir(list));) {
    const plan_run *owner = find_owner(p, entry->d_name);
    if (owner && !strstr(entry->d_name, ".h5.unusable")) remove_leftover(p, owner, directory, entry->d_name);
  }
  if (list) closedir(list);
}
