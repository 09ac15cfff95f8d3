/* Every key of one configuration with its value and where that came from.
 *
 * Private to src/config. Not collective, not thread-safe.
 */
#ifndef PEFTSCALE_CONFIG_ENTRIES_H
#define PEFTSCALE_CONFIG_ENTRIES_H

#include "base/arena.h"
#include "config/config.h"
#include "config/schema.h"

enum { CONFIG_VALUE_BYTES = 4096 }; /* longest value with its end mark */

typedef struct config_entry {
  const char *key;        /* "train.lr", "seed"                                                  */
  const char *section;    /* "train", "" for top-level keys                                      */
  const char *leaf;       /* "lr"                                                                */
  const option *declared; /* the schema's or the method's declaration                            */
  const config_key *row;  /* NULL for a method's own key                                         */
  option_value *value;    /* a method's own key: the element of config.method.options            */
  const char *origin;     /* "configs/method/lora.yaml:4", "command line", "default", "resolved" */
} config_entry;

struct config_entries {
  arena *memory; /* of the whole configuration */
  config_entry *entry;
  int count;
};

/* A configuration of defaults, with the `own_count` keys of a method beside the schema's. It takes `memory` over, also when it fails. Where `stored` is
 * non-zero, keys that have a neutral value begin with it instead of their default. Errors: ERROR_INTERNAL for a faulty declaration, ERROR_MEMORY. */
int config_entries_create(arena *memory, const option *own, int own_count, int stored, config **result);

config_entry *config_entries_find(const config *c, const char *key);

/* Checks `text` and stores it in the entry and in the field of `config`. `origin` must live in the configuration's memory or for ever; text is copied.
 * Errors: ERROR_USAGE with the reason, without place and key; the old value stays. */
int config_entries_set(config *c, config_entry *entry, const char *text, const char *origin);

/* The value in its one spelling: shortest number that reads back the same, true or false, words; "auto" while unresolved. `buffer` holds 32 bytes; what is
 * returned is `buffer` or lives as long as the configuration. */
const char *config_entries_spell(const config_entry *entry, char buffer[32]);

/* A hint for a key that does not exist: "did you mean 'train.lr'?", or which keys there are; "" if nothing helps. */
void config_entries_suggest(const config *c, const char *key, char *hint, size_t bytes);

#endif
