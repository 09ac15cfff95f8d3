/* What the files of src/model share. Not for others. */
#ifndef PEFTSCALE_MODEL_INTERNAL_H
#define PEFTSCALE_MODEL_INTERNAL_H

#include "base/clock.h"
#include "model/model.h"

/* The stages of a layer, in forward order; each is one group of sites. */
enum { STAGE_QKV, STAGE_O, STAGE_UP, STAGE_DOWN, STAGES };
enum { SITES_PER_LAYER = 7 }; /* q, k, v, o, up, down, qkv */

/* Indices of a layer's parameters. */
typedef struct layer_params {
  int qkv_weight, qkv_bias, o_weight, o_bias, norm1_gain, norm1_shift, up_weight, up_bias, down_weight, down_bias, norm2_gain, norm2_shift;
} layer_params;

/* Rows of a trained embedding that the step's batch reaches: all others have no gradient. */
enum { REACHED_WORDS, REACHED_POSITIONS, REACHED };
typedef struct reached_rows {
  int segment;   /* of theta; -1: frozen                     */
  int rows;      /* of the embedding                         */
  int count;     /* of those reached; all until told others  */
  int32_t *row;  /* [rows] ascending; NULL: always all       */
  uint8_t *seen; /* [rows]                                   */
} reached_rows;

/* Where a frozen weight's layouts begin in the store; -1: there is none (no such layout, a trained weight, nothing below that wants a gradient). */
typedef struct frozen_map {
  int64_t forward_offset, backward_offset;
} frozen_map;

struct model {
  model_shape shape;
  model_options options;
  arena *memory;
  param *params;
  int param_count;
  int words, positions, types, embedding_gain, embedding_shift;
  int32_t *word_row; /* [vocabulary] row in the store of each word's embedding, ascending with the words; -1: not kept; NULL: all are, in their rows */
  int word_rows;
  layer_params *layers;
  int dense_weight, dense_bias, out_weight, out_bias; /* the head; -1 where it has none */
  int mlm_weight, mlm_bias, mlm_gain, mlm_shift, mlm_output_bias;
  struct census *census; /* owns sites and groups */
  site *sites;
  site_group *groups;
  segment *segments;
  int segment_count, adapter_segment; /* the adapter's segments come last, from this one on */
  int64_t theta_count, store_count, adapter_offset;
  real *store;
  const real **value;       /* [param_count] */
  linalg_map *maps[STAGES]; /* one for each stage's shape                     */
  frozen_map *frozen;       /* [layers * STAGES] the weights of each as laid out */
  adapter *adapter;
  reached_rows reached[REACHED];
  uint8_t *active; /* [segment_count]; NULL: everything, always */
  int lowest;      /* level of the lowest trained place: 0 embeddings, 1 + layer * STAGES + stage; above all: only the head */
};

/* Activations of one layer, kept from forward to backward. */
typedef struct layer_memory {
  real *qkv;                        /* [tokens][3 width]                                    */
  real *share;                      /* attention probabilities, per head [len][queries] by sequence */
  real *context;                    /* [tokens][width] attention output before o            */
  real *hat1, *deviation1, *middle; /* norm 1: normalised, 1/deviation, output */
  real *slope;                      /* [tokens][ffn] u, then gelu'(u)                        */
  uint16_t *narrow_slope;           /* the same in bfloat16, where that is all that is wanted of it; then u has a place for all layers. NULL: slope */
  real *activated;                  /* [tokens][ffn] gelu(u)                                 */
  real *hat2, *deviation2;
} layer_memory;

struct model_workspace {
  arena *memory;
  method_workspace method;
  linalg_desk *desk;
  int64_t tokens, sequences, masked, squares; /* capacities                                                                  */
  int64_t rows;                               /* tokens up to a whole block of the frozen products, for rows of no meaning */
  int training;
  int layer_count;
  real **hidden; /* [layers + 1] input of each layer; the last: the model's output */
  real *embedding_hat, *embedding_deviation;
  layer_memory *layers;
  int first_kept;                                              /* layers below share one set of buffers: nothing of them is needed for backward */
  real *dhidden, *dwide, *dqkv, *dcontext, *attention_scratch; /* backward */
  real *dbranch;                                               /* [tokens][width] gradient of a branch, where it differs from that of the sum */
  /* head */
  real *pooled, *pooled_input, *dense, *dense_input, *logits, *dlogits, *dpooled, *ddense;
  real *mlm_rows, *mlm_u, *mlm_act, *mlm_slope, *mlm_hat, *mlm_deviation, *mlm_normal;
  uint64_t *element;                       /* [tokens] */
  uint64_t *first_stream, *first_position; /* [sequences] keys of pooled rows                                              */
  batch read;                              /* the rows that the head reads, as sequences of one token: reads_first_only     */
  int32_t *read_first;                     /* [sequences + 1] 0, 1, 2 ... */
  uint64_t *read_position, *read_stream;   /* [sequences] 0, and the sequence's own */
  real *read_residual;                     /* [sequences][width] their input of the last layer */
  model_times times;
  model_profile *profile; /* of training passes; NULL: nobody asked */
};

static inline int level_of(int layer, int stage) { return 1 + layer * STAGES + stage; }

/* Time since the last mark belongs to this part. */
static inline void profile_mark(model_workspace *w, model_part part, int is_backward, double flop) {
  model_profile *p = w->profile;
  if (!p || !w->method.training) return;
  double now = clock_wall_s();
  model_profile_row *row = is_backward ? &p->backward[part] : &p->forward[part];
  row->seconds += now - p->marked_s;
  row->flop += flop;
  p->marked_s = now;
}

/* A stage's map; its adapter is the part behind it. */
static inline model_part stage_part(int stage) { return (const model_part[STAGES]){PART_QKV, PART_O, PART_UP, PART_DOWN}[stage]; }

/* The row of a word in the embeddings as they are kept. */
static inline int64_t row_of_word(const model *m, int32_t word) { return m->word_row ? m->word_row[word] : word; }

/* The parameter that is a stage's weight. */
static inline int stage_weight(const model *m, int layer, int stage) {
  const layer_params *p = &m->layers[layer];
  return (const int[STAGES]){p->qkv_weight, p->o_weight, p->up_weight, p->down_weight}[stage];
}

/* Where a trained parameter's gradient goes; NULL: frozen. */
static inline real *param_gradient(const model *m, int index, real *grad) {
  int64_t offset = m->params[index].theta_offset;
  return offset < 0 ? NULL : grad + offset;
}

/* message.c: memory for what is known of a step's gradient before it is made. */
int message_plan(model *m);

/* encoder.c: whether both products beside a layer's GELU take bfloat16, from nobody but it: then so may its slope be kept. */
int gelu_is_narrow(const model *m, int layer);

/* attention.c: context from qkv and back (dqkv written whole). share holds the probabilities for backward. queries: the rows of b that ask, either b itself or
 * the first of each sequence; context and its gradient have a row for each of these. */
void attention_forward(const model *m, model_workspace *w, const batch *b, const batch *queries, int layer, const real *qkv, real *share, real *context);
void attention_backward(const model *m, model_workspace *w, const batch *b, const batch *queries, int layer, const real *qkv, const real *share,
                        const real *dcontext, real *dqkv);

/* Whether the head reads each sequence's first token alone: then the last layer works on these rows only, behind its keys and values, and its output
 * hidden[layers] and that's gradient have a row per sequence. */
static inline int reads_first_only(const model *m) { return m->options.objective != MODEL_MLM && m->options.pooling == MODEL_POOL_FIRST; }

/* encoder.c: embeddings and layers. dhidden of the last layer is in w->dhidden when backward is called. */
int encoder_forward(const model *m, model_workspace *w, const batch *b);
int encoder_backward(const model *m, model_workspace *w, const batch *b, real *grad, const model_progress *progress);

/* heads.c: *sums += loss; outputs (may be NULL) receive logits; with grad not NULL w->dhidden is set and the head's gradient added, or, with rows not NULL,
 * left to whoever gives those rows to model_head_gradient. */
int head_apply(const model *m, model_workspace *w, const batch *b, real *outputs, model_sums *sums, real *rows, real *grad);

#endif
