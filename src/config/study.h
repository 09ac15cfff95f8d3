/* A study: a comparison described once, in experiments/NAME/study.yaml, as a flat list of the runs that it takes. experiments/README.md has the language.
 *
 * Reading needs no data and no weights. Order of the runs: stage by stage, in each first the trials of all tuning groups, then the runs proper; axes vary as
 * odometers do, the first one written slowest, seeds fastest. Order of a run's assignments, last wins: base of the study, of the stage, settings of its
 * method, axes in the order written, seed, settings of trials, tuned value, words of the command line.
 *
 * Not collective: every rank reads the same file; the caller agrees on errors. Not thread-safe. A study is read only once made.
 */
#ifndef PEFTSCALE_STUDY_H
#define PEFTSCALE_STUDY_H

#include "config/config.h"

enum { STUDY_RUN_COUNT = 100000, STUDY_RANK_COUNT = 65536 }; /* limits: runs of a study, trials included; ranks of a run */

typedef enum study_action { STUDY_TRAIN, STUDY_COUNT } study_action; /* what each run does: `train`, or `count` without weights and data */
typedef enum study_role { STUDY_RUN, STUDY_TRIAL } study_role;

typedef struct study_run {
  const char *stage; /* "" where the study has none */
  study_role role;
  int group;                      /* tuning group, -1: none. A STUDY_RUN of a group waits for all its trials and takes the best one's tuned_value */
  const char *const *assignments; /* [assignment_count] "section.key=value", as config_request takes them; no "ranks" among them */
  const char *const *origins;     /* [assignment_count] "experiments/x/study.yaml:12:7", or "command line" */
  int assignment_count;
  int ranks;
  const char *tuned_key;   /* "train.lr"; "" where group is -1 */
  const char *tuned_value; /* a trial's, "3e-3" as written (also among its assignments); "" of all other runs */
  const char *label;       /* short, what tells it from the stage's others: "task=trec6 method=lora seed=2", "task=trec6 method=lora train.lr=3e-3 trial" */
} study_run;

/* What a tuned run waits for. The trials of a group lie together: runs[first_trial] to runs[first_trial + trial_count - 1], in the order of their values. */
typedef struct study_group {
  int first_trial, trial_count;
} study_group;

/* A file that the study's runs read, and how it is had. */
typedef struct study_data {
  const char *name;    /* as task.data or model.path of the runs call it: "trec6-wordpiece.h5", "minilm-l6" */
  const char *command; /* that prepares it, for a shell in the project's directory */
} study_data;

typedef struct study {
  const char *name;     /* of its folder (of the file, where that is not study.yaml): letters, digits, "-", "_" and "." */
  const char *path;     /* of the file, as given: "experiments/x/study.yaml" */
  const char *title;    /* never NULL; the name where none is written */
  const char *question; /* "" where none is written */
  study_action action;
  study_run *runs;
  int run_count;
  const study_group *groups;
  int group_count;
  const char *const *stages; /* names; none: the study has no stages */
  int stage_count;
  const char *const *columns; /* that its table shows; none: the usual ones */
  int column_count;
  const study_data *data;
  int data_count;
  struct study_reader *reader; /* memory and parsed files; internal */
} study;

typedef struct study_request {
  const char *path; /* study.yaml or the directory that holds it */
  const char *root; /* as in config_request: the directory of base.yaml, model/, task/ ... */
  int (*method_options)(const char *method, const option **options, int *count);
  /* Words "key=value" of the command line. One whose key is an axis of the study (or "seed", where it has seeds; "ranks" where it is an axis) chooses: only
   * runs of this value, or of one of these ("method=lora,red"), remain. "stage=NAME" chooses likewise. "ranks=N" sets the number of ranks. Any other is set in
   * every run, after all that the study says. */
  const char *const *assignments;
  int assignment_count;
} study_request;

/* Reads and checks a study. Checked: its shape and names, sizes, that each exclude leaves something out, that tuning gives every method of a stage as many
 * trials, and that runs compose: for every value of an axis and every method, task and model, at least one with it.
 *
 * Errors: ERROR_USAGE with file, line, column, reason and the nearest valid name; ERROR_INPUT when a file cannot be read. *result is destroyed with
 * study_destroy. */
int study_read(const study_request *request, study **result);
void study_destroy(study *s);

/* The configuration of a run; messages and origins name the study's lines. `tuned_value` is what a tuned run proper takes for its tuned_key, NULL or "": it
 * stays as base and method settings say. Runs of STUDY_COUNT read no configuration files. Files are parsed once per study. *result outlives the study, is
 * destroyed with config_destroy. Errors: as config_compose. */
int study_compose(const study *s, const study_run *run, const char *tuned_value, config **result);

/* The place among `data` of what the configuration calls `name` (its last part counts where it is a path); -1: none. */
int study_find_data(const study *s, const char *name);

#endif
