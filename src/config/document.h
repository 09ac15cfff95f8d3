/* A source of settings as a flat list: one YAML file, or the command line.
 *
 * Knows YAML's shape (a mapping of scalars, lists and one level of sections), not which keys exist.
 * Private to src/config. Not collective, not thread-safe.
 */
#ifndef PEFTSCALE_CONFIG_DOCUMENT_H
#define PEFTSCALE_CONFIG_DOCUMENT_H

#include <stddef.h>

#include "base/arena.h"
#include "config/yaml.h"

typedef enum config_item_kind { ITEM_VALUE, ITEM_LIST, ITEM_SECTION } config_item_kind;

typedef struct config_item {
  config_item_kind kind;
  const char *key;                        /* "seed" or "train.lr"; of an ITEM_SECTION the section's own key */
  const char *text;                       /* the value; a list's words joined by commas; "" for a section */
  const char *written;                    /* command line: the whole word; NULL in files                   */
  const char *origin;                     /* a word that a file stands behind: "FILE:LINE:COLUMN"; else NULL */
  int is_nested;                          /* the key stands below a section; a dot in any other key of a file was written by hand */
  int key_line, key_column, line, column; /* from 1: of the key and of the value         */
} config_item;

typedef struct config_document {
  const char *source; /* path of the file, or "command line" */
  int is_command_line;
  int may_have_dots; /* keys written with a dot are accepted: "train.lr: 1e-3" */
  config_item *item;
  int count;
} config_document;

enum { CONFIG_ITEM_COUNT = 4096 }; /* limit of what is accepted, beside those of yaml.h */

/* All that is kept lives in `memory`. An empty file is an empty list. Errors: as config_yaml_read; ERROR_USAGE with "FILE:LINE:COLUMN: " (no mapping, a key
 * twice, no value, a mapping too deep). */
int config_document_read(arena *memory, const char *path, config_document *result);

/* The same from memory; `source` names it in messages. */
int config_document_parse(arena *memory, const char *source, const void *bytes, size_t count, config_document *result);

/* The same from a mapping inside a file. */
int config_document_flatten(arena *memory, const config_yaml *y, const yaml_node_t *mapping, config_document *result);

/* From "key=value" words. `origins` (may be NULL) says of each word whether a file stands behind it ("FILE:LINE:COLUMN") or not (NULL). Errors: ERROR_USAGE for
 * a word that is none. */
int config_document_assign(arena *memory, const char *const *words, const char *const *origins, int count, config_document *result);

/* Where an item stands, for the beginning of a message: "FILE:LINE:COLUMN: " of the key or of the value, or "command line: ". */
const char *config_document_place(const config_document *d, const config_item *item, int of_value, char *buffer, size_t bytes);

#endif
