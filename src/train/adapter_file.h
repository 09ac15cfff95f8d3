/* The adapter file: one safetensors file that holds what a method trained, and nothing that follows from it.
 *
 * Tensors, all of two dimensions: adapter.NAME (the arrays of method.h's stored result), base.NAME (trained base segments of full fine-tuning and BitFit),
 * head.NAME (the task head, apart from the rest). __metadata__ names format, version, form, method, every option of it, the shape of the model, the hash of
 * its weights, objective, classes, pooling and head.
 *
 * Two forms. result: what must be stored to use the adapter, as counted by `peftscale count`. theta: all trained numbers as float32, from which training
 * can go on; only a method whose result is less than theta (VB-LoRA) needs the second for that.
 *
 * A file from outside is not trusted: types, shapes, ranges, finite numbers, missing and unknown tensors are checked. Not collective.
 */
#ifndef PEFTSCALE_ADAPTER_FILE_H
#define PEFTSCALE_ADAPTER_FILE_H

#include "base/arena.h"
#include "base/hash.h"
#include "model/model.h"

typedef enum adapter_form { ADAPTER_RESULT, ADAPTER_THETA } adapter_form;

typedef struct adapter_facts {
  const char *weights_hash;  /* of the base model; "" where it is not known */
  const char *experiment_id; /* of the run it comes from; "" for none      */
  int has_head;              /* write the head too                          */
} adapter_facts;

/* Writes theta (the whole one of the model) as a file. The adapter has been prepared. Errors: ERROR_SYSTEM with path and reason. */
int adapter_file_write(const char *path, const model *m, const real *theta, adapter_form form, const adapter_facts *facts);

typedef struct adapter_file adapter_file;

/* Opens a file and checks what it says of itself: format, version, form, a known method and valid options. Errors: ERROR_INPUT with path and reason. */
int adapter_file_open(const char *path, adapter_file **result);
void adapter_file_close(adapter_file *f);

const char *adapter_file_path(const adapter_file *f);
int adapter_file_hash(const adapter_file *f, char text[HASH_TEXT_BYTES]);
const char *adapter_file_note(const adapter_file *f, const char *key); /* of __metadata__; "" where it says nothing */
int adapter_file_classes(const adapter_file *f);                       /* 0: it has no head */

/* The words a configuration needs to make a model that fits: method=NAME, method.KEY=VALUE, model.pooling, model.head, task.objective. Owned by `memory`. */
enum { ADAPTER_WORDS_MAX = 64 };
int adapter_file_words(const adapter_file *f, arena *memory, const char *words[ADAPTER_WORDS_MAX], int *count);

/* Whether a model is one that the file can be loaded into: the same method, options (but those of training alone) and shape; for training, too, a file that
 * holds enough to go on from. Errors: ERROR_INPUT naming the first difference. */
int adapter_file_fit(const adapter_file *f, const model *m, int training);

/* Sets the adapter's and the base's part of theta and the adapter's constants; the head's, too, if the file has one of this model's shape (*has_head). */
int adapter_file_load(const adapter_file *f, const model *m, real *theta, int *has_head);

#endif
