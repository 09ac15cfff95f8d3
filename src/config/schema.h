/* The one table of configuration keys: type, default, range and meaning of every key that is not a PEFT method's own.
 *
 * Private to src/config. Not collective, thread-safe (read only). No errors.
 */
#ifndef PEFTSCALE_CONFIG_SCHEMA_H
#define PEFTSCALE_CONFIG_SCHEMA_H

#include <stddef.h>

#include "base/option.h"

/* What a key decides: the run's numbers (part of experiment_id), how it is executed (part of run_id only), or neither (names, paths, output). */
typedef enum config_identity { IDENTITY_NUMBERS, IDENTITY_EXECUTION, IDENTITY_NEITHER } config_identity;

typedef struct config_key {
  option declared; /* declared.name is the whole key: "train.lr"; keys without a dot are top-level */
  size_t offset;   /* of the field in `config` */
  config_identity identity;
  /* The value at which the program behaves as if the key did not exist, or NULL. At it the key stays out of the canonical text, and a stored
   * configuration that lacks the key gets it: a key that a later version adds changes neither the identity nor the meaning of older runs. */
  const char *neutral;
} config_key;

/* All rows in the order in which they are printed; the rows of a section are neighbours. */
const config_key *config_schema(int *count);

/* Non-zero if some key begins with "SECTION.". */
int config_schema_has_section(const char *section);

/* The row of a whole key; NULL if there is none. */
const config_key *config_schema_find(const char *key);

#endif
