/* The transformer: one implementation of forward and backward over packed batches, described by a family table, with a method's adapter inside.
 *
 * Life: model_create (plans parameters, sites and theta; no float work, so that counting needs no weights) -> model_attach (memory for the frozen numbers)
 * -> model_load or model_randomize -> model_init_theta -> per step: model_expand, then per shard model_gradient or model_predict in any
 * thread, then model_gather per thread.
 *
 * A packed batch is a [tokens][width] matrix with sequence offsets; there is no padding anywhere. A sequence's result does not depend on its neighbours.
 *
 * Not collective. After model_expand the model is read-only: threads share it, each with its own workspace.
 */
#ifndef PEFTSCALE_MODEL_H
#define PEFTSCALE_MODEL_H

#include "linalg/linalg.h"
#include "method/method.h"
#include "model/family.h"
#include "model/profile.h"

typedef enum model_pooling { MODEL_POOL_MEAN, MODEL_POOL_FIRST } model_pooling;
typedef enum model_head { MODEL_HEAD_LINEAR, MODEL_HEAD_TANH } model_head;
typedef enum model_objective { MODEL_CLASSIFY, MODEL_REGRESS, MODEL_MLM } model_objective;

typedef struct model_options {
  model_pooling pooling;
  model_head head;
  model_objective objective;
  int classes; /* outputs of the head; 1 for regression; unused for masked language modelling */
  double dropout_embedding, dropout_attention, dropout_hidden, dropout_adapter, dropout_head;
  int drops_per_site; /* dropout_adapter: a mask for each adapted map; else one for those that read the same input */
  uint64_t seed;
  linalg_backend backend; /* of products with frozen weights */
  linalg_precision precision;
  int lean; /* keep of a frozen weight only the layouts that its products need, where there are any: nothing is to be merged or exported in the end */
  const uint8_t *words; /* [vocabulary], read by model_create: a lean model keeps the frozen embeddings of these words alone; NULL: any word may come */
  int whole_backward;   /* for measurements: backward goes down to the first layer's maps even where nothing that low is trained */
} model_options;

/* A tensor of the base model or the head. `name` is the internal one, without the files' prefix; q, k and v are one tensor inside (rows q, k, v). */
typedef struct param {
  char name[METHOD_NAME_BYTES];
  param_kind kind;
  segment_role role;    /* SEGMENT_BASE or SEGMENT_HEAD */
  int rows, cols;       /* a vector has one row          */
  int64_t store_offset; /* in the store of base values; -1: not there (the head, which is made from the seed; what a lean model keeps laid out only);
                           for word embeddings maybe only the rows that a lean model keeps */
  int64_t theta_offset; /* in theta; -1: frozen                                                      */
  double deviation;     /* of a start from nothing: normal with it; gains start at 1, shifts and biases at 0 */
} param;

/* One shard: whole sequences, packed. All arrays belong to the caller. */
typedef struct batch {
  int sequences, tokens, longest;
  const int32_t *first;                     /* [sequences + 1] first row of each sequence          */
  const int32_t *token;                     /* [tokens]                                            */
  const int32_t *type;                      /* [tokens] 0 first text, 1 second                     */
  const uint64_t *position;                 /* [tokens] place in the own sequence, from 0          */
  const uint64_t *stream;                   /* [tokens] random stream: step and global sequence number */
  const float *label;                       /* [sequences]                                         */
  int masked;                               /* masked language modelling: predicted places         */
  const int32_t *masked_row, *masked_token; /* [masked] row, and the token to predict */
} batch;

/* Unnormalised sums over the examples (or predicted tokens) of shards. */
typedef struct model_sums {
  double loss;
  int64_t count;  /* examples, or predicted tokens: what the loss is a mean over */
  int64_t tokens; /* real tokens that went through the model                     */
} model_sums;

typedef struct model model;
typedef struct model_workspace model_workspace;

/* Errors: ERROR_USAGE (options that do not fit the shape), ERROR_MEMORY. method_options outlive the model. */
int model_create(const model_shape *shape, const model_options *options, const method *chosen, const option_set *method_options, model **result);
void model_destroy(model *m);

/* ---- sizes and names ---- */

const model_shape *model_shape_of(const model *m);
const model_options *model_options_of(const model *m);
int model_param_count(const model *m);
const param *model_param(const model *m, int index);
int model_segment_count(const model *m);
const segment *model_segment(const model *m, int index); /* of the whole theta: head, trained base parameters in backward order, adapter */
int64_t model_theta_count(const model *m);
int64_t model_store_count(const model *m);                   /* reals of the base values and of the frozen weights' layouts                */
int64_t model_role_count(const model *m, segment_role role); /* floats of theta that count as adapter, base or head                        */
int model_counts(const model *m, method_counts *counts);     /* the method's numbers, head apart                                          */
adapter *model_adapter(const model *m);                      /* its constants may be filled, its sub-network chosen       */
int model_adapter_segment(const model *m);                   /* the adapter's segments are the last ones, from this on   */
int64_t model_adapter_offset(const model *m);                /* and its part of theta the last part, from here on       */
int model_output_count(const model *m);                      /* columns of model_predict's result */

/* ---- values ---- */

/* `store`: model_store_count reals, owned by the caller, written by model_load or model_randomize (by one process of a node), then read-only. Takes the
 * memory of the method and draws its frozen numbers (adapter_prepare). Errors: ERROR_MEMORY. */
int model_attach(model *m, real *store);

/* Where base values come from: find returns the index of a tensor or -1; describe gives its shape; read copies elements (checked finite). */
typedef struct tensor_source {
  void *handle;
  int (*find)(void *handle, const char *name);
  void (*describe)(void *handle, int index, int *dims, int64_t shape[8]);
  int (*read)(void *handle, int index, int64_t first, int64_t count, real *values);
  const char *path; /* for messages */
} tensor_source;

/* Fills the store, and lays out the frozen weights as the backend wants them. Errors: ERROR_INPUT naming file, tensor and reason (missing, wrong shape, not
 * finite); ERROR_MEMORY, and those of linalg_map_lay_out. */
int model_load(model *m, const tensor_source *source);
int model_randomize(model *m);

/* The parts a parameter has in files (q, k, v apart): name without prefix, first row, rows. Returns how many; part < that. */
int model_param_parts(const model *m, int index);
void model_param_part(const model *m, int index, int part, char name[METHOD_NAME_BYTES], int *first_row, int *rows);

/* Current value of a base or head parameter (trained ones: in the last expanded theta); NULL: a lean model keeps its layouts, or some rows, only. */
const real *model_value(const model *m, int index);

/* theta = what training starts from: base values where trained, a fresh head, the method's start. Errors: those of the method. */
int model_init_theta(const model *m, real *theta);

/* A base parameter with the adapter of the last model_expand folded in: value [rows][cols]. Errors: ERROR_USAGE when the method cannot be merged;
 * ERROR_INTERNAL when the model is lean. */
int model_merged_value(const model *m, int index, real *value);

/* ---- work ---- */

/* Memory of one thread for shards of at most so many tokens, sequences, masked places, and sum of squared lengths. */
int model_workspace_create(const model *m, int64_t tokens, int64_t sequences, int64_t masked, int64_t squares, int training, model_workspace **result);
void model_workspace_destroy(model_workspace *w);
int64_t model_workspace_bytes(const model_workspace *w);

/* Seconds this thread spent in the parts since the last call. */
typedef struct model_times {
  double forward_s, backward_s, gather_s;
  double adapter_s; /* of forward_s and backward_s: the method's own work at its maps */
} model_times;
model_times model_workspace_times(model_workspace *w);

/* From now on the parts of this workspace's model_gradient add to p, which outlives it; NULL: no longer. */
void model_workspace_profile(model_workspace *w, model_profile *p);

/* Once per step, by one thread, before the shards. model_choose first, where the method trains a super-network: what takes part in step `step`, or in an
 * evaluation (METHOD_EVALUATION, the state after model_create). */
int model_choose(model *m, int64_t step);
int model_expand(model *m, const real *theta);

/* Which segments take part in the chosen step, [model_segment_count]; NULL: all of them, always. */
const uint8_t *model_active(const model *m);

/* Told during backward that grad[0 .. ready) is complete for this call's shard; called between products, often with nothing new (a smaller number takes nothing
 * back), so that it can also drive communication. */
typedef struct model_progress {
  void (*tell)(void *context, int64_t ready);
  void *context;
} model_progress;

/* Forward and backward of one shard: *sums += , grad [theta] += unnormalised gradient (adapter factors: in the workspace until model_gather).
 * progress may be NULL. */
int model_gradient(const model *m, model_workspace *w, const batch *b, real *grad, model_sums *sums, const model_progress *progress);

/* The head's gradient as factors: it is a sum of outer products, so that rows of model_head_row floats per sequence say all of it. With a linear head: its
 * input [width] and the logits' gradient [classes]; with a dense tanh layer: the last map's input [width], the pooled input and the gradient before the tanh
 * [width] each, and the logits' gradient; all behind dropout. 0: the head of masked language modelling is none of that.
 *
 * model_gradient_apart is model_gradient, but with head_rows not NULL the head's part of grad stays as it is, and head_rows [sequences of the shard][head_row]
 * = the rows (matrix behind matrix, not row behind row). model_head_gradient: grad += the head's gradient of a shard of n sequences from its rows, in the very
 * bits that model_gradient would have added. Errors: ERROR_INTERNAL where there are no such rows. */
int64_t model_head_row(const model *m);
int model_gradient_apart(const model *m, model_workspace *w, const batch *b, real *head_rows, real *grad, model_sums *sums, const model_progress *progress);
void model_head_gradient(const model *m, int n, const real *rows, real *grad);

/* grad += the adapter's part for all shards since the last gather. */
int model_gather(const model *m, model_workspace *w, real *grad);

/* What has to travel of a gradient, in the chosen step after model_expand: segment by segment, theta's floats without those that every rank knows to be zero.
 * is_packed: whether that can be less than theta. unpack restores theta's layout, zeros included. */
int model_is_packed(const model *m);
int64_t model_packed(const model *m, int index); /* floats of a segment */
int64_t model_packed_count(const model *m);
void model_pack(const model *m, const real *grad, real *message);
void model_unpack(const model *m, const real *message, real *grad);

/* Whether a message may take its gradient's own place (pack and unpack with message == grad), and up to where it then is the gradient as it stands, so that
 * this part can leave while backward goes on. Else 0. */
int64_t model_packs_in_place(const model *m);

/* Embeddings of sentence tasks: only rows of the tokens and positions that occur in a step's batch have a gradient, and every rank knows the whole batch. Told
 * all sequences of the step (between begin and end, by all ranks alike), the message leaves out the other rows; before the first time it has them all.
 * model_reaches: whether there is anything to be told. Masked language modelling has a gradient for every word. */
int model_reaches(const model *m);
void model_reach_begin(model *m);
void model_reach(model *m, int length, const int32_t *token);
void model_reach_end(model *m);

/* Forward only: outputs [sequences][model_output_count] (logits, or the score); *sums += with the labels' loss. Masked language modelling: outputs may be
 * NULL, only the loss is formed. */
int model_predict(const model *m, model_workspace *w, const batch *b, real *outputs, model_sums *sums);

/* The last layer's hidden states of the last model_predict, [tokens][width], or of a head that reads first tokens alone [sequences][width]; valid until the
 * next call. */
const real *model_hidden(const model_workspace *w);

#endif
