/* YAML files as libyaml's nodes, and messages that name a node's place. For those of src/config that read a file.
 *
 * A node may be reached by several references (YAML's anchors), also from inside itself: who descends into nodes must do so to a fixed depth.
 * Private to src/config. Not collective, not thread-safe.
 */
#ifndef PEFTSCALE_CONFIG_YAML_H
#define PEFTSCALE_CONFIG_YAML_H

#include <stddef.h>
#include <yaml.h>

#include "base/arena.h"
#include "config/entries.h"

enum { YAML_FILE_BYTES = 1 << 20, YAML_MARK_COUNT = 2048, YAML_KEY_BYTES = 100 }; /* limits of what is accepted, beside CONFIG_VALUE_BYTES */

typedef struct config_yaml {
  const char *source; /* path of the file, for messages */
  yaml_document_t document;
} config_yaml;

/* One document. `source` must outlive *y, which is closed with config_yaml_close where this succeeds. Errors: ERROR_INPUT (cannot be read, too large, absurd),
 * ERROR_USAGE with "FILE:LINE:COLUMN: " (no YAML, several documents). */
int config_yaml_read(const char *path, config_yaml *y);
int config_yaml_parse(const char *source, const void *bytes, size_t count, config_yaml *y);
void config_yaml_close(config_yaml *y);

/* The root; NULL for an empty file. A node by its index, as pairs and items hold it. */
const yaml_node_t *config_yaml_root(const config_yaml *y);
const yaml_node_t *config_yaml_node(const config_yaml *y, int index);

/* From 1. */
int config_yaml_line(const yaml_node_t *node);
int config_yaml_column(const yaml_node_t *node);

/* Is it one of YAML's ways of writing nothing? */
int config_yaml_is_null(const yaml_node_t *node);

/* Raises ERROR_USAGE "FILE:LINE:COLUMN: ..." at a node. */
int config_yaml_refuse(const config_yaml *y, const yaml_node_t *node, const char *hint, const char *format, ...) __attribute__((format(printf, 4, 5)));

/* The word of a mapping's key. Errors: ERROR_USAGE for one that is no word, empty, longer than YAML_KEY_BYTES or not printable. */
int config_yaml_key(arena *memory, const config_yaml *y, const yaml_node_t *node, char **key);

/* The values of a mapping's keys, which must be among `names`: part[i] is that of names[i] and stays as it is where the key is not there. `what` is named in
 * messages. Errors: ERROR_USAGE (no mapping, an unknown key with the nearest name, a key twice). */
int config_yaml_parts(arena *memory, const config_yaml *y, const yaml_node_t *node, const char *what, const char *const *names, int count,
                      const yaml_node_t **part);

/* The text of a single value, or of a list of single values, joined by commas. `key` is named in messages. Errors: ERROR_USAGE (a mapping, nothing, too long).
 */
int config_yaml_value(arena *memory, const config_yaml *y, const yaml_node_t *node, const char *key, char **text);

#endif
