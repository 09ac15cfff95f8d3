/* What `count` and `comm` share: models and methods without weights.
 *
 * Not collective.
 */
#ifndef PEFTSCALE_COUNTED_H
#define PEFTSCALE_COUNTED_H

#include "cmd/cmd.h"
#include "model/census.h"

/* A directory with a config.json is read, anything else is the name of a known shape. The caller destroys it. Errors: ERROR_USAGE, ERROR_INPUT. */
int counted_census(const char *name, census **result);

/* The configuration of a method; in the assignments of `given` "rank=8" is short for "method.rank=8". The caller destroys it. Errors: ERROR_USAGE. */
int counted_compose(const arguments *given, const char *method_name, config **result);

/* Whether a head named by the user ("linear", "tanh"; NULL: the model's own) is dense-tanh-linear: RoBERTa's own is. */
int counted_deep_head(const char *head, const char *model_name);

enum { COUNTED_MOST_CLASSES = 1000000 };

/* --classes. Errors: ERROR_USAGE. */
int counted_classes(const char *text, int *classes);

#endif
