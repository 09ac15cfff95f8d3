/* The identical-run certificate: whether a run file says what a whole training would have said, and whether two runs are the same, or may stand in one table.
 *
 * One file is VALID where everything that follows from something else in it does follow: the identities from configuration and content hashes, the schedule
 * from configuration and segments, the payload of each step from the accounting, the scores from predictions and evaluations, theta from its hashes. That finds
 * damage and edits by hand; it is no signature: who rewrites all of it consistently is not found out.
 *
 * Two runs of one experiment_id must agree. Where both sum exactly (reduce=exact, one kind of BLAS kernels): theta's hash, loss and predictions bitwise in
 * every step. Otherwise to rounding, by the distance
 *
 *   d(a, b) = |a - b| / max(|a|, |b|, s),    s = SCALE x the quantity's size in the first step,    allowed in step t:  tolerance x (1 + t / GROWTH_STEPS)
 *
 * for loss and norm of the gradient. Scores of predictions and losses of evaluations are held to the tolerance of the last step.
 *
 * Why these numbers: float sums of the same shards in another order differ by some 1e-7 of a loss at once, and each update hands that on. Runs with 1, 2 and 3
 * ranks (a random 2-layer encoder: LoRA, GLoRA, BitFit and full, 600 steps; MiniLM on TREC-6: LoRA, VeRA and full, 100 steps) stayed within 2.0e-6 in loss,
 * 7.4e-6 in the norm, 1.6e-6 in scores, at the end and not at the beginning. Such runs may go on for thousands of steps, so what is allowed grows, too. In the
 * other direction, one lost shard of 64, each of one sequence, changed the loss of step 1 by 8.8e-4 and its norm by 7.0e-2, 80 and 6000 times what is allowed.
 * One method is not continuous: VB-LoRA chooses its top-k vectors anew in each step, and where two logits are as good as equal, rounding decides. Two of its
 * float runs of those 600 steps parted at steps 340 and 589, by 4e-4 in loss and 3e-2 in the norm: such runs really are two, and the report says so.
 *
 * Not collective: one process, no MPI. Not thread-safe (HDF5).
 */
#ifndef PEFTSCALE_CHECK_H
#define PEFTSCALE_CHECK_H

#include <stdint.h>

#include "base/arena.h"
#include "config/config.h"
#include "train/metrics.h"

#define CHECK_TOLERANCE 1e-5
#define CHECK_SCALE 0.1
enum { CHECK_GROWTH_STEPS = 10 };

/* Sentences, in the order in which they were found. */
typedef struct check_line {
  const char *text;
  struct check_line *next;
} check_line;
typedef struct check_lines {
  check_line *first, *last;
  int count;
} check_lines;

/* A row of /series/steps, as far as it is judged. */
typedef struct check_step {
  int64_t attempt, step;
  double loss, lr, grad_norm, step_s, communication_s;
  int64_t examples, tokens, payload_bytes, theta_hash, sent_floats, own_examples;
} check_step;

enum { CHECK_SPLIT_BYTES = 16 };
typedef struct check_evaluation {
  int64_t attempt, step, count;
  char split[CHECK_SPLIT_BYTES];
  double loss, metric;
  double value[METRICS_LOSS]; /* accuracy ... spearman */
} check_evaluation;

typedef struct check_segment {
  char name[96], counts_as[8];
  int64_t offset, rows, cols;
  double lr, decay;
} check_segment;

typedef struct check_attempt {
  int64_t attempt, ranks, threads, nodes, first_step;
  char binary_hash[40]; /* "" in files of older versions */
} check_attempt;

typedef struct check_predictions {
  int64_t count; /* -1: the file has no such table */
  int classes;
  int64_t *example;
  float *label, *prediction, *score; /* score [count][classes] */
} check_predictions;
enum { CHECK_VALIDATION, CHECK_TEST, CHECK_SPLITS };
extern const char *const check_split_names[CHECK_SPLITS];

/* Attributes of /provenance that are compared; "" where the file lacks one, as those of older versions do. */
typedef struct check_provenance {
  const char *weights_hash, *dataset_hash, *initial_theta_hash, *start_hash, *order_hash, *schedule_hash, *binary_hash, *backend, *blas, *blas_core, *onednn,
      *mpi, *commit, *dirty;
  int64_t ranks, nodes, threads; /* -1: not a number */
} check_provenance;

/* Whole numbers of /accounting and /result; CHECK_ABSENT where the file lacks one. */
#define CHECK_ABSENT INT64_MIN
typedef struct check_accounting {
  int64_t trainable, trainable_head, sent_floats, head_floats, tail_floats, sent_bytes_per_step, head_bytes_factors;
} check_accounting;
typedef struct check_result {
  int64_t best_step, steps, tokens, gradient_payload_bytes, contaminated;
  double validation_metric, test_metric, step_s, communication_s; /* NaN where the file lacks one */
  const char *metric, *theta_hash;                                /* "" likewise                  */
} check_result;

/* One file and what was found in it. Texts and arrays belong to the report. */
typedef struct check_run {
  const char *path;
  check_lines reasons; /* why it is INVALID; none: it is VALID */
  check_lines notes;   /* what does not make it so, but should be known */
  int is_read;         /* 0: no run file that can be read, all of what follows is empty */
  int is_complete;
  const char *status, *experiment_id, *run_id;
  const char *canonical; /* of the file     */
  config *config;        /* NULL: unusable */
  check_provenance provenance;
  check_accounting accounting;
  check_result result;
  check_attempt *attempts;
  check_segment *segments;
  int has_hashes;    /* /series/steps has the column theta_hash, which is younger than the table */
  int has_counts;    /* likewise sent_floats and own_examples */
  check_step *steps; /* the last attempt's row of each step, ascending */
  check_evaluation *evaluations;
  int64_t attempt_count, segment_count, step_count, evaluation_count;
  check_predictions predictions[CHECK_SPLITS];
  float *theta; /* NULL: not stored */
  int64_t theta_count;
  arena *memory;
} check_run;

typedef enum check_relation {
  CHECK_AGREE,          /* one experiment, and the same numbers */
  CHECK_DIFFER,         /* one experiment, but other numbers    */
  CHECK_COMPARABLE,     /* two experiments that may stand in one table */
  CHECK_NOT_COMPARABLE, /* two that may not */
  CHECK_RELATIONS
} check_relation;
extern const char *const check_relation_names[CHECK_RELATIONS]; /* "AGREE" ... "NOT COMPARABLE" */

/* What was found of runs a and b (indices, a < b). */
typedef struct check_pair {
  int a, b;
  check_relation relation;
  int is_bitwise;          /* how two runs of one experiment were compared      */
  check_lines differences; /* why DIFFER or NOT COMPARABLE; the first step first */
  check_lines listed;      /* settings in which two experiments may differ      */
  check_lines notes;
  int64_t steps; /* compared; the first that differs, 0: none         */
  int64_t first_step;
  double loss, norm, scores; /* largest distances; NaN: not compared              */
} check_pair;

typedef struct check_report {
  arena *memory;
  double tolerance;
  check_run *runs;
  check_pair *pairs;
  int run_count, pair_count, invalid, differ, not_comparable;
} check_report;

/* Reads and judges all files; each is compared with the first readable one of its experiment, or, where it begins a new experiment, with the first file.
 * What is wrong with a file is a reason in the report, not an error. tolerance: as above; CHECK_TOLERANCE by default. Errors: ERROR_MEMORY. */
int check_files(const char *const *paths, int count, double tolerance, check_report **result);
void check_destroy(check_report *r);

#endif
