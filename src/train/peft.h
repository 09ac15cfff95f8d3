/* Adapters in the format of Hugging Face's PEFT (0.21): a directory with adapter_config.json and adapter_model.safetensors. Not collective.
 *
 * What exists there: LoRA, VeRA (with its frozen pair), VB-LoRA, Uni-LoRA (with its indices: PEFT draws another permutation), GLoRA with one path for all
 * maps in which A and B, D and E are alike. Names are those of a model loaded with AutoModel; the task head lies beside as head.safetensors. A RoBERTa model
 * with its own head (dense, tanh; first token) becomes an adapter of RobertaForSequenceClassification, the head inside.
 */
#ifndef PEFTSCALE_PEFT_H
#define PEFTSCALE_PEFT_H

#include "model/model.h"

/* Writes theta's adapter and head. only_top_k: VB-LoRA's chosen logits alone, which cannot be trained on. Errors: ERROR_USAGE (a method, map or path that PEFT
 * does not have), ERROR_SYSTEM. */
int peft_export(const char *directory, model *m, const real *theta, int only_top_k);

/* Reads a directory (or its .safetensors file) and writes an adapter file of this program. model_directory: where config.json of the base model is; NULL: the
 * directory or known shape that the adapter names. Whatever is not understood is refused by name. Errors: ERROR_INPUT with file, tensor or key, and reason. */
int peft_import(const char *path, const char *model_directory, const char *out);

#endif
