/* Census: which linear maps a model has and how many base parameters of each kind, from its sizes alone, so that a method can be counted on a model of any
 * size without weights and without making a model.
 *
 * A model that is trained takes its maps from here (model_create), and is counted as it is planned. The other families (GPT-2, LLaMA, Mistral, Gemma, ViT,
 * T5) exist only here, as shapes known by name. Maps of one layer that read the same input form a group; attention's q, k and v, where they do, also appear
 * as the fused map `qkv` (rows of q, then of k, then of v), whatever the layout of the files. Embeddings and the output matrix of a language model are base
 * parameters, and no sites.
 *
 * Not collective, thread-safe. No float work; a few hundred kilobytes for the largest.
 */
#ifndef PEFTSCALE_CENSUS_H
#define PEFTSCALE_CENSUS_H

#include "base/arena.h"
#include "method/method.h"
#include "model/family.h"

enum { PARAM_KINDS = PARAM_EMBEDDING + 1 };

/* A model by its sizes. */
typedef struct census_shape {
  const char *name, *family;
  int layers;   /* encoder layers, or those of a model that has one stack                                 */
  int decoders; /* decoder layers with cross-attention, numbered on after the others; 0: none             */
  int width, heads, head_width;
  int key_heads; /* heads of k and v: fewer than heads where queries share them (grouped-query attention) */
  int ffn;
  int vocabulary, positions, types; /* rows of the embedding tables                                       */
} census_shape;

/* Shapes that can be counted but not trained; ends with a name of NULL. Those that can be trained: known_shapes. */
extern const census_shape counted_shapes[];

typedef struct census {
  int width;   /* of what a task's head reads */
  site *sites; /* weight and bias are NULL    */
  int site_count;
  site_group *groups; /* in the order of the forward pass */
  int group_count;
  int64_t params[PARAM_KINDS]; /* numbers of the base model, by kind */
  int tensors[PARAM_KINDS];    /* arrays of them: the maps of a group (q, k and v, say) are one, as in a model that is trained */
  arena *memory;
} census;

/* A census of a shape known by name, trainable or not. The caller destroys it. Errors: ERROR_USAGE with the nearest name, ERROR_MEMORY. */
int census_of_name(const char *name, census **result);

/* A census of a trainable family's shape (from a config.json). Errors: ERROR_USAGE (a shape that cannot be built), ERROR_MEMORY. */
int census_of_shape(const model_shape *shape, census **result);

void census_destroy(census *c);

/* All base parameters. */
int64_t census_base_count(const census *c);

/* What a method trains, stores and sends on the model, apart from the head. Errors: those of the method's plan (ERROR_USAGE). */
int census_count(const census *c, const method *chosen, const option_set *options, method_counts *counts);

/* Numbers of a task's head: linear d C + C; with `deep` (dense, tanh, linear) d d + d more. And the segments of theta they are. */
int64_t census_head_count(const census *c, int deep, int classes);
int census_head_segments(int deep);

#endif
