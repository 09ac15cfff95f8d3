#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "config/keys.h"
#include "config/schema.h"
#include "config/study_private.h"

int study_origin(struct study_reader *r, const yaml_node_t *node, const char **origin) {
  char place[STUDY_PLACE_BYTES], *copy;
  TRY(text_format(place, sizeof place, "%s:%d:%d", r->yaml.source, config_yaml_line(node), config_yaml_column(node)));
  TRY(arena_copy_text(r->memory, place, &copy));
  *origin = copy;
  return ERROR_NONE;
}

int study_make_setting(struct study_reader *r, const char *key, const char *value, const char *origin, study_setting *result) {
  char *word;
  size_t bytes = strlen(key) + strlen(value) + 2;
  TRY(arena_take(r->memory, bytes, 1, &word));
  snprintf(word, bytes, "%s=%s", key, value);
  *result = (study_setting){.key = key, .value = value, .word = word, .origin = origin};
  return ERROR_NONE;
}

int study_is_key(const char *key) { return !strcmp(key, "ranks") || config_schema_find(key) || (!strncmp(key, "method.", 7) && key[7]); }

static int check_ranks(const char *value) {
  int64_t ranks;
  if (text_to_int(value, &ranks)) return FAIL(ERROR_USAGE, NULL, "'%.100s' is not a whole number", value);
  if (ranks < 1 || ranks > STUDY_RANK_COUNT)
    return FAIL(ERROR_USAGE, NULL, "%lld is out of range: it must be from 1 to %d", (long long)ranks, STUDY_RANK_COUNT);
  return ERROR_NONE;
}

int study_check_value(struct study_reader *r, const char *key, const char *value) {
  const option *own;
  int own_count;
  if (!strcmp(key, "ranks")) return check_ranks(value);
  if (!strcmp(key, "output.dir") || !strcmp(key, "output.name"))
    return FAIL(ERROR_USAGE, "leave it out", "a study's run files are named by what they are, in a folder of the study");
  config_entry *e = config_entries_find(r->scratch, key);
  if (!e) return ERROR_NONE; /* a method's own: known only together with the method */
  TRY(config_entries_set(r->scratch, e, value, "default"));
  return !strcmp(key, "method.name") && *value && r->request.method_options ? r->request.method_options(value, &own, &own_count) : ERROR_NONE;
}

/* Keys of a mapping and of the mappings in it. */
static int64_t count_keys(const struct study_reader *r, const yaml_node_t *node) {
  int64_t count = 0;
  for (yaml_node_pair_t *pair = node->data.mapping.pairs.start; node->type == YAML_MAPPING_NODE && pair < node->data.mapping.pairs.top; pair++) {
    const yaml_node_t *inner = config_yaml_node(&r->yaml, pair->value);
    count += 1 + (inner->type == YAML_MAPPING_NODE ? inner->data.mapping.pairs.top - inner->data.mapping.pairs.start : 0);
  }
  return count;
}

/* A mapping as a flat list, keys of both spellings. */
static int flatten(struct study_reader *r, const yaml_node_t *node, config_document *d) {
  if (count_keys(r, node) > STUDY_KEY_COUNT) return config_yaml_refuse(&r->yaml, node, NULL, "more than %d settings", STUDY_KEY_COUNT);
  TRY(config_document_flatten(r->memory, &r->yaml, node, d));
  d->may_have_dots = 1;
  TRY(config_keys_normalise(r->memory, d));
  for (int i = 0; i < d->count; i++)
    for (int k = 0; k < i && d->item[i].kind != ITEM_SECTION; k++)
      if (d->item[k].kind != ITEM_SECTION && !strcmp(d->item[i].key, d->item[k].key))
        return config_keys_refuse(d, &d->item[i], "keep one of the two", "duplicate key ", ", in two spellings");
  return ERROR_NONE;
}

static int add_setting(struct study_reader *r, const config_document *d, const config_item *item, study_settings *result) {
  char place[STUDY_PLACE_BYTES], *origin;
  TRY(text_format(place, sizeof place, "%s:%d:%d", d->source, item->line, item->column));
  TRY(arena_copy_text(r->memory, place, &origin));
  return study_make_setting(r, item->key, item->text, origin, &result->item[result->count++]);
}

static int check_item(struct study_reader *r, const config_document *d, const config_item *item) {
  if (!study_is_key(item->key)) {
    char hint[512];
    config_entries_suggest(r->scratch, item->key, hint, sizeof hint);
    return config_keys_refuse(d, item, hint, "unknown key ", "");
  }
  const config_key *row = config_schema_find(item->key);
  int code = item->kind == ITEM_LIST && (row ? row->declared.type != OPTION_LIST : !strcmp(item->key, "ranks"))
                 ? FAIL(ERROR_USAGE, "values that vary are an axis: write them below 'grid:'", "a single value is expected, not a list")
                 : study_check_value(r, item->key, item->text);
  return code ? config_keys_locate(d, item) : ERROR_NONE;
}

int study_read_settings(struct study_reader *r, const yaml_node_t *node, const char **label, study_settings *result) {
  config_document d;
  *result = (study_settings){0};
  TRY(flatten(r, node, &d));
  TRY(arena_take(r->memory, (size_t)d.count, sizeof *result->item, &result->item));
  for (int i = 0; i < d.count; i++) {
    const config_item *item = &d.item[i];
    if (item->kind == ITEM_SECTION) continue;
    if (label && !strcmp(item->key, "label")) {
      if (!*item->text) return config_keys_refuse(&d, item, NULL, "empty ", "");
      *label = item->text;
      continue;
    }
    TRY(check_item(r, &d, item));
    TRY(add_setting(r, &d, item, result));
  }
  return ERROR_NONE;
}

int study_read_pairs(struct study_reader *r, const yaml_node_t *node, study_settings *result) {
  config_document d;
  *result = (study_settings){0};
  TRY(flatten(r, node, &d));
  TRY(arena_take(r->memory, (size_t)d.count, sizeof *result->item, &result->item));
  for (int i = 0; i < d.count; i++)
    if (d.item[i].kind != ITEM_SECTION) TRY(add_setting(r, &d, &d.item[i], result));
  return ERROR_NONE;
}

int study_join_settings(arena *memory, const study_settings *a, const study_settings *b, study_settings *result) {
  study_settings joined = {.count = a->count + b->count};
  TRY(arena_take(memory, (size_t)joined.count, sizeof *joined.item, &joined.item));
  if (a->count) memcpy(joined.item, a->item, (size_t)a->count * sizeof *a->item);
  if (b->count) memcpy(joined.item + a->count, b->item, (size_t)b->count * sizeof *b->item);
  *result = joined;
  return ERROR_NONE;
}

const char *study_find_setting(const study_settings *s, const char *key) {
  for (int i = s->count - 1; i >= 0; i--)
    if (!strcmp(s->item[i].key, key)) return s->item[i].value;
  return NULL;
}

static const char number_starts[] = "+-.0123456789";

int study_value_equals(const char *a, const char *b) {
  char *end_a, *end_b;
  if (!strcmp(a, b)) return 1;
  if (!strchr(number_starts, *a) || !strchr(number_starts, *b)) return 0;
  double x = strtod(a, &end_a), y = strtod(b, &end_b);
  return end_a != a && end_b != b && !*end_a && !*end_b && x == y;
}

int study_value_among(const char *value, const char *wanted) {
  if (study_value_equals(value, wanted)) return 1;
  for (const char *place = wanted; strchr(wanted, ',') && *place;) {
    char word[256];
    size_t length = strcspn(place, ",");
    if (length < sizeof word) {
      snprintf(word, sizeof word, "%.*s", (int)length, place);
      if (study_value_equals(value, word)) return 1;
    }
    place += length + (place[length] == ',');
  }
  return 0;
}

const char *study_short_key(const char *key, char buffer[YAML_KEY_BYTES * 2]) {
  size_t length = strlen(key), tail = strlen(".name");
  int is_name = length > tail && !strcmp(key + length - tail, ".name") && config_schema_find(key);
  snprintf(buffer, YAML_KEY_BYTES * 2, "%.*s", (int)(is_name ? length - tail : length), key);
  return buffer;
}
