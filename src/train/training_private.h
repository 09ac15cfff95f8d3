/* A training on its way: what train.c and resume.c share. Not for others. */
#ifndef PEFTSCALE_TRAINING_PRIVATE_H
#define PEFTSCALE_TRAINING_PRIVATE_H

#include "train/internal.h"

typedef struct training {
  run *r;
  optim *optim;
  record *record;  /* rank 0 */
  int64_t attempt; /* rank 0 */
  int64_t done;    /* updates made, of which `validated` had been when theta was last validated */
  int64_t validated;
  double best; /* validation metric of r->chosen */
  int64_t best_step;
  double last_validation;
  record_totals totals;       /* so far; times of this attempt, and what the meters hold, come to it in training_totals */
  record_totals earlier;      /* of the attempts before this one */
  int64_t earlier_wire_bytes; /* likewise, this rank's own */
  int has_checkpoint;         /* rank 0: the file is this run's */
  double began_s, trained_s;  /* clock_wall_s at the first step and behind the last; 0: it has not come yet */
  /* since the last row per rank */
  rank_row since;
  int64_t noted; /* updates made then; -1: there is none in this attempt */
  /* since progress was last shown */
  double shown_at_s, shown_communication_s;
  int64_t shown_tokens, first_step;
} training;

/* train.c. Collective: a row per rank about the time since the last one, unless there is one of this step. */
int training_note_ranks(training *t);

/* train.c. Collective: takes the energy of all nodes up to now into t->totals; what one node does not know makes the sum unknown. */
int training_note_energy(training *t);

/* train.c. Not collective: totals of all attempts up to now; their energy up to the last training_note_energy. */
record_totals training_totals(const training *t);

/* train.c. Not collective: bytes of the sums of gradients that this rank has sent in all attempts; -1: not measured. */
int64_t training_wire_bytes(const training *t);

/* ---- going on, and leaving off (resume.c) ---- */

/* Collective. Begins the run file, and puts the training where a checkpoint of this run left it, if there is one. Errors: those of former_find and the run
 * file. */
int resume_begin(training *t);

/* Collective. Writes a checkpoint because it is time for one. One that cannot be written is a warning: the former one stays, and the training goes on. */
int resume_checkpoint(training *t);

/* Collective, for a training that returned ERROR_STOPPED. Writes a checkpoint and ends the record. Returns ERROR_STOPPED with the words for the user, or the
 * error that kept it from doing so. */
int resume_stop(training *t);

/* Not collective, rank 0, when the run file is complete. */
void resume_end(const training *t);

#endif
