/* What plan.c and index.c share. Not for others. */
#ifndef PEFTSCALE_PLAN_PRIVATE_H
#define PEFTSCALE_PLAN_PRIVATE_H

#include <sys/stat.h>

#include "base/arena.h"
#include "sweep/plan.h"

/* A finished run as a file of ours remembers it. */
typedef struct remembered {
  char id[HASH_TEXT_BYTES];
  int is_archived;
  plan_outcome outcome;
} remembered;

struct plan_memory {
  arena *arena;
  int *slot, slots;  /* run ids to places: plan_find */
  remembered *entry; /* [entries], by id */
  int entries;
};

/* Reads index.tsv (a cache: one that is damaged is passed over) and archive.tsv. Errors: ERROR_INPUT for a damaged archive.tsv, ERROR_MEMORY. */
int plan_load(plan *p);

/* Gives a run what is remembered of it. */
void plan_recall(plan *p, int index);

/* When a file was written, in nanoseconds. */
int64_t plan_written_ns(const struct stat *status);

#endif
