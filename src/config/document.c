#include "config/document.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"

typedef struct reader {
  arena *memory;
  const config_yaml *yaml;
  config_document *out;
  int capacity;
} reader;

const char *config_document_place(const config_document *d, const config_item *item, int of_value, char *buffer, size_t bytes) {
  if (item->origin) snprintf(buffer, bytes, "%s: ", item->origin);
  else if (d->is_command_line) snprintf(buffer, bytes, "%s: ", d->source);
  else snprintf(buffer, bytes, "%s:%d:%d: ", d->source, of_value ? item->line : item->key_line, of_value ? item->column : item->key_column);
  return buffer;
}

static int add(reader *r, config_item item) {
  config_document *d = r->out;
  if (d->count == CONFIG_ITEM_COUNT) return FAIL(ERROR_USAGE, NULL, "%s: more than %d keys", d->source, CONFIG_ITEM_COUNT);
  if (d->count == r->capacity) {
    int capacity = r->capacity ? 2 * r->capacity : 32;
    config_item *grown;
    TRY(arena_take(r->memory, (size_t)capacity, sizeof *grown, &grown));
    if (d->count) memcpy(grown, d->item, (size_t)d->count * sizeof *grown);
    d->item = grown;
    r->capacity = capacity;
  }
  d->item[d->count++] = item;
  return ERROR_NONE;
}

/* The text of a mapping's key, with its section before it. */
static int read_key(const reader *r, const yaml_node_t *node, const char *section, char **key) {
  char *word;
  TRY(config_yaml_key(r->memory, r->yaml, node, &word));
  *key = word;
  if (!section) return ERROR_NONE;
  size_t bytes = strlen(section) + strlen(word) + 2;
  TRY(arena_take(r->memory, bytes, 1, key));
  snprintf(*key, bytes, "%s.%s", section, word);
  return ERROR_NONE;
}

static int read_mapping(reader *r, const yaml_node_t *mapping, const char *section) {
  int first = r->out->count;
  for (yaml_node_pair_t *pair = mapping->data.mapping.pairs.start; pair < mapping->data.mapping.pairs.top; pair++) {
    const yaml_node_t *key_node = config_yaml_node(r->yaml, pair->key), *node = config_yaml_node(r->yaml, pair->value);
    char *key, *text = "";
    TRY(read_key(r, key_node, section, &key));
    for (int i = first; i < r->out->count; i++)
      if (!strcmp(r->out->item[i].key, key))
        return config_yaml_refuse(r->yaml, key_node, "keep one of the two", "duplicate key '%s', already set in line %d", key, r->out->item[i].key_line);
    int is_section = !section && node->type == YAML_MAPPING_NODE;
    if (!is_section) TRY(config_yaml_value(r->memory, r->yaml, node, key, &text));
    TRY(add(r, (config_item){.kind = is_section                         ? ITEM_SECTION
                                     : node->type == YAML_SEQUENCE_NODE ? ITEM_LIST
                                                                        : ITEM_VALUE,
                             .key = key,
                             .text = text,
                             .is_nested = section != NULL,
                             .key_line = config_yaml_line(key_node),
                             .key_column = config_yaml_column(key_node),
                             .line = config_yaml_line(node),
                             .column = config_yaml_column(node)}));
    if (is_section) TRY(read_mapping(r, node, key));
  }
  return ERROR_NONE;
}

int config_document_flatten(arena *memory, const config_yaml *y, const yaml_node_t *mapping, config_document *result) {
  *result = (config_document){.source = y->source};
  reader r = {.memory = memory, .yaml = y, .out = result};
  if (mapping->type != YAML_MAPPING_NODE)
    return config_yaml_refuse(y, mapping, "write keys and values: 'train:' and, indented below it, 'lr: 1e-3'", "%s must be a mapping of sections and keys",
                              mapping == config_yaml_root(y) ? "the file" : "this");
  return read_mapping(&r, mapping, NULL);
}

/* Takes an opened file over. */
static int flatten_file(arena *memory, config_yaml *y, config_document *result) {
  const yaml_node_t *root = config_yaml_root(y);
  int code = root ? config_document_flatten(memory, y, root, result) : ERROR_NONE;
  config_yaml_close(y);
  return code;
}

int config_document_parse(arena *memory, const char *source, const void *bytes, size_t count, config_document *result) {
  config_yaml y;
  *result = (config_document){.source = source};
  TRY(config_yaml_parse(source, bytes, count, &y));
  return flatten_file(memory, &y, result);
}

int config_document_read(arena *memory, const char *path, config_document *result) {
  char *source;
  config_yaml y;
  TRY(arena_copy_text(memory, path, &source));
  *result = (config_document){.source = source};
  TRY(config_yaml_read(source, &y));
  return flatten_file(memory, &y, result);
}

int config_document_assign(arena *memory, const char *const *words, const char *const *origins, int count, config_document *result) {
  *result = (config_document){.source = "command line", .is_command_line = 1};
  TRY(arena_take(memory, (size_t)count, sizeof *result->item, &result->item));
  for (int i = 0; i < count; i++) {
    char *word, *key;
    TRY(arena_copy_text(memory, words[i], &word));
    TRY(arena_copy_text(memory, words[i], &key));
    char *sign = strchr(key, '=');
    config_item item = {.kind = ITEM_VALUE, .key = key, .written = word, .origin = origins ? origins[i] : NULL};
    const char *place = item.origin ? item.origin : result->source;
    if (!sign || sign == key)
      return FAIL(ERROR_USAGE, "write train.lr=1e-3, method=lora, seed=3", "%s: '%.200s' is not of the form key=value", place, words[i]);
    if (strlen(sign + 1) >= CONFIG_VALUE_BYTES)
      return FAIL(ERROR_USAGE, NULL, "%s: the value of '%.100s' is longer than %d bytes", place, words[i], CONFIG_VALUE_BYTES - 1);
    *sign = 0;
    item.text = sign + 1;
    result->item[result->count++] = item;
  }
  return ERROR_NONE;
}
