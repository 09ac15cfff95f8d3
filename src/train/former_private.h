/* What earlier attempts at a run have left beside its run file: PATH.partial with rows, PATH.checkpoint to go on from, or nothing.
 *
 * Not collective: rank 0, which holds the lock of the run file, looks and tells the others.
 */
#ifndef PEFTSCALE_FORMER_PRIVATE_H
#define PEFTSCALE_FORMER_PRIVATE_H

#include "train/checkpoint_private.h"

typedef struct former {
  attempt_row *attempts; /* [count] at this run, in order, each with how it ended */
  int64_t count;
  int64_t attempt; /* number of the one that begins */
  int continues;   /* from the checkpoint `file` with this head; else the training starts anew */
  checkpoint_file *file;
  checkpoint_head head;
} former;

/* A checkpoint is gone on from if it is this run's: same experiment, ranks, threads and execution keys (run_id, whatever the nodes). Of another experiment: a
 * warning, and the training starts anew. Errors: ERROR_INPUT with the hint to remove the checkpoint, where it is damaged, of the same experiment but executed
 * otherwise, or without the run file that it belongs to: it may hold hours of work, and is never passed over. */
int former_find(const run *r, former *f);
void former_free(former *f);

/* PATH.checkpoint of a run. */
int former_checkpoint_path(const run *r, char *path, size_t bytes);

#endif
