/* Model families (names of tensors, position rules) and shapes: from a config.json, or known by name without weights.
 *
 * Not collective, thread-safe.
 */
#ifndef PEFTSCALE_FAMILY_H
#define PEFTSCALE_FAMILY_H

#include <stddef.h>
#include <stdint.h>

/* Names of an encoder's tensors in Hugging Face files, without prefix; %d is the layer. */
typedef struct tensor_names {
  const char *words, *positions, *types, *embedding_norm;
  const char *query, *key, *value, *attention_out, *attention_norm, *up, *down, *ffn_norm;
} tensor_names;

/* Encoder families: learned positions and segment types, a norm behind each sub-layer, exact GELU. */
typedef struct family {
  const char *name;    /* "bert": config.json's model_type      */
  const char *prefix;  /* optional prefix in files: "bert."      */
  int position_offset; /* first row of the position table in use */
  const tensor_names *tensors;
  const char *mlm_dense, *mlm_norm, *mlm_bias; /* head of masked language modelling (full names, no prefix) */
} family;

extern const family *const family_list[]; /* NULL-terminated */

typedef struct model_shape {
  const family *family;
  int layers, width, heads, ffn, vocabulary, positions, types;
  double norm_epsilon;
} model_shape;

/* The family of that name. Errors: ERROR_USAGE with the names there are. */
int family_find(const char *name, const family **result);

/* Shapes known by name ("roberta-base"); NULL-terminated list. */
typedef struct known_shape {
  const char *name, *family;
  int layers, width, heads, ffn, vocabulary, positions, types;
  double norm_epsilon;
} known_shape;
extern const known_shape known_shapes[];

/* Errors: ERROR_USAGE with the nearest name. */
int model_shape_known(const char *name, model_shape *shape);

/* From the text of a config.json. `origin` names it in messages. Errors: ERROR_INPUT (not JSON, a missing key, a value out of range, an unsupported model
 * type, activation or position embedding). */
int model_shape_parse(const char *text, const char *origin, model_shape *shape);

/* Checks that a shape can be built at all: positive sizes, width a multiple of heads. Errors: ERROR_USAGE with `origin`. */
int model_shape_check(const model_shape *shape, const char *origin);

/* A config.json for a shape, as Hugging Face reads it; buffer of `bytes`. Errors: ERROR_INTERNAL if too small. */
int model_shape_write(const model_shape *shape, char *buffer, size_t bytes);

#endif
