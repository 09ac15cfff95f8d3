/* The plan of a sweep: every run of a study with its name, and what the results folder says of it.
 *
 * A run's name follows from the hash of its configuration as asked for (identity_request): nothing needs to be remembered between sweeps, a run that is there
 * is found by its name, another configuration is another run, and two equal ones are one. What a tuned run takes for its rate follows from its group's finished
 * trials, in every process alike: the best on validation; of equals the smallest value.
 *
 * Results of a study, in the folder RESULTS: runs/NAME.h5 and what stands beside it (.partial, .checkpoint, .claim, .attempts), index.tsv (one line per run,
 * written by plan_save; a cache of what is in finished files besides), archive.tsv (the same of runs that were packed into archive.h5 and have no file).
 *
 * Not collective: each process looks by itself. Not thread-safe.
 */
#ifndef PEFTSCALE_SWEEP_PLAN_H
#define PEFTSCALE_SWEEP_PLAN_H

#include <stdint.h>

#include "base/hash.h"
#include "config/study.h"

typedef enum plan_state {
  PLAN_DONE,
  PLAN_STALE,   /* done, by other sources of the program */
  PLAN_RUNNING, /* somebody works on it                  */
  PLAN_STOPPED, /* at a checkpoint, to be continued      */
  PLAN_KILLED,  /* its process ended without a word      */
  PLAN_FAILED,
  PLAN_WAITING, /* for the trials of its group           */
  PLAN_MISSING, /* not begun                             */
  PLAN_STATES
} plan_state;
extern const char *const plan_state_names[PLAN_STATES];

enum { PLAN_NAME_BYTES = 200, PLAN_REASON_BYTES = 512, PLAN_PATH_BYTES = 4096 };

/* What a finished run's file says. */
typedef struct plan_outcome {
  double validation, test, train_s, tokens_per_s; /* NaN: it does not say */
  int64_t tokens;
  char metric[16], experiment_id[HASH_TEXT_BYTES], run_id[HASH_TEXT_BYTES], source_hash[HASH_TEXT_BYTES];
  int64_t bytes, written_ns; /* of the file: is this still what it says? */
} plan_outcome;

typedef struct plan_run {
  const study_run *asked;
  const char *tuned_value;    /* chosen, of a tuned run proper; "" otherwise, and while it waits */
  char id[HASH_TEXT_BYTES];   /* "" while it waits */
  char name[PLAN_NAME_BYTES]; /* of its file, without .h5; "" while it waits */
  const char *model, *task, *method;
  int64_t seed, threads;
  int same_as; /* an earlier run of the plan that is the very same; -1: none. It has that one's state and is not counted */
  plan_state state;
  char reason[PLAN_REASON_BYTES]; /* why it failed; who works on it; what it waits for */
  int64_t done, steps;            /* of a running one */
  int attempts, archived, diverged, is_known;
  int is_stuck; /* it waits for a trial that failed */
  plan_outcome outcome;
} plan_run;

typedef struct plan {
  study *study;
  char results[PLAN_PATH_BYTES];
  plan_run *runs; /* [count], in the study's order */
  int count;
  int counts[PLAN_STATES], distinct; /* over runs that are not the same as another */
  struct plan_memory *memory;        /* internal */
} plan;

typedef struct plan_request {
  study_request study;
  const char *results; /* NULL: results/STUDY */
} plan_request;

/* Reads the study, names its runs, and looks. Errors: as study_read; ERROR_INPUT for a damaged archive.tsv. Destroyed with plan_destroy. */
int plan_create(const plan_request *request, plan **result);
void plan_destroy(plan *p);

/* Looks again at the results: states, choices, names of runs that have stopped waiting. Errors: ERROR_MEMORY; of composing a run that stopped waiting. */
int plan_look(plan *p);

/* The same of one run: cheap. Runs that wait for it are not looked at. A claim of this very process does not count: what it holds has the state that it was
 * found in. */
void plan_look_at(plan *p, plan_run *entry);

/* Whether a process may begin with it (or go on): it is missing, stopped or killed, and no other of the plan is the same. */
int plan_is_open(const plan_run *entry);

/* The place of the run with this id, -1: none. */
int plan_find(const plan *p, const char *id);

/* RESULTS/runs/NAME.h5 */
int plan_path(const plan *p, const plan_run *entry, char path[PLAN_PATH_BYTES]);

/* The configuration to run it with, file names set. */
int plan_compose(const plan *p, const plan_run *entry, config **result);

/* Writes RESULTS/index.tsv, but not of counts, which have a file of their own (count.h). Errors: ERROR_SYSTEM. */
int plan_save(const plan *p);

#endif
