#include "config/schema.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "config/config.h"

/* In the order of the enums of config.h: the index of a word is the enum's value. */
static const char *const init_words[] = {"pretrained", "random", NULL};
static const char *const adapter_dropout_words[] = {"shared", "per_site", NULL};
static const char *const pooling_words[] = {"mean", "first", NULL};
static const char *const head_words[] = {"linear", "tanh", NULL};
static const char *const objective_words[] = {"classify", "regress", "mlm", NULL};
static const char *const metric_words[] = {"accuracy", "f1", "matthews", "pearson", "spearman", "loss", NULL};
static const char *const schedule_words[] = {"linear", "cosine", "constant", NULL};
static const char *const reduce_words[] = {"float", "exact", NULL};
static const char *const node_reduce_words[] = {"off", "on", NULL};
static const char *const payload_words[] = {"compact", "dense", NULL};
static const char *const head_reduce_words[] = {"dense", "factors", NULL};
static const char *const precision_words[] = {"f32", "bf16", NULL};
static const char *const linalg_words[] = {"openblas", "onednn", NULL};
static const char *const keep_words[] = {"best", "last", NULL};

#define FIELD(member) offsetof(config, member)
#define NUMBERS IDENTITY_NUMBERS
#define EXECUTION IDENTITY_EXECUTION
#define NEITHER IDENTITY_NEITHER

/* {{key, type, default, low, high, choices, may be auto, help}, field, identity, neutral}. Whole numbers stay below 2^53: exact in JSON too. */
static const config_key rows[] = {
    {{"seed", OPTION_INT, "1", 0, 4294967295.0, NULL, 0, "seed of every random number"}, FIELD(seed), NUMBERS, NULL},
    {{"shards", OPTION_INT, "auto", 1, 1048576, NULL, 1, "parts of each step's batch, the unit of parallel work; auto: tokens per batch / 256, at least 2"},
     FIELD(shards),
     NUMBERS,
     NULL},
    {{"precision", OPTION_CHOICE, "f32", 0, 0, precision_words, 0,
      "operands of products with frozen weights; bf16: both rounded to bfloat16, summed in floats, all else in floats"},
     FIELD(precision),
     NUMBERS,
     "f32"},
    {{"linalg", OPTION_CHOICE, "auto", 0, 0, linalg_words, 1,
      "library of products with frozen weights; auto: onednn where the program has it and the processor AVX-512, else openblas"},
     FIELD(linalg),
     NUMBERS,
     "openblas"},
    {{"threads", OPTION_INT, "1", 1, 1024, NULL, 0, "threads per rank, each working on whole shards"}, FIELD(threads), EXECUTION, NULL},
    {{"reduce", OPTION_CHOICE, "float", 0, 0, reduce_words, 0, "sum of gradients: in floats, or in integers (the same bits for any ranks and threads)"},
     FIELD(reduce),
     EXECUTION,
     NULL},
    {{"payload", OPTION_CHOICE, "compact", 0, 0, payload_words, 0, "what travels: only what ranks cannot know to be zero, or all of theta's gradient"},
     FIELD(payload),
     EXECUTION,
     NULL},
    {{"node_reduce", OPTION_CHOICE, "off", 0, 0, node_reduce_words, 0, "vectors above 4 MiB are first added among the ranks of a node, in shared memory"},
     FIELD(node_reduce),
     EXECUTION,
     NULL},
    {{"head_reduce", OPTION_CHOICE, "auto", 0, 0, head_reduce_words, 1,
      "the task head's gradient: in the sum, or formed by every rank from the rows of all examples; auto: what sends fewer bytes"},
     FIELD(head_reduce),
     EXECUTION,
     "dense"},
    {{"check_every", OPTION_INT, "100", 0, 1e12, NULL, 0, "steps between comparisons of the ranks' numbers (a hash of theta); 0: never"},
     FIELD(check_every),
     NEITHER,
     NULL},
    {{"sample_every", OPTION_INT, "10", 0, 1e12, NULL, 0, "steps between those that tell waiting for the slowest rank from transfer, by a barrier; 0: never"},
     FIELD(sample_every),
     NEITHER,
     NULL},
    {{"network", OPTION_TEXT, "", 0, 0, NULL, 0, "a label for what the ranks talk over, such as 1gbit: runs of another label are other runs"},
     FIELD(network),
     EXECUTION,
     NULL},
    {{"repetition", OPTION_INT, "1", 1, 1e9, NULL, 0, "number of the same run, for timing it again"}, FIELD(repetition), EXECUTION, NULL},
    {{"preset", OPTION_TEXT, "", 0, 0, NULL, 0, "preset/NAME.yaml to start from, such as a paper's settings"}, FIELD(preset), NEITHER, NULL},

    {{"model.name", OPTION_TEXT, "", 0, 0, NULL, 0, "model/NAME.yaml"}, FIELD(model.name), NEITHER, NULL},
    {{"model.path", OPTION_TEXT, "", 0, 0, NULL, 0, "Hugging Face directory of the weights, as given or below PEFTSCALE_ASSETS"},
     FIELD(model.path),
     NEITHER,
     NULL},
    {{"model.init", OPTION_CHOICE, "pretrained", 0, 0, init_words, 0, "weights from model.path, or a new backbone from random numbers"},
     FIELD(model.init),
     NUMBERS,
     NULL},
    {{"model.family", OPTION_TEXT, "bert", 0, 0, NULL, 0, "architecture of a new backbone"}, FIELD(model.family), NUMBERS, NULL},
    {{"model.layers", OPTION_INT, "2", 1, 1024, NULL, 0, "layers of a new backbone"}, FIELD(model.layers), NUMBERS, NULL},
    {{"model.width", OPTION_INT, "128", 1, 65536, NULL, 0, "hidden width of a new backbone"}, FIELD(model.width), NUMBERS, NULL},
    {{"model.heads", OPTION_INT, "4", 1, 1024, NULL, 0, "attention heads of a new backbone"}, FIELD(model.heads), NUMBERS, NULL},
    {{"model.ffn", OPTION_INT, "512", 1, 262144, NULL, 0, "inner width of the feed-forward block of a new backbone"}, FIELD(model.ffn), NUMBERS, NULL},
    {{"model.positions", OPTION_INT, "128", 1, 1048576, NULL, 0, "longest sequence of a new backbone"}, FIELD(model.positions), NUMBERS, NULL},
    {{"model.pooling", OPTION_CHOICE, "mean", 0, 0, pooling_words, 0, "sentence vector: mean of all tokens, or the first token"},
     FIELD(model.pooling),
     NUMBERS,
     NULL},
    {{"model.head", OPTION_CHOICE, "linear", 0, 0, head_words, 0, "task head: one linear map, or a dense tanh layer before it"},
     FIELD(model.head),
     NUMBERS,
     NULL},
    {{"model.dropout_embedding", OPTION_REAL, "0", 0, 0.95, NULL, 0, "dropout after the embeddings"}, FIELD(model.dropout_embedding), NUMBERS, "0"},
    {{"model.dropout_attention", OPTION_REAL, "0", 0, 0.95, NULL, 0, "dropout of the attention weights"}, FIELD(model.dropout_attention), NUMBERS, "0"},
    {{"model.dropout_hidden", OPTION_REAL, "0", 0, 0.95, NULL, 0, "dropout after each block, before the residual sum"},
     FIELD(model.dropout_hidden),
     NUMBERS,
     "0"},
    {{"model.dropout_adapter", OPTION_REAL, "0", 0, 0.95, NULL, 0, "dropout of an adapter's input"}, FIELD(model.dropout_adapter), NUMBERS, "0"},
    {{"model.adapter_dropout", OPTION_CHOICE, "shared", 0, 0, adapter_dropout_words, 0,
      "mask of model.dropout_adapter: one for the maps that read the same input, whose products are then one, or one for each map, as PEFT has"},
     FIELD(model.adapter_dropout),
     NUMBERS,
     "shared"},
    {{"model.dropout_head", OPTION_REAL, "0", 0, 0.95, NULL, 0, "dropout before the task head"}, FIELD(model.dropout_head), NUMBERS, "0"},

    {{"task.name", OPTION_TEXT, "", 0, 0, NULL, 0, "task/NAME.yaml"}, FIELD(task.name), NEITHER, NULL},
    {{"task.data", OPTION_TEXT, "", 0, 0, NULL, 0, "prepared data set (HDF5), as given or below PEFTSCALE_DATA"}, FIELD(task.data), NEITHER, NULL},
    {{"task.objective", OPTION_CHOICE, "auto", 0, 0, objective_words, 1, "what is learnt; auto: as the data set says"}, FIELD(task.objective), NUMBERS, NULL},
    {{"task.metric", OPTION_CHOICE, "auto", 0, 0, metric_words, 1, "what decides which model is best; auto: as the data set says"},
     FIELD(task.metric),
     NUMBERS,
     NULL},
    {{"task.limit", OPTION_INT, "0", 0, 1e12, NULL, 0, "use only so many training examples; 0: all"}, FIELD(task.limit), NUMBERS, "0"},
    {{"task.mask_rate", OPTION_REAL, "0.15", 0.01, 0.9, NULL, 0, "share of masked tokens in masked language modelling"}, FIELD(task.mask_rate), NUMBERS, NULL},

    {{"method.name", OPTION_TEXT, "", 0, 0, NULL, 0, "fine-tuning method, and method/NAME.yaml; its own keys stand beside it"},
     FIELD(method.name),
     NUMBERS,
     NULL},

    {{"train.batch", OPTION_INT, "32", 1, 1048576, NULL, 0, "examples per step over all ranks"}, FIELD(train.batch), NUMBERS, NULL},
    {{"train.epochs", OPTION_INT, "2", 1, 1000000, NULL, 0, "passes over the training examples"}, FIELD(train.epochs), NUMBERS, NULL},
    {{"train.steps", OPTION_INT, "auto", 1, 1e12, NULL, 1, "optimiser steps; auto: epochs x steps per epoch"}, FIELD(train.steps), NUMBERS, NULL},
    {{"train.lr", OPTION_REAL, "1e-3", 0, 1000, NULL, 0, "peak learning rate of the adapter and the base"}, FIELD(train.lr), NUMBERS, NULL},
    {{"train.lr_head", OPTION_REAL, "auto", 0, 1000, NULL, 1, "peak learning rate of the task head; auto: train.lr"}, FIELD(train.lr_head), NUMBERS, NULL},
    {{"train.decay", OPTION_REAL, "0", 0, 100, NULL, 0, "weight decay (AdamW)"}, FIELD(train.decay), NUMBERS, NULL},
    {{"train.decay_head", OPTION_REAL, "auto", 0, 100, NULL, 1, "weight decay of the task head; auto: train.decay"}, FIELD(train.decay_head), NUMBERS, NULL},
    {{"train.beta1", OPTION_REAL, "0.9", 0, 0.999999, NULL, 0, "AdamW's mean of gradients"}, FIELD(train.beta1), NUMBERS, NULL},
    {{"train.beta2", OPTION_REAL, "0.999", 0, 0.999999, NULL, 0, "AdamW's mean of squared gradients"}, FIELD(train.beta2), NUMBERS, NULL},
    {{"train.epsilon", OPTION_REAL, "1e-8", 1e-30, 1, NULL, 0, "AdamW's divisor guard"}, FIELD(train.epsilon), NUMBERS, NULL},
    {{"train.schedule", OPTION_CHOICE, "linear", 0, 0, schedule_words, 0, "how the learning rate falls after warm-up"}, FIELD(train.schedule), NUMBERS, NULL},
    {{"train.warmup", OPTION_REAL, "0.06", 0, 1, NULL, 0, "share of all steps in which the learning rate rises"}, FIELD(train.warmup), NUMBERS, NULL},
    {{"train.clip", OPTION_REAL, "0", 0, 1e6, NULL, 0, "largest norm of the mean gradient; 0: no clipping"}, FIELD(train.clip), NUMBERS, "0"},
    {{"train.start", OPTION_TEXT, "", 0, 0, NULL, 0, "adapter file to start from, as given or below PEFTSCALE_ASSETS; empty: none"},
     FIELD(train.start),
     NEITHER,
     NULL},
    {{"train.keep", OPTION_CHOICE, "best", 0, 0, keep_words, 0, "the model that is tested: best on validation, or the last"}, FIELD(train.keep), NUMBERS, NULL},
    {{"train.evaluate_every", OPTION_INT, "0", 0, 1e12, NULL, 0, "steps between validations; 0: once per epoch"}, FIELD(train.evaluate_every), NUMBERS, NULL},

    {{"output.dir", OPTION_TEXT, "results/runs", 0, 0, NULL, 0, "directory of run files"}, FIELD(output.dir), NEITHER, NULL},
    {{"output.name", OPTION_TEXT, "auto", 0, 0, NULL, 1, "run file's name without .h5; auto: TASK-METHOD-sSEED-RUNID8"}, FIELD(output.name), NEITHER, NULL},
    {{"output.theta", OPTION_BOOL, "auto", 0, 0, NULL, 1, "keep theta in the run file; auto: unless it is the whole model"},
     FIELD(output.theta),
     NEITHER,
     NULL},
    {{"output.predictions", OPTION_BOOL, "true", 0, 0, NULL, 0, "keep predictions on validation and test"}, FIELD(output.predictions), NEITHER, NULL},
    {{"output.test", OPTION_BOOL, "true", 0, 0, NULL, 0, "score the test split once at the end; false: never read it, as for trials of a learning rate"},
     FIELD(output.test),
     NEITHER,
     "true"},
    {{"output.checkpoint_s", OPTION_REAL, "300", 0, 1e9, NULL, 0, "seconds between checkpoints (NAME.h5.checkpoint); 0: only when told to stop"},
     FIELD(output.checkpoint_s),
     NEITHER,
     "0"},
    {{"output.log_every", OPTION_INT, "50", 1, 1e12, NULL, 0, "steps between log lines where standard error is no terminal"},
     FIELD(output.log_every),
     NEITHER,
     NULL},
    {{"output.export_dir", OPTION_TEXT, "", 0, 0, NULL, 0, "write the adapted model there as safetensors; empty: do not"},
     FIELD(output.export_dir),
     NEITHER,
     NULL},
};

enum { ROW_COUNT = sizeof rows / sizeof rows[0] };

const config_key *config_schema(int *count) {
  *count = ROW_COUNT;
  return rows;
}

int config_schema_has_section(const char *section) {
  size_t length = strlen(section);
  for (int i = 0; i < ROW_COUNT; i++)
    if (!strncmp(rows[i].declared.name, section, length) && rows[i].declared.name[length] == '.') return 1;
  return 0;
}

const config_key *config_schema_find(const char *key) {
  for (int i = 0; i < ROW_COUNT; i++)
    if (!strcmp(rows[i].declared.name, key)) return &rows[i];
  return NULL;
}

static void describe(const option *o, char *text, size_t bytes) {
  static const char *const type_names[] = {"whole number", "number", "true or false", "one of", "text", "list"};
  size_t used = (size_t)snprintf(text, bytes, "%s", type_names[o->type]);
  if (o->type == OPTION_INT || o->type == OPTION_REAL) used += (size_t)snprintf(text + used, bytes - used, " %.10g..%.10g", o->low, o->high);
  for (int i = 0; o->choices && o->choices[i] && used < bytes; i++) used += (size_t)snprintf(text + used, bytes - used, "%s%s", i ? ", " : " ", o->choices[i]);
  if (o->may_be_auto && used < bytes) snprintf(text + used, bytes - used, ", or auto");
}

void config_print_schema(FILE *file) {
  static const char *const identity_names[] = {"numbers", "execution", "neither"};
  fprintf(file, "%-24s  %-14s  %-9s  %-62s  %s\n", "key", "default", "identity", "value", "meaning");
  for (int i = 0; i < ROW_COUNT; i++) {
    const option *o = &rows[i].declared;
    char value[256];
    describe(o, value, sizeof value);
    fprintf(file, "%-24s  %-14s  %-9s  %-62s  %s\n", o->name, *o->preset ? o->preset : "\"\"", identity_names[rows[i].identity], value, o->help);
  }
}
