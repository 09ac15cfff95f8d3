/* What the files of src/train share. Not for others. */
#ifndef PEFTSCALE_TRAIN_INTERNAL_H
#define PEFTSCALE_TRAIN_INTERNAL_H

#include "train/run.h"

/* Tokens of an evaluation group: large enough for fast products, small enough to spread over ranks. Part of a prediction's bits: do not derive it. */
enum { EVALUATION_TOKENS = 256 };

/* evaluate.c: largest group of a split. */
int evaluation_measure(const split *s, batch_sizes *sizes);

/* evaluate.c. Not collective: a split (or a part of one, see run_fit) by this rank alone, with all its threads; the same bits as run_evaluate. */
int evaluate_alone(run *r, const real *theta, const split *s, evaluation *result);

/* run.c. Not collective: makes the workspaces of an evaluating run large enough for a part of a split, whose groups may be others than the split's. */
int run_fit(run *r, const split *part);

/* train.c: peak learning rate and weight decay of a segment under a configuration. */
double segment_rate(const config *c, const segment *s);
double segment_decay(const config *c, const segment *s);

/* train.c: the optimiser's options under a configuration whose train.steps is settled. */
optim_options schedule_options(const config *c);

/* train.c. Not collective: the optimiser of r's theta under its configuration, with r->schedule_hash. The caller destroys it. Errors: ERROR_MEMORY. */
int run_make_optimizer(run *r, optim **result);

/* ---- one step (step.c) ---- */

typedef struct step_times {
  double expand_s, forward_s, backward_s, gather_s, communication_s, optimizer_s, step_s; /* of this rank; threads: the slowest */
  double adapter_s;                                                                       /* of forward_s and backward_s, the method's own */
  double work_cpu_s;                                                                      /* CPU time of all threads on this rank's shards              */
  double wait_s, work_mean_s, work_max_s;                                                 /* of communication_s; of all ranks' work_cpu_s: if sampled */
} step_times;

/* What a rank wants of the others in a step; the largest of all ranks' wishes holds, and travels with what a step sends anyway. */
typedef enum step_wish {
  WISH_NONE,
  WISH_CHECKPOINT, /* rank 0: it is time for one (r->checkpoint_at_s) */
  WISH_STOP,       /* some rank was told to (stop.h)                   */
  WISH_FAILED      /* some rank has an error: every rank gets it, and the step is not done */
} step_wish;

typedef struct step_result {
  double loss; /* mean over the step's examples (or predicted tokens) */
  double norm; /* of the mean gradient before clipping */
  int64_t count, tokens;
  int64_t my_tokens;
  int64_t theta_hash;                /* of theta after the update, with an exact sum and where ranks are compared; else 0 */
  int64_t sent_floats, my_examples;  /* numbers of the method in this step's message; examples in this rank's shards */
  int64_t payload_bytes, wire_bytes; /* this rank's, of the gradient; wire -1: not measured */
  step_wish wish;                    /* the same on all ranks, to be followed after the update */
  int sampled;                       /* a barrier told waiting from transfer              */
  step_times times;
} step_result;

/* Collective. Sum of the gradient over all shards and ranks into r->message; no update. */
int step_gradient(run *r, int64_t step, step_result *result);
/* Collective. step_gradient and the optimiser's update of r->theta. Errors: ERROR_DIVERGED. */
int step_train(run *r, optim *o, int64_t step, step_result *result);

/* ---- the task head in a step's traffic (head.c) ---- */

/* Not collective, but for all ranks alike. Fills in r->head and decides head_reduce where it is auto. rest_bytes: of the step's sum without the head; width:
 * bytes of a number there. Errors: ERROR_USAGE for factors of a head that has none. */
int head_settle(run *r, int64_t rest_bytes, int64_t width);
/* Not collective. Takes the memory for factors, if they are chosen. Errors: ERROR_MEMORY. */
int head_take(run *r);
/* Not collective. Where a shard's rows go (model_gradient_apart); NULL: the head's gradient is in the sum. */
real *head_rows_of(const run *r, int64_t shard);
/* Collective, and to be called only where no rank has an error: r->message[0 .. r->apart) = the head's gradient of the whole batch, of all ranks' rows. With an
 * exact sum r->gradient[...][0 .. r->apart) and the exact sum's buffer are overwritten. Nothing is done where the head is in the sum. */
int head_form(run *r, step_times *times);

/* ---- the run file (record.c); all calls on rank 0 ---- */

typedef struct record record;
typedef struct former former;

/* Of all attempts together. */
typedef struct record_totals {
  double train_s, total_s, start_s;
  int64_t steps, tokens, best_step;
  double communication_s, step_s, checkpoint_s;
  int64_t checkpoints;                                             /* written */
  double validation, test;                                         /* NaN where there was none */
  double wire_mean, wire_max;                                      /* gradient's bytes on the wire over ranks; NaN: not measured */
  double energy_j;                                                 /* of all nodes, while training; NaN: not measured            */
  int64_t contaminated;                                            /* rows of ranks                                              */
  int64_t payload_bytes[COMM_PURPOSES], wire_bytes[COMM_PURPOSES]; /* of rank 0; wire -1: not measured */
} record_totals;

/* Takes the lock of r->path; nothing is in the file yet. */
int record_create(run *r, record **result);
/* All that is known before the first step, and of a run that goes on the rows of the attempts before. Errors: ERROR_INPUT where these are not all there. */
int record_start(record *rec, const former *f);
/* What was recorded so far survives the host's death. */
int record_sync(record *rec);
/* step and epoch: 0-based; written 1-based, as the count of updates that evaluations use. */
int record_step(record *rec, int64_t step, int64_t epoch, double rate, const step_result *result);
int record_evaluation(record *rec, int64_t step, int64_t epoch, split_name which, const evaluation *e, double metric);

/* Sums of one rank since the last such row. */
typedef struct rank_row {
  int32_t attempt, rank;
  int64_t step, tokens;
  double seconds, compute_s, communication_s, cpu_s, work_cpu_s, delay_s; /* delay: NaN where the system does not count it */
  int64_t sampled;                                                        /* steps that told waiting from transfer         */
  double wait_s, transfer_s;                                              /* of these                                      */
  int64_t payload_bytes, wire_bytes;                                      /* of the gradient; wire -1: not measured        */
  int64_t involuntary_switches;
  double load_average;
  int32_t contaminated;
  char host[64];
  char cores[64];     /* where it may run: machine_name_cores, cut where it is longer */
  int64_t peak_bytes; /* machine_peak_bytes */
} rank_row;
int record_ranks(record *rec, rank_row *rows, int count);
int record_predictions(record *rec, split_name which, const split *s, const predictions *p);
int record_finish(record *rec, const real *theta, const record_totals *totals);
/* Both end the record and leave the partial file, with status "failed: ..." or "stopped: ...". */
void record_abandon(record *rec, const char *reason);
void record_stop(record *rec, const char *how);

/* A row of /attempts. */
typedef struct attempt_row {
  int32_t attempt, ranks, threads, nodes;
  int64_t first_step, last_step;
  char started[24], ended[16], binary_hash[40];
} attempt_row;
extern const table attempt_table;

#endif
