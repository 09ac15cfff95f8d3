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
    return ERROR_NONE;
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
