#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/text.h"
#include "config/keys.h"
#include "config/study_private.h"

static int axis_sets(const study_axis *axis, const char *key) {
  if (!strcmp(axis->name, key)) return 1;
  for (int i = 0; i < axis->count; i++)
    if (study_find_setting(&axis->choice[i].settings, key)) return 1;
  return 0;
}

int study_part_varies(const study_part *p, const char *key) {
  if (!strcmp(key, "seed") && p->seeds.count) return 1;
  for (int i = 0; i < p->grid.count; i++)
    if (axis_sets(&p->grid.axis[i], key)) return 1;
  for (int i = 0; i < p->zip.count; i++)
    if (axis_sets(&p->zip.axis[i], key)) return 1;
  return 0;
}

static int varies(const struct study_reader *r, const char *key) {
  for (int i = 0; i < r->part_count; i++)
    if (study_part_varies(&r->part[i], key)) return 1;
  return 0;
}

/* ---- words that choose ---- */

/* Distinct values of one key. */
typedef struct value_list {
  const char *value[STUDY_LIST_COUNT];
  int count;
} value_list;

static void add_value(value_list *list, const char *value) {
  if (!value || !*value || list->count == STUDY_LIST_COUNT) return;
  for (int i = 0; i < list->count; i++)
    if (!strcmp(list->value[i], value)) return;
  list->value[list->count++] = value;
}

static void collect_axes(value_list *list, const study_axes *axes, const char *key) {
  for (int i = 0; i < axes->count; i++)
    for (int k = 0; k < axes->axis[i].count; k++) {
      const study_choice *c = &axes->axis[i].choice[k];
      if (!strcmp(axes->axis[i].name, key)) add_value(list, c->text);
      add_value(list, study_find_setting(&c->settings, key));
    }
}

static int collect(struct study_reader *r, value_list *list, const study_part *p, const char *key) {
  char digits[16], *ranks;
  if (!strcmp(key, "stage")) add_value(list, p->name);
  collect_axes(list, &p->grid, key);
  collect_axes(list, &p->zip, key);
  if (!strcmp(key, "seed"))
    for (int i = 0; i < p->seeds.count; i++) add_value(list, p->seeds.item[i].value);
  add_value(list, study_find_setting(&p->base, key));
  if (strcmp(key, "ranks") || study_part_varies(p, key)) return ERROR_NONE;
  snprintf(digits, sizeof digits, "%d", p->ranks);
  TRY(arena_copy_text(r->memory, digits, &ranks));
  add_value(list, ranks);
  return ERROR_NONE;
}

static int has_value(const value_list *list, const char *wanted) {
  for (int i = 0; i < list->count; i++)
    if (study_value_equals(list->value[i], wanted)) return 1;
  return 0;
}

static int refuse_value(const value_list *list, const char *key, const char *value) {
  char hint[512], shown[2 * YAML_KEY_BYTES];
  int near = strlen(value) > 2 ? text_nearest(value, list->value, list->count) : -1; /* a letter is near to every other */
  if (near >= 0) {
    snprintf(hint, sizeof hint, "did you mean '%s'?", list->value[near]);
  } else {
    size_t used = (size_t)snprintf(hint, sizeof hint, "what an axis of the study sets is chosen, not set; there is:");
    for (int i = 0; i < list->count && used < sizeof hint; i++)
      used += (size_t)snprintf(hint + used, sizeof hint - used, "%s %s", i ? "," : "", list->value[i]);
  }
  return FAIL(ERROR_USAGE, hint, "command line: the study has no run with %s=%.200s", study_short_key(key, shown), value);
}

/* Every word of a list is there, or the whole of it as one value. */
static int check_pick(struct study_reader *r, const study_setting *pick) {
  value_list list = {.count = 0};
  for (int i = 0; i < r->part_count; i++) TRY(collect(r, &list, &r->part[i], pick->key));
  if (has_value(&list, pick->value)) return ERROR_NONE;
  for (const char *place = pick->value;;) {
    char word[256];
    size_t length = strcspn(place, ",");
    snprintf(word, sizeof word, "%.*s", (int)length, place);
    if (!has_value(&list, word)) return refuse_value(&list, pick->key, word);
    if (!place[length]) return ERROR_NONE;
    place += length + 1;
  }
}

int study_refuse_picks(const struct study_reader *r) {
  char words[512] = "", key[2 * YAML_KEY_BYTES];
  size_t used = 0;
  for (int i = 0; i < r->picks.count && used < sizeof words; i++)
    used += (size_t)snprintf(words + used, sizeof words - used, "%s%s=%s", used ? " " : "", study_short_key(r->picks.item[i].key, key), r->picks.item[i].value);
  return FAIL(ERROR_USAGE, "each is there, but not together", "command line: the study has no run with %s", words);
}

/* ---- all words ---- */

static int refuse_unknown(struct study_reader *r, const config_document *d, const config_item *item) {
  enum { MOST = 128 };
  char shown[MOST][2 * YAML_KEY_BYTES], hint[512] = "";
  const char *names[MOST];
  int count = 0;
  names[count++] = "ranks";
  for (int i = 0; i < r->part_count; i++)
    for (int k = 0; k < r->part[i].grid.count + r->part[i].zip.count && count < MOST; k++) {
      const study_axis *axis = k < r->part[i].grid.count ? &r->part[i].grid.axis[k] : &r->part[i].zip.axis[k - r->part[i].grid.count];
      names[count] = study_short_key(axis->name, shown[count]);
      count++;
    }
  int near = text_nearest(item->key, names, count);
  if (near >= 0) snprintf(hint, sizeof hint, "did you mean '%s'?", names[near]);
  else config_entries_suggest(r->scratch, item->key, hint, sizeof hint);
  return config_keys_refuse(d, item, hint, "unknown key ", ", which is neither a setting nor an axis of the study");
}

static int read_word(struct study_reader *r, const config_document *d, const config_item *item) {
  study_setting s;
  TRY(study_make_setting(r, item->key, item->text, d->source, &s));
  int chooses_stage = !strcmp(s.key, "stage");
  if (chooses_stage && !r->out->stage_count) return config_keys_refuse(d, item, "", "the study has no stages, so ", " says nothing");
  if (chooses_stage || varies(r, s.key)) {
    r->picks.item[r->picks.count++] = s;
    return check_pick(r, &s);
  }
  if (!study_is_key(s.key)) return refuse_unknown(r, d, item);
  if (study_check_value(r, s.key, s.value)) return config_keys_locate(d, item);
  if (!strcmp(s.key, "ranks")) r->ranks = atoi(s.value);
  else r->words.item[r->words.count++] = s;
  return ERROR_NONE;
}

int study_read_words(struct study_reader *r) {
  config_document d;
  TRY(config_document_assign(r->memory, r->request.assignments, NULL, r->request.assignment_count, &d));
  TRY(config_keys_normalise(r->memory, &d));
  TRY(arena_take(r->memory, (size_t)d.count, sizeof *r->words.item, &r->words.item));
  TRY(arena_take(r->memory, (size_t)d.count, sizeof *r->picks.item, &r->picks.item));
  for (int i = 0; i < d.count; i++) TRY(read_word(r, &d, &d.item[i]));
  return ERROR_NONE;
}
