/* A model with its method, outside a run: no data set, no ranks, for turning one file into another. Not collective. */
#ifndef PEFTSCALE_STANDALONE_H
#define PEFTSCALE_STANDALONE_H

#include "config/config.h"
#include "model/model.h"

typedef struct standalone {
  config *config;
  model *model;
  real *theta; /* of the whole model */
  char weights_hash[HASH_TEXT_BYTES];
  real *store;
  arena *memory;
} standalone;

/* Makes the model of a shape with the configuration's method, pooling, head and objective (auto: classify), without memory for frozen numbers:
 * theta is zero. Takes the configuration (destroyed with it, also on failure). Errors: those of the method. */
int standalone_create(config *c, const model_shape *shape, int classes, standalone **result);
void standalone_destroy(standalone *s);

/* One of the two: memory for the method's frozen numbers alone, for work that needs no base weights; */
int standalone_prepare(standalone *s);

/* or base weights, too, from a Hugging Face directory and theta with what training starts from. */
int standalone_load(standalone *s, const char *directory);

#endif
