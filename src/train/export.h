/* A trained model as files that others load. */
#ifndef PEFTSCALE_EXPORT_H
#define PEFTSCALE_EXPORT_H

#include "train/run.h"

/* Not collective (rank 0). Writes DIRECTORY/model.safetensors and config.json: the base model with r->chosen, adapters folded in, under the names of
 * Hugging Face (prefix of the family; q, k and v apart; the masked-language-model head where there is one). Errors: ERROR_SYSTEM, ERROR_USAGE (a method
 * that cannot be folded in). */
int export_backbone(run *r, const char *directory);

#endif
