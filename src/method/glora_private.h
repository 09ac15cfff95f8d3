/* What the two files of GLoRA share: which path every map takes and where its numbers lie in theta (glora_path.c), and the arithmetic (glora.c). */
#ifndef PEFTSCALE_GLORA_PRIVATE_H
#define PEFTSCALE_GLORA_PRIVATE_H

#include "method/method.h"

enum { TENSOR_A, TENSOR_B, TENSOR_C, TENSOR_D, TENSOR_E, TENSORS };
typedef enum support { LORA, VECTOR, CONSTANT, NONE, SUPPORTS } support;
enum { ROW_BLOCK = 64 }; /* rows of W0 o (Xd Xu) that are made at a time */

/* One tensor's place in theta: Xd (or the vector) at `down`, column by column, Xu at `up`. -1: not planned. */
typedef struct tensor {
  int64_t down, up;
  int first_segment;
  int segments[SUPPORTS]; /* how many of its segments a support uses */
} tensor;

typedef struct glora_site {
  int site, group, slot;
  int base_width, narrow_width; /* kept from forward to backward, where a path that may be taken wants them */
  tensor tensor[TENSORS];
  support path[TENSORS]; /* of the chosen step                          */
  int64_t bias;          /* of this map in state.bias; behind theta_count in a gradient of factors */
} glora_site;

typedef struct glora_state {
  int rank, is_random, is_listed, site_count;
  glora_site *sites;
  int *first;      /* [group_count + 1] sites of a group */
  int32_t *follow; /* [site_count] paths of evaluations of a super-network; -1: widest */
  int64_t bias_count;
  int widest_in, widest_out; /* of all sites */
  real *bias;                /* [bias_count] D o b0 + E + W0 C of the last expand */
  real *column;              /* [widest_in] C of the site at hand */
} glora_state;

/* glora_path.c, for the method's table. */
enum { GLORA_OPTIONS = 9 };
extern const option glora_options[GLORA_OPTIONS];
extern const method_paths glora_paths;
int glora_plan(adapter *a);
int glora_choose(adapter *a, int64_t step);
int glora_count(const adapter *a, method_counts *counts);
int glora_stored(const adapter *a, int index, stored_array *array);
int glora_save(const adapter *a, const real *theta, int index, void *values);
int glora_load(const adapter *a, int index, const void *values, real *theta);

#endif
