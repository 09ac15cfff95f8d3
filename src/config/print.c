#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "config/entries.h"

static const char *shown(const config_entry *e, char buffer[32]) {
  const char *text = config_entries_spell(e, buffer);
  return *text ? text : "\"\"";
}

static void print_text(const config *c, FILE *file) {
  int key_width = 0, value_width = 0;
  char buffer[32];
  for (int i = 0; i < c->entries->count; i++) {
    const config_entry *e = &c->entries->entry[i];
    int key = (int)strlen(e->key), value = (int)strlen(shown(e, buffer));
    if (key > key_width) key_width = key;
    if (value > value_width && value <= 40) value_width = value; /* a long path may stick out rather than push all origins away */
  }
  const char *section = NULL;
  for (int i = 0; i < c->entries->count; i++) {
    const config_entry *e = &c->entries->entry[i];
    if (section && strcmp(section, e->section)) fputc('\n', file);
    section = e->section;
    fprintf(file, "%-*s  %-*s  %s\n", key_width, e->key, value_width, shown(e, buffer), e->origin);
  }
}

/* The value as a JSON value of its own type. */
static cJSON *json_value(const config_entry *e) {
  char buffer[32];
  const option_value *v = e->value;
  if (v->is_auto) return cJSON_CreateString("auto");
  switch (e->declared->type) {
    case OPTION_INT: return cJSON_CreateNumber((double)v->integer);
    case OPTION_REAL: return isfinite(v->number) ? cJSON_CreateNumber(v->number) : cJSON_CreateString(config_entries_spell(e, buffer));
    case OPTION_BOOL: return cJSON_CreateBool(v->integer != 0);
    case OPTION_CHOICE:
    case OPTION_TEXT: return cJSON_CreateString(v->text);
    case OPTION_LIST: break;
  }
  cJSON *list = cJSON_CreateArray();
  for (const char *place = v->text; list && *place;) {
    char word[64]; /* option_parse keeps words below 64 bytes */
    size_t length = strcspn(place, ",");
    snprintf(word, sizeof word, "%.*s", (int)length, place);
    cJSON_AddItemToArray(list, cJSON_CreateString(word));
    place += length + (place[length] == ',');
  }
  return list;
}

static int print_json(const config *c, FILE *file) {
  cJSON *root = cJSON_CreateObject();
  for (int i = 0; root && i < c->entries->count; i++) {
    const config_entry *e = &c->entries->entry[i];
    cJSON *section = *e->section ? cJSON_GetObjectItemCaseSensitive(root, e->section) : root;
    if (!section) section = cJSON_AddObjectToObject(root, e->section);
    cJSON *pair = section ? cJSON_AddObjectToObject(section, e->leaf) : NULL;
    cJSON *value = pair ? json_value(e) : NULL;
    if (!value || !cJSON_AddItemToObject(pair, "value", value) || !cJSON_AddStringToObject(pair, "origin", e->origin)) {
      cJSON_Delete(root);
      root = NULL;
    }
  }
  char *text = root ? cJSON_Print(root) : NULL;
  if (text) fprintf(file, "%s\n", text);
  cJSON_Delete(root);
  if (!text) return FAIL(ERROR_MEMORY, NULL, "out of memory for the configuration as JSON");
  cJSON_free(text);
  return ERROR_NONE;
}

int config_print(const config *c, FILE *file, int json) {
  if (json) TRY(print_json(c, file));
  else print_text(c, file);
  return ferror(file) ? FAIL(ERROR_SYSTEM, NULL, "the configuration could not be written") : ERROR_NONE;
}

/* May the text stand in YAML without quotes and be taken for nothing but text by every reader? */
static int is_plain(const char *text) {
  static const char *const taken[] = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"};
  if (!((*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z'))) return 0;
  if (text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./")]) return 0;
  for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) {
    const char *a = text, *b = taken[i];
    while (*a && (*a | 0x20) == *b) a++, b++;
    if (!*a && !*b) return 0;
  }
  return 1;
}

/* Values hold no control characters (config_entries_set refuses them); other characters outside ASCII are escaped because YAML takes some for line breaks
 * and refuses others. */
static void write_word(FILE *file, const char *text, size_t length) {
  char word[4096];
  snprintf(word, sizeof word, "%.*s", (int)length, text);
  if (is_plain(word)) {
    fputs(word, file);
    return;
  }
  fputc('"', file);
  for (const unsigned char *p = (const unsigned char *)word; *p;) {
    if (*p < 0x80) {
      if (*p == '"' || *p == '\\') fputc('\\', file);
      fputc(*p++, file);
      continue;
    }
    int bytes = *p >= 0xf0 ? 4 : *p >= 0xe0 ? 3 : 2;
    unsigned code = *p++ & (0x7fu >> bytes);
    for (int i = 1; i < bytes; i++) code = code << 6 | (*p++ & 0x3f);
    fprintf(file, code < 0x10000 ? "\\u%04x" : "\\U%08x", code);
  }
  fputc('"', file);
}

static void write_value(FILE *file, const config_entry *e) {
  char buffer[32];
  const char *text = config_entries_spell(e, buffer);
  switch (e->declared->type) {
    case OPTION_INT:
    case OPTION_REAL:
    case OPTION_BOOL: fputs(text, file); return;
    case OPTION_CHOICE:
    case OPTION_TEXT: write_word(file, text, strlen(text)); return;
    case OPTION_LIST: break;
  }
  if (e->value->is_auto) {
    fputs(text, file);
    return;
  }
  fputc('[', file);
  for (const char *place = text; *place;) {
    size_t length = strcspn(place, ",");
    if (place != text) fputs(", ", file);
    write_word(file, place, length);
    place += length + (place[length] == ',');
  }
  fputc(']', file);
}

/* Collects what is written to *file in *text; finish_text closes it. */
static int begin_text(char **text, size_t *bytes, FILE **file) {
  *text = NULL;
  *file = open_memstream(text, bytes);
  return *file ? ERROR_NONE : FAIL(ERROR_MEMORY, NULL, "out of memory for the configuration's text");
}

static int finish_text(char **text, FILE *file) {
  int failed = ferror(file);
  if (!fclose(file) && !failed) return ERROR_NONE;
  free(*text);
  *text = NULL;
  return FAIL(ERROR_MEMORY, NULL, "out of memory for the configuration's text");
}

int config_write_yaml(const config *c, char **text) {
  FILE *file;
  size_t bytes;
  TRY(begin_text(text, &bytes, &file));
  const char *section = "";
  for (int i = 0; i < c->entries->count; i++) {
    const config_entry *e = &c->entries->entry[i];
    if (strcmp(section, e->section)) fprintf(file, "%s:\n", e->section);
    section = e->section;
    fprintf(file, "%s%s: ", *section ? "  " : "", e->leaf);
    write_value(file, e);
    fputc('\n', file);
  }
  return finish_text(text, file);
}

static int compare(const void *a, const void *b) { return strcmp((*(const config_entry *const *)a)->key, (*(const config_entry *const *)b)->key); }

/* Is the value the one at which the key might as well not exist? */
static int is_neutral(const config_entry *e, const char *spelled) {
  option_value neutral;
  char buffer[32];
  if (!e->row || !e->row->neutral || option_parse(e->declared, e->row->neutral, &neutral)) return 0;
  config_entry as_neutral = *e;
  as_neutral.value = &neutral;
  return !strcmp(config_entries_spell(&as_neutral, buffer), spelled);
}

int config_canonical(const config *c, char **text) {
  FILE *file;
  size_t bytes;
  *text = NULL;
  const config_entry **sorted = calloc((size_t)c->entries->count, sizeof *sorted);
  if (!sorted) return FAIL(ERROR_MEMORY, NULL, "out of memory for the configuration's text");
  for (int i = 0; i < c->entries->count; i++) sorted[i] = &c->entries->entry[i];
  qsort(sorted, (size_t)c->entries->count, sizeof *sorted, compare);
  int code = begin_text(text, &bytes, &file);
  for (int i = 0; !code && i < c->entries->count; i++) {
    const config_entry *e = sorted[i];
    char buffer[32];
    const char *spelled = config_entries_spell(e, buffer);
    if (e->row && e->row->identity != IDENTITY_NUMBERS) continue;
    if (!is_neutral(e, spelled)) fprintf(file, "%s=%s\n", e->key, spelled);
  }
  free(sorted);
  return code ? code : finish_text(text, file);
}
