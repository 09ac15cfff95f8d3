/* A trained model as files that others load. */
#ifndef PEFTSCALE_EXPORT_H
#define PEFTSCALE_EXPORT_H

#include "config/config.h"
#include "model/model.h"

/* Not collective (rank 0). Whether DIRECTORY is another one than the configuration's base model was read from, whose weights would be gone. Errors:
 * ERROR_USAGE. */
int export_check(const config *c, const char *directory);

/* Not collective (rank 0). The same, for work that takes long before it exports: makes DIRECTORY and tries to write there. Errors: also ERROR_INPUT,
 * ERROR_SYSTEM with path and reason. */
int export_prepare(const config *c, const char *directory);

/* Not collective (rank 0). Writes DIRECTORY/model.safetensors and config.json: the base model with theta's adapter folded in, under the names of Hugging Face
 * (prefix of the family; q, k and v apart; the masked-language-model head where there is one). experiment_id: of the run it comes from; "" for none.
 * Errors: ERROR_SYSTEM, ERROR_USAGE (a method that cannot be folded in). */
int export_backbone(model *m, const real *theta, const char *experiment_id, const char *directory);

#endif
