/* Base weights from a Hugging Face directory: the shape in its config.json, the tensors of its safetensors files. Not collective. */
#ifndef PEFTSCALE_WEIGHTS_H
#define PEFTSCALE_WEIGHTS_H

#include "base/hash.h"
#include "model/model.h"

/* Errors: ERROR_INPUT naming file and key. */
int weights_read_shape(const char *directory, model_shape *shape);

/* Fills the attached model's store; digits (NULL: not wanted) = content hash of the files. Errors: ERROR_INPUT naming file, tensor and reason. */
int weights_load(model *m, const char *directory, char digits[HASH_TEXT_BYTES]);

#endif
