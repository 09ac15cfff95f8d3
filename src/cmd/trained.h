/* What `evaluate`, `predict`, `export` and `merge` share: a trained model put together again, from its run file or from an adapter file. */
#ifndef PEFTSCALE_TRAINED_H
#define PEFTSCALE_TRAINED_H

#include "cmd/cmd.h"
#include "train/adapter_file.h"
#include "train/run.h"

enum { ANY_SPLIT = -1 };

/* Collective. r->chosen holds the trained theta. adapter_path NULL: of the run file a->words[0], whose configuration a->assignments may change (other data,
 * say); else of that adapter file, with a configuration composed of the words in `a` and the method and options that the file names. which: a split that must
 * have examples, or ANY_SPLIT. Errors: an unfinished training, no theta in the file, other base weights, a theta of another size, an adapter that does not fit,
 * one without the task head that a split is asked of, no examples. */
int trained_open(comm *c, const char *adapter_path, const arguments *a, int which, run **result);

/* Not collective. The configuration of an adapter file: its own words, then those of `a`. */
int trained_compose(const adapter_file *f, const arguments *a, config **result);

/* Not collective. Errors: ERROR_USAGE unless there is one run file, or an adapter file and none. */
int trained_check_words(const char *verb_name, const char *adapter_path, const arguments *a);

/* Not collective. Errors: ERROR_USAGE. */
int trained_split(const char *name, split_name *which);

#endif
