/* Names in adapter files, shared by the writer and the reader. Not for others. */
#ifndef PEFTSCALE_ADAPTER_NAMES_H
#define PEFTSCALE_ADAPTER_NAMES_H

#include "method/method.h"
#include "store/safetensors.h"

#define ADAPTER_FORMAT "peftscale adapter"
enum { ADAPTER_VERSION = 1 };

#define ADAPTER_PREFIX "adapter."
#define BASE_PREFIX "base."
#define HEAD_PREFIX "head."

/* In the order of the enums whose values they name. */
extern const char *const adapter_form_names[2], *const adapter_objective_names[3], *const adapter_pooling_names[2], *const adapter_head_names[2];

safetensors_type adapter_tensor_type(stored_type type);

#endif
