/* Where a training's time goes inside the model: seconds and arithmetic of each part, forward and backward, of one thread.
 *
 * Not collective, not thread-safe: one profile belongs to one workspace. FLOP are those of matrix products alone, a multiply-add as two; 0 where a part has
 * none, or a method does not tell (adapters).
 */
#ifndef PEFTSCALE_PROFILE_H
#define PEFTSCALE_PROFILE_H

#include <stdint.h>

/* In the order of a forward pass. Maps of a layer and, behind each, what the adapter adds to it; a join is dropout, residual sum and norm. */
typedef enum model_part {
  PART_EMBEDDING,
  PART_QKV,
  PART_QKV_ADAPTER,
  PART_ATTENTION,
  PART_O,
  PART_O_ADAPTER,
  PART_JOIN,
  PART_UP,
  PART_UP_ADAPTER,
  PART_GELU,
  PART_DOWN,
  PART_DOWN_ADAPTER,
  PART_HEAD,
  MODEL_PARTS
} model_part;
extern const char *const model_part_names[MODEL_PARTS];

typedef struct model_profile_row {
  double seconds, flop;
} model_profile_row;

typedef struct model_profile {
  model_profile_row forward[MODEL_PARTS], backward[MODEL_PARTS];
  double marked_s; /* on clock_wall_s: up to where time is accounted for */
} model_profile;

#endif
