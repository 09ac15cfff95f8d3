/* What the files of the check share (check.h). Not for others. */
#ifndef PEFTSCALE_CHECK_PRIVATE_H
#define PEFTSCALE_CHECK_PRIVATE_H

#include <stdio.h>

#include "train/check.h"

/* Appends a sentence. Errors: ERROR_MEMORY. */
int check_add(arena *memory, check_lines *lines, const char *format, ...) __attribute__((format(printf, 3, 4)));

#define CHECK_REASON(run, ...) check_add((run)->memory, &(run)->reasons, __VA_ARGS__)
#define CHECK_NOTE(run, ...) check_add((run)->memory, &(run)->notes, __VA_ARGS__)

/* check_read.c: fills r from r->path; what cannot be read becomes a reason. */
int check_read(check_run *r);

/* The rules for one file, each set in a file of its own: check_identity.c, check_series.c, check_scores.c. They skip what could not be read, which has its
 * reason already. */
int check_identity(check_run *r);
int check_series(check_run *r);
int check_scores(check_run *r);

/* check_pairs.c: two readable runs; *p is empty but for a and b. */
int check_same_experiment(const check_run *a, const check_run *b, double tolerance, arena *memory, check_pair *p);
/* order: the first run with b's seed, whose sample order b must have; NULL: there is none. */
int check_comparable(const check_run *a, const check_run *b, const check_run *order, arena *memory, check_pair *p);

/* Steps that break one rule: the first is described, the others are counted. */
typedef struct check_finding {
  char text[400];
  int64_t count;
} check_finding;

#define FIND(finding, ...)                                                               \
  do {                                                                                   \
    if (!(finding).count++) snprintf((finding).text, sizeof(finding).text, __VA_ARGS__); \
  } while (0)

/* check_series.c: makes a reason of it, if there is any. */
int check_say(check_run *r, const check_finding *f);

/* check_payload.c. */
int check_payload(check_run *r);

/* Whether a file's sum is exact. */
int check_is_exact(const check_run *r);

#endif
