/* Parsed configuration files, kept from one composition to the next.
 *
 * Private to src/config; config_cache_create and config_cache_destroy are in config.h. Not collective, not thread-safe.
 */
#ifndef PEFTSCALE_CONFIG_CACHE_H
#define PEFTSCALE_CONFIG_CACHE_H

#include "config/document.h"

/* The document of a file with its keys brought to their full names, read on the first call for this path. It belongs to the cache and must not be changed. With
 * `cache` NULL it is read each time, into `memory`. Errors: as config_document_read and config_keys_normalise; a file that failed is read again. */
int config_cache_read(config_cache *cache, arena *memory, const char *path, config_document *result);

#endif
