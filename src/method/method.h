/* What a parameter-efficient fine-tuning method is: one static table of functions; and the adapter: a method bound to one model's sites.
 *
 * A method acts on sites. Sites that read the same input form a group (q, k, v of a layer), the unit of a call, so that their skinny products can be one.
 * Its trainable numbers are one vector, theta, described by segments. An adapter is read-only between expand and the optimiser's update; all that changes
 * inside a step lives in the caller's workspace, one per thread.
 *
 * Not collective. Thread-safe as said above: forward and backward may run in many threads with different workspaces.
 */
#ifndef PEFTSCALE_METHOD_H
#define PEFTSCALE_METHOD_H

#include <stdint.h>

#include "base/arena.h"
#include "base/option.h"
#include "base/random.h"
#include "base/real.h"
#include "linalg/linalg.h"

enum { METHOD_NAME_BYTES = 96, GROUP_MAX_SITES = 4 };

/* ---- places in a model ---- */

/* A linear map y = x W^T + b. W: [out][in], b: [out] or NULL; both NULL where only counts are asked for, W also where the model keeps no plain weights for a
 * method without METHOD_READS_WEIGHTS. The model keeps the pointers up to date. `qkv` is
 * the fused map of attention, whose rows are those of q, k and v: a method acts on it or on its parts, never on both. */
typedef struct site {
  char name[METHOD_NAME_BYTES]; /* "layer.3.q"                                               */
  const char *module;           /* "q", "k", "v", "o", "gate", "up", "down", "qkv"            */
  int layer, out, in;
  int column; /* of the group's output row, where this site's begins: q 0, k behind q, qkv 0 */
  const real *weight, *bias;
} site;

/* Sites with the same input; their outputs lie in rows of the same stride. */
typedef struct site_group {
  int layer, in;
  int site_count;
  int site[GROUP_MAX_SITES]; /* index into the model's sites */
} site_group;

typedef enum param_kind { PARAM_WEIGHT, PARAM_BIAS, PARAM_NORM_GAIN, PARAM_NORM_SHIFT, PARAM_EMBEDDING } param_kind;

/* ---- theta ---- */

typedef enum segment_role { SEGMENT_ADAPTER, SEGMENT_BASE, SEGMENT_HEAD } segment_role;
extern const char *const segment_role_names[3];

/* A named view into theta: rows x cols numbers from offset on. */
typedef struct segment {
  char name[METHOD_NAME_BYTES];
  segment_role role;  /* what its numbers count as                                                                    */
  const char *rate;   /* learning-rate group: "adapter", "base", "head", or a method's own ("bank"), static storage    */
  double rate_own;    /* the group's own peak learning rate; 0: rate_factor times that of the run                      */
  double rate_factor; /* 1 unless a method says otherwise                                                              */
  int decays;         /* weight decay applies                                                                          */
  int64_t offset;
  int rows, cols;
} segment;

/* A frozen array that a method draws from its seed or takes from a file: never in theta, never sent. Storage is taken by adapter_prepare. */
typedef struct method_constant {
  char name[METHOD_NAME_BYTES];
  int from_file; /* the caller fills it between adapter_prepare, which takes its memory, and the first expand; else the method draws it */
  int is_index;  /* whole numbers in [0, limit), in `index`; else reals, in `value`                                                            */
  int64_t rows, cols, limit;
  real *value;
  int32_t *index;
} method_constant;

/* Numbers of a method on a model, apart from the head. Bytes are exact. */
typedef struct method_counts {
  int64_t trainable;         /* floats of theta that are the method's                                        */
  int64_t stored_bytes;      /* what a checkpoint of the result must hold (with seeds)                        */
  int64_t regenerated_bytes; /* frozen numbers that are made anew from the seed, at most as many in memory    */
  int64_t sent_floats;       /* floats per rank in a step's message (a drawn sub-network: in the mean)        */
  int64_t segments;          /* of theta that are the method's: an exact sum sends a byte for each            */
} method_counts;

/* An array of the stored result (the adapter file): what must be kept, and nothing that follows from it. */
typedef enum stored_type { STORED_F32, STORED_U8, STORED_U16, STORED_I32, STORED_I64 } stored_type;
typedef struct stored_array {
  char name[METHOD_NAME_BYTES];
  stored_type type;
  int64_t rows, cols;
} stored_array;

/* ---- the adapter and its surroundings ---- */

/* Which rows a call works on, for random numbers: row i belongs to stream[i] (step and global sequence number) at position[i]. */
typedef struct row_keys {
  const uint64_t *stream;
  const uint64_t *position;
} row_keys;

/* One thread's changing memory. Sizes come from the adapter (below) and the largest shard, whose rows are counted up to a multiple of LINALG_ROW_BLOCK. */
typedef struct method_workspace {
  real *factor_gradient; /* [adapter.factor_count] gradient of what expand made; accumulates over a thread's shards until gather        */
  real **saved;          /* [model groups] kept from forward to backward: [rows][saved_width of the group]; NULL for untouched groups     */
  real *scratch;         /* [rows][adapter.scratch_width]                                                                                 */
  uint64_t *element;     /* [rows] first element of each row for random numbers                                                           */
  linalg_desk *desk;     /* for products with frozen matrices that are laid out (linalg_map)                                               */
  row_keys keys;
  int training; /* dropout on, activations kept */
} method_workspace;

typedef struct adapter adapter;

enum {
  METHOD_IDENTITY_AT_START = 1, /* the adapted model equals the base model before the first step */
  METHOD_MERGEABLE = 2,         /* can be folded into the base weights                             */
  METHOD_TRAINS_BASE = 4,       /* theta holds base parameters; there are no factors               */
  METHOD_SEEDED = 8,            /* the result needs the projection's seed to be used again         */
  METHOD_DROPS_INPUT = 16,      /* has a branch whose input model.dropout_adapter drops out        */
  METHOD_STORES_LESS = 32,      /* the stored result is less than theta: no training goes on from  */
  METHOD_READS_WEIGHTS = 64     /* its steps look at the sites' frozen weights and biases            */
};

/* For choose: a pass outside training, in which the whole trained result takes part. */
enum { METHOD_EVALUATION = -1 };

/* For methods that train a super-network: every place (adapted map) has one path at a time, a number whose digits (genes; gene g has choices[g] values, the
 * first digit the lowest) say which sub-network it is. Path 0 is the widest. */
enum { METHOD_PATH_BYTES = 96 };
typedef struct method_paths {
  int genes;
  const int *choices; /* [genes] */
  int (*places)(const adapter *a);
  const char *(*place_name)(const adapter *a, int place);
  int64_t (*size)(const adapter *a, int place, int path); /* floats of theta that the path uses there */
  int (*follow)(adapter *a, const int32_t *path);         /* [places]: what evaluations use from the next choose on; NULL: the widest */
  void (*describe)(int path, char text[METHOD_PATH_BYTES]);
  const char *words; /* configuration words that train one chosen sub-network from its start; its paths follow behind the last one, with commas */
} method_paths;

typedef struct method {
  const char *name, *title, *paper;
  unsigned flags;
  const option *options; /* its own configuration keys */
  int option_count;
  const char *training_options; /* of these, words apart by commas: what says how a training starts or goes on, not what its numbers mean; NULL: none */
  /* Whether a base parameter is trained (full fine-tuning, BitFit); NULL: none. */
  int (*trains)(param_kind kind);
  /* Declares segments (adapter_add_segment), constants, factor_count, touched groups and widths. No float work: also serves counting. NULL: nothing to add. */
  int (*plan)(adapter *a);
  /* Takes the memory of expand and draws seeded constants; once, when sites have their numbers. NULL: none. */
  int (*prepare)(adapter *a);
  /* Gives back what prepare took and no arena holds; also after a prepare that failed, or none. NULL: nothing. */
  void (*release)(adapter *a);
  /* Writes the initial theta. */
  int (*init)(const adapter *a, real *theta);
  /* What takes part in step `step` (or METHOD_EVALUATION): sets a->active [segment_count]. Pure function of seed and step. NULL: everything, always. */
  int (*choose)(adapter *a, int64_t step);
  /* theta to per-site factors, once per step. */
  int (*expand)(adapter *a, const real *theta);
  /* For a touched group: x [n][in], y[s] [n][out_s] with row distance y_stride holds the base map's output and becomes the adapted one. */
  int (*forward)(const adapter *a, method_workspace *w, int group, int n, const real *x, real *const y[], int y_stride);
  /* dy[s] is the gradient for the adapted output and becomes the gradient for the base map's output; dx [n][in] += the method's own part (NULL: not wanted),
   * where plan has set adds_input for the group. */
  int (*backward)(const adapter *a, method_workspace *w, int group, int n, const real *x, real *const dy[], int y_stride, real *dx);
  /* grad += adjoint of expand applied to w->factor_gradient, which is cleared. */
  int (*gather)(const adapter *a, method_workspace *w, real *grad);
  /* What has to travel of a segment's gradient: the number of floats, and those floats out of the segment and (zeros elsewhere) back into it. The same on all
   * ranks after expand. NULL: all of every active segment. */
  int64_t (*packed)(const adapter *a, int segment);
  void (*pack)(const adapter *a, int segment, const real *grad, real *message);
  void (*unpack)(const adapter *a, int segment, const real *message, real *grad);
  /* NULL: theta is trained and sent, and the stored arrays are stored (adapter_stored: 8 bytes of seed among them, or the constants of a file). */
  int (*count)(const adapter *a, method_counts *counts);
  /* The stored result, where it is not theta's segments as they are: describes array `index` (rows 0: behind the last), fills it from theta, and sets theta
   * from it (every array is loaded once, in order; what it says nothing of stays as it was). All three or none. */
  int (*stored)(const adapter *a, int index, stored_array *array);
  int (*save)(const adapter *a, const real *theta, int index, void *values);
  int (*load)(const adapter *a, int index, const void *values, real *theta);
  /* W [out][in] and b [out] become the adapted map's; either is NULL where it is not wanted (the model asks for one at a time). site: index into the model's
   * sites, whose weight and bias hold the base map's numbers. */
  int (*merge)(const adapter *a, int site, real *weight, real *bias);
  const method_paths *paths; /* NULL: no super-network */
} method;

/* What plan made of an option that was `auto`, for the run's canonical configuration. */
typedef struct resolved_option {
  const char *name;
  int64_t value;
} resolved_option;
enum { RESOLVED_MAX = 8 };

/* What an adapter is told beside its method's own options. */
typedef struct adapter_settings {
  uint64_t seed;
  double dropout;         /* on the input of the adapter's branches                             */
  int drops_per_site;     /* a mask of its own for each site; else one for the sites of a group */
  linalg_backend backend; /* of products with frozen matrices                                   */
} adapter_settings;

struct adapter {
  const method *method;
  const option_set *options;
  adapter_settings set;
  const site *sites;
  int site_count;
  const site_group *groups;
  int group_count;
  /* Filled in by plan. Offsets are relative to the adapter's part of theta. */
  segment *segments;
  int segment_count, segment_capacity;
  method_constant *constants;
  int constant_count;
  int64_t theta_count;   /* floats of the adapter's part of theta                                     */
  int64_t factor_count;  /* floats of factor_gradient                                                  */
  uint8_t *touched;      /* [group_count] the method acts on this group                                */
  uint8_t *keeps_input;  /* [group_count] backward wants the group's input x                           */
  uint8_t *adds_input;   /* [group_count] backward adds to the gradient of x, which else it leaves alone */
  int *saved_width;      /* [group_count] floats per row kept for backward                             */
  int scratch_width;     /* floats per row of scratch, the largest of a call                           */
  int64_t scratch_fixed; /* floats of scratch behind those, whatever the number of rows                */
  resolved_option resolved[RESOLVED_MAX];
  int resolved_count;
  uint8_t *active;   /* [segment_count] of the chosen step; NULL: everything takes part, always    */
  void *state;       /* the method's own, from `memory`                                            */
  const real *theta; /* of the last expand                                                         */
  arena *memory;
};

/* Binds a method to a model's sites and plans it. sites and groups outlive the adapter. Errors: those of plan (an option that does not fit the model:
 * ERROR_USAGE). */
int adapter_create(const method *m, const option_set *options, const adapter_settings *set, const site *sites, int site_count, const site_group *groups,
                   int group_count, adapter **result);
void adapter_destroy(adapter *a);

/* Once, before the first init or expand and after the sites have their numbers: takes memory for constants and factors, draws what comes from the seed. */
int adapter_prepare(adapter *a);

/* Whether a segment takes part in the chosen step. */
int adapter_is_active(const adapter *a, int segment);

/* Floats of a segment that travel in the chosen step, and the way there and back (method.packed, or the whole active segment). */
int64_t adapter_packed(const adapter *a, int segment);
void adapter_pack(const adapter *a, int segment, const real *grad, real *message);
void adapter_unpack(const adapter *a, int segment, const real *message, real *grad);

/* The method's numbers, by its own count or by the rule of method.count. */
int adapter_counts(const adapter *a, method_counts *counts);

/* The arrays of the stored result: method.stored, save and load, or the segments as they are and the seed. A seed is one I64 array "seed". load checks
 * whatever it can (indices in range, finite numbers). Errors: ERROR_INPUT. */
int adapter_stored_count(const adapter *a);
int adapter_stored(const adapter *a, int index, stored_array *array);
int adapter_save(const adapter *a, const real *theta, int index, void *values);
int adapter_load(const adapter *a, int index, const void *values, real *theta);
int64_t stored_array_bytes(const stored_array *array);

/* How many of these arrays come first and stand for theta; the seed, or the constants that a file brought, follow. */
int adapter_stored_own(const adapter *a);

/* Spelling of option number `index` as the adapter uses it: what is `auto` as plan settled it, the seed of drawn numbers with its value. */
const char *adapter_option_text(const adapter *a, int index, char buffer[32]);

/* For method.stored, save and load: a segment as it is. */
stored_array adapter_stored_segment(const adapter *a, int segment);
void adapter_save_segment(const adapter *a, const real *theta, int segment, float *values);
int adapter_load_segment(const adapter *a, int segment, const float *values, real *theta);

/* Seed of frozen numbers: option projection_seed, or the run's where that is auto. */
uint64_t adapter_projection_seed(const adapter *a);

/* For plan: appends a segment of rows x cols to the adapter's theta; *offset (may be NULL) is where it begins. adapter_last_segment: to refine it. */
int adapter_add_segment(adapter *a, const char *name, const char *rate, int decays, int rows, int cols, int64_t *offset);
segment *adapter_last_segment(adapter *a);

/* For plan: a whole-number option; where it is auto, `automatic`, which is noted as resolved. */
int64_t adapter_settle(adapter *a, const char *name, int64_t automatic);

/* For plan: appends a constant. limit > 0: of whole numbers below it. */
int adapter_add_constant(adapter *a, const char *name, int from_file, int64_t rows, int64_t cols, int64_t limit);

/* For plan: whether option `modules` names this site ("all" names every one but the fused qkv); adapter_check_modules refuses a list that names qkv and a
 * part of it, and one that names nothing of this model (ERROR_USAGE). */
int adapter_targets(const adapter *a, const site *s);
int adapter_check_modules(const adapter *a);

/* The words of option `modules`. */
extern const char *const adapter_modules[];

/* ---- the registry (list.c) ---- */

extern const method *const method_list[]; /* NULL-terminated */

/* The method of that name. Errors: ERROR_USAGE with the nearest name. */
int method_find(const char *name, const method **result);

/* For config_request: a method's option table. */
int method_options(const char *name, const option **options, int *count);

#endif
