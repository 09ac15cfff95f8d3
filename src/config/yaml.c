#include "config/yaml.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"

const yaml_node_t *config_yaml_root(const config_yaml *y) { return yaml_document_get_root_node((yaml_document_t *)&y->document); }

const yaml_node_t *config_yaml_node(const config_yaml *y, int index) { return yaml_document_get_node((yaml_document_t *)&y->document, index); }

int config_yaml_line(const yaml_node_t *node) { return (int)node->start_mark.line + 1; }
int config_yaml_column(const yaml_node_t *node) { return (int)node->start_mark.column + 1; }

void config_yaml_close(config_yaml *y) { yaml_document_delete(&y->document); }

int config_yaml_refuse(const config_yaml *y, const yaml_node_t *node, const char *hint, const char *format, ...) {
  char text[800];
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof text, format, list);
  va_end(list);
  return FAIL(ERROR_USAGE, hint, "%s:%d:%d: %s", y->source, config_yaml_line(node), config_yaml_column(node), text);
}

int config_yaml_is_null(const yaml_node_t *node) {
  static const char *const words[] = {"", "~", "null", "Null", "NULL"};
  if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) return 0;
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (!strcmp((const char *)node->data.scalar.value, words[i])) return 1;
  return 0;
}

int config_yaml_key(arena *memory, const config_yaml *y, const yaml_node_t *node, char **key) {
  if (node->type != YAML_SCALAR_NODE) return config_yaml_refuse(y, node, NULL, "a key must be a word");
  size_t length = node->data.scalar.length;
  const char *word = (const char *)node->data.scalar.value;
  if (length == 0) return config_yaml_refuse(y, node, NULL, "a key is empty");
  if (length > YAML_KEY_BYTES) return config_yaml_refuse(y, node, NULL, "a key is longer than %d bytes", YAML_KEY_BYTES);
  for (size_t i = 0; i < length; i++)
    if ((unsigned char)word[i] < 0x20 || word[i] == 0x7f) return config_yaml_refuse(y, node, NULL, "a key holds a control character");
  return arena_copy_text(memory, word, key);
}

int config_yaml_parts(arena *memory, const config_yaml *y, const yaml_node_t *node, const char *what, const char *const *names, int count,
                      const yaml_node_t **part) {
  if (node->type != YAML_MAPPING_NODE) return config_yaml_refuse(y, node, NULL, "%s is a mapping", what);
  for (yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
    const yaml_node_t *key_node = config_yaml_node(y, pair->key);
    char *key, hint[512];
    int i = 0;
    TRY(config_yaml_key(memory, y, key_node, &key));
    while (i < count && strcmp(names[i], key)) i++;
    if (i < count && part[i]) return config_yaml_refuse(y, key_node, "keep one of the two", "duplicate key '%s'", key);
    if (i < count) {
      part[i] = config_yaml_node(y, pair->value);
      continue;
    }
    int near = text_nearest(key, names, count);
    size_t used = (size_t)snprintf(hint, sizeof hint, near >= 0 ? "did you mean '%s'?" : "the keys of %s are:", near >= 0 ? names[near] : what);
    for (i = 0; near < 0 && i < count && used < sizeof hint; i++) used += (size_t)snprintf(hint + used, sizeof hint - used, "%s %s", i ? "," : "", names[i]);
    return config_yaml_refuse(y, key_node, hint, "unknown key '%s' of %s", key, what);
  }
  return ERROR_NONE;
}

/* Appends a scalar's text to `text`. */
static int append_scalar(const config_yaml *y, const yaml_node_t *node, const char *key, char *text, size_t *used) {
  if (node->type != YAML_SCALAR_NODE) return config_yaml_refuse(y, node, "write a list of plain words: [q, v]", "%s: a list may hold only single values", key);
  if (config_yaml_is_null(node))
    return config_yaml_refuse(y, node, "write a value after the colon, \"\" for an empty text, or leave the key out", "%s: there is no value", key);
  size_t length = node->data.scalar.length;
  if (memchr(node->data.scalar.value, 0, length)) return config_yaml_refuse(y, node, NULL, "%s: the value holds a zero byte", key);
  if (*used + length + 1 > CONFIG_VALUE_BYTES) return config_yaml_refuse(y, node, NULL, "%s: the value is longer than %d bytes", key, CONFIG_VALUE_BYTES - 1);
  memcpy(text + *used, node->data.scalar.value, length);
  *used += length;
  text[*used] = 0;
  return ERROR_NONE;
}

int config_yaml_value(arena *memory, const config_yaml *y, const yaml_node_t *node, const char *key, char **text) {
  char joined[CONFIG_VALUE_BYTES] = "";
  size_t used = 0;
  if (node->type == YAML_MAPPING_NODE) return config_yaml_refuse(y, node, NULL, "%s: a single value is expected, not a mapping", key);
  if (node->type == YAML_SCALAR_NODE) TRY(append_scalar(y, node, key, joined, &used));
  for (yaml_node_item_t *i = node->data.sequence.items.start; node->type == YAML_SEQUENCE_NODE && i < node->data.sequence.items.top; i++) {
    if (used) {
      if (used + 1 >= CONFIG_VALUE_BYTES) return config_yaml_refuse(y, node, NULL, "%s: the value is longer than %d bytes", key, CONFIG_VALUE_BYTES - 1);
      joined[used++] = ',';
    }
    TRY(append_scalar(y, config_yaml_node(y, *i), key, joined, &used));
  }
  return arena_copy_text(memory, joined, text);
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

/* The first document goes to `y`; a second one is refused. */
static int load(yaml_parser_t *parser, const unsigned char *bytes, size_t count, config_yaml *y) {
  if (!yaml_parser_load(parser, &y->document)) return refuse_syntax(parser, y->source, bytes, count);
  if (!config_yaml_root(y)) return ERROR_NONE;
  config_yaml second = {.source = y->source};
  int code = ERROR_NONE;
  if (!yaml_parser_load(parser, &second.document)) {
    code = refuse_syntax(parser, y->source, bytes, count);
  } else {
    const yaml_node_t *root = config_yaml_root(&second);
    if (root) code = config_yaml_refuse(&second, root, "remove the '---' line or split the file", "a file may hold one YAML document only");
    config_yaml_close(&second);
  }
  if (code) config_yaml_close(y);
  return code;
}

/* libyaml's time grows with the square of the depth of brackets and of the number of anchors: half a megabyte of '[' takes minutes. No configuration
 * needs more than a handful. */
static int has_too_many_marks(const unsigned char *bytes, size_t count) {
  int marks = 0;
  for (size_t i = 0; i < count; i++) marks += bytes[i] == '[' || bytes[i] == '{' || bytes[i] == '&' || bytes[i] == '*';
  return marks > YAML_MARK_COUNT;
}

int config_yaml_parse(const char *source, const void *bytes, size_t count, config_yaml *y) {
  *y = (config_yaml){.source = source};
  if (count > YAML_FILE_BYTES) return FAIL(ERROR_INPUT, "is this a configuration file?", "%s: larger than 1 MiB, the limit of a configuration file", source);
  if (has_too_many_marks(bytes, count))
    return FAIL(ERROR_INPUT, "is this a configuration file?", "%s: more than %d brackets, anchors and references", source, YAML_MARK_COUNT);
  yaml_parser_t parser;
  if (!yaml_parser_initialize(&parser)) return FAIL(ERROR_MEMORY, NULL, "%s: out of memory for a YAML parser", source);
  yaml_parser_set_input_string(&parser, bytes, count);
  int code = load(&parser, bytes, count, y);
  yaml_parser_delete(&parser);
  return code;
}

int config_yaml_read(const char *path, config_yaml *y) {
  FILE *file = fopen(path, "rb");
  if (!file) return FAIL(ERROR_INPUT, NULL, "%s: cannot be read: %s", path, strerror(errno));
  char *bytes = malloc(YAML_FILE_BYTES + 1); /* one byte more than allowed tells a file that is too large, without trusting its size */
  size_t count = bytes ? fread(bytes, 1, YAML_FILE_BYTES + 1, file) : 0;
  int code = ERROR_NONE;
  if (!bytes) code = FAIL(ERROR_MEMORY, NULL, "%s: out of memory for a configuration file", path);
  else if (ferror(file)) code = FAIL(ERROR_INPUT, NULL, "%s: cannot be read: %s", path, strerror(errno));
  fclose(file);
  if (!code) code = config_yaml_parse(path, bytes, count, y);
  free(bytes);
  return code;
}
