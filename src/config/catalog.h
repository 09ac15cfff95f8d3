/* The named files of a configuration directory: ROOT/model/NAME.yaml, ROOT/task/NAME.yaml, ROOT/method/NAME.yaml, ROOT/preset/NAME.yaml.
 *
 * Private to src/config. Not collective, thread-safe.
 */
#ifndef PEFTSCALE_CONFIG_CATALOG_H
#define PEFTSCALE_CONFIG_CATALOG_H

#include <stddef.h>

/* Writes the path of a name to `path` and 1 or 0 to `exists`. Names leave their folder never: "..", an absolute path, and outside preset/ any "/" do not
 * exist. Errors: the path is too long. */
int config_catalog_path(const char *root, const char *kind, const char *name, char *path, size_t bytes, int *exists);

/* Raises ERROR_USAGE "there is no KIND 'NAME'; ROOT/KIND holds: ..." with the nearest name as hint. */
int config_catalog_refuse(const char *root, const char *kind, const char *name);

#endif
