#include "config/keys.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "config/schema.h"

enum { PLACE_BYTES = 4096 + 32 };

int config_keys_locate(const config_document *d, const config_item *item) {
  char place[PLACE_BYTES];
  config_document_place(d, item, 1, place, sizeof place);
  return error_prefix("%s%.200s: ", place, d->is_command_line && !item->origin ? item->written : item->key);
}

int config_keys_refuse(const config_document *d, const config_item *item, const char *hint, const char *before, const char *after) {
  char place[PLACE_BYTES];
  return FAIL(ERROR_USAGE, hint, "%s%s'%.200s'%s", config_document_place(d, item, 0, place, sizeof place), before, item->key, after);
}

static int refuse_section(const config_document *d, const config_item *item) {
  static const char *const names[] = {"model", "task", "method", "train", "output", "seed", "shards", "threads", "preset"};
  char hint[128] = "the sections are: model, task, method, train, output";
  int near = text_nearest(item->key, names, sizeof names / sizeof *names);
  if (near >= 0) snprintf(hint, sizeof hint, "did you mean '%s'?", names[near]);
  return config_keys_refuse(d, item, hint, "unknown section ", "");
}

int config_keys_full(arena *memory, const char *key, const char **full) {
  char *named;
  size_t bytes = strlen(key) + sizeof ".name";
  *full = key;
  if (!config_schema_has_section(key)) return ERROR_NONE;
  TRY(arena_take(memory, bytes, 1, &named));
  snprintf(named, bytes, "%s.name", key);
  if (config_schema_find(named)) *full = named;
  return ERROR_NONE;
}

int config_keys_normalise(arena *memory, config_document *d) {
  for (int i = 0; i < d->count; i++) {
    config_item *item = &d->item[i];
    int is_section = config_schema_has_section(item->key), has_dot = strchr(item->key, '.') != NULL;
    if (item->kind == ITEM_SECTION) {
      if (is_section) continue;
      if (!config_schema_find(item->key) || has_dot) return refuse_section(d, item);
      FAIL(ERROR_USAGE, NULL, "a single value is expected, not a mapping");
      return config_keys_locate(d, item);
    }
    if (is_section) {
      const char *full;
      TRY(config_keys_full(memory, item->key, &full));
      if (full == item->key) {
        FAIL(ERROR_USAGE, "write its keys below it, indented; on the command line: train.lr=1e-3", "this is a section of keys, not a value");
        return config_keys_locate(d, item);
      }
      item->key = full;
    } else if (has_dot && !item->is_nested && !d->is_command_line && !d->may_have_dots) {
      return config_keys_refuse(d, item, "in a file, write the section and, indented below it, the key", "the key ", " is written with a dot");
    }
  }
  return ERROR_NONE;
}
