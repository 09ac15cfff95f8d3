/* adapter_config.json as a whole. Not for others than the import. Errors: ERROR_INPUT naming file, key and reason. */
#ifndef PEFTSCALE_PEFT_SETTINGS_H
#define PEFTSCALE_PEFT_SETTINGS_H

#include "train/peft_private.h"

/* Reads r->config_path into r->config and refuses every setting that is neither understood nor neutral. */
int peft_settings_read(peft_reading *r);

/* How adapters of its peft_type are read. */
int peft_settings_reader(const peft_reading *r, const peft_reader **how);

/* Every map that target_modules names is adapted by some tensor (r->has_module). */
int peft_settings_check_targets(const peft_reading *r);

#endif
