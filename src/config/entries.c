#include "config/entries.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"

config_entry *config_entries_find(const config *c, const char *key) {
  for (int i = 0; i < c->entries->count; i++)
    if (!strcmp(c->entries->entry[i].key, key)) return &c->entries->entry[i];
  return NULL;
}

/* A value is one line of text: it goes into tables, JSON, YAML and the canonical text, whose lines it must not break. */
static int check_text(const char *text) {
  for (const unsigned char *place = (const unsigned char *)text; *place;) {
    if (*place < 0x20 || *place == 0x7f) return FAIL(ERROR_USAGE, NULL, "the value holds a control character (byte %d)", *place);
    int length = text_utf8_length(place);
    if (!length) return FAIL(ERROR_USAGE, NULL, "the value is not UTF-8 text");
    place += length;
  }
  return ERROR_NONE;
}

/* "q, v" means "q,v". */
static void strip_list(char *text) {
  char *to = text;
  for (const char *from = text; *from; from++) {
    if (*from == ' ') {
      const char *next = from + strspn(from, " ");
      if (!*next || *next == ',' || to == text || to[-1] == ',') {
        from = next - 1;
        continue;
      }
    }
    *to++ = *from;
  }
  *to = 0;
}

static void store(config *c, const config_entry *e) {
  if (!e->row) return; /* a method's own value has no other place than the option set */
  char *field = (char *)c + e->row->offset;
  switch (e->declared->type) {
    case OPTION_INT:
    case OPTION_BOOL:
    case OPTION_CHOICE: memcpy(field, &e->value->integer, sizeof e->value->integer); break;
    case OPTION_REAL: memcpy(field, &e->value->number, sizeof e->value->number); break;
    case OPTION_TEXT:
    case OPTION_LIST: memcpy(field, &e->value->text, sizeof e->value->text); break;
  }
}

int config_entries_set(config *c, config_entry *entry, const char *text, const char *origin) {
  char *copy;
  option_value value;
  if (strlen(text) >= CONFIG_VALUE_BYTES) return FAIL(ERROR_USAGE, NULL, "the value is longer than %d bytes", CONFIG_VALUE_BYTES - 1);
  TRY(check_text(text));
  TRY(arena_copy_text(c->entries->memory, text, &copy));
  if (entry->declared->type == OPTION_LIST) strip_list(copy);
  TRY(option_parse(entry->declared, copy, &value));
  if (value.is_auto) {
    value.integer = -1;
    value.number = NAN;
  }
  *entry->value = value;
  entry->origin = origin;
  store(c, entry);
  return ERROR_NONE;
}

/* A refused value that no user wrote is the program's own fault. */
static int as_internal(void) {
  error copy = *error_last();
  if (copy.code == ERROR_USAGE) copy.code = ERROR_INTERNAL;
  return error_restore(&copy);
}

/* Splits a key at its dot: the section gets a copy, the leaf points behind the dot. */
static int split_key(arena *memory, config_entry *e) {
  const char *dot = strchr(e->key, '.');
  char *section = "";
  if (dot) {
    TRY(arena_copy_text(memory, e->key, &section));
    section[dot - e->key] = 0;
  }
  e->section = section;
  e->leaf = dot ? dot + 1 : e->key;
  return ERROR_NONE;
}

static int join_key(arena *memory, const char *section, const char *leaf, const char **key) {
  char *joined;
  size_t bytes = strlen(section) + strlen(leaf) + 2;
  TRY(arena_take(memory, bytes, 1, &joined));
  snprintf(joined, bytes, "%s.%s", section, leaf);
  *key = joined;
  return ERROR_NONE;
}

static int add(config *c, const config_entry *entry, const char *preset) {
  struct config_entries *all = c->entries;
  if (config_entries_find(c, entry->key)) return FAIL(ERROR_INTERNAL, NULL, "the key '%s' is declared twice", entry->key);
  config_entry *e = &all->entry[all->count];
  *e = *entry;
  TRY(split_key(all->memory, e));
  all->count++;
  if (config_entries_set(c, e, preset ? preset : "", "default")) {
    error_prefix("default of '%s': ", e->key);
    return as_internal();
  }
  return ERROR_NONE;
}

static int fill(config *c, const option *own, int own_count, int stored) {
  int row_count;
  const config_key *rows = config_schema(&row_count);
  option_value *values;
  size_t total = (size_t)row_count + (size_t)own_count;
  TRY(arena_take(c->entries->memory, total, sizeof *c->entries->entry, &c->entries->entry));
  TRY(arena_take(c->entries->memory, total, sizeof *values, &values));
  c->method.options = (option_set){.values = values + row_count, .count = own_count};
  for (int i = 0; i < row_count; i++) {
    config_entry e = {.key = rows[i].declared.name, .declared = &rows[i].declared, .row = &rows[i], .value = &values[i]};
    TRY(add(c, &e, stored && rows[i].neutral ? rows[i].neutral : rows[i].declared.preset));
    if (strcmp(e.key, "method.name")) continue;
    for (int k = 0; k < own_count; k++) { /* a method's own keys follow its name */
      config_entry o = {.declared = &own[k], .value = &values[row_count + k]};
      TRY(join_key(c->entries->memory, "method", own[k].name, &o.key));
      TRY(add(c, &o, own[k].preset));
    }
  }
  return ERROR_NONE;
}

int config_entries_create(arena *memory, const option *own, int own_count, int stored, config **result) {
  config *c;
  *result = NULL;
  int code = arena_take(memory, 1, sizeof *c, &c);
  if (!code) code = arena_take(memory, 1, sizeof *c->entries, &c->entries);
  if (!code) {
    c->entries->memory = memory;
    code = fill(c, own, own_count, stored);
  }
  if (code) arena_destroy(memory);
  else *result = c;
  return code;
}

const char *config_entries_spell(const config_entry *entry, char buffer[32]) { return option_spell(entry->value, buffer); }

void config_destroy(config *c) {
  if (c) arena_destroy(c->entries->memory);
}

int config_assign(config *c, const char *key, const char *value, const char *origin) {
  config_entry *e = config_entries_find(c, key);
  if (!e) return FAIL(ERROR_INTERNAL, NULL, "the unknown key '%s' cannot be set", key);
  if (!config_entries_set(c, e, value, origin)) return ERROR_NONE;
  return error_prefix("%s: ", key);
}

int config_resolve(config *c, const char *key, const char *value) {
  config_entry *e = config_entries_find(c, key);
  if (!e) return FAIL(ERROR_INTERNAL, NULL, "the unknown key '%s' cannot be resolved", key);
  if (!e->value->is_auto) return FAIL(ERROR_INTERNAL, NULL, "the key '%s' is not auto: it is set by %s", key, e->origin);
  if (config_entries_set(c, e, value, "resolved")) {
    error_prefix("%s: ", key);
    return as_internal();
  }
  return ERROR_NONE;
}
