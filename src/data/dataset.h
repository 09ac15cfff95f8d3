/* A prepared data set: token sequences with labels, in three splits, from one HDF5 file (layout: experiments/prepare/README.md).
 *
 * The file is not trusted: sizes, offsets, token ids, labels, split names and counts are checked on opening.
 *
 * Not collective: each process opens by itself. Read-only afterwards, so thread-safe.
 */
#ifndef PEFTSCALE_DATASET_H
#define PEFTSCALE_DATASET_H

#include <stdint.h>

#include "base/hash.h"

typedef enum split_name { SPLIT_TRAIN, SPLIT_VALIDATION, SPLIT_TEST, SPLIT_COUNT } split_name;
extern const char *const split_names[SPLIT_COUNT];

/* Sequence i is tokens[offset[i]] .. tokens[offset[i + 1] - 1]. */
typedef struct split {
  int64_t count;
  int64_t *offset;        /* [count + 1]                                                                     */
  int32_t *token;         /* [offset[count]]                                                                 */
  int32_t *segment_start; /* [count] index in the sequence where its second text begins; its length if none  */
  int32_t *target_start;  /* [count] index where the target text begins (language models); its length if none */
  float *label;           /* [count] class number or score                                                   */
  int64_t *example;       /* [count] id of the example, stable over preparations                             */
} split;

typedef struct dataset {
  char *name, *path;
  char *objective; /* "classify", "regress" or "mlm": what the labels mean                               */
  char *metric;    /* the field's metric for it: "accuracy", "f1", "matthews", "pearson", "spearman", "loss" */
  int class_count; /* 1 for regress                                                                        */
  char **class_names;
  int vocabulary; /* token ids are below it                                                               */
  int first_word; /* ids below it are special tokens, never masked or drawn as replacements               */
  int mask_token; /* -1 if the tokenizer has none                                                         */
  char *tokenizer, *tokenizer_hash;
  char hash[HASH_TEXT_BYTES]; /* of the file's bytes */
  int longest;                /* longest sequence in tokens */
  split splits[SPLIT_COUNT];
} dataset;

/* Errors: ERROR_INPUT naming the file, the split and the reason. The caller destroys it. */
int dataset_open(const char *path, dataset **result);
void dataset_destroy(dataset *d);

/* seen [vocabulary] = 1 for every token that occurs in one of the splits; the others are left as they are. */
void dataset_mark_tokens(const dataset *d, uint8_t *seen);

#endif
