/* Which keys a source of settings may hold, and messages that name an item's place.
 *
 * Private to src/config. Not collective, not thread-safe.
 */
#ifndef PEFTSCALE_CONFIG_KEYS_H
#define PEFTSCALE_CONFIG_KEYS_H

#include "config/document.h"

/* Brings the keys of a document to their full names (a section as one word means its name: "method: lora" is method.name) and refuses what cannot be a key of
 * any method. Whether other keys exist is not looked at. Errors: ERROR_USAGE with the place. */
int config_keys_normalise(arena *memory, config_document *d);

/* The full name of a key that stands alone: "method" is "method.name". Points to `key` or into `memory`. */
int config_keys_full(arena *memory, const char *key, const char **full);

/* Raises ERROR_USAGE at an item's key: BEFORE 'KEY' AFTER. */
int config_keys_refuse(const config_document *d, const config_item *item, const char *hint, const char *before, const char *after);

/* Puts place and key of an item before the last error's text. Returns its code. */
int config_keys_locate(const config_document *d, const config_item *item);

#endif
