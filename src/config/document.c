#include "config/document.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/error.h"

typedef struct reader {
  arena *memory;
  yaml_document_t *yaml;
  config_document *out;
  int capacity;
} reader;

const char *config_document_place(const config_document *d, const config_item *item, int of_value, char *buffer, size_t bytes) {
  if (d->is_command_line) snprintf(buffer, bytes, "%s: ", d->source);
  else snprintf(buffer, bytes, "%s:%d:%d: ", d->source, of_value ? item->line : item->key_line, of_value ? item->column : item->key_column);
  return buffer;
}

/* Raises an error at a node of the file. */
static int refuse(const reader *r, const yaml_node_t *node, const char *hint, const char *reason, const char *key) {
  int line = (int)node->start_mark.line + 1, column = (int)node->start_mark.column + 1;
  if (key) return FAIL(ERROR_USAGE, hint, "%s:%d:%d: %.200s: %s", r->out->source, line, column, key, reason);
  return FAIL(ERROR_USAGE, hint, "%s:%d:%d: %s", r->out->source, line, column, reason);
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

/* YAML's ways of writing nothing. */
static int is_null(const yaml_node_t *node) {
  static const char *const words[] = {"", "~", "null", "Null", "NULL"};
  if (node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) return 0;
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (!strcmp((const char *)node->data.scalar.value, words[i])) return 1;
  return 0;
}

/* Appends a scalar's text to `text`. */
static int append_scalar(const reader *r, const yaml_node_t *node, const char *key, char *text, size_t *used) {
  if (node->type != YAML_SCALAR_NODE) return refuse(r, node, "write a list of plain words: [q, v]", "a list may hold only single values", key);
  if (is_null(node)) return refuse(r, node, "write a value after the colon, \"\" for an empty text, or leave the key out", "there is no value", key);
  size_t length = node->data.scalar.length;
  if (memchr(node->data.scalar.value, 0, length)) return refuse(r, node, NULL, "the value holds a zero byte", key);
  if (*used + length + 1 > CONFIG_VALUE_BYTES) return refuse(r, node, NULL, "the value is longer than 4095 bytes", key);
  memcpy(text + *used, node->data.scalar.value, length);
  *used += length;
  text[*used] = 0;
  return ERROR_NONE;
}

/* A scalar or a sequence of scalars under `key`. */
static int read_value(reader *r, const yaml_node_t *key_node, const yaml_node_t *node, const char *key, int is_nested) {
  char text[CONFIG_VALUE_BYTES] = "";
  size_t used = 0;
  config_item item = {.kind = ITEM_VALUE,
                      .key = key,
                      .is_nested = is_nested,
                      .key_line = (int)key_node->start_mark.line + 1,
                      .key_column = (int)key_node->start_mark.column + 1,
                      .line = (int)node->start_mark.line + 1,
                      .column = (int)node->start_mark.column + 1};
  if (node->type == YAML_MAPPING_NODE) return refuse(r, node, NULL, "a single value is expected, not a mapping", key);
  if (node->type == YAML_SEQUENCE_NODE) {
    item.kind = ITEM_LIST;
    for (yaml_node_item_t *i = node->data.sequence.items.start; i < node->data.sequence.items.top; i++) {
      if (used) {
        if (used + 1 >= CONFIG_VALUE_BYTES) return refuse(r, node, NULL, "the value is longer than 4095 bytes", key);
        text[used++] = ',';
      }
      TRY(append_scalar(r, yaml_document_get_node(r->yaml, *i), key, text, &used));
    }
  } else {
    TRY(append_scalar(r, node, key, text, &used));
  }
  char *copy;
  TRY(arena_copy_text(r->memory, text, &copy));
  item.text = copy;
  return add(r, item);
}

/* The text of a mapping's key, with its section before it. */
static int read_key(const reader *r, const yaml_node_t *node, const char *section, char **key) {
  if (node->type != YAML_SCALAR_NODE) return refuse(r, node, NULL, "a key must be a word", NULL);
  size_t length = node->data.scalar.length, before = section ? strlen(section) + 1 : 0;
  const char *word = (const char *)node->data.scalar.value;
  if (length == 0) return refuse(r, node, NULL, "a key is empty", NULL);
  if (length > 100) return refuse(r, node, NULL, "a key is longer than 100 bytes", NULL);
  for (size_t i = 0; i < length; i++)
    if ((unsigned char)word[i] < 0x20 || word[i] == 0x7f) return refuse(r, node, NULL, "a key holds a control character", NULL);
  TRY(arena_take(r->memory, before + length + 1, 1, key));
  if (section) snprintf(*key, before + 1, "%s.", section);
  memcpy(*key + before, word, length);
  return ERROR_NONE;
}

static int read_mapping(reader *r, const yaml_node_t *mapping, const char *section) {
  int first = r->out->count;
  for (yaml_node_pair_t *pair = mapping->data.mapping.pairs.start; pair < mapping->data.mapping.pairs.top; pair++) {
    const yaml_node_t *key_node = yaml_document_get_node(r->yaml, pair->key), *node = yaml_document_get_node(r->yaml, pair->value);
    char *key;
    TRY(read_key(r, key_node, section, &key));
    for (int i = first; i < r->out->count; i++)
      if (!strcmp(r->out->item[i].key, key))
        return FAIL(ERROR_USAGE, "keep one of the two", "%s:%zu:%zu: duplicate key '%s', already set in line %d", r->out->source, key_node->start_mark.line + 1,
                    key_node->start_mark.column + 1, key, r->out->item[i].key_line);
    if (section || node->type != YAML_MAPPING_NODE) {
      TRY(read_value(r, key_node, node, key, section != NULL));
    } else {
      TRY(add(r, (config_item){.kind = ITEM_SECTION,
                               .key = key,
                               .text = "",
                               .key_line = (int)key_node->start_mark.line + 1,
                               .key_column = (int)key_node->start_mark.column + 1,
                               .line = (int)node->start_mark.line + 1,
                               .column = (int)node->start_mark.column + 1}));
      TRY(read_mapping(r, node, key));
    }
  }
  return ERROR_NONE;
}

/* What libyaml has to say about text that is not YAML. */
static int refuse_syntax(const yaml_parser_t *parser, const char *source, const unsigned char *bytes, size_t count) {
  const char *problem = parser->problem ? parser->problem : "unreadable";
  if (parser->error == YAML_MEMORY_ERROR) return FAIL(ERROR_MEMORY, NULL, "%s: out of memory for a YAML document", source);
  size_t line = parser->problem_mark.line + 1, column = parser->problem_mark.column + 1;
  if (parser->error == YAML_READER_ERROR) { /* it has no mark yet, only a byte offset */
    size_t end = parser->problem_offset < count ? parser->problem_offset : count;
    line = column = 1;
    for (size_t i = 0; i < end; i++) {
      column = bytes[i] == '\n' ? 1 : column + 1;
      line += bytes[i] == '\n';
    }
  }
  return FAIL(ERROR_USAGE, NULL, "%s:%zu:%zu: not valid YAML: %s%s%s", source, line, column, problem, parser->context ? " " : "",
              parser->context ? parser->context : "");
}

/* The first document goes to `out`; a second one is refused. */
static int read_documents(arena *memory, yaml_parser_t *parser, const unsigned char *bytes, size_t count, config_document *out) {
  yaml_document_t yaml;
  if (!yaml_parser_load(parser, &yaml)) return refuse_syntax(parser, out->source, bytes, count);
  reader r = {.memory = memory, .yaml = &yaml, .out = out};
  const yaml_node_t *root = yaml_document_get_root_node(&yaml);
  if (!root) {
    yaml_document_delete(&yaml);
    return ERROR_NONE;
  }
  int code = root->type == YAML_MAPPING_NODE ? read_mapping(&r, root, NULL)
                                             : refuse(&r, root, "write keys and values: 'train:' and, indented below it, 'lr: 1e-3'",
                                                      "the file must be a mapping of sections and keys", NULL);
  yaml_document_delete(&yaml);
  TRY(code);
  if (!yaml_parser_load(parser, &yaml)) return refuse_syntax(parser, out->source, bytes, count);
  if ((root = yaml_document_get_root_node(&yaml)))
    code = refuse(&r, root, "remove the '---' line or split the file", "a file may hold one YAML document only", NULL);
  yaml_document_delete(&yaml);
  return code;
}

/* libyaml's time grows with the square of the depth of brackets and of the number of anchors: half a megabyte of '[' takes minutes. No configuration
 * needs more than a handful. */
static int has_too_many_marks(const unsigned char *bytes, size_t count) {
  int marks = 0;
  for (size_t i = 0; i < count; i++) marks += bytes[i] == '[' || bytes[i] == '{' || bytes[i] == '&' || bytes[i] == '*';
  return marks > CONFIG_MARK_COUNT;
}

int config_document_parse(arena *memory, const char *source, const void *bytes, size_t count, config_document *result) {
  *result = (config_document){.source = source};
  if (count > CONFIG_FILE_BYTES) return FAIL(ERROR_INPUT, "is this a configuration file?", "%s: larger than 1 MiB, the limit of a configuration file", source);
  if (has_too_many_marks(bytes, count))
    return FAIL(ERROR_INPUT, "is this a configuration file?", "%s: more than %d brackets, anchors and references", source, CONFIG_MARK_COUNT);
  yaml_parser_t parser;
  if (!yaml_parser_initialize(&parser)) return FAIL(ERROR_MEMORY, NULL, "%s: out of memory for a YAML parser", source);
  yaml_parser_set_input_string(&parser, bytes, count);
  int code = read_documents(memory, &parser, bytes, count, result);
  yaml_parser_delete(&parser);
  return code;
}

int config_document_read(arena *memory, const char *path, config_document *result) {
  char *source, *bytes;
  TRY(arena_copy_text(memory, path, &source));
  FILE *file = fopen(path, "rb");
  if (!file) return FAIL(ERROR_INPUT, NULL, "%s: cannot be read: %s", path, strerror(errno));
  bytes = malloc(CONFIG_FILE_BYTES + 1); /* one byte more than allowed tells a file that is too large, without trusting its size */
  size_t count = bytes ? fread(bytes, 1, CONFIG_FILE_BYTES + 1, file) : 0;
  int code = ERROR_NONE;
  if (!bytes) code = FAIL(ERROR_MEMORY, NULL, "%s: out of memory for a configuration file", path);
  else if (ferror(file)) code = FAIL(ERROR_INPUT, NULL, "%s: cannot be read: %s", path, strerror(errno));
  fclose(file);
  if (!code) code = config_document_parse(memory, source, bytes, count, result);
  free(bytes);
  return code;
}

int config_document_assign(arena *memory, const char *const *words, int count, config_document *result) {
  *result = (config_document){.source = "command line", .is_command_line = 1};
  TRY(arena_take(memory, (size_t)count, sizeof *result->item, &result->item));
  for (int i = 0; i < count; i++) {
    char *word, *key;
    TRY(arena_copy_text(memory, words[i], &word));
    TRY(arena_copy_text(memory, words[i], &key));
    char *sign = strchr(key, '=');
    if (!sign || sign == key)
      return FAIL(ERROR_USAGE, "write train.lr=1e-3, method=lora, seed=3", "command line: '%.200s' is not of the form key=value", words[i]);
    if (strlen(sign + 1) >= CONFIG_VALUE_BYTES) return FAIL(ERROR_USAGE, NULL, "command line: the value of '%.100s' is longer than 4095 bytes", words[i]);
    *sign = 0;
    result->item[result->count++] = (config_item){.kind = ITEM_VALUE, .key = key, .text = sign + 1, .written = word};
  }
  return ERROR_NONE;
}
