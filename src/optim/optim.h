/* AdamW (Loshchilov and Hutter, arXiv 1711.05101) on one vector, with a learning rate, a decay and a step count per segment; schedules; clipping.
 *
 *   m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2,  theta -= rate (decay theta + (m / c1) / (sqrt(v / c2) + epsilon)),  c = 1 - beta^t
 *
 * g = the summed gradient times `scale`. Not collective: every rank makes the same update from the same sum. Not thread-safe.
 */
#ifndef PEFTSCALE_OPTIM_H
#define PEFTSCALE_OPTIM_H

#include <stdint.h>

#include "base/hash.h"
#include "base/real.h"

typedef struct optim_segment {
  int64_t offset, count;
  double rate;  /* peak learning rate  */
  double decay; /* weight decay, decoupled */
} optim_segment;

typedef enum optim_schedule { OPTIM_LINEAR, OPTIM_COSINE, OPTIM_CONSTANT } optim_schedule;

typedef struct optim_options {
  double beta1, beta2, epsilon;
  double clip; /* largest norm of the scaled gradient; 0: off */
  optim_schedule schedule;
  int64_t steps, warmup; /* of the whole run, in steps */
  int threads;           /* that share an update of many numbers; 0: one. It decides no number */
} optim_options;

typedef struct optim optim;

/* Segments are copied; they must not overlap. Errors: ERROR_MEMORY. */
int optim_create(const optim_options *options, const optim_segment *segments, int segment_count, int64_t theta_count, optim **result);
void optim_destroy(optim *o);

/* Share of the peak rate in step `step` (0-based): linear from 0 during warm-up, then linear or cosine to 0, or constant. */
double optim_share(const optim_options *options, int64_t step);

/* Hash of the schedule: the bits of optim_share in every step, then of each segment's rate and decay. Errors: ERROR_MEMORY. */
int optim_schedule_hash(const optim_options *options, const optim_segment *segments, int segment_count, char text[HASH_TEXT_BYTES]);

/* One update of theta from grad (unnormalised) with scale = 1 / count. active (NULL: all) [segment_count]: inactive segments keep their numbers, moments and
 * step count. Returns the norm of the scaled gradient before clipping over active segments; NaN or infinity: nothing was changed. */
double optim_step(optim *o, int64_t step, real *theta, const real *grad, double scale, const uint8_t *active);

/* State for checkpoints: first and second moments [theta_count], step counts [segment_count]. Owned by the optimiser. */
real *optim_first_moment(optim *o);
real *optim_second_moment(optim *o);
int64_t *optim_step_counts(optim *o);

#endif
