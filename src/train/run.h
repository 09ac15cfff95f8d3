/* A run: one training (or one evaluation of a trained one), assembled from a configuration.
 *
 * Collective unless said otherwise: all ranks call with the same configuration. Every function agrees on errors before it communicates.
 */
#ifndef PEFTSCALE_RUN_H
#define PEFTSCALE_RUN_H

#include "base/arena.h"
#include "base/binding.h"
#include "base/energy.h"
#include "base/error.h"
#include "comm/comm.h"
#include "config/config.h"
#include "data/dataset.h"
#include "model/model.h"
#include "optim/optim.h"
#include "store/runfile.h"
#include "train/batches.h"
#include "train/exact.h"
#include "train/metrics.h"
#include "train/payload.h"

/* What the task head adds to the bytes of a step and rank, in the mean over both: as a part of the sum, and as factors. Payload, and an estimate of what is
 * sent for it (comm_sum_bytes). */
typedef struct head_account {
  int64_t dense_bytes, factor_bytes, dense_wire_bytes, factor_wire_bytes;
} head_account;

/* Who wants to know how a training gets on: step(context, done, steps) after each step. */
typedef struct run_observer {
  void (*step)(void *context, int64_t done, int64_t steps);
  void *context;
} run_observer;

typedef struct run {
  config *config;
  comm *comm;
  arena *memory;
  dataset *data;
  model *model;
  int64_t theta_count;
  int threads, shards;
  metric_kind metric;
  int64_t steps;
  char experiment_id[HASH_TEXT_BYTES], run_id[HASH_TEXT_BYTES], weights_hash[HASH_TEXT_BYTES], theta_hash[HASH_TEXT_BYTES];
  char request_id[HASH_TEXT_BYTES];                                 /* identity_request */
  char start_hash[HASH_TEXT_BYTES];                                 /* of the adapter file it starts from; "" for none */
  char binary_hash[HASH_TEXT_BYTES];                                /* of the program                                  */
  char order_hash[HASH_TEXT_BYTES], schedule_hash[HASH_TEXT_BYTES]; /* of a training: batch_plan_measure, optim_schedule_hash */
  struct adapter_file *start;                                       /* open while the run is assembled */
  char path[4096];                                                  /* of the run file */
  batch_plan plan;
  batch_masking masking;
  real *theta, *chosen;         /* chosen: the theta that is evaluated and stored in the end */
  int64_t message_bytes;        /* of a step, from each rank; mean, where they differ             */
  head_account head;            /* of these, the head's, and what they would be otherwise         */
  int64_t apart;                /* floats at theta's front, the head's, that are formed from rows and not in the sum; 0: none */
  real *head_rows;              /* [examples of a step][model_head_row] shard after shard          */
  int64_t *head_first;          /* [ranks + 1] where the rows of each rank begin, in floats       */
  real *message;                /* [theta_count + TAIL_FLOATS] this rank's gradient, then the sum */
  int changed_sum;              /* comm_sum_setup was called for this run                                  */
  int adds_on_node;             /* large vectors are first added in the node's shared memory                */
  int64_t left_out;             /* numbers of theta that the step's batch does not reach and that do not travel; mean over the steps */
  real *packed;                 /* [theta_count + TAIL_FLOATS] what travels of it, message itself where it is packed in place; NULL: all */
  real **thread_packed;         /* [threads] the same of a shard, for an exact sum; NULL likewise */
  exact *exact;                 /* NULL: sums in floats                                           */
  int64_t *segment_counts;      /* [segments] numbers of each in a message                        */
  real **gradient;              /* [threads] gradient[0] is message */
  model_workspace **workspaces; /* [threads] */
  batch_pack **packs;           /* [threads] */
  batch_sizes sizes;            /* of the largest batch that the two above hold */
  void *store;                  /* the base weights, shared by the ranks of a node */
  int store_copies;             /* copies of them on this node */
  error pending;                /* of this rank alone (a run file that cannot be written); goes out with the next step's message */
  double checkpoint_at_s;       /* clock_wall_s at which rank 0 wishes for a checkpoint; INFINITY: never  */
  double began_s;               /* on the clock of clock_since_start_s: 0 for a process's first run, which its start-up belongs to */
  double start_s;               /* from then until it was assembled */
  run_observer observer;
  struct run_profile *profile; /* profile.h; NULL: not asked for */
  binding_kind binding;        /* of all ranks to cores; known at rank 0 */
  energy *energy;              /* of this node since training began; NULL: not measured, or another rank's work */
} run;

/* Assembles everything: data, model, weights, memory. Takes the configuration (destroyed with the run, also on failure). training = 0: only what an
 * evaluation needs.
 *
 * One run at a time: the meters of the communicator begin anew with it, and many runs may follow each other in one process. */
int run_create(comm *c, config *conf, int training, run **result);
/* Its last error is kept. NULL is allowed. */
void run_destroy(run *r);

/* Not collective. Rank 0 calls `step` after each step of run_train, between two steps' messages: it must be quick, and call nothing collective. NULL: nobody
 * wants to know. */
void run_observe(run *r, void (*step)(void *context, int64_t done, int64_t steps), void *context);

/* Trains, evaluates and writes the run file; r->chosen is the resulting theta. Goes on where an earlier attempt has left a
 * checkpoint. Errors, the same on all ranks: ERROR_DIVERGED; ERROR_STOPPED where this process listens (stop.h) and some rank was told to stop: then the
 * checkpoint is written; those of the run file and the checkpoint. */
int run_train(run *r);

/* One split, in groups that do not depend on ranks or threads. predictions (rank 0; may be NULL): see prediction. */
typedef struct evaluation {
  double loss;   /* mean */
  int64_t count; /* examples, or predicted tokens */
  metric_values metrics;
  double seconds;
} evaluation;

/* Outputs of a split in the order of its examples; owned by the caller (free outputs, prediction). */
typedef struct predictions {
  int64_t count;
  int classes;
  float *outputs;    /* [count][classes] logits or scores */
  float *prediction; /* [count] class number or score      */
} predictions;

/* Errors: ERROR_STOPPED where this process listens (stop.h) and was told to stop. */
int run_evaluate(run *r, const real *theta, split_name which, evaluation *result, predictions *details);
void predictions_free(predictions *p);

/* Not collective. Where a file named in a configuration is: as given, else below the directory in environment variable `variable`, if that exists.
 * Errors: ERROR_INPUT naming the configuration key and the places looked at, with `hint`. */
int run_find_file(const char *key, const char *name, const char *variable, const char *hint, char *path, size_t bytes);

#endif
