/* A training's profile: where rank 0's step time goes, part by part, beside what its cores could do.
 *
 * Begun between run_create and run_train, it counts every step but the first, which takes memory and warms caches.
 */
#ifndef PEFTSCALE_TRAIN_PROFILE_H
#define PEFTSCALE_TRAIN_PROFILE_H

#include "train/run.h"

typedef struct run_profile {
  model_profile *parts;                                                    /* [threads] */
  int64_t steps;                                                           /* counted            */
  double tokens;                                                           /* of rank 0 in these */
  double expand_s, gather_s, wait_s, communication_s, optimizer_s, step_s; /* sums over steps; communication: without waiting, as far as that was sampled */
  double peak, f32_peak; /* FLOP/s of one thread while all threads of all ranks are at it: for the maps' precision, and for all else */
} run_profile;

/* Not collective. Errors: ERROR_MEMORY. */
int run_profile_begin(run *r);

struct step_result;
/* Not collective. After each step, by whoever trains; nothing where no profile was begun. */
void run_profile_step(run *r, const struct step_result *s);

/* Collective. Probes the peak. r->profile is whole after it. */
int run_profile_end(run *r);

/* The sum over rank 0's threads of a part's row, per counted step and thread. */
model_profile_row run_profile_row(const run *r, model_part part, int is_backward);

#endif
