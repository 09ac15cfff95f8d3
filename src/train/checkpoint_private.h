/* The file from which a training goes on: NAME.h5.checkpoint beside the run file, written whole or not at all (safetensors; layout: src/store/SCHEMA.md).
 *
 * It holds all that the next step follows from and that the configuration does not say: theta, AdamW's moments and step counts, the levels of the exact sum,
 * the theta that is kept so far, and where the training and its totals stand. Random numbers need no state: they are keyed by step.
 *
 * Not collective: rank 0 writes and reads, and tells the others. Nothing in a file that is read is trusted.
 */
#ifndef PEFTSCALE_CHECKPOINT_PRIVATE_H
#define PEFTSCALE_CHECKPOINT_PRIVATE_H

#include "train/internal.h"

/* What is known of a checkpoint before its arrays are read; plain numbers and texts, which can be sent as bytes. */
typedef struct checkpoint_head {
  char experiment_id[HASH_TEXT_BYTES], run_id[HASH_TEXT_BYTES], binary_hash[HASH_TEXT_BYTES];
  int64_t ranks, threads, nodes; /* of the attempt that wrote it */
  int64_t attempt;
  int64_t step, steps; /* updates done, of how many          */
  int64_t validated;   /* the last of them that was validated; 0: none */
  int64_t best_step;   /* whose theta is kept so far; 0: none          */
  double best, last_validation;
  record_totals totals; /* of all attempts, up to here; its validation and test are not in the file */
} checkpoint_head;

/* The arrays are the caller's. Lengths are what the reader expects to find. */
typedef struct checkpoint_arrays {
  int64_t numbers;
  int segments, levels, ranks;
  real *theta, *first_moment, *second_moment; /* [numbers] */
  real *chosen;                               /* [numbers] written only if best_step > 0 and it is not theta; on reading all zeros without a best_step */
  int64_t *step_counts;                       /* [segments] */
  uint8_t *level;                             /* [levels] of an exact sum; 0 levels: sums in floats */
  int64_t *rank_wire_bytes;                   /* [ranks] of the sums of gradients so far, -1: not measured */
} checkpoint_arrays;

/* Replaces the file. Errors: ERROR_SYSTEM with path and reason, and the former file stays; ERROR_MEMORY. */
int checkpoint_write(const char *path, const checkpoint_head *head, const checkpoint_arrays *a);

/* Errors of the next two: ERROR_INPUT naming the file and the first thing that is wrong, with the hint to remove it; ERROR_MEMORY. */
typedef struct checkpoint_file checkpoint_file;
int checkpoint_open(const char *path, checkpoint_file **result, checkpoint_head *head);

/* For a checkpoint of this very run: checks the content's hash and everything else, and fills the arrays. */
int checkpoint_read(const checkpoint_file *f, const checkpoint_head *head, const checkpoint_arrays *a);

/* NULL is allowed. */
void checkpoint_close(checkpoint_file *f);

#endif
