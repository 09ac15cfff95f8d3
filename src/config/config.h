/* The configuration of a run: YAML files and key=value words in, one typed, range-checked structure out.
 *
 * Order, last wins: base < model < task < method < preset < study files < command line. `configs/base.yaml`, `configs/model/NAME.yaml`,
 * `configs/task/NAME.yaml`, `configs/method/NAME.yaml` and `configs/preset/NAME.yaml` are found below `root`; which NAMEs is decided by the keys
 * model.name, task.name, method.name and preset of base.yaml, the study files and the command line; a preset may choose model, task and method. A section
 * written as one word (`method: lora`) means its name. A method needs no file of its own. Every value remembers where it came from.
 *
 * Not collective: every rank composes the same files; the caller agrees on errors. Not thread-safe.
 */
#ifndef PEFTSCALE_CONFIG_H
#define PEFTSCALE_CONFIG_H

#include <stdio.h>

#include "base/hash.h"
#include "base/option.h"

typedef enum config_init { INIT_PRETRAINED, INIT_RANDOM } config_init;
typedef enum config_pooling { POOLING_MEAN, POOLING_FIRST } config_pooling;
typedef enum config_head { HEAD_LINEAR, HEAD_TANH } config_head;
typedef enum config_objective { OBJECTIVE_CLASSIFY, OBJECTIVE_REGRESS, OBJECTIVE_MLM } config_objective;
typedef enum config_metric { METRIC_ACCURACY, METRIC_F1, METRIC_MATTHEWS, METRIC_PEARSON, METRIC_SPEARMAN, METRIC_LOSS } config_metric;
typedef enum config_schedule { SCHEDULE_LINEAR, SCHEDULE_COSINE, SCHEDULE_CONSTANT } config_schedule;
typedef enum config_reduce { REDUCE_FLOAT, REDUCE_EXACT } config_reduce;
typedef enum config_node_reduce { NODE_REDUCE_OFF, NODE_REDUCE_ON } config_node_reduce;
typedef enum config_payload { PAYLOAD_COMPACT, PAYLOAD_DENSE } config_payload;
typedef enum config_head_reduce { HEAD_REDUCE_DENSE, HEAD_REDUCE_FACTORS } config_head_reduce;
typedef enum config_precision { PRECISION_F32, PRECISION_BF16 } config_precision;
typedef enum config_linalg { BACKEND_OPENBLAS, BACKEND_ONEDNN } config_linalg;
typedef enum config_adapter_dropout { ADAPTER_DROPOUT_SHARED, ADAPTER_DROPOUT_PER_SITE } config_adapter_dropout;
typedef enum config_keep { KEEP_BEST, KEEP_LAST } config_keep;

/* A field of an `auto` key holds -1 (integers, booleans, choices) or NaN (reals) until its owner resolves it; texts are never NULL. */
typedef struct config {
  int64_t seed;
  int64_t shards;          /* auto: ceil(batch x mean length / 256), at least 2       */
  int64_t precision;       /* config_precision, of the operands of products with frozen weights */
  int64_t linalg;          /* config_linalg, of the same; auto: the best that is there          */
  int64_t threads;         /* execution: threads per rank, each working on whole shards */
  int64_t reduce, payload; /* execution: config_reduce, config_payload                */
  int64_t node_reduce;     /* execution: config_node_reduce                           */
  int64_t head_reduce;     /* execution: config_head_reduce; auto: by bytes           */
  int64_t check_every;     /* steps between comparisons of the ranks' theta; 0: never */
  int64_t sample_every;    /* steps between those in which waiting is told from transfer; 0: never */
  const char *network;     /* execution: a label for what the ranks talk over          */
  int64_t repetition;      /* execution: number of the same run                        */
  const char *preset;
  struct {
    const char *name, *path; /* path: a Hugging Face directory; relative ones are also looked for below PEFTSCALE_ASSETS */
    int64_t init;            /* config_init                                                                               */
    const char *family;      /* the rest of this block: the shape of a backbone made from nothing (init: random)         */
    int64_t layers, width, heads, ffn, positions;
    int64_t pooling, head; /* config_pooling, config_head */
    double dropout_embedding, dropout_attention, dropout_hidden, dropout_adapter, dropout_head;
    int64_t adapter_dropout; /* config_adapter_dropout: whose mask dropout_adapter has */
  } model;
  struct {
    const char *name, *data;
    int64_t objective; /* config_objective; auto: as the data set says */
    int64_t metric;    /* config_metric; auto: as the data set says    */
    int64_t limit;     /* use only so many training examples; 0: all   */
    double mask_rate;  /* masked language modelling                    */
  } task;
  struct {
    const char *name;
    option_set options; /* the method's own keys (method.rank ...), as its option table declares them */
  } method;
  struct {
    int64_t batch, epochs;
    int64_t steps;      /* auto: epochs x ceil(examples / batch) */
    double lr, lr_head; /* lr_head auto: lr */
    double decay, decay_head;
    double beta1, beta2, epsilon;
    int64_t schedule;       /* config_schedule */
    double warmup;          /* share of all steps */
    double clip;            /* largest norm of the mean gradient; 0: off */
    const char *start;      /* an adapter file to start from; relative ones are also looked for below PEFTSCALE_ASSETS; "": none */
    int64_t keep;           /* config_keep */
    int64_t evaluate_every; /* steps between validations; 0: once per epoch */
  } train;
  struct {
    const char *dir, *name; /* run file: DIR/NAME.h5; name auto: TASK-METHOD-sSEED-RUNID8 (no task: the data set's name) */
    int64_t theta;          /* boolean; auto: on unless theta is the whole model */
    int64_t predictions;    /* boolean */
    int64_t test;           /* boolean: whether the test split is read for a score */
    double checkpoint_s;    /* seconds between checkpoints; 0: only when the training is told to stop */
    int64_t log_every;      /* steps between log lines where standard error is no terminal */
    const char *export_dir; /* after training, write the adapted or trained base model there as safetensors; "": no */
  } output;
  struct config_entries *entries; /* every key with its text and origin; internal */
} config;

/* Parsed files, shared by the compositions of one batch: with it each file is read once, so that a thousand runs of a study compose in a fraction of a second.
 * It does not look whether a file has changed since: keep it no longer than for one command. */
typedef struct config_cache config_cache;
int config_cache_create(config_cache **result);
void config_cache_destroy(config_cache *cache);

typedef struct config_request {
  const char *root;         /* the directory that holds base.yaml, model/, task/ ...; NULL: defaults, study files and assignments only */
  const char *const *files; /* study files, in order                                  */
  int file_count;
  const char *const *assignments; /* "section.key=value", in order                          */
  int assignment_count;
  const char *const *origins; /* of each assignment what messages and origins call it ("study.yaml:12:7"), NULL: command line; NULL for all */
  /* The option table of a method by name (count 0 when it has none); an error with the nearest name if there is no such method. */
  int (*method_options)(const char *method, const option **options, int *count);
  config_cache *cache; /* NULL: files are read anew */
} config_request;

/* Errors: ERROR_USAGE with file, line, column, key, reason and the nearest valid name; ERROR_INPUT when a file cannot be read. *result is destroyed with
 * config_destroy. */
int config_compose(const config_request *request, config **result);

/* A configuration from the text that config_write_yaml wrote (as a run file holds it), with assignments on top. `origin` names it in messages. No other
 * file is read. A key that the text lacks, because it is newer, gets its neutral value. */
int config_restore(const char *text, const char *origin, int (*method_options)(const char *, const option **, int *), const char *const *assignments,
                   int assignment_count, config **result);

void config_destroy(config *c);

/* Sets a key (also a method's own: "method.rank") whose value is `auto` to what its owner resolved, with origin "resolved". Errors: ERROR_INTERNAL for an
 * unknown key, for one that is not `auto`, and for a value that its declaration refuses. */
int config_resolve(config *c, const char *key, const char *value);

/* Sets a key to what the caller decides in spite of all files (where a sweep's run files go). `origin`, a constant, names the caller. Errors: ERROR_INTERNAL
 * for an unknown key; of a value that its declaration refuses. */
int config_assign(config *c, const char *key, const char *value, const char *origin);

/* Every key with its value and its origin ("configs/method/lora.yaml:4", "command line", "default"), as aligned text or one JSON object. */
int config_print(const config *c, FILE *file, int json);

/* All keys as YAML that config_restore reads. *text is malloc'ed; the caller frees it. */
int config_write_yaml(const config *c, char **text);

/* The canonical text of all keys that decide a run's numbers ("section.key=value\n", sorted, numbers in one spelling; keys at their neutral default left
 * out; paths, output and execution keys never in). *text is malloc'ed; the caller frees it. */
int config_canonical(const config *c, char **text);

/* Every key of the schema (not the methods' own) for documentation and completion: name, type, range, default, help. */
void config_print_schema(FILE *file);

#endif
